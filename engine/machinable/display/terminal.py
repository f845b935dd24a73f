"""Whether a stream is a terminal, and text as it can be shown on one."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections.abc import Mapping
from typing import TextIO

__all__ = ["BOLD", "TRACEBACK", "cell_width", "headline", "is_terminal", "paint", "printable", "shortened"]

BOLD = "1"


def is_terminal(stream: TextIO) -> bool:
    """Whether somebody looks at the stream on a terminal that can move its cursor."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """The text in a style, if the stream (default: stdout) is a terminal and `NO_COLOR` is not set."""
    if os.environ.get("NO_COLOR") or not is_terminal(stream or sys.stdout):
        return text
    return f"\x1b[{style}m{text}\x1b[0m"


def cell_width(text: str) -> int:
    """How many columns of a terminal a text takes."""
    if text.isascii():
        return len(text)
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def printable(text: str) -> str:
    """The text in one line, with characters that would control the terminal as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


LINE, TRACEBACK = 500, 20_000  # characters of an error that a person is shown; what is stored has all of them


def headline(error: Mapping[str, str]) -> str:
    """The type of an error and the first line of its message."""
    message = (error.get("message") or "").strip().partition("\n")[0]
    return shortened(f"{error.get('type')}: {message}" if message else str(error.get("type")), LINE)


def shortened(text: str, most: int) -> str:
    """A text with so many characters of its beginning and end, and how many were left out."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} … {len(text) - 2 * (most // 2):,} characters … {text[len(text) - most // 2 :]}"
