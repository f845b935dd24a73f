"""Backends of leases, each with one winner among all that want a lease.

Leases are files beside the results, objects of an object store, entries of this process, or keys on a Redis server.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import threading
import time
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias
from weakref import WeakKeyDictionary

from msgspec import Struct

from machinable.errors import InvalidValue, NotAvailable, StorageUnavailable
from machinable.serialization import Plain, dumps, loads
from machinable.storage.credentials import censored, harmless, secrets_of, without_credentials
from machinable.storage.files import Files, writing
from machinable.storage.temporary import temporary_beside

if TYPE_CHECKING:
    from machinable.storage.s3 import ObjectStoreFiles

__all__ = [
    "DirectoryLeases",
    "FileLeases",
    "HeldLease",
    "Leases",
    "MemoryLeases",
    "ObjectStoreLeases",
    "RedisLeases",
    "leases_in",
    "open_redis",
]

Facts: TypeAlias = Mapping[str, Plain]


class HeldLease(Struct, frozen=True):
    """A lease that is held.

    Attributes:
        facts: What the holder has written into it; empty if that cannot be read.
        mark: A value that differs after each heartbeat.
        age: Seconds since the last heartbeat by the clock of the storage; None if the storage has no clock.
    """

    facts: Facts
    mark: object
    age: float | None


class Leases(ABC):
    """The leases of a storage. Each is identified by its path and by the unique `token` in its facts."""

    @abstractmethod
    def take(self, path: str, facts: Facts, is_over: Callable[[HeldLease], bool]) -> bool:
        """Take a lease that is free, or whose holder `is_over` declares gone. One caller wins."""

    @abstractmethod
    def renew(self, path: str, facts: Facts) -> bool:
        """Write a heartbeat. Return False if the lease is gone, or another process holds it."""

    @abstractmethod
    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        """Release a lease unless another process holds it, which is excluded if the last heartbeat `is_fresh`."""

    @abstractmethod
    def find(self, path: str) -> HeldLease | None:
        """Return the lease of a path, or None."""

    def close(self) -> None:  # noqa: B027
        """Close connections; most backends have none."""


def leases_in(files: Files) -> Leases:
    """Return the leases of a storage."""
    if files.reach == "process":
        return MemoryLeases(files)
    files = files.inner
    if files.local_path("") is not None:
        return DirectoryLeases(files)
    from machinable.storage.s3 import ObjectStoreFiles

    return ObjectStoreLeases(files) if isinstance(files, ObjectStoreFiles) else FileLeases(files)


def _encoded(facts: Facts) -> bytes:
    return dumps(facts).encode() + b"\n"


def _decoded(data: bytes) -> Facts:
    try:
        facts = loads(data)
    except ValueError:  # its writer was killed, or another program wrote it
        return {}
    return facts if type(facts) is dict else {}


def _is_own(data: bytes, facts: Facts) -> bool:
    return bool(_decoded(data).get("token") == facts["token"])


class MemoryLeases(Leases):
    """Leases shared by the threads of this process."""

    _all: ClassVar[WeakKeyDictionary[Files, dict[str, tuple[Facts, float]]]] = WeakKeyDictionary()
    _lock = threading.Lock()

    def __init__(self, files: Files) -> None:
        with self._lock:
            self._leases = self._all.setdefault(files, {})

    def take(self, path: str, facts: Facts, is_over: Callable[[HeldLease], bool]) -> bool:
        with self._lock:
            found = self._found(path)
            if found is not None and not is_over(found):
                return False
            self._leases[path] = facts, time.monotonic()
            return True

    def renew(self, path: str, facts: Facts) -> bool:
        with self._lock:
            if not self._is_own(path, facts):
                return False
            self._leases[path] = facts, time.monotonic()
            return True

    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        with self._lock:
            if self._is_own(path, facts):
                del self._leases[path]

    def find(self, path: str) -> HeldLease | None:
        with self._lock:
            return self._found(path)

    def _found(self, path: str) -> HeldLease | None:
        if path not in self._leases:
            return None
        facts, renewed = self._leases[path]
        return HeldLease(facts, renewed, time.monotonic() - renewed)

    def _is_own(self, path: str, facts: Facts) -> bool:
        return path in self._leases and self._leases[path][0]["token"] == facts["token"]

    @classmethod
    def renew_lock(cls) -> None:
        """Replace the lock in a forked process, where no thread releases what one of the parent held."""
        cls._lock = threading.Lock()


os.register_at_fork(after_in_child=MemoryLeases.renew_lock)

_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
FILE_LOCK_TIMEOUT = 5.0  # seconds for changes of a lease file by other processes, which take microseconds
_POLL_INTERVAL = 0.002


class _LeaseFile(Struct, frozen=True):
    data: bytes
    modified: int  # ns


class DirectoryLeases(Leases):
    """Leases as files of a directory, which several hosts may share. The modification time is the heartbeat.

    A file appears complete, by a hard link, and only if none exists. Before one is replaced, renewed or removed, it is
    locked and checked to still have its name. The lock of a file ends with its process, so none is left behind. The age
    of a lease is taken from the clock of the file system, read from a file written for that purpose.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def _real(self, path: str) -> str:
        real = self._files.local_path(path)
        assert real is not None
        return real

    def take(self, path: str, facts: Facts, is_over: Callable[[HeldLease], bool]) -> bool:
        real, data = self._real(path), _encoded(facts)
        temporary = temporary_beside(real)
        with writing(self._files):
            try:
                os.makedirs(os.path.dirname(real), exist_ok=True)
                with open(temporary, "xb") as file:
                    file.write(data)
                end = time.monotonic() + FILE_LOCK_TIMEOUT
                while time.monotonic() < end:
                    if _appears(temporary, real, data):
                        return True
                    with self._locked(real) as there:
                        if there is None:  # it was released or replaced
                            continue
                        os.utime(temporary)
                        now = os.stat(temporary).st_mtime_ns
                        if not is_over(_found(there, now)):
                            return False
                        os.replace(temporary, real)
                        return True
                return False
            except TimeoutError:  # another process is changing it
                return False
            finally:
                with suppress(OSError):  # a read-only storage has none
                    os.unlink(temporary)

    def renew(self, path: str, facts: Facts) -> bool:
        real = self._real(path)
        with self._locked(real) as there:
            if there is None or not _is_own(there.data, facts):
                return False
            os.utime(real)
            return True

    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        real = self._real(path)
        with self._locked(real) as there:
            if there is not None and _is_own(there.data, facts):
                os.unlink(real)

    def find(self, path: str) -> HeldLease | None:
        try:
            with open(self._real(path), "rb") as file:
                there = _LeaseFile(file.read(), os.fstat(file.fileno()).st_mtime_ns)
        except FileNotFoundError:
            return None
        return _found(there, time.time_ns())

    @contextmanager
    def _locked(self, real: str) -> Iterator[_LeaseFile | None]:
        """Lock the lease file and yield its content; None if there is none, or it was just replaced.

        Raises:
            TimeoutError: Another process does not release its lock.
        """
        try:
            try:
                file = os.open(real, os.O_RDWR)
            except PermissionError:  # another user's; write access to the folder suffices to replace it
                file = os.open(real, os.O_RDONLY)
        except FileNotFoundError:
            yield None
            return
        try:
            is_locked = self._lock(file, real)
            try:
                state = os.fstat(file)
                yield _LeaseFile(os.read(file, 2**20), state.st_mtime_ns) if _is_at(state, real) else None
            finally:
                if is_locked:  # explicitly, as a process forked just now has the file open and would hold the lock
                    fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            os.close(file)

    def _lock(self, file: int, real: str) -> bool:
        end = time.monotonic() + FILE_LOCK_TIMEOUT
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError(errno.ETIMEDOUT, "another process holds the lock of the lease", real) from None
                time.sleep(_POLL_INTERVAL)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                break
        advise(self._files)
        return False


