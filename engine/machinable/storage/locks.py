"""Locks that several executions share: who has the lease of a path computes, the others wait or go on without."""

from __future__ import annotations

import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from types import MappingProxyType, TracebackType

from machinable.errors import StorageUnavailable
from machinable.serialization import Plain, as_plain
from machinable.storage.files import Files, checked
from machinable.storage.lock_backends import Found, Leases, leases_in
from machinable.storage.process_info import is_gone, this_process

__all__ = ["LEASE", "Lease", "Locks", "open_locks"]

LEASE = 30.0  # seconds without a sign of life, after which a lease is over
_FIRST_PAUSE, _LONGEST_PAUSE = 0.02, 1.0  # seconds between two looks of somebody who waits


def open_locks(files: Files, url: str | None = None, lease: float = LEASE) -> Locks:
    """The locks of a storage.

    Args:
        files: the storage. Leases lie in it; those of a storage of this process are of this process.
        url: a lock server instead, such as `redis://host:6379/0`. Who shares locks opens the storage by the same URL.
        lease: seconds without a sign of life, after which others may take a lease over. A holder on the same host
            whose process is gone is taken over at once.

    Raises:
        StorageUnavailable: the lock server does not answer; names its host and port.
        InvalidValue: `url` is no URL of a lock server. NotAvailable: what speaks to it is not installed.
    """
    if url is None:
        return Locks(leases_in(files), lease)
    from machinable.storage.lock_backends import open_redis

    return Locks(open_redis(url, files.url), lease)


class Locks:
    """Takes leases, and keeps them until they are released: one thread of it gives signs of life.

    Threads may share it. In a forked process it begins anew, without the leases of its parent.

    Args:
        leases: where they lie. seconds: without a sign of life, after which one is over.
    """

    def __init__(self, leases: Leases, seconds: float = LEASE) -> None:
        self._leases = leases
        self._seconds = seconds
        self._interval = seconds / 3  # between two signs of life
        self._seen: dict[str, tuple[object, float]] = {}
        self._begin()
        _everywhere.add(self)

    def _begin(self) -> None:
        self._held: set[Lease] = set()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._is_closed = False

    def take(self, path: str, holder: Mapping[str, Plain] = MappingProxyType({})) -> Lease | None:
        """The lease of a path, or None while somebody else has it.

        Args:
            path: in the storage, such as `layout.lease(identity)`. holder: what others are told about us.

        Raises:
            StorageUnavailable, OSError: nobody can be asked. ValueError: these locks are closed.
        """
        if self._is_closed:
            raise ValueError(f"{path}: these locks are closed")
        facts = {
            **as_plain(holder),
            **this_process(),
            "lease": self._seconds,
            "time": _iso(datetime.now(timezone.utc)),
            "token": os.urandom(16).hex(),
        }
        asked = time.monotonic()
        if not self._leases.take(checked(path, root=False), facts, lambda found: self._is_over(path, found)):
            return None
        self._seen.pop(path, None)
        lease = Lease(self, path, facts, asked)
        with self._changed:
            self._held.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._keep, name="machinable-leases", daemon=True)
                self._thread.start()
            self._changed.notify()
        return lease

    def wait(
        self,
        path: str,
        holder: Mapping[str, Plain] = MappingProxyType({}),
        unless: Callable[[], bool] = lambda: False,
        waiting: Callable[[Mapping[str, Plain]], None] = lambda facts: None,
    ) -> Lease | None:
        """The lease of a path, as soon as nobody else has it.

        Args:
            path, holder: see `take`. unless: is asked before each look; if it is true, the lease is not needed.
            waiting: is told once who has it.
        """
        pause = 0.0
        while not unless():
            lease = self.take(path, holder)
            if lease is not None:
                return lease
            if not pause:
                waiting(self.holder(path) or {})
            pause = min(max(_FIRST_PAUSE, pause * 1.5), _LONGEST_PAUSE)
            time.sleep(pause)
        return None

    def holder(self, path: str) -> dict[str, Plain] | None:
        """Who has the lease of a path, or had it and is gone; None if nobody.

        Returns:
            What was said when it was taken, `host` and `pid`, `time` when it was taken, and `heartbeat`, the last sign
            of life, if that is known (ISO-8601, UTC).
        """
        found = self._leases.find(checked(path, root=False))
        if found is None:
            return None
        facts = {key: value for key, value in found.facts.items() if key not in _INTERNAL}
        if found.age is not None:
            facts["heartbeat"] = _iso(datetime.now(timezone.utc) - timedelta(seconds=found.age))
        return facts

    def close(self) -> None:
        """Release what is held, and let go of connections. Closing twice is fine."""
        for lease in list(self._held):
            lease.release()
        with self._changed:
            self._is_closed = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join()
        self._leases.close()

    def _is_over(self, path: str, found: Found) -> bool:
        if is_gone(found.facts):
            return True
        said = found.facts.get("lease")
        seconds = said if isinstance(said, (int, float)) else self._seconds
        if found.age is not None:
            return found.age >= seconds
        mark, since = self._seen.get(path, (None, 0.0))
        if mark != found.mark:
            self._seen[path] = found.mark, time.monotonic()
            return False
        return time.monotonic() - since >= seconds

    def _keep(self) -> None:
        """Give signs of life."""
        due = time.monotonic() + self._interval
        while True:
            with self._changed:
                if self._is_closed:
                    return
                if not self._held:
                    self._changed.wait()
                    due = time.monotonic() + self._interval
                    continue
                if (left := due - time.monotonic()) > 0:
                    self._changed.wait(left)
                    continue
                held = list(self._held)
            due = time.monotonic() + self._interval
            for lease in held:
                lease._renew()

    def _let_go(self, lease: Lease) -> None:
        with self._changed:
            self._held.discard(lease)


