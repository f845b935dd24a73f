"""The configuration of one use of a component, and where each of its values was set."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from machinable.config.declaration import Body
from machinable.config.inheritance import ancestry
from machinable.config.interpolation import Resolver
from machinable.config.merge import Overlay, element_keys, known_key
from machinable.config.mixins import MixinUse
from machinable.config.nodes import MappingNode, Reference, SequenceNode, as_written, without_hidden_values
from machinable.config.registry import Entry
from machinable.config.versions import VersionLayer, visible
from machinable.errors import MachinableError, MissingKey, Place, UnknownName
from machinable.serialization import Plain, as_plain, is_hidden, without_hidden

__all__ = ["OriginLayer", "Origins", "Resolved", "place_in_layer"]


_NO_KEYS: frozenset[str] = frozenset()


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
        warnings: Possible mistakes.

    It must not be changed: uses of one component share equal parts.
    """

    __slots__ = (
        "_bottom",
        "_stored",
        "_texts",
        "_values",
        "_version_layers",
        "class_name",
        "component",
        "config",
        "elements",
        "entry",
        "evaluate",
        "is_masked",
        "module",
        "reserved",
        "shown",
        "uses",
        "warnings",
    )

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
        self.warnings: list[str] = []
        self.reserved: dict[str, Plain] = {}
        self.config: dict[str, Plain] = {}
        self._bottom = bottom
        self._version_layers = layers
        self._texts: dict[int, str] | None = None  # of version elements, by id
        self._values = values
        self.shown: dict[str, Plain] = {}  # stored forms of reserved keys that depend on hidden ones
        self.is_masked = False
        self._stored: dict[str, Plain] | None = None

    @property
    def counts_as(self) -> tuple[str, str]:
        """The component and the module that count for identities and seeds: those before a rename (`_identity_`)."""
        declared = self.entry.imported or self.entry
        former = declared.body.reserved.get("_identity_")
        if former is None:
            return self.component, self.module
        return self.component.removesuffix(declared.name) + former, self.module.removesuffix(declared.name) + former

    @property
    def mixins(self) -> list[dict[str, str]]:
        """The mixins in list order: name, origin, and the attribute if given."""
        return [
            {"name": use.name, "origin": use.origin} | ({"attribute": use.attribute} if use.attribute else {})
            for use in self.uses
        ]

    @property
    def versions(self) -> list[str]:
        """The elements of the version that are text."""
        return [element for element in self.elements if isinstance(element, str)]

    @property
    def is_changed(self) -> bool:
        """Whether a version changes the declared configuration."""
        return bool(self._version_layers)

    @property
    def stored(self) -> dict[str, Plain]:
        """The configuration for printing and storing, which must not be changed.

        Hidden keys are left out, and values made from them are as written.
        """
        if self._stored is None:
            if self.is_masked:
                self._stored = Resolver(self._values, self.component).copy(stored=True)
            else:
                visible = without_hidden(self.config)
                self._stored = self.config if visible == self.config else visible  # one of them takes less memory
        return self._stored

    def to_dict(self, hidden: bool = True) -> dict[str, Plain]:
        """Return the configuration as plain data, without reserved keys and version blocks.

        Args:
            hidden: Whether to include hidden keys. False returns the part that may be printed and stored.
        """
        return as_plain(self.config if hidden else self.stored)  # type: ignore[no-any-return]

    def mixin_only_keys(self) -> frozenset[str]:
        """Return the top-level keys that only mixins set."""
        if not self.uses:
            return _NO_KEYS
        added = {key for use in self.uses for one in ancestry(use.entry) for key in one.body.values}
        own = {key for one in ancestry(self.entry) for key in one.body.values}
        versions = [layer for layer in self._version_layers if isinstance(layer, VersionLayer)]
        own |= {key for layer in versions for part in layer.body.parts for key in part.values}
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

    def _setting(self, parts: Sequence[Any]) -> Iterator[tuple[OriginLayer, Any]]:
        """Yield the layers that set a value, highest first, each with the version element as given."""
        parts = self._with_lengths(parts)
        for label, body, given in reversed(self._layers()):
            found, parts = _find_in_layer(body.values, parts)
            if found is not None:
                yield OriginLayer(label, *found), given

    def _with_lengths(self, parts: Sequence[Any]) -> list[Any]:
        """Return a path whose indices know the lengths of their lists."""
        result: list[Any] = []
        node: Any = self.config
        for key in parts:
            result.append(_Index(key, len(node)) if isinstance(node, list) else key)
            node = node[key]
        return result

    def explain(self, key: str) -> list[OriginLayer]:
        """Return the layers that set a value, lowest first; the last one takes effect.

        Args:
            key: Dotted path; elements of a list as `[0]` or `.0`.

        Raises:
            MissingKey: The configuration has no such key.
        """
        parts = self._parts(key)
        layers = [layer for layer, _ in self._setting(parts)][::-1]
        return [replace(layer, text="…") for layer in layers] if any(map(is_hidden, parts)) else layers

    def _parts(self, key: str) -> list[Any]:
        """Return the keys and indices of a dotted path; a key may contain dots."""
        texts = key.replace("[", ".").replace("]", "").split(".")
        facts: dict[str, Any] = {"at": self.entry.place, "path": self.component}
        result: list[Any] = []
        node: Any = self.config
        at = 0
        while at < len(texts):
            if isinstance(node, dict):
                names = {str(name): name for name in node}
                ends = range(at + 1, len(texts) + 1)
                end = next((end for end in ends if ".".join(texts[at:end]) in names), None)
                if end is None:
                    known = [".".join([*texts[:at], name]) for name in names]
                    raise UnknownName("key", ".".join(texts[: at + 1]), known, **facts)
                part = names[".".join(texts[at:end])]
            elif isinstance(node, list) and texts[at].isdecimal() and int(texts[at]) < len(node):
                part, end = int(texts[at]), at + 1
            else:
                todo = f"The configuration ends at {'.'.join(texts[:at])!r}."
                raise MissingKey(f"no key {key!r}", given=key, todo=todo, **facts)
            result.append(part)
            node, at = node[part], end
        return result

    def origin(self, key: str) -> str:
        """Return where a value was set in the highest layer that has it, such as `machinable.yaml:12:7`.

        For values from Python this is the version element, and for values copied by a reference the reference.

        Raises:
            MissingKey: The configuration has no such key.
        """
        for layer, given in self._setting(self._parts(key)):
            if layer.place is not None:
                return str(layer.place)
            return self._shown(given)
        raise MissingKey(f"no layer sets {key!r}", at=self.entry.place, path=self.component, given=key)

    def _shown(self, given: Any) -> str:
        """Return a version element as text: one string for all keys that it sets, which is pickled once."""
        texts = self._texts = self._texts or {}
        text = texts.get(id(given))
        if text is None:
            text = texts[id(given)] = without_hidden_values(given) if isinstance(given, str) else visible(given)
        return text

    def place(self, key: str) -> Place | None:
        """Return the place that `origin` names, or None for values from Python."""
        return next((layer.place for layer, _ in self._setting(self._parts(key))), None)

    def reserved_place(self, key: str, *parts: str | int) -> Place | None:
        """Return the place of a reserved key, or of a key below it, in the highest layer that has it.

        None for values from Python, and for values copied by a reference.
        """
        for _, body, _ in reversed(self._layers()):
            found = place_in_layer(body.reserved, [key, *parts])
            if found is not None:
                return found[0] if parts else body.place(key)
        return None

    def may_show(self, key: str, text: str) -> bool:
        """Return whether messages may show a text: it is written there, and neither hidden nor from the environment."""
        try:
            return self.explain(key)[-1].text == repr(text)
        except (UnknownName, MissingKey):  # a key that contains brackets, or a default of the class
            return False

    def locate(self, error: MachinableError) -> None:
        """Add to errors about values the places of these values, found by `path`, or the versions that set them."""
        for one in error.parts:
            path = "" if one.at else one.path or ""
            while path:
                try:
                    one.at = self.place(path)
                    if one.at is None:
                        one.details = (*one.details, f"in the version {self.origin(path)}")
                    break
                except (UnknownName, MissingKey):  # without a value, the place of the value around it
                    path = path.rpartition(".")[0]
            one.at = one.at or self.entry.place


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

    def may_show(self, key: str, text: str) -> bool:
        """Return whether messages may show a text; see `Resolved.may_show`."""
        return self._resolved.may_show(key, text)

    def locate(self, error: MachinableError) -> None:
        """Add the places of values to errors about them, as `Resolved.locate` does."""
        self._resolved.locate(error)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)


