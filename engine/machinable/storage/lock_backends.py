"""Where leases lie, so that of all who want one a single one gets it: beside the results, or in this process.

Leases on a Redis server: a key for each, which ends by itself.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, TypeAlias
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from machinable.errors import InvalidValue, NotAvailable, StorageUnavailable
from machinable.serialization import Plain, dumps, loads
from machinable.storage.credentials import harmless, secrets_of, without_credentials
from machinable.storage.files import Files, storage_below, temporary_beside, writing

if TYPE_CHECKING:
    from machinable.storage.s3 import ObjectStoreFiles

__all__ = [
    "DirectoryLeases",
    "FileLeases",
    "Found",
    "Leases",
    "MemoryLeases",
    "ObjectStoreLeases",
    "RedisLeases",
    "leases_in",
    "open_redis",
]

Facts: TypeAlias = Mapping[str, Plain]


class Found(NamedTuple):
    """A lease that somebody has.

    Attributes:
        facts: what is known about it; nothing if it cannot be read.
        mark: differs after each sign of life.
        age: seconds since the last sign of life, by the clock of the storage; None if that has none.
    """

    facts: Facts
    mark: object
    age: float | None


class Leases(Protocol):
    """Keeps leases. Each is known by its path and by the `token` in its facts, which nobody else has."""

    def take(self, path: str, facts: Facts, is_over: Callable[[Found], bool]) -> bool:
        """Take a lease that nobody has, or whose holder `is_over` says is no more. One caller wins."""

    def renew(self, path: str, facts: Facts) -> bool:
        """Give a sign of life. False if the lease is another's by now, or gone."""

    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        """Give a lease back, unless it is another's by now, which cannot be if the last sign of life `is_fresh`."""

    def find(self, path: str) -> Found | None:
        """What there is."""

    def close(self) -> None:
        """Let go of connections."""


def leases_in(files: Files) -> Leases:
    """Where the leases of a storage lie."""
    if files.reach == "process":
        return MemoryLeases(files)
    files = storage_below(files)
    if files.local_path("") is not None:
        return DirectoryLeases(files)
    from machinable.storage.s3 import ObjectStoreFiles

    return ObjectStoreLeases(files) if isinstance(files, ObjectStoreFiles) else FileLeases(files)


def _encoded(facts: Facts) -> bytes:
    return dumps(facts).encode() + b"\n"


def _decoded(data: bytes) -> Facts:
    try:
        facts = loads(data)
    except ValueError:  # its writer was killed, or it is somebody else's
        return {}
    return facts if type(facts) is dict else {}


def _is_own(data: bytes, facts: Facts) -> bool:
    return bool(_decoded(data).get("token") == facts["token"])


class MemoryLeases:
    """Leases among the threads of this process."""

    _all: ClassVar[WeakKeyDictionary[Files, dict[str, tuple[Facts, float]]]] = WeakKeyDictionary()
    _lock = threading.Lock()

    def __init__(self, files: Files) -> None:
        with self._lock:
            self._leases = self._all.setdefault(files, {})

    def take(self, path: str, facts: Facts, is_over: Callable[[Found], bool]) -> bool:
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

    def find(self, path: str) -> Found | None:
        with self._lock:
            return self._found(path)

    def _found(self, path: str) -> Found | None:
        if path not in self._leases:
            return None
        facts, renewed = self._leases[path]
        return Found(facts, renewed, time.monotonic() - renewed)

    def _is_own(self, path: str, facts: Facts) -> bool:
        return path in self._leases and self._leases[path][0]["token"] == facts["token"]

    def close(self) -> None:
        """There is nothing to let go of."""

    @classmethod
    def renew_lock(cls) -> None:
        """In a forked process: what another thread of the parent had locked stays so for ever."""
        cls._lock = threading.Lock()


os.register_at_fork(after_in_child=MemoryLeases.renew_lock)

_NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP})
_PATIENCE = 5.0  # seconds for what others do with a lease file, which is a matter of microseconds
_PAUSE = 0.002


class _LeaseFile(NamedTuple):
    data: bytes
    modified: int  # ns


class DirectoryLeases:
    """Leases as files of a directory, which several hosts may share. When a file was changed last is its heartbeat.

    A file appears whole, by a second link to it, and only if there is none. Who wants to replace, renew or remove one
    locks it, and then looks whether it is still the one that has this name. Such a lock ends with its process, so
    nothing can be left locked. How old a lease is, is read from the same clock that its time comes from: that of the
    file system, which a file of our own tells.
    """

    def __init__(self, files: Files) -> None:
        self._files = files

    def _real(self, path: str) -> str:
        real = self._files.local_path(path)
        assert real is not None
        return real

    def take(self, path: str, facts: Facts, is_over: Callable[[Found], bool]) -> bool:
        real, data = self._real(path), _encoded(facts)
        temporary = temporary_beside(real)
        with writing(self._files):
            try:
                os.makedirs(os.path.dirname(real), exist_ok=True)
                with open(temporary, "xb") as file:
                    file.write(data)
                end = time.monotonic() + _PATIENCE
                while time.monotonic() < end:
                    if _appears(temporary, real, data):
                        return True
                    with self._locked(real) as there:
                        if there is None:  # it was given back, or is another by now
                            continue
                        os.utime(temporary)
                        now = os.stat(temporary).st_mtime_ns
                        if not is_over(_found(there, now)):
                            return False
                        os.replace(temporary, real)
                        return True
                return False
            except TimeoutError:  # somebody is about to do something with it
                return False
            finally:
                with suppress(OSError):  # a storage that cannot be written has none
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

    def find(self, path: str) -> Found | None:
        try:
            with open(self._real(path), "rb") as file:
                there = _LeaseFile(file.read(), os.fstat(file.fileno()).st_mtime_ns)
        except FileNotFoundError:
            return None
        return _found(there, time.time_ns())

    @contextmanager
    def _locked(self, real: str) -> Iterator[_LeaseFile | None]:
        """The lease file, which nobody else changes meanwhile; None if there is none, or it was just replaced.

        Raises:
            TimeoutError: somebody does not let go of it.
        """
        try:
            try:
                file = os.open(real, os.O_RDWR)
            except PermissionError:  # another user's; who may write in the folder may replace it
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
                if is_locked:  # a process that was forked just now has the file open, too, and would keep it locked
                    fcntl.flock(file, fcntl.LOCK_UN)
        finally:
            os.close(file)

    def _lock(self, file: int, real: str) -> bool:
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                if time.monotonic() > end:
                    raise TimeoutError(errno.ETIMEDOUT, "somebody does not let go of the lease", real) from None
                time.sleep(_PAUSE)
            except OSError as error:
                if error.errno not in _NO_LOCKS:
                    raise
                break
        advise(self._files)
        return False

    def close(self) -> None:
        """There is nothing to let go of."""


def _found(there: _LeaseFile, now: int) -> Found:
    facts = _decoded(there.data)
    return Found(facts, (there.data, there.modified), (now - there.modified) / 1e9)


def _is_at(state: os.stat_result, real: str) -> bool:
    try:
        return os.path.samestat(state, os.stat(real))
    except FileNotFoundError:
        return False


def _appears(temporary: str, real: str, data: bytes) -> bool:
    """Give a file a second name, unless somebody has that name."""
    try:
        os.link(temporary, real)
        return True
    except FileExistsError:
        # A network may lose the answer and ask again: then it was us.
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


