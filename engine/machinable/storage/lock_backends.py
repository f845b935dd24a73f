"""Backends of leases. Each grants a lease to only one of several processes.

Leases are files beside the results, objects of an object store, or keys on a Redis server.
"""

from __future__ import annotations

import errno
import fcntl
import os
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from machinable.errors import InvalidValue, StorageUnavailable, import_optional
from machinable.serialization import Plain, dumps
from machinable.storage import layout
from machinable.storage.credentials import censored, harmless, secrets_of, without_credentials
from machinable.storage.documents import parse_lease, read_storage_id
from machinable.storage.files import Files, unreadable, writing
from machinable.storage.local import NO_LINKS, open_regular
from machinable.storage.private_random import CLIENTS, use_private_random
from machinable.storage.process_info import is_gone, is_running
from machinable.storage.temporary import temporary_beside

if TYPE_CHECKING:
    from machinable.storage.s3 import ObjectStoreFiles

__all__ = ["MAX_LEASE", "HeldLease", "Leases", "RedisLeases", "leases_in"]

Facts: TypeAlias = Mapping[str, Plain]


MAX_LEASE = 7 * 86400.0  # seconds; a lease that states more, or no number, is not one of ours


class HeldLease(Struct, frozen=True):
    """A lease as it is stored.

    Attributes:
        facts: The facts that the holder has written; empty if they cannot be read.
        mark: A value that differs after each change, such as a heartbeat.
        age: Seconds since the last heartbeat by the clock of the storage; None if the storage has no clock. Clocks may
            be wrong and are set while processes run, so no decision depends on it that could end a lease.
    """

    facts: Facts
    mark: object
    age: float | None

    def seconds(self, default: float) -> float:
        """Return the seconds without a heartbeat after which it expires; `default` if it does not say."""
        stated: Any = self.facts.get("lease")
        if type(stated) not in (int, float) or not 0 < stated <= MAX_LEASE:  # comparisons with NaN are false
            return default
        return float(stated)

    def is_overdue(self, default: float, tolerance: float = 0.0) -> bool:
        """Return whether its heartbeat seems overdue, by the clock of the storage with a tolerance in seconds.

        The lease of a process of this host never is: whether that process runs is known.
        """
        if is_gone(self.facts):
            return True
        return not is_running(self.facts) and self.age is not None and self.age >= self.seconds(default) + tolerance


class Leases(ABC):
    """The leases of a storage. Each is identified by its path and by the unique `token` in its facts.

    A backend finds, creates, replaces and removes them. Its changes fail if the lease has changed since it was found.

    Attributes:
        expire: Whether the server removes leases without heartbeats by itself.
    """

    expire = False

    @abstractmethod
    def find(self, path: str) -> HeldLease | None:
        """Return the lease of a path, or None."""

    @abstractmethod
    def _create(self, path: str, facts: Facts) -> bool:
        """Store a lease unless there is one, and return whether that was done."""

    @abstractmethod
    def _replace(self, path: str, facts: Facts, mark: object) -> bool:
        """Replace a lease that still has this mark, and return whether that was done."""

    @abstractmethod
    def _remove(self, path: str, mark: object) -> None:
        """Remove a lease that still has this mark."""

    def take(self, path: str, facts: Facts, is_over: Callable[[HeldLease], bool]) -> bool:
        """Take a lease that is free, or whose holder `is_over` declares gone. Only one caller succeeds."""
        if self._create(path, facts):
            return True
        found = self.find(path)
        if found is None:  # it was released since
            return self._create(path, facts)
        # If an answer is lost, the repeated request fails although the lease was replaced.
        return is_over(found) and (self._replace(path, facts, found.mark) or self._own(path, facts) is not None)

    def renew(self, path: str, facts: Facts) -> bool:
        """Write a heartbeat. Return False if the lease is gone, or another process holds it."""
        wanted = None
        for _ in range(3):
            found = self._own(path, facts)
            if found is None:
                return False
            renewals = found.facts.get("renewals", 0)
            if renewals == wanted:  # it was replaced, but the answer was lost
                return True
            wanted = renewals + 1
            if self._replace(path, {**facts, "renewals": wanted}, found.mark):
                return True
        return False

    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        """Release a lease unless another process holds it, which is excluded if the last heartbeat `is_fresh`."""
        found = self._own(path, facts)
        if found is not None:
            self._remove(path, found.mark)

    def is_replaced(self, path: str, facts: Facts) -> bool:
        """Return whether another process has replaced or removed a lease, if that is found without a request."""
        return False

    def close(self) -> None:  # noqa: B027
        """Close connections; most backends have none."""

    def _own(self, path: str, facts: Facts) -> HeldLease | None:
        """Return the lease of a path if it is the one with these facts."""
        found = self.find(path)
        return found if found is not None and found.facts.get("token") == facts["token"] else None


