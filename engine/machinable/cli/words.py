"""What people type behind a component's name: versions, and values of keys."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import date
from typing import Any

from machinable.config.reader import Source, read
from machinable.errors import InvalidValue, MachinableError, MalformedText
from machinable.serialization import Plain, canonical, dumps

__all__ = ["shown_words", "version_of", "words_of"]

_MIXIN = re.compile(r"_\S+_")
_FILES = (".yaml", ".yml", ".json")


def version_of(words: Sequence[str]) -> Any:
    """The version that the words make, merged from left to right.

    `~name` and `@name` are versions of the component, `_name_` is a mixin, a path that ends in .yaml, .yml or .json a
    file, and `key=value` sets a key: value is YAML. Neighbouring `key=value` are one mapping, so that their order does
    not matter for seeds.

    Raises:
        InvalidValue: a word is none of these, or a key is set twice. MalformedText: a value is not YAML.
    """
    elements: list[Any] = []
    given: set[str] = set()
    for word in words:
        key, equals, text = word.partition("=")
        if word[:1] in ("~", "@"):
            elements.append(f"~{word[1:]}")
        elif equals:
            if not key:
                raise InvalidValue(f"{word!r} names no key", given=word, todo="Write key=value.")
            if key in given:
                raise InvalidValue(
                    f"{key!r} is set twice",
                    given=word,
                    todo="Keep one of them; several values make several executions, or a list of versions in Python.",
                )
            given.add(key)
            if not elements or isinstance(elements[-1], str):
                elements.append({})
            elements[-1][key] = _value(key, text)
        elif _MIXIN.fullmatch(word) or word.startswith("$/") or word.endswith(_FILES):
            elements.append(word)
        else:
            raise InvalidValue(
                f"{word!r} is neither a version nor key=value",
                given=word,
                todo=f"Write @{word} for a version, {word}=VALUE for a key.",
            )
    if not elements:
        return None
    return elements[0] if len(elements) == 1 else tuple(elements)


def _value(key: str, text: str) -> Any:
    try:
        return read(Source(key, text))
    except MalformedText as error:
        raise MalformedText(
            f"the value of {key!r} is not YAML: {error.message.removeprefix('this is not YAML: ')}",
            given=text,
            details=[f"given {text!r}", *error.details],
            todo=f"For text, write {key}='\"…\"'.",
        ) from None


def shown_words(words: Sequence[str]) -> list[str]:
    """The words as they can be typed in every shell: `@name` for `~name`, which some of them expand."""
    return [f"@{word[1:]}" if word[:1] == "~" else word for word in words]


def words_of(version: Plain) -> list[str] | None:
    """The words that make a version as trials keep it: the inverse of `version_of`, `@name` for `~name`.

    None if no words make exactly this one, as those of a text with several lines.
    """
    from machinable.plan.identity import version_key

    words: list[str] = []
    elements = version if isinstance(version, tuple) else () if version is None else (version,)
    for element in elements:
        if isinstance(element, Mapping):
            words += [f"{key}={_written(value)}" for key, value in element.items()]
        else:
            words.append(str(element))
    try:
        same = canonical(version_key(version_of(words))) == canonical(version)
    except MachinableError:
        same = False
    return shown_words(words) if same else None


def _written(value: Plain) -> str:
    """A value as YAML in one line: JSON, and text without quotes where it reads back as itself."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        with suppress(MalformedText):
            if read(Source("", value)) == value:
                return value
    return dumps(value)
