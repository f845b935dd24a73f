"""Data ↔ bytes, by the extension of a name: what was written comes back as the same kind.

`.gz` composes with every format: `scores.csv.gz`. Other packages bring further formats by the entry point
`machinable.formats`: its name is the extension, and its object, a module for example, has `takes`, `dump` and `load`
as `Format` has them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from typing import Any

from machinable.errors import BadName, ImportFailed, InvalidType, NotAvailable, StorageError, WrongKind, near_names
from machinable.storage.formats import models
from machinable.storage.formats.base import Format, UnsupportedData, damaged, type_name

__all__ = ["Format", "check_directory", "check_name", "check_place", "dump", "known_extensions", "load"]

# Imported when they are needed.
_FORMATS = {
    ".json": "text:JSON",
    ".yaml": "text:YAML",
    ".jsonl": "text:JSONL",
    ".txt": "text:TEXT",
    ".log": "text:TEXT",
    ".bin": "text:BYTES",
    ".csv": "tables:CSV",
    ".tsv": "tables:TSV",
    ".parquet": "frames:PARQUET",
    ".feather": "frames:FEATHER",
    ".npy": "arrays:ARRAY",
    ".npz": "arrays:ARRAYS",
    ".png": "figures:PNG",
    ".pdf": "figures:PDF",
    ".svg": "figures:SVG",
    ".jpg": "figures:PICTURE",
    ".jpeg": "figures:PICTURE",
    ".xml": "trees:XML",
    ".p": "pickles:PICKLE",
    ".pkl": "pickles:PICKLE",
}
_GROUP = "machinable.formats"
_TODO = "Use a relative name with / between folders, such as 'plots/loss.json'."


def check_name(name: str) -> str:
    """The extension that decides how an artifact of that name is stored: `.csv`, `.csv.gz`.

    Raises:
        BadName: the name is empty, leaves the folder, is that of a directory, or has no known extension.
    """
    if not isinstance(name, str):
        raise InvalidType(f"the name of an artifact is text, not {type_name(name)}", given=name)
    if name.endswith("/"):
        check_directory(name)
        raise BadName(
            f"{name!r} is the name of a directory, not of a file",
            given=name,
            todo=f"Write one with `with store.directory({name!r}) as path:`, read it with path({name!r}).",
        )
    check_place(name)
    stem, extension = _split(name.rpartition("/")[2])
    if extension == ".gz":
        extension = _split(stem)[1] + extension
    bare = extension.removesuffix(".gz")
    if bare not in _FORMATS and bare != models.EXTENSION and bare not in _brought():
        known = known_extensions()
        near = near_names(bare, known)
        raise BadName(
            f"no format is known for {name!r}" + (f": {extension!r}" if extension else ", which has no extension"),
            given=name,
            known=known,
            details=[f"Known: {' '.join(known)}, each also with .gz"],
            todo=f"Did you mean {' or '.join(near)}?" if near else None,
        )
    return extension


def check_directory(name: str) -> str:
    """The name of a directory of artifacts without the `/` at its end.

    Raises:
        BadName: it has none, or leaves the folder.
    """
    if not isinstance(name, str):
        raise InvalidType(f"the name of a directory is text, not {type_name(name)}", given=name)
    if not name.endswith("/"):
        raise BadName(f"{name!r} is no name of a directory", given=name, todo=f"It ends with a slash: {name + '/'!r}")
    check_place(name[:-1])
    return name[:-1]


def check_place(name: str) -> None:
    """See that a name, with any extension or none, stays in the folder of artifacts.

    Raises:
        BadName: it does not, or it is empty.
    """
    if not name:
        raise BadName("an artifact needs a name", given=name, todo=_TODO)
    if (
        "\\" in name
        or "\0" in name
        or re.match(r"/|[A-Za-z]:", name)
        or not {"", ".", ".."}.isdisjoint(name.split("/"))
    ):
        raise BadName(f"{name!r} cannot be the name of an artifact", given=name, todo=_TODO)


def known_extensions() -> list[str]:
    """All extensions that a name can have; each of them can be followed by `.gz`."""
    return sorted({*_FORMATS, models.EXTENSION, *_brought()})


def dump(
    name: str, data: Any, *, save: Callable[[Any, str], Any] | None = None, load: Callable[[str], Any] | None = None
) -> bytes:
    """The content of the file of that name.

    Args:
        save, load: for a model that a library writes and reads itself, in a name that ends with `.zip`.

    Raises:
        BadName: see `check_name`.
        WrongKind: the format does not take such data; says what it takes and what it got.
    """
    extension = check_name(name)
    bare = extension.removesuffix(".gz")
    takes = "a model and what saves it"
    try:
        if bare == models.EXTENSION:
            content = models.dump(data, save, load)
        else:
            _refuse_loader(name, save or load)
            format = _format(bare)
            takes = format.takes
            try:
                content = format.dump(data)
            except RecursionError as error:
                raise UnsupportedData("what is nested too deeply, or holds itself") from error
    except UnsupportedData as unfit:
        raise WrongKind(f"{name!r} takes {takes}, not {unfit}", given=str(unfit)) from unfit.__cause__
    if extension.endswith(".gz"):
        import gzip

        content = gzip.compress(content, mtime=0)  # the same data give the same bytes
    return content


def load(name: str, data: bytes, *, trust: bool, load: Callable[[str], Any] | None = None) -> Any:
    """What `dump` got.

    Args:
        name: the name of the file.
        data: its content.
        trust: whether the file may be one that runs code when it is read, which a pickle does.
        load: what reads a model; by default what was named when it was written, if that is trusted.

    Raises:
        BadName: see `check_name`.
        StorageError: such a file runs code, and `trust` is False.
        Damaged: the content is not of this format.
    """
    extension = check_name(name)
    bare = extension.removesuffix(".gz")
    if bare != models.EXTENSION:
        _refuse_loader(name, load)
        format = _format(bare)
        if format.runs_code and not trust:
            raise StorageError(
                f"reading {name!r} runs what its author put there",
                given=name,
                todo="If you trust whoever writes to this storage: Storage(url, trust=True)",
            )
    try:
        if extension.endswith(".gz"):
            import gzip

            data = gzip.decompress(data or b"?")  # nothing at all is no archive, though gzip takes it for one
        if bare != models.EXTENSION:
            return format.load(data)
    except (NotAvailable, MemoryError):
        raise
    except Exception as error:  # each library has its own
        raise damaged(name, error) from error
    return models.load(name, data, trust=trust, loader=load)


def _refuse_loader(name: str, given: object) -> None:
    if given is not None:
        raise InvalidType(
            f"save= and load= are for models, in names that end with {models.EXTENSION}, not for {name!r}", given=given
        )


def _split(name: str) -> tuple[str, str]:
    stem, dot, extension = name.rpartition(".")
    return (stem, dot + extension.lower()) if stem else (name, "")


def _format(extension: str) -> Format:
    if extension not in _FORMATS:
        return _bring(extension)
    module, _, attribute = _FORMATS[extension].partition(":")
    format: Format = getattr(import_module(f"machinable.storage.formats.{module}"), attribute)
    return format


# --- formats of others


def _brought() -> dict[str, Any]:
    """The entry points of other packages, by extension. What is built in stays what it is."""
    from importlib.metadata import entry_points

    found = {"." + point.name.removeprefix(".").lower(): point for point in entry_points(group=_GROUP)}
    taken = {*_FORMATS, models.EXTENSION, ".gz", "."}
    return {extension: point for extension, point in found.items() if extension not in taken}


def _bring(extension: str) -> Format:
    point = _brought()[extension]
    package = point.dist.name if point.dist is not None else point.value
    try:
        given = point.load()
    except Exception as error:  # whatever a module raises
        raise ImportFailed(
            f"the format {extension} of {package} cannot be imported: {error}",
            given=point.value,
            todo=f"Mend or remove what is installed as {package}.",
        ) from error
    missing = [name for name in ("takes", "dump", "load") if not hasattr(given, name)]
    if missing:
        raise InvalidType(
            f"the format {extension} of {package} has no {' and no '.join(missing)}",
            given=point.value,
            todo="A format has `takes`, a text, and the functions `dump`, data to bytes, and `load`, bytes to data.",
        )

    def dump(data: Any) -> bytes:
        try:
            content = given.dump(data)
        except (TypeError, ValueError) as error:
            raise UnsupportedData(f"{type_name(data)}: {error}") from error
        if not isinstance(content, bytes):
            raise InvalidType(f"dump of the format {extension} of {package} gave {type_name(content)}, not bytes")
        return content

    return Format(str(given.takes), dump, given.load, bool(getattr(given, "runs_code", False)))
