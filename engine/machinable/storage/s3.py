"""The objects of an S3 bucket as a tree of files, with as few requests as possible."""

from __future__ import annotations

import errno
import os
import threading
import warnings
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from io import BytesIO
from typing import IO, Any
from urllib.parse import urlsplit

from msgspec import Struct

from machinable.errors import MachinableError, StorageUnavailable
from machinable.storage.credentials import nothing_stored, unavailable, without_credentials
from machinable.storage.files import PIECE, Appender, Entry, FileInfo, Files, Guard, checked, file_path, path_error
from machinable.storage.layout import join
from machinable.storage.numbered_parts import PartAppender
from machinable.storage.private_random import CLIENTS, use_private_random
from machinable.storage.temporary import is_temporary

__all__ = ["ObjectStoreFiles", "Version", "open_bucket"]

_MARKER = ".machinable-directory"
_NO_NAMES = frozenset({"", ".", ".."})  # which keys of other programs may contain between slashes
_MAX_REQUEST = 5 * 2**30  # bytes that one request stores or copies
_MAX_WHOLE = 8 * 2**20  # bytes of a file that one request stores although it is read piece by piece
_MAX_DELETED = 1000  # objects that one request removes
_READ_ATTEMPTS = 3  # for one object whose connection breaks
_CONFLICTS = 10  # attempts while other processes store the same object
_MAX_REMEMBERED = 10_000  # names
# Opening a storage should fail within seconds. Later, hours of work may be lost: 8 attempts take about 45 s.
_QUICK = {"connect_timeout": 3, "read_timeout": 10, "retries": {"mode": "standard", "total_max_attempts": 2}}
_PATIENT = {"connect_timeout": 10, "read_timeout": 60, "retries": {"mode": "standard", "total_max_attempts": 8}}

_connecting = threading.Lock()  # boto3 creates one client at a time


def open_bucket(filesystem: Any, url: str, *, must_exist: bool) -> ObjectStoreFiles:
    """Open the bucket and folder of an `fs_s3fs.S3FS`, which is closed, with its credentials and settings.

    Its setting `strict` has no effect, because it concerns checks before a write, which are not made here.

    Raises:
        StorageUnavailable: The server does not answer, or the folder is empty and `must_exist`.
    """
    import boto3
    from botocore.config import Config

    use_private_random(*CLIENTS)  # before a client is created, because it takes functions of `random`

    def connected(limits: dict[str, Any]) -> ObjectStoreFiles:
        with _connecting:
            client = boto3.client(
                "s3",
                region_name=filesystem.region,
                aws_access_key_id=filesystem.aws_access_key_id,
                aws_secret_access_key=filesystem.aws_secret_access_key,
                aws_session_token=filesystem.aws_session_token,
                endpoint_url=filesystem.endpoint_url,
                config=Config(max_pool_connections=32, **limits),
            )
        bucket, prefix, arguments = filesystem._bucket_name, filesystem._prefix, filesystem.upload_args or {}
        return ObjectStoreFiles(client, bucket, prefix, url, arguments)

    with closing(filesystem), closing(connected(_QUICK)) as files:
        if not files.has_objects("") and must_exist:  # the first request; opening sends none
            raise nothing_stored(files.url)
        return connected(_PATIENT)


class Version(Struct, frozen=True):
    """A version of a file.

    Attributes:
        data: The content.
        etag: Identifies the version.
        age: Seconds since it was stored, by the clock of the server; None if that is not known.
    """

    data: bytes
    etag: str
    age: float | None


