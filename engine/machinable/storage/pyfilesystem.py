"""Storages that PyFilesystem opens by their URL, among them object stores."""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import ModuleType
from typing import IO, Any

from machinable.errors import MachinableError, StorageUnavailable, near_names
from machinable.storage.credentials import cut_user, harmless, secrets_of, unavailable, without_credentials
from machinable.storage.files import Appender, Entry, FileInfo, Files, Reach, checked, path_error
from machinable.storage.numbered_parts import PartAppender
from machinable.storage.temporary import Temporary, is_temporary, temporary_beside

__all__ = ["PyFilesystemFiles", "import_fs", "open_filesystem"]

_OBJECT_STORES = frozenset({"s3", "gs"})  # one request replaces an object as a whole, and renaming is copying
_ARCHIVES = frozenset({"zip", "tar"})
_PACKAGES = {"s3": "fs-s3fs", "gs": "machinable-engine[gcs]", "ssh": "fs.sshfs", "sftp": "fs.sshfs"}
_PARAMETERS = {"s3": ("endpoint_url", "acl", "cache_control", "strict"), "gs": ("project", "api_endpoint")}
_import_lock = threading.Lock()


def import_fs() -> ModuleType:
    """Import the module `fs`, with or without setuptools.

    It needs two functions of `pkg_resources`, which newer versions of setuptools lack and older ones deprecate.
    During the import a stand-in module provides them, which nothing else sees.
    """
    with _import_lock:
        if "fs.opener.registry" not in sys.modules:
            with _with_stand_in():
                import fs.opener.registry
        import fs

        module: ModuleType = fs
        return module


def _import_opener(scheme: str) -> None:
    """Import the package that opens URLs of a scheme, which may need `pkg_resources` as well."""
    from fs.opener.registry import registry

    with _import_lock, _with_stand_in():
        registry.get_opener(scheme)


@contextmanager
def _with_stand_in() -> Iterator[None]:
    real = sys.modules.get("pkg_resources")
    sys.modules["pkg_resources"] = _stand_in()
    try:
        yield
    finally:
        del sys.modules["pkg_resources"]
        if real is not None:
            sys.modules["pkg_resources"] = real


def _stand_in() -> ModuleType:
    from importlib.metadata import EntryPoint, entry_points  # 10 ms that only URLs of PyFilesystem need
    from pkgutil import extend_path

    def declare_namespace(name: str) -> None:
        module = sys.modules[name]
        module.__path__ = extend_path(module.__path__, name)

    def iter_entry_points(group: str, name: str | None = None) -> Iterator[EntryPoint]:
        return iter(entry_points(group=group) if name is None else entry_points(group=group, name=name))

    class DistributionNotFound(Exception):
        pass

    def get_distribution(name: str) -> None:
        raise DistributionNotFound(name)  # a package without a version is fine

    module = ModuleType("pkg_resources")
    vars(module).update(
        declare_namespace=declare_namespace,
        iter_entry_points=iter_entry_points,
        get_distribution=get_distribution,
        DistributionNotFound=DistributionNotFound,
    )
    return module


