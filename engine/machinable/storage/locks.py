"""Locks shared by executions: the holder of the lease of a path computes, others wait or continue without it."""

from __future__ import annotations

import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from types import MappingProxyType, TracebackType

from machinable.errors import LeaseLost, StorageUnavailable
from machinable.serialization import Plain, as_plain
from machinable.storage.files import Files, Guard, checked
from machinable.storage.lock_backends import (
    DirectoryLeases,
    HeldLease,
    Leases,
    ObjectStoreLeases,
    RedisLeases,
    leases_in,
)
from machinable.storage.process_info import is_gone, is_running, is_stopped, this_process

__all__ = ["LEASE", "Lease", "LeaseGuard", "Locks", "open_locks"]

LEASE = 30.0  # seconds without a heartbeat after which a lease is over
_WATCH_INTERVAL = 0.25  # seconds between two looks at a lease that is watched
_MIN_POLL_INTERVAL, _MAX_POLL_INTERVAL = 0.02, 1.0  # seconds between two attempts of a waiting process


def open_locks(files: Files, url: str | None = None, lease: float = LEASE) -> Locks:
    """Open the locks of a storage.

    Args:
        files: The storage, which contains the leases. Leases of a storage in memory belong to this process.
        url: A lock server to use instead, see `RedisLeases`.
        lease: Seconds without a heartbeat after which processes of other hosts may take over a lease. They count them
            themselves, so clocks do not matter. The lease of a process of the same host is over when that has ended.
    """
    own = leases_in(files)
    if url is None:
        return Locks(own, lease)
    # Who looks at a storage does not know its lock server.
    beside = Locks(own, lease) if isinstance(own, (DirectoryLeases, ObjectStoreLeases)) else None
    return Locks(RedisLeases(url, files), lease, beside)


