"""The uses of components that a task asks for, resolved, with all that they require; errors are told together.

The order of what needs each other: everything after what it needs, without recursion, and circles found.
From a task to its plan: which trials there are, in which order, with which seeds and names.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any, Generic, NamedTuple, TypeVar

from msgspec.structs import replace

from machinable import ids
from machinable.config.inheritance import class_of
from machinable.config.loader import Workspace
from machinable.config.nodes import MappingNode
from machinable.config.registry import Entry
from machinable.config.resolve import find_component, resolve, undeclared
from machinable.config.resolved import Origins, Resolved
from machinable.config.versions import elements_of, expand_lists
from machinable.errors import MachinableError, MalformedText, MissingFile, Place, SeveralErrors, UnknownName
from machinable.plan.identity import (
    Effective,
    KeyParts,
    content,
    identity,
    key_parts,
    requirement_key,
    trial_keys,
    visible_elements,
)
from machinable.plan.plan import Needed, Plan, Row, Use
from machinable.plan.request import ChildRequest, ComponentRequest, Named, RequirementRequest, TaskRequest
from machinable.plan.requirements import declared_requirements
from machinable.plan.reserved_keys import steering
from machinable.plan.spec import ComponentSpec, MixinSpec, Target
from machinable.project import Project
from machinable.serialization import Plain, canonical, without_collections

__all__ = ["Arranged", "Order", "Uses", "arrange", "expand", "live_code", "target_of"]

K = TypeVar("K", bound=Hashable)


class Order(Generic[K]):
    """Visits the nodes of a graph once.

    Args:
        needs: the nodes that a node needs, asked once for each.
        circle: is told the nodes of a circle in order, the first of them not repeated; the circle is then cut.
    """

    def __init__(self, needs: Callable[[K], Iterable[K]], circle: Callable[[Sequence[K]], None] | None = None) -> None:
        self._needs = needs
        self._circle = circle
        self._is_done: dict[K, bool] = {}  # False: on the way to it

    def visit(self, start: K) -> Iterator[K]:
        """A node and all that it needs, each after what it needs itself; what was visited before is left out."""
        if start in self._is_done:
            return
        self._is_done[start] = False
        way = [(start, iter(self._needs(start)))]
        while way:
            node, rest = way[-1]
            for other in rest:
                is_done = self._is_done.get(other)
                if is_done is None:
                    self._is_done[other] = False
                    way.append((other, iter(self._needs(other))))
                    break
                if not is_done and self._circle is not None:
                    nodes = [one for one, _ in way]
                    self._circle(nodes[nodes.index(other) :])
            else:
                way.pop()
                self._is_done[node] = True
                yield node


SHOWN = 12  # components of a circle that is printed


class _Known(NamedTuple):
    """A component as it was given: its entry, where that is, where the code is, and what it was called."""

    entry: Entry
    place: Place | None
    target: Target
    name: str


class _Found(NamedTuple):
    """A component's configuration for one use, where it is declared, where its code is, and what it was called."""

    resolved: Resolved
    place: Place | None
    target: Target
    name: str


class _Key(NamedTuple):
    """What tells requirements apart as they are written; two of them may still mean the same."""

    name: Named
    version: str


class RequirementRef(NamedTuple):
    """A requirement of one use: what it is, how the use calls it, and whether that was said in the task."""

    key: _Key
    artifact: str | None
    resolved: Resolved
    name: str
    is_asked: bool

    @property
    def path(self) -> str:
        """Where it was said, for messages."""
        component = self.resolved.component
        return f"requires.{self.name} of {component}" if self.is_asked else f"{component}._requires_.{self.name}"

    @property
    def place(self) -> Place | None:
        """Where it was written; None for what was said in a task."""
        return None if self.is_asked else _place(self.resolved, self.name)


