"""What commands have in common when they write: JSON, options, and warnings in one line."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar

import click

__all__ = ["json_option", "storage_option", "tell", "told_warnings", "write_json"]

_F = TypeVar("_F", bound=Callable[..., Any])
_OURS = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


def json_option(command: _F) -> _F:
    """Adds `--json`."""
    return click.option("--json", "as_json", is_flag=True, help="One JSON document on stdout; errors too.")(command)


def storage_option(command: _F) -> _F:
    """Adds `--storage`."""
    return click.option(
        "--storage",
        metavar="URL",
        callback=_no_option,
        help="A directory or URL. Default: MACHINABLE_STORAGE, the project's, the user's.",
    )(command)


def _no_option(context: click.Context, option: click.Parameter, value: str | None) -> str | None:
    """Refuses what is the next option, as in `--storage $NOTHING --quiet`, before a directory is called so."""
    if value is not None and value.startswith("--"):
        raise click.BadParameter(f"{value!r} is an option; a directory of that name is ./{value}")
    return value


def write_json(data: Any) -> None:
    """Writes one JSON document to stdout; NaN, infinities and dates as in stored files."""
    from machinable.serialization import dumps

    sys.stdout.write(dumps(data) + "\n")


def tell(text: str) -> None:
    """Writes a message to stderr."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def told_warnings() -> Iterator[None]:
    """Meanwhile our own warnings are one line each: `warning: …`; those of others stay as they are."""
    with warnings.catch_warnings():
        before = warnings.showwarning

        def show(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> None:
            if filename.startswith(_OURS):
                tell(f"warning: {message}")
            else:
                before(message, category, filename, lineno, file, line)

        warnings.showwarning = show
        yield
