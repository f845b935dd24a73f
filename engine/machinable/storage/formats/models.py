"""Models that a library writes and reads itself: its files in an archive, with the name of what reads them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from importlib import import_module
from typing import Any

from machinable.errors import StorageError
from machinable.serialization import dumps, loads
from machinable.storage.formats.base import UnsupportedData, damaged, type_name

__all__ = ["EXTENSION", "dump", "load"]

EXTENSION = ".zip"
_FACTS = "machinable.json"  # in the archive: {"loader": "module:name"}, or null
_MODEL = "model"  # the path that `save` gets
_GROWTH = 100  # times that the files may be larger than their archive


def dump(data: Any, save: Callable[[Any, str], Any] | None, loader: Callable[[str], Any] | None) -> bytes:
    """The files that `save(data, path)` writes at or beside that path.

    Args:
        loader: what reads them, by the same path. None: whoever reads says it.

    Raises:
        Unfit: `save` is missing or writes nothing, or `loader` cannot be imported.
    """
    from io import BytesIO
    from tempfile import TemporaryDirectory
    from zipfile import ZipFile, ZipInfo

    if save is None:
        raise UnsupportedData(f"{type_name(data)} alone: write(name, model, save=Model.save, load=Model.load)")
    name = None if loader is None else _name_of(loader)
    buffer = BytesIO()
    with TemporaryDirectory(prefix="machinable-") as directory:
        save(data, os.path.join(directory, _MODEL))
        files = sorted(_files(directory))
        if not files:
            raise UnsupportedData(f"what {save!r} writes: no file at the path that it gets, and none beside it")
        with ZipFile(buffer, "w") as archive:  # not compressed: weights do not get smaller, and .gz does it
            archive.writestr(ZipInfo(_FACTS), dumps({"loader": name}))
            for path in files:
                # The time of a file would make a difference between two equal models.
                with (
                    open(os.path.join(directory, path), "rb") as file,
                    archive.open(ZipInfo(path.replace(os.sep, "/")), "w", force_zip64=True) as member,
                ):
                    while piece := file.read(2**20):
                        member.write(piece)
    return buffer.getvalue()


def _files(directory: str) -> list[str]:
    found = []
    for folder, folders, names in os.walk(directory):
        for name in folders + names:
            place = os.path.join(folder, name)
            if os.path.islink(place):
                raise UnsupportedData(f"a model with a link among its files: {name!r}")
        found += [os.path.relpath(os.path.join(folder, name), directory) for name in names]
    return found


def _name_of(loader: Callable[[str], Any]) -> str:
    owner = getattr(loader, "__self__", None)
    if isinstance(owner, type):  # a class method may be inherited, and means this class
        module, name = owner.__module__, f"{owner.__qualname__}.{getattr(loader, '__name__', '')}"
    else:
        module, name = getattr(loader, "__module__", None) or "", getattr(loader, "__qualname__", "")
    try:
        is_found = module != "__main__" and _imported(f"{module}:{name}") == loader
    except (ImportError, AttributeError, ValueError):
        is_found = False
    if not is_found:
        raise UnsupportedData(f"load={loader!r}, which has no importable name: leave it out, and give it to read()")
    return f"{module}:{name}"


def _imported(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def load(name: str, data: bytes, *, trust: bool, loader: Callable[[str], Any] | None) -> Any:
    """What `loader` makes of the files.

    Args:
        name: of the artifact, for messages. loader: default: the one that was named when it was written.
        trust: whether that one may be imported and called.

    Raises:
        StorageError: no loader is known, or it may not be called. Damaged: the archive is not one of ours, or its
            files would go elsewhere.
    """
    from tempfile import TemporaryDirectory

    with TemporaryDirectory(prefix="machinable-", ignore_cleanup_errors=True) as directory:
        try:
            named = _unpack(data, directory)
        except Exception as error:  # an archive can be broken in many ways
            raise damaged(name, error) from error
        loader = loader or _named(name, named, trust)
        return loader(os.path.join(directory, _MODEL))


def _unpack(data: bytes, directory: str) -> str | None:
    """Put the files into a directory; gives the name of their loader."""
    from io import BytesIO
    from zipfile import ZipFile

    with ZipFile(BytesIO(data)) as archive:
        infos = archive.infolist()
        if not infos or infos[0].filename != _FACTS:
            raise ValueError(f"it is an archive of another kind, without {_FACTS}")
        _check(infos, len(data))
        for info in infos[1:]:
            place = os.path.join(directory, *info.filename.split("/"))
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with archive.open(info) as member, open(place, "xb") as file:
                while piece := member.read(2**20):
                    file.write(piece)
        named: str | None = loads(archive.read(infos[0]))["loader"]
        return named


def _check(infos: list[Any], size: int) -> None:
    for info in infos:
        path = info.filename
        is_outside = path.startswith("/") or "\\" in path or ":" in path.split("/")[0] or "\0" in path
        if is_outside or not {"", ".", ".."}.isdisjoint(path.split("/")):
            raise ValueError(f"its member {path!r} would not lie within")
        if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
            raise ValueError(f"its member {path!r} is a link or no file")
    total = sum(info.file_size for info in infos)
    if total > _GROWTH * size:
        raise ValueError(f"its {size} bytes would become {total}")


def _named(name: str, loader: str | None, trust: bool) -> Callable[[str], Any]:
    if loader is None:
        raise StorageError(
            f"{name!r} was written without saying what reads it", given=name, todo="Say it: read(name, load=Model.load)"
        )
    if not trust:
        raise StorageError(
            f"{name!r} is a model that {loader} reads, and that would run because the file says so",
            given=name,
            todo="Say what reads it: read(name, load=Model.load). If you trust whoever writes to this storage: "
            "Storage(url, trust=True)",
        )
    try:
        found: Callable[[str], Any] = _imported(loader)
    except (ImportError, AttributeError) as error:
        raise StorageError(
            f"{name!r} is a model that {loader} reads, which cannot be imported: {error}",
            given=name,
            todo="Install what it belongs to, or say what reads it: read(name, load=Model.load)",
        ) from error
    return found