_INTERNAL = frozenset({"token", "lease", "boot", "born", "renewals"})
_everywhere: weakref.WeakSet[Locks] = weakref.WeakSet()


def _after_fork() -> None:
    for locks in _everywhere:
        locks._begin()


os.register_at_fork(after_in_child=_after_fork)


class Lease:
    """A lease that is ours until it is released; leaving its `with` block does that.

    Attributes:
        path: what it is for.
    """

    def __init__(self, locks: Locks, path: str, facts: Mapping[str, Plain], asked: float) -> None:
        self.path = path
        self._locks = locks
        self._facts = facts
        self._last = asked  # when the last sign of life was asked for
        self._is_over = False
        self._lock = threading.Lock()
        self._pid = os.getpid()

    def __repr__(self) -> str:
        return f"<Lease {self.path}: {'held' if self.is_held else 'not held'}>"

    @property
    def is_held(self) -> bool:
        """False once it was released, was taken over, could not be renewed for too long, or in a forked process."""
        is_late = time.monotonic() - self._last >= self._locks._seconds
        return not (self._is_over or is_late or os.getpid() != self._pid)

    def release(self) -> None:
        """Give it back, so that others can have it. A lease that is not ours any more stays with who has it.

        If the storage or the lock server does not answer, a warning tells it: then the lease ends by itself.
        """
        if os.getpid() != self._pid:  # it is our parent's
            return
        self._locks._let_go(self)
        with self._lock:
            if self._is_over:
                return
            self._is_over = True
            try:
                is_fresh = time.monotonic() - self._last < self._locks._seconds / 2
                self._locks._leases.remove(self.path, self._facts, is_fresh)
            except (StorageUnavailable, OSError) as error:
                warnings.warn(
                    f"a lease could not be given back and ends by itself in {self._locks._seconds:g} s: {error}",
                    RuntimeWarning,
                    stacklevel=2,
                )

    def _renew(self) -> None:
        with self._lock:
            if self._is_over:
                return
            asked = time.monotonic()
            try:
                is_ours = self._locks._leases.renew(self.path, self._facts)
            except Exception:  # until the next time: if it stays so, `is_held` tells it
                return
            if is_ours:
                self._last = asked
            else:
                self._is_over = True
        if not is_ours:
            self._locks._let_go(self)

    def __enter__(self) -> Lease:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.release()


def _iso(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds")
