"""This process and its host: how other processes recognise them, and what there is to compute with."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import lru_cache

from machinable.serialization import Plain

__all__ = ["cores", "is_gone", "memory", "this_process"]

# psutil adds the time of the boot to start times, and that follows the clock, which is corrected while processes run.
TOLERANCE = 60.0


def this_process() -> dict[str, Plain]:
    """Describe this process, so that others can find out whether it still runs.

    Returns:
        `host`: the name of the machine. `pid`. `boot`: identifies its boot and its namespace of process ids. `born`:
        when the process started, which tells it from a later one with the same id. The last two are "" where the
        system does not say.
    """
    pid = os.getpid()
    return {"host": _host(), "boot": _boot(), "pid": pid, "born": _own_start(pid)}


def is_gone(process: Mapping[str, Plain]) -> bool:
    """Return whether a process, as described by `this_process`, has ended; False if it runs or that is not known."""
    pid = process.get("pid")
    if type(pid) is not int or pid <= 0:
        return False
    if (process.get("host"), process.get("boot")) != (_host(), _boot()):
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # it belongs to another user
        pass
    start = _start(pid)
    return start is None or _differ(start, process.get("born"))


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # macOS has no affinity
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of memory of this host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@lru_cache(maxsize=1)
def _host() -> str:
    return os.uname().nodename


@lru_cache(maxsize=1)
def _boot() -> str:
    # Containers may share the name of their host, and each numbers its processes on its own.
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return f"{file.read().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _own_start(pid: int) -> str:
    return _start(pid) or ""


def _start(pid: int) -> str | None:
    """Return when a process started; "" if the system does not say, None if the process has ended."""
    try:
        # By hand, as each execution asks for it and psutil takes 20 ms to import.
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            facts = file.read().rpartition(")")[2].split()  # the name, in parentheses, can contain anything
        return None if facts[0] in "ZX" else facts[19]  # a zombie has ended, its parent has not asked yet
    except (OSError, IndexError):
        return "" if os.path.exists("/proc/self/stat") else _start_by_psutil(pid)


def _start_by_psutil(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return ""


def _differ(start: str, recorded: Plain) -> bool:
    """Return whether two start times are those of different processes."""
    try:
        return abs(float(start) - float(str(recorded))) > TOLERANCE
    except ValueError:  # one is unknown
        return False
