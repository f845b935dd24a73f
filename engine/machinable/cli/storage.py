"""`machinable verify`, `rescue` and `clean`: check a storage, complete it, and delete from it."""

from __future__ import annotations

import os
import sys
import time
from datetime import datetime
from typing import TYPE_CHECKING

from machinable.cli.arguments import open_storage
from machinable.cli.output import message, write_json
from machinable.display.tables import counted, is_terminal
from machinable.errors import Refused
from machinable.results.remove import executions, leftovers, remove
from machinable.results.verify import repair as repair_fault
from machinable.results.verify import unnoted, verify
from machinable.storage.fallback import copy_fallback
from machinable.storage.files import writing
from machinable.storage.open import open_files
from machinable.units import format_size

if TYPE_CHECKING:
    from machinable.results.remove import Removal
    from machinable.results.storage import Storage
    from machinable.results.verify import Checked, Fault

__all__ = ["clean_command", "rescue_command", "verify_command"]


# --- verify


def verify_command(identifiers: tuple[str, ...], storage: str | None, repair: bool, as_json: bool) -> int:
    """Check that everything recorded exists and is readable; return exit code 1 if faults remain."""
    progress = _VerifyProgress()
    with open_storage(storage) as opened:
        names = [str(opened[name]) for name in identifiers] or None
        files = opened.files
        checked, faults = verify(files, names, on_progress=progress)
        progress.end()
        repaired = [fault for fault in faults if repair and repair_fault(files, fault)]
        left = [fault for fault in faults if fault not in repaired]
    if as_json:
        write_json(
            {
                "storage": opened.url,
                **checked._asdict(),
                "faults": [fault.as_data() | {"mended": fault in repaired} for fault in faults],
            }
        )
    else:
        _report_faults(opened.url, checked, left, repaired, repair)
    return 1 if left else 0


def _report_faults(url: str, checked: Checked, left: list[Fault], repaired: list[Fault], repair: bool) -> None:
    for fault in repaired:
        print(f"repaired: {fault.path}: {fault.message}")
    for fault in left:
        print(f"{fault.path}: {fault.message}")
    counts = {"execution": checked.executions, "trial": checked.trials, "artifact": checked.artifacts}
    what = ", ".join(counted(count, name) for name, count in counts.items())
    if checked.artifacts:
        what += f" ({format_size(checked.size)})"
    if not left:
        print(f"no faults in {url}: {what}")
        return
    repairable = sum(bool(fault.mend) for fault in left)
    message(f"{counted(len(left), 'fault')} in {url}: {what}")
    if repairable and not repair:
        message(f"{repairable} of them can be repaired: machinable verify --repair")


class _VerifyProgress:
    """Show how much is checked: one line that changes on a terminal, a line now and then elsewhere."""

    INTERVAL = 10.0  # seconds between two lines

    def __init__(self) -> None:
        self._is_terminal = is_terminal(sys.stderr)
        self._next = time.monotonic() + (1.0 if self._is_terminal else self.INTERVAL)
        self._is_shown = False

    def __call__(self, checked: Checked) -> None:
        if time.monotonic() < self._next:
            return
        text = f"{checked.executions} executions, {checked.trials} trials checked"
        if self._is_terminal:
            print(f"\r{text}", end="", file=sys.stderr, flush=True)
            self._is_shown = True
            self._next = time.monotonic() + 0.2
        else:
            message(text)
            self._next = time.monotonic() + self.INTERVAL

    def end(self) -> None:
        """Clear the line on the terminal."""
        if self._is_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


# --- rescue


def rescue_command(directory: str, storage: str | None, as_json: bool) -> None:
    """Copy results that were written elsewhere, while a storage was unavailable, into the storage."""
    rescued = open_files(os.path.expanduser(directory), create=False)
    with open_storage(storage) as opened:
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
    print(f"copied {counted(len(copied), 'file')} to {opened.url}")
    if not left:
        print(f"{rescued.url} can be deleted")


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
    if as_json:
        write_json(
            {
                "storage": opened.url,
                "bytes": sum(removal.size for removal in removals),
                "removed": yes,
                "removals": [removal.as_data() for removal in removals],
            }
        )
    else:
        _report_removals(opened.url, removals, yes)


def _select(storage: Storage, names: tuple[str, ...], states: set[str], age: float | None) -> list[str]:
    """Return the executions that meet all conditions.

    Raises:
        NotStored: There is no execution of a given name.
        Refused: A named execution is running.
    """
    found = []
    for execution in [storage[name] for name in names] if names else storage.executions:
        if execution.status == "running":
            if names:
                raise Refused(
                    f"the execution {execution} is running",
                    given=str(execution),
                    todo="Wait until it has ended, or stop it. Nothing was deleted.",
                )
            continue
        is_old = age is None or time.time() - datetime.fromisoformat(execution.started).timestamp() >= age
        if is_old and (not states or execution.status in states):
            found.append(str(execution))
    return found


def _report_removals(url: str, removals: list[Removal], yes: bool) -> None:
    for removal in removals:
        print(f"{removal.path}  {format_size(removal.size)}  {removal.reason}")
        for held in removal.holds:
            print(f"  with {held}")
    total = f"{counted(len(removals), 'item')}, {format_size(sum(removal.size for removal in removals))}"
    if not removals:
        message(f"nothing to delete in {url}")
    elif yes:
        print(f"deleted from {url}: {total}")
    else:
        message(f"nothing deleted yet ({total}); --yes to delete")