class Locks:
    """Take leases and hold them until they are released. One thread writes their heartbeats.

    Threads may share it. In a forked process it starts again, without the leases of its parent.

    Args:
        leases: The backend.
        seconds: Seconds without a heartbeat after which a lease is over.
        beside: Locks in the storage, if these are on a lock server. The lease of an execution is taken in both.
    """

    def __init__(self, leases: Leases, seconds: float = LEASE, beside: Locks | None = None) -> None:
        self._leases = leases
        self._beside = beside
        self._seconds = seconds
        self._interval = seconds / 3  # between two heartbeats
        self._seen: dict[str, tuple[object, float]] = {}
        self._first_marks: dict[str, object] = {}  # of leases that seemed to be over
        self._gone: set[tuple[object, ...]] = set()  # processes of other hosts that were watched without a heartbeat
        self._begin()
        _everywhere.add(self)

    def _begin(self) -> None:
        self._held: set[Lease] = set()
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def take(self, path: str, holder: Mapping[str, Plain] = MappingProxyType({})) -> Lease | None:
        """Take the lease of a path, with facts about the holder; return None if another process or thread holds it.

        Raises:
            StorageUnavailable, OSError: The storage or the lock server does not answer.
        """
        if self._closed.is_set():
            raise ValueError(f"{path}: these locks are closed")
        facts = {
            **as_plain(holder),
            **this_process(),
            "lease": self._seconds,
            "time": _iso(datetime.now(timezone.utc)),
            "token": os.urandom(16).hex(),
        }
        asked, token = time.monotonic(), str(facts["token"])
        is_taken = False
        _own.add(token)  # before others of this process see the lease
        try:
            is_taken = self._leases.take(checked(path, root=False), facts, lambda found: self._is_over(path, found))
        finally:
            if not is_taken:
                _own.discard(token)
        if not is_taken:
            return None
        self._seen.pop(path, None)
        lease = Lease(self, path, facts, asked)
        with self._lock:
            self._held.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._renew_all, name="machinable-leases", daemon=True)
                self._thread.start()
        return lease

    def wait(
        self,
        path: str,
        holder: Mapping[str, Plain] = MappingProxyType({}),
        unless: Callable[[], bool] = lambda: False,
        waiting: Callable[[Mapping[str, Plain]], None] = lambda facts: None,
    ) -> Lease | None:
        """Take the lease of a path as soon as it is free; return None if it is no longer needed.

        Args:
            path: A path in the storage.
            holder: Facts about the holder for other processes.
            unless: Called before each attempt; if it returns true, the lease is no longer needed.
            waiting: Called once with the facts of the current holder.
        """
        pause = 0.0
        while not unless():
            lease = self.take(path, holder)
            if lease is not None:
                return lease
            if not pause:
                waiting(self.holder(path) or {})
            pause = min(max(_MIN_POLL_INTERVAL, pause * 1.5), _MAX_POLL_INTERVAL)
            time.sleep(pause)
        return None

    def take_over(
        self,
        path: str,
        holder: Mapping[str, Plain] = MappingProxyType({}),
        watching: Callable[[Mapping[str, Plain], float], None] = lambda facts, seconds: None,
    ) -> Lease | None:
        """Take the lease of an execution if it is free or its holder is gone; return None if the holder is alive.

        The holder on another host is gone if it writes no heartbeat while it is watched for the time of its lease.

        Args:
            path: A path in the storage.
            holder: Facts about the new holder for other processes.
            watching: Called once with the facts of the holder and the seconds for which it is watched.
        """
        other = None
        if self._beside is not None:
            other = self._beside.take_over(path, holder, watching)
            if other is None:
                return None
        lease = self._take_over(path, holder, watching)
        if lease is not None:
            lease.other = other
        elif other is not None:
            other.release()
        return lease

    def _take_over(
        self, path: str, holder: Mapping[str, Plain], watching: Callable[[Mapping[str, Plain], float], None]
    ) -> Lease | None:
        first: HeldLease | None = None
        while (lease := self.take(path, holder)) is None:
            found = self._leases.find(path)
            if found is None:
                continue
            if first is None and not is_running(found.facts):
                first = found
                watching(self.holder(path) or {}, found.seconds(self._seconds))
            if first is None or first.mark != found.mark or (self._leases.expire and _is_younger(found, first)):
                return None
            time.sleep(_WATCH_INTERVAL)
        if first is not None and first.facts.get("pid"):
            self._gone.add(_process(first.facts))
        return lease

    def seems_over(self, path: str) -> bool:
        """Return whether a lease is free, or overdue and without a heartbeat since the first call for this path.

        By the clock of the storage, which may be wrong: only watching a lease tells.
        """
        found = self._leases.find(path)
        if found is None:
            return True
        return self._first_marks.setdefault(path, found.mark) == found.mark and found.is_overdue(self._seconds)

    def release_of(self, path: str, execution: str) -> None:
        """Release a lease that a process of an execution holds, if that process has ended, or was taken over from."""
        found = self._leases.find(path)
        if found is not None and found.facts.get("execution") == execution and (lease := self.take(path)) is not None:
            lease.release()

    def holder(self, path: str) -> dict[str, Plain] | None:
        """Return the facts of the holder of a lease, which may have ended; None if the lease is free.

        They are those given to `take`, `host`, `pid`, the `time` when it was taken and, if known, the last `heartbeat`.
        """
        found = self._leases.find(checked(path, root=False))
        if found is None:
            return None if self._beside is None else self._beside.holder(path)
        facts = {key: value for key, value in found.facts.items() if key not in _INTERNAL}
        if found.age is not None:
            facts["heartbeat"] = _iso(datetime.now(timezone.utc) - timedelta(seconds=found.age))
        return facts

    def is_stopped(self, path: str) -> bool:
        """Return whether the holder of a lease is a process of this host that is stopped."""
        found = self._leases.find(path)
        if found is None and self._beside is not None:
            return self._beside.is_stopped(path)
        return found is not None and is_stopped(found.facts)

    def close(self) -> None:
        """Release all leases and close connections."""
        if self._beside is not None:
            self._beside.close()
        for lease in self._held.copy():
            lease.release()
        with self._lock:
            self._closed.set()
            thread = self._thread
        if thread is not None:
            thread.join()
        self._leases.close()

    def _is_over(self, path: str, found: HeldLease) -> bool:
        """Return whether a lease is over: its holder has ended, or did not change it for its time while we looked."""
        if is_gone(found.facts) or _process(found.facts) in self._gone:
            return True
        if is_running(found.facts):  # even if it is stopped, or too busy to write heartbeats
            return found.facts["pid"] == os.getpid() and found.facts.get("token") not in _own
        if self._leases.expire:
            return False
        mark, since = self._seen.get(path, (None, 0.0))
        if mark != found.mark:
            self._seen[path] = found.mark, time.monotonic()
            return False
        return time.monotonic() - since >= found.seconds(self._seconds)

    def _renew_all(self) -> None:
        """Write heartbeats until these locks are closed."""
        while not self._closed.wait(self._interval):
            for lease in self._held.copy():
                lease._renew()


_INTERNAL = frozenset({"token", "lease", "boot", "born", "renewals"})
_everywhere: weakref.WeakSet[Locks] = weakref.WeakSet()
_own: set[str] = set()  # the tokens of the leases that this process holds; it may have others that it could not release


def _process(facts: Mapping[str, Plain]) -> tuple[object, ...]:
    return tuple(str(facts.get(key)) for key in ("host", "boot", "pid", "born"))


def _is_younger(found: HeldLease, earlier: HeldLease) -> bool:
    return found.age is not None and earlier.age is not None and found.age < earlier.age


def _after_fork() -> None:
    for locks in _everywhere:
        locks._begin()


