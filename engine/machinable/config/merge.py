"""Merge mappings, and find keys of an override that the configuration below it lacks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct

from machinable.config.nodes import MappingNode, Reference
from machinable.errors import MachinableError

__all__ = ["Overlay", "expand_dots", "merge", "new_keys"]


class Overlay(Struct, eq=False):
    """A mapping over a reference; merged when the reference is resolved."""

    reference: Reference
    over: Mapping[Any, Any]


def merge(base: Any, over: Any) -> Any:
    """Return `over` merged over `base`, changing neither.

    Mappings merge key by key, in the order of `base` followed by new keys. A mapping over a reference becomes an
    `Overlay`. Any other value replaces the one below it.
    """
    if not isinstance(over, dict):
        return over
    if isinstance(base, dict):
        result = dict(base)
        for key, value in over.items():
            result[key] = merge(result[key], value) if key in result and isinstance(value, dict) else value
        return result
    if isinstance(base, Reference):
        return Overlay(base, over)
    if isinstance(base, Overlay):
        return Overlay(base.reference, merge(base.over, over))
    return over


def expand_dots(mapping: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the mapping with keys such as `a.b` as nested mappings, merged in the order of the file.

    Places are preserved. Keys that begin with `~` and keys with an empty part are not split.
    """
    if not any(type(key) is str and "." in key for key in mapping):
        return mapping
    result = _like(mapping)
    for key, value in mapping.items():
        parts = key.split(".") if type(key) is str and key[:1] != "~" else [key]
        if not all(parts):
            parts = [key]
        mark = mapping.marks[key] if isinstance(mapping, MappingNode) else None
        is_optional = isinstance(mapping, MappingNode) and key in mapping.optional
        for part in reversed(parts[1:]):
            inner = _like(mapping)
            _put(inner, part, value, mark)
            if is_optional:
                inner.optional.add(part)
            value, is_optional = inner, False
        _put(result, parts[0], value, mark)
        if is_optional:
            result.optional.add(key)
    return result  # type: ignore[no-any-return]


def _like(mapping: Mapping[Any, Any]) -> Any:
    return MappingNode(mapping.source) if isinstance(mapping, MappingNode) else {}


def _put(target: Any, key: Any, value: Any, mark: Any) -> None:
    """Merge a value into a mapping that is being built, with the places of both."""
    if key in target and isinstance(value, dict) and isinstance(target[key], dict):
        base = target[key]
        joined = _like(base)
        joined.update(base)
        if isinstance(base, MappingNode):
            joined.marks.update(base.marks)
            joined.optional |= base.optional
        for inner, item in value.items():
            _put(joined, inner, item, value.marks[inner] if isinstance(value, MappingNode) else None)
        if isinstance(value, MappingNode):
            joined.optional |= value.optional
        target[key] = joined
        return
    target[key] = merge(target.get(key), value)
    if mark is not None:
        target.marks[key] = mark


def new_keys(
    over: Mapping[Any, Any],
    below: Mapping[Any, Any],
    blocks: Sequence[Mapping[Any, Any]],
    container: Callable[[Any], Any],
    above: tuple[str, ...] = (),
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield the path of each key that neither the configuration nor any block has, and the names of its siblings.

    Keys below a new key, a null, a scalar, a list or an empty mapping are not checked.

    Args:
        over: The override.
        below: The configuration below it.
        blocks: The values that blocks set, at this path.
        container: Follow references at the top of a value.
        above: The keys that lead here.
    """

    def mapping(value: Any) -> Mapping[Any, Any] | None:
        try:
            value = container(value)
        except MachinableError:
            return None  # reported when the reference is resolved, if it is still part of the result
        return value if isinstance(value, dict) and value else None

    for key, value in over.items():
        in_blocks = [block[key] for block in blocks if key in block]
        if key not in below and not in_blocks:
            yield (*above, str(key)), list(dict.fromkeys(str(name) for known in (below, *blocks) for name in known))
        elif isinstance(value, dict) and value:
            inner = [found for found in map(mapping, in_blocks) if found is not None]
            known = mapping(below[key]) if key in below else {} if inner else None
            if known is not None:
                yield from new_keys(value, known, inner, container, (*above, str(key)))
