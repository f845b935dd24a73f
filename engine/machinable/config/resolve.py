"""Resolves one use of a component: layers merged, references followed, calls checked; every value can say whence."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

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


class OriginLayer(NamedTuple):
    """One layer that set a value: what it is called, where it stands (None for what was typed), what it says."""

    layer: str
    place: Place | None
    text: str


class Resolved:
    """The configuration of one use of a component.

    Attributes:
        component: canonical name. module: import path. config: plain data, hidden keys included.
        reserved: what steers (`_seed_`, …), resolved. class_name: of `_class_`. evaluate: whether calls are evaluated.
        elements: those of the version in order, plain. versions: those of them that are text.
        warnings: what may be a mistake.

    Not to be changed: uses of one component share what is the same in all of them.
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
        """The mixins in list order: name, origin, and the attribute where one was given."""
        return [
            {"name": use.name, "origin": use.origin} | ({"attribute": use.attribute} if use.attribute else {})
            for use in self.uses
        ]

    @property
    def is_changed(self) -> bool:
        """Whether a version has been laid over what is declared."""
        return bool(self._version_layers)

    @property
    def stored(self) -> dict[str, Plain]:
        """What may be printed and stored: without hidden keys, secrets as they were written. Not to be changed."""
        if self._stored is None:
            if self._environment_used:
                self._stored = Resolver(self._values, self.component).copy(stored=True)
            else:
                self._stored = without_hidden(self.config)
        return self._stored

    def to_dict(self, hidden: bool = True) -> dict[str, Plain]:
        """The configuration as plain data, without reserved keys and version blocks.

        Args:
            hidden: with hidden keys; False gives what may be printed and stored.
        """
        return as_plain(self.config if hidden else self.stored)  # type: ignore[no-any-return]

    def mixin_only_keys(self) -> frozenset[str]:
        """Top-level keys that nothing but the component's mixins set."""
        if not self.uses:
            return frozenset()
        brought = {key for use in self.uses for one in ancestry(use.entry) for key in one.body.values}
        own = {key for one in ancestry(self.entry) for key in one.body.values}
        own |= {key for layer in self._version_layers if isinstance(layer, VersionLayer) for key in layer.body.values}
        return frozenset(brought - own)

    def bodies(self) -> list[Mapping[Any, Any]]:
        """The values of every layer, the lowest first."""
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
        """The layers that set a value, the oldest first; the last one is what counts.

        Args:
            key: dotted path; elements of a list as `[0]` or `.0`.

        Raises:
            MissingKey: the configuration has no such key.
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
        """The keys and indices that a dotted path means; a key may have dots itself."""
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
        """Where a value was written in the highest layer that has it: `machinable.yaml:12:7`.

        For values from Python the version element; inside what a reference copied, the reference.

        Raises:
            MissingKey: the configuration has no such key.
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
        """Where a reserved key, or what lies below it, was written in the highest layer that has it.

        None for values from Python, and inside of what a reference copied.
        """
        for _, body, _ in reversed(self._layers()):
            found = _find(body.reserved, [key, *parts])
            if found is not None:
                return _in_file(found[0] if parts else body.place(key))
        return None

    def place(self, key: str) -> Place | None:
        """The place that `origin` names, or None for values from Python."""
        parts = self._parts(key)
        for _, body, _ in reversed(self._layers()):
            found = _find(body.values, parts)
            if found is not None:
                return _in_file(found[0])
        return None


def _in_file(place: Place | None) -> Place | None:
    """The place, unless it is one in a text that was typed."""
    return place if place is not None and place.file != TYPED else None