class ObjectStoreLeases:
    """Leases as objects, stored on the condition that there is none, or that it is still the one that was seen."""

    def __init__(self, files: ObjectStoreFiles) -> None:
        self._files = files

    def take(self, path: str, facts: Facts, is_over: Callable[[Found], bool]) -> bool:
        data = _encoded(facts)
        if self._files.create(path, data, facts["token"]):
            return True
        there = self._files.read_version(path)
        if there is None:  # given back meanwhile
            return self._files.create(path, data, facts["token"])
        if not is_over(Found(_decoded(there.data), there.etag, there.age)):
            return False
        if self._files.replace_if(path, data, there.etag):
            return True
        # The answer to the request may have been lost, and was no to the second one.
        there = self._files.read_version(path)
        return there is not None and _is_own(there.data, facts)

    def renew(self, path: str, facts: Facts) -> bool:
        asked = None
        for _ in range(3):
            there = self._files.read_version(path)
            if there is None or not _is_own(there.data, facts):
                return False
            renewals = _decoded(there.data).get("renewals", 0)
            if renewals == asked:  # it was done, and the answer was lost
                return True
            asked = renewals + 1  # other content, for the same has the same etag
            if self._files.replace_if(path, _encoded({**facts, "renewals": asked}), there.etag):
                return True
        return False

    def remove(self, path: str, facts: Facts, is_fresh: bool) -> None:
        # So that nobody can take it over just before it is removed.
        if is_fresh or self.renew(path, facts):
            self._files.discard(path)

    def find(self, path: str) -> Found | None:
        there = self._files.read_version(path)
        return there and Found(_decoded(there.data), there.etag, there.age)

    def close(self) -> None:
        """The storage is not closed."""


class FileLeases:
    """Leases as files where nothing is exclusive: who looks at the same moment may get the same one."""

    def __init__(self, files: Files) -> None:
        self._files = files

    def take(self, path: str, facts: Facts, is_over: Callable[[Found], bool]) -> bool:
        advise(self._files)
        found = self.find(path)
        if found is not None and not is_over(found):
            return False
        self._files.write(path, _encoded(facts))
        return self._is_own(path, facts)  # who was a little later has it

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

    def find(self, path: str) -> Found | None:
        try:
            data = self._files.read(path)
        except FileNotFoundError:
            return None
        return Found(_decoded(data), data, None)

    def _is_own(self, path: str, facts: Facts) -> bool:
        found = self.find(path)
        return found is not None and found.facts.get("token") == facts["token"]

    def close(self) -> None:
        """The storage is not closed."""


_advised: set[str] = set()


def advise(files: Files) -> None:
    """Tell once for each storage that its locks cannot be relied on."""
    if files.url not in _advised:
        _advised.add(files.url)
        warnings.warn(
            f"locks in {files.url} are advisory: nothing there can be made by only one of several who try at the same "
            "moment, so two executions may compute the same. To be sure, name a lock server: "
            "`execution: {locks: redis://host:6379/0}`.",
            RuntimeWarning,
            stacklevel=6,
        )


_SCHEMES = ("redis", "rediss", "unix")
_CONNECTING, _ANSWERING = 3.0, 5.0  # seconds

# What is looked at and changed is one step of the server: nobody can come between.
_IF_SAME = "if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end "
_REPLACE = _IF_SAME + "redis.call('set', KEYS[1], ARGV[2], 'px', ARGV[3]) return 1"
_RENEW = _IF_SAME + "return redis.call('pexpire', KEYS[1], ARGV[2])"
_REMOVE = _IF_SAME + "return redis.call('del', KEYS[1])"