def leases_in(files: Files) -> Leases:
    """Return the leases of a storage."""
    if files.reach == "process":
        return MemoryLeases(files)
    files = files.inner
    own: Leases | None = files.leases()
    if own is not None:
        return own
    if files.local_path("") is not None:
        return DirectoryLeases(files)
    from machinable.storage.s3 import ObjectStoreFiles

    return ObjectStoreLeases(files) if isinstance(files, ObjectStoreFiles) else FileLeases(files)


def _encoded(facts: Facts) -> bytes:
    return dumps(facts).encode() + b"\n"


_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
FILE_LOCK_TIMEOUT = 5.0  # seconds for changes of a lease file by other processes, which take microseconds
_POLL_INTERVAL = 0.002


class DirectoryLeases(Leases):
    """Leases as files of a directory, which several hosts may share. The modification time is the heartbeat.

    A file appears complete, by a hard link, and only if none exists. Before one is replaced, renewed or removed, it is
    locked and checked to be unchanged. The lock of a file ends with its process, so none is left behind. The age of a
    lease is measured by the clock of the file system, which is read from a new file.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._ahead = 0  # ns, of the clock of the file system to that of this host
        self._inodes: dict[str, tuple[int, int]] = {}  # of the files of own leases
        self._reals: dict[str, str] = {}  # their paths on this host

    def find(self, path: str) -> HeldLease | None:
        try:
            file, _ = open_regular(self._real(path))
        except FileNotFoundError:
            self._files.check_root()
            return None
        except OSError as error:
            raise unreadable(self._real(path), error) from error
        with open(file, "rb") as opened:
            data, changed = opened.read(), os.fstat(file).st_mtime_ns
        return HeldLease(parse_lease(data), (data, changed), (time.time_ns() + self._ahead - changed) / 1e9)

    def renew(self, path: str, facts: Facts) -> bool:
        found = self._own(path, facts)
        return found is not None and self._change(path, found.mark, os.utime)

    def is_replaced(self, path: str, facts: Facts) -> bool:
        known = self._inodes.get(path)
        try:
            found = os.lstat(self._reals.get(path) or self._real(path))
        except FileNotFoundError:
            return True
        if known != (found.st_dev, found.st_ino):  # the first call, too
            if self._own(path, facts) is None:
                return True
            self._inodes[path], self._reals[path] = (found.st_dev, found.st_ino), self._real(path)
        return False

    def _create(self, path: str, facts: Facts) -> bool:
        with self._written(path, facts) as temporary:
            if self._appears(temporary, path):
                return True
            os.utime(temporary)
            self._ahead = os.stat(temporary).st_mtime_ns - time.time_ns()
            return False

    def _replace(self, path: str, facts: Facts, mark: object) -> bool:
        with self._written(path, facts) as temporary, suppress(TimeoutError):  # another process is changing it
            return self._change(path, mark, lambda real: os.replace(temporary, real))
        return False

    def _remove(self, path: str, mark: object) -> None:
        self._change(path, mark, os.unlink)

    def _real(self, path: str) -> str:
        real = self._files.local_path(path)
        assert real is not None
        return real

    @contextmanager
    def _written(self, path: str, facts: Facts) -> Iterator[str]:
        """Write a lease under a temporary name, which is removed afterwards."""
        temporary = temporary_beside(self._real(path))
        self._files.check_root()
        with writing(self._files):
            try:
                os.makedirs(os.path.dirname(temporary), exist_ok=True)
                with open(temporary, "xb") as file:
                    file.write(_encoded(facts))
                yield temporary
            finally:
                with suppress(OSError):  # it was moved, or a read-only storage has none
                    os.unlink(temporary)

    def _appears(self, temporary: str, path: str) -> bool:
        """Give a file a second name, unless that exists."""
        real = self._real(path)
        try:
            os.link(temporary, real)
            return True
        except FileExistsError:
            # A network file system may repeat a request whose answer was lost; then the link is our own.
            return os.stat(temporary).st_nlink == 2
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
        try:
            with open(temporary, "rb") as source, open(real, "xb") as file:
                file.write(source.read())
        except FileExistsError:
            return False
        return True

    def _change(self, path: str, mark: object, change: Callable[[str], None]) -> bool:
        """Lock a lease file, change it if it still has this mark, and return whether that was done."""
        real = self._real(path)
        try:
            try:
                file = os.open(real, os.O_RDWR)
            except PermissionError:  # another user's; write access to the folder is enough to replace it
                file = os.open(real, os.O_RDONLY)
        except FileNotFoundError:
            return False
        try:
            self._lock(file, real)
            try:
                found = self.find(path)  # by its name: the locked file may have lost it
                if found is None or found.mark != mark:
                    return False
                change(real)
                return True
            finally:
                with suppress(OSError):  # explicitly, because a forked process may hold the lock, too
                    fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            os.close(file)

    def _lock(self, file: int, real: str) -> None:
        end = time.monotonic() + FILE_LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock of the lease", real) from None
                time.sleep(_POLL_INTERVAL)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                _advise(self._files)
                return


class ObjectStoreLeases(Leases):
    """Leases as objects, stored on condition that none exists, or that it is unchanged since it was read."""

    def __init__(self, files: ObjectStoreFiles) -> None:
        self._files = files

    def find(self, path: str) -> HeldLease | None:
        there = self._files.read_version(path)
        return None if there is None else HeldLease(parse_lease(there.data), there.etag, there.age)

    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        # A fresh heartbeat ensures that no other process takes it over just before it is removed.
        if is_fresh or self.renew(path, facts):
            self._remove(path, None)

    def _create(self, path: str, facts: Facts) -> bool:
        return self._files.create(path, _encoded(facts), facts["token"])

    def _replace(self, path: str, facts: Facts, mark: Any) -> bool:
        return self._files.replace_if(path, _encoded(facts), mark)

    def _remove(self, path: str, mark: object) -> None:
        self._files.discard(path)


class FileLeases(Leases):
    """Leases as files without exclusive operations: processes that look at the same moment may both succeed."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def find(self, path: str) -> HeldLease | None:
        try:
            data = self._files.read(path)
        except FileNotFoundError:
            return None
        return HeldLease(parse_lease(data), data, None)

    def _create(self, path: str, facts: Facts) -> bool:
        if self._files.reach != "process":
            _advise(self._files)
        return not self._files.exists(path) and self._replace(path, facts, None)

    def _replace(self, path: str, facts: Facts, mark: object) -> bool:
        self._files.write(path, _encoded(facts))
        return self._own(path, facts) is not None  # the last writer has it

    def _remove(self, path: str, mark: object) -> None:
        with suppress(FileNotFoundError):
            self._files.remove(path)