class Uses:
    """Resolves what a task asks for, and what that requires.

    Attributes:
        uses: what is to be run; those that are required stand before the first that needs them.
        keys: of each use the parts of its key. chosen: its seed, if it does not follow from the key.
        warnings: what may be a mistake.
    """

    def __init__(self, workspace: Workspace, request: TaskRequest) -> None:
        self.uses: list[Use] = []
        self.keys: list[KeyParts | str] = []
        self.chosen: list[int | None] = []
        self._errors: dict[str, MachinableError] = {}
        self.warnings: list[str] = []
        self._workspace = workspace
        self._task_versions = tuple(request.versions)
        self._entries: dict[Named, _Known] = {}
        self._declared: dict[int, Effective] = {}
        self._defaults = _Defaults(workspace)
        self._calls: dict[_Key, tuple[RequirementRequest, RequirementRef]] = {}
        self._required: dict[_Key, tuple[_Found, dict[str, RequirementRef | None]]] = {}
        self._made: dict[_Key, int] = {}
        self._by_identity: dict[str, int] = {}
        self._listed: str = ""  # the listed component whose requirements are looked at
        self._order = Order(self._requirements_of, self._note_circle)

    @property
    def errors(self) -> list[MachinableError]:
        """What is wrong, each told once."""
        return list(self._errors.values())

    def add(self, call: ComponentRequest, version: Any, child_versions: Sequence[Any]) -> int:
        """The number of a listed use; after an error the number means nothing."""
        found = self._resolve(call.name, version, self._task_versions)
        children = [
            (child, self._resolve(child.name, one, self._task_versions))
            for child, one in zip(call.children, child_versions, strict=True)
        ]
        if found is None or any(child is None for _, child in children):
            return -1
        try:
            specs = []
            key_children: list[Plain] = []
            parts: list[Plain] = []
            for child, inner in children:
                assert inner is not None
                specs.append(self._child(child, inner))
                key_children.append([inner.resolved.component, specs[-1].version])
                parts.append([inner.resolved.component, inner.resolved.module, self._effective(inner.resolved)])
            requires = self._needed(found.resolved, call)
            if requires is None:
                return -1
            use = self._use(found, call, specs, parts, requires)
        except MachinableError as error:
            self._note(error)
            return -1
        return self._append(
            use, key_parts(use.definition.component, use.definition.version, key_children), found.resolved.reserved
        )

    def _append(self, use: Use, key: KeyParts | str, reserved: Mapping[str, Plain]) -> int:
        self.uses.append(use)
        self.keys.append(key)
        self.chosen.append(reserved.get("_seed_"))
        return len(self.uses) - 1

    def _use(
        self,
        found: _Found,
        call: ComponentRequest,
        children: Sequence[ComponentSpec],
        effective_children: Sequence[Plain],
        requires: Mapping[str, Needed],
    ) -> Use:
        resolved = found.resolved
        seeding = resolved.reserved.get("_seeding_")
        effective = self._effective_of(resolved)
        tags = call.tags
        if resolved.is_changed:
            tags = {**effective.changed(resolved), **call.tags}
        definition = self._definition(
            found,
            call,
            children=tuple(children),
            tags=tags,
            seeding=tuple(seeding) if seeding is not None else self._defaults.seeding,
            change_directory=resolved.reserved.get("_chdir_") is True,
            default_threads=self._defaults.threads,
            content=content(
                resolved.component,
                resolved.module,
                effective.of(resolved),
                children=effective_children,
                flags=call.flags,
                checkpoint=call.checkpoint,
                requirements={
                    name: [needed.identity, needed.artifact] if needed.artifact else needed.identity
                    for name, needed in requires.items()
                },
            ),
            **steering(resolved, call.resources),
        )
        return Use(definition, requires, found.place)

    def _definition(self, found: _Found, call: ComponentRequest | ChildRequest, **more: Any) -> ComponentSpec:
        resolved = found.resolved
        flags = {**call.flags, "NAME": found.name, "MODULE": resolved.module}
        flags.pop("TUNING", None)  # set when the trial runs
        if call.checkpoint is not None:
            flags["CHECKPOINT"] = call.checkpoint
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
                MixinSpec(use.reached_as, use.entry.import_path, class_of(use.entry)) for use in resolved.uses
            ),
            mixin_only=resolved.mixin_only_keys(),
            **more,
        )

    # what is required

    def _needed(self, resolved: Resolved, call: ComponentRequest) -> Mapping[str, Needed] | None:
        """The requirements of a listed use, which are made for that; None after an error."""
        if resolved.reserved.get("_requires_") is None and not call.requires:
            return _NONE
        wanted = self._wanted(resolved, call.requires)
        self._listed = resolved.component
        for one in wanted.values():
            for key in self._order.visit(one.key) if one is not None else ():
                self._make(key)
        return self._connected(wanted)

    def _wanted(
        self, resolved: Resolved, asked: Mapping[str, RequirementRequest | None]
    ) -> dict[str, RequirementRef | None]:
        """What a use requires, by name: as declared, and over it what the task asks for; None for what is wrong."""
        given = resolved.reserved.get("_requires_")
        path = f"{resolved.component}._requires_"
        wrong: dict[str, MachinableError] = {}
        try:
            declared = declared_requirements(given, path, wrong)
        except MachinableError as error:
            error.at = _place(resolved)
            raise
        for name, problem in wrong.items():
            problem.at = _place(resolved, name)
            self._note(problem)
        for name, call in asked.items():
            if call is None and name not in declared:
                raise UnknownName("requirement", name, declared, at=resolved.entry.place, path=f"requires.{name}")
        result: dict[str, RequirementRef | None] = dict.fromkeys(wrong)
        for name, call in {**declared, **asked}.items():
            if call is None:
                continue
            key = _Key(call.name, canonical(elements_of(call.version)))
            result[name] = wanted = RequirementRef(key, call.artifact, resolved, name, name in asked)
            self._calls.setdefault(key, (call, wanted))
        return result

    def _requirements_of(self, key: _Key) -> list[_Key]:
        """Resolves a requirement, and says what it requires itself."""
        call, wanted = self._calls[key]
        found = self._resolve(call.name, call.version, (), wanted)
        if found is None:
            return []
        try:
            inner = self._wanted(found.resolved, {})
        except MachinableError as error:
            self._note(error)
            return []
        self._required[key] = found, inner
        return [one.key for one in inner.values() if one is not None]

    def _make(self, key: _Key) -> None:
        """Makes the use of a requirement, when all that it requires is made; one that computes the same is that one."""
        if key not in self._required:
            return
        found, wanted = self._required.pop(key)
        requires = self._connected(wanted)
        if requires is None:
            return
        call = self._calls[key][0]
        try:
            use = self._use(found, ComponentRequest(call.name), (), (), requires)
        except MachinableError as error:
            self._note(error)
            return
        chosen = found.resolved.reserved.get("_seed_")
        content = use.definition.content
        name = identity(content, chosen)
        if name not in self._by_identity:
            seed = ids.seed_of_content(content) if chosen is None else chosen
            use = replace(use, definition=replace(use.definition, is_requirement=True), identity=name)
            self._by_identity[name] = self._append(use, requirement_key(name), {"_seed_": seed})
        self._made[key] = self._by_identity[name]

    def _connected(self, wanted: Mapping[str, RequirementRef | None]) -> dict[str, Needed] | None:
        """The uses of what is wanted; None if one of them could not be made, which has been told."""
        result = {}
        for name, one in wanted.items():
            if one is None or one.key not in self._made:
                return None
            number = self._made[one.key]
            result[name] = Needed(number, self.uses[number].identity, one.artifact)
        return result

    def _note_circle(self, keys: Sequence[_Key]) -> None:
        names = [self._required[key][0].resolved.component for key in keys]
        first = names.index(self._listed) if self._listed in names else 0
        keys, names = [*keys[first:], *keys[:first]], [*names[first:], *names[:first]]
        links: list[RequirementRef] = []
        for key, following in zip(keys, [*keys[1:], keys[0]], strict=True):
            inner = self._required[key][1].values()
            links.append(next(one for one in inner if one is not None and one.key == following))
        texts = [f"{link.path} = {name}" for link, name in zip(links, [*names[1:], names[0]], strict=True)]
        width = max(map(len, texts[:SHOWN]))
        details = [f"{text:<{width}}   {link.place}" for text, link in zip(texts[:SHOWN], links, strict=False)]
        shown = [*names, names[0]]
        if len(shown) > SHOWN:
            shown = [*shown[: SHOWN // 2], f"… {len(shown) - SHOWN + 1:,} more …", *shown[1 - SHOWN // 2 :]]
        self._note(
            MalformedText(
                f"a component requires itself: {' → '.join(shown)}",
                at=links[0].place,
                path=links[0].path,
                given=names[1] if len(names) > 1 else names[0],
                details=details,
                todo="Take one of them out.",
            )
        )

    # how components are resolved

    def _resolve(
        self,
        name: Named,
        version: Any,
        task_versions: tuple[Any, ...],
        wanted: RequirementRef | None = None,
    ) -> _Found | None:
        """The configuration of one use, or None after an error; `wanted` is who requires it."""
        try:
            if name not in self._entries:
                try:
                    self._entries[name] = _find(self._workspace, name)
                except UnknownName as error:
                    if wanted is not None:
                        error.at, error.path = wanted.place, wanted.path
                    raise
            known = self._entries[name]
            resolved = resolve(self._workspace, known.entry, version, task_versions)
        except MachinableError as error:
            if wanted is not None:
                for one in error.errors if isinstance(error, SeveralErrors) else (error,):
                    if one.path != wanted.path:
                        place = f"   {wanted.place}" if wanted.place else ""
                        one.details = (*one.details, f"required as {wanted.path}{place}")
            self._note(error)
            return None
        target = known.target
        if target.kind == "component" and resolved.class_name != target.name:
            target = Target(resolved.module, resolved.class_name)
        if resolved.warnings:
            self.warnings += [text for text in resolved.warnings if text not in self.warnings]
        return _Found(resolved, known.place, target, known.name)

    def _note(self, error: MachinableError) -> None:
        for one in error.errors if isinstance(error, SeveralErrors) else (error,):
            self._errors.setdefault(str(one), one)

    def _child(self, call: ChildRequest, found: _Found) -> ComponentSpec:
        resolved = found.resolved
        if resolved.reserved.get("_requires_"):
            raise MalformedText(
                f"the child {resolved.component} requires other components, which only the component it lives in can",
                at=_place(resolved),
                path=f"{resolved.component}._requires_",
                todo="Require them there, and read them in the child as self.node.requires; "
                "or use the child with the version {'_requires_': None}.",
            )
        return self._definition(found, call)

    def _effective(self, resolved: Resolved) -> Plain:
        return self._effective_of(resolved).of(resolved)

    def _effective_of(self, resolved: Resolved) -> Effective:
        entry = resolved.entry
        known = self._declared.get(id(entry))
        if known is None:
            declared = resolve(self._workspace, entry) if resolved.is_changed else resolved
            known = self._declared[id(entry)] = Effective(declared)
        return known


_NONE: Mapping[str, Needed] = {}


def _place(resolved: Resolved, name: str | None = None) -> Place | None:
    """Where a declared requirement was written, as far as that is known."""
    place = None
    if name is not None:
        part = int(name) if isinstance(resolved.reserved["_requires_"], list) else name
        place = resolved.reserved_place("_requires_", part)
    return place or resolved.reserved_place("_requires_") or resolved.entry.place


class _Defaults:
    """What the `execution:` section says about every trial."""

    def __init__(self, workspace: Workspace) -> None:
        section = workspace.main.execution
        names = section.get("seeding")
        if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
            raise MalformedText(
                f"`seeding` is {names!r}",
                path="execution",
                given=names,
                at=section.place("seeding") if isinstance(section, MappingNode) else None,
                todo="Write a list of dotted names: [random.seed, numpy.random.seed].",
            )
        self.seeding: tuple[str, ...] | None = tuple(names) if names is not None else None
        self.threads = 1
        given = section.get("threads")
        if given is not None:
            if isinstance(given, bool) or not isinstance(given, int) or given < 1:
                raise MalformedText(
                    f"`threads` is {given!r}",
                    path="execution",
                    given=given,
                    at=section.place("threads") if isinstance(section, MappingNode) else None,
                    todo="Write a whole number of at least 1: threads that a trial without `cpus` computes with.",
                )
            self.threads = given


def target_of(code: type[Any] | Callable[..., Any]) -> Target:
    """Where a class or a function is to be found."""
    qualified = getattr(code, "__qualname__", type(code).__qualname__)
    return Target(code.__module__, qualified, "class" if isinstance(code, type) else "function")


def _find(workspace: Workspace, name: Named) -> _Known:
    """A component given in one of the ways of `Task.component`."""
    if isinstance(name, str):
        entry = find_component(workspace, name)
        return _Known(entry, entry.place, Target(entry.import_path), name)
    target = target_of(name)
    if target.kind == "class":
        for entry in workspace.main.components:
            if entry.import_path == target.module:
                return _Known(entry, entry.place, target, entry.name)
    text = f"{target.module}:{target.name}"
    return _Known(undeclared(text, target.module), None, target, text)


class Arranged(NamedTuple):
    """A task whose components are resolved, before any seed is known.

    Attributes:
        listed: what each listed component of one round was asked for as: the call, a version, those of the children.
        per_round: the numbers of their uses. rows: the use of each trial and its number in each level. keys: of each.
    """

    workspace: Workspace
    uses: Uses
    listed: list[tuple[ComponentRequest, Any, Sequence[Any]]]
    per_round: list[int]
    rows: list[tuple[int, tuple[int, ...]]]
    keys: list[str]


def arrange(request: TaskRequest, project: Project) -> Arranged:
    """The uses and trials of a task in a project.

    Raises:
        ConfigurationError: the project or a configuration is wrong; everything that is wrong, together.
    """
    try:
        workspace = project.workspace()
    except MissingFile:
        if not request.components or any(isinstance(name, str) for name in request.names()):
            raise
        workspace = Workspace.empty()  # classes and functions need no declarations
    uses = Uses(workspace, request)
    listed: list[tuple[ComponentRequest, Any, Sequence[Any]]] = []
    for call in request.components:
        child_versions = [expand_lists(child.version) for child in call.children]
        listed += [(call, version, inner) for version, *inner in product(expand_lists(call.version), *child_versions)]
    per_round = [uses.add(*one) for one in listed]
    SeveralErrors.raise_any(uses.errors)
    rows = _rows(uses, per_round, request)
    return Arranged(
        workspace,
        uses,
        listed,
        per_round,
        rows,
        list(trial_keys(uses.keys, rows, [level.label for level in request.levels])),
    )


def expand(request: TaskRequest, project: Project | str | os.PathLike[str] | None, seed: object) -> Plan:
    """The plan of a task; see `Task.plan`."""
    execution_seed = ids.seed_of(seed)
    where = project if isinstance(project, Project) else Project(project)
    with without_collections():
        workspace, uses, _, _, rows, keys = arrange(request, where)
        assigned = ids.assign(execution_seed, keys, [uses.chosen[use] for use, _ in rows])
    for text in uses.warnings:
        warnings.warn(text, UserWarning, stacklevel=3)
    return Plan(
        id=ids.encode(execution_seed),
        seed=execution_seed,
        name=request.name,
        project=where.path,
        project_name=workspace.main.name or os.path.basename(where.path) or "project",
        request=request,
        warnings=tuple(uses.warnings),
        uses=tuple(uses.uses),
        rows=tuple(Row(use, numbers, *drawn) for (use, numbers), drawn in zip(rows, assigned, strict=True)),
        levels=tuple(request.levels),
        level_seeds=tuple(ids.level_seed(execution_seed, level.label) for level in request.levels),
    )


def _rows(uses: Uses, per_round: list[int], request: TaskRequest) -> list[tuple[int, tuple[int, ...]]]:
    """The use of each trial and its number in each level; what is required stands before the first that needs it."""
    order = Order(lambda use: [needed.use for needed in uses.uses[use].requires.values()])
    rows: list[tuple[int, tuple[int, ...]]] = []
    for numbers in product(*(range(level.total) for level in reversed(request.levels))):
        for use in per_round:
            if uses.uses[use].requires:
                rows += [(needed, ()) for needed in order.visit(use) if needed != use]
            rows.append((use, numbers[::-1]))
    return rows


def live_code(request: TaskRequest) -> dict[Target, Any]:
    """The classes and functions that a task was given, by where they are to be found."""
    return {target_of(name): name for name in request.names() if not isinstance(name, str)}
