"""Tags and notes that are added to what has run: lines in a file beside it, which never change it.

Each line concerns an execution, or one of its trials if it has a `uid`. A later line counts more than an earlier one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from machinable.results.lookup import MISSING
from machinable.storage import layout
from machinable.storage.documents import ANNOTATION, read_rows
from machinable.storage.files import Files, writing
from machinable.storage.streams import RowWriter

__all__ = ["Annotations", "annotate", "read_annotations"]


class Annotations:
    """What was added to an execution and its trials, given the lines in order."""

    def __init__(self, lines: Iterable[Mapping[str, Any]] = ()) -> None:
        self._tags: dict[str, dict[str | None, Any]] = {}  # by name and uid; None is for all other trials
        self._notes: dict[str | None, list[Mapping[str, Any]]] = {}
        for line in lines:
            uid = line.get("uid")
            tags = dict.fromkeys(line.get("removed") or (), MISSING) | (line.get("tags") or {})
            for name, value in tags.items():
                if uid is None:
                    self._tags[name] = {}
                self._tags.setdefault(name, {})[uid] = value
            if line.get("note") is not None:
                self._notes.setdefault(uid, []).append(line)

    def __bool__(self) -> bool:
        return bool(self._tags or self._notes)

    @property
    def names(self) -> Collection[str]:
        """The names of all tags that were added, changed or removed."""
        return self._tags.keys()

    def tag(self, name: str) -> Mapping[str | None, Any]:
        """Return the added values of a tag by uid, under None that of all others; `MISSING` where it was removed."""
        return self._tags.get(name, {})

    def tags(self, uid: str, planned: Mapping[str, Any]) -> dict[str, Any]:
        """Return the tags of a trial: the planned ones, changed by what was added."""
        tags = dict(planned)
        for name, values in self._tags.items():
            value = values.get(uid, values.get(None, tags.get(name, MISSING)))
            if value is MISSING:
                tags.pop(name, None)
            else:
                tags[name] = value
        return tags

    def notes(self, uid: str | None) -> Sequence[Mapping[str, Any]]:
        """Return the notes on a trial, or with None those on the execution: `note`, `time` and `user` of each."""
        return self._notes.get(uid, ())


def read_annotations(files: Files, folder: str, parts: Sequence[int] | None = None) -> Annotations:
    """Return what was added to an execution.

    Raises:
        Damaged: A complete line is malformed.
    """
    return Annotations(read_rows(files, layout.join(folder, layout.ANNOTATIONS), ANNOTATION, parts))


def annotate(files: Files, folder: str, line: Mapping[str, Any]) -> None:
    """Add a line to an execution: `time`, and any of `user`, `uid`, `tags`, `removed` and `note`.

    A killed process leaves nothing, or an unfinished line that readers ignore; several processes may do it at once.

    Raises:
        StorageUnavailable: The storage cannot be written.
    """
    with writing(files):
        writer = RowWriter(files, layout.join(folder, layout.ANNOTATIONS))
        try:
            writer.append(line)
        finally:
            writer.close()
