"""Whether the process that has left something behind is still there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

from machinable.serialization import Plain

__all__ = ["is_gone", "this_process"]


def this_process() -> dict[str, Plain]:
    """Who we are, so that others can tell whether we are still there.

    Returns:
        `host`: the name of the machine. `pid`. `boot`: since when it runs, and which processes are visible to us.
        `born`: when the process began; with it, another process with the same number is recognised. Both are "" where
        that cannot be found out.
    """
    pid = os.getpid()
    return {"host": _host(), "boot": _boot(), "pid": pid, "born": _own_birth(pid)}


def is_gone(process: Mapping[str, Plain]) -> bool:
    """True if a process, described by `this_process`, has ended. False if it is there, or may be."""
    pid = process.get("pid")
    if type(pid) is not int or pid <= 0:
        return False
    if (process.get("host"), process.get("boot")) != (_host(), _boot()):
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # it is another user's
        pass
    born = _birth(pid)
    return born is None or (born != process.get("born") and "" not in (born, process.get("born")))


@lru_cache(maxsize=1)
def _host() -> str:
    return os.uname().nodename


@lru_cache(maxsize=1)
def _boot() -> str:
    # Containers may share the name of their host, and count their processes each for itself.
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _own_birth(pid: int) -> str:
    return _birth(pid) or ""


def _birth(pid: int) -> str | None:
    """When a process began, as the system writes it: "" if it does not tell, None if the process has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            facts = file.read().rpartition(")")[2].split()  # its name, in brackets, can be anything
        return None if facts[0] in "ZX" else facts[19]  # ended, and its parent has not asked yet
    except (OSError, IndexError):
        return "" if os.path.exists("/proc/self/stat") else _birth_from_ps(pid)


def _birth_from_ps(pid: int) -> str | None:
    import subprocess

    try:
        told = subprocess.run(
            ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
        ).stdout.split(None, 1)
    except OSError:
        return ""
    if len(told) < 2:
        return ""
    return None if told[0].startswith("Z") else told[1].strip()
