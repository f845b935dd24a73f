"""Find the format of an artifact by the extension of its name. Data is read as the type that was written.

`.gz` works with every format: `scores.csv.gz`. Other packages add formats by entry points in the group
`machinable.formats`: the name is the extension, and the object, e.g. a module, has `takes`, `dump` and `load`, and may
have `options`, as `Format` has them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from io import BytesIO
from typing import Any

from machinable.errors import (
    BadName,
    ImportFailed,
    InvalidType,
    InvalidValue,
    NotAvailable,
    StorageError,
    UsageError,
    WrongKind,
    WrongType,
    near_names,
    suggestion,
)
from machinable.storage.formats import Format, UnsupportedData, damaged, is_inside, models, type_name
from machinable.storage.temporary import is_temporary
from machinable.units import format_size

__all__ = ["check_directory", "check_name", "check_place", "dump", "known_extensions", "load", "runs_code"]

# Imported when they are used.
_FORMATS = {
    ".json": "text:JSON",
    ".yaml": "text:YAML",
    ".jsonl": "text:JSONL",
    ".txt": "text:TEXT",
    ".log": "text:TEXT",
    ".md": "text:TEXT",
    ".html": "text:TEXT",
    ".ini": "text:TEXT",
    ".toml": "text:TEXT",
    ".bin": "binary:BYTES",
    ".csv": "tables:CSV",
    ".tsv": "tables:TSV",
    ".parquet": "tables:PARQUET",
    ".feather": "tables:FEATHER",
    ".npy": "binary:ARRAY",
    ".npz": "binary:ARRAYS",
    ".png": "binary:PNG",
    ".pdf": "binary:PDF",
    ".svg": "binary:SVG",
    ".jpg": "binary:JPEG",
    ".jpeg": "binary:JPEG",
    ".xml": "text:XML",
    ".p": "binary:PICKLE",
    ".pkl": "binary:PICKLE",
}
_GROUP = "machinable.formats"
MAX_FOLDERS = 64
# Without trust, a file may expand to so many bytes, or to so many times its own
FREE_SIZE = 2**30
MAX_GROWTH = 100


def check_name(name: str) -> str:
    """Return the extension that decides the format of an artifact: `.csv`, `.csv.gz`.

    Raises:
        BadName: The name is empty, leaves the folder, ends in `/`, or has no known extension.
    """
    check_place(name)
    if name.endswith("/"):
        raise BadName(
            f"{name!r} is the name of a directory, not of a file",
            given=name,
            todo=f"Write one with `with store.directory({name!r}) as path:`, read it with path({name!r}).",
        )
    stem, extension = os.path.splitext(name.lower())
    if extension == ".gz":
        extension = os.path.splitext(stem)[1] + extension
    bare = extension.removesuffix(".gz")
    if bare not in _FORMATS and bare != models.EXTENSION and bare not in _added():
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
    """Return the name of a directory of artifacts without the `/` at its end.

    Raises:
        BadName: The name has no slash at its end, or leaves the folder.
    """
    check_place(name)
    if not name.endswith("/"):
        raise BadName(f"{name!r} is not the name of a directory", given=name, todo=f"Add a slash: {name + '/'!r}")
    return name[:-1]


def check_place(name: str) -> None:
    """Check that a name, also one without an extension or of a directory, stays in the folder of artifacts.

    Raises:
        BadName: The name leaves the folder, is empty, is in too many folders, or is that of a temporary file.
    """
    if not isinstance(name, str):
        raise InvalidType(f"the name of an artifact is text, not {type_name(name)}", given=name)
    if not is_inside(name.removesuffix("/")):
        raise BadName(
            f"{name if len(name) <= 60 else name[:57] + '...'!r} cannot be the name of an artifact",
            given=name,
            todo="Use a relative name with / between folders, such as 'plots/loss.json', each of at most 255 bytes.",
        )
    parts = name.split("/")
    if len(parts) > MAX_FOLDERS:
        raise BadName(
            f"the name of an artifact is in {len(parts) - 1} folders, the limit is {MAX_FOLDERS - 1}",
            given=name,
            todo="Use fewer folders.",
        )
    if any(map(is_temporary, parts)):
        raise BadName(
            f"{name!r} cannot be the name of an artifact: it is that of a temporary file, which `clean` removes",
            given=name,
            todo="Use a name that does not begin with .machinable-",
        )


def known_extensions() -> list[str]:
    """Return all known extensions; each can be followed by `.gz`."""
    return sorted({*_FORMATS, models.EXTENSION, *_added()})


def dump(
    name: str,
    data: Any,
    *,
    save: Callable[[Any, str], Any] | None = None,
    load: Callable[[str], Any] | None = None,
    **options: Any,
) -> bytes:
    """Return the content of the file of an artifact.

    Args:
        name: Its name.
        data: What it contains.
        save: Writes a model.
        load: Reads that model.
        options: Those of the format, and for `.gz` the `compresslevel`.

    Raises:
        BadName: See `check_name`.
        InvalidType: The format has no such option.
        WrongKind: The format does not accept the data.
    """
    extension = check_name(name)
    bare = extension.removesuffix(".gz")
    is_model = bare == models.EXTENSION
    format = None if is_model else _format(bare)
    if options:
        known = ("save", "load") if format is None else tuple(format.options)
        _check_options(name, options, known + ("compresslevel",) * extension.endswith(".gz"))
    level = options.pop("compresslevel", 9)
    if type(level) is not int or not 0 <= level <= 9:
        raise InvalidValue(f"compresslevel is {level!r}", given=level, todo="Give 0 (fastest) to 9 (smallest).")
    takes = "a model and save="
    try:
        if format is None:
            content = models.dump(data, save, load)
        else:
            _refuse_loader(name, save or load)
            takes = format.takes
            content = _dumped(format, data, options)
    except UnsupportedData as error:
        raise WrongKind(f"{name!r} takes {takes}, not {error}", given=str(error)) from error.__cause__
    if extension.endswith(".gz"):
        import gzip

        content = gzip.compress(content, level, mtime=0)  # the same data give the same bytes
    return content


def _check_options(name: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    for option in options:
        if option not in known:
            rest = f"Its options are {', '.join(known)}." if known else "It has none."
            raise InvalidType(
                f"{name!r} has no option {option!r}",
                given=option,
                known=known,
                todo=suggestion(option, [*known, "overwrite"], rest),
            )


def _dumped(format: Format, data: Any, options: Mapping[str, Any]) -> bytes:
    try:
        content = format.dump(data, **options)
    except WrongType as error:  # of a part that is not plain data
        what = error.message if error.given is None else type_name(error.given)
        raise UnsupportedData(what + (f" at {error.path}" if error.path else "")) from None
    except (NotAvailable, MemoryError, UnsupportedData, UsageError):
        raise
    except Exception as error:  # each library has its own errors
        if options:
            given = ", ".join(f"{option}={value!r}" for option, value in options.items())
            problem = f"this {type_name(data)} cannot be written with {given}: {error or type(error).__name__}"
            raise InvalidValue(problem, given=dict(options), known=format.options) from error
        raise UnsupportedData(f"this {type_name(data)}: {error or type(error).__name__}") from error
    if not isinstance(content, bytes):  # of a format of another package
        raise InvalidType(f"the format of {format.takes} returned {type_name(content)}, not bytes")
    return content


def load(name: str, data: bytes, *, trust: bool, load: Callable[[str], Any] | None = None) -> Any:
    """Return the data in the content of an artifact; if `trust`, also of formats that run code, such as pickles.

    `load` reads a model; by default the function named when it was written, if `trust`.

    Raises:
        BadName: See `check_name`.
        StorageError: Reading the file runs code, or would take much more memory than it has bytes, and `trust` is
            False.
        Damaged: The content has another format.
    """
    extension = check_name(name)
    bare = extension.removesuffix(".gz")
    if bare != models.EXTENSION:
        _refuse_loader(name, load)
        format = _format(bare)
        if format.runs_code and not trust:
            raise StorageError(
                f"reading {name!r} runs its author's code",
                given=name,
                todo="If you trust all who write to this storage: Storage(url, trust=True)",
            )
    try:
        if extension.endswith(".gz"):
            data = _decompressed(name, data or b"?", trust)  # gzip would accept an empty file
        if bare != models.EXTENSION:
            if format.expanded is not None and not trust and (size := format.expanded(data)) > _limit(data):
                raise _too_large(name, data, format_size(size))
            return format.load(data)
    except (NotAvailable, MemoryError, StorageError):
        raise
    except Exception as error:  # each library has its own errors
        if (missing := _missing_code(error)) is not None:
            raise StorageError(
                f"{name!r} needs {missing}, which cannot be imported here",
                given=name,
                todo="Read it in its project, or with the directory of the module in PYTHONPATH.",
            ) from error
        raise damaged(name, error) from error
    return models.load(name, data, trust=trust, loader=load)


def _too_large(name: str, data: bytes, size: str) -> StorageError:
    """Return the error for a file that would take much more memory than it has bytes."""
    return StorageError(
        f"{name!r} has {format_size(len(data))} and would become {size}",
        given=name,
        todo="If you trust all who write to this storage: Storage(url, trust=True)",
    )


def _limit(data: bytes) -> int:
    """Return to how many bytes a file may expand."""
    return max(FREE_SIZE, MAX_GROWTH * len(data))


def _decompressed(name: str, data: bytes, trust: bool) -> bytes:
    import gzip

    if trust:
        return gzip.decompress(data)
    limit, content = _limit(data), bytearray()
    with gzip.GzipFile(fileobj=BytesIO(data)) as file:
        while piece := file.read(2**20):
            content += piece
            if len(content) > limit:
                raise _too_large(name, data, f"more than {format_size(limit)}")
    return bytes(content)


def runs_code(name: str) -> bool:
    """Return whether reading an artifact of that name runs code of its author, as of pickles and models."""
    bare = check_name(name).removesuffix(".gz")
    return bare == models.EXTENSION or _format(bare).runs_code


def _missing_code(error: Exception) -> str | None:
    """Return the module or class that a file refers to and that does not exist here, None for other errors."""
    if isinstance(error, ModuleNotFoundError):
        return f"the module {error.name!r}"
    found = re.match(r"Can't get attribute '([^']+)' on <module '([^']+)'", str(error))
    return f"{found[1]!r} in the module {found[2]!r}" if isinstance(error, AttributeError) and found else None


def _refuse_loader(name: str, given: object) -> None:
    if given is not None:
        raise InvalidType(
            f"save= and load= are for models, in names that end with {models.EXTENSION}, not for {name!r}", given=given
        )


def _format(extension: str) -> Format:
    if extension not in _FORMATS:
        return _load_added(extension)
    module, _, attribute = _FORMATS[extension].partition(":")
    format: Format = getattr(import_module(f"machinable.storage.formats.{module}"), attribute)
    return format


def _added() -> dict[str, Any]:
    """Return the entry points of other packages by extension. They cannot replace built-in formats."""
    from importlib.metadata import entry_points

    found = {"." + point.name.removeprefix(".").lower(): point for point in entry_points(group=_GROUP)}
    taken = {*_FORMATS, models.EXTENSION, ".gz", "."}
    return {extension: point for extension, point in found.items() if extension not in taken}


def _load_added(extension: str) -> Format:
    point = _added()[extension]
    package = point.dist.name if point.dist is not None else point.value
    try:
        given = point.load()
        flags = getattr(given, "runs_code", False), getattr(given, "options", ()), getattr(given, "expanded", None)
        return Format(given.takes, given.dump, given.load, *flags)
    except Exception as error:  # whatever a module raises
        raise ImportFailed(
            f"cannot import the format {extension} of {package}: {error}",
            given=point.value,
            todo=f"Repair or uninstall {package}. A format has `takes` (text), `dump` (data to bytes) and `load` (bytes"
            " to data).",
        ) from error