def open_redis(url: str, storage: str) -> RedisLeases:
    """The leases of a storage on a server that answers.

    Args:
        url: `redis://host:6379/0`, may have credentials: they are not shown. storage: the URL of the storage.

    Raises:
        InvalidValue: no such URL. NotAvailable: the client is not installed. StorageUnavailable: no answer.
    """
    shown = without_credentials(url)
    if not re.match(rf"({'|'.join(_SCHEMES)})://", url):
        raise InvalidValue(
            f"{shown!r} is no lock server", given=shown, known=_SCHEMES, todo="Give a URL such as redis://host:6379/0."
        )
    try:
        import redis
    except ImportError as error:
        raise NotAvailable(
            f"the lock server {shown!r} needs the client of Redis",
            todo="Install it: pip install 'machinable-engine[redis]'",
        ) from error
    secrets = secrets_of(url)
    problem: Exception
    try:
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        # Once more, for the server may have closed a connection that was not used for long.
        client = redis.Redis.from_url(
            url, socket_connect_timeout=_CONNECTING, socket_timeout=_ANSWERING, retry=Retry(NoBackoff(), 1)
        )
    except Exception as failure:
        problem = failure
    else:
        leases = RedisLeases(client, url, storage)
        try:
            leases.ask("ping")
        except BaseException:
            leases.close()
            raise
        return leases
    raise InvalidValue(
        f"{shown!r} is no lock server: {_told(problem, secrets)}",
        given=shown,
        todo="Give a URL such as redis://host:6379/0.",
    ) from harmless(problem, secrets)


class RedisLeases:
    """Leases as keys, `machinable:` with the storage and the path.

    Args:
        client: of redis. url: may have credentials, they are not shown. storage: the URL of the storage.
    """

    def __init__(self, client: Any, url: str, storage: str) -> None:
        self._client = client
        self._shown = without_credentials(url)
        self._secrets = secrets_of(url)
        parts = urlsplit(url)
        self._place = parts.path if parts.scheme == "unix" else f"{parts.hostname or 'localhost'}:{parts.port or 6379}"
        # The same directory can have several names on one host.
        self._storage = os.path.realpath(storage) if os.path.isabs(storage) else storage

    def ask(self, command: str, *arguments: Any, **options: Any) -> Any:
        """The server's answer.

        Raises:
            StorageUnavailable: there is none; names host and port.
        """
        from redis.exceptions import RedisError

        try:
            return getattr(self._client, command)(*arguments, **options)
        except (RedisError, OSError) as failure:
            problem = failure
        raise StorageUnavailable(
            f"the lock server at {self._place} cannot be used: {_told(problem, self._secrets)}",
            given=self._shown,
            todo="Start it, or check the URL: `locks` in the `execution:` section, or MACHINABLE_LOCKS.",
        ) from harmless(problem, self._secrets)

    def _key(self, path: str) -> str:
        return f"machinable:{self._storage}/{path}"

    def take(self, path: str, facts: Mapping[str, Plain], is_over: Callable[[Found], bool]) -> bool:
        key, value, length = self._key(path), dumps(facts), _milliseconds(facts)
        if self.ask("set", key, value, nx=True, px=length):
            return True
        found = self.find(path)
        if found is None:  # given back, or over, meanwhile
            return bool(self.ask("set", key, value, nx=True, px=length))
        if found.facts.get("token") == facts["token"]:  # the answer was lost, and the client has asked again
            return True
        return is_over(found) and bool(self.ask("eval", _REPLACE, 1, key, found.mark, value, length))

    def renew(self, path: str, facts: Mapping[str, Plain]) -> bool:
        return bool(self.ask("eval", _RENEW, 1, self._key(path), dumps(facts), _milliseconds(facts)))

    def remove(self, path: str, facts: Mapping[str, Plain], is_fresh: bool) -> None:
        self.ask("eval", _REMOVE, 1, self._key(path), dumps(facts))

    def find(self, path: str) -> Found | None:
        key = self._key(path)
        value = self.ask("get", key)
        left = self.ask("pttl", key)
        if value is None or left < 0:
            return None
        facts = loads(value)
        return Found(facts, value, (_milliseconds(facts) - left) / 1000)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _milliseconds(facts: Mapping[str, Plain]) -> int:
    return max(1, round(1000 * float(facts["lease"])))


def _told(problem: Exception, secrets: list[str]) -> str:
    told = " ".join(str(problem).split()) or type(problem).__name__
    for secret in secrets:
        told = told.replace(secret, "…")
    return told
