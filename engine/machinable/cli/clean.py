"""`machinable clean`: removes what nobody needs, after it was shown."""

from __future__ import annotations

import re
import time
from datetime import datetime
from typing import TYPE_CHECKING

import click

from machinable.cli.output import json_option, storage_option, tell, write_json
from machinable.errors import InvalidValue, Refused

if TYPE_CHECKING:
    from machinable.results.execution import Execution
    from machinable.results.remove import Removal
    from machinable.results.storage import Storage

__all__ = ["command"]

_AGE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(m|h|d|w)")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


@click.command("clean")
@click.argument("identifiers", nargs=-1, metavar="[ID]…")
@storage_option
@click.option("--failed", is_flag=True, help="Executions that failed.")
@click.option("--interrupted", is_flag=True, help="Executions that were interrupted.")
@click.option("--older-than", metavar="AGE", help="Executions that began longer ago: 12h, 30d, 8w.")
@click.option("--yes", is_flag=True, help="Remove it; otherwise it is only shown.")
@json_option
def command(
    identifiers: tuple[str, ...],
    storage: str | None,
    failed: bool,
    interrupted: bool,
    older_than: str | None,
    yes: bool,
    as_json: bool,
) -> None:
    """Show what can be removed from a storage, or remove it.

    That is what processes have left that were killed; and executions, if some are named or described: those that fit
    all that is said, and never one that runs.
    """
    from machinable.cli.reading import open_storage
    from machinable.results.remove import executions, leftovers, remove

    age = None if older_than is None else _seconds(older_than)
    states = {state for state, wanted in (("failed", failed), ("interrupted", interrupted)) if wanted}
    with open_storage(storage) as opened:
        chosen = _chosen(opened, identifiers, states, age) if identifiers or states or age is not None else []
        files = opened.files
        found = [*leftovers(files), *executions(files, chosen)]
        removed = [removal for removal in found if yes and remove(files, removal)]
        size = sum(removal.size for removal in (removed if yes else found))
    if as_json:
        write_json(
            {
                "storage": opened.url,
                "bytes": size,
                "removed": yes,
                "removals": [removal.as_data() for removal in (removed if yes else found)],
            }
        )
        return
    _report(opened.url, removed if yes else found, size, yes)


def _seconds(text: str) -> float:
    match = _AGE.fullmatch(text.strip())
    if match is None:
        raise InvalidValue(f"{text!r} is no age", given=text, todo="Write a number with m, h, d or w: 12h, 30d.")
    return float(match[1]) * _SECONDS[match[2]]


def _chosen(storage: Storage, names: tuple[str, ...], states: set[str], age: float | None) -> list[str]:
    """The executions that fit all that is said.

    Raises:
        NotStored: there is no such execution. Refused: one that was named runs.
    """
    found = []
    for execution in [storage[name] for name in names] if names else storage.executions:
        if execution.status == "running":
            if names:
                raise Refused(
                    f"the execution {execution} is running",
                    given=str(execution),
                    todo="Wait until it has ended, or end it; nothing was removed.",
                )
            continue
        is_old = age is None or time.time() - _began(execution) >= age
        if is_old and (not states or execution.status in states):
            found.append(str(execution))
    return found


def _began(execution: Execution) -> float:
    return datetime.fromisoformat(execution.started).timestamp()


def _report(url: str, removals: list[Removal], size: int, yes: bool) -> None:
    from machinable.units import format_size

    for removal in removals:
        print(f"{removal.path}  {format_size(removal.size)}  {removal.reason}")
        for held in removal.holds:
            print(f"  with {held}")
    things = f"{len(removals)} thing{'' if len(removals) == 1 else 's'}, {format_size(size)}"
    if not removals:
        tell(f"nothing was removed from {url}" if yes else f"nothing to remove in {url}")
    elif yes:
        print(f"removed from {url}: {things}")
    else:
        tell(f"nothing was removed yet ({things}); to do it, add --yes")
