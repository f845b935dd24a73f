"""The meaning of command arguments: versions and values."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import date
from functools import partial
from itertools import pairwise
from typing import Any

from machinable.cli.grids import check_form, read_grids
from machinable.cli.values import Declared, for_each, place_of_word, read_value, several_values
from machinable.config.nodes import DIRECTIVES, Source
from machinable.config.reader import read
from machinable.errors import InvalidValue, MachinableError, MalformedText, Place, UnknownName
from machinable.execution.environment import visible_words
from machinable.plan.grid import combinations
from machinable.project import Project
from machinable.serialization import Plain, canonical, dumps

__all__ = [
    "format_version",
    "parse_version",
    "placed_on_command_line",
    "portable_words",
]

_MIXIN = re.compile(r"_\S+_")
_FILES = (".yaml", ".yml", ".json")


# --- versions


def parse_version(
    words: Sequence[str],
    project: Project | None = None,
    components: Sequence[str] = (),
    grids: Sequence[str] = (),
    place: Callable[[int], Place] | None = None,
    is_of: bool = False,
) -> Any:
    """Return the version that the words describe, merged from left to right.

    `~name` and `@name` are versions of the component, `_name_` is a mixin, a path that ends in .yaml, .yml or .json is
    a file, and `key=value` sets a key to a YAML value. Neighbouring `key=value` are one mapping, so that their order
    does not change seeds.

    Args:
        words: The words.
        project: Values are as a component of the project declares them, if it is given.
        components: The components; the first one that declares a key counts for it.
        grids: The values of `--grid`: alternatives in lists. Those of versions follow the versions among the words,
            and those of keys come last, in one mapping with neighbouring `key=value`.
        place: Return the place of a word, for messages. By default the words are the whole command line.
        is_of: Whether the words follow `--of`.
    """
    place = place or partial(place_of_word, words)
    elements: list[Any] = []
    given: dict[str, int] = {}
    named = [text for text in map(_version_of, words) if text]
    declarations = [Declared(project, name, named, is_of) for name in components] if project is not None else []

    def declared(key: str) -> Declared | None:
        if len(declarations) > 1:
            return next((one for one in declarations if one.unknown(key.split(".")) is None), declarations[0])
        return declarations[0] if declarations else None

    for text in grids:  # before the words: the values after a key without `=` are one of them
        check_form(text, _version_of)
    for number, word in enumerate(words):
        key, equals, text = word.partition("=")
        shown = visible_words([word])[0] if equals else word
        if (version := _version_of(word)) is not None:
            elements.append(version)
        elif equals:
            _check_key(key, shown)
            if key in given:
                raise InvalidValue(
                    f"{key!r} is set twice",
                    given=shown,
                    todo=f"Keep one of them; {for_each(declared(key), key, f'--grid {key}=VALUE,VALUE')}.",
                )
            given[key] = number
            if not elements or isinstance(elements[-1], str):
                elements.append({})
            elements[-1][key] = read_value(key, text, declared(key), partial(place, number))
        else:
            raise InvalidValue(
                f"{word!r} is neither a version nor key=value",
                given=word,
                todo=f"Write @{word} for a version, {word}=VALUE for a key.",
            )
    if grids:
        read = read_grids(grids, _version_of, declared, given, words)
        last = max((at + 1 for at, element in enumerate(elements) if isinstance(element, str)), default=0)
        elements[last:last] = read.versions
        if read.axes:
            below = elements.pop() if elements and isinstance(elements[-1], dict) else {}
            elements.append([{**below, **values} for values in combinations(read.axes)])
    if not elements:
        return None
    return elements[0] if len(elements) == 1 else tuple(elements)


def _version_of(word: str) -> str | None:
    """Return the version that a word names, None for `key=value` and anything else."""
    if word[:1] in ("~", "@"):
        return f"~{word[1:]}"
    if "=" not in word and (_MIXIN.fullmatch(word) or word.startswith("$/") or word.endswith(_FILES)):
        return word
    return None


def _check_key(key: str, word: str) -> None:
    if not key.strip():
        raise InvalidValue(f"{word!r} names no key", given=word, todo="Write key=value.")
    parts = key.split(".")
    clean = ".".join(filter(None, map(str.strip, parts)))
    if clean != key:
        what = "has spaces around a key" if all(part.strip() for part in parts) else "has a key without a name"
        value = word.partition("=")[2].strip()
        todo = f"Write {clean}={value}, without spaces and with one dot between keys." if clean else "Write key=value."
        raise InvalidValue(f"{word!r} {what}", given=word, todo=todo)


@contextmanager
def placed_on_command_line(words: Sequence[str]) -> Iterator[None]:
    """Let errors about values that `words` set name the command line as their place."""
    try:
        yield
    except MachinableError as error:
        for one in error.parts:
            _place_on_command_line(one, words)
        raise


def _place_on_command_line(error: MachinableError, words: Sequence[str]) -> None:
    if isinstance(error, UnknownName):
        for number in _numbers_of(error, words):
            alternatives = words[number].split(",") if words[number - 1 : number] == ["--grid"] else [words[number]]
            if error.given in [_version_of(one) for one in alternatives]:
                error.details = (*error.details, *([f"declared at {error.at}"] if error.at else ()))
                error.at = place_of_word(words, number)
                return
    if (found := _word_of_reserved_key(error, words)) is not None:
        error.details = (*error.details, *([f"declared at {error.at}"] if error.at else ()))
        error.at = place_of_word(words, found)
        return
    details = [line for line in error.details if not line.startswith("in the version {")]
    if len(details) == len(error.details):
        return
    for number in _numbers_of(error, words):
        word = words[number]
        key = word.partition("=")[0]
        if any(f"{path}.".startswith(f"{key}.") for path in (error.path, error.given)):
            error.at = place_of_word(words, number)
            error.details = tuple(details)
            is_one = {"--grid", "--of"}.isdisjoint(words[:number]) and DIRECTIVES.isdisjoint(key.split("."))
            if is_one and error.path == key and error.todo is None and "=…" not in visible_words([word])[0]:
                several = several_values(key, word.partition("=")[2])
                error.todo = several and f"For one trial each, write {several}."
            return


_RESERVED_PATH = re.compile(r"(?:(?P<component>[^_].*?)\.)?(?P<key>_[a-z]+_(?:\..+)?)")


def _word_of_reserved_key(error: MachinableError, words: Sequence[str]) -> int | None:
    """Return the number of the word that sets the reserved key which an error is about, also as the user of another.

    The word has the same key, or a mapping with the last part of it: files may set other parts.
    """
    users = [line.split()[2] for line in error.details if line.startswith(("used as ", "required as "))]
    for found in filter(None, map(_RESERVED_PATH.fullmatch, [error.path or "", *users])):
        reserved, of = found["key"], None
        for number, word in enumerate(words):
            if word == "--of":
                of = words[number + 1]
            key, _, value = word.partition("=")
            is_set = reserved == key or (f"{reserved}.".startswith(f"{key}.") and reserved.rpartition(".")[2] in value)
            if is_set and of in (None, found["component"]):
                return number
    return None


def _numbers_of(error: MachinableError, words: Sequence[str]) -> range:
    """Return the numbers of the words that may have set a wrong value: those after `--of NAME`, or those before."""
    starts = [number for number, word in enumerate(words) if word == "--of"]
    for start, end in pairwise([*starts, len(words)]):
        if f"in the version of the task for {words[start + 1]}" in error.details:
            return range(start + 2, end)
    return range(starts[0] if starts else len(words))


def portable_words(words: Sequence[str]) -> list[str]:
    """Return the words in a form that every shell accepts: `@name` for `~name`, which some shells expand."""
    return [f"@{word[1:]}" if word[:1] == "~" else word for word in words]


def format_version(version: Plain) -> list[str] | None:
    """Return the words for a stored version, or None if no words give exactly this one; see `parse_version`."""
    from machinable.plan.identity import version_key  # completion parses versions without planning

    words: list[str] = []
    elements = version if isinstance(version, tuple) else () if version is None else (version,)
    for element in elements:
        if isinstance(element, Mapping):
            words += [f"{key}={_format_value(value)}" for key, value in element.items()]
        else:
            words.append(str(element))
    try:
        same = canonical(version_key(parse_version(words))) == canonical(version)
    except MachinableError:
        same = False
    return portable_words(words) if same else None


def _format_value(value: Plain) -> str:
    """Return a value as YAML on one line: JSON, and text without quotes where it reads back unchanged."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, str):
        with suppress(MalformedText):
            if read(Source("", value)) == value:
                return value
    return dumps(value)
