"""Merge mappings, and find keys of an override that the configuration below it lacks.

Directives say how a value is merged onto the one below it:

    {_replace_: true, …}                the mapping replaces it
    {_remove_: [key, …], …}             without these keys of it
    {_append_: […], _prepend_: […]}     elements after and before those of a list
    {"0": …, "-1": …}                   elements of a list, by index, perhaps beside the line above
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import is_
from typing import Any

from msgspec import Struct

from machinable.config.nodes import (
    DIRECTIVES,
    EnvValue,
    MappingNode,
    Reference,
    SequenceNode,
    described,
    unwrapped,
)
from machinable.errors import MachinableError, MalformedText, MissingIndex, UnknownName, near_names

__all__ = ["Overlay", "element_keys", "expand_dots", "known_key", "merge", "new_keys", "settled"]

_INDEX = re.compile(r"-?(?:0|[1-9][0-9]{0,17})")
_OF_LISTS = ("_append_", "_prepend_")


class Overlay(Struct, eq=False):
    """A mapping over a reference, or over another `Overlay`; merged when the reference is resolved."""

    below: Reference | Overlay
    over: Mapping[Any, Any]

    @property
    def reference(self) -> Reference:
        """The reference below all mappings."""
        below = self.below
        while isinstance(below, Overlay):
            below = below.below
        return below


def merge(base: Any, over: Any) -> Any:
    """Return `over` merged over `base`, changing neither.

    Mappings merge key by key, in the order of `base` followed by new keys. A mapping over a reference becomes an
    `Overlay`. Directives apply, and are not part of the result. Any other value replaces the one below it.

    Args:
        base: The value below, which contains no directives.
        over: The value above.

    Raises:
        MalformedText: A directive has a wrong value, or does not fit the value below.
        UnknownName: A key to be removed does not exist, or a list has a key such as `_apend_`.
        MissingIndex: A list has no such element.
    """
    if not isinstance(over, dict) or _is_set(over, "_replace_"):
        return settled(over)
    if isinstance(base, dict):
        return _merged(base, over)
    if isinstance(base, (Reference, Overlay)):
        return Overlay(base, over)
    if isinstance(base, list):
        if not DIRECTIVES.isdisjoint(over):
            _check_directives(over)
            return _extended(base, over)
        if element_keys(over):
            return _with_elements(base, over)
        for key in over:
            if type(key) is str and len(key) > 2 and key[0] == key[-1] == "_":
                raise UnknownName("directive", key, sorted(DIRECTIVES), at=_place(over, key), path=key)
    if type(unwrapped(base)) in (bool, int, float):
        for directive in _OF_LISTS:
            if directive in over:
                what = f"`{directive}` adds to a list, and this is {described(base)}"
                raise _malformed(over, directive, what, "Write the list.")
    return settled(over)


def _merged(base: Mapping[Any, Any], over: Mapping[Any, Any]) -> dict[Any, Any]:
    result = dict(base)
    if not DIRECTIVES.isdisjoint(over):
        _check_directives(over)
        for directive in _OF_LISTS:
            if directive in over:
                what = f"`{directive}` adds to a list, and this is a mapping"
                raise _malformed(over, directive, what, "Write its keys, or `_replace_: true` beside them.")
        for key in _removed(over):
            found = known_key(base, key)
            if found not in result:
                raise UnknownName("key to remove", key, result, at=_place(over, "_remove_"), path="_remove_")
            del result[found]
    for key, value in over.items():
        if key in DIRECTIVES:
            continue
        if type(key) is str and key not in result:
            key = known_key(result, key)
        if key not in result:
            result[key] = settled(value)
        elif isinstance(value, dict):
            try:
                result[key] = merge(result[key], value)
            except MachinableError as error:
                error.path = f"{key}.{error.path}" if error.path else str(key)
                raise
        else:
            result[key] = settled(value)
    return result


def known_key(mapping: Mapping[Any, Any], key: Any) -> Any:
    """Return the key that a text means: the number, where a mapping has only that, or only numbers."""
    if type(key) is str and key not in mapping and _INDEX.fullmatch(key):
        number, numbers = int(key), [known for known in mapping if type(known) is int]
        if number in numbers or 0 < len(numbers) == len(mapping):
            return number
    return key


def element_keys(over: Mapping[Any, Any]) -> bool:
    """Return whether all keys of a mapping are indices, such as `0` or `-1`."""
    return bool(over) and all(
        type(key) is int or (type(key) is str and _INDEX.fullmatch(key) is not None) for key in over
    )


def _with_elements(base: list[Any], over: Mapping[Any, Any]) -> list[Any]:
    result = list(base)
    for key, value in over.items():
        if key in DIRECTIVES:
            continue
        index = int(key)
        if not -len(base) <= index < len(base):
            count = "is empty" if not base else f"has {len(base)} element{'s' if len(base) > 1 else ''}"
            raise MissingIndex(
                f"there is no element {index}: the list {count}",
                at=_place(over, key),
                path=str(key),
                given=key,
                todo="Count from 0, or from -1 at the end. To add elements, write {_append_: […]}.",
            )
        result[index] = merge(base[index], value)
    return result


def _extended(base: list[Any], over: Mapping[Any, Any]) -> list[Any]:
    if "_remove_" in over:
        raise _malformed(
            over, "_remove_", "`_remove_` takes keys of a mapping, and this is a list", "Write the list that remains."
        )
    elements = [key for key in over if key not in DIRECTIVES]
    if not all(element_keys({key: None}) for key in elements):
        key = next(key for key in elements if not element_keys({key: None}))
        what = f"the key {str(key)!r} stands beside `_append_` or `_prepend_`, which make a list"
        raise _malformed(over, key, what, "Beside them, only elements of the list below are set: 0, -1, ….")
    below = _with_elements(base, over) if elements else base
    return [*settled(_list(over, "_prepend_")), *below, *settled(_list(over, "_append_"))]


def settled(value: Any) -> Any:
    """Return a value that is merged onto nothing, without directives; the value itself if it has none.

    Raises:
        MalformedText: A directive has a wrong value.
    """
    kind = type(value)
    if kind is MappingNode or kind is SequenceNode:
        if not value.directs:
            return value
    elif kind is not dict and kind is not list:
        return value
    if isinstance(value, list):
        items = [settled(item) for item in value]
        return value if all(map(is_, items, value)) else items
    if not DIRECTIVES.isdisjoint(value):
        _check_directives(value)
        if any(directive in value for directive in _OF_LISTS):
            return _extended([], value)
        if _removed(value) and not _is_set(value, "_replace_"):
            return _merged({}, value)  # raises an error: nothing can be removed
    inner = {key: settled(item) for key, item in value.items() if key not in DIRECTIVES}
    is_same = len(inner) == len(value) and all(map(is_, inner.values(), value.values()))
    return value if is_same else inner


def _is_set(over: Mapping[Any, Any], directive: str) -> bool:
    return directive in over and unwrapped(over[directive]) is True


def _check_directives(over: Mapping[Any, Any]) -> None:
    if "_replace_" in over and type(unwrapped(over["_replace_"])) is not bool:
        raise _malformed(over, "_replace_", f"`_replace_` takes true, not {described(over['_replace_'])}")
    for directive in ("_remove_", *_OF_LISTS):
        if directive in over:
            _list(over, directive)
    if any(isinstance(unwrapped(key), (dict, list, Reference)) for key in _removed(over)):
        raise _malformed(over, "_remove_", "`_remove_` takes a list of keys")


def _list(over: Mapping[Any, Any], directive: str) -> list[Any]:
    value = over.get(directive, [])
    if not isinstance(value, list):
        what = f"`{directive}` takes a list, not {described(value)}"
        raise _malformed(over, directive, what, f"Write {directive}: […].")
    return value


def _removed(over: Mapping[Any, Any]) -> list[Any]:
    return [key.value if type(key) is EnvValue else key for key in over.get("_remove_", ())]


def _place(mapping: Mapping[Any, Any], key: Any) -> Any:
    return mapping.place(key) if isinstance(mapping, MappingNode) and key in mapping.marks else None


def _malformed(over: Mapping[Any, Any], key: Any, message: str, todo: str | None = None) -> MalformedText:
    return MalformedText(message, at=_place(over, key), path=str(key), given=str(key), todo=todo)


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
                inner.optional = frozenset((part,))
            value, is_optional = inner, False
        _put(result, parts[0], value, mark)
        if is_optional:
            result.optional |= {key}
    return result  # type: ignore[no-any-return]


def _like(mapping: Mapping[Any, Any]) -> Any:
    if not isinstance(mapping, MappingNode):
        return {}
    result = MappingNode(mapping.source)
    result.directs = mapping.directs
    return result


def _put(target: Any, key: Any, value: Any, mark: Any) -> None:
    """Merge a value into a mapping that is being built, with the places and the directives of both."""
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
    if key not in target or not isinstance(value, dict):
        target[key] = value
    elif isinstance(target[key], (list, Reference, Overlay)):
        target[key] = merge(target[key], value)
    else:  # `loss: null` before `loss.name: ce` removes the keys below
        target[key] = _replacing(value)
    if mark is not None:
        target.marks[key] = mark


def _replacing(value: dict[Any, Any]) -> dict[Any, Any]:
    """Return a mapping that replaces what is below it."""
    result = _like(value)
    result.update(value, _replace_=True)
    if isinstance(value, MappingNode):
        result.marks, result.optional, result.directs = value.marks, value.optional, True
    return result  # type: ignore[no-any-return]


def new_keys(
    over: Mapping[Any, Any],
    below: Mapping[Any, Any],
    blocks: Sequence[Mapping[Any, Any]],
    container: Callable[[Any], Any],
    above: tuple[str, ...] = (),
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield the path of each key that neither the configuration nor any block has, and the names of its siblings.

    Keys below a new key, a null, a scalar, a list or an empty mapping are yielded only if they resemble a directive.

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
        if key in DIRECTIVES:
            continue
        key = known_key(below, key)
        in_blocks = [block[key] for block in blocks if key in block]
        if key not in below and not in_blocks:
            yield (*above, str(key)), list(dict.fromkeys(str(name) for known in (below, *blocks) for name in known))
            yield from _misspelt_directives(value, (*above, str(key)))
        elif isinstance(value, dict) and value:
            inner = [found for found in map(mapping, in_blocks) if found is not None]
            known = mapping(below[key]) if key in below else {} if inner else None
            if known is not None:
                yield from new_keys(value, known, inner, container, (*above, str(key)))
            else:
                yield from _misspelt_directives(value, (*above, str(key)))
        elif isinstance(value, list):
            yield from _misspelt_directives(value, (*above, str(key)))


def _misspelt_directives(value: Any, above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield the path of each key in a value that resembles a directive, such as `_apend_`, and the directives."""
    if isinstance(value, dict):
        for key, item in value.items():
            is_reserved = type(key) is str and key[:1] == key[-1:] == "_" and key not in DIRECTIVES
            if is_reserved and near_names(key, DIRECTIVES, cutoff=0.75):
                yield (*above, key), sorted(DIRECTIVES)
            if isinstance(item, (dict, list)):
                yield from _misspelt_directives(item, (*above, str(key)))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            if isinstance(item, (dict, list)):
                yield from _misspelt_directives(item, (*above, str(index)))
