"""Read pointers from the identity of a computation to the trial with its result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from machinable.errors import Damaged
from machinable.serialization import Plain
from machinable.storage import layout
from machinable.storage.documents import POINTER, read_document
from machinable.storage.files import Files

__all__ = ["Available", "Input", "Pointer", "changed_input", "find_pointer", "pointer_from"]


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
    found = read_document(files, path := layout.pointer(identity), POINTER)
    return None if found is None else pointer_from(found, identity, layout.join(files.url, path))


def pointer_from(row: Mapping[str, Any], identity: str, place: str) -> Pointer:
    """Return the pointer in the content of its file.

    Raises:
        Damaged: It is the pointer of another identity, or of another format.
    """
    fault = None
    if row["format"] != layout.FORMAT:
        fault = f"it has format {row['format']!r}"
    elif row["identity"] != identity:
        fault = f"it has the identity {row['identity']!r}"
    elif "/" not in row["trial"]:
        fault = f"it points to {row['trial']!r}"
    if fault is not None:
        raise Damaged(f"{place} cannot be read: {fault}", given=row["trial"], todo=POINTER.todo)
    return Pointer(
        row["trial"],
        row["time"],
        row.get("seconds"),
        row.get("record"),
        row["artifacts"],
        {name: Input(read["identity"], read["artifacts"]) for name, read in row["inputs"].items()},
        row["code"],
    )


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
