"""Storages that PyFilesystem opens by their URL, among them object stores."""

from __future__ import annotations

import errno
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import ModuleType
from typing import IO, Any

from machinable.errors import MachinableError, StorageUnavailable, near_names
from machinable.storage.credentials import cut_user, nothing_stored, unavailable, without_credentials
from machinable.storage.files import Appender, Entry, FileInfo, Files, Reach, checked, file_path, path_error, unreadable
from machinable.storage.layout import join
from machinable.storage.numbered_parts import PartAppender
from machinable.storage.private_random import CLIENTS, use_private_random
from machinable.storage.temporary import is_temporary, temporary_beside

__all__ = ["PyFilesystemFiles", "import_fs", "open_filesystem"]

_OBJECT_STORES = frozenset({"s3", "gs"})  # one request replaces an object as a whole, and renaming is copying
_ARCHIVES = frozenset({"zip", "tar"})
_PACKAGES = {"s3": "fs-s3fs", "gs": "machinable-engine[gcs]", "ssh": "fs.sshfs", "sftp": "fs.sshfs"}
_PARAMETERS = {"s3": ("endpoint_url", "acl", "cache_control", "strict"), "gs": ("project", "api_endpoint")}
_import_lock = threading.Lock()


def import_fs() -> ModuleType:
    """Import the module `fs`, with or without setuptools.

    It needs two functions of `pkg_resources`, which newer versions of setuptools lack and older ones deprecate.
    During the import, a private stand-in module provides them.
    """
    if "fs.opener.registry" not in sys.modules:
        with _stand_in_for_setuptools():
            import fs.opener.registry
    import fs

    module: ModuleType = fs
    return module


@contextmanager
def _stand_in_for_setuptools() -> Iterator[None]:
    from importlib import metadata  # 10 ms that only URLs of PyFilesystem need
    from pkgutil import extend_path

    def declare_namespace(name: str) -> None:
        module = sys.modules[name]
        module.__path__ = extend_path(module.__path__, name)

    def iter_entry_points(group: str, name: str | None = None) -> Iterator[metadata.EntryPoint]:
        points = metadata.entry_points(group=group)
        return iter(points if name is None else points.select(name=name))

    stand_in = ModuleType("pkg_resources")
    vars(stand_in).update(
        declare_namespace=declare_namespace,
        iter_entry_points=iter_entry_points,
        get_distribution=metadata.distribution,
        DistributionNotFound=metadata.PackageNotFoundError,
    )
    with _import_lock:
        real = sys.modules.get("pkg_resources")
        sys.modules["pkg_resources"] = stand_in
        try:
            yield
        finally:
            del sys.modules["pkg_resources"]
            if real is not None:
                sys.modules["pkg_resources"] = real


def open_filesystem(url: str, scheme: str, rest: str, *, create: bool) -> Files:
    """Open the storage of a URL with its scheme, in lower case, and what follows `://`.

    Raises:
        StorageUnavailable: Nothing opens the scheme, or the storage does not answer.
    """
    shown = without_credentials(url)
    fs = import_fs()
    from fs.opener.registry import registry

    if scheme not in registry.protocols:
        raise _not_installed(shown, scheme, sorted({*registry.protocols, *_PACKAGES}))
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
    path, _, query = place.partition("?")
    _check_parameters(shown, scheme, query)
    must_exist = not create and scheme in _OBJECT_STORES and "/" in path.rstrip("/")
    try:
        with _stand_in_for_setuptools():
            registry.get_opener(scheme)
        if scheme == "gs":
            filesystem = _open_google(path, query, create=create)
        else:
            reading = {"writeable": False} if scheme in _ARCHIVES else {}
            filesystem = fs.open_fs(scheme + url[len(scheme) :], create=create, **reading)
        use_private_random(*CLIENTS, type(filesystem).__module__.partition(".")[0])
        if scheme == "s3":
            from machinable.storage.s3 import open_bucket

            return open_bucket(filesystem, url, must_exist=must_exist)
        files = PyFilesystemFiles(filesystem, url)
        try:
            is_empty = filesystem.isempty("/")  # the first request; opening sends none
            if is_empty and must_exist:
                raise nothing_stored(shown)
        except BaseException:
            files.close()
            raise
        return files
    except MachinableError:
        raise
    except Exception as failure:  # openers have many authors
        problem = failure
    raise unavailable(url, problem)  # outside of `except`, so that an error with a secret is not attached


def _check_parameters(shown: str, scheme: str, query: str) -> None:
    """Reject parameters that the opener ignores: without its endpoint, a URL means another server."""
    from urllib.parse import parse_qs

    known = _PARAMETERS.get(scheme, ())
    for name in parse_qs(query, keep_blank_values=True) if known else ():
        if name not in known:
            near = near_names(name, known)
            raise StorageUnavailable(
                f"{scheme}:// has no parameter {name!r}: {shown!r}",
                given=name,
                known=known,
                todo=f"Did you mean {' or '.join(near)}?" if near else f"Valid: {', '.join(known)}.",
            )


