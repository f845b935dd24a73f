"""Resolve one use of a component: merge layers, follow references."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from machinable.config.declaration import Block, Body, block_values, misspelt_sections, reserved_form_problem
from machinable.config.inheritance import ancestry, base_of, with_mixins
from machinable.config.interpolation import Resolver
from machinable.config.merge import merge, new_keys
from machinable.config.mixins import MixinUse, read_list
from machinable.config.nodes import DIRECTIVES, MappingNode, Reference, Source
from machinable.config.registry import Entry
from machinable.config.resolved import Resolved, place_in_layer
from machinable.config.versions import VersionLayer, element_bodies, layer_elements, open_blocks, plain_element, visible
from machinable.errors import (
    ConfigurationError,
    MachinableError,
    MalformedText,
    Place,
    SeveralErrors,
    UnknownName,
    did_you_mean,
    near_names,
)
from machinable.serialization import Plain, without_hidden

if TYPE_CHECKING:
    from machinable.config.loader import Workspace

__all__ = ["find_component", "misspelt_use", "resolve", "undeclared"]


USES = {"_children_": "child", "_requires_": "requirement"}  # reserved keys with other components


def find_component(workspace: Workspace, name: str) -> Entry:
    """Return the entry with a name.

    Raises:
        UnknownName: There is none; the message suggests near names.
    """
    main = workspace.main
    entry = main.components.lookup(name)
    if entry is None and name.startswith("+."):
        _, project, *inner = name.split(".", 2)
        document = workspace.imported(main, project)
        if document is None:
            raise UnknownName(
                "imported project", project, main.imports, path=name, details=[f"searched in {main.file}"]
            )
        entry = document.components.lookup(inner[0]) if inner else None
        if entry is None:
            known = [f"+.{project}.{other}" for other in document.components.known()]
            raise UnknownName("component", name, known, details=[f"searched in {document.file}"])
        name = f"+.{project}.{entry.name}"  # in this project
        return Entry(entry.key, name, entry.import_path, "", None, Body({}), entry.source, entry.mark, imported=entry)
    if entry is None:
        known = main.components.known()
        details = [f"searched in {main.file}"]
        if name in main.tasks:
            raise UnknownName(
                "component",
                name,
                known,
                details=[f"{name!r} is a task, declared at {main.tasks[name].place}"],
                todo=f"For its trials: machinable execute {name} --dry, or Project().task({name!r}).",
            )
        for key, near in misspelt_sections(main.scope.root):
            details.append(f"its section {key!r} has no meaning: did you mean {near!r}?")
        todo = None if known else f"{main.file} declares no components. For hints: machinable check"
        raise UnknownName("component", name, known, details=details, todo=todo)
    return entry


def undeclared(name: str, module: str) -> Entry:
    """Return an empty entry, for a class or a function that is not declared."""
    return Entry(name, name, module, "", None, Body({}), Source(module, ""), None)


def resolve(
    workspace: Workspace, name: str | Entry, version: Any = None, task_versions: Sequence[Any] = ()
) -> Resolved:
    """Return the configuration of a component for one use.

    Args:
        workspace: The project.
        name: The name of the component, or its entry.
        version: One version, without lists.
        task_versions: Versions of the task, merged below `version` in order.

    Raises:
        ConfigurationError: The use has errors; several are raised as one.
    """
    entry = find_component(workspace, name) if isinstance(name, str) else name
    try:
        return _resolve(workspace, entry, (*task_versions, version))
    except RecursionError:
        raise MalformedText(
            "nesting or references are too deep to resolve",
            at=entry.place,
            path=entry.name,
            todo="Nest less deeply, or refer to values instead of other references.",
        ) from None
    except MachinableError as error:
        for one in error.parts:
            if one.at is None:  # a version from Python: show the declaration instead
                one.at = entry.place
                one.path = one.path or entry.name
        raise


def _resolve(workspace: Workspace, entry: Entry, versions: Sequence[Any]) -> Resolved:
    elements = [element for version in versions if version is not None for element in layer_elements(version)]
    base = base_of(workspace, entry)
    opened: dict[str, Block] = {}
    own = base.body
    bottom: Sequence[MixinUse] = base.mixins
    uses: list[MixinUse] = list(base.mixins)
    declared = {id(use.entry) for use in base.mixins}
    layers: list[VersionLayer | MixinUse] = []
    for element in elements:
        for layer in element_bodies(workspace, entry, element, own.blocks, opened):
            if any("_mixins_" in part.reserved for part in layer.body.parts):
                uses = _replaced_list(workspace, entry, layer.body, uses)
                bottom = [use for use in uses if id(use.entry) in declared]
                own = with_mixins(entry, bottom)
                listed = [use for use in uses if id(use.entry) not in declared]
                layers = [one for one in layers if isinstance(one, VersionLayer) or one in listed]
                for use in reversed([use for use in listed if use not in layers]):
                    layers.append(use)
                    for one in ancestry(use.entry):
                        open_blocks(opened, one.body.blocks)
            layers.append(layer)
            open_blocks(opened, layer.body.blocks)
    values: Mapping[Any, Any] = own.values
    reserved: Mapping[str, Any] = own.reserved
    checks: list[tuple[VersionLayer, Mapping[Any, Any]]] = []
    warnings: list[str] = []
    for layer_or_mixin in layers:
        if isinstance(layer_or_mixin, MixinUse):
            bodies = [one.body for one in ancestry(layer_or_mixin.entry)]
        else:
            bodies = layer_or_mixin.body.parts
            if layer_or_mixin.overrides and layer_or_mixin.body.values:
                checks.append((layer_or_mixin, values))
        try:
            for body in bodies:
                if isinstance(layer_or_mixin, VersionLayer) and layer_or_mixin.overrides:
                    warnings += _misspelt_uses(entry, body.reserved, reserved, workspace.main.strict)
                values = merge(values, body.values)
                reserved = merge(reserved, _with_components(body.reserved, reserved))
        except MachinableError as error:
            if error.at is None and isinstance(layer_or_mixin, VersionLayer):
                error.details = (*error.details, f"in the version {visible(layer_or_mixin.given)}")
            raise
    resolved = Resolved(entry, uses, base.class_name, bottom, layers, values)
    resolved.warnings += warnings
    resolved.elements = tuple(map(plain_element, elements))
    resolver = Resolver(values, entry.name, base.shared, fills=not layers)
    resolved.config = resolver.copy()
    resolved.is_masked = resolver.is_masked
    errors: list[MachinableError] = list(resolver.errors)
    for key, value in reserved.items():
        if key not in ("_mixins_", "_class_"):
            errors += _resolve_reserved(resolved, resolver, key, value)
    evaluate = resolved.reserved.pop("_evaluate_", workspace.main.evaluate)
    resolved.evaluate = evaluate is not False
    if checks:
        blocks = list(block_values(own.blocks))
        for layer, below in checks:
            errors += _check_override(workspace, resolved, layer, below, blocks, resolver)
    SeveralErrors.raise_any(errors)
    return resolved


def _with_components(over: Mapping[str, Any], below: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return reserved keys in which `{version: …}` is the child or requirement below, with a further version."""
    result = over
    for key in USES:
        given, declared = over.get(key), below.get(key)
        if not isinstance(given, dict) or not isinstance(declared, dict) or "_replace_" in given:
            continue
        named = {}
        for name, one in given.items():
            if not isinstance(one, dict) or "version" not in one or "component" in one or "each" in one:
                continue
            written = declared.get(name)
            head, *versions = written if isinstance(written, list) and written else (written,)
            rest: Mapping[str, Any] = {}
            if isinstance(head, dict) and "component" in head and not versions:
                head, versions, rest = head["component"], _listed(head.get("version")), head
            if isinstance(head, str):
                named[name] = {**rest, **one, "component": head, "version": [*versions, *_listed(one["version"])]}
        if named:
            result = {**result, key: {**given, **named}}
    return result


