"""`machinable verify`: whether a storage is whole."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from machinable.cli.output import json_option, storage_option, tell, write_json

if TYPE_CHECKING:
    from machinable.results.verify import Checked, Fault

__all__ = ["command"]


@click.command("verify")
@click.argument("identifiers", nargs=-1, metavar="[ID]…")
@storage_option
@click.option("--repair", is_flag=True, help="Mend what can be mended without losing anything.")
@json_option
def command(identifiers: tuple[str, ...], storage: str | None, repair: bool, as_json: bool) -> int:
    """See that all that a storage says to be there is there and can be read; of the executions ID, or of all.

    Exit code 1 if something is wrong and was not mended.
    """
    from machinable.cli.reading import open_storage
    from machinable.results.verify import repair as mend
    from machinable.results.verify import verify

    progress = _Progress()
    with open_storage(storage) as opened:
        names = [str(opened[name]) for name in identifiers] or None
        files = opened.files
        checked, faults = verify(files, names, told=progress)
        progress.end()
        mended = [fault for fault in faults if repair and mend(files, fault)]
        left = [fault for fault in faults if fault not in mended]
    if as_json:
        write_json(
            {
                "storage": opened.url,
                **checked._asdict(),
                "faults": [fault.as_data() | {"mended": fault in mended} for fault in faults],
            }
        )
    else:
        _report(opened.url, checked, left, mended, repair)
    return 1 if left else 0


def _report(url: str, checked: Checked, left: list[Fault], mended: list[Fault], repair: bool) -> None:
    from machinable.units import format_size

    for fault in mended:
        print(f"mended: {fault.path}: {fault.message}")
    for fault in left:
        print(f"{fault.path}: {fault.message}")
    counts = {"execution": checked.executions, "trial": checked.trials, "artifact": checked.artifacts}
    counted = ", ".join(f"{count} {what}{'' if count == 1 else 's'}" for what, count in counts.items())
    what = f"{counted} ({format_size(checked.size)})" if checked.artifacts else counted
    if not left:
        print(f"{url} is whole: {what}")
        return
    can = sum(bool(fault.mend) for fault in left)
    tell(f"{len(left)} fault{'' if len(left) == 1 else 's'} in {url}: {what}")
    if can and not repair:
        tell(f"{can} of them can be mended: machinable verify --repair")


class _Progress:
    """How far it is: one line that changes on a terminal, a line now and then elsewhere."""

    INTERVAL = 10.0  # seconds between two lines

    def __init__(self) -> None:
        from machinable.display.tables import is_terminal

        self._is_terminal = is_terminal(sys.stderr)
        self._next = time.monotonic() + (1.0 if self._is_terminal else self.INTERVAL)
        self._has_shown = False

    def __call__(self, checked: Checked) -> None:
        if time.monotonic() < self._next:
            return
        text = f"{checked.executions} executions, {checked.trials} trials looked at"
        if self._is_terminal:
            print(f"\r{text}", end="", file=sys.stderr, flush=True)
            self._has_shown = True
            self._next = time.monotonic() + 0.2
        else:
            tell(text)
            self._next = time.monotonic() + self.INTERVAL

    def end(self) -> None:
        """Leave the terminal with an empty line."""
        if self._has_shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)
