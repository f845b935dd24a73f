"""Stored trials in place of requirements: `OY1p1o/9c2Eap`, or with the URL of a storage in front."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from msgspec import Struct
from msgspec.structs import replace

from machinable.errors import Damaged, InvalidValue, NotStored, Refused, StorageUnavailable
from machinable.plan.written_uses import STORED_TRIAL
from machinable.settings import storage_choice
from machinable.storage import layout
from machinable.storage.artifacts import artifact_fault, artifacts_in
from machinable.storage.documents import EVENT, PLANNED, STATUS, TRIAL, read_document, read_execution, read_rows
from machinable.storage.files import Files
from machinable.storage.open import open_files, storage_url, without_credentials

__all__ = ["StoredTrial", "find_stored_trial", "storage_of_project"]


class StoredTrial(Struct, frozen=True):
    """A finished trial of a storage.

    Attributes:
        url: The storage; "" for the one in which the plan is executed.
        place: Where its files are: `OY1p1o/9c2EapVGXnPH`.
        facts: Its trial.json.
        requires: The places of those of its requirements that still have a result, by name.
    """

    url: str
    place: str
    facts: Mapping[str, Any]
    requires: Mapping[str, str]

    @property
    def path(self) -> str:
        """The place with the URL of its storage, unless that is the one in which the plan is executed."""
        return layout.join(self.url, self.place)


def storage_of_project(section: Mapping[str, Any], directory: str) -> str | None:
    """Return the storage that the environment or the project names, None if they name none."""
    chosen = storage_choice(None, os.environ, section, {})
    if chosen.url is None:
        return None
    return storage_url(chosen.url, directory if chosen.source == "project" else None)


def find_stored_trial(text: str, own: str | None, default: str | None = None) -> StoredTrial:
    """Return the stored trial that a text names; a prefix of its uid is enough.

    Args:
        text: `ID/UID`, perhaps with a URL in front.
        own: The storage in which the plan is executed.
        default: The storage of trials without a URL in front, by default `own`.

    Raises:
        NotStored: It does not exist.
        Refused, InvalidValue: It has not finished, or there are several.
        StorageError: The storage cannot be read.
    """
    found = STORED_TRIAL.fullmatch(text)
    assert found is not None  # checked when it was read
    url = default or own if found["url"] is None else storage_url(found["url"])
    if found["url"] is not None and unquote(shown := without_credentials(url or "")) != unquote(url or ""):
        raise InvalidValue(
            f"the storage {shown} of a stored trial has credentials, which would be stored",
            given=shown,
            todo="Give them in the environment or in a file, as its library expects them.",
        )
    if url is None or url.startswith("mem:"):
        raise NotStored(
            f"the stored trial {text} is in no storage",
            given=text,
            todo="Name the storage of the execution, or write its URL in front: URL/ID/UID.",
        )
    try:
        files = open_files(url, create=False)
    except StorageUnavailable as error:
        error.given = text
        raise
    try:
        stored = _found(files, "" if url == own else url, found["folder"], found["uid"])
    finally:
        files.close()
    # Those of another storage are not needed to read the result, and copying all of them could take long.
    return stored if found["url"] is None or url == own else replace(stored, requires={})


def _found(files: Files, url: str, folder: str, prefix: str) -> StoredTrial:
    name = f"{folder}/{prefix}"
    place = _place(files, folder, prefix)
    path = layout.folder_of(place)
    status = read_document(files, layout.join(path, layout.STATUS), STATUS)
    facts = read_document(files, layout.join(path, layout.TRIAL), TRIAL)
    if status is None or facts is None or status["state"] != "finished":
        state = "has not started" if status is None else f"is {status['state']}, not finished"
        raise Refused(f"the stored trial {name} {state}", given=name, todo=f"Let it finish: machinable resume {folder}")
    if not facts.get("identity"):
        raise Damaged(f"the stored trial {name} has no identity", given=name)
    fault = artifact_fault(files, path, artifacts_in(status), status.get("finished"))
    if fault is not None:
        raise Damaged(f"{fault} (of {place})", given=name, todo="Compute it again, and name the new trial.")
    places = {one: needed["place"] for one, needed in (facts.get("requires") or {}).items() if needed.get("place")}
    exists = {one for one in places.values() if files.exists(layout.join(layout.folder_of(one), layout.STATUS))}
    return StoredTrial(url, place, facts, {one: at for one, at in places.items() if at in exists})


def _place(files: Files, folder: str, prefix: str) -> str:
    """Return where the files of a trial are: its own, or those of the trial that it was reused from."""
    if files.exists(layout.join(folder, layout.trial_json(prefix))):
        return f"{folder}/{prefix}"
    if read_execution(files, folder) is None:
        raise NotStored(
            f"there is no execution {folder} in {files.url}",
            given=folder,
            todo="Name a trial of this storage, or write the URL of its storage in front: URL/ID/UID.",
        )
    uids = [row["uid"] for row in read_rows(files, layout.join(folder, layout.PLAN), PLANNED)]
    matches = [uid for uid in uids if uid.startswith(prefix)]
    if not matches:
        raise NotStored(
            f"{folder} has no trial {prefix}", given=prefix, known=uids, todo=f"Its trials: machinable show {folder}"
        )
    if len(matches) > 1:
        raise InvalidValue(
            f"{len(matches)} trials of {folder} begin with {prefix}",
            given=prefix,
            known=matches,
            todo=f"Write more of the uid: {', '.join(matches[:3])}",
        )
    source = None
    for event in read_rows(files, layout.join(folder, layout.LEDGER), EVENT):
        if event.get("uid") == matches[0]:
            source = event.get("source")
    return source or f"{folder}/{matches[0]}"
