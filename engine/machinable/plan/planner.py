"""From a task to its plan: the trials, their order, their seeds and uids."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from machinable import ids
from machinable.config.inheritance import class_of, keys_of
from machinable.config.loader import Workspace
from machinable.config.nodes import MappingNode
from machinable.config.registry import Entry
from machinable.config.resolve import find_component, misspelt_use, resolve, undeclared
from machinable.config.resolved import Origins, Resolved
from machinable.config.versions import MAX_ALTERNATIVES, alternatives, elements_of, expand_lists
from machinable.errors import (
    InvalidValue,
    MachinableError,
    MalformedText,
    MissingFile,
    Place,
    SeveralErrors,
    UnknownName,
    warn,
)
from machinable.plan.identity import (
    Effective,
    KeyParts,
    content,
    identity,
    key_parts,
    mixin_content,
    trial_keys,
    visible_elements,
)
from machinable.plan.plan import Needed, Plan, Row, Use
from machinable.plan.request import (
    ChildRequest,
    ComponentRequest,
    Level,
    Named,
    RequirementRequest,
    RequirementRequests,
    TaskRequest,
    numbered,
)
from machinable.plan.reserved_keys import reserved_fields
from machinable.plan.search_plan import SearchPlan, sample_version
from machinable.plan.spec import ComponentSpec, MixinSpec, Target, spec_from_data
from machinable.plan.written_uses import declared_children, declared_requirements, is_stored_trial
from machinable.project import Project
from machinable.serialization import Plain, canonical, is_hidden, without_collections, without_hidden

if TYPE_CHECKING:
    from machinable.plan.stored_trials import StoredTrial

__all__ = ["definition_of_stored", "live_code", "make_plan"]

MAX_LISTED = 12  # components of a cycle that a message lists


def make_plan(
    request: TaskRequest,
    project: Project | str | os.PathLike[str] | None,
    seed: object,
    storage: str | None = None,
    stored_in: str | None = None,
) -> Plan:
    """Return the plan of a task, without the trials of samples for a search; see `Task.plan`.

    Raises:
        ConfigurationError: The project or a configuration has errors; several are raised as one.
    """
    execution_seed = ids.seed_of(seed)
    where = project if isinstance(project, Project) else Project(project)
    with without_collections():
        workspace = _workspace(request, where)
        planner = _Planner(workspace, request, where.path, (storage, stored_in))
        if _count(request) > MAX_ALTERNATIVES:
            raise InvalidValue(
                f"the task has more than {MAX_ALTERNATIVES:,} trials", todo="Split it into several executions."
            )
        if request.search is not None:
            _check_search(request)
        listed = [planner.add(*one) for one in _listed(request)]
        planner.check_versions_of()
        SeveralErrors.raise_any(list(planner.errors.values()))
        if request.search is not None:
            samples = _Planner(workspace, request, where.path, (storage, stored_in))
            facts = _facts(request, where, workspace, execution_seed, ids.is_by_content(seed))
            return SearchPlan(uses=(), rows=(), **facts).begin(samples, planner.uses[listed[0]])
        rows: list[tuple[int, tuple[int, ...]]] = []  # the use of each trial and its number in each level
        for numbers in product(*(range(level.total) for level in reversed(request.levels))):
            # Requirements run once, before the first that needs them, which is the order of the uses.
            uses = listed if rows else range(len(planner.uses))
            rows += [(use, () if planner.uses[use].identity else numbers[::-1]) for use in uses]
        keys = trial_keys(planner.keys, rows, [level.label for level in request.levels])
        by_content = ids.is_by_content(seed)
        chosen = [planner.chosen[use] for use, _ in rows]
        if by_content:
            chosen = list(_seeds_of_contents(planner.uses, rows, request.levels, chosen))
        assigned = ids.assign(execution_seed, list(keys), chosen)
    for text in planner.warnings:
        warn(text)
    return Plan(
        uses=tuple(planner.uses),
        rows=tuple(Row(use, numbers, *drawn) for (use, numbers), drawn in zip(rows, assigned, strict=True)),
        **_facts(request, where, workspace, execution_seed, by_content),
    )


def _facts(
    request: TaskRequest, project: Project, workspace: Workspace, execution_seed: int, by_content: bool
) -> dict[str, Any]:
    """Return the attributes of a plan apart from its trials."""
    return {
        "id": ids.encode(execution_seed),
        "seed": execution_seed,
        "name": request.name,
        "project": project.path,
        "project_name": workspace.main.name or os.path.basename(project.path) or "project",
        "request": request,
        "by_content": by_content,
    }


def _check_search(request: TaskRequest) -> None:
    """Check that a search has one component with one version."""
    if len(request.components) != 1:
        raise InvalidValue(
            f"a search is over the configurations of one component, and the task has {len(request.components)}",
            given=len(request.components),
            todo="Let one component require the others, or make a task for each.",
        )
    count = _count(request) // prod(level.total for level in request.levels)
    if count != 1:
        raise InvalidValue(
            f"a search has one version of its component, and the task has {count} alternatives",
            given=count,
            todo="Put them into the space: {'~': ml.choice(['~small', '~large'])}, or {'rate': ml.choice([0.1, 0.2])}.",
        )


def _seeds_of_contents(
    uses: Sequence[Use],
    rows: Sequence[tuple[int, tuple[int, ...]]],
    levels: Sequence[Level],
    chosen: Sequence[int | None],
) -> Iterator[int]:
    """Yield the seed of each trial by its content: that of a requirement for the first, others for repetitions of it.

    The parts of a split differ in their content, which has no flags of levels.
    """
    counts: Counter[str] = Counter()
    for (use, numbers), seed in zip(rows, chosen, strict=True):
        if seed is not None:
            yield seed
            continue
        content = uses[use].definition.content
        parts: list[Plain] = [
            [level.label, number, *([] if level.name == "REPEAT" else [level.total])]
            for level, number in zip(levels, numbers, strict=True)
            if number or level.name != "REPEAT"
        ]
        key = canonical([content, parts])
        ordinal, counts[key] = counts[key], counts[key] + 1
        yield ids.seed_of_content(canonical([content, parts, ordinal]) if parts or ordinal else content)


def definition_of_stored(facts: Mapping[str, Any], project: Project) -> ComponentSpec:
    """Return the definition of a stored trial, given its trial.json, with what is not stored from the project."""
    from machinable.plan.stored_trials import StoredTrial  # most plans need none

    planner = _Planner(_workspace(TaskRequest(), project), TaskRequest(), project.path, (None, None))
    return planner.stored_definition(StoredTrial("", "", facts, {}))


def live_code(request: TaskRequest) -> dict[Target, Any]:
    """Return the classes and functions that a task was given, by their targets.

    Raises:
        InvalidValue: Two of them have the same name, by which they are stored, and get their seeds.
    """
    found: dict[Target, Any] = {}
    for code in request.names():
        if isinstance(code, str):
            continue
        target = _target_of(code)
        if found.setdefault(target, code) is not code:
            kind = "classes" if target.kind == "class" else "functions"
            raise InvalidValue(
                f"the task has two different {kind} called {target.module}:{target.name}",
                given=f"{target.module}:{target.name}",
                todo="Give each its own name, or take one, whose configuration says what differs: "
                "Task().component(it, [{'x': 1}, {'x': 2}]).",
            )
    return found


def _workspace(request: TaskRequest, project: Project) -> Workspace:
    try:
        return project.workspace()
    except MissingFile:
        if not request.components or any(isinstance(name, str) for name in request.names()):
            raise
        return Workspace.empty()  # classes and functions need no declarations


def _count(request: TaskRequest) -> int:
    """Return the number of listed trials."""
    versions = ((one.version, *(child.version for _, child in one.named_children())) for one in request.components)
    return sum(prod(map(alternatives, one)) for one in versions) * prod(level.total for level in request.levels)


def _listed(request: TaskRequest) -> list[tuple[ComponentRequest, Any, Sequence[Any]]]:
    """Return the components of one round: each with one version, and one for each of its children."""
    listed: list[tuple[ComponentRequest, Any, Sequence[Any]]] = []
    for asked in request.components:
        child_versions = [expand_lists(child.version) for _, child in asked.named_children()]
        listed += [(asked, version, inner) for version, *inner in product(expand_lists(asked.version), *child_versions)]
    return listed


class _Resolved(Struct, frozen=True):
    """The configuration of a component for one use, its code, and the name it was given by."""

    resolved: Resolved
    target: Target
    name: str


class _Key(Struct, frozen=True):
    """The key of a requirement as written; different keys may still mean the same computation."""

    name: Named
    version: str


class _Ref(Struct, frozen=True):
    """Another component that a use names: the name it has there, and whether the task gives it."""

    resolved: Resolved
    name: str
    written_as: str  # the name without the number of one of several
    is_asked: bool = False
    reserved_key: str = "_requires_"

    @property
    def path(self) -> str:
        """Its location, for messages."""
        component = self.resolved.component
        return (
            f"requires.{self.name} of {component}" if self.is_asked else f"{component}.{self.reserved_key}.{self.name}"
        )

    @property
    def place(self) -> Place | None:
        """Where it is written; None for one from the task."""
        return None if self.is_asked else _reserved_place(self.resolved, self.reserved_key, self.written_as)


class _RequirementRef(_Ref, frozen=True):
    """A requirement of a use."""

    key: _Key = _Key("", "")
    artifact: str | None = None


_Declared = Mapping[str, "RequirementRequest | tuple[RequirementRequest, ...]"]
_Refs = dict[str, "_RequirementRef | None"]  # by the names that a use gives them; None where one is wrong


class _Planner:
    """Resolve the components of a task, with its versions for all of them, and everything that they require."""

    def __init__(
        self, workspace: Workspace, request: TaskRequest, directory: str, storages: tuple[str | None, str | None]
    ) -> None:
        self.uses: list[Use] = []  # requirements come before the first that needs them
        self.keys: list[KeyParts | str] = []  # the parts of the key of each use
        self.chosen: list[int | None] = []  # the seed of each use, if it does not follow from the key
        self.warnings: list[str] = []
        self.errors: dict[str, MachinableError] = {}
        self._workspace = workspace
        self._request = request
        self._directory = directory
        self._storage, self._stored_in = storages
        self._task_versions = request.versions
        self._seeding, self._threads = _defaults(workspace)
        self._known: dict[Named, tuple[Entry, Target, str]] = {}
        self._effective: dict[int, Effective] = {}
        self._mixin_keys: dict[int, frozenset[str]] = {}
        self._asked: dict[_Key, tuple[RequirementRequest, _RequirementRef]] = {}
        self._required: dict[_Key, tuple[_Resolved | StoredTrial, _Refs]] = {}
        self._flags: dict[str, Plain] = {}
        self._is_visited: dict[_Key, bool] = {}  # False: some of its requirements have not been visited yet
        self._made: dict[_Key, int] = {}
        self._by_identity: dict[str, int] = {}
        self._versions_of: dict[str, list[Any]] = {}  # by the canonical names of components
        self._used: dict[str, None] = {}  # the canonical names of all components, with `versions_of`
        for of, version in request.versions_of:
            try:
                entry, _, _ = _find(workspace, of)
            except MachinableError as error:
                error.path = error.path or "of"
                self._note(error)
            else:
                self._versions_of.setdefault(entry.name, []).append(version)

    def check_versions_of(self) -> None:
        """Report versions for components that the plan does not use."""
        for name in self._versions_of:
            if name not in self._used and not self.errors:
                self._note(UnknownName("component of the plan", name, list(self._used), path="of"))

    def add(self, asked: ComponentRequest, version: Any, child_versions: Sequence[Any]) -> int:
        """Add a listed component and return the number of its use, which is meaningless after an error."""
        found = self._resolve(asked.name, version, self._task_versions)
        if found is None:
            for (_, child), one in zip(asked.named_children(), child_versions, strict=True):
                if child.name:
                    self._resolve(child.name, one, self._task_versions)  # for its errors
            return -1
        try:
            children = self._children(found.resolved, asked, child_versions, self._task_versions)
            requires = self._needed(found.resolved, asked) if children is not None else None
            if children is None or requires is None:
                return -1
            use = self._use(found, asked, children, requires)
        except MachinableError as error:
            self._note(error)
            return -1
        key = key_parts(found.resolved.counts_as[0], use.definition.version, _asked_parts(asked, children))
        return self._append(use, key, found.resolved.reserved.get("_seed_"))

    def add_sample(self, values: Mapping[str, Plain]) -> None:
        """Add the component of a search with the values of a sample; see `UsePlanner`."""
        asked, version, inner = self._search
        self.errors.clear()
        self.add(asked, sample_version(version, values), inner)
        SeveralErrors.raise_any(list(self.errors.values()))

    @cached_property
    def _search(self) -> tuple[ComponentRequest, Any, Sequence[Any]]:
        (listed,) = _listed(self._request)
        return listed

    def _append(self, use: Use, key: KeyParts | str, chosen: int | None) -> int:
        self.uses.append(use)
        self.keys.append(key)
        self.chosen.append(chosen)
        return len(self.uses) - 1

    # specifications

    def _use(
        self,
        found: _Resolved,
        asked: ComponentRequest,
        children: Sequence[tuple[ComponentSpec, Resolved]],
        requires: Mapping[str, Needed],
    ) -> Use:
        resolved = found.resolved
        effective = self._effective_of(resolved)
        configuration = effective.of(resolved)
        declared = resolved.reserved.get("_seeding_")
        seeding = tuple(declared) if declared is not None else self._seeding
        definition = self._definition(
            found,
            asked,
            configuration,
            children=tuple(spec for spec, _ in children),
            tags={**effective.changed(resolved), **asked.tags} if resolved.is_changed else asked.tags,
            seeding=seeding,
            change_directory=resolved.reserved.get("_chdir_") is True,
            default_threads=self._threads,
            content=content(
                *resolved.counts_as,
                configuration,
                children=[
                    [*one.counts_as, self._effective_of(one).of(one), *([spec.called] if spec.called else [])]
                    for spec, one in children
                ],
                flags=without_hidden(asked.flags),
                checkpoint=asked.checkpoint,
                requirements={
                    name: [needed.identity, needed.artifact] if needed.artifact else needed.identity
                    for name, needed in requires.items()
                },
                seeding=seeding,
            ),
            **reserved_fields(resolved, asked.resources),
        )
        return Use(definition, requires, resolved.entry.place)

    def _children(
        self, resolved: Resolved, asked: ComponentRequest, versions: Sequence[Any], task_versions: Sequence[Any]
    ) -> list[tuple[ComponentSpec, Resolved]] | None:
        """Return the children of a use: those of the task, a mapping over the declared ones; None after an error."""
        if asked.children == () or (not asked.children and resolved.reserved.get("_children_") is None):
            return []
        given = {name: (child, one) for (name, child), one in zip(asked.named_children(), versions, strict=True)}
        requests: dict[str, tuple[ChildRequest, Any, _Ref | None]] = {}
        is_complete = True
        if asked.children and not isinstance(asked.children, Mapping):
            requests = {name: (*one, None) for name, one in given.items()}
        else:
            over = asked.children if isinstance(asked.children, Mapping) else {}
            declared, wrong = self._declared(resolved, "_children_", declared_children)
            is_complete = not wrong
            known = {**declared, **wrong}
            _check_removed(over, known, "child", "children", resolved)
            self._warn_of_misspelt("child", over, known, resolved)
            for name, one in {**declared, **over}.items():
                if name in given and not given[name][0].name:
                    child, version = given[name]
                    below = declared.get(name)
                    if isinstance(below, RequirementRequest):
                        requests[name] = replace(child, name=below.name), (below.version, version), None
                    elif name not in wrong:
                        raise _not_declared(name, declared, resolved)
                elif name in given:
                    requests[name] = (*given[name], None)
                elif not isinstance(one, ChildRequest):
                    for full_name, _, request in numbered({name: one}):
                        where = _Ref(resolved, full_name, name, reserved_key="_children_")
                        requests[full_name] = ChildRequest(request.name), request.version, where
        children = []
        for name, (child, version, ref) in requests.items():
            found = self._resolve(child.name, version, task_versions, ref)
            if found is None:
                is_complete = False
                continue
            called = "" if name.replace(".", "").isdecimal() else name
            try:
                children.append((self._child(child, found, called), found.resolved))
            except MachinableError as error:
                used = f"used as {ref.path}   {ref.place}" if ref else f"used as a child of {resolved.component}"
                error.details = (*error.details, used)
                raise
        return children if is_complete else None

    def _declared(
        self, resolved: Resolved, key: str, parse: Callable[[Any, str, dict[str, MachinableError]], _Declared]
    ) -> tuple[_Declared, dict[str, MachinableError]]:
        """Return the requirements or children in a reserved key, and the errors of others, which are reported."""
        wrong: dict[str, MachinableError] = {}
        try:
            declared = parse(resolved.reserved.get(key), f"{resolved.component}.{key}", wrong)
        except MachinableError as error:
            error.at = _reserved_place(resolved, key)
            raise
        for name, problem in wrong.items():
            problem.at = _reserved_place(resolved, key, name)
            self._note(problem)
        return declared, wrong

    def _child(self, asked: ChildRequest, found: _Resolved, called: str) -> ComponentSpec:
        resolved = found.resolved
        if resolved.reserved.get("_requires_"):
            raise MalformedText(
                f"the child {resolved.component} requires other components, which only its parent can",
                at=_reserved_place(resolved, "_requires_"),
                path=f"{resolved.component}._requires_",
                todo="Require them there, and read them in the child as self.node.requires; "
                "or use the child with the version {'_requires_': None}.",
            )
        if resolved.reserved.get("_children_"):
            raise MalformedText(
                f"the child {resolved.component} has children itself, which only the component of a trial can",
                at=_reserved_place(resolved, "_children_"),
                path=f"{resolved.component}._children_",
                todo="Declare them as children of its parent; or use the child with the version {'_children_': None}.",
            )
        configuration = self._effective_of(resolved).of(resolved)
        own = content(
            *resolved.counts_as,
            configuration,
            children=(),
            flags=without_hidden(asked.flags),
            checkpoint=asked.checkpoint,
            requirements={},
            seeding=None,
        )
        return self._definition(found, asked, configuration, content=own, called=called)

    def _definition(
        self, found: _Resolved, asked: ComponentRequest | ChildRequest, configuration: Plain, **more: Any
    ) -> ComponentSpec:
        resolved = found.resolved
        flags = {**asked.flags, "NAME": found.name, "MODULE": resolved.module}
        flags.pop("TUNING", None)  # set when the trial runs
        if asked.checkpoint is not None:
            flags["CHECKPOINT"] = asked.checkpoint
        if flags == self._flags:  # those of the use before, so that thousands of versions share them
            flags = self._flags
        self._flags = flags
        counts_as = resolved.counts_as
        return ComponentSpec(
            component=resolved.component,
            module=resolved.module,
            version=visible_elements(resolved.elements),
            config=resolved.config,
            target=found.target,
            flags=flags,
            stored=resolved.stored,
            origins=Origins(resolved),
            evaluate=resolved.evaluate,
            mixins=tuple(
                MixinSpec(
                    mixin.reached_as,
                    mixin.entry.import_path,
                    class_of(mixin.entry),
                    self._mixin_content(mixin.entry, configuration),
                )
                for mixin in resolved.uses
            ),
            mixin_only=resolved.mixin_only_keys(),
            former=None if counts_as == (resolved.component, resolved.module) else counts_as,
            **more,
        )

    def _mixin_content(self, entry: Entry, configuration: Any) -> str:
        keys = self._mixin_keys.get(id(entry))
        if keys is None:
            keys = self._mixin_keys[id(entry)] = keys_of(entry)
        return mixin_content(entry.import_path, {key: configuration[key] for key in keys if key in configuration})

    def _effective_of(self, resolved: Resolved) -> Effective:
        entry = resolved.entry
        known = self._effective.get(id(entry))
        if known is None:
            declared = resolve(self._workspace, entry) if resolved.is_changed else resolved
            known = self._effective[id(entry)] = Effective(declared)
        return known

    # requirements

    def _needed(self, resolved: Resolved, asked: ComponentRequest) -> Mapping[str, Needed] | None:
        """Return the requirements of a listed component, whose uses are added first; None after an error."""
        if resolved.reserved.get("_requires_") is None and not asked.requires:
            return _NO_REQUIREMENTS
        refs = self._refs(resolved, asked.requires)
        for ref in refs.values():
            if ref is not None:
                self._visit(ref.key, resolved.component)
        return self._connected(refs)

    def _visit(self, start: _Key, listed: str) -> None:
        """Add a requirement of a listed component and everything that it requires, in the order of dependency.

        A chain may be too long for recursion. A cycle is reported and cut.
        """
        if start in self._is_visited:
            return
        path = [(start, self._resolve_requirement(start))]
        while path:
            key, rest = path[-1]
            for other in rest:
                is_visited = self._is_visited.get(other)
                if is_visited is None:
                    path.append((other, self._resolve_requirement(other)))
                    break
                if not is_visited:
                    keys = [one for one, _ in path]
                    self._note_cycle(keys[keys.index(other) :], listed)
            else:
                path.pop()
                self._is_visited[key] = True
                self._add_required(key)

    def _refs(self, resolved: Resolved, asked: RequirementRequests) -> _Refs:
        """Return the requirements of a use, by name: the declared ones, overridden by those of the task."""
        declared, wrong = self._declared(resolved, "_requires_", declared_requirements)
        _check_removed(asked, declared, "requirement", "requires", resolved)
        self._warn_of_misspelt("requirement", asked, declared, resolved)
        result: _Refs = dict.fromkeys(wrong)
        for name, written, request in numbered({**declared, **asked}):
            if name in result:
                raise MalformedText(
                    f"two requirements are called {name!r}: one of several called {written!r}, and another one",
                    at=_reserved_place(resolved, "_requires_"),
                    path=f"{resolved.component}._requires_",
                    given=name,
                    todo="Give one of them another name.",
                )
            key = _Key(request.name, canonical(elements_of(request.version)))
            result[name] = ref = _RequirementRef(
                resolved, name, written, written in asked, key=key, artifact=request.artifact
            )
            self._asked.setdefault(key, (request, ref))
        return result

    def _resolve_requirement(self, key: _Key) -> Iterator[_Key]:
        """Resolve a requirement, and return the keys of its requirements."""
        self._is_visited[key] = False
        request, ref = self._asked[key]
        refs: _Refs = {}
        if isinstance(request.name, str) and is_stored_trial(request.name):
            try:
                stored = self._find_stored(request.name)
            except MachinableError as error:
                error.at, error.path = ref.place, ref.path
                self._note(error)
                return iter([])
            for name, place in stored.requires.items():
                inner = RequirementRequest(place)
                refs[name] = one = replace(ref, key=_Key(place, canonical([])), artifact=None)
                self._asked.setdefault(one.key, (inner, one))
            self._required[key] = stored, refs
            return iter([one.key for one in refs.values() if one is not None])
        found = self._resolve(request.name, request.version, (), ref)
        if found is not None:
            try:
                refs = self._refs(found.resolved, {})
                self._required[key] = found, refs
            except MachinableError as error:
                self._note(error)
        return iter([one.key for one in refs.values() if one is not None])

    def _add_required(self, key: _Key) -> None:
        """Add the use of a requirement after everything that it requires, unless there is an equal use."""
        if key not in self._required:
            return
        found, refs = self._required.pop(key)
        requires = self._connected(refs)
        if requires is None:
            return
        if not isinstance(found, _Resolved):
            self._made[key] = self._add_stored(found, requires, self._asked[key][1].place)
            return
        request = self._asked[key][0]
        try:
            asked = ComponentRequest(request.name)
            children = self._children(found.resolved, asked, (), ())
            if children is None:
                return
            use = self._use(found, asked, children, requires)
        except MachinableError as error:
            self._note(error)
            return
        content = use.definition.content
        chosen = found.resolved.reserved.get("_seed_")
        name = identity(content, chosen)
        if name not in self._by_identity:
            seed = ids.seed_of_content(content) if chosen is None else chosen
            use = replace(use, definition=replace(use.definition, is_requirement=True), identity=name)
            self._by_identity[name] = self._append(use, canonical({"requirement": name}), seed)
        self._made[key] = self._by_identity[name]

    def _find_stored(self, text: str) -> StoredTrial:
        from machinable.plan.stored_trials import find_stored_trial, storage_of_project  # most plans need none

        if self._storage is None:
            self._storage = storage_of_project(self._workspace.main.execution, self._directory)
        return find_stored_trial(text, self._storage, self._stored_in)

    def _add_stored(self, stored: StoredTrial, requires: Mapping[str, Needed], at: Place | None) -> int:
        """Add the use of a stored trial, in place of a use that would compute the same."""
        name, seed = stored.facts["identity"], stored.facts["seed"]
        definition = replace(self.stored_definition(stored), is_requirement=True, stored_at=stored.path)
        use = Use(definition, requires, at, identity=name)
        if name in self._by_identity:
            number = self._by_identity[name]
            self.uses[number] = replace(use, requires=self.uses[number].requires)
        else:
            number = self._by_identity[name] = self._append(use, canonical({"requirement": name}), seed)
        return number

    def stored_definition(self, stored: StoredTrial) -> ComponentSpec:
        """Return the definition of a stored trial, with what is not stored from its declaration if there still is one.

        These are the class, mixins and hidden keys, which a live instance needs.
        """
        planned = spec_from_data(stored.facts).definition
        entry = self._workspace.main.components.lookup(planned.component)
        if entry is None or entry.import_path != planned.module:
            return planned
        try:
            resolved = resolve(self._workspace, entry, planned.version)
        except MachinableError:  # it has changed since, or it has errors that do not matter here
            return planned
        asked = ComponentRequest(planned.component)
        now = self._definition(_Resolved(resolved, Target(entry.import_path, resolved.class_name), ""), asked, {})
        hidden = {key: value for key, value in now.config.items() if is_hidden(key)}
        return replace(planned, target=now.target, mixins=now.mixins, config={**hidden, **planned.config})

    def _connected(self, refs: _Refs) -> dict[str, Needed] | None:
        """Return the uses that these refer to; None if one of them has an error, which is reported."""
        result = {}
        for name, ref in refs.items():
            if ref is None or ref.key not in self._made:
                return None
            number = self._made[ref.key]
            result[name] = Needed(number, self.uses[number].identity, ref.artifact)
        return result

    def _note_cycle(self, keys: Sequence[_Key], first_name: str) -> None:
        """Report components that require each other, from the listed one on if it is among them."""
        links: list[_RequirementRef] = []
        for key, following in zip(keys, [*keys[1:], keys[0]], strict=True):
            refs = self._required[key][1].values()
            links.append(next(ref for ref in refs if ref is not None and ref.key == following))
        first = next((i for i, link in enumerate(links) if link.resolved.component == first_name), 0)
        links = [*links[first:], *links[:first]]
        names = [link.resolved.component for link in [*links, links[0]]]
        texts = [f"{link.path} = {name}" for link, name in zip(links[:MAX_LISTED], names[1:], strict=False)]
        width = max(map(len, texts))
        listed = names
        if len(names) > MAX_LISTED:
            more = f"… {len(names) - MAX_LISTED + 1:,} more …"
            listed = [*names[: MAX_LISTED // 2], more, *names[1 - MAX_LISTED // 2 :]]
        self._note(
            MalformedText(
                f"a component requires itself: {' → '.join(listed)}",
                at=links[0].place,
                path=links[0].path,
                given=names[1],
                details=[f"{text:<{width}}   {link.place}" for text, link in zip(texts, links, strict=False)],
                todo="Remove one of these requirements.",
            )
        )

    # configurations

    def _resolve(
        self, name: Named, version: Any, task_versions: Sequence[Any], ref: _Ref | None = None
    ) -> _Resolved | None:
        """Return the configuration of one use, which `ref` names; None after an error."""
        try:
            if name not in self._known:
                try:
                    self._known[name] = _find(self._workspace, name)
                except UnknownName as error:
                    if ref is not None:
                        error.at, error.path = ref.place, ref.path
                    raise
            entry, target, given = self._known[name]
            if self._versions_of:
                self._used[entry.name] = None
            if "_identity_" in entry.body.reserved:
                _check_identity(self._workspace, entry)
            resolved = resolve(self._workspace, entry, version, task_versions)
            if entry.name in self._versions_of:
                try:
                    over = (version, *self._versions_of[entry.name])
                    resolved = resolve(self._workspace, entry, over, task_versions)
                except MachinableError as error:
                    for one in error.parts:
                        one.details = (*one.details, f"in the version of the task for {entry.name}")
                    self._note(error)
                    return None
        except MachinableError as error:
            if ref is not None:
                for one in error.parts:
                    if one.path != ref.path:
                        place = f"   {ref.place}" if ref.place else ""
                        verb = "required" if ref.reserved_key == "_requires_" else "used"
                        one.details = (*one.details, f"{verb} as {ref.path}{place}")
            self._note(error)
            return None
        if target.kind == "component" and resolved.class_name != target.name:
            target = Target(resolved.module, resolved.class_name)
        self._warn(resolved.warnings)
        return _Resolved(resolved, target, given)

    def _warn_of_misspelt(self, kind: str, asked: Iterable[str], declared: Collection[str], resolved: Resolved) -> None:
        for name in asked:
            self._warn(misspelt_use(kind, name, declared, resolved.entry, strict=self._workspace.main.strict))

    def _warn(self, warnings: Iterable[str]) -> None:
        self.warnings += [text for text in warnings if text not in self.warnings]

    def _note(self, error: MachinableError) -> None:
        for one in error.parts:
            self.errors.setdefault(str(one), one)


_NO_REQUIREMENTS: Mapping[str, Needed] = {}


def _reserved_place(resolved: Resolved, key: str, name: str | None = None) -> Place | None:
    """Return the place of a declared requirement or child, or else of its reserved key, or else of the component."""
    place = None
    if name is not None:
        part = int(name) if isinstance(resolved.reserved[key], list) else name
        place = resolved.reserved_place(key, part)
    return place or resolved.reserved_place(key) or resolved.entry.place


def _check_identity(workspace: Workspace, entry: Entry) -> None:
    """Check that no other component has or takes the name that a component had before."""
    former = entry.body.reserved["_identity_"]
    for other in workspace.main.components:
        if other is not entry and former in (other.name, other.body.reserved.get("_identity_")):
            has = "is declared" if former == other.name else "has it, too"
            raise MalformedText(
                f"`_identity_` is {former!r}, but {other.name} {has}, and their results would be mixed up",
                at=entry.body.place("_identity_"),
                path=f"{entry.name}._identity_",
                given=former,
                details=[f"{other.name} is declared at {other.place}"],
                todo="Remove `_identity_`, or the other component.",
            )


def _not_declared(name: str, declared: Mapping[str, Any], resolved: Resolved) -> UnknownName:
    todo = f"Name a component: children={{{name!r}: {{'component': …}}}}." if name in declared or not declared else None
    return UnknownName("declared child", name, declared, at=resolved.entry.place, path=f"children.{name}", todo=todo)


def _check_removed(
    asked: Mapping[str, Any], declared: Mapping[str, Any], what: str, argument: str, resolved: Resolved
) -> None:
    """Check that what a task removes is declared."""
    for name, request in asked.items():
        if request is None and name not in declared:
            raise UnknownName(what, name, declared, at=resolved.entry.place, path=f"{argument}.{name}")


def _asked_parts(asked: ComponentRequest, children: Sequence[tuple[ComponentSpec, Resolved]]) -> Plain:
    """Return the part of a key for the children that the task gives; what is declared does not change seeds."""
    parts = {
        spec.called or str(number): [one.counts_as[0], spec.version] for number, (spec, one) in enumerate(children)
    }
    if isinstance(asked.children, Mapping):
        return {name: parts.get(name) for name in asked.children}
    return list(parts.values()) if asked.children else []


def _defaults(workspace: Workspace) -> tuple[tuple[str, ...] | None, int]:
    """Return the seeding functions and the number of threads of every trial, from the section `execution`."""
    section = workspace.main.execution
    names, threads = section.get("seeding"), section.get("threads")
    wrong = None
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        wrong, todo = "seeding", "Write a list of dotted names: [random.seed, numpy.random.seed]."
    elif threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or threads < 1):
        wrong, todo = "threads", "Write a whole number of at least 1: the threads of a trial that requests no `cpus`."
    if wrong is not None:
        value = section[wrong]
        at = section.place(wrong) if isinstance(section, MappingNode) else None
        raise MalformedText(f"`{wrong}` is {value!r}", path="execution", given=value, at=at, todo=todo)
    return None if names is None else tuple(names), threads or 1


def _target_of(code: type[Any] | Callable[..., Any]) -> Target:
    qualified = getattr(code, "__qualname__", type(code).__qualname__)
    return Target(code.__module__, qualified, "class" if isinstance(code, type) else "function")


def _find(workspace: Workspace, name: Named) -> tuple[Entry, Target, str]:
    """Return the entry, the code and the name of a component that is given as in `Task.component`."""
    if isinstance(name, str):
        entry = find_component(workspace, name)
        return entry, Target(entry.import_path), name
    target = _target_of(name)
    if target.kind == "class":
        for entry in workspace.main.components:
            if entry.import_path == target.module:
                return entry, target, entry.name
    text = f"{target.module}:{target.name}"
    return undeclared(text, target.module), target, text