os.register_at_fork(after_in_child=_after_fork)


class LeaseGuard(Guard):
    """Let only the holder of a lease write below a folder."""

    def __init__(self, files: Files, folder: str, lease: Lease) -> None:
        super().__init__()
        self._files = files
        self._folder = folder
        self._lease = lease
        for one in filter(None, (lease, lease.other)):
            one.on_lost = self._lose
        files.guard(folder, self)

    def check(self) -> None:
        super().check()
        self._lease.check()

    def confirm(self) -> None:
        super().check()
        self._lease.confirm()

    def _lose(self) -> None:
        self._files.lose(self._folder, self._lease.lost())

    def release(self) -> None:
        """Release the lease; nothing is written below the folder any more."""
        self._files.unguard(self._folder, self)
        self._lease.release()


class Lease:
    """A lease that is held until it is released; leaving its `with` block releases it."""

    def __init__(self, locks: Locks, path: str, facts: Mapping[str, Plain], asked: float) -> None:
        self.path = path
        self._locks = locks
        self._facts = facts
        self._last = asked  # when the last heartbeat was requested
        self._is_over = False
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self.other: Lease | None = None  # of the same execution, in the storage while this one is on a lock server
        self.on_lost: Callable[[], None] = lambda: None  # called by any thread when another process has it

    @property
    def is_held(self) -> bool:
        """Whether it is held: not released, taken over, overdue for a heartbeat, or in a forked process."""
        is_late = time.monotonic() - self._last >= self._locks._seconds
        return not (self._is_over or is_late or os.getpid() != self._pid)

    def check(self) -> None:
        """Check that it is held, before something is written that only its holder may write.

        While heartbeats succeed, this asks no server. After they have failed for too long, one is written.

        Raises:
            LeaseLost: Another process has it, or may have it.
            StorageUnavailable, OSError: It is overdue, and the storage or the lock server does not answer.
        """
        if self.other is not None:
            self.other.check()
        if not self._is_over and os.getpid() == self._pid:
            is_late = time.monotonic() - self._last >= self._locks._seconds
            if is_late or self._locks._leases.is_replaced(self.path, self._facts):
                self._heartbeat()
            if not self._is_over:
                return
        raise self.lost()

    def confirm(self) -> None:
        """Check that it is held by writing a heartbeat; raise as `check`."""
        if self.other is not None:
            self.other.confirm()
        self._heartbeat()
        if self._is_over:
            raise self.lost()

    def lost(self) -> LeaseLost:
        """Return the error that this process no longer holds it, with its holder if that is known."""
        facts: Mapping[str, Plain] = {}
        with suppress(StorageUnavailable, OSError):
            facts = self._locks.holder(self.path) or {}
        name = self.path.rpartition("/")[0] or self.path
        who = f"process {facts.get('pid')} on {facts.get('host')}" if facts.get("pid") else "another process"
        return LeaseLost(
            f"this process no longer holds {name}: {who} has taken it over",
            given=self.path,
            todo="Nothing more is written here. This process was stopped, or could not reach the storage, for longer "
            f"than its lease of {self._locks._seconds:g} s.",
        )

    def release(self) -> None:
        """Release the lease, or let it expire if the storage does not answer. One that was taken over is left alone."""
        if os.getpid() != self._pid:  # it belongs to the parent
            return
        if self.other is not None:
            self.other.release()
        self._locks._held.discard(self)
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            try:
                is_fresh = time.monotonic() - self._last < self._locks._seconds / 2
                self._locks._leases.remove(self.path, self._facts, is_fresh)
            except (StorageUnavailable, OSError) as error:
                warnings.warn(
                    "could not release a lease, it is over when this process has ended, for other hosts in "
                    f"{self._locks._seconds:g} s: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )
            finally:
                _own.discard(str(self._facts["token"]))

    def _renew(self) -> None:
        with suppress(Exception):  # the next heartbeat may succeed, otherwise `is_held` becomes False
            self._heartbeat()

    def _heartbeat(self) -> None:
        """Write a heartbeat, or learn that another process holds the lease.

        Raises:
            StorageUnavailable, OSError: The storage or the lock server does not answer.
        """
        with self._lock:
            if self._is_over:
                return
            asked, leases = time.monotonic(), self._locks._leases
            if leases.renew(self.path, self._facts) or (self._is_held_beside() and self._take_again()):
                self._last = asked
                return
            self._is_over = True
            self._locks._held.discard(self)
        self.on_lost()

    def _is_held_beside(self) -> bool:
        """Return whether the lease in the storage is held, so that no other process had this one since it expired."""
        if self.other is None:
            return False
        self.other._heartbeat()
        return not self.other._is_over

    def _take_again(self) -> bool:
        return self._locks._leases.take(self.path, self._facts, lambda found: False)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