class Origins(Mapping[str, str]):
    """Dotted paths of a configuration → where they were set; worked out when asked, plain when it travels."""

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
    """Place and text of the last key on the way that a layer has; None if the layer does not set the value."""
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
    """The entry that is called so.

    Raises:
        UnknownName: nobody is; the message has the nearest names.
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
    """An entry with nothing in it, for a class or a function that no project declares."""
    return Entry(name, name, module, "", None, Body({}, {}, {}, {}), Source(module, ""), None)


def _as_imported(entry: Entry, project: str) -> Entry:
    """An entry of another project under the name by which this one reaches it."""
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
    workspace: Workspace, name: str | Entry, version: Any = None, task_versions: Sequence[Any] = (), sampled: Any = None
) -> Resolved:
    """The configuration of a component for one use.

    Args:
        workspace: the project. name: of the component, or its entry.
        version: one version, without lists. task_versions: versions of the task, below it, in order.
        sampled: a mapping that goes on top of everything.

    Raises:
        ConfigurationError: anything that is wrong with this use; several errors as one.
    """
    entry = find_component(workspace, name) if isinstance(name, str) else name
    try:
        return _resolve(workspace, entry, (*task_versions, version, sampled))
    except RecursionError:
        raise MalformedText(
            "this nests or refers more deeply than can be followed here",
            at=entry.place,
            path=entry.name,
            todo="Nest less, or refer to values themselves.",
        ) from None
    except MachinableError as error:
        for one in error.errors if isinstance(error, SeveralErrors) else (error,):
            if _in_file(one.at) is None:  # typed in Python: the declaration that was searched is the place to look at
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
    kept = {id(use.entry) for use in base.mixins}
    brought: dict[int, list[MixinUse]] = {}  # index of a step → mixins that its list brought and that stayed
    layers: list[VersionLayer] = []
    for element in elements:
        for layer in element_bodies(workspace, entry, element, own.blocks, opened):
            if "_mixins_" in layer.body.reserved:
                uses = _replaced_list(workspace, entry, layer.body, uses)
                bottom = [use for use in uses if id(use.entry) in kept]
                own = with_mixins(entry, bottom)
                listed = [use for use in uses if id(use.entry) not in kept]
                brought = {at: [use for use in found if use in listed] for at, found in brought.items()}
                before = [use for found in brought.values() for use in found]
                brought[len(layers)] = new = [use for use in listed if use not in before]
                for use in reversed(new):
                    for one in ancestry(use.entry):
                        open_blocks(opened, one.body.blocks)
            layers.append(layer)
            open_blocks(opened, layer.body.blocks)
    return _finish(workspace, entry, base, own, bottom, uses, layers, brought, elements)


def _replaced_list(workspace: Workspace, entry: Entry, body: Body, uses: list[MixinUse]) -> list[MixinUse]:
    """The mixins after those lists of a body that replace one another; names mean those of the file of each."""
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
    brought: Mapping[int, Sequence[MixinUse]],
    elements: Sequence[Any],
) -> Resolved:
    values: Mapping[Any, Any] = own.values
    reserved: Mapping[str, Any] = own.reserved
    checks: list[tuple[VersionLayer, Mapping[Any, Any]]] = []
    trail: list[VersionLayer | MixinUse] = []
    for index, layer in enumerate(layers):
        for use in reversed(brought.get(index, ())):
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
    resolver.share(base.shared, learns=not layers)
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
    """That a requirement would be configured with a secret which its own configuration does not hide."""
    path = f"{resolved.component}._requires_"
    if resolver.plain(value, path, stored=True) == without_hidden(plain):
        return []
    return [
        MalformedText(
            "a requirement is given a secret, which would be stored with its configuration",
            at=resolved.reserved_place("_requires_") or resolved.entry.place,
            path=path,
            todo="Pass it on under a hidden key: {_token: $self._token}.",
        )
    ]


def _call_problem(resolved: Resolved, path: str, text: str, written: str) -> MachinableError | None:
    """What is wrong with the arguments of a call, if anything."""
    try:
        method_calls.parse(text)
    except ConfigurationError as error:
        key = path[len(resolved.component) + 1 :]
        try:
            place = resolved.place(key)
        except (UnknownName, MissingKey):  # a key with brackets in it: the entry is near enough
            place = None
        facts: dict[str, Any] = {"at": place or resolved.entry.place, "path": path}
        if text == written and not any(map(is_hidden, re.split(r"[.\[]", key))):
            return type(error)(
                error.message, given=text, known=error.known, details=error.details, todo=error.todo, **facts
            )
        return type(error)(
            "what stands here looks like a call and cannot be one",
            given=None,
            **facts,
            todo="A text that is no call: put a character behind the last parenthesis.",
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
                f"{new.path!r} is no key of {resolved.component} so far: did you mean {names}? "
                f"(declared at {resolved.entry.place})"
            )
    return errors
