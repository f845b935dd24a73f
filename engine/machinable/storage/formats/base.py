"""The interface of a format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from machinable.errors import Damaged, WrongType
from machinable.serialization import as_plain

__all__ = ["Format", "UnsupportedData", "damaged", "plain_of", "type_name"]


class Format(Struct, frozen=True):
    """A format of files.

    Attributes:
        takes: The data it takes, for messages.
        dump: Turns data into bytes, or raises `UnsupportedData`.
        load: Turns bytes into data.
        runs_code: Whether reading a file runs code in it.
    """

    takes: str
    dump: Callable[[Any], bytes]
    load: Callable[[bytes], Any]
    runs_code: bool = False


class UnsupportedData(Exception):
    """Data that a format does not take; the text describes the data."""


def damaged(name: str, error: Exception) -> Damaged:
    """Return the error for a file that cannot be read."""
    return Damaged(f"cannot read {name!r}: {error or type(error).__name__}", given=name, todo="Restore it from a copy.")


def type_name(data: object) -> str:
    """Return the name of the type of data, for messages."""
    kind = type(data)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def plain_of(data: Any, path: str = "") -> Any:
    """Return the data as plain data, with tuples.

    Raises:
        UnsupportedData: A part of it is not plain; names its type and path.
    """
    try:
        return as_plain(data, path, tuples=True)
    except WrongType as error:
        place = f" at {error.path}" if error.path else ""
        raise UnsupportedData(f"{type_name(error.given)}{place}") from None
