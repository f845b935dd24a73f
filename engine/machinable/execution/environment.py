"""What an execution remembers of where it ran: host, user, command, Python and the packages that are installed."""

from __future__ import annotations

import os
import pwd
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timezone
from functools import lru_cache

from machinable.serialization import Plain
from machinable.storage.open import without_credentials
from machinable.storage.process_info import this_process

__all__ = ["command_line", "host", "now", "packages"]

_DISTRIBUTION = re.compile(r"(.+?)-([^-]+)\.(?:dist|egg)-info")
_INSIDE = re.compile(r"[/\\](?:site|dist)-packages[/\\].")
_HIDDEN_OVERRIDE = re.compile(r"((?:[^=]*\.)?_[^=.]*[^=_.]\??=)(.*)", re.DOTALL)


def now() -> str:
    """The time, ISO-8601, UTC, microseconds."""
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")


def host() -> dict[str, Plain]:
    """The name of this host, of its user, and the command that was typed."""
    return {"name": this_process()["host"], "user": _user(), "command": command_line(sys.argv)}


def _user() -> str | None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if os.environ.get(name):
            return os.environ[name]
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return None  # a container without an entry for its user


def command_line(arguments: Sequence[str]) -> str:
    """A command as it can be typed again, without credentials and values behind hidden keys."""
    from shlex import join

    words = [os.path.basename(arguments[0]) if arguments else "", *arguments[1:]]
    shown = []
    for word in words:
        option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        value = without_credentials(value)
        found = _HIDDEN_OVERRIDE.fullmatch(value)
        shown.append(option + equals + (f"{found[1]}…" if found else value))
    return join(shown)


def packages() -> dict[str, str]:
    """The installed distributions and their versions, from the names of their folders: a millisecond for hundreds."""
    # What a package brings for itself, as ray does when it is imported, is not installed.
    places = [os.path.abspath(directory) for directory in sys.path if not _INSIDE.search(directory)]
    return dict(_installed(tuple((place, _changed(place)) for place in places)))


def _changed(directory: str) -> int | None:
    with suppress(OSError):  # sys.path may name what is not there
        return os.stat(directory).st_mtime_ns
    return None


@lru_cache(maxsize=1)  # notebooks execute again and again
def _installed(places: Sequence[tuple[str, int | None]]) -> dict[str, str]:
    """The distributions in directories, which are given with the time when they were changed last."""
    found: dict[str, str] = {}
    for directory, _ in places:
        with suppress(OSError):  # it may not be there
            for name in os.listdir(directory):
                match = _DISTRIBUTION.fullmatch(name)
                if match:
                    found.setdefault(match[1].lower().replace("_", "-"), match[2])
    return dict(sorted(found.items()))
