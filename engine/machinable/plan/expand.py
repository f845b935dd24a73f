"""From a task to its plan: which trials there are, with which configurations, seeds and names."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from machinable import ids
from machinable.config.document import Workspace
from machinable.config.lineage import class_of
from machinable.config.names import Entry
from machinable.config.resolve import Origins, Resolved, find_component, resolve, undeclared
from machinable.config.versions import elements_of, expand_lists
from machinable.errors import MachinableError, MalformedText, MissingFile, SeveralErrors, WrongType
from machinable.plain import Plain, canonical, is_hidden
from machinable.plan.identity import Effective
from machinable.plan.plan import Plan, Row, Use
from machinable.plan.resources import parse_resources
from machinable.plan.retries import parse_retries
from machinable.plan.spec import ChildSpec, MixinSpec, Target
from machinable.plan.wish import Call, ChildCall, Named, Wish
from machinable.project import Project

__all__ = ["expand", "live_code", "version_key"]


def expand(wish: Wish, project: Project | str | os.PathLike[str] | None, seed: object) -> Plan:
    """The plan of a task; see `Task.plan`."""
    execution_seed = ids.seed_of(seed)
    where = project if isinstance(project, Project) else Project(project)
    try:
        workspace = where.workspace()
    except MissingFile:
        if not wish.calls or any(isinstance(name, str) for name in wish.names()):
            raise
        workspace = Workspace.empty()  # classes and functions need no declarations
    uses = _Uses(workspace, wish)
    per_round: list[int] = []  # the uses of one pass through the list of components
    for call in wish.calls:
        child_versions = [expand_lists(child.version) for child in call.children]
        for version, *inner in product(expand_lists(call.version), *child_versions):
            per_round.append(uses.add(call, version, inner))
    SeveralErrors.raise_any(uses.errors)
    places = list(product(*(range(level.total) for level in reversed(wish.levels))))
    rows = [(use, numbers[::-1]) for numbers in places for use in per_round]
    assigned = ids.assign(execution_seed, list(_keys(uses, rows, wish)), [uses.chosen[use] for use, _ in rows])
    for text in uses.warnings:
        warnings.warn(text, UserWarning, stacklevel=3)
    return Plan(
        id=ids.encode(execution_seed),
        seed=execution_seed,
        name=wish.name,
        project=where.path,
        project_name=workspace.main.name or os.path.basename(where.path) or "project",
        task=_as_data(wish),
        warnings=tuple(uses.warnings),
        uses=tuple(uses.uses),
        rows=tuple(Row(use, numbers, *drawn) for (use, numbers), drawn in zip(rows, assigned, strict=True)),
        levels=tuple(wish.levels),
        level_seeds=tuple(ids.level_seed(execution_seed, level.label) for level in wish.levels),
    )


def _keys(uses: _Uses, rows: Sequence[tuple[int, tuple[int, ...]]], wish: Wish) -> Iterator[str]:
    """The canonical JSON of every trial's key, put together from parts that are made once."""
    labels = [level.label for level in wish.levels]
    level_texts: dict[tuple[int, ...], str] = {}
    counts: dict[tuple[str, str], int] = {}
    for use, numbers in rows:
        levels = level_texts.get(numbers)
        if levels is None:
            levels = canonical([[label, number] for label, number in zip(labels, numbers, strict=True)])
            level_texts[numbers] = levels
        head, tail = uses.keys[use]
        ordinal = counts.get((head + tail, levels), 0)
        counts[head + tail, levels] = ordinal + 1
        yield f'{head}"levels":{levels},"ordinal":{ordinal},{tail}'


