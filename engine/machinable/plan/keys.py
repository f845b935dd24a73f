"""What tells trials apart, and so decides their seeds and uids: the key of each trial, as canonical JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from machinable.config.versions import elements_of
from machinable.plain import Plain, canonical, is_hidden
from machinable.plan.wish import Level

__all__ = [
    "KeyParts",
    "key_parts",
    "requirement_key",
    "sample_key",
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


def sample_key(key: str, parts: KeyParts, number: int) -> str:
    """The key of a sample: that of the trial whose configuration is searched, `parts` of which these are."""
    return f'{key.removesuffix(parts[1])}"sample":{number},{parts[1]}'


def trial_keys(
    parts: Sequence[KeyParts | str], rows: Sequence[tuple[int, tuple[int, ...]]], levels: Sequence[Level]
) -> Iterator[str]:
    """The key of every trial, put together from parts that are made once.

    Args:
        parts: of each use; the whole key of a requirement. rows: the use of each trial, and its number in each level.
    """
    labels = [level.label for level in levels]
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
