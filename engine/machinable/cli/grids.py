"""The alternatives on the command line: `--grid rate=0.1,0.01 --grid @small,@large`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from machinable.cli.values import Declared, hint_at_new_key, read_value, split_values
from machinable.errors import InvalidValue, MachinableError, Place
from machinable.execution.environment import visible_words
from machinable.plan.grid import check_axes
from machinable.serialization import Plain, equal_pair

__all__ = ["Grids", "check_form", "read_grids"]


class Grids(NamedTuple):
    """What `--grid` gives: alternatives of versions, one list for each option, and values for keys."""

    versions: list[list[str | None]]
    axes: dict[str, list[Plain]]


def read_grids(
    texts: Sequence[str],
    version_of: Callable[[str], str | None],
    declared: Callable[[str], Declared | None],
    given: Mapping[str, int],
    line: Sequence[str],
) -> Grids:
    """Return the alternatives of all `--grid` on a command line.

    Args:
        texts: The values of the option, in order.
        version_of: Returns the version that a word names, None for other words.
        declared: Returns the declarations that hold for a key.
        given: The keys that words set, with their numbers.
        line: The words, for places in messages.

    Raises:
        InvalidValue, WrongType, MalformedText: One of them is wrong, or they contradict each other.
    """
    grids = Grids([], {})
    for number, text in enumerate(texts):
        place = _placer(line, texts, number)
        try:
            _read(text, version_of, declared, grids, place)
        except MachinableError as error:
            error.at = error.at or place()
            raise
    for key, number in given.items():
        for other in grids.axes:
            if key == other or key.startswith(f"{other}."):
                raise InvalidValue(
                    f"{key!r} has a value, and others in --grid {other}=…",
                    at=_placer(line, texts, 0, number)(),
                    path=key,
                    given=key,
                    todo="Keep one of them.",
                )
    for problem in check_axes(grids.axes):
        numbers = [number for number, text in enumerate(texts) if text.partition("=")[0] == problem.path]
        problem.at = _placer(line, texts, numbers[0] if numbers else 0)()
        raise problem
    return grids


def check_form(text: str, version_of: Callable[[str], str | None]) -> None:
    """Check that the value of `--grid` has one of its forms.

    Raises:
        InvalidValue: It has not.
    """
    head = split_values(text)[0]
    if "=" in text or head == "null" or version_of(head) is not None:
        return
    spelled = re.fullmatch(r"([\w.]+)[:\s]\s*(.+)", text)
    name = text if re.fullmatch(r"[\w.]+", text) else "KEY"
    todo = (
        f"Write --grid {spelled[1]}={spelled[2]}."
        if spelled
        else f"Write --grid {name}=VALUE,VALUE for a key, --grid @SMALL,@LARGE for versions."
    )
    if text[:1] == "_":  # perhaps a hidden key, and its values
        text, todo = "_…", "Write --grid KEY=VALUE,VALUE for a key, --grid @SMALL,@LARGE for versions."
    raise InvalidValue(f"--grid {text!r} is neither key=value,value nor versions", given=text, todo=todo)


def _read(
    text: str,
    version_of: Callable[[str], str | None],
    declared: Callable[[str], Declared | None],
    grids: Grids,
    place: Callable[[], Place],
) -> None:
    key, _, values = text.partition("=")
    head = split_values(text)[0]
    if head == "null" or version_of(head) is not None:
        grids.versions.append(_versions(text, version_of))
        return
    parts = key.split(".")
    if not all(part == part.strip() != "" for part in parts):
        raise InvalidValue(
            f"--grid {visible_words([text])[0]!r} names no key", given=key, todo="Write --grid key=value,value."
        )
    if key in grids.axes:
        todo = f"Write all values in one: --grid {key}=VALUE,VALUE,…"
        raise InvalidValue(f"{key!r} is in two --grid", given=key, todo=todo)
    found = split_values(values)
    if not values.strip() or not all(value.strip() for value in found):
        what = "has no values" if not values.strip() else "has an empty value between its commas"
        todo = f"Write --grid {key}=VALUE,VALUE; null for null, and \"''\" for empty text."
        raise InvalidValue(f"--grid {visible_words([text])[0]} {what}", given=key, todo=todo)
    of_key = declared(key)
    if of_key is not None:
        hint_at_new_key(key, of_key, place)
    grids.axes[key] = [read_value(key, value.strip(), of_key, place, in_grid=True) for value in found]


def _versions(text: str, version_of: Callable[[str], str | None]) -> list[str | None]:
    versions: list[str | None] = []
    for word in map(str.strip, text.split(",")):
        version = version_of(word)
        if version is None and word != "null":
            what = f"{word!r} is not a version" if word else "a version is empty"
            todo = "Write --grid @small,@large; null is the component as declared; keys are in another --grid."
            raise InvalidValue(f"{what} in --grid {text}", given=word, todo=todo)
        versions.append(version)
    if (pair := equal_pair(versions)) is not None:
        again = versions[pair[1]] or "null"
        todo = "Keep one of them; --repeat runs a configuration several times."
        raise InvalidValue(f"{again!r} is twice in --grid {text}", given=again, todo=todo)
    return versions


def _placer(line: Sequence[str], texts: Sequence[str], number: int, word: int | None = None) -> Callable[[], Place]:
    """Return a function that returns the place of a `--grid`, or of a word, in the words followed by all `--grid`."""

    def place() -> Place:
        shown = [*visible_words(line), *(part for text in texts for part in ("--grid", *visible_words([text])))]
        at = word if word is not None else len(line) + 2 * number + 1
        return Place("command line", 1, sum(len(one) + 1 for one in shown[:at]) + 1, " ".join(shown))

    return place
