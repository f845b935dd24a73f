"""Models that a library writes and reads: an archive of its files and the name of the function that reads them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

from machinable.errors import StorageError
from machinable.serialization import dumps
from machinable.storage.documents import MODEL, parse_document
from machinable.storage.formats import UnsupportedData, damaged, is_inside, type_name
from machinable.storage.temporary import Scratch

__all__ = ["EXTENSION", "dump", "load"]

EXTENSION = ".zip"
_FACTS = "machinable.json"  # in the archive: {"loader": "module:name"}, or null
_MODEL = "model"  # the path that is given to `save`
_MAX_GROWTH = 100  # of the files against their archive


def dump(data: Any, save: Callable[[Any, str], Any] | None, loader: Callable[[str], Any] | None) -> bytes:
    """Return an archive of the files that `save(data, path)` writes at or beside a path.

    Raises:
        UnsupportedData: `save` is missing or writes nothing, or `loader` cannot be imported.
    """
    from io import BytesIO
    from shutil import copyfileobj
    from zipfile import ZipFile, ZipInfo

    if save is None:
        raise UnsupportedData(f"{type_name(data)} alone: write(name, model, save=Model.save, load=Model.load)")
    name = None if loader is None else _name_of(loader)
    buffer = BytesIO()
    with Scratch() as directory:
        save(data, os.path.join(directory, _MODEL))
        files = _files(directory)
        if not files:
            raise UnsupportedData(f"the output of {save!r}, which wrote no file at or beside its path")
        with ZipFile(buffer, "w") as archive:  # not compressed: weights do not shrink, and .gz can compress
            archive.writestr(ZipInfo(_FACTS), dumps({"loader": name}))
            for path in files:
                # Without the time of the file, equal models have equal bytes.
                with (
                    open(f"{directory}/{path}", "rb") as file,
                    archive.open(ZipInfo(path), "w", force_zip64=True) as to,
                ):
                    copyfileobj(file, to)
    return buffer.getvalue()


def _files(directory: str) -> list[str]:
    from pathlib import Path  # 5 ms, and most trials write no models

    found = []
    for path in Path(directory).rglob("*"):
        if path.is_symlink():
            raise UnsupportedData(f"a model with a link among its files: {path.name!r}")
        if path.is_file():
            found.append(path.relative_to(directory).as_posix())
    return sorted(found)


def _name_of(loader: Callable[[str], Any]) -> str:
    from pkgutil import resolve_name

    owner = getattr(loader, "__self__", None)
    if isinstance(owner, type):  # a class method may be inherited
        name = f"{owner.__module__}:{owner.__qualname__}.{getattr(loader, '__name__', '')}"
    else:
        name = f"{getattr(loader, '__module__', None) or ''}:{getattr(loader, '__qualname__', '')}"
    try:
        if not name.startswith("__main__:") and resolve_name(name) == loader:
            return name
    except (ImportError, AttributeError, ValueError):
        pass
    raise UnsupportedData(f"load={loader!r}, which cannot be imported by name: omit it, and pass it to read()")


def load(name: str, data: bytes, *, trust: bool, loader: Callable[[str], Any] | None) -> Any:
    """Return the model that `loader` reads; by default the function named in the archive, if `trust`.

    Raises:
        StorageError: No function is named, or it is not trusted.
        Damaged: The archive is not that of a model, or its files would leave the directory.
    """
    with Scratch() as directory:
        try:
            named = _unpack(data, directory)
        except Exception as error:  # an archive can be broken in many ways
            raise damaged(name, error) from error
        loader = loader or _named(name, named, trust)
        return loader(os.path.join(directory, _MODEL))


def _unpack(data: bytes, directory: str) -> str | None:
    """Unpack the files into a directory, and return the name of their loader."""
    from io import BytesIO
    from shutil import copyfileobj
    from zipfile import ZipFile

    with ZipFile(BytesIO(data)) as archive:
        infos = archive.infolist()
        if not infos or infos[0].filename != _FACTS:
            raise ValueError(f"it is another archive, without {_FACTS}")
        total = sum(info.file_size for info in infos)
        if total > _MAX_GROWTH * len(data):
            raise ValueError(f"its {len(data)} bytes would become {total}")
        for info in infos[1:]:
            if not is_inside(info.filename):
                raise ValueError(f"its member {info.filename!r} would leave the directory")
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                raise ValueError(f"its member {info.filename!r} is not a file")
            place = os.path.join(directory, info.filename)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with archive.open(info) as member, open(place, "xb") as file:
                copyfileobj(member, file)
        named: str | None = parse_document(archive.read(infos[0]), MODEL, _FACTS).get("loader")
        return named


def _named(name: str, loader: str | None, trust: bool) -> Callable[[str], Any]:
    if loader is None:
        raise StorageError(
            f"{name!r} was written without load=", given=name, todo="Pass it: read(name, load=Model.load)"
        )
    if not trust:
        raise StorageError(
            f"{name!r} is a model, and reading it would run {loader}, which the file names",
            given=name,
            todo="Pass the function: read(name, load=Model.load). If you trust all who write to this storage: "
            "Storage(url, trust=True)",
        )
    from pkgutil import resolve_name

    try:
        found: Callable[[str], Any] = resolve_name(loader)
    except (ImportError, AttributeError, ValueError) as error:
        raise StorageError(
            f"{name!r} is a model for {loader}, which cannot be imported: {error}",
            given=name,
            todo="Install its package, or pass another function: read(name, load=Model.load)",
        ) from error
    return found