def open_filesystem(url: str, scheme: str, rest: str, *, create: bool) -> Files:
    """Open the storage of a URL.

    Args:
        url: The URL.
        scheme: Its scheme in lower case.
        rest: What follows `://`.
        create: Whether the storage will be written.

    Raises:
        StorageUnavailable: Nothing opens the scheme, or the storage does not answer.
    """
    shown = without_credentials(url)
    secrets = secrets_of(url)
    fs = import_fs()
    from fs.opener.registry import registry

    if scheme not in registry.protocols:
        known = sorted({*registry.protocols, *_PACKAGES})
        raise StorageUnavailable(
            f"{shown!r} is not a storage: nothing opens {scheme}://",
            given=shown,
            known=known,
            todo=_how_to_open(scheme, known),
        )
    if scheme in _ARCHIVES and create:
        raise StorageUnavailable(
            f"cannot write to {shown!r}: it is an archive",
            given=shown,
            todo="Write to a directory and archive it afterwards; archives can be read.",
        )
    place = cut_user(rest)[1]
    if "!" in place:
        raise StorageUnavailable(
            f"{shown!r} contains a !, after which everything is ignored", given=shown, todo="Write it as %21."
        )
    _refuse_parameters(shown, scheme, place.partition("?")[2])
    has_folder = "/" in place.partition("?")[0].rstrip("/")
    must_exist = not create and scheme in _OBJECT_STORES and has_folder
    problem: Exception | None = None
    try:
        _import_opener(scheme)
        if scheme == "gs":
            filesystem = _open_google(place, create=create)
        else:
            reading = {"writeable": False} if scheme in _ARCHIVES else {}
            filesystem = fs.open_fs(scheme + url[len(scheme) :], create=create, **reading)
        if scheme == "s3":
            from machinable.storage.s3 import open_bucket

            return open_bucket(filesystem, url, must_exist=must_exist)
        files = PyFilesystemFiles(filesystem, url)
    except MachinableError:
        raise
    except Exception as failure:  # openers are of many authors
        problem = failure
    if problem is not None:  # outside of `except`, so that an error with a secret is not attached
        raise unavailable(shown, problem, secrets) from harmless(problem, secrets)
    try:
        files.probe(must_exist=must_exist)
    except BaseException:
        files.close()
        raise
    return files


def _refuse_parameters(shown: str, scheme: str, query: str) -> None:
    """Refuse parameters that the opener ignores: without its endpoint, a URL means another server."""
    from urllib.parse import parse_qsl

    known = _PARAMETERS.get(scheme)
    for name, _ in parse_qsl(query, keep_blank_values=True) if known is not None else ():
        if known is not None and name not in known:
            near = near_names(name, known)
            raise StorageUnavailable(
                f"{scheme}:// has no parameter {name!r}: {shown!r}",
                given=name,
                known=known,
                todo=f"Did you mean {' or '.join(near)}?" if near else f"Valid are {', '.join(known)}.",
            )


def _open_google(place: str, *, create: bool) -> Any:
    """Open a bucket of Google Cloud Storage.

    Credentials come from its library, or from `GCS_CREDENTIAL`: the key of a service account, as JSON or as a path.
    """
    from urllib.parse import parse_qs, unquote

    from fs_gcsfs import GCSFS
    from google.cloud.storage import Client

    resource, _, query = place.partition("?")
    bucket, _, folder = unquote(resource).partition("/")
    if not bucket:
        raise ValueError("the bucket is missing: gs://bucket/folder")
    parameters = {name: values[-1] for name, values in parse_qs(query).items()}
    options: dict[str, Any] = {}
    if "project" in parameters:
        options["project"] = parameters["project"]
    if "api_endpoint" in parameters:
        options["client_options"] = {"api_endpoint": parameters["api_endpoint"]}
    credential = os.environ.get("GCS_CREDENTIAL", "").strip()
    client = Client.from_service_account_info(_credential(credential), **options) if credential else Client(**options)
    # Not strict while opening, as what other programs have written has no marker for the root.
    filesystem = GCSFS(bucket, root_path=folder.strip("/"), client=client, create=create, strict=False)
    filesystem.strict = True
    return filesystem


def _credential(text: str) -> Any:
    """Return the key of a service account.

    Raises:
        ValueError: The text is neither a key nor the path of one. It is not shown.
    """
    import json

    try:
        if not text.startswith("{"):
            with open(os.path.expanduser(text), encoding="utf-8") as file:
                text = file.read()
        found = json.loads(text)
        if not isinstance(found, dict):
            raise ValueError
        return found
    except (OSError, ValueError):
        raise ValueError("GCS_CREDENTIAL is neither the key of a service account nor the path of one") from None


def _how_to_open(scheme: str, known: Iterable[str]) -> str:
    if scheme in _PACKAGES:
        return f"Install its package: pip install {_PACKAGES[scheme]!r}"
    near = near_names(scheme, known)
    return (
        f"Did you mean {' or '.join(n + '://' for n in near)}?"
        if near
        else "Give a path, file://, mem://, s3://bucket/folder."
    )


