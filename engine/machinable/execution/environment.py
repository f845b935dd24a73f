"""Describe where an execution runs: host, user, command and the installed packages."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import lru_cache
from getpass import getuser

from machinable.serialization import Plain
from machinable.storage.open import without_credentials
from machinable.storage.process_info import this_process

__all__ = ["command_line", "host", "now", "packages"]

_DISTRIBUTION = re.compile(r"(.+?)-([^-]+)\.(?:dist|egg)-info")
_BUNDLED = re.compile(r"/(?:site|dist)-packages/.")
_HIDDEN_OVERRIDE = re.compile(r"((?:[^=]*\.)?_[^=.]*[^=_.]\??=)(.*)", re.DOTALL)


def now() -> str:
    """Return the time in ISO-8601, UTC, with microseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def host() -> dict[str, Plain]:
    """Return the names of this host and its user, and the command line."""
    user = None
    with suppress(KeyError, OSError):  # a container without an entry for its user
        user = getuser()
    return {"name": this_process()["host"], "user": user, "command": command_line(sys.argv)}


def command_line(arguments: Sequence[str]) -> str:
    """Return a command as it can be typed again, without credentials and without the values of hidden keys."""
    from shlex import join

    words = [os.path.basename(arguments[0]) if arguments else "", *arguments[1:]]
    shown = []
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        value = without_credentials(value)
        hidden = _HIDDEN_OVERRIDE.fullmatch(value)
        shown.append(option + equals + (f"{hidden[1]}…" if hidden else value))
    return join(shown)


def packages() -> dict[str, str]:
    """Return the installed distributions and their versions, by name.

    They are read from the names of their directories, which takes a millisecond for hundreds.
    """
    changed: list[tuple[str, int]] = []
    for directory in map(os.path.abspath, sys.path):
        # Directories that a package adds to sys.path during its import, as ray does, contain no distributions.
        if not _BUNDLED.search(directory):
            with suppress(OSError):  # sys.path may name directories that do not exist
                changed.append((directory, os.stat(directory).st_mtime_ns))
    return dict(_installed(tuple(changed)))


@lru_cache(maxsize=1)  # notebooks execute again and again
def _installed(directories: Sequence[tuple[str, int]]) -> dict[str, str]:
    installed: dict[str, str] = {}
    for directory, _ in directories:
        with suppress(OSError):
            for name in os.listdir(directory):
                match = _DISTRIBUTION.fullmatch(name)
                if match:
                    installed.setdefault(match[1].lower().replace("_", "-"), match[2])
    return dict(sorted(installed.items()))
