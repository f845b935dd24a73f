"""Read the artifacts of a trial."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from machinable.errors import Damaged, MissingArtifact, did_you_mean, near_names
from machinable.serialization import dumps
from machinable.storage import layout
from machinable.storage.documents import STATUS, read_document, read_rows
from machinable.storage.files import Files, checked
from machinable.storage.formats import registry
from machinable.storage.formats.registry import check_directory, check_name
from machinable.storage.hashing import digest, digest_of
from machinable.storage.layout import join
from machinable.storage.temporary import Scratch

__all__ = [
    "DATA",
    "NOTHING",
    "RESULT",
    "ROWS",
    "TIMES",
    "Artifacts",
    "artifact_fault",
    "artifacts_in",
    "checkpoint_digests",
    "data_digest",
    "fetch",
    "names_below",
]

NOTHING: Any = object()
RESULT, ROWS = "../result", "../records/"
DATA = (RESULT, ROWS)  # inputs that are not artifacts, by their names relative to the artifacts
TIMES = frozenset({"_timestamp", "_seconds_taken", "_total_seconds_taken"})  # columns that always differ
SERVER_CLOCK = 60.0  # seconds by which the clock of an object store may be ahead
_NO_FILE = (FileNotFoundError, NotADirectoryError, IsADirectoryError)


class Artifacts:
    """The artifacts of a trial."""

    def __init__(
        self,
        files: Files,
        path: str,
        owner: str,
        *,
        trust: bool,
        recorded: Callable[[], Mapping[str, str]] | None = None,
    ) -> None:
        """Read artifacts from a folder; if `trust`, also those that run code when they are read, such as pickles.

        Messages call the trial `owner`: "this trial". Of artifacts that run code, the digests are first compared with
        the `recorded` ones, if these are given.
        """
        self._recorded = recorded
        self._files = files
        self._path = path
        self._owner = owner
        self._trust = trust

    def names(self) -> list[str]:
        """Return all names, sorted; names in folders contain a `/`."""
        return sorted(names_below(self._files, self._path))

    def read(self, name: str, default: Any = NOTHING, *, load: Callable[[str], Any] | None = None) -> Any:
        """Return an artifact as it was written, or the default if one is given and there is no such artifact.

        `load` reads a model (`.zip`); by default the function named when it was written.

        Raises:
            MissingArtifact: There is no such artifact.
            BadName: The name is not that of an artifact.
            Damaged: The artifact cannot be read.
            StorageError: Reading the artifact runs code, and the storage is not trusted.
        """
        check_name(name)
        try:
            content = self._files.read(join(self._path, name))
        except _NO_FILE:
            if default is not NOTHING:
                return default
            raise self.missing(name) from None
        if (
            self._trust
            and self._recorded is not None
            and registry.runs_code(name)
            and self._recorded().get(name) not in (None, digest(content))
        ):
            raise Damaged(
                f"{name!r} of {self._owner} is not what the trial wrote, and reading it runs code",
                given=name,
                todo="Restore it from a copy of the storage, or compute it again.",
            )
        return registry.load(name, content, trust=self._trust, load=load)

    def content(self, name: str) -> bytes:
        """Return the bytes of an artifact.

        Raises:
            MissingArtifact: There is no such artifact.
            BadName: The name is not that of an artifact.
        """
        try:
            return self._files.read(join(self._path, checked(name, root=False)))
        except _NO_FILE:
            raise self.missing(name) from None

    def local_path(self, name: str) -> str:
        """Return a path on this host with an artifact, or with a directory of them for a name that ends in `/`.

        From a remote storage it is fetched once, and removed when the process ends. Do not change the files.

        Raises:
            MissingArtifact: There is no such artifact.
            BadName: The name is not that of an artifact.
        """
        is_directory = name.endswith("/")
        place = join(self._path, checked(check_directory(name) if is_directory else name, root=False))
        if self._files.is_directory(place) != is_directory or not self._files.exists(place):
            raise self.missing(name)
        local = self._files.local_path(place)
        if local is not None:
            return local
        known = _fetched.setdefault(self._files, {})
        if place not in known:
            import tempfile

            target = os.path.join(tempfile.mkdtemp(dir=_fetched_to(os.getpid())), os.path.basename(place))
            fetch(self._files, place, target)
            known[place] = target
        return known[place]

    def missing(self, name: str) -> MissingArtifact:
        """Return the error for a missing artifact."""
        known = self.names()
        if name.endswith("/"):
            folders = sorted({one[: i + 1] for one in known for i, c in enumerate(one) if c == "/"})
            known = folders or known
        near = near_names(name, known)
        return MissingArtifact(
            f"{self._owner} has no artifact {name!r}",
            given=name,
            known=known,
            todo=did_you_mean(near) if near else f"It has: {', '.join(known) or 'none'}",
        )


def names_below(files: Files, path: str) -> list[str]:
    """Return the paths of all files in a folder and below, relative to it."""
    return [found.path.removeprefix(path + "/") for found in files.walk(path)]


def fetch(files: Files, path: str, target: str) -> None:
    """Copy a file, or a folder with its content, to a path on this host.

    Raises:
        BadName: The name of a file would leave the target.
    """
    names = [""]
    if files.is_directory(path):
        os.makedirs(target, exist_ok=True)
        names = names_below(files, path)
    for name in names:
        place = join(target, checked(name))
        os.makedirs(os.path.dirname(place), exist_ok=True)
        with open(place, "wb") as file:
            for piece in files.pieces(join(path, name)):
                file.write(piece)


_fetched: WeakKeyDictionary[Files, dict[str, str]] = WeakKeyDictionary()


@lru_cache(maxsize=1)
def _fetched_to(process: int) -> str:
    """Return the directory of this process for fetched artifacts."""
    import atexit

    scratch = Scratch()
    atexit.register(scratch.close)
    return scratch.path


def artifact_fault(files: Files, folder: str, artifacts: Mapping[str, str], finished: str | None) -> str | None:
    """Return what is wrong with the artifacts of a finished trial; None if they are unchanged.

    An artifact is read only if its file was changed after the end of the trial.

    Args:
        files: The storage.
        folder: The folder of the trial.
        artifacts: Their digests, by name.
        finished: When the trial finished (ISO-8601, UTC), None if that is not known.
    """
    names = [name for name in artifacts if not name.startswith("../")]  # others are checkpoints
    if not names:
        return None
    path = join(folder, layout.ARTIFACTS)
    found = {stored.path[len(path) + 1 :]: stored for stored in files.walk(path)}
    latest = float("inf") if finished is None else datetime.fromisoformat(finished).timestamp()
    if not files.appends:
        latest += SERVER_CLOCK
    for name in names:
        if name not in found:
            return f"the artifact {name!r} is gone"
        if (found[name].changed or 0.0) > latest and digest_of(files.pieces(join(path, name)))[0] != artifacts[name]:
            return f"the artifact {name!r} was changed after it was stored"
    return None


def data_digest(files: Files, path: str, name: str) -> str:
    """Return the digest of other data of a finished trial, without times, which differ in every attempt.

    Args:
        files: The storage.
        path: The folder of the trial.
        name: One of `DATA`.
    """
    if name == RESULT:
        status = read_document(files, join(path, layout.STATUS), STATUS)
        return "" if status is None else digest(dumps(status.get("result")).encode())  # it was removed
    folder = join(path, layout.RECORDS)
    scopes = sorted(filter(None, {layout.scope_of(entry.name) for entry in files.entries(folder)}))
    rows = {scope: read_rows(files, join(path, layout.scope_file(scope))) for scope in scopes}
    for row in (row for scope in rows.values() for row in scope):
        for column in TIMES:
            row.pop(column, None)
    return digest(dumps(rows).encode())


def artifacts_in(status: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of the artifacts and checkpoints in a status.json, by name."""
    artifacts = {name: facts["digest"] for name, facts in (status.get("artifacts") or {}).items()}
    return artifacts | checkpoint_digests(status)


def checkpoint_digests(status: Mapping[str, Any]) -> dict[str, str]:
    """Return the digests of the checkpoints in a status.json, by their names relative to the artifacts."""
    saved = (status.get("at_checkpoint") or {}).get("saved") or {}
    return {f"../{one['name']}": one["digest"] for one in saved.values() if one.get("digest")}
