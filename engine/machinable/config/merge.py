"""Lays one mapping over another; everything that changes a configuration goes through here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from machinable.config.source import Reference, Section

__all__ = ["Overlay", "expand_dots", "merge"]


class Overlay:
    """A mapping laid over a reference; merged when the reference is resolved."""

    __slots__ = ("over", "reference")

    def __init__(self, reference: Reference, over: Mapping[Any, Any]) -> None:
        self.reference = reference
        self.over = over


def merge(base: Any, over: Any) -> Any:
    """`over` laid over `base`; a new value that changes neither.

    Mappings merge key by key, in the order of `base` with new keys behind; a mapping over a reference waits for it;
    everything else replaces.
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
    """The mapping with keys such as `a.b` as nested mappings, merged in written order; places are kept.

    Keys that begin with `~` and keys with an empty part stay as they are.
    """
    if not any(type(key) is str and "." in key for key in mapping):
        return mapping
    result: Any = Section(mapping.source) if isinstance(mapping, Section) else {}
    for key, value in mapping.items():
        parts = key.split(".") if type(key) is str and key[:1] != "~" else [key]
        if not all(parts):
            parts = [key]
        mark = mapping.marks[key] if isinstance(mapping, Section) else None
        optional = isinstance(mapping, Section) and key in mapping.optional
        for depth, part in reversed(list(enumerate(parts))):
            if depth == 0:
                break
            inner: Any = Section(mapping.source) if isinstance(mapping, Section) else {}
            inner[part] = value
            if isinstance(mapping, Section):
                inner.marks[part] = mark
                if optional and depth == len(parts) - 1:
                    inner.optional.add(part)
            value = inner
        _put(result, parts[0], value, mark)
        if optional and len(parts) == 1:
            result.optional.add(key)
    return result  # type: ignore[no-any-return]


def _put(target: Any, key: Any, value: Any, mark: Any) -> None:
    """Merges a value into a section that is being made, with the places of both."""
    if key in target and isinstance(value, dict) and isinstance(target[key], dict):
        base = target[key]
        joined: Any = Section(base.source) if isinstance(base, Section) else {}
        joined.update(base)
        if isinstance(base, Section):
            joined.marks.update(base.marks)
            joined.optional |= base.optional
        for inner, item in value.items():
            _put(joined, inner, item, value.marks[inner] if isinstance(value, Section) else None)
        if isinstance(value, Section):
            joined.optional |= value.optional
        target[key] = joined
        return
    target[key] = merge(target.get(key), value)
    if mark is not None:
        target.marks[key] = mark
