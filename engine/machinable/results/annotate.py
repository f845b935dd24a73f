"""Add tags and notes to what has run."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from contextlib import suppress
from getpass import getuser
from typing import TYPE_CHECKING, Any

from machinable.config.nodes import Source
from machinable.config.reader import read
from machinable.errors import InvalidValue, MachinableError
from machinable.results.annotations import annotate
from machinable.serialization import as_plain
from machinable.units import utc_now

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.trial import Trial

__all__ = ["add", "check_note", "tag_values"]

MAX_NOTE = 100_000  # characters


def add(execution: Execution, trial: Trial | None, **facts: Any) -> None:
    """Add `tags`, a list of names to remove (`removed`), or a `note` to an execution, or to one of its trials.

    Raises:
        StorageUnavailable: The storage cannot be written.
        NotStored: There is no such execution.
    """
    user = None
    with suppress(KeyError, OSError):  # a container without an entry for its user
        user = getuser()
    line = {"time": utc_now(), "user": user, "uid": None if trial is None else trial.uid} | facts
    execution.data  # noqa: B018 - a folder that is not a readable execution is refused
    given = {name: value for name, value in line.items() if value is not None and value != {} and value != []}
    annotate(execution.files, str(execution), given)


def tag_values(words: Iterable[str], removed: Collection[str] = ()) -> dict[str, Any]:
    """Return the tags in words such as `study=ablation`, whose values are YAML.

    Raises:
        InvalidValue: A word is not a tag, or a tag is given twice.
    """
    tags: dict[str, Any] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals or not name or name != name.strip():
            todo = "Write key=value, such as study=ablation; --remove KEY removes a tag."
            raise InvalidValue(f"{word!r} is not a tag", given=word, todo=todo)
        if name in tags or name in removed:
            raise InvalidValue(f"the tag {name!r} is given twice", given=word, todo="Keep one of them.")
        try:
            tags[name] = as_plain(read(Source("", text)), tuples=True) if text else ""
        except MachinableError as error:
            todo = f"Quote text: {name}=\"'…'\"."
            raise InvalidValue(f"{word!r} has no value in YAML: {error.message}", given=word, todo=todo) from error
    return tags


def check_note(text: str) -> None:
    """Check that a note has text, and not too much.

    Raises:
        InvalidValue: It has none, or too much.
    """
    if not text.strip():
        raise InvalidValue("the note is empty", given=text, todo='Write it in quotes: machinable note ID "text".')
    if len(text) > MAX_NOTE:
        todo = "Store it as a file, and note its name."
        raise InvalidValue(f"the note has {len(text):,} characters; at most {MAX_NOTE:,} are possible", todo=todo)
