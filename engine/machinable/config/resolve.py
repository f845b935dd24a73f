"""Resolve one use of a component: merge layers, follow references, check calls, and record where values were set."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from machinable.config import method_calls
from machinable.config.declaration import Block, Body, block_values, reserved_form_problem
from machinable.config.inheritance import Base, ancestry, base_of, with_mixins
from machinable.config.interpolation import Resolver
from machinable.config.merge import Overlay, close_names, merge, new_keys
from machinable.config.mixins import MixinUse, read_list
from machinable.config.reader import (
    TYPED,
    MappingNode,
    Reference,
    SequenceNode,
    Source,
    as_written,
    without_hidden_values,
)
from machinable.config.registry import Entry
from machinable.config.versions import VersionLayer, element_bodies, elements_of, open_blocks, visible
from machinable.errors import (
    ConfigurationError,
    MachinableError,
    MalformedText,
    MissingKey,
    Place,
    SeveralErrors,
    UnknownName,
)
from machinable.serialization import Plain, as_plain, is_hidden, without_hidden

if TYPE_CHECKING:
    from machinable.config.loader import Workspace

__all__ = ["OriginLayer", "Origins", "Resolved", "as_written", "find_component", "resolve", "undeclared"]


class OriginLayer(Struct, frozen=True):
    """One layer that sets a value: its name, the place (None for versions from Python), and the value as written."""

    layer: str
    place: Place | None
    text: str


class Resolved:
    """The configuration of one use of a component.

    Attributes:
        component: The canonical name.
        module: The import path.
        config: The configuration as plain data, including hidden keys.
        reserved: The values of reserved keys (`_seed_`, …), resolved.
        class_name: The value of `_class_`.
        evaluate: Whether calls are evaluated.
        elements: The elements of the version in order, as plain data.
        versions: The elements that are text.
        warnings: Possible mistakes.

    It must not be changed: uses of one component share equal parts.
    """

    def __init__(
        self,
        entry: Entry,
        uses: Sequence[MixinUse],
        class_name: str | None,
        bottom: Sequence[MixinUse],
        layers: Sequence[VersionLayer | MixinUse],
        values: Mapping[Any, Any],
    ) -> None:
        self.entry = entry
        self.component = entry.name
        self.module = entry.import_path
        self.uses = tuple(uses)
        self.class_name = class_name
        self.evaluate = True
        self.elements: Sequence[Any] = ()
        self.versions: list[str] = []
        self.warnings: list[str] = []
        self.reserved: dict[str, Plain] = {}
        self.config: dict[str, Plain] = {}
        self._bottom = bottom
        self._version_layers = layers
        self._values = values
        self._environment_used = False
        self._stored: dict[str, Plain] | None = None

    @property
    def mixins(self) -> list[dict[str, str]]:
        """The mixins in list order: name, origin, and the attribute if given."""
        return [
            {"name": use.name, "origin": use.origin} | ({"attribute": use.attribute} if use.attribute else {})
            for use in self.uses
        ]

    @property
    def is_changed(self) -> bool:
        """Whether a version changes the declared configuration."""
        return bool(self._version_layers)

    @property
    def stored(self) -> dict[str, Plain]:
        """The configuration for printing and storing: without hidden keys, secrets as written. Must not be changed."""
        if self._stored is None:
            if self._environment_used:
                self._stored = Resolver(self._values, self.component).copy(stored=True)
            else:
                self._stored = without_hidden(self.config)
        return self._stored

    def to_dict(self, hidden: bool = True) -> dict[str, Plain]:
        """Return the configuration as plain data, without reserved keys and version blocks.

        Args:
            hidden: Whether to include hidden keys. False returns what may be printed and stored.
        """
        return as_plain(self.config if hidden else self.stored)  # type: ignore[no-any-return]

    def mixin_only_keys(self) -> frozenset[str]:
        """Return the top-level keys that only mixins set."""
        if not self.uses:
            return frozenset()
        added = {key for use in self.uses for one in ancestry(use.entry) for key in one.body.values}
        own = {key for one in ancestry(self.entry) for key in one.body.values}
        own |= {key for layer in self._version_layers if isinstance(layer, VersionLayer) for key in layer.body.values}
        return frozenset(added - own)

    def bodies(self) -> list[Mapping[Any, Any]]:
        """Return the values of each layer, lowest first."""
        return [body.values for _, body, _ in self._layers()]

    def _layers(self) -> list[tuple[str, Body, Any]]:
        result: list[tuple[str, Body, Any]] = []

        def mixin(use: MixinUse) -> None:
            result.extend((f"mixin {use.name}", one.body, None) for one in ancestry(use.entry))

        for use in reversed(self._bottom):
            mixin(use)
        result.extend((one.name, one.body, None) for one in ancestry(self.entry))
        for layer in self._version_layers:
            if isinstance(layer, MixinUse):
                mixin(layer)
            else:
                result.extend((layer.label, part, layer.given) for part in layer.body.parts)
        return result

    def explain(self, key: str) -> list[OriginLayer]:
        """Return the layers that set a value, lowest first; the last one takes effect.

        Args:
            key: Dotted path; elements of a list as `[0]` or `.0`.

        Raises:
            MissingKey: The configuration has no such key.
        """
        parts = self._parts(key)
        hidden = any(map(is_hidden, parts))
        links = []
        for label, body, _ in self._layers():
            found = _find(body.values, parts)
            if found is not None:
                place, text = found
                links.append(OriginLayer(label, _in_file(place), "…" if hidden else text))
        return links

    def _parts(self, key: str) -> list[Any]:
        """Return the keys and indices of a dotted path; a key may contain dots."""
        texts = key.replace("[", ".").replace("]", "").split(".")
        result: list[Any] = []
        node: Any = self.config
        position = 0
        while position < len(texts):
            if isinstance(node, dict):
                names = {str(name): name for name in node}
                end = next(
                    (end for end in range(position + 1, len(texts) + 1) if ".".join(texts[position:end]) in names), 0
                )
                if not end:
                    above = texts[:position]
                    raise UnknownName(
                        "key",
                        ".".join(texts[: position + 1]),
                        [".".join([*above, name]) for name in names],
                        at=self.entry.place,
                        path=self.component,
                    )
                result.append(names[".".join(texts[position:end])])
                position = end
            elif isinstance(node, list) and texts[position].isdecimal() and int(texts[position]) < len(node):
                result.append(int(texts[position]))
                position += 1
            else:
                raise MissingKey(
                    f"no key {key!r}",
                    at=self.entry.place,
                    path=self.component,
                    given=key,
                    todo=f"The configuration ends at {'.'.join(texts[:position])!r}.",
                )
            node = node[result[-1]]
        return result

    def origin(self, key: str) -> str:
        """Return where a value was set in the highest layer that has it, such as `machinable.yaml:12:7`.

        For values from Python this is the version element, and for values copied by a reference the reference.

        Raises:
            MissingKey: The configuration has no such key.
        """
        parts = self._parts(key)
        for _, body, given in reversed(self._layers()):
            found = _find(body.values, parts)
            if found is not None:
                place = _in_file(found[0])
                if place is not None:
                    return f"{place.file}:{place.line}:{place.column}"
                return without_hidden_values(given) if isinstance(given, str) else visible(given)
        raise MissingKey(f"no layer sets {key!r}", at=self.entry.place, path=self.component, given=key)

    def reserved_place(self, key: str, *parts: str | int) -> Place | None:
        """Return the place of a reserved key, or of a key below it, in the highest layer that has it.

        None for values from Python, and for values copied by a reference.
        """
        for _, body, _ in reversed(self._layers()):
            found = _find(body.reserved, [key, *parts])
            if found is not None:
                return _in_file(found[0] if parts else body.place(key))
        return None

    def place(self, key: str) -> Place | None:
        """Return the place that `origin` names, or None for values from Python."""
        parts = self._parts(key)
        for _, body, _ in reversed(self._layers()):
            found = _find(body.values, parts)
            if found is not None:
                return _in_file(found[0])
        return None


def _in_file(place: Place | None) -> Place | None:
    """Return the place, or None if it is in the text of a version."""
    return place if place is not None and place.file != TYPED else None


class Origins(Mapping[str, str]):
    """A mapping from dotted paths to where they were set: computed on access, and pickled as a plain dict."""

    __slots__ = ("_resolved",)

    def __init__(self, resolved: Resolved) -> None:
        self._resolved = resolved

    def __getitem__(self, path: str) -> str:
        return self._resolved.origin(path)

    def __iter__(self) -> Iterator[str]:
        config = self._resolved.config
        waiting = [(str(key), value) for key, value in reversed(config.items()) if "." not in str(key)]
        while waiting:
            path, value = waiting.pop()
            yield path
            if isinstance(value, dict):
                waiting += [(f"{path}.{key}", item) for key, item in reversed(value.items()) if "." not in str(key)]

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


def _find(values: Any, parts: Sequence[Any]) -> tuple[Place | None, str] | None:
    """Return place and text of a value in a layer, or None if the layer does not set it."""
    node = values
    place: Place | None = None
    for key in parts:
        if isinstance(node, Overlay):
            if key not in node.over:
                place, node = node.reference.place, node.reference
                break
            node = node.over
        if isinstance(node, Reference):
            break
        if isinstance(node, dict) and key in node:
            place = node.place(key) if isinstance(node, MappingNode) and key in node.marks else None
        elif isinstance(node, list) and type(key) is int and key < len(node):
            place = node.place(key) if isinstance(node, SequenceNode) else place
        else:
            return None
        node = node[key]
    return place, as_written(node.reference if isinstance(node, Overlay) else node)


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
        return _as_imported(entry, project)
    if entry is None:
        raise UnknownName("component", name, main.components.known(), details=[f"searched in {main.file}"])
    return entry


def undeclared(name: str, module: str) -> Entry:
    """Return an empty entry, for a class or a function that is not declared."""
    return Entry(name, name, module, "", None, Body({}, {}, {}, {}), Source(module, ""), None)


def _as_imported(entry: Entry, project: str) -> Entry:
    """Return an entry of another project under its name in this project."""
    here = Entry(
        entry.key,
        f"+.{project}.{entry.name}",
        entry.import_path,
        "",
        None,
        Body({}, {}, {}, {}),
        entry.source,
        entry.mark,
    )
    here.imported = entry
    return here


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
        for one in error.errors if isinstance(error, SeveralErrors) else (error,):
            if _in_file(one.at) is None:  # a version from Python: show the declaration instead
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
            uses = read_list(
                workspace, project, part.reserved["_mixins_"], uses, _in_file(part.place("_mixins_")), entry.name
            )
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
    resolver = Resolver(values, entry.name)
    resolver.share(base.shared, caches_copies=not layers)
    resolved.config = resolver.copy()
    resolved._environment_used = resolver.environment_used
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
        if own is base.body:
            blocks = base.block_values
            if not blocks:
                blocks += block_values(own.blocks)
        else:
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
    for new in new_keys(layer.body.values, below, blocks, resolver.container):
        if workspace.strict:
            found = _find(layer.body.values, [*new.above, new.key])
            errors.append(
                UnknownName(
                    "key",
                    new.path,
                    [new.beside(name) for name in new.siblings],
                    at=(_in_file(found[0]) if found else None) or resolved.entry.place,
                    path=resolved.component,
                    details=[f"in the version {visible(layer.given)}, under `execution: {{strict: true}}`"],
                )
            )
            continue
        close = close_names(new)
        if close:
            names = " or ".join(repr(new.beside(name)) for name in close)
            resolved.warnings.append(
                f"{new.path!r} is a new key of {resolved.component}: did you mean {names}? "
                f"(declared at {resolved.entry.place})"
            )
    return errors