def _listed(version: Any) -> list[Any]:
    return version if isinstance(version, list) else [] if version is None else [version]


def _misspelt_uses(entry: Entry, over: Mapping[str, Any], below: Mapping[str, Any], strict: bool) -> Iterator[str]:
    """Yield a warning for each child or requirement of an override that resembles one below it."""
    for key, kind in USES.items():
        given, known = over.get(key), below.get(key)
        if isinstance(given, dict) and isinstance(known, dict):
            for name in given.keys() - DIRECTIVES:
                place = given.place(name) if isinstance(given, MappingNode) else None
                yield from misspelt_use(kind, name, known, entry, place, strict)


def misspelt_use(
    kind: str, name: Any, known: Collection[Any], entry: Entry, place: Place | None = None, strict: bool = False
) -> Iterator[str]:
    """Yield a warning if an added child or requirement is probably a declared one; `fold_2` is another than `fold`.

    Raises:
        UnknownName: It is added beside others, which a strict project does not allow.
    """
    if strict and known and name not in known:
        raise UnknownName(
            kind,
            str(name),
            [str(one) for one in known],
            at=place or entry.place,
            path=entry.name,
            details=["added by a version or task, under `execution: {strict: true}`"],
        )
    if near := () if name in known else _near(str(name), tuple(map(str, known))):
        where = f"at {place}" if place else f"{entry.name} is declared at {entry.place}"
        yield f"{entry.name} has no {kind} {name!r}, so it is added. {did_you_mean(near)} ({where})"