class _Index(Struct, frozen=True):
    """The index of an element in a list of a length, from which elements that a layer adds are counted."""

    index: int
    length: int


def place_in_layer(values: Any, parts: Sequence[Any]) -> tuple[Place | None, str] | None:
    """Return the place and text of a value in a layer, or None if the layer does not set it."""
    return _find_in_layer(values, list(parts))[0]


def _find_in_layer(values: Any, parts: list[Any]) -> tuple[tuple[Place | None, str] | None, list[Any]]:
    """Return what `place_in_layer` does, and the path of the value in the layers below."""
    node = values
    place: Place | None = None
    for depth, part in enumerate(parts):
        key = part.index if isinstance(part, _Index) else part
        while isinstance(node, Overlay) and known_key(node.over, str(key)) not in node.over:
            place, node = node.reference.place, node.below
        node = node.over if isinstance(node, Overlay) else node
        if isinstance(node, Reference):
            break
        if isinstance(node, dict) and isinstance(part, _Index):
            node, key, below = _in_directive(node, part)
            parts = [*parts[:depth], below, *parts[depth + 1 :]]
        elif isinstance(node, dict) and key not in node and type(key) is int:
            key = str(key)
        if isinstance(node, dict) and key in node:
            place = node.place(key) if isinstance(node, MappingNode) and key in node.marks else None
        elif isinstance(node, list) and type(key) is int and key < len(node):
            place = node.place(key) if isinstance(node, SequenceNode) else place
        else:
            return None, parts
        node = node[key]
    return (place, as_written(node.reference if isinstance(node, Overlay) else node)), parts


def _in_directive(node: Mapping[Any, Any], part: _Index) -> tuple[Any, Any, _Index]:
    """Return where a mapping over a list sets an element: a list or a mapping, the index or key there.

    Also return the index in the list below.
    """
    before, after = node.get("_prepend_", ()), node.get("_append_", ())
    if before or after:
        first = part.length - len(after)
        if part.index >= first:
            return after, part.index - first, part
        if part.index < len(before):
            return before, part.index, part
        part = _Index(part.index - len(before), part.length - len(before) - len(after))
    for key in node:
        if element_keys({key: None}) and int(key) in (part.index, part.index - part.length):
            return node, key, part
    return (), None, part
