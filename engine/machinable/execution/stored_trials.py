"""Stored trials that are required: where their results are; those of another storage are copied."""

from __future__ import annotations

from contextlib import closing

from machinable.errors import NotStored
from machinable.plan.spec import TrialSpec
from machinable.results.pointers import Pointer
from machinable.serialization import dumps
from machinable.storage import layout
from machinable.storage.artifacts import artifacts_in
from machinable.storage.documents import STATUS, TRIAL, read_document
from machinable.storage.files import Files
from machinable.storage.open import open_files

__all__ = ["given_result"]

IN_MEMORY = 8 * 1024 * 1024  # bytes of a file that is copied through memory
_LAST = (layout.TRIAL, layout.STATUS)  # written after all others, so that the trial is complete if it has a status


def given_result(spec: TrialSpec, files: Files, folder: str) -> Pointer:
    """Return a pointer to the stored trial that stands for a requirement.

    One of another storage is copied into the folder of its trial in this execution, because nothing else, such as
    workers and later readers, needs to reach the other storage then. Without a folder nothing is copied.

    Raises:
        NotStored: It no longer exists.
        StorageError: It cannot be read or copied.
    """
    url, place = _split(spec.definition.stored_at)
    if not url:
        return _pointer(files, place)
    here = f"{folder}/{spec.uid}"
    if folder and files.exists(layout.join(layout.folder_of(here), layout.STATUS)):
        return _pointer(files, here)
    with closing(open_files(url, create=False)) as other:
        pointer = _pointer(other, place)
        if not folder:
            return pointer
        _copy(other, layout.folder_of(place), files, layout.folder_of(here), spec)
        return pointer._replace(trial=here)


def _split(stored_at: str) -> tuple[str, str]:
    """Return the URL of the storage, "" for that of the execution, and the place in it."""
    rest, _, uid = stored_at.rpartition("/")
    url, _, folder = rest.rpartition("/")
    return url, f"{folder}/{uid}"


def _pointer(files: Files, place: str) -> Pointer:
    status = read_document(files, layout.join(layout.folder_of(place), layout.STATUS), STATUS)
    if status is None:
        raise NotStored(
            f"the stored trial {place} no longer exists", given=place, todo="Require another one, or the component."
        )
    return Pointer(place, status["finished"], None, None, artifacts_in(status), {}, {})


def _copy(source: Files, path: str, target: Files, to: str, spec: TrialSpec) -> None:
    from tempfile import SpooledTemporaryFile  # 2 ms, which only results of other storages need

    names = [found.path.removeprefix(f"{path}/") for found in source.walk(path)]
    for name in names:
        if name in _LAST or name.startswith(f"{layout.ATTEMPTS}/"):
            continue
        with SpooledTemporaryFile(IN_MEMORY) as file:
            for piece in source.pieces(layout.join(path, name)):
                file.write(piece)
            file.seek(0)
            target.write_from(layout.join(to, name), file)
    facts = read_document(source, layout.join(path, layout.TRIAL), TRIAL) or {}
    # The results of what it required are in the other storage, or copied as well.
    requires = {name: {**needed, "place": None} for name, needed in (facts.get("requires") or {}).items()}
    own = {**facts, "uid": spec.uid, "index": spec.index, "requires": requires}
    target.write(layout.join(to, layout.TRIAL), dumps(own).encode("ascii") + b"\n")
    target.write(layout.join(to, layout.STATUS), source.read(layout.join(path, layout.STATUS)))
