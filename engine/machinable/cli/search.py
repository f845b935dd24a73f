"""The options of a search on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import asdict

from machinable.errors import InvalidValue, MachinableError
from machinable.plan.task import Task

__all__ = ["SEARCH_OPTIONS", "with_search"]

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
        if key in space:
            raise InvalidValue(f"--tune gives {key!r} twice", given=word, todo="Keep one of them.")
        try:
            space[key] = read_domain(text)
        except MachinableError as error:
            for one in error.parts:
                one.path = one.path or f"--tune {key}"
            raise
    return space