def _not_installed(shown: str, scheme: str, known: list[str]) -> StorageUnavailable:
    todo = "Give a path, file://, mem://, s3://bucket/folder."
    if scheme in _PACKAGES:
        todo = f"Install its package: pip install {_PACKAGES[scheme]!r}"
    elif near := near_names(scheme, known):
        todo = f"Did you mean {' or '.join(one + '://' for one in near)}?"
    return StorageUnavailable(
        f"{shown!r} is not a storage: nothing opens {scheme}://", given=shown, known=known, todo=todo
    )


def _open_google(path: str, query: str, *, create: bool) -> Any:
    """Open a bucket of Google Cloud Storage.

    Credentials come from its library, or from `GCS_CREDENTIAL`: the key of a service account, as JSON or as a path.
    """
    from urllib.parse import parse_qsl, unquote

    from fs_gcsfs import GCSFS
    from google.cloud.storage import Client

    bucket, _, folder = unquote(path).partition("/")
    if not bucket:
        raise ValueError("the bucket is missing: gs://bucket/folder")
    options: dict[str, Any] = dict(parse_qsl(query))
    if "api_endpoint" in options:
        options["client_options"] = {"api_endpoint": options.pop("api_endpoint")}
    credential = os.environ.get("GCS_CREDENTIAL", "").strip()
    client = Client.from_service_account_info(_credential(credential), **options) if credential else Client(**options)
    # Not strict while opening, because other programs write no marker for the root.
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
        self._private_url = url
        self._replaces_whole = url.partition(":")[0].lower() in _OBJECT_STORES
        self._is_closed = False
        # The thread of a trial, that of its heartbeat and those of its logs share this object.
        is_safe = filesystem.getmeta().get("thread_safe", True)
        self._lock: AbstractContextManager[Any] = nullcontext() if is_safe else threading.RLock()

    @contextmanager
    def _own_errors(self, path: str = "") -> Iterator[None]:
        """Convert errors of the library to those of Python, or to StorageUnavailable."""
        from fs import errors

        try:
            with self._lock:
                yield
            return
        except errors.ResourceNotFound:
            number = errno.ENOENT
        except errors.FileExpected:
            number = errno.EISDIR
        except errors.DirectoryExpected:
            number = errno.ENOTDIR
        except (errors.FileExists, errors.DirectoryExists, errors.DestinationExists):
            number = errno.EEXIST
        except (errors.PermissionDenied, errors.ResourceReadOnly):
            number = errno.EACCES
        except Exception as failure:
            if type(failure).__module__ == "builtins" or isinstance(failure, MachinableError):
                raise
            number, problem = 0, failure
        raise path_error(number, path) if number else unavailable(self._private_url, problem)

    def read(self, path: str) -> bytes:
        try:
            with self._own_errors(file_path(path)):
                data: bytes = self._fs.readbytes(path)
                return data
        except PermissionError as error:
            raise unreadable(join(self.url, path), error) from error

    def write(self, path: str, data: bytes) -> None:
        self._write(path, lambda place: self._fs.writebytes(place, data))

    def write_from(self, path: str, file: IO[bytes]) -> None:
        self._write(path, lambda place: self._fs.upload(place, file))

    def _write(self, path: str, put: Callable[[str], None]) -> None:
        self.allow(file_path(path))
        with self._own_errors(path):
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
        return PartAppender(self, path, first=self.first_part(path))

    def create_directory(self, path: str) -> bool:
        from fs.errors import DirectoryExists

        with self._own_errors(path):
            if not checked(path) or self._fs.exists(path):
                return False
            try:
                self._put(path, self._fs.makedir)
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
        return sorted(Entry(i.name, bool(i.is_dir)) for i in self._infos(path) if not is_temporary(i.name))

    def _infos(self, path: str, *namespaces: str) -> list[Any]:
        try:
            with self._own_errors(path):
                return list(self._fs.scandir(checked(path) or "/", namespaces=namespaces))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except PermissionError as error:
            raise unreadable(join(self.url, path), error) from error

    def _scan(self, path: str) -> Iterator[FileInfo]:
        for info in self._infos(path, "details"):
            details = info.raw.get("details", {})
            size = 0 if info.is_dir else details.get("size") or 0
            yield FileInfo(join(path, info.name), size, details.get("modified"), bool(info.is_dir))

    def temporaries(self, path: str, *, below: bool = False) -> list[FileInfo]:
        return [] if self._replaces_whole else super().temporaries(path, below=below)

    def size(self, path: str) -> int:
        with self._own_errors(path):
            info = self._fs.getinfo(checked(path) or "/", namespaces=["details"])
            if info.is_dir:
                raise path_error(errno.EISDIR, path)
            return int(info.size)

    def _rename(self, path: str, to: str) -> None:
        with self._own_errors(path):
            is_directory = self._fs.getinfo(path).is_dir
            self._make_parents(to)
            if is_directory:
                self._fs.movedir(path, to, create=True)
            else:
                self._fs.move(path, to)

    def remove(self, path: str) -> None:
        self.allow(checked(path, root=False))
        with self._own_errors(path):
            if self._fs.getinfo(path).is_dir:
                self._fs.removetree(path)
            else:
                self._fs.remove(path)

    def local_path(self, path: str) -> str | None:
        place = checked(path) or "/"
        return str(self._fs.getsyspath(place)) if self._fs.hassyspath(place) else None

    def close(self) -> None:
        if not self._is_closed:  # some filesystems fail the second time
            self._is_closed = True
            with self._own_errors():
                self._fs.close()