class PyFilesystemFiles(Files):
    """The files of a filesystem of PyFilesystem. Each process must open its own.

    `create_directory` is exclusive where the filesystem supports that. Object stores do not (except for S3, see
    `ObjectStoreFiles`), so there two callers may win. `move` copies a directory file by file.
    """

    appends = False

    def __init__(self, filesystem: Any, url: str) -> None:
        """Take over an open filesystem. Credentials in `url` are never shown."""
        self.url = without_credentials(url)
        self.reach: Reach = "anywhere" if filesystem.getmeta().get("network") else "process"
        self._fs = filesystem
        self._secrets = secrets_of(url)
        self._replaces_whole = url.partition(":")[0].lower() in _OBJECT_STORES
        self._is_closed = False
        # The thread of a trial, that of its heartbeat and those of its logs share this object.
        is_safe = filesystem.getmeta().get("thread_safe", True)
        self._lock: AbstractContextManager[Any] = nullcontext() if is_safe else threading.RLock()

    def __repr__(self) -> str:
        return f"PyFilesystemFiles({self.url!r})"

    @contextmanager
    def _own_errors(self, path: str = "") -> Iterator[None]:
        """Turn an error of the library into the one of Python, or into StorageUnavailable."""
        from fs import errors

        problem: Exception
        try:
            with self._lock:
                yield
            return
        except errors.ResourceNotFound:
            problem = path_error(errno.ENOENT, path)
        except errors.FileExpected:
            problem = path_error(errno.EISDIR, path)
        except errors.DirectoryExpected:
            problem = path_error(errno.ENOTDIR, path)
        except (errors.FileExists, errors.DirectoryExists, errors.DestinationExists):
            problem = path_error(errno.EEXIST, path)
        except (errors.PermissionDenied, errors.ResourceReadOnly):
            problem = path_error(errno.EACCES, path)
        except Exception as failure:
            if type(failure).__module__ == "builtins" or isinstance(failure, MachinableError):
                raise
            problem = failure
        if isinstance(problem, OSError) and type(problem).__module__ == "builtins":
            raise problem
        raise unavailable(self.url, problem, self._secrets) from harmless(problem, self._secrets)

    def probe(self, *, must_exist: bool) -> None:
        """Send a first request, as opening sends none.

        Raises:
            StorageUnavailable: The storage does not answer, or it is empty and `must_exist`.
        """
        try:
            with self._own_errors():
                is_empty = self._fs.isempty("/")
        except StorageUnavailable:
            raise
        except OSError as failure:
            raise unavailable(self.url, failure, self._secrets) from failure
        if is_empty and must_exist:
            raise StorageUnavailable(
                f"there is no storage at {self.url!r}",
                given=self.url,
                todo="Give the storage URL of an execution.",
            )

    def read(self, path: str) -> bytes:
        if not checked(path):
            raise path_error(errno.EISDIR, path)
        with self._own_errors(path):
            data: bytes = self._fs.readbytes(path)
            return data

    def write(self, path: str, data: bytes) -> None:
        if not checked(path):
            raise path_error(errno.EISDIR, path)
        with self._own_errors(path):
            self._write(path, lambda place: self._fs.writebytes(place, data))

    def _write(self, path: str, put: Callable[[str], None]) -> None:
        if self._replaces_whole:
            self._put(path, put)
            return
        if self._fs.isdir(path):
            raise path_error(errno.EISDIR, path)
        temporary = temporary_beside(path)
        try:
            self._put(temporary, put)
            self._fs.move(temporary, path, overwrite=True)
        except BaseException:
            with suppress(Exception):  # the first error matters, and readers ignore this file
                self._fs.remove(temporary)
            raise

    def write_from(self, path: str, file: IO[bytes]) -> None:
        if not checked(path):
            raise path_error(errno.EISDIR, path)
        with self._own_errors(path):
            self._write(path, lambda place: self._fs.upload(place, file))

    def _put(self, path: str, put: Callable[[str], None]) -> None:
        from fs.errors import ResourceNotFound

        try:
            put(path)
        except ResourceNotFound:
            self._make_parents(path)
            put(path)

    def _make_parents(self, path: str) -> None:
        self._fs.makedirs(path.rpartition("/")[0], recreate=True)

    def appender(self, path: str) -> Appender:
        return PartAppender(self, path)

    def create_directory(self, path: str) -> bool:
        from fs.errors import DirectoryExists, ResourceNotFound

        with self._own_errors(path):
            if not checked(path) or self._fs.exists(path):
                return False
            try:
                try:
                    self._fs.makedir(path)
                except ResourceNotFound:
                    self._make_parents(path)
                    self._fs.makedir(path)
            except DirectoryExists:
                return False
            return True

    def exists(self, path: str) -> bool:
        with self._own_errors(path):
            return bool(self._fs.exists(checked(path) or "/"))

    def is_directory(self, path: str) -> bool:
        with self._own_errors(path):
            return bool(self._fs.isdir(checked(path) or "/"))

    def entries(self, path: str) -> list[Entry]:
        try:
            with self._own_errors(path):
                found = self._fs.scandir(checked(path) or "/")
                return sorted(Entry(i.name, bool(i.is_dir)) for i in found if not is_temporary(i.name))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def walk(self, path: str) -> Iterator[FileInfo]:
        try:
            with self._own_errors(path):
                found = list(self._fs.scandir(checked(path) or "/", namespaces=["details"]))
        except (FileNotFoundError, NotADirectoryError):
            return
        for info in found:
            name = f"{path}/{info.name}" if path else info.name
            if is_temporary(info.name):
                continue
            if info.is_dir:
                yield from self.walk(name)
            else:
                yield FileInfo(name, info.size or 0, info.raw.get("details", {}).get("modified"))

    def temporaries(self, path: str, *, below: bool = False) -> list[Temporary]:
        if self._replaces_whole:
            checked(path)
            return []
        try:
            with self._own_errors(path):
                there = list(self._fs.scandir(checked(path) or "/", namespaces=["details"]))
        except (FileNotFoundError, NotADirectoryError):
            return []
        found = []
        for info in there:
            name = f"{path}/{info.name}" if path else info.name
            if is_temporary(info.name):
                changed = info.raw.get("details", {}).get("modified")
                age = time.time() - changed if changed else 0.0
                found.append(Temporary(name, 0 if info.is_dir else info.size or 0, age))
            elif info.is_dir and below:
                found += self.temporaries(name, below=True)
        return sorted(found)

    def size(self, path: str) -> int:
        with self._own_errors(path):
            info = self._fs.getinfo(checked(path) or "/", namespaces=["details"])
            if info.is_dir:
                raise path_error(errno.EISDIR, path)
            return int(info.size)

    def move(self, path: str, to: str) -> None:
        checked(path, root=False)
        checked(to, root=False)
        with self._own_errors(path):
            is_directory = self._fs.getinfo(path).is_dir
            if self._fs.exists(to):
                raise path_error(errno.EEXIST, to)
            if to.startswith(path + "/"):
                raise path_error(errno.EINVAL, to)
            if "/" in to:
                self._make_parents(to)
            if not is_directory:
                self._fs.move(path, to)
                return
            self._fs.makedir(to)
            for entry in self._fs.scandir(path):
                self.move(f"{path}/{entry.name}", f"{to}/{entry.name}")
            self._fs.removedir(path)

    def remove(self, path: str) -> None:
        checked(path, root=False)
        with self._own_errors(path):
            if self._fs.getinfo(path).is_dir:
                self._fs.removetree(path)
            else:
                self._fs.remove(path)

    def local_path(self, path: str) -> str | None:
        checked(path)
        return str(self._fs.getsyspath(path or "/")) if self._fs.hassyspath(path or "/") else None

    def close(self) -> None:
        if not self._is_closed:  # some filesystems fail the second time
            self._is_closed = True
            with self._own_errors():
                self._fs.close()
