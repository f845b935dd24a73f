"""Open a storage: a directory, memory, or anything else that PyFilesystem opens by its URL."""

from __future__ import annotations

import os

from machinable.errors import StorageUnavailable
from machinable.settings import absolute_path
from machinable.storage.credentials import PATHS, URL, without_credentials
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles

__all__ = ["open_files", "storage_url", "without_credentials"]


def open_files(url: str, *, create: bool) -> Files:
    """Open a storage.

    A path begins in the working directory or with `~`. Of URLs, `osfs://` and `file://` are paths, `mem://` is new
    memory each time, and others are opened by PyFilesystem. With `create` the storage is created if it does not exist,
    and must be writable.

    Raises:
        StorageUnavailable: There is no storage, it is unwritable, or the URL has no meaning.
    """
    scheme, rest = _split(url)
    if scheme is None or scheme in PATHS:
        return _open_directory(storage_url(url), create=create)
    if scheme == "mem":
        return MemoryFiles()
    from machinable.storage.pyfilesystem import open_filesystem  # most storages are directories

    return open_filesystem(url, scheme, rest, create=create)


def storage_url(text: str, base: str | None = None) -> str:
    """Return a storage independent of the working directory: paths become absolute, URLs stay.

    Relative paths start from `base`, or else from the working directory.

    Raises:
        StorageUnavailable: The text is empty, a URL without `//`, or names an unknown user.
    """
    scheme, rest = _split(text)
    if scheme == "file":
        from urllib.parse import unquote

        rest = unquote(rest)  # file:// URLs are quoted, osfs:// is taken literally
    elif scheme is not None and scheme != "osfs":
        return text
    path = os.path.expanduser(rest)
    if not path or "\0" in path:
        raise StorageUnavailable(f"{text!r} is not a path", given=text, todo="Give a directory, or . for this one.")
    if path.startswith("~"):
        raise StorageUnavailable(
            f"{text!r} begins with an unknown user", given=text, todo=f"For a directory of that name: ./{path}"
        )
    return absolute_path(os.path.join(base or "", path))


def _split(url: str) -> tuple[str | None, str]:
    if found := URL.match(url):
        return found[1].lower(), found[2]
    scheme, colon, rest = url.partition(":")
    if "://" in url[:3] or (colon and scheme.lower() in {"file", "osfs", "mem", "s3", "gs", "temp", "ftp"}):
        shown = without_credentials(f"{scheme}://{rest.lstrip('/')}")
        raise StorageUnavailable(
            f"{shown!r} is not a URL",
            known=("a path", "file://", "mem://", "s3://bucket/folder"),
            todo=f"Write {scheme or 's3'}://…, or ./{scheme}:… for a directory of that name.",
        )
    return None, url


def _open_directory(path: str, *, create: bool) -> DirectoryFiles:
    if create:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as failure:
            raise StorageUnavailable(
                f"cannot create the storage {path!r}: {failure.strerror}",
                given=path,
                todo="Give a directory with write permission.",
            ) from failure
    elif not os.path.isdir(path):
        is_file = os.path.lexists(path)
        raise StorageUnavailable(
            f"{path!r} is not a storage: it is not a directory" if is_file else f"there is no storage at {path!r}",
            given=path,
            todo="Give the directory in which executions were stored.",
        )
    if not os.access(path, (os.W_OK if create else os.R_OK) | os.X_OK):
        act = "write to" if create else "read"
        raise StorageUnavailable(f"cannot {act} the storage {path!r}", given=path, todo="Check its permissions.")
    return DirectoryFiles(path)
