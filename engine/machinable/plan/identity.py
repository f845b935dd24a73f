"""What makes two computations the same: one hash over everything that decides a result, and nothing else.

What tells trials apart, and so decides their seeds and uids: the key of each trial, as canonical JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import zip_longest
from typing import Any

from machinable.config.nodes import MappingNode
from machinable.config.resolved import Resolved
from machinable.config.versions import elements_of
from machinable.serialization import Plain, canonical, is_hidden

__all__ = [
    "Effective",
    "KeyParts",
    "content",
    "identity",
    "key_parts",
    "requirement_key",
    "trial_keys",
    "version_key",
    "visible_elements",
]

KeyParts = tuple[str, str]  # of a listed component's key: what stands before the levels and the ordinal, and behind


def key_parts(component: str, version: Plain, children: Sequence[Plain]) -> KeyParts:
    """The parts of a key that all repetitions share. `children`: component and version of each."""
    head = f'{{"children":{canonical(children) if children else "[]"},"component":{canonical(component)},'
    return head, f'"version":{canonical(version)}}}'


def requirement_key(identity: str) -> str:
    """The key of a requirement: what it computes, whoever needs it."""
    return canonical({"requirement": identity})


def trial_keys(
    parts: Sequence[KeyParts | str], rows: Sequence[tuple[int, tuple[int, ...]]], labels: Sequence[str]
) -> Iterator[str]:
    """The key of every trial, put together from parts that are made once.

    Args:
        parts: of each use; the whole key of a requirement. rows: the use of each trial, and its number in each level.
    """
    level_texts: dict[tuple[int, ...], str] = {}
    counts: dict[tuple[KeyParts, str], int] = {}
    for use, numbers in rows:
        part = parts[use]
        if isinstance(part, str):
            yield part
            continue
        text = level_texts.get(numbers)
        if text is None:
            text = canonical([[label, number] for label, number in zip(labels, numbers, strict=True)])
            level_texts[numbers] = text
        ordinal = counts.get((part, text), 0)
        counts[part, text] = ordinal + 1
        yield f'{part[0]}"levels":{text},"ordinal":{ordinal},{part[1]}'


def version_key(versions: Any) -> Plain:
    """The versions of a trial as its key has them: elements as written, without what changes nothing or is hidden."""
    return visible_elements(elements_of(versions))


def visible_elements(given: Sequence[Plain]) -> Plain:
    """The same for versions that were taken apart already."""
    elements = []
    for element in given:
        if type(element) is dict:  # elements are plain
            if not element:
                continue
            element = _visible(element, dotted=True)
            if element is _NOTHING:
                continue
        elements.append(element)
    if not elements:
        return None
    return elements[0] if len(elements) == 1 else tuple(elements)


_NOTHING: Any = object()


def _visible(value: Plain, dotted: bool = False) -> Plain:
    """The value without hidden keys, and without the mappings that this empties."""
    if type(value) is dict:
        kept = {}
        for key, item in value.items():
            if is_hidden(key) or (dotted and type(key) is str and any(map(is_hidden, key.split(".")))):
                continue
            item = _visible(item, dotted and type(key) is str and key.startswith("~"))
            if item is not _NOTHING:
                kept[key] = item
        return kept if kept or not value else _NOTHING
    if isinstance(value, list):
        return [item for item in map(_visible, value) if item is not _NOTHING]
    return value


def content(
    component: str,
    module: str,
    configuration: Plain,
    *,
    children: Sequence[Plain],
    flags: Mapping[str, Plain],
    checkpoint: str | None,
    requirements: Mapping[str, Plain],
) -> str:
    """What a computation is, but for its seed: 32 hexadecimal digits.

    Args:
        component, module: canonical name and import path: equal class names in two modules are different things.
        configuration: the effective one, from `Effective`.
        children: `[component, module, effective configuration]` of each, in order.
        flags: those of the user. checkpoint: its text.
        requirements: name → identity, or `[identity, artifact]` where only one artifact is depended on.
    """
    return _digest(
        checkpoint=canonical(checkpoint) if checkpoint is not None else "null",
        children=canonical(list(children)) if children else "[]",
        component=canonical(component),
        config=canonical(configuration),
        flags=canonical(dict(flags)) if flags else "{}",
        kind='"content"',
        module=canonical(module),
        requires=canonical(dict(requirements)) if requirements else "{}",
    )


def identity(content: str, seed: int | None) -> str:
    """The identity of a computation: its content and the seed of a listed trial, or one that was chosen."""
    return _digest(content=canonical(content), kind='"trial"', seed="null" if seed is None else str(seed))


def _digest(**parts: str) -> str:
    """That of the canonical JSON of a mapping whose values are canonical JSON; given in the order of the keys."""
    text = ",".join([f'"{name}":{part}' for name, part in parts.items()])
    return blake2b(f"{{{text}}}".encode("ascii"), digest_size=16).hexdigest()


class Effective:
    """Knows what a component declares, and so which part of a configuration decides a result.

    Args:
        declared: the component without a version.
    """

    def __init__(self, declared: Resolved) -> None:
        self._default = declared.stored
        self._optional: set[tuple[str, ...]] = set()
        for values in declared.bodies():
            _collect_optional(values, (), self._optional)

    def of(self, resolved: Resolved) -> Plain:
        """The effective configuration of one use.

        Hidden keys are left out, and keys declared as `name?` that have their declared value; a whole number is a
        float where the declared default is one; a secret stands as it was written. So two spellings are equal.
        """
        return _effective(resolved.stored, self._default, self._optional, ())

    def changed(self, resolved: Resolved) -> dict[str, Plain]:
        """The values that a version has changed or added, by their dotted paths."""
        found: dict[str, Plain] = {}
        _changed(resolved.stored, self._default, "", found)
        return found


def _collect_optional(values: Any, path: tuple[str, ...], found: set[tuple[str, ...]]) -> None:
    if isinstance(values, MappingNode):
        found.update((*path, name) for name in values.optional)
        for key, value in values.items():
            if type(value) is MappingNode:
                _collect_optional(value, (*path, key), found)


_ABSENT = object()


def _effective(value: Any, default: Any, optional: set[tuple[str, ...]], path: tuple[str, ...]) -> Any:
    kind = type(value)
    if kind is dict:
        if value is default and not optional:
            return value
        result = {}
        known = default if type(default) is dict else {}
        for key, item in value.items():
            below = known.get(key, _ABSENT)
            if type(item) in _REFINED:
                item = _effective(item, below, optional, (*path, key))
            if (
                optional
                and (*path, key) in optional
                and below is not _ABSENT
                # As text, for True == 1 == 1.0, and what is not a number is not equal to itself.
                and canonical(item) == canonical(_effective(below, below, optional, (*path, key)))
            ):
                continue
            result[key] = item
        return result
    if kind is int and type(default) is float:
        return _as_float(value)
    if kind is list and type(default) is list and value is not default:
        return [
            _effective(item, below, optional, path) if type(item) in _REFINED else item
            for item, below in zip_longest(value, default[: len(value)], fillvalue=_ABSENT)
        ]
    return value


_REFINED = (dict, int, list)


def _as_float(number: int) -> int | float:
    """A whole number as a float, unless that would be another number."""
    try:
        return float(number) if float(number) == number else number
    except OverflowError:
        return number


def _changed(value: Mapping[Any, Plain], default: Mapping[Any, Plain], above: str, found: dict[str, Plain]) -> None:
    for key, item in value.items():
        before = default.get(key, _ABSENT)
        if item is before or (type(item) is type(before) and item == before and canonical(item) == canonical(before)):
            continue
        path = f"{above}{key}"
        if type(item) is dict and item:
            _changed(item, before if type(before) is dict else {}, f"{path}.", found)
        else:
            found[path] = item
