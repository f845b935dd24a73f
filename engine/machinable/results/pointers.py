"""Read pointers from the identity of a computation to the trial with its result."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import NamedTuple

from machinable.errors import Damaged
from machinable.serialization import Plain, decode
from machinable.storage import layout
from machinable.storage.files import Files

__all__ = ["Pointer", "changed_input", "find_pointer"]


class Pointer(NamedTuple):
    """The trial with a result.

    Attributes:
        trial: The trial, as `OY1p1o/9c2EapVGXnPH`.
        seconds: How long it took.
        record: The last row of its default scope.
        artifacts: The digests of its artifacts, by name.
        inputs: The digests of what it read, by requirement and name.
        code: The digests of the code that computed it, by file.
    """

    trial: str
    seconds: float | None
    record: Mapping[str, Plain] | None
    artifacts: Mapping[str, str]
    inputs: Mapping[str, Mapping[str, str]]
    code: Mapping[str, str]


def find_pointer(files: Files, identity: str) -> Pointer | None:
    """Return the pointer of an identity, None if there is none. It takes one read.

    Raises:
        Damaged: The file is no pointer.
    """
    path = layout.pointer(identity)
    try:
        data = files.read(path)
    except FileNotFoundError:
        return None
    try:
        row = json.loads(data)
        if b'{"__' in data:
            row = decode(row)
        if row["format"] != layout.FORMAT:
            raise ValueError(f"it has format {row['format']!r}")
        if type(row["trial"]) is not str or "/" not in row["trial"]:
            raise ValueError(f"it points to {row['trial']!r}")
        return Pointer(
            row["trial"],
            row["seconds"],
            row["record"],
            row["artifacts"],
            {name: read["artifacts"] for name, read in row["inputs"].items()},
            row["code"],
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(
            f"{layout.join(files.url, path)} cannot be read: {error}",
            given=data[:200].decode("utf-8", "replace"),
            todo="Remove it, so that the result is computed again.",
        ) from error


def changed_input(read: Mapping[str, Mapping[str, str]], artifacts: Mapping[str, Mapping[str, str]]) -> str | None:
    """Return the first artifact that was read and has changed since, as `data:x.npy`; None if there is none.

    Both are digests by requirement and name: of what was read, and of the present artifacts.
    """
    for name, digests in read.items():
        for artifact, digest in digests.items():
            if name in artifacts and artifacts[name].get(artifact) != digest:
                return f"{name}:{artifact}"
    return None
