"""The options of a search on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import asdict

from machinable.cli.values import place_of_word
from machinable.config.nodes import Source
from machinable.config.reader import read
from machinable.errors import InvalidValue, MachinableError, Place
from machinable.plan.task import Task
from machinable.serialization import as_plain

__all__ = ["SEARCH_OPTIONS", "check_words", "with_search"]

SEARCH_OPTIONS = ("tune", "samples", "metric", "mode", "sampler", "prune", "repeats", "stop", "search_timeout")


def with_search(task: Task, options: Mapping[str, Any]) -> Task:
    """Return a task with the search that options describe, over the one that it has.

    Raises:
        InvalidValue: There is nothing to search, or an option is wrong.
        MalformedText: A domain does not parse.
    """
    given = {name: value for name, value in options.items() if value not in (None, ())}
    if "tune" not in given and task.search is None:
        name = next(iter(given)).replace("_", "-")
        raise InvalidValue(
            f"--{name} needs a search",
            given=f"--{name}",
            todo="Give a space: --tune 'rate=loguniform(1e-4,1e-1)', or a task that has `tune`.",
        )
    for option in ("sampler", "prune"):
        if given.get(option, "").lstrip().startswith("{"):  # a name with options
            given[option] = as_plain(read(Source(f"--{option}", given[option])))
    task = task.copy()
    arguments = {}
    if task.search is not None:
        arguments = asdict(task.search)
        task.search = None
    space = {**arguments.get("space", {}), **_space(given.pop("tune", ()))}
    if "search_timeout" in given:
        given["timeout"] = given.pop("search_timeout")
    if "repeats" in given:
        task.levels = [level for level in task.levels if level.name != "REPEAT"]
    try:
        return task.tune(**{**arguments, "space": space, **given})
    except MachinableError as error:
        for one in error.parts:
            if one.path in space:
                one.path = f"--tune {one.path}"
        raise


def check_words(task: Task, words: Sequence[str], line: Sequence[str]) -> None:
    """Check that no `key=value` sets a key that the search of a task varies.

    Args:
        task: The task.
        words: The versions and values on the command line, with which `line` begins.
        line: The command line, for places in messages.

    Raises:
        InvalidValue: One does.
    """
    for path in () if task.search is None else task.search.space:
        for number, word in enumerate(words):
            key, equals, _ = word.partition("=")
            if equals and (key == path or key.startswith(f"{path}.")):
                raise InvalidValue(
                    f"{key!r} has a value, and the search tries others for {path!r}",
                    at=place_of_word(line, number),
                    path=key,
                    given=key,
                    todo="Keep one of them.",
                )


def _space(words: Iterable[str]) -> dict[str, Any]:
    """Return the domains of `KEY=DOMAIN`."""
    from machinable.search.space import read_domain

    space: dict[str, Any] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not equals or not key.strip():
            raise InvalidValue(
                f"--tune {word!r} is not KEY=DOMAIN", given=word, todo="Write --tune 'rate=loguniform(1e-4,1e-1)'."
            )
        key = key.strip()

        def place(character: int, word: str = word, before: int = len(word) - len(text)) -> Place:
            return Place("command line", 1, len("--tune ") + before + character + 1, f"--tune {word}")

        if key in space:
            raise InvalidValue(f"--tune gives {key!r} twice", given=word, todo="Keep one of them.")
        try:
            space[key] = read_domain(text, place)
        except MachinableError as error:
            for one in error.parts:
                one.path = one.path or f"--tune {key}"
            raise
    return space
