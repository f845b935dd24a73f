"""Opens a storage: a directory, memory, or anything else that PyFilesystem reaches by its URL."""

from __future__ import annotations

import os
import re

from machinable.errors import StorageUnavailable
from machinable.storage.credentials import without_credentials
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.pyfilesystem import open_filesystem

__all__ = ["open_files", "storage_url", "without_credentials"]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_DIRECTORIES = frozenset({"file", "osfs"})
_EXAMPLES = ("a path", "file://", "mem://", "s3://bucket/folder")


def open_files(url: str, *, create: bool) -> Files:
    """Open a storage.

    Args:
        url: A path (`~` expands; relative to the working directory), or a URL: `osfs://` and `file://` are paths,
            `mem://` is new memory each time, others are opened by PyFilesystem.
        create: Whether the storage is created if it does not exist, and must be writable.

    Raises:
        StorageUnavailable: There is no storage, it cannot be written, or the URL has no meaning.
    """
    scheme, rest = _split(url)
    if scheme is None or scheme in _DIRECTORIES:
        return _open_directory(storage_url(url), create=create)
    if scheme == "mem":
        return MemoryFiles()
    return open_filesystem(url, scheme, rest, create=create)


def storage_url(text: str, base: str | None = None) -> str:
    """Return a storage independent of the working directory: paths become absolute, URLs stay.

    Args:
        text: A path or a URL, as `open_files` takes it.
        base: The directory that relative paths start from; the working directory if None.

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
    return os.path.abspath(os.path.join(base or "", path))


def _split(url: str) -> tuple[str | None, str]:
    if found := _URL.match(url):
        return found[1].lower(), found[2]
    scheme, colon, _ = url.partition(":")
    if "://" in url[:3] or (colon and scheme.lower() in {"file", "osfs", "mem", "s3", "gs", "temp", "ftp"}):
        raise StorageUnavailable(
            f"{without_credentials(_repaired(url))!r} is not a URL",
            known=_EXAMPLES,
            todo=f"Write {scheme or 's3'}://…, or ./{scheme}:… for a directory of that name.",
        )
    return None, url


def _repaired(url: str) -> str:
    return re.sub(r"\A([^:]*):/{0,2}", r"\1://", url)


def _open_directory(path: str, *, create: bool) -> DirectoryFiles:
    if create:
        try:
            os.makedirs(path, exist_ok=True)
        except (FileExistsError, NotADirectoryError):
            raise StorageUnavailable(
                f"{path!r} cannot be a storage: it is a file", given=path, todo="Give a directory."
            ) from None
        except OSError as failure:
            raise StorageUnavailable(
                f"cannot create the storage {path!r}: {failure.strerror}",
                given=path,
                todo="Give a directory with write permission.",
            ) from failure
        if not os.access(path, os.W_OK | os.X_OK):
            raise StorageUnavailable(
                f"cannot write to the storage {path!r}", given=path, todo="Give a directory with write permission."
            )
    elif not os.path.isdir(path):
        is_file = os.path.lexists(path)
        raise StorageUnavailable(
            f"{path!r} is not a storage: it is not a directory" if is_file else f"there is no storage at {path!r}",
            given=path,
            todo="Give the storage directory of an execution.",
        )
    elif not os.access(path, os.R_OK | os.X_OK):
        raise StorageUnavailable(f"cannot read the storage {path!r}", given=path, todo="Check its permissions.")
    return DirectoryFiles(path)
