"""Read pointers from the identity of a computation to the trial with its result."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import NamedTuple

from machinable.errors import Damaged
from machinable.serialization import Plain, decode
from machinable.storage import layout
from machinable.storage.files import Files

__all__ = ["Available", "Input", "Pointer", "changed_input", "find_pointer", "parse_pointer"]


class Available(NamedTuple):
    """The result of a requirement: where it is (`OY1p1o/9c2EapVGXnPH`), and its artifacts' digests by name."""

    place: str
    artifacts: Mapping[str, str] = {}  # it is never changed


class Input(NamedTuple):
    """An input: the identity of a requirement, and the digests of what was read, by name."""

    identity: str
    artifacts: Mapping[str, str]


class Pointer(NamedTuple):
    """The trial with a result.

    Attributes:
        trial: The trial, as `OY1p1o/9c2EapVGXnPH`.
        time: When it finished (ISO-8601, UTC).
        seconds: How long it took.
        record: The last row of its default scope.
        artifacts: The digests of its artifacts, by name.
        inputs: What it read, by requirement.
        code: The digests of the code that computed it, by file.
    """

    trial: str
    time: str
    seconds: float | None
    record: Mapping[str, Plain] | None
    artifacts: Mapping[str, str]
    inputs: Mapping[str, Input]
    code: Mapping[str, str]


def find_pointer(files: Files, identity: str) -> Pointer | None:
    """Return the pointer of an identity, None if there is none. It takes one read.

    Raises:
        Damaged: The file is not a pointer.
    """
    path = layout.pointer(identity)
    data = b""
    try:
        data = files.read(path)
        return parse_pointer(data, identity)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, IsADirectoryError) as error:
        reason = "it is a directory" if isinstance(error, IsADirectoryError) else error
        raise Damaged(
            f"{layout.join(files.url, path)} cannot be read: {reason}",
            given=data[:200].decode("utf-8", "replace"),
            todo="Remove it, so that the result is computed again.",
        ) from error


def parse_pointer(data: bytes, identity: str) -> Pointer:
    """Return the pointer in the content of its file; raise `ValueError` with the reason if it is malformed."""
    try:
        row = json.loads(data)
        if b'{"__' in data:
            row = decode(row)
        if row["format"] != layout.FORMAT:
            raise ValueError(f"it has format {row['format']!r}")
        if row["identity"] != identity:
            raise ValueError(f"it has the identity {row['identity']!r}")
        if type(row["trial"]) is not str or "/" not in row["trial"]:
            raise ValueError(f"it points to {row['trial']!r}")
        return Pointer(
            row["trial"],
            row["time"],
            row["seconds"],
            row["record"],
            row["artifacts"],
            {name: Input(read["identity"], read["artifacts"]) for name, read in row["inputs"].items()},
            row["code"],
        )
    except KeyError as error:
        raise ValueError(f"it lacks {error}") from None
    except (TypeError, AttributeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def changed_input(files: Files, inputs: Mapping[str, Input], result: Callable[[str], Available | None]) -> str | None:
    """Return the first input that has changed since it was read, as `data:x.npy`; None if there is none.

    Args:
        files: The storage, from which rows and results are read if one was an input.
        inputs: What was read, by requirement.
        result: Returns the current result of an identity, if there is one.
    """
    for name, read in inputs.items():
        found = result(read.identity)
        if found is None:
            continue
        for item, digest in read.artifacts.items():
            if _present(files, found, item) != digest:
                return f"{name}:{item.removeprefix('../').rstrip('/')}"
    return None


def _present(files: Files, found: Available, item: str) -> str | None:
    if item in found.artifacts or not item.startswith("../"):
        return found.artifacts.get(item)
    from machinable.storage.artifacts import DATA, data_digest  # tables need none of it

    return data_digest(files, layout.folder_of(found.place), item) if item in DATA else None