class _Uses:
    """Resolves what a task asks for; errors are gathered, so that all are told together."""

    def __init__(self, workspace: Workspace, wish: Wish) -> None:
        self.workspace = workspace
        self.task_versions = tuple(wish.versions)
        self.uses: list[Use] = []
        self.keys: list[tuple[str, str]] = []
        self.chosen: list[int | None] = []
        self.errors: list[MachinableError] = []
        self.warnings: list[str] = []
        self._entries: dict[Named, tuple[Entry, Target, str]] = {}
        self._declared: dict[int, Effective] = {}

    def add(self, call: Call, version: Any, child_versions: Sequence[Any]) -> int:
        """The number of a use; after an error the number means nothing."""
        whole = self._resolve(call.name, version)
        children = [
            (child, one, self._resolve(child.name, one))
            for child, one in zip(call.children, child_versions, strict=True)
        ]
        if whole is None or any(found is None for _, _, found in children):
            return -1
        resolved, target, name = whole
        try:
            steering = _steering(resolved, call)
        except MachinableError as error:
            self._note(error)
            return -1
        specs = []
        key_children: list[Plain] = []
        parts: list[Plain] = []
        for child, one, found in children:
            assert found is not None
            specs.append(self._child(child, one, *found))
            key_children.append([found[0].component, self._version(one)])
            parts.append([found[0].component, found[0].module, self._effective(found[0])])
        version_of = self._version(version)
        reserved = resolved.reserved
        seeding = reserved.get("_seeding_")
        self.uses.append(Use(
            component=resolved.component, module=resolved.module, name=name, version=version_of,
            config=resolved.config, stored=resolved.stored, origins=Origins(resolved),
            effective=self._effective(resolved), effective_children=tuple(parts),
            user_flags=call.flags, target=target, children=tuple(specs),
            mixins=_mixins(resolved), mixin_only=resolved.mixin_only_keys(), evaluate=resolved.evaluate,
            checkpoint=call.checkpoint, tags=call.tags,
            seeding=tuple(seeding) if seeding is not None else self._default_seeding(),
            change_directory=reserved.get("_chdir_") is True,
            at=resolved.entry.place, **steering,
        ))  # fmt: skip
        head = f'{{"children":{canonical(key_children)},"component":{canonical(resolved.component)},'
        self.keys.append((head, f'"version":{canonical(version_of)}}}'))
        self.chosen.append(reserved.get("_seed_"))
        return len(self.uses) - 1

    def _default_seeding(self) -> tuple[str, ...] | None:
        names = self.workspace.main.execution.get("seeding")
        return tuple(names) if names is not None else None

    def _version(self, version: Any) -> Plain:
        return version_key((*self.task_versions, version))

    def _effective(self, resolved: Resolved) -> Plain:
        entry = resolved.entry
        if id(entry) not in self._declared:
            self._declared[id(entry)] = Effective(resolve(self.workspace, entry))
        return self._declared[id(entry)].of(resolved)

    def _resolve(self, name: Named, version: Any) -> tuple[Resolved, Target, str] | None:
        try:
            if name not in self._entries:
                self._entries[name] = _find(self.workspace, name)
            entry, target, used_as = self._entries[name]
            resolved = resolve(self.workspace, entry, version, self.task_versions)
        except MachinableError as error:
            self._note(error)
            return None
        if target.kind == "component" and resolved.class_name != target.name:
            target = Target(resolved.module, resolved.class_name)
        self.warnings += [text for text in resolved.warnings if text not in self.warnings]
        return resolved, target, used_as

    def _note(self, error: MachinableError) -> None:
        errors = error.errors if isinstance(error, SeveralErrors) else (error,)
        known = {str(other) for other in self.errors}
        self.errors += [one for one in errors if str(one) not in known]

    def _child(self, call: ChildCall, version: Any, resolved: Resolved, target: Target, name: str) -> ChildSpec:
        flags = {**call.flags, "NAME": name, "MODULE": resolved.module}
        if call.checkpoint is not None:
            flags["CHECKPOINT"] = call.checkpoint
        return ChildSpec(
            component=resolved.component, module=resolved.module, version=self._version(version),
            config=resolved.config, flags=flags, target=target, mixins=_mixins(resolved),
            evaluate=resolved.evaluate, stored=resolved.stored, origins=Origins(resolved),
            mixin_only=resolved.mixin_only_keys(),
        )  # fmt: skip


def _steering(resolved: Resolved, call: Call) -> dict[str, Any]:
    """What the reserved keys say about running a trial: resources, retries, environment, promised results."""
    reserved, name = resolved.reserved, resolved.component
    if reserved.get("_requires_") is not None:
        raise MalformedText(
            "`_requires_` is not supported by this version of machinable", at=resolved.entry.place,
            path=f"{name}._requires_", todo="Leave it out.",
        )  # fmt: skip
    resources = parse_resources(reserved.get("_resources_"), f"{name}._resources_")
    return {
        "resources": resources | parse_resources(call.resources, "resources"),
        "retries": parse_retries(reserved.get("_retries_"), f"{name}._retries_"),
        "environment": _environment(reserved.get("_environment_"), f"{name}._environment_"),
        "results": _results(reserved.get("_results_"), f"{name}._results_"),
    }


