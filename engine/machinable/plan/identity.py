"""Identities and keys: what makes two computations the same, and what distinguishes the trials of a plan.

An identity is a hash of everything that determines a result, and nothing else. The key of a trial is canonical JSON; it
determines the seed and the uid.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import zip_longest
from typing import Any

from machinable.config.declaration import is_reserved
from machinable.config.nodes import MappingNode, Source
from machinable.config.resolved import Resolved
from machinable.config.versions import elements_of
from machinable.errors import MachinableError
from machinable.serialization import Plain, as_plain, canonical, is_hidden

__all__ = [
    "Effective",
    "KeyParts",
    "content",
    "identity",
    "key_parts",
    "mixin_content",
    "trial_keys",
    "version_key",
    "visible_elements",
]

KeyParts = tuple[str, str]  # of the key of a listed component: before the levels and the ordinal, and after them


def key_parts(component: str, version: Plain, children: Plain) -> KeyParts:
    """Return the parts of a key that all repetitions share; `children` are component and version of each child."""
    head = f'{{"children":{canonical(children) if children else "[]"},"component":{canonical(component)},'
    return head, f'"version":{canonical(version)}}}'


def trial_keys(
    parts: Sequence[KeyParts | str], rows: Sequence[tuple[int, tuple[int, ...]]], labels: Sequence[str]
) -> Iterator[str]:
    """Yield the key of every trial, joined from parts that are made once.

    Args:
        parts: The parts of each use, or the whole key of a requirement.
        rows: The use of each trial, and its number in each level.
        labels: The labels of the levels.
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


def version_key(versions: Any, *, stored: bool = False) -> Plain:
    """Return versions as they appear in a key: as written, without hidden keys and elements that change nothing.

    Args:
        versions: The versions, without lists.
        stored: Whether to keep keys such as `_requires_.data`, without which a stored task would be another one. Keys
            of trials do not have them, so seeds do not depend on them.
    """
    return visible_elements(elements_of(versions), stored=stored)


def visible_elements(given: Sequence[Plain], *, stored: bool = False) -> Plain:
    """Return the same for versions that are split into elements."""
    elements = []
    for element in given:
        if type(element) is dict:  # elements are plain
            if not element:
                continue
            element = _visible(element, dotted=True, stored=stored)
            if element is _NOTHING:
                continue
        elif type(element) is str and element[:1] != "~" and ":" in element and ("_" in element or "\\" in element):
            element = _visible_text(element, stored)
            if element is _NOTHING:
                continue
        elements.append(element)
    if not elements:
        return None
    return elements[0] if len(elements) == 1 else tuple(elements)


_NOTHING: Any = object()


def _visible_text(text: str, stored: bool) -> Plain:
    """Return the text of a version, or if it has hidden keys, the mapping that it stands for without them."""
    from machinable.config.reader import read  # 15 ms with yaml, and tasks of classes need none

    try:
        value = as_plain(read(Source("", text)))
    except MachinableError:  # reported when it is resolved
        return text
    visible = _visible(value, dotted=True, stored=stored)
    return text if visible == value else visible


def _visible(value: Plain, dotted: bool = False, stored: bool = False) -> Plain:
    """Return a value without hidden keys, and without mappings that are then empty."""
    if type(value) is dict:
        visible = {}
        for key, item in value.items():
            is_split = dotted and type(key) is str
            is_kept = stored and is_split and is_reserved(key.partition(".")[0])
            if (is_hidden(key) and not is_kept) or (is_split and any(map(is_hidden, key.split(".")))):
                continue
            item = _visible(item, is_split and key.startswith("~"), stored)
            if item is not _NOTHING:
                visible[key] = item
        return visible if visible or not value else _NOTHING
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
    seeding: Sequence[str] | None,
) -> str:
    """Return the identity of a computation without its seed: 32 hexadecimal digits.

    Args:
        component: Canonical name, or the former one after a rename.
        module: Import path, in the same way: equal class names in two modules are different computations.
        configuration: The effective one, from `Effective`.
        children: `[component, module, effective configuration]` of each, in order, and its name if it has one.
        flags: Flags of the user.
        checkpoint: The checkpoint to start from.
        requirements: name → identity, or `[identity, artifact]` where only one artifact is read.
        seeding: The functions that are called with the seed; None for the default ones.
    """
    parts: dict[str, Plain] = {
        "checkpoint": checkpoint,
        "children": list(children),
        "component": component,
        "config": configuration,
        "flags": dict(flags),
        "kind": "content",
        "module": module,
        "requires": dict(requirements),
    }
    if seeding is not None:
        parts["seeding"] = list(seeding)
    return _hash(canonical(parts))


def mixin_content(module: str, configuration: Mapping[str, Plain]) -> str:
    """Return the identity of a mixin: of its module and the effective values of the keys that it sets."""
    return _hash(canonical({"config": configuration, "kind": "mixin", "module": module}))


def identity(content: str, seed: int | None) -> str:
    """Return the identity of a computation; the seed of a requirement is None, unless one was chosen."""
    return _hash(f'{{"content":"{content}","kind":"trial","seed":{"null" if seed is None else seed}}}')


def _hash(text: str) -> str:
    return blake2b(text.encode("ascii"), digest_size=16).hexdigest()


class Effective:
    """Find the part of a configuration that determines a result, given the declared component.

    Args:
        declared: The component without a version.
    """

    def __init__(self, declared: Resolved) -> None:
        self._default = declared.stored
        self._optional: set[tuple[str, ...]] = set()
        for values in declared.bodies():
            _collect_optional(values, (), self._optional)

    def of(self, resolved: Resolved) -> Plain:
        """Return the effective configuration of one use.

        Hidden keys are left out, and keys declared as `name?` that have their declared value; a whole number becomes a
        float where the declared default is one; a secret stays as it was written. So two spellings are equal.
        """
        return _effective(resolved.stored, self._default, self._optional, ())

    def changed(self, resolved: Resolved) -> dict[str, Plain]:
        """Return the values that a version has changed or added, by their dotted paths."""
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
                # As text, because True == 1 == 1.0, and NaN is not equal to itself.
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
    """Return a whole number as a float, unless that would be a different number."""
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
