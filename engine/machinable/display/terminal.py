"""Write text for people. Names, errors and logs may come from others, so they never control the terminal."""

from __future__ import annotations

import re
from typing import TextIO

__all__ = ["echo", "escaped"]

_STYLE = re.compile(r"\x1b\[[0-9;:]*m")  # colors and the like


def echo(text: object = "", *, end: str = "\n", file: TextIO | None = None) -> None:
    """Write a text to stdout, or to another stream at once, with control characters escaped."""
    print(escaped(str(text)), end=end, file=file, flush=file is not None)


def escaped(text: str) -> str:
    r"""Return the text without styles, and with control characters other than `\n` and `\t` escaped: `\x1b]0;…`.

    Invisible characters that reorder a line are escaped, too. A carriage return ends a line, as progress bars use it.
    """
    if all(map(str.isprintable, text.replace("\t", " ").split("\n"))):
        return text
    from unicodedata import category  # only texts of this kind need it

    text = _STYLE.sub("", text).replace("\r\n", "\n").replace("\r", "\n")
    return "".join(
        c if c.isprintable() or c in "\n\t" or category(c) == "Zs" else c.encode("unicode_escape").decode()
        for c in text
    )