class MemoryLeases(FileLeases):
    """Leases as files in memory, which threads of this process share."""

    _lock = threading.Lock()

    def take(self, path: str, facts: Facts, is_over: Callable[[HeldLease], bool]) -> bool:
        with self._lock:
            return super().take(path, facts, is_over)

    def renew(self, path: str, facts: Facts) -> bool:
        with self._lock:
            return super().renew(path, facts)

    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        with self._lock:
            super().remove(path, facts, is_fresh)


_advised: set[str] = set()


def _advise(files: Files) -> None:
    """Warn once per storage that its locks are not reliable."""
    if files.url not in _advised:
        _advised.add(files.url)
        warnings.warn(
            f"locks in {files.url} are advisory: the storage has no exclusive operations, so two executions may "
            "compute the same result. For reliable locks, set a lock server: `execution: {locks: redis://host:6379/0}`.",
            RuntimeWarning,
            stacklevel=6,
        )


CONNECT_TIMEOUT, ANSWER_TIMEOUT = 3.0, 5.0  # seconds


class RedisLeases(Leases):
    """Leases as locks of redis-py, whose keys expire: `machinable:` with the id of the storage and the path.

    The facts are the token of the lock, so that others can read who holds it. The id is a file of the storage, as hosts
    may reach one storage by different paths and URLs. The first process that takes a lease creates it.
    """

    expire = True

    def __init__(self, url: str, files: Files) -> None:
        """Connect to a server.

        Args:
            url: The server, such as `redis://host:6379/0`. Credentials in it are never shown.
            files: The storage.

        Raises:
            InvalidValue, NotAvailable, StorageUnavailable: The server cannot be used.
        """
        self._shown = without_credentials(url)
        self._secrets = secrets_of(url)
        self._files = files.inner  # not a local directory in its place
        self._storage_id: str | None = None
        # 100 ms
        redis = import_optional("redis", f"the lock server {self._shown!r} needs the Redis client", "[redis]")
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        use_private_random(*CLIENTS)
        retry = Retry(NoBackoff(), 1)  # one, because the server may have closed an idle connection
        times = {"socket_connect_timeout": CONNECT_TIMEOUT, "socket_timeout": ANSWER_TIMEOUT}
        problem = None
        try:
            self._client: Any = redis.Redis.from_url(url, retry=retry, **times)
        except Exception as failure:  # errors raised below do not refer to it, because it may contain secrets
            problem = failure
        if problem is not None:
            raise InvalidValue(
                f"{self._shown!r} is not a lock server: {censored(problem, self._secrets)}",
                given=self._shown,
                todo="Give a URL such as redis://host:6379/0.",
            ) from harmless(problem, self._secrets)
        server = self._client.get_connection_kwargs()
        self._place = server.get("path") or f"{server.get('host', 'localhost')}:{server.get('port', 6379)}"
        try:
            with self._own_errors():
                self._client.ping()
        except BaseException:
            self.close()
            raise

    def find(self, path: str) -> HeldLease | None:
        if self._find_storage_id() is None:  # so no process has taken a lease yet
            return None
        key = self._key(path)
        with self._own_errors():
            value, left = self._client.get(key), self._client.pttl(key)
        if value is None or left < 0:
            return None
        found = HeldLease(parse_lease(value), value, None)
        return replace(found, age=found.seconds(0.0) - left / 1000)

    def renew(self, path: str, facts: Facts) -> bool:
        return self._if_owned(self._lock(path, dumps(facts).encode(), facts["lease"]).reacquire)

    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        self._remove(path, dumps(facts).encode())

    def close(self) -> None:
        self._client.close()

    def _create(self, path: str, facts: Facts) -> bool:
        token = dumps(facts).encode()
        if self._find_storage_id() is None:
            self._create_storage_id()
        with self._own_errors():
            lock = self._lock(path, token, facts["lease"])
            # The answer may have been lost, and the repeated request refused; then the lock is our own.
            return bool(lock.acquire(token=token) or lock.owned())

    def _replace(self, path: str, facts: Facts, mark: object) -> bool:
        self._remove(path, mark)
        return self._create(path, facts)

    def _remove(self, path: str, mark: object) -> None:
        self._if_owned(self._lock(path, mark).release)

    def _key(self, path: str) -> str:
        return f"machinable:{self._find_storage_id()}/{path}"

    def _find_storage_id(self) -> str | None:
        if self._storage_id is None:
            self._storage_id = read_storage_id(self._files)
        return self._storage_id

    def _create_storage_id(self) -> None:
        """Create the id, one process at a time, as not every storage can create files exclusively."""
        with self._own_errors():
            new = self._client.lock("machinable:storage-id", timeout=30, thread_local=False)
            new.acquire()
        try:
            name = os.urandom(16).hex()
            self._files.create(layout.STORAGE_ID, f"{name}\n".encode(), name)
            self._find_storage_id()
        finally:
            self._if_owned(new.release)

    def _lock(self, path: str, token: object, seconds: float | None = None) -> Any:
        """Return the lock of a path as held with this token."""
        lock = self._client.lock(self._key(path), timeout=seconds, blocking=False, thread_local=False)
        lock.local.token = token
        return lock

    def _if_owned(self, change: Callable[[], object]) -> bool:
        """Change a lock, and return False if another process has it, or it has expired."""
        from redis.exceptions import LockNotOwnedError

        with self._own_errors(), suppress(LockNotOwnedError):
            change()
            return True
        return False

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Convert errors of the client to StorageUnavailable with host and port."""
        from redis.exceptions import RedisError

        try:
            yield
            return
        except (RedisError, OSError) as failure:
            problem = failure
        raise StorageUnavailable(
            f"the lock server at {self._place} cannot be used: {censored(problem, self._secrets)}",
            given=self._shown,
            todo="Start it, or check the URL: `locks` in the `execution:` section, or MACHINABLE_LOCKS.",
        ) from harmless(problem, self._secrets)
