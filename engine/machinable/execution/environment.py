"""Describe where an execution runs: host, user, command and the installed packages."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from getpass import getuser

from machinable.config.nodes import Source, without_hidden_values
from machinable.config.secrets import is_secret_name
from machinable.errors import MachinableError
from machinable.serialization import Plain, as_plain, encode, is_hidden
from machinable.storage.credentials import URL
from machinable.storage.open import without_credentials
from machinable.storage.process_info import this_process
from machinable.units import utc_now as now

__all__ = ["command_line", "host", "now", "packages", "visible_words"]

_DISTRIBUTION = re.compile(r"(.+?)-([^-]+)\.(?:dist|egg)-info")
_BUNDLED = re.compile(r"/(?:site|dist)-packages/.")
_USER = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)[^\s/@]*@")  # in a URL within a longer text


def host() -> dict[str, Plain]:
    """Return the names of this host and its user, and the command line."""
    user = None
    with suppress(KeyError, OSError):  # a container without an entry for its user
        user = getuser()
    return {"name": this_process()["host"], "user": user, "command": command_line(sys.argv)}


def command_line(arguments: Sequence[str]) -> str:
    """Return a command as it can be typed again, without secrets, see `visible_words`."""
    from shlex import join

    return join([os.path.basename(arguments[0]) if arguments else "", *visible_words(arguments[1:])])


def command_on(storage: str | None, *words: str) -> str:
    """Return a command of this program on a storage; None for one that it finds."""
    return command_line(["machinable", *words, *(["--storage", storage] if storage else [])])


def visible_words(words: Sequence[str]) -> list[str]:
    """Return the words of a command, with `…` for secrets.

    These are values of hidden keys at any depth, users and passwords in URLs, and values of options such as
    `--api-key`.
    """
    shown: list[str] = []
    is_secret = False  # whether the option before names a secret
    for word in words:
        is_option = word.startswith("--")
        name, equals, value = word.partition("=")
        if is_secret and not is_option:
            shown.append("…")
        elif is_option and equals and is_secret_name(name[2:]):
            shown.append(f"{name}=…")
        elif is_option and equals:
            shown.append(f"{name}={visible_words([value])[0]}")
        elif equals and not URL.match(word):
            shown.append(f"{name}={_visible_value(name, value)}")
        else:
            shown.append(_without_users(word))
        is_secret = is_option and not equals and is_secret_name(word[2:])
    return shown


def _visible_value(key: str, text: str) -> str:
    if any(is_hidden(part.strip()) for part in key.removesuffix("?").split(".")):
        return "…"
    text = _without_users(text)
    if ":" not in text:
        return text
    from machinable.config.reader import read  # 15 ms with yaml, and tasks of classes need none

    try:
        value = as_plain(read(Source("", text)))
    except MachinableError:
        return without_hidden_values(text)
    visible = _visible(value)
    return text if visible == value else json.dumps(encode(visible), ensure_ascii=False)


def _visible(value: Plain) -> Plain:
    if isinstance(value, dict):
        return {
            key: "…" if any(map(is_hidden, str(key).removesuffix("?").split("."))) else _visible(item)
            for key, item in value.items()
        }
    return [_visible(item) for item in value] if isinstance(value, list) else value


def _without_users(text: str) -> str:
    return _USER.sub(r"\1", without_credentials(text))


def packages() -> dict[str, str]:
    """Return the installed distributions and their versions, by name.

    They are read from the names of their directories, which takes a millisecond for hundreds.
    """
    changed: list[tuple[str, int]] = []
    for path in sys.path:
        # Directories that a package adds to sys.path during its import, as ray does, contain no distributions.
        if not _BUNDLED.search(path):
            with suppress(OSError):  # it may not exist, and neither may the working directory
                directory = os.path.abspath(path)
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
