"""`machinable verify`, `rescue` and `clean`: check a storage, complete it, and clean it up."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable
from contextlib import nullcontext
from datetime import datetime
from typing import TYPE_CHECKING

from machinable.cli.output import message, write_json
from machinable.cli.targets import open_storage
from machinable.display.tables import counted
from machinable.display.terminal import echo
from machinable.errors import Refused, StorageError
from machinable.results.reader import LeavingOut, execution_folders, is_outage
from machinable.results.remove import executions, leftovers, remove, seems_in_use
from machinable.results.verify import repair as repair_fault
from machinable.results.verify import unnoted, verify
from machinable.storage import layout
from machinable.storage.fallback import copy_fallback
from machinable.storage.files import writing
from machinable.storage.open import open_files
from machinable.units import format_size

if TYPE_CHECKING:
    from machinable.results.storage import Storage
    from machinable.results.verify import Checked

__all__ = ["clean_command", "rescue_command", "verify_command"]

PROGRESS_INTERVAL = 5.0  # seconds


# --- verify


def verify_command(identifiers: tuple[str, ...], storage: str | None, repair: bool, as_json: bool) -> int:
    """Check that everything recorded exists and is readable; return exit code 1 if faults remain."""
    with open_storage(storage) as opened:
        names = [str(opened.find(name)) for name in identifiers] or None
        files = opened.files
        checked, faults = verify(files, names, on_progress=_progress())
        hint = None if checked.executions else opened.hint()
        repaired = [fault for fault in faults if repair and repair_fault(files, fault)]
        left = [fault for fault in faults if fault not in repaired]
    url = opened.url
    if as_json:
        mended = [fault.as_data() | {"mended": fault in repaired} for fault in faults]
        write_json({"storage": url, **checked._asdict(), "faults": mended})
        return 1 if left else 0
    for fault in repaired:
        echo(f"repaired: {fault.path}: {fault.message}")
    for fault in left:
        echo(f"{fault.path}: {fault.message}")
    size = f" ({format_size(checked.size)})" if checked.artifacts else ""
    what = f"{counted(checked.executions, 'execution')}, {counted(checked.trials, 'trial')}, "
    what += f"{counted(checked.artifacts, 'artifact')}{size}"
    if not left:
        echo(f"no faults in {url}: {what}")
        if hint:
            message(hint)
        return 0
    message(f"{counted(len(left), 'fault')} in {url}: {what}")
    repairable = sum(bool(fault.mend) for fault in left)
    if repairable and not repair:
        where = [] if storage is None else ["--storage", storage]
        command = shlex.join(["machinable", "verify", *identifiers, "--repair", *where])
        message(f"{repairable} of them can be repaired: {command}")
    return 1


def _progress() -> Callable[[Checked], None]:
    """Return a function that writes how much has been checked, every few seconds."""
    following = time.monotonic() + PROGRESS_INTERVAL

    def show(checked: Checked) -> None:
        nonlocal following
        if time.monotonic() >= following:
            message(f"{checked.executions} executions, {checked.trials} trials checked")
            following = time.monotonic() + PROGRESS_INTERVAL

    return show


# --- rescue


def rescue_command(directory: str, storage: str | None, as_json: bool) -> None:
    """Copy results that were written elsewhere, while a storage was unavailable, into the storage."""
    rescued = open_files(os.path.expanduser(directory), create=False)
    if not execution_folders(rescued) and not rescued.is_directory(layout.BY_CONTENT):
        raise Refused(
            f"there are no results in {rescued.url}",
            given=directory,
            todo="Give the directory machinable-rescued-… that the execution named.",
        )
    with open_storage(storage) as opened:
        if os.path.realpath(rescued.url) == os.path.realpath(opened.url):
            raise Refused(f"{rescued.url} is the storage itself", given=directory, todo="There is nothing to copy.")
        with writing(opened.files):
            copied, left = copy_fallback(rescued, opened.files)
        for name in dict.fromkeys(path.partition("/")[0] for path in copied if "/" in path):
            for fault in unnoted(opened.files, name):  # how its trials ended was only recorded in the directory
                repair_fault(opened.files, fault)
        if as_json:
            write_json({"storage": opened.url, "directory": rescued.url, "brought": copied, "left": left})
            return
    for path in left:
        message(f"skipped {path} in {rescued.url}: its trial has run again since")
    echo(f"copied {counted(len(copied), 'file')} to {opened.url}")
    if not left:
        echo(f"{rescued.url} can be deleted")


# --- clean


def clean_command(
    identifiers: tuple[str, ...],
    storage: str | None,
    failed: bool,
    interrupted: bool,
    older_than: float | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Show what can be deleted from a storage, or delete it."""
    states = {state for state, selected in (("failed", failed), ("interrupted", interrupted)) if selected}
    with open_storage(storage) as opened:
        selected = []
        if identifiers or states or older_than is not None:
            selected = _select(opened, identifiers, states, older_than)
        files = opened.files
        removals = [*leftovers(files), *executions(files, selected)]
        if yes:
            removals = [removal for removal in removals if remove(files, removal)]
    size = sum(removal.size for removal in removals)
    if as_json:
        listed = [removal.as_data() for removal in removals]
        write_json({"storage": opened.url, "bytes": size, "removed": yes, "removals": listed})
        return
    for removal in removals:
        echo(f"{removal.path}  {format_size(removal.size)}  {removal.reason}")
        for held in removal.holds:
            echo(f"  with {held}")
    total = f"{counted(len(removals), 'item')}, {format_size(size)}"
    if not removals:
        message(f"nothing to delete in {opened.url}")
    elif yes:
        echo(f"deleted from {opened.url}: {total}")
    else:
        message(f"nothing deleted yet ({total}); --yes to delete")


def _select(storage: Storage, names: tuple[str, ...], states: set[str], age: float | None) -> list[str]:
    """Return the executions that meet all conditions."""
    found = []
    for execution in [storage.find(name) for name in names] if names else storage.executions:
        status = "unknown"
        with nullcontext() if names else LeavingOut(execution.files, str(execution)):
            try:
                status = execution.status
            except StorageError as error:
                # Without a status, it is not known whether it meets conditions.
                if not names or states or age is not None or is_outage(execution.files, error):
                    raise
                message(error.message)
                status = "running" if seems_in_use(execution.files, str(execution)) else "damaged"
        if status in ("running", "unknown"):
            if names:
                raise Refused(
                    f"the execution {execution} is running",
                    given=str(execution),
                    todo="Wait until it has ended, or stop it. Nothing was deleted.",
                )
            continue
        is_old = age is None or time.time() - datetime.fromisoformat(execution.started).timestamp() >= age
        if is_old and (not states or status in states):
            found.append(str(execution))
    return found
