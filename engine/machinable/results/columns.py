"""Many JSON values of a similar shape, column by column: a question about one key reads what is under that key.

A *shape* says where the values are, as numbers of lines. Each line is a JSON list.

    {"all": 0}                                   the values, all of one type
    {"of": 0}                                    one value, which all of them are
    {"of": 0, "at": 1}                           few values; for each place, which one
    {"keys": ["a", "b"], "columns": [{…}, {…}]}  mappings with these keys, in this order
    {"which": 0, "parts": [{…}, {…}]}            values of several types; for each place, of which part the next one is
    {"any": 0}                                   the values, of too many types for that
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

__all__ = ["Columns", "Look", "Shape", "can_change", "pack"]

Shape: TypeAlias = Mapping[str, Any]
Look: TypeAlias = Callable[[Any, tuple[str, ...]], Any]  # a value and the keys that are left: what is there

_MANY = 64  # types of values in one place, from which on each would be a column of few
_CHANGING = frozenset({dict, list, tuple})

_dump = json.JSONEncoder(separators=(",", ":")).encode


def pack(values: Sequence[Any], lines: dict[bytes, int]) -> Shape:
    """The shape of values that `json` has read. Lines that there are not are added to `lines`, with their numbers."""
    types: list[Any] = list(set(map(type, values)))
    if types == [dict]:
        types = list(dict.fromkeys(map(tuple, values)))
        if len(types) == 1:
            keys = types[0]
            return {"keys": keys, "columns": [pack([value[key] for value in values], lines) for key in keys]}
    elif len(types) == 1:
        return _pack_equal(values, types[0], lines)
    kinds = [tuple(value) if type(value) is dict else type(value) for value in values]
    parts: dict[Any, list[Any]] = {kind: [] for kind in kinds}
    if len(parts) > _MANY:
        return {"any": _line(values, lines)}
    for kind, value in zip(kinds, values, strict=True):
        parts[kind].append(value)
    numbers = {kind: number for number, kind in enumerate(parts)}
    which = _line([numbers[kind] for kind in kinds], lines)
    return {"which": which, "parts": [pack(part, lines) for part in parts.values()]}


def _pack_equal(values: Sequence[Any], kind: type, lines: dict[bytes, int]) -> Shape:
    """The shape of values of one type, which is not that of mappings."""
    marks: Sequence[Any] = values
    if kind is float:
        # Equal is what has the same bits: 0.0 is not -0.0, and NaN is NaN.
        marks = memoryview(array("d", values)).cast("B").cast("q").tolist()
    elif kind is list:
        marks = list(map(repr, values))
    different = dict(zip(marks, values, strict=True))
    if len(different) == 1:
        return {"of": _line([*different.values()], lines)}
    if len(different) > len(values) // 4:
        return {"all": _line(values, lines)}
    numbers = {mark: number for number, mark in enumerate(different)}
    return {"of": _line([*different.values()], lines), "at": _line([numbers[mark] for mark in marks], lines)}


def _line(values: Sequence[Any], lines: dict[bytes, int]) -> int:
    return lines.setdefault(_dump(values).encode(), len(lines))


class Columns:
    """Values that were packed.

    Args:
        count: how many there are. shape: of them. line: gives the list of a line; it is asked for those that are
            needed, and what it gave is not changed.
    """

    def __init__(self, count: int, shape: Shape, line: Callable[[int], list[Any]]) -> None:
        self.count = count
        self._shape = shape
        self._line = line

    def values(self) -> list[Any]:
        """All of them. No value that can be changed is shared; the list may be."""
        shape = self._shape
        if "parts" in shape:
            return self._joined(lambda part: part.values())
        if "keys" in shape:
            keys = shape["keys"]
            if not keys:
                return [{} for _ in range(self.count)]
            columns = [self._below(column).values() for column in shape["columns"]]
            return [dict(zip(keys, row, strict=True)) for row in zip(*columns, strict=True)]
        if "of" in shape:
            values = self._spread(self._line(shape["of"]))
        else:
            values = self._line(shape["all" if "all" in shape else "any"])
        return [_copy(value) for value in values] if can_change(values) else values

    def under(self, key: str) -> Columns | None:
        """The values under a key that all have; None if they are not all such mappings."""
        keys = self._shape.get("keys", ())
        return self._below(self._shape["columns"][keys.index(key)]) if key in keys else None

    def find(self, keys: tuple[str, ...], look: Look) -> list[Any]:
        """What `look` says of each value and the keys.

        Mappings that have the first of the keys are passed over, and it is asked for the value in them and the rest of
        the keys: it must say the same of both. A number with no keys left is its own answer. It is asked once for
        values that are equal, unless what it says can be changed.
        """
        shape = self._shape
        if "parts" in shape:
            return self._joined(lambda part: part.find(keys, look))
        below = self.under(keys[0]) if keys else None
        if below is not None:
            return below.find(keys[1:], look)
        if "of" in shape:
            answers = [look(value, keys) for value in self._line(shape["of"])]
            if not can_change(answers):
                return self._spread(answers)
        values = self.values()
        if not keys and "all" in shape and type(values[0]) in (int, float):
            return values
        return [look(value, keys) for value in values]

    def _below(self, shape: Shape) -> Columns:
        return Columns(self.count, shape, self._line)

    def _spread(self, few: list[Any]) -> list[Any]:
        at = self._shape.get("at")
        return few * self.count if at is None else [few[number] for number in self._line(at)]

    def _joined(self, ask: Callable[[Columns], list[Any]]) -> list[Any]:
        which = self._line(self._shape["which"])
        parts: list[Iterator[Any]] = [
            iter(ask(Columns(which.count(number), shape, self._line)))
            for number, shape in enumerate(self._shape["parts"])
        ]
        return [next(parts[number]) for number in which]


def can_change(values: Sequence[Any]) -> bool:
    """Whether there are values that whoever gets them could change."""
    return not _CHANGING.isdisjoint(map(type, values))


def _copy(value: Any) -> Any:
    if type(value) is dict:
        return {key: _copy(item) for key, item in value.items()}
    return [_copy(item) for item in value] if type(value) is list else value