def _environment(value: Any, path: str) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise WrongType(f"an environment is a mapping, not {value!r}", path=path, given=value)
    found = {}
    for key, text in value.items():
        if not isinstance(key, str) or not key or "=" in key or "\0" in key:
            raise MalformedText(f"{key!r} cannot be the name of an environment variable", path=path, given=key)
        if text is None:
            continue
        if isinstance(text, (bool, Mapping, list)) or not isinstance(text, (str, int, float)):
            raise WrongType(f"the variable {key} is text, not {type(text).__name__}", path=f"{path}.{key}",
                            todo="Write it in quotes.")  # fmt: skip
        found[key] = str(text)
    return found


def _results(value: Any, path: str) -> tuple[str, ...]:
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise WrongType(f"promised results are names of artifacts, not {value!r}", path=path, given=value)
    return tuple(names)


def live_code(wish: Wish) -> dict[Target, Any]:
    """The classes and functions that a task was given, by where they are to be found."""
    return {_target(name): name for name in wish.names() if not isinstance(name, str)}


def _target(name: type[Any] | Callable[..., Any]) -> Target:
    qualified = getattr(name, "__qualname__", type(name).__qualname__)
    return Target(name.__module__, qualified, "class" if isinstance(name, type) else "function")


def _find(workspace: Workspace, name: Named) -> tuple[Entry, Target, str]:
    """The entry, the code and the name in use of a component given in one of the ways of `Task.component`."""
    if isinstance(name, str):
        entry = find_component(workspace, name)
        return entry, Target(entry.import_path), name
    target = _target(name)
    text = f"{target.module}:{target.name}"
    if target.kind == "class":
        for entry in workspace.main.components:
            if entry.import_path == target.module:
                return entry, target, text
    return undeclared(text, target.module), target, text


def _mixins(resolved: Resolved) -> tuple[MixinSpec, ...]:
    return tuple(MixinSpec(use.reached_as, use.entry.import_path, class_of(use.entry)) for use in resolved.uses)


def version_key(versions: Any) -> Plain:
    """The versions of a trial as its key has them: elements as written, without what changes nothing or is hidden."""
    elements = []
    for element in elements_of(versions):
        if isinstance(element, Mapping):
            if not element:
                continue
            element = _visible(element, dotted=True)
            if element is _NOTHING:
                continue
        elements.append(element)
    if not elements:
        return None
    return elements[0] if len(elements) == 1 else tuple(elements)


_NOTHING: Any = object()


def _visible(value: Plain, dotted: bool = False) -> Plain:
    """The value without hidden keys, and without the mappings that this empties."""
    if isinstance(value, Mapping):
        kept = {}
        for key, item in value.items():
            if is_hidden(key) or (dotted and type(key) is str and any(map(is_hidden, key.split(".")))):
                continue
            item = _visible(item, dotted and type(key) is str and key.startswith("~"))
            if item is not _NOTHING:
                kept[key] = item
        return kept if kept or not value else _NOTHING
    if isinstance(value, list):
        return [item for item in map(_visible, value) if item is not _NOTHING]
    return value


def _as_data(wish: Wish) -> dict[str, Plain]:
    """The task for execution.json; hidden keys are left out."""

    def named(name: Named) -> str:
        return name if isinstance(name, str) else f"{name.__module__}:{getattr(name, '__qualname__', name)}"

    def versions(version: Any) -> Plain:
        if isinstance(version, (list, tuple)):
            return type(version)(map(versions, version))
        return version_key(version)

    return {
        "components": [
            {
                "component": named(call.name),
                "version": versions(call.version),
                "children": [
                    {"component": named(child.name), "version": versions(child.version),
                     "checkpoint": child.checkpoint, "flags": dict(child.flags)}
                    for child in call.children
                ],
                "flags": dict(call.flags),
                "checkpoint": call.checkpoint,
                "tags": dict(call.tags),
                "resources": dict(call.resources),
            }
            for call in wish.calls
        ],
        "levels": [[level.name, level.total] for level in wish.levels],
        "versions": [versions(version) for version in wish.versions],
    }  # fmt: skip
