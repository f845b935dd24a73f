"""The tasks that a project declares in its section `tasks`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import Any

from machinable import project
from machinable.config.interpolation import Resolver
from machinable.config.loader import EXECUTION_KEYS, Workspace
from machinable.config.nodes import (
    DIRECTIVES,
    UNREADABLE,
    MappingNode,
    PlacedText,
    SequenceNode,
    described,
    key_is_not_text,
    unwrapped,
)
from machinable.config.resolve import find_component
from machinable.config.tasks import TaskEntry
from machinable.config.versions import MAX_ALTERNATIVES, alternatives
from machinable.errors import InvalidType, MachinableError, MalformedText, Place, SeveralErrors, UnknownName
from machinable.plan.grid import check_axes, combinations, shown_value
from machinable.plan.identity import version_key
from machinable.plan.request import ComponentRequest
from machinable.plan.search import SearchRequest
from machinable.plan.task import Task, laid_over
from machinable.serialization import Plain, as_plain, equal_pair, without_hidden

__all__ = [
    "COMPONENT_KEYS",
    "TASK_KEYS",
    "TASK_SETTINGS",
    "Project",
    "declared_task",
    "task_of",
]

COMPONENT_KEYS = ("component", "version", "each", "grid", "children", "requires", "tags")
TASK_KEYS = ("component", "components", *COMPONENT_KEYS[1:], "repeat", "levels", "tune", "execution")
TUNE_KEYS = (*SearchRequest.__struct_fields__, "repeats")
_LEVELS = ("repeat", "split")
# The others are the same for all that a project computes: results that are reused depend on them.
TASK_SETTINGS = tuple(key for key in EXECUTION_KEYS if key not in ("seeding", "strict", "threads"))


class Project(project.Project):
    """A directory with a machinable.yaml.

    Args:
        path: The directory; by default the working directory, or the nearest one above it with a machinable.yaml.
    """

    def task(self, name: str, version: Any = None) -> Task:
        """Return a task that machinable.yaml declares in its section `tasks`.

        Args:
            name: The name of the task; `+.project.name` for that of an imported project.
            version: A version for all its components, merged over theirs. Keys that it sets replace alternatives of
                the task for them. Lists are alternatives, as in `Task.component`.

        Raises:
            UnknownName: There is no such task; the message suggests near names.
            ConfigurationError: The project or the task has errors; several are raised as one.
        """
        if not isinstance(name, str):
            raise InvalidType(f"the name of a task is text, not {name!r}", given=name)
        return laid_over(declared_task(self.workspace(), name), version)


def task_of(given: Any, project: project.Project) -> Task:
    """Return the task that `execute` was given: a task, the name of a declared one, or what `Task` takes."""
    if isinstance(given, str) and given in project.workspace().tasks:
        return declared_task(project.workspace(), given)
    return given if isinstance(given, Task) else Task(given)


def declared_task(workspace: Workspace, name: str) -> Task:
    """Return a declared task.

    Raises:
        UnknownName: There is none of that name.
        ConfigurationError: It has errors; several are raised as one.
    """
    known = workspace.tasks
    if name not in known:
        component = workspace.main.components.lookup(name)
        raise UnknownName(
            "task",
            name,
            known,
            details=[f"searched in {workspace.main.file}"],
            todo=f"{name!r} is a component: Task({name!r})." if component else None,
        )
    return _Reader(workspace, name, known[name]).read()


class _Reader:
    """Make a task from what is declared; all errors are raised together."""

    def __init__(self, workspace: Workspace, name: str, entry: TaskEntry) -> None:
        self._workspace = workspace
        self._name = name
        self._entry = entry
        self._errors: list[MachinableError] = []

    def read(self) -> Task:
        path = f"tasks.{self._entry.name}"
        body = self._resolved(path)
        self._check_keys(body, TASK_KEYS, path, "task")
        task = Task(name=self._name)
        for node, where in self._components(body, path):
            task.components += self._component(node, None if node is body else body, where, path)
        self._read_levels(task, body, path)
        self._read_search(task, body, path)
        task.settings = self._settings(body, path)
        SeveralErrors.raise_any(self._errors)
        return task

    def _resolved(self, path: str) -> MappingNode:
        """Return what is declared with references resolved, as plain data with places."""
        body = self._entry.body
        resolver = Resolver({}, path)
        plain = resolver.plain(body, path)
        for error in resolver.errors:
            if isinstance(error.given, str) and error.given.startswith("$self"):
                error.message = f"the reference {error.given!r} has no meaning in a task"
                error.todo = "Write it in a version of the component, and request that version here."
        SeveralErrors.raise_any(resolver.errors)
        if resolver.is_masked and resolver.plain(body, path, stored=True) != without_hidden(plain):
            raise MalformedText(
                f"the task {self._name!r} contains a secret, which would be stored",
                at=self._entry.place,
                path=path,
                todo="Pass it under a hidden key: {_token: $._token}.",
            )
        return _placed(body, resolver)  # type: ignore[no-any-return]

    def _fail(self, message: str, at: Place | None, path: str, given: Any, todo: str, *details: str) -> None:
        self._errors.append(
            MalformedText(message, at=at, path=path, given=described(given), details=details, todo=todo)
        )

    def _check_keys(self, node: MappingNode, known: Sequence[str], path: str, what: str) -> None:
        for key in node:
            if type(key) is not str:
                self._errors.append(key_is_not_text(key, node, path))
            elif key == "split":
                todo = "Write `levels: [{split: 5}]`."
                self._errors.append(
                    UnknownName(f"key of a {what}", key, known, at=node.place(key), path=path, todo=todo)
                )
            elif key not in known:
                self._errors.append(UnknownName(f"key of a {what}", key, known, at=node.place(key), path=path))

    def _components(self, body: MappingNode, path: str) -> Iterator[tuple[MappingNode, str]]:
        """Yield the mapping of each component, with its path."""
        listed = body.get("components")
        if listed is None:
            if body.get("component") is None:
                todo = "Write `component: NAME`, or `components: [{component: NAME}, …]`."
                self._fail(f"the task {self._name!r} has no component", self._entry.place, path, None, todo)
            else:
                yield body, path
            return
        at = body.place("components")
        if body.get("component") is not None:
            details = f"`components` is at {at}"
            todo = "Keep one of them."
            at = body.place("component")
            self._fail("a task has either `component` or `components`", at, path, body["component"], todo, details)
            return
        path = f"{path}.components"
        if not isinstance(listed, SequenceNode) or not listed:
            what = "at least one component" if listed == [] else f"a list, not {described(listed)}"
            self._fail(f"`components` takes {what}", at, path, listed, "Write `components: [{component: NAME}, …]`.")
            return
        for number, item in enumerate(listed):
            here = f"{path}[{number}]"
            if type(item) is str:
                node = MappingNode(listed.source)
                node["component"], node.marks["component"] = item, listed.marks[number]
                yield node, here
            elif not isinstance(item, MappingNode) or item.get("component") is None:
                what = "has no `component`" if isinstance(item, MappingNode) else f"is {described(item)}"
                message = f"item {number} of `components` {what}"
                self._fail(message, listed.place(number), here, item, "Write `{component: NAME}`.")
            else:
                self._check_keys(item, COMPONENT_KEYS, here, "component of a task")
                yield item, here

    def _component(
        self, node: MappingNode, shared: MappingNode | None, path: str, task_path: str
    ) -> Iterator[ComponentRequest]:
        """Yield the request of a component, over what is shared by all; nothing after an error."""
        known = len(self._errors)
        name = node["component"]
        if type(name) is not str:
            todo = "Write its name; versions are written below `version`."
            self._fail(
                f"`component` takes the name of a component, not {described(name)}",
                node.place("component"),
                f"{path}.component",
                name,
                todo,
            )
        else:
            self._check_component(name, node.place("component"), f"{path}.component")
        version: list[Any] = []
        tags: dict[str, Plain] = {}
        for one, where in ((shared, task_path), (node, path)):
            if one is not None:
                version += self._version(one, where)
                tags |= self._tags(one, where)
        if len(self._errors) == known:
            yield ComponentRequest(
                self._entry.own_name(name),
                version[0] if len(version) == 1 else tuple(version) or None,
                tags=tags,
            )

    def _check_component(self, name: str, at: Place, path: str) -> None:
        try:
            find_component(self._workspace, self._entry.own_name(name))
        except UnknownName as error:
            error.at, error.path = at, path
            self._errors.append(error)

    def _tags(self, node: MappingNode, path: str) -> dict[str, Plain]:
        tags = node.get("tags")
        if tags is None:
            return {}
        if isinstance(tags, MappingNode) and all(type(key) is str for key in tags):
            return as_plain(tags)  # type: ignore[no-any-return]
        todo = "Write `tags: {study: lr}`, with text as names."
        given = tags if not isinstance(tags, MappingNode) else next(key for key in tags if type(key) is not str)
        message = f"`tags` takes a mapping with names that are text, not {described(given)}"
        self._fail(message, node.place("tags"), f"{path}.tags", given, todo)
        return {}

    # versions and alternatives

    def _version(self, node: MappingNode, path: str) -> list[Any]:
        """Return the elements of the version, then the alternatives of `each`, then those of `grid`, as lists."""
        elements = self._elements(node, "version", path)
        uses = self._uses(node)
        if uses:
            below = elements.pop() if elements and _is_joined(elements[-1], uses) else None
            elements.append(_joined(below, uses))
        each = self._each(node, path)
        grid = self._grid(node, path, elements, each)
        return [*elements, *([each] if each else []), *grid]

    def _uses(self, node: MappingNode) -> MappingNode:
        """Return the children and requirements as the reserved keys of a version, which has the same values."""
        version = MappingNode(node.source)
        for key in ("children", "requires"):
            if node.get(key) is not None:
                version[f"_{key}_"] = self._own_uses(node[key]) if self._entry.project else node[key]
                version.marks[f"_{key}_"] = node.marks[key]
        return version

    def _own_uses(self, value: Any) -> Any:
        """Return children or requirements with the names by which the executing project knows them."""
        if isinstance(value, MappingNode):
            result = _like(value)
            result.update({name: self._own_use(one) for name, one in value.items()})
            return result
        return [self._own_use(one) for one in value] if isinstance(value, list) else value

    def _own_use(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._entry.own_name(value)
        if isinstance(value, SequenceNode) and value and isinstance(value[0], str):
            return [self._entry.own_name(value[0]), *value[1:]]
        if isinstance(value, SequenceNode):
            return [self._own_use(one) for one in value]
        if not isinstance(value, MappingNode):
            return value
        result = _like(value)
        result.update(value)
        if isinstance(value.get("component"), str):
            result["component"] = self._entry.own_name(value["component"])
        elif isinstance(value.get("each"), SequenceNode):
            result["each"] = [self._own_use(one) for one in value["each"]]
        return result

    def _elements(self, node: MappingNode, key: str, path: str) -> list[Any]:
        value = node.get(key)
        items = value if isinstance(value, SequenceNode) else [value]
        places = [value.place(i) for i in range(len(value))] if isinstance(value, SequenceNode) else [None]
        return [
            _with_place(item, at or node.place(key))
            for item, at in zip(items, places, strict=True)
            if item is not None and self._is_version(item, at or node.place(key), f"{path}.{key}")
        ]

    def _is_version(self, item: Any, at: Place, path: str) -> bool:
        if type(item) is str or isinstance(item, MappingNode):
            return True
        if isinstance(item, SequenceNode):
            todo = (
                "Write alternatives, which give one trial each, below `each`; what is merged has no further brackets."
            )
            self._fail("a list in a version", at, path, item, todo)
        else:
            todo = "Write ~name, _mixin_, a mapping, or a file of the project."
            self._fail(f"{described(item)} is not a version", at, path, item, todo)
        return False

    def _each(self, node: MappingNode, path: str) -> list[Any]:
        each = node.get("each")
        if each is None:
            return []
        path = f"{path}.each"
        if not isinstance(each, SequenceNode) or not each:
            what = "at least one version" if each == [] else f"a list of versions, not {described(each)}"
            todo = "Write `each: [~one, {epochs: 5}]`; each of them gives one trial."
            self._fail(f"`each` takes {what}", node.place("each"), path, each, todo)
            return []
        found: list[Any] = []
        for number, item in enumerate(each):
            at = each.place(number)
            items = item if isinstance(item, SequenceNode) else [item]
            if all(self._is_version(one, at, f"{path}[{number}]") for one in items if one is not None):
                elements = tuple(_with_place(one, at) for one in items)
                found.append(elements if isinstance(item, SequenceNode) else elements[0])
        if len(found) == len(each) and (pair := equal_pair([version_key(one) for one in found])) is not None:
            self._fail(
                "`each` has the same alternative twice",
                each.place(pair[1]),
                path,
                each[pair[1]],
                "Keep one of them; `repeat` runs a configuration several times.",
                f"first at {each.place(pair[0])}",
            )
        return found

    def _grid(self, node: MappingNode, path: str, elements: list[Any], each: Sequence[Any]) -> list[list[Any]]:
        """Return the alternatives in a list; they take the last mapping out of `elements` if it is joined to them."""
        grid = node.get("grid")
        if grid is None:
            return []
        path = f"{path}.grid"
        todo = "Write `grid: {rate: [0.1, 0.01]}`: a list of values for each key, with dots for keys of mappings."
        if not isinstance(grid, MappingNode):
            message = f"`grid` takes a mapping from keys to lists, not {described(grid)}"
            self._fail(message, node.place("grid"), path, grid, todo)
            return []
        known = len(self._errors)
        for key, values in grid.items():
            if type(key) is not str:
                self._errors.append(key_is_not_text(key, grid, path))
            elif not isinstance(values, SequenceNode):
                shown = described(values) if shown_value(key, values) != "…" else "…"
                what = f"the values of {key!r} are not a list but {shown}"
                self._fail(what, grid.place(key), f"{path}.{key}", shown, todo)
        if len(self._errors) > known:
            return []
        axes = {key: as_plain(values) for key, values in grid.items()}
        for problem in check_axes(axes):
            key = problem.path
            if key is not None and (pair := equal_pair(axes[key])) is not None:
                problem.at, problem.details = grid[key].place(pair[1]), (f"first at {grid[key].place(pair[0])}",)
            else:
                problem.at = grid.place(key) if key is not None else node.place("grid")
            problem.path = f"{path}.{key}" if key is not None else path
            self._errors.append(problem)
        self._check_overridden(grid, path, [*elements, *each])
        if len(self._errors) > known or not axes:
            return []
        below = elements.pop() if not each and elements and _is_joined(elements[-1], grid) else None
        return [list(_versions_of(grid, axes, below))]

    def _check_overridden(self, grid: MappingNode, path: str, versions: Sequence[Any]) -> None:
        """Report keys that a version sets in vain, because the grid sets them afterwards."""
        for version in versions:
            for one in version if isinstance(version, tuple) else (version,):
                for key in one if isinstance(one, MappingNode) else ():
                    if type(key) is str and (above := _at_or_above(key, grid)) is not None:
                        self._fail(
                            f"{key!r} has a value in a version, and others in the grid",
                            one.place(key),
                            path,
                            key,
                            "Keep one of them.",
                            f"in the grid at {grid.place(above)}",
                        )

    # levels and settings

    def _read_levels(self, task: Task, body: MappingNode, path: str) -> None:
        for method, k, at, where in self._levels(body, path):
            try:
                getattr(task, method)(k)
            except MachinableError as error:
                error.at, error.path = at, where
                self._errors.append(error)
        total = prod(level.total for level in task.levels)
        count = sum(alternatives(one.version) for one in task.components) * total
        if count > MAX_ALTERNATIVES and not self._errors:
            self._fail(
                f"the task {self._name!r} has more than {MAX_ALTERNATIVES:,} trials",
                self._entry.place,
                path,
                None,
                "List fewer alternatives, or declare several tasks.",
            )

    def _read_search(self, task: Task, body: MappingNode, path: str) -> None:
        tune = body.get("tune")
        if tune is None:
            return
        path = f"{path}.tune"
        if not isinstance(tune, MappingNode):
            todo = "Write `tune: {space: {rate: {loguniform: [0.001, 0.1]}}, metric: records.loss.last, mode: min}`."
            self._fail(f"`tune` takes a mapping, not {described(tune)}", body.place("tune"), path, tune, todo)
            return
        known = len(self._errors)
        self._check_keys(tune, TUNE_KEYS, path, "search")
        if len(self._errors) > known:
            return
        try:
            task.tune(**{key: as_plain(value) for key, value in tune.items() if value is not None})
        except MachinableError as error:
            for one in error.parts:
                one.at, found = body.place("tune"), tune
                for key in (*(["space"] if one.path not in tune else []), *(one.path or "").split(".")):
                    if isinstance(found, MappingNode) and key in found:
                        one.at, found = found.place(key), found[key]
                one.path = f"{path}.{one.path}" if one.path else path
                self._errors.append(one)

    def _levels(self, body: MappingNode, path: str) -> Iterator[tuple[str, Any, Place, str]]:
        """Yield the method, number, place and path of each level."""
        repeat, levels = body.get("repeat"), body.get("levels")
        if repeat is not None and levels is not None:
            details = f"`levels` is at {body.place('levels')}"
            todo = "Write both in `levels`: [{split: 5}, {repeat: 2}]; the last one is the outermost loop."
            message = "a task has either `repeat` or `levels`"
            self._fail(message, body.place("repeat"), path, repeat, todo, details)
        elif repeat is not None:
            yield "repeat", repeat, body.place("repeat"), f"{path}.repeat"
        if levels is None:
            return
        path = f"{path}.levels"
        todo = "Write `levels: [{split: 5}, {repeat: 2}]`."
        if not isinstance(levels, SequenceNode) or not levels:
            what = "at least one level" if levels == [] else f"a list, not {described(levels)}"
            self._fail(f"`levels` takes {what}", body.place("levels"), path, levels, todo)
            return
        for number, level in enumerate(levels):
            here = f"{path}[{number}]"
            if not isinstance(level, MappingNode) or len(level) != 1:
                message = f"a level is `repeat` or `split` with a number, not {described(level)}"
                self._fail(message, levels.place(number), here, level, todo)
                continue
            (key,) = level
            if key not in _LEVELS:
                self._errors.append(UnknownName("kind of level", key, _LEVELS, at=level.place(key), path=here))
            else:
                yield key, level[key], level.place(key), f"{here}.{key}"

    def _settings(self, body: MappingNode, path: str) -> Mapping[str, Any]:
        settings = body.get("execution")
        if settings is None:
            return {}
        path = f"{path}.execution"
        if not isinstance(settings, MappingNode):
            message = f"`execution` takes a mapping, not {described(settings)}"
            todo = f"Its keys are {', '.join(TASK_SETTINGS)}."
            self._fail(message, body.place("execution"), path, settings, todo)
            return {}
        for key in settings:
            if key in TASK_SETTINGS:
                continue
            error = UnknownName("setting of a task", key, TASK_SETTINGS, at=settings.place(key), path=path)
            if key in EXECUTION_KEYS:
                error.todo = "It is the same for all tasks: write it in `execution` at the root."
            self._errors.append(error)
        return settings


def _placed(node: Any, resolver: Resolver) -> Any:
    """Return a value without references: plain scalars in mappings and lists that know their places."""
    node = resolver.container(node)
    if isinstance(node, MappingNode):
        result = _like(node)
        for key, value in node.items():
            result[key] = _placed(value, resolver)
        return result
    if isinstance(node, SequenceNode):
        items = SequenceNode(node.source)
        items.marks, items.directs = node.marks, node.directs
        items += [_placed(value, resolver) for value in node]
        return items
    return None if node is UNREADABLE else unwrapped(node)


def _with_place(value: Any, at: Place) -> Any:
    """Return an element of a version that knows its place."""
    if type(value) is not str:
        return value
    text = PlacedText(value)
    text.place = at
    return text


def _at_or_above(key: str, grid: Mapping[str, Any]) -> str | None:
    return next((other for other in grid if key == other or key.startswith(f"{other}.")), None)


def _like(node: MappingNode) -> MappingNode:
    """Return an empty mapping with the places of another one."""
    result = MappingNode(node.source)
    result.marks, result.optional, result.directs = node.marks, node.optional, node.directs
    return result


def _is_joined(below: Any, above: MappingNode) -> bool:
    """Return whether two neighbouring versions are one mapping, as `a=1 b=2` on the command line is."""
    if not isinstance(below, MappingNode) or below.source is not above.source or below.directs:
        return False
    heads = {str(key).partition(".")[0] for key in below}
    return heads.isdisjoint(str(key).partition(".")[0] for key in above)


def _joined(below: MappingNode | None, above: MappingNode) -> MappingNode:
    if below is None:
        return above
    result = _like(above)
    result.marks, result.optional = below.marks | above.marks, below.optional | above.optional
    result.update({**below, **above})
    return result


def _versions_of(
    grid: MappingNode, axes: Mapping[str, Sequence[Plain]], below: MappingNode | None
) -> Iterator[MappingNode]:
    """Yield the version of each combination, over the values of `below`."""
    form = _joined(below, grid)
    form.directs = grid.directs or any(not DIRECTIVES.isdisjoint(key.split(".")) for key in axes)
    for values in combinations(axes):
        version = _like(form)
        version.update(below or {})
        version.update(values)
        yield version
