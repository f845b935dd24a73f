"""What a format is, and how it says that data do not fit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from machinable.errors import Damaged, WrongType
from machinable.serialization import as_plain

__all__ = ["Format", "UnsupportedData", "damaged", "plain_of", "type_name"]


class Format(NamedTuple):
    """How one kind of file is written and read.

    Attributes:
        takes: what data fit, for messages. dump, load: data to bytes and back; `dump` raises `UnsupportedData`.
        runs_code: whether reading runs what the author of the bytes has put there.
    """

    takes: str
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]
    runs_code: bool = False


class UnsupportedData(Exception):
    """Data that a format does not take; the text says what it got."""


def damaged(name: str, error: Exception) -> Damaged:
    """What is said about a file that cannot be read."""
    return Damaged(
        f"{name!r} cannot be read: {error or type(error).__name__}", given=name, todo="Restore it from a copy."
    )


def type_name(data: object) -> str:
    """The name of a type, for messages."""
    kind = type(data)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def plain_of(data: Any, path: str = "") -> Any:
    """The data as plain data, with tuples.

    Raises:
        Unfit: names what is not plain, and where it is.
    """
    try:
        return as_plain(data, path, tuples=True)
    except WrongType as error:
        place = f" at {error.path}" if error.path else ""
        raise UnsupportedData(f"{type_name(error.given)}{place}") from None