class ObjectStoreFiles(Files):
    """The objects of a bucket whose keys begin with a prefix. Threads may share it, processes open their own.

    A directory exists as long as it contains an object. `create_directory` stores an object `.machinable-directory` on
    condition that none exists, so that one caller wins; the winner needs two requests, one to check that the name is
    free and one to store. If the server does not support conditional requests, a warning says so once, and two may win.

    Objects `a` and `a/x` can both exist. A check before each write would double the requests, so such a write is only
    refused if this instance has written the other object.
    """

    reach = "anywhere"
    appends = False
    lists_at_once = True

    def __init__(self, client: Any, bucket: str, prefix: str, url: str, arguments: dict[str, Any]) -> None:
        """Use a client of boto3, and `arguments` such as `ACL` in each request that stores an object."""
        self.url = without_credentials(url)
        self._private_url = url
        self._client = client
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        self._arguments = arguments
        self._kinds: dict[str, bool] = {}  # names written: True for a directory
        self._is_conditional: bool | None = None
        self._lock = threading.Lock()
        self._sending = threading.local()  # its `guard` is asked before each repetition of a request
        client.meta.events.register("before-send.s3.PutObject", self._before_send)

    # requests

    @contextmanager
    def _own_errors(self) -> Iterator[None]:
        """Convert errors of the library to StorageUnavailable."""
        try:
            yield
            return
        except Exception as failure:
            if type(failure).__module__ == "builtins" or isinstance(failure, MachinableError):
                raise
            problem = failure
        if _code(problem) == "NoSuchBucket":
            reason = f"there is no bucket {self._bucket!r}"
            raise unavailable(
                self._private_url, problem, reason, "Check its name and the endpoint, or create the bucket."
            )
        raise unavailable(self._private_url, problem)

    def _ask(self, operation: str, *, accept: Collection[int] = (), **arguments: Any) -> Any:
        """Return the response to a request, including a failed one whose status is in `accept`."""
        from botocore.exceptions import ClientError

        with self._own_errors():
            try:
                return getattr(self._client, operation)(Bucket=self._bucket, **arguments)
            except ClientError as failure:
                if _status(failure.response) not in accept or _code(failure) == "NoSuchBucket":
                    raise
                return failure.response

    def _before_send(self, **facts: object) -> None:
        guard, self._sending.guard = getattr(self._sending, "guard", None), None  # asking it may send requests
        if guard is not None:
            guard.check()
            self._sending.guard = guard

    def _put(self, path: str, data: bytes, *, accept: Collection[int] = (), **conditions: Any) -> Any:
        """Store an object, if its guard agrees before each attempt, and return the response."""
        self._sending.guard = self.guard_of(path)
        try:
            return self._ask(
                "put_object", accept=accept, Key=self._key(path), Body=data, **conditions, **self._arguments
            )
        finally:
            self._sending.guard = None

    def _key(self, path: str) -> str:
        return self._prefix + checked(path)

    def _below(self, path: str) -> str:
        """Return the prefix of the keys of all objects in a directory."""
        return f"{self._key(path)}/" if path else self._prefix

    def _pages(self, prefix: str, **arguments: Any) -> Iterator[Any]:
        """Yield the objects whose keys have a prefix, sorted, up to 1000 at a time."""
        paginator = self._client.get_paginator("list_objects_v2")
        with self._own_errors():
            yield from paginator.paginate(Bucket=self._bucket, Prefix=prefix, **arguments)

    def has_objects(self, path: str) -> bool:
        """Return whether a directory contains anything."""
        return any(page.get("Contents") for page in self._pages(self._below(path), MaxKeys=1))

    # reading

    def read(self, path: str) -> bytes:
        return b"".join(self.pieces(path))

    def pieces(self, path: str) -> Iterator[bytes]:
        from botocore.exceptions import BotoCoreError

        position, etag, attempts = 0, "", _READ_ATTEMPTS
        while True:
            rest = {"Range": f"bytes={position}-", **({"IfMatch": etag} if etag else {})} if position else {}
            answer = self._ask("get_object", accept=(404,), Key=self._key(path), **rest) if checked(path) else None
            if answer is None or _status(answer) == 404:
                raise self._no_file(path)
            etag = answer.get("ETag", "")
            with self._own_errors(), closing(answer["Body"]) as body:
                try:
                    known = position if _status(answer) == 200 else 0  # a server may send everything again
                    while piece := body.read(PIECE):
                        new = piece[known:]
                        known = max(0, known - len(piece))
                        position += len(new)
                        yield new
                    return
                except BotoCoreError:  # boto3 retries only until the response begins
                    attempts -= 1
                    if not attempts:
                        raise

    def read_from(self, path: str, position: int) -> bytes:
        request = {"Key": self._key(file_path(path)), "Range": f"bytes={position}-"}
        answer = self._ask("get_object", accept=(404, 416), **request)
        if _status(answer) == 404:
            raise self._no_file(path)
        if _status(answer) == 416:  # there is nothing behind that position
            return b""
        with self._own_errors(), closing(answer["Body"]) as body:
            return bytes(body.read())

    def _no_file(self, path: str) -> OSError:
        return path_error(errno.EISDIR if self.is_directory(path) else errno.ENOENT, path)

    def size(self, path: str) -> int:
        answer = self._head(path) if checked(path) else None
        if answer is None:
            raise self._no_file(path)
        return int(answer["ContentLength"])

    def _head(self, path: str) -> Any:
        """Return the metadata of an object, or None if there is none."""
        answer = self._ask("head_object", accept=(404,), Key=self._key(path))
        return None if _status(answer) == 404 else answer

    def exists(self, path: str) -> bool:
        key = self._key(path)
        if not path:
            return True
        for page in self._pages(key, Delimiter="/"):
            found = [item["Key"] for item in page.get("Contents", ())]
            found += [item["Prefix"] for item in page.get("CommonPrefixes", ())]
            if key in found or f"{key}/" in found:
                return True
            if found and max(found) > f"{key}/":
                return False
        return False

    def is_directory(self, path: str) -> bool:
        return not checked(path) or self.has_objects(path)

    def entries(self, path: str) -> list[Entry]:
        prefix = self._below(path)
        found: dict[str, bool] = {}
        for page in self._pages(prefix, Delimiter="/"):
            found.update((item["Key"][len(prefix) :], False) for item in page.get("Contents", ()))
            found.update((item["Prefix"][len(prefix) : -1], True) for item in page.get("CommonPrefixes", ()))
        return sorted(Entry(name, kind) for name, kind in found.items() if not _is_hidden(name))

    def walk(self, path: str) -> Iterator[FileInfo]:
        prefix = self._below(path)
        for page in self._pages(prefix):
            for item in page.get("Contents", ()):
                name = item["Key"][len(prefix) :]
                if _NO_NAMES.isdisjoint(name.split("/")) and not _is_hidden(name.rpartition("/")[2]):
                    yield FileInfo(join(path, name), item["Size"], item["LastModified"].timestamp())

    # writing

    def write(self, path: str, data: bytes) -> None:
        if len(data) > _MAX_REQUEST:
            self.write_from(path, BytesIO(data))
            return
        self._refuse_other_kind(file_path(path))
        guard = self.guard_of(path)
        if guard is None or not guard.token or not self._has_conditions():
            self._put(path, data)
        else:
            self._put_fenced(path, data, guard)
        self._remember(path)

    def _put_fenced(self, path: str, data: bytes, guard: Guard) -> None:
        """Store an object for an attempt of a trial, unless a later attempt has stored one there."""
        about = {"token": str(guard.token), "owner": os.urandom(8).hex()}
        known = guard.versions.get(path)
        conditions = {"IfNoneMatch": "*"} if known is None else {"IfMatch": known}
        answer = self._put(path, data, accept=(404, 409, 412), Metadata=about, **conditions)
        if _status(answer) != 200:
            there = self._head(path)
            found = {} if there is None else there["Metadata"]
            if found.get("owner") == about["owner"]:  # the answer was lost, and the repeated request refused
                answer = there
            else:
                if there is None or int(found.get("token", "0")) > guard.token:
                    guard.confirm()
                answer = self._put(path, data, Metadata=about)
        guard.versions[path] = answer["ETag"]

    def mark(self, path: str) -> object:
        there = self._head(path)
        return None if there is None else there["ETag"]

    def write_if(self, path: str, data: bytes, mark: object) -> object:
        owner = os.urandom(8).hex()
        conditions: dict[str, Any] = {}
        if self._has_conditions():
            conditions = {"IfNoneMatch": "*"} if mark is None else {"IfMatch": mark}
        answer = self._put(path, data, accept=(404, 409, 412), Metadata={"owner": owner}, **conditions)
        if _status(answer) == 200:
            return answer["ETag"]
        there = self._head(path)
        return there["ETag"] if there is not None and there["Metadata"].get("owner") == owner else None

    def write_from(self, path: str, file: IO[bytes]) -> None:
        beginning = file.read(_MAX_WHOLE + 1)
        if len(beginning) <= _MAX_WHOLE:
            self.write(path, beginning)
            return
        file.seek(-len(beginning), os.SEEK_CUR)
        del beginning
        self._refuse_other_kind(file_path(path))
        self.allow(path)
        with self._own_errors():  # several requests for a large file, which appears with the last one
            self._client.upload_fileobj(file, self._bucket, self._key(path), ExtraArgs=self._arguments or None)
        self._remember(path)

    def copy(self, path: str, to: str) -> None:
        self._refuse_other_kind(file_path(to))
        self.allow(to)
        size = self.size(path)
        self._copy(self._key(file_path(path)), size, self._key(to))
        self._remember(to)

    def _copy(self, key: str, size: int, to: str) -> None:
        place = {"Bucket": self._bucket, "Key": key}
        if size <= _MAX_REQUEST:
            self._ask("copy_object", CopySource=place, Key=to, **self._arguments)
        else:
            with self._own_errors():
                self._client.copy(place, self._bucket, to, ExtraArgs=self._arguments or None)

    def _remember(self, path: str) -> None:
        if len(self._kinds) > _MAX_REMEMBERED:
            self._kinds.clear()
        self._kinds[path] = False
        for above in _above(path):
            self._kinds[above] = True

    def _refuse_other_kind(self, path: str) -> None:
        if self._kinds.get(path) and self.is_directory(path):
            raise path_error(errno.EISDIR, path)
        for above in _above(path):
            if self._kinds.get(above) is False and self._head(above) is not None:
                raise path_error(errno.ENOTDIR, path)

    def create(self, path: str, data: bytes, owner: str) -> bool:
        self.allow(path)
        key = self._key(path)
        request = {"Key": key, "Body": data, "Metadata": {"owner": owner}, **self._arguments}
        is_conditional = self._has_conditions()
        if is_conditional and self._put_new(request) == 200:
            return True
        there = self._head(path)
        is_own = there is not None and there["Metadata"].get("owner") == owner
        if not is_own and (is_conditional or there is not None):
            return False
        self._ask("put_object", **request)
        return True

    def read_version(self, path: str) -> Version | None:
        """Return the current version of a file; None if there is no such file."""
        answer = self._ask("get_object", accept=(404,), Key=self._key(checked(path, root=False)))
        if _status(answer) == 404:
            return None
        with self._own_errors(), closing(answer["Body"]) as body:
            return Version(body.read(), answer["ETag"], _age(answer))

    def replace_if(self, path: str, data: bytes, etag: str) -> bool:
        """Replace a file unless it has changed or is gone, and return whether that was done.

        If the response is lost, the repeated request returns False although the file was replaced.
        """
        request = {"Key": self._key(checked(path, root=False)), "Body": data, **self._arguments}
        if not self._has_conditions():
            self._ask("put_object", **request)
            return True
        return _status(self._ask("put_object", accept=(404, 409, 412), IfMatch=etag, **request)) == 200

    def discard(self, path: str) -> None:
        """Remove a file if it exists."""
        self._delete([self._key(checked(path, root=False))])

    def _put_new(self, request: dict[str, Any], *others: int) -> int:
        """Store an object unless its key exists, and return the status: 200, 412 if it exists, or another."""
        for _ in range(_CONFLICTS):
            status = _status(self._ask("put_object", accept=(409, 412, *others), IfNoneMatch="*", **request))
            if status != 409:
                return status
        return 412

    def _has_conditions(self) -> bool:
        """Return whether the server supports conditional requests. Amazon does; others are tested with two requests."""
        with self._lock:
            if self._is_conditional is None:
                host = urlsplit(self._client.meta.endpoint_url).hostname or ""
                self._is_conditional = host.endswith((".amazonaws.com", ".amazonaws.com.cn")) or self._refuses_again()
                if not self._is_conditional:
                    warnings.warn(
                        f"the server of {self.url} does not support conditional requests: executions with the same id "
                        "that start at the same moment may share a folder, and locks are advisory. Start them one "
                        "after the other, or set a lock server: `execution: {locks: redis://host:6379/0}`.",
                        RuntimeWarning,
                        stacklevel=4,
                    )
            return self._is_conditional

    def _refuses_again(self) -> bool:
        # A server may refuse conditions, or ignore them.
        request = {"Key": self._prefix + _MARKER, "Body": b"", **self._arguments}
        return any(self._put_new(request, 400, 405, 501) == 412 for _ in range(2))

    def appender(self, path: str) -> Appender:
        return PartAppender(self, path, create=self.create, first=self.first_part(path))

    def create_directory(self, path: str) -> bool:
        if not checked(path) or self.exists(path):
            return False
        return self.create(join(path, _MARKER), b"", os.urandom(8).hex())

    # moving and removing

    def _objects(self, path: str) -> dict[str, int]:
        """Return the sizes of a file or of all files in a directory, by key.

        Raises:
            FileNotFoundError: There is no such file or directory.
        """
        key = self._key(checked(path, root=False))
        file = self._head(path)
        if file is not None:
            return {key: int(file["ContentLength"])}
        found = {item["Key"]: item["Size"] for page in self._pages(f"{key}/") for item in page.get("Contents", ())}
        if not found:
            raise path_error(errno.ENOENT, path)
        return found

    def _rename(self, path: str, to: str) -> None:
        sizes = self._objects(path)
        source, target = self._key(path), self._key(to)

        def copy(key: str) -> None:
            self._copy(key, sizes[key], target + key[len(source) :])

        with ThreadPoolExecutor(min(16, len(sizes))) as pool:
            list(pool.map(copy, sizes))
        self._delete(list(sizes))

    def remove(self, path: str) -> None:
        guard = self.guard_of(path)
        if guard is not None:
            guard.check()
            for known in [one for one in guard.versions if one == path or one.startswith(f"{path}/")]:
                del guard.versions[known]
        self._delete(list(self._objects(path)))

    def _delete(self, keys: list[str]) -> None:
        self._kinds.clear()
        for first in range(0, len(keys), _MAX_DELETED):
            objects = [{"Key": key} for key in keys[first : first + _MAX_DELETED]]
            answer = self._ask("delete_objects", Delete={"Objects": objects, "Quiet": True})
            for failed in answer.get("Errors", ()):
                raise StorageUnavailable(
                    f"cannot remove {failed.get('Key')!r} in {self.url}: {failed.get('Message')}",
                    given=self.url,
                    todo="Check the permissions of the credentials, and try again.",
                )

    def close(self) -> None:
        self._client.close()


def _above(path: str) -> Iterator[str]:
    """Yield the directories that contain a path, innermost first."""
    while path := path.rpartition("/")[0]:
        yield path


def _is_hidden(name: str) -> bool:
    return name in _NO_NAMES or name == _MARKER or is_temporary(name)


def _status(answer: Any) -> int:
    return int(answer["ResponseMetadata"]["HTTPStatusCode"])


def _age(answer: Any) -> float | None:
    """Return the minimum seconds since an object was stored; the server counts whole seconds."""
    date = answer["ResponseMetadata"].get("HTTPHeaders", {}).get("date")
    if date is None:
        return None
    from email.utils import parsedate_to_datetime

    seconds: float = (parsedate_to_datetime(date) - answer["LastModified"]).total_seconds()
    return max(0.0, seconds - 1)


def _code(failure: Exception) -> str:
    response = getattr(failure, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""
