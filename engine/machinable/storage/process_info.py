"""This process and its host: facts by which other processes recognize them, and available resources."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from functools import lru_cache

from machinable.serialization import Plain

__all__ = ["cores", "is_gone", "is_running", "is_stopped", "memory", "this_process"]

# psutil adds the time of the boot to start times, and that follows the clock, which is corrected while processes run.
TOLERANCE = 60.0


def this_process() -> dict[str, Plain]:
    """Describe this process, so that others can determine whether it is still running.

    Returns:
        `host`: the name of the machine. `pid`. `boot`: identifies its boot and its namespace of process ids. `born`:
        when the process started, which tells it from a later one with the same id. The last two are "" where the
        system does not say.
    """
    return dict(_described(os.getpid()))


@lru_cache(maxsize=1)
def _described(pid: int) -> dict[str, Plain]:
    boot = ""
    # Containers may share the name of their host, and each numbers its processes separately.
    with suppress(OSError), open("/proc/sys/kernel/random/boot_id", "rb") as file:
        boot = f"{file.read().decode().strip()} {os.readlink('/proc/self/ns/pid')}"
    return {"host": os.uname().nodename, "boot": boot, "pid": pid, "born": _start(pid) or ""}


def is_gone(process: Mapping[str, Plain]) -> bool:
    """Return whether a process, as described by `this_process`, has ended; False if it runs or that is not known."""
    return _has_ended(process) is True


def is_running(process: Mapping[str, Plain]) -> bool:
    """Return whether a process of this host runs, or is stopped; False if it has ended or that is not known."""
    return _has_ended(process) is False


def is_stopped(process: Mapping[str, Plain]) -> bool:
    """Return whether a process of this host exists and is stopped, by Ctrl-Z or SIGSTOP, so that it does nothing."""
    return is_running(process) and _state(int(str(process["pid"]))) in _STOPPED


def _has_ended(process: Mapping[str, Plain]) -> bool | None:
    """Return whether a process has ended; None for one of another host, of another boot, or of unknown start."""
    pid, here = process.get("pid"), _described(os.getpid())
    if type(pid) is not int or pid <= 0 or any(process.get(key) != here[key] for key in ("host", "boot")):
        return None
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # it belongs to another user
        pass
    start = _start(pid)
    try:
        return start is None or abs(float(start) - float(str(process.get("born")))) > TOLERANCE
    except ValueError:  # one of the two is unknown
        return None


_STOPPED = ("T", "t", "stopped", "tracing-stop")  # as /proc and psutil call it


def _state(pid: int) -> str:
    """Return the state of a process as the system calls it; "" if it has ended."""
    facts = _facts(pid)
    if facts is not None:
        return facts[0]
    import psutil

    try:
        return str(psutil.Process(pid).status())
    except psutil.Error:
        return ""


def _facts(pid: int) -> list[str] | None:
    """Return the fields of /proc/<pid>/stat after the name: the state, …; None if they cannot be read."""
    # Without psutil, which takes 20 ms to import, because each execution needs this.
    with suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        facts = file.read().rpartition(")")[2].split()  # the name, in parentheses, can contain anything
        return facts if len(facts) > 19 else None
    return None


def _start(pid: int) -> str | None:
    """Return when a process started; "" if the system does not say, None if the process has ended."""
    facts = _facts(pid)
    if facts is None:
        return "" if os.path.exists("/proc/self/stat") else _start_by_psutil(pid)
    return None if facts[0] in "ZX" else facts[19]  # a zombie has ended, but its parent has not waited for it yet


def _start_by_psutil(pid: int) -> str | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None
    except psutil.AccessDenied:
        return ""


def cores() -> int:
    """Return how many cores this process may use."""
    # macOS has no affinity
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int:
    """Return the bytes of memory of this host."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