def _found(there: _LeaseFile, now: int) -> HeldLease:
    facts = _decoded(there.data)
    return HeldLease(facts, (there.data, there.modified), (now - there.modified) / 1e9)


def _is_at(state: os.stat_result, real: str) -> bool:
    try:
        return os.path.samestat(state, os.stat(real))
    except FileNotFoundError:
        return False


def _appears(temporary: str, real: str, data: bytes) -> bool:
    """Give a file a second name, unless that exists."""
    try:
        os.link(temporary, real)
        return True
    except FileExistsError:
        # A network file system may repeat a request whose answer was lost; then the link is our own.
        return os.stat(temporary).st_nlink == 2
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    try:
        file = os.open(real, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    try:
        os.write(file, data)
    finally:
        os.close(file)
    return True


class ObjectStoreLeases(Leases):
    """Leases as objects, stored on condition that none exists, or that it is unchanged since it was read."""

    def __init__(self, files: ObjectStoreFiles) -> None:
        self._files = files

    def take(self, path: str, facts: Facts, is_over: Callable[[HeldLease], bool]) -> bool:
        data = _encoded(facts)
        if self._files.create(path, data, facts["token"]):
            return True
        there = self._files.read_version(path)
        if there is None:  # released since
            return self._files.create(path, data, facts["token"])
        if not is_over(HeldLease(_decoded(there.data), there.etag, there.age)):
            return False
        if self._files.replace_if(path, data, there.etag):
            return True
        # The answer may have been lost, and the repeated request refused.
        there = self._files.read_version(path)
        return there is not None and _is_own(there.data, facts)

    def renew(self, path: str, facts: Facts) -> bool:
        asked = None
        for _ in range(3):
            there = self._files.read_version(path)
            if there is None or not _is_own(there.data, facts):
                return False
            renewals = _decoded(there.data).get("renewals", 0)
            if renewals == asked:  # done, but the answer was lost
                return True
            asked = renewals + 1  # other content, as equal content has the same etag
            if self._files.replace_if(path, _encoded({**facts, "renewals": asked}), there.etag):
                return True
        return False

    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        # A fresh heartbeat ensures that no other process takes it over just before it is removed.
        if is_fresh or self.renew(path, facts):
            self._files.discard(path)

    def find(self, path: str) -> HeldLease | None:
        there = self._files.read_version(path)
        return HeldLease(_decoded(there.data), there.etag, there.age) if there is not None else None


class FileLeases(Leases):
    """Leases as files where nothing is exclusive: processes that look at the same moment may both win."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def take(self, path: str, facts: Facts, is_over: Callable[[HeldLease], bool]) -> bool:
        advise(self._files)
        found = self.find(path)
        if found is not None and not is_over(found):
            return False
        self._files.write(path, _encoded(facts))
        return self._is_own(path, facts)  # the last writer has it

    def renew(self, path: str, facts: Facts) -> bool:
        found = self.find(path)
        if found is None or found.facts.get("token") != facts["token"]:
            return False
        self._files.write(path, _encoded({**facts, "renewals": found.facts.get("renewals", 0) + 1}))
        return True

    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        if self._is_own(path, facts):
            with suppress(FileNotFoundError):
                self._files.remove(path)

    def find(self, path: str) -> HeldLease | None:
        try:
            data = self._files.read(path)
        except FileNotFoundError:
            return None
        return HeldLease(_decoded(data), data, None)

    def _is_own(self, path: str, facts: Facts) -> bool:
        found = self.find(path)
        return found is not None and found.facts.get("token") == facts["token"]


_advised: set[str] = set()


def advise(files: Files) -> None:
    """Warn once for each storage that its locks are not reliable."""
    if files.url not in _advised:
        _advised.add(files.url)
        warnings.warn(
            f"locks in {files.url} are advisory: the storage has no exclusive operations, so two executions may "
            "compute the same result. For reliable locks, set a lock server: `execution: {locks: redis://host:6379/0}`.",
            RuntimeWarning,
            stacklevel=6,
        )


_SCHEMES = ("redis", "rediss", "unix")
CONNECT_TIMEOUT, ANSWER_TIMEOUT = 3.0, 5.0  # seconds


def open_redis(url: str, storage: str) -> RedisLeases:
    """Open the leases of a storage on a Redis server.

    Args:
        url: The server, such as `redis://host:6379/0`. Credentials in it are never shown.
        storage: The URL of the storage.

    Raises:
        InvalidValue: The URL is not one of a Redis server.
        NotAvailable: The client is not installed.
        StorageUnavailable: The server does not answer.
    """
    shown = without_credentials(url)
    if not re.match(rf"({'|'.join(_SCHEMES)})://", url):
        raise InvalidValue(
            f"{shown!r} is not a lock server",
            given=shown,
            known=_SCHEMES,
            todo="Give a URL such as redis://host:6379/0.",
        )
    try:
        import redis  # 100 ms, and optional
    except ImportError as error:
        raise NotAvailable(
            f"the lock server {shown!r} needs the Redis client",
            todo="Install it: pip install 'machinable-engine[redis]'",
        ) from error
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    problem: Exception
    try:
        # One retry, as the server may have closed an idle connection.
        client = redis.Redis.from_url(
            url, socket_connect_timeout=CONNECT_TIMEOUT, socket_timeout=ANSWER_TIMEOUT, retry=Retry(NoBackoff(), 1)
        )
    except Exception as failure:
        problem = failure
    else:
        leases = RedisLeases(client, url, storage)
        try:
            leases.ping()
        except BaseException:
            leases.close()
            raise
        return leases
    secrets = secrets_of(url)
    raise InvalidValue(
        f"{shown!r} is not a lock server: {censored(problem, secrets)}",
        given=shown,
        todo="Give a URL such as redis://host:6379/0.",
    ) from harmless(problem, secrets)


class RedisLeases(Leases):
    """Leases as locks of redis-py, whose keys expire: `machinable:` with the storage and the path.

    The facts are the token of the lock, so that others can read who holds it.
    """

    def __init__(self, client: Any, url: str, storage: str) -> None:
        """Take over a client.

        Args:
            client: A `redis.Redis`.
            url: The URL of the server. Credentials in it are never shown.
            storage: The URL of the storage.
        """
        self._client = client
        self._shown = without_credentials(url)
        self._secrets = secrets_of(url)
        from urllib.parse import urlsplit  # 3 ms with `ipaddress`, and only for a lock server

        parts = urlsplit(url)
        self._place = parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
        # A directory can have several names on one host.
        self._storage = os.path.realpath(storage) if os.path.isabs(storage) else storage

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Turn errors of the client into StorageUnavailable with host and port."""
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

    def _key(self, path: str) -> str:
        return f"machinable:{self._storage}/{path}"

    def _lock(self, path: str, token: object, seconds: float = 1.0) -> Any:
        """Return the lock of a path as its holder with this token has it."""
        lock = self._client.lock(self._key(path), timeout=max(0.001, seconds), blocking=False, thread_local=False)
        lock.local.token = token
        return lock

    def ping(self) -> None:
        """Check that the server answers."""
        with self._own_errors():
            self._client.ping()

    def take(self, path: str, facts: Facts, is_over: Callable[[HeldLease], bool]) -> bool:
        from redis.exceptions import LockNotOwnedError

        token = dumps(facts).encode()
        with self._own_errors():
            lock = self._lock(path, token, facts["lease"])
            # The answer may have been lost, and the repeated request refused; then the lock is our own.
            if lock.acquire(token=token) or self._lock(path, token).owned():
                return True
            found = self.find(path)
            if found is not None:
                if not is_over(found):
                    return False
                with suppress(LockNotOwnedError):  # another process was faster
                    self._lock(path, found.mark).release()
            return bool(lock.acquire(token=token))

    def renew(self, path: str, facts: Facts) -> bool:
        from redis.exceptions import LockNotOwnedError

        with self._own_errors():
            try:
                seconds = facts["lease"]
                self._lock(path, dumps(facts).encode(), seconds).extend(max(0.001, seconds), replace_ttl=True)
            except LockNotOwnedError:
                return False
            return True

    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        from redis.exceptions import LockNotOwnedError

        with self._own_errors(), suppress(LockNotOwnedError):
            self._lock(path, dumps(facts).encode()).release()

    def find(self, path: str) -> HeldLease | None:
        key = self._key(path)
        with self._own_errors():
            value, left = self._client.get(key), self._client.pttl(key)
        if value is None or left < 0:
            return None
        facts = _decoded(value)
        return HeldLease(facts, value, facts.get("lease", 0.0) - left / 1000)

    def close(self) -> None:
        self._client.close()
