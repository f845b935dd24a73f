"""Resolve one use of a component: merge layers, follow references, check calls."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from machinable.config import method_calls
from machinable.config.declaration import Block, Body, block_values, reserved_form_problem
from machinable.config.inheritance import Base, ancestry, base_of, with_mixins
from machinable.config.interpolation import Resolver
from machinable.config.merge import merge, new_keys
from machinable.config.mixins import MixinUse, read_list
from machinable.config.nodes import MappingNode, Reference, Source
from machinable.config.registry import Entry
from machinable.config.resolved import Resolved, place_in_layer
from machinable.config.versions import VersionLayer, element_bodies, elements_of, open_blocks, visible
from machinable.errors import (
    ConfigurationError,
    MachinableError,
    MalformedText,
    MissingKey,
    SeveralErrors,
    UnknownName,
    did_you_mean,
)
from machinable.serialization import Plain, is_hidden, without_hidden

if TYPE_CHECKING:
    from machinable.config.loader import Workspace

__all__ = ["find_component", "resolve", "undeclared"]


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
        raise UnknownName("component", name, main.components.known(), details=[f"searched in {main.file}"])
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
    elements = [element for version in versions if version is not None for element in elements_of(version)]
    base = base_of(workspace, entry)
    if not elements:
        return _finish(workspace, entry, base, base.body, base.mixins, base.mixins, [], {}, [])
    opened: dict[str, Block] = {}
    own = base.body
    bottom: Sequence[MixinUse] = base.mixins
    uses: list[MixinUse] = list(base.mixins)
    declared = {id(use.entry) for use in base.mixins}
    added: dict[int, list[MixinUse]] = {}  # index of a layer → mixins that its list adds
    layers: list[VersionLayer] = []
    for element in elements:
        for layer in element_bodies(workspace, entry, element, own.blocks, opened):
            if "_mixins_" in layer.body.reserved:
                uses = _replaced_list(workspace, entry, layer.body, uses)
                bottom = [use for use in uses if id(use.entry) in declared]
                own = with_mixins(entry, bottom)
                listed = [use for use in uses if id(use.entry) not in declared]
                added = {at: [use for use in found if use in listed] for at, found in added.items()}
                before = [use for found in added.values() for use in found]
                added[len(layers)] = new = [use for use in listed if use not in before]
                for use in reversed(new):
                    for one in ancestry(use.entry):
                        open_blocks(opened, one.body.blocks)
            layers.append(layer)
            open_blocks(opened, layer.body.blocks)
    return _finish(workspace, entry, base, own, bottom, uses, layers, added, elements)


def _replaced_list(workspace: Workspace, entry: Entry, body: Body, uses: list[MixinUse]) -> list[MixinUse]:
    """Return the mixins after the lists of a body replace each other; names refer to the project of each list."""
    for part in body.parts:
        if "_mixins_" in part.reserved:
            project = part.section.source.scope.name if isinstance(part.section, MappingNode) else ""
            uses = read_list(workspace, project, part.reserved["_mixins_"], uses, part.place("_mixins_"), entry.name)
    return uses


def _finish(
    workspace: Workspace,
    entry: Entry,
    base: Base,
    own: Body,
    bottom: Sequence[MixinUse],
    uses: Sequence[MixinUse],
    layers: Sequence[VersionLayer],
    added: Mapping[int, Sequence[MixinUse]],
    elements: Sequence[Any],
) -> Resolved:
    values: Mapping[Any, Any] = own.values
    reserved: Mapping[str, Any] = own.reserved
    checks: list[tuple[VersionLayer, Mapping[Any, Any]]] = []
    trail: list[VersionLayer | MixinUse] = []
    for index, layer in enumerate(layers):
        for use in reversed(added.get(index, ())):
            trail.append(use)
            for one in ancestry(use.entry):
                values = merge(values, one.body.values)
                reserved = merge(reserved, one.body.reserved)
        trail.append(layer)
        if layer.overrides and layer.body.values:
            checks.append((layer, values))
        values = merge(values, layer.body.values)
        if layer.body.reserved:
            reserved = merge(reserved, layer.body.reserved)
    resolved = Resolved(entry, uses, base.class_name, bottom, trail, values)
    resolved.elements = elements
    resolved.versions = [element for element in elements if isinstance(element, str)]
    resolver = Resolver(values, entry.name, base.shared, fills=not layers)
    resolved.config = resolver.copy()
    resolved.uses_environment = resolver.environment_used
    errors = list(resolver.errors)
    errors += [error for found in resolver.calls if (error := _call_problem(resolved, *found)) is not None]
    for key, value in reserved.items():
        if key not in ("_mixins_", "_class_"):
            found = len(resolver.errors)
            resolved.reserved[key] = plain = resolver.plain(value, f"{entry.name}.{key}")
            errors += resolver.errors[found:]
            if key == "_requires_" and resolver.environment_used and found == len(resolver.errors):
                errors += _secrets_passed_on(resolved, resolver, value, plain)
            if isinstance(value, Reference) and found == len(resolver.errors):
                problem = reserved_form_problem(key, plain, value)
                if problem is not None:
                    problem.path = f"{entry.name}.{key}"
                    errors.append(problem)
    evaluate = resolved.reserved.pop("_evaluate_", workspace.main.evaluate)
    resolved.evaluate = evaluate is not False
    if checks:
        blocks = list(block_values(own.blocks))
        for layer, below in checks:
            errors += _check_override(workspace, resolved, layer, below, blocks, resolver)
    SeveralErrors.raise_any(errors)
    return resolved


def _secrets_passed_on(resolved: Resolved, resolver: Resolver, value: Any, plain: Plain) -> list[MalformedText]:
    """Return an error if a requirement is configured with a secret that its configuration does not hide."""
    path = f"{resolved.component}._requires_"
    if resolver.plain(value, path, stored=True) == without_hidden(plain):
        return []
    return [
        MalformedText(
            "a requirement is configured with a secret, which would be stored",
            at=resolved.reserved_place("_requires_") or resolved.entry.place,
            path=path,
            todo="Pass the secret under a hidden key: {_token: $self._token}.",
        )
    ]


def _call_problem(resolved: Resolved, path: str, text: str, written: str) -> MachinableError | None:
    """Return what is wrong with the arguments of a call, if anything."""
    try:
        method_calls.parse(text)
    except ConfigurationError as error:
        key = path[len(resolved.component) + 1 :]
        try:
            place = resolved.place(key)
        except (UnknownName, MissingKey):  # a key that contains brackets: show the entry instead
            place = None
        facts: dict[str, Any] = {"at": place or resolved.entry.place, "path": path}
        if text == written and not any(map(is_hidden, re.split(r"[.\[]", key))):
            return type(error)(
                error.message, given=text, known=error.known, details=error.details, todo=error.todo, **facts
            )
        return type(error)(
            "this value looks like a call but is not a valid one",
            given=None,
            **facts,
            todo="If it is not a call, add a character after the last parenthesis.",
        )
    return None


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

        close = get_close_matches(key, siblings, n=3, cutoff=0.75)
        if close:
            question = did_you_mean(".".join([*above, name]) for name in close)
            where = f"at {place}" if place else f"{resolved.component} is declared at {resolved.entry.place}"
            resolved.warnings.append(f"{resolved.component} has no key {path!r}, so it is added. {question} ({where})")
    return errors
