"""Resolve the references `$.path` and `$self.path` of a merged configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import islice
from typing import Any, TypeAlias

from msgspec import Struct

from machinable.config.merge import Overlay, merge, settled
from machinable.config.nodes import MAX_DEPTH, MAX_VALUES, EnvValue, Reference, type_name, unwrapped
from machinable.errors import MachinableError, MalformedText, MissingIndex, MissingKey, did_you_mean, near_names
from machinable.serialization import is_hidden

__all__ = ["Resolver", "parse_path"]

_MAX_SUGGESTIONS = 20  # errors of one configuration that suggest near names, because searching them is slow

PathPart: TypeAlias = "tuple[str, str]"  # ("key" | "index" | "reference", text)


@lru_cache(maxsize=4096)
def parse_path(text: str) -> tuple[str, tuple[PathPart, ...]] | str:
    """Return the root ("self" or "") and the parts of a reference, or a text that describes the error."""
    root, rest = ("self", text[6:]) if text.startswith("$self.") else ("", text[2:])
    parts: list[PathPart] = []
    position, wants_key = 0, True
    while position < len(rest) or wants_key:
        character = rest[position : position + 1]
        if wants_key:
            end = position
            while end < len(rest) and rest[end] not in ".[]":
                end += 1
            if end == position:
                return "a key is missing" + (f" before {rest[position:]!r}" if rest[position:] else " at the end")
            parts.append(("key", rest[position:end]))
            position, wants_key = end, False
        elif character == ".":
            position, wants_key = position + 1, True
        elif character == "[":
            depth, end = 1, position + 1
            while end < len(rest) and depth:
                depth += {"[": 1, "]": -1}.get(rest[end], 0)
                end += 1
            if depth:
                return "a bracket is not closed"
            index = rest[position + 1 : end - 1]
            if not index:
                return "an index is missing"
            kind = "reference" if index.startswith(("$.", "$self.")) else "index"
            if kind == "index" and any(c in ".[]" for c in index):
                return f"the index {index!r} is neither a name nor a reference"
            parts.append((kind, index))
            position = end
        else:
            return f"{character!r} is not expected here"
    return root, tuple(parts)


class _Hidden(Struct, eq=False):
    """A value behind a hidden key that a visible mapping is merged over, and the reference that leads to it."""

    node: Any
    written: str


def _hide(node: Any, written: str, over: Any) -> Any:
    """Hide the values of a mapping or of a list that `over` is merged over, each by itself."""
    above = over if isinstance(over, dict) else {}
    if isinstance(node, dict):
        return {key: _hide(value, f"{written}.{key}", above.get(key)) for key, value in node.items()}
    if isinstance(node, list) and above:
        return [_hide(item, f"{written}[{i}]", above.get(str(i), above.get(i))) for i, item in enumerate(node)]
    return node if type(node) in (Reference, Overlay) else _Hidden(node, written)


class Resolver:
    """Resolve the references of one configuration. Only references on the path to a value are followed.

    A value that a reference takes from behind a hidden key, or finds with one as an index, is hidden wherever it is
    copied to: its stored form is the text as written.

    Args:
        values: The configuration with all layers merged.
        name: The name of the component, for messages.
        shared: Copies of mappings and lists that contain no references, each with its original, by the id of
            the original. They must not be changed.
        fills: Whether to add new copies to `shared`.
    """

    def __init__(
        self,
        values: Mapping[Any, Any],
        name: str,
        shared: dict[int, tuple[Any, Any]] | None = None,
        fills: bool = False,
    ) -> None:
        self.values = values
        self.name = name
        self.errors: list[MachinableError] = []
        self.is_masked = False  # whether the stored form differs in more than hidden keys
        self._heads: dict[int, tuple[Any, bool]] = {}
        self._failed: dict[int, MachinableError] = {}
        self._alive: list[Any] = []  # objects that `_heads` refers to by id must not be freed
        self._active: list[tuple[str, Reference]] = []
        self._trail: list[tuple[str, Reference]] = []  # references that led to the value being copied
        self._copying: dict[int, int] = {}
        self._shared = {} if shared is None else shared
        self._fills_shared = fills
        self._specials = 0  # references and variables met so far
        self._cycles: dict[frozenset[int], MalformedText] = {}
        self._count = 0

    def container(self, node: Any) -> Any:
        """Return a value with references at its top followed, but not those inside."""
        return self._head(node, self.name)[0]

    def _head(self, node: Any, label: str) -> tuple[Any, bool]:
        """Return the value as `container` does, and whether a hidden key is on the path."""
        if type(node) is Reference:
            return self._follow(node, label)
        if type(node) is Overlay:
            known = self._heads.get(id(node))
            if known is None:
                base, hidden = self._head(node.below, label)
                base = unwrapped(base)
                known = self._merged(_hide(base, node.reference.written, node.over) if hidden else base, node, label)
                self._heads[id(node)] = known
                self._alive.append(node)
            return known
        if type(node) is _Hidden:
            return self._head(node.node, label)[0], True
        return node, False

    def _merged(self, base: Any, node: Overlay, label: str) -> tuple[Any, bool]:
        try:
            return merge(base, node.over), False
        except MachinableError as error:
            error.path = f"{label}.{error.path}"
            raise

    def _follow(self, reference: Reference, label: str) -> tuple[Any, bool]:
        identity = id(reference)
        if identity in self._heads:
            return self._heads[identity]
        if identity in self._failed:
            raise self._failed[identity]
        for index, (_, active) in enumerate(self._active):
            if active is reference:
                raise self._cycle(self._active[index:])
        if len(self._active) >= MAX_DEPTH:
            raise MalformedText(
                f"a chain of more than {MAX_DEPTH} references",
                at=reference.place,
                path=label,
                given=reference.written,
                todo="Refer to the value itself.",
            )
        self._active.append((label, reference))
        try:
            result = self._walk(reference, label)
        except MachinableError as error:
            self._failed[identity] = error
            raise
        finally:
            self._active.pop()
        self._heads[identity] = result
        self._alive.append(reference)
        return result

    def _walk(self, reference: Reference, label: str) -> tuple[Any, bool]:
        parsed = parse_path(reference.text)
        if isinstance(parsed, str):
            reason = f": {parsed}" if reference.text == reference.written else ""
            raise MalformedText(
                f"the reference {reference.written!r} is malformed{reason}",
                at=reference.place,
                path=label,
                given=reference.written,
                todo="Write $.key.key or $self.key[index].",
            )
        root, parts = parsed
        node: Any = self.values if root == "self" else reference.source.scope.root
        walked = self.name if root == "self" else "$"
        hidden = False
        for kind, text in parts:
            node, through = self._head(node, walked)
            hidden = hidden or through
            shown = text if text in reference.written else "…"  # text from the environment is not shown
            if kind == "reference":
                inner = Reference(text, shown, reference.source, reference.mark)
                found, secret = self._head(inner, label)
                index = unwrapped(found)
                if isinstance(index, (dict, list)):
                    raise MalformedText(
                        f"the index {shown!r} of {reference.written!r} is not a scalar but {type_name(index)}",
                        at=reference.place,
                        path=label,
                        given=reference.written,
                        todo="Refer to a string or a number.",
                    )
                text = _as_text(index)
                hidden = hidden or secret
                shown = shown if secret else found.written if found is not index else text
            node = self._step(unwrapped(node), text, shown, reference, label)
            hidden = hidden or is_hidden(text)
            walked = f"{walked}.{shown}"
        node, through = self._head(node, walked)
        return settled(node), hidden or through

    def _step(self, node: Any, text: str, shown: str, reference: Reference, label: str) -> Any:
        digits = text.isascii() and text.isdigit() and len(text) < 20
        if isinstance(node, dict):
            if digits and (number := int(text)) in node and any(type(key) is int and key == number for key in node):
                return node[number]
            if text in node:
                return node[text]
        elif isinstance(node, list) and digits and int(text) < len(node):
            return node[int(text)]
        raise self._missing(node, text, shown, reference, label)

    def _missing(self, node: Any, text: str, shown: str, reference: Reference, label: str) -> MachinableError:
        known: tuple[str, ...] = ()
        kind: type[MachinableError] = MissingKey
        if isinstance(node, dict):
            known = tuple(map(str, node)) if len(self.errors) < _MAX_SUGGESTIONS else ()
            near = near_names(text, known)
            what, todo = f"there is no key {shown!r}", did_you_mean(near) if near else _all_keys(node)
        elif not isinstance(node, list):
            what = f"{type_name(node)} has no key {shown!r}"
            todo = "Refer to a key of a mapping or an element of a list."
        elif text.isascii() and text.isdigit():
            kind = MissingIndex
            what, todo = f"there is no element {shown}", f"The list has {len(node)} elements, counted from 0."
        else:
            what, todo = f"a list has no key {shown!r}", "Write the index of an element, counted from 0."
        return kind(
            f"{reference.written!r}: {what}",
            at=reference.place,
            path=label,
            given=reference.written,
            known=known,
            todo=todo,
        )

    def _cycle(self, links: Sequence[tuple[str, Reference]]) -> MalformedText:
        width = max(len(f"{label} = {reference.written}") for label, reference in links)
        details = [f"{f'{label} = {reference.written}':<{width}}   {reference.place}" for label, reference in links]
        return MalformedText(
            "a reference refers to itself",
            at=links[0][1].place,
            given=links[0][1].written,
            details=details,
            todo="Replace one of the references by a value.",
        )

    def copy(self, stored: bool = False) -> dict[str, Any]:
        """Return the configuration as plain data with references resolved. `errors` collects the failures.

        Args:
            stored: Whether to leave out hidden keys, and to write values that references take from behind them as they
                are written in the file.
        """
        return {
            key: self.plain(value, f"{self.name}.{key}", stored)
            for key, value in self.values.items()
            if not (stored and is_hidden(key))
        }

    def plain(self, value: Any, label: str, stored: bool = False) -> Any:
        """Return one value, resolved. `label` is its path for messages; `stored` is as in `copy`."""
        try:
            return self._plain(value, label, 1, stored, None)
        except _TooMuch as error:
            message, where = error.args
            raise MalformedText(message, path=where[:200], todo="Nest less deeply, or use fewer references.") from None

    def _plain(self, node: Any, label: str, depth: int, stored: bool, masked: str | None) -> Any:
        """Return a value; `masked` is the text for a stored value that a hidden key is on the path to."""
        kind = type(node)
        if masked is not None:
            self.is_masked = True
            if stored and not isinstance(node, (dict, list)) and kind not in _FOLLOWED:
                return node.written if kind is EnvValue else masked
        if kind is str or kind is int or kind is float or kind is bool or node is None:
            return node
        if kind is EnvValue:
            self._specials += 1
            return node.value
        if kind is _Hidden:
            self._specials += 1
            return self._plain(node.node, label, depth, stored, node.written if masked is None else masked)
        if kind is Reference or kind is Overlay:
            self._specials += 1
            reference = node if kind is Reference else node.reference
            self._trail.append((label, reference))
            try:
                found, hidden = self._head(node, label)
                if hidden and masked is None:
                    masked = reference.written
                return self._plain(found, label, depth, stored, masked)
            except MachinableError as error:
                if not any(error is other for other in self.errors):
                    self.errors.append(error)
                return None
            finally:
                self._trail.pop()
        if isinstance(node, (dict, list)):
            identity = id(node)
            if identity in self._shared and not stored:
                return self._shared[identity][1]
            specials = self._specials
            self._count += len(node) + 1
            if self._count > MAX_VALUES:
                raise _TooMuch(f"references expand to more than {MAX_VALUES:,} values", label)
            if depth > MAX_DEPTH:
                raise _TooMuch(f"nested deeper than {MAX_DEPTH} levels", label)
            if identity in self._copying:
                links = self._trail[self._copying[identity] :]
                round_trip = frozenset(id(reference) for _, reference in links)  # the same from any start
                raise self._cycles.setdefault(round_trip, self._cycle(links))
            self._copying[identity] = len(self._trail)
            try:
                result: Any
                if isinstance(node, dict):
                    result = {
                        key: self._plain(value, f"{label}.{key}", depth + 1, stored, masked and f"{masked}.{key}")
                        for key, value in node.items()
                        if not (stored and is_hidden(key))
                    }
                else:
                    result = [
                        self._plain(value, f"{label}[{index}]", depth + 1, stored, masked and f"{masked}[{index}]")
                        for index, value in enumerate(node)
                    ]
            finally:
                del self._copying[identity]
            if self._fills_shared and not stored and specials == self._specials:
                self._shared[identity] = node, result
            return result
        return node  # a date


_FOLLOWED = frozenset({Reference, Overlay, _Hidden})


class _TooMuch(Exception):
    """Stop a copy that is too large; converted to a `MalformedText` at its root."""


def _as_text(value: Any) -> str:
    if value is True or value is False:
        return "true" if value else "false"
    return "null" if value is None else str(value)


def _all_keys(node: Mapping[Any, Any]) -> str:
    if not node:
        return "The mapping is empty."
    return "Known here: " + ", ".join(map(str, islice(node, 12))) + (", …" if len(node) > 12 else "")
