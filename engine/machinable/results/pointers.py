"""Where the result of a computation lies: pointers from an identity to the trial that holds it."""

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
    """Where a result lies, and what is known of it.

    Attributes:
        trial: that holds it, as `OY1p1o/9c2EapVGXnPH`. seconds, record: as in its ledger.
        artifacts: their digests by name. inputs: the digests of what it read, by requirement and name.
        source: the digest of the source file of its component, None if there was none.
    """

    trial: str
    seconds: float | None
    record: Mapping[str, Plain] | None
    artifacts: Mapping[str, str]
    inputs: Mapping[str, Mapping[str, str]]
    source: str | None


def find_pointer(files: Files, identity: str) -> Pointer | None:
    """Where the result of an identity lies; None if there is none. One read.

    Raises:
        Damaged: there is something else in the place of its pointer.
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
            row["module"]["digest"],
        )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Damaged(
            f"{layout.join(files.url, path)} cannot be read: {error}",
            given=data[:200].decode("utf-8", "replace"),
            todo="Remove it: then the result is computed again.",
        ) from error


def changed_input(read: Mapping[str, Mapping[str, str]], artifacts: Mapping[str, Mapping[str, str]]) -> str | None:
    """The first artifact that was read and is another one now, as `data:x.npy`; None if all are the same.

    Args:
        read: the digests of what was read, by requirement and name. artifacts: those that are there now.
    """
    for name, digests in read.items():
        there = artifacts.get(name)
        if there is None:
            continue
        for artifact, digest in digests.items():
            if there.get(artifact) != digest:
                return f"{name}:{artifact}"
    return None
