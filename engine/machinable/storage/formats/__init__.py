"""Formats of artifacts: their interface, and one module for each group of similar formats."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct

from machinable.errors import Damaged
from machinable.storage.layout import is_file_name

__all__ = ["Format", "UnsupportedData", "damaged", "is_inside", "type_name"]


class Format(Struct, frozen=True):
    """A format of files.

    Attributes:
        takes: The accepted data, for messages.
        dump: Converts data to bytes. Any error means that it does not accept the data.
        load: Converts bytes to data. Any error means that the bytes are damaged.
        runs_code: Whether reading a file can run code in it.
        options: The keyword arguments that `dump` takes.
        expanded: Returns the bytes of memory that a file would take, if it states them; None if it takes about as many
            as it has.
    """

    takes: str
    dump: Callable[..., bytes]
    load: Callable[[bytes], Any]
    runs_code: bool = False
    options: Sequence[str] = ()
    expanded: Callable[[bytes], int] | None = None


class UnsupportedData(Exception):
    """Data that a format does not accept; the text describes the data."""


def damaged(name: str, error: Exception) -> Damaged:
    """Return the error for a file that cannot be read."""
    reason = error.message if isinstance(error, Damaged) else error or type(error).__name__
    return Damaged(f"cannot read {name!r}: {reason}", given=name, todo="Restore it from a copy.")


def type_name(data: object) -> str:
    """Return the name of the type of data, for messages."""
    kind = type(data)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def is_inside(path: str) -> bool:
    """Return whether a path stays in its folder, and can be a file, on any system."""
    is_odd = "\\" in path or "\0" in path or re.match(r"[A-Za-z]:", path)
    parts = path.split("/")
    return not is_odd and {"", ".", ".."}.isdisjoint(parts) and all(map(is_file_name, parts))