@lru_cache(maxsize=128)  # trials of a task have the same names
def _near(name: str, known: tuple[str, ...]) -> Sequence[str]:
    own = name.rstrip(_NUMBER)
    others = [one for one in known if one.rstrip(_NUMBER) != own]
    return near_names(name, others, cutoff=0.75) if others else ()


_NUMBER = "_0123456789"


def _replaced_list(workspace: Workspace, entry: Entry, body: Body, uses: list[MixinUse]) -> list[MixinUse]:
    """Return the mixins after the lists of a body replace each other; names refer to the project of each list."""
    for part in body.parts:
        if "_mixins_" in part.reserved:
            project = part.section.source.scope.name if isinstance(part.section, MappingNode) else ""
            uses = read_list(workspace, project, part.reserved["_mixins_"], uses, part.place("_mixins_"), entry.name)
    return uses


def _resolve_reserved(resolved: Resolved, resolver: Resolver, key: str, value: Any) -> Sequence[MachinableError]:
    """Resolve a reserved key; return its errors."""
    path = f"{resolved.component}.{key}"
    known = len(resolver.errors)
    resolved.reserved[key] = plain = resolver.plain(value, path)
    if len(resolver.errors) > known:
        return resolver.errors[known:]
    if isinstance(value, Reference) and (problem := reserved_form_problem(key, plain, value)) is not None:
        problem.path = path
        return [problem]
    if not resolver.is_masked:
        return []
    resolved.shown[key] = resolver.plain(value, path, stored=True)
    if key in USES:
        return _secrets_passed_on(resolved, key, plain)
    return []


def _secrets_passed_on(resolved: Resolved, key: str, plain: Plain) -> list[MalformedText]:
    """Return an error if another component is configured with a secret that its configuration does not hide."""
    if resolved.shown[key] == without_hidden(plain):
        return []
    return [
        MalformedText(
            f"a {USES[key]} is configured with a secret, which would be stored",
            at=resolved.reserved_place(key) or resolved.entry.place,
            path=f"{resolved.component}.{key}",
            todo="Pass the secret under a hidden key: {_token: $self._token}.",
        )
    ]


def _check_override(
    workspace: Workspace,
    resolved: Resolved,
    layer: VersionLayer,
    below: Mapping[Any, Any],
    blocks: Sequence[Mapping[Any, Any]],
    resolver: Resolver,
) -> list[ConfigurationError]:
    errors: list[ConfigurationError] = []
    for (*above, key), siblings in new_keys(layer.body.values, below, blocks, resolver.container):
        path = ".".join([*above, key])
        found = place_in_layer(layer.body.values, [*above, key])
        place = found[0] if found else None
        if workspace.main.strict:
            errors.append(
                UnknownName(
                    "key",
                    path,
                    [".".join([*above, name]) for name in siblings],
                    at=place or resolved.entry.place,
                    path=resolved.component,
                    details=[f"in the version {visible(layer.given)}, under `execution: {{strict: true}}`"],
                )
            )
            continue
        from difflib import get_close_matches  # takes 4 ms, only for unknown keys

        close = get_close_matches(key, dict.fromkeys([*siblings, *DIRECTIVES]), n=3, cutoff=0.75)
        if close:
            question = did_you_mean(".".join([*above, name]) for name in close)
            where = f"at {place}" if place else f"{resolved.component} is declared at {resolved.entry.place}"
            resolved.warnings.append(f"{resolved.component} has no key {path!r}, so it is added. {question} ({where})")
    return errors
