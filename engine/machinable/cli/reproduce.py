"""`machinable reproduce`: run an execution again from what is stored, and say whether the same comes out."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from machinable.cli.output import json_option, storage_option, tell, write_json

if TYPE_CHECKING:
    from machinable.replay.reproduce import Reproduction
    from machinable.results.diff import Change

__all__ = ["command"]

SHOWN = 20  # trials, and packages


@click.command("reproduce")
@click.argument("identifier", metavar="ID")
@storage_option
@click.option(
    "--trial",
    "uids",
    multiple=True,
    metavar="UID",
    help="Only this trial and what it requires; can be repeated. The beginning of its uid is enough.",
)
@click.option(
    "--tolerance",
    type=float,
    default=0.0,
    metavar="T",
    help="How far numbers may be apart, absolute up to 1 and relative beyond, such as 1e-6. Default: 0.",
)
@click.option("--project", metavar="DIR", help="Run the code that lies there, in place of the code backup.")
@click.option("--engine", metavar="E", help="Where trials run. Default: as then.")
@click.option("--keep", metavar="DIR", help="Keep the restored code and the new results there.")
@click.option("--quiet", is_flag=True, help="No progress.")
@json_option
def command(
    identifier: str,
    storage: str | None,
    uids: tuple[str, ...],
    tolerance: float,
    project: str | None,
    engine: str | None,
    keep: str | None,
    quiet: bool,
    as_json: bool,
) -> int:
    """Restore the code of ID into a temporary directory, run it with the same seeds, and compare what comes out.

    The exit code is 0 if all is identical or within --tolerance, and 1 if not.
    """
    from machinable.cli.reading import open_storage
    from machinable.cli.targets import trial_of
    from machinable.replay.reproduce import reproduce

    with open_storage(storage) as opened:
        chosen = [trial_of(opened[identifier], uid).uid for uid in uids] or None
        found = reproduce(
            opened,
            identifier,
            uids=chosen,
            tolerance=tolerance,
            project=project,
            engine=engine,
            keep=keep,
            tell=None if quiet else tell,
        )
    if as_json:
        write_json(found.as_data())
    else:
        _show(found)
    return 1 if found.verdict == "different" else 0


def _show(found: Reproduction) -> None:
    from machinable.display.tables import printable

    numbers = {"trial": len(found.trials), "row": found.rows, "artifact": found.artifacts}
    counts = ", ".join(f"{number} {name}{'' if number == 1 else 's'}" for name, number in numbers.items())
    if found.verdict == "identical":
        print(f"{found.execution}: identical\n  {counts}: the same, byte for byte")
    else:
        apart = [trial for trial in found.trials if trial.differences]
        beyond = f" {found.tolerance:g}" if found.verdict != "different" else ""
        print(f"{found.execution}: {found.verdict}{beyond}\n  {len(apart)} of {counts} compared")
        for trial in apart[:SHOWN]:
            print(f"\n{trial.component} {trial.uid}: {trial.verdict}")
            for difference in trial.differences:
                print(f"  {printable(str(difference))}")
        if len(apart) > SHOWN:
            print(f"\n… and {len(apart) - SHOWN} more trials; --json has all")
        if hint := _enough(found):
            print(f"\n{hint}")
    _changes("not as it was", found.environment)
    _changes("packages", found.packages)
    if found.kept is not None:
        print(f"\nkept: {found.kept}")


def _enough(found: Reproduction) -> str | None:
    """The tolerance with which it would pass, if there is one."""
    import math

    largest = max((one.largest for trial in found.trials for one in trial.differences), default=0.0)
    if found.verdict != "different" or not 1e-300 < largest < math.inf:
        return None
    power = 10.0 ** math.floor(math.log10(largest))
    return f"equal within a tolerance of {math.ceil(largest / power) * power:g}"


def _changes(heading: str, changes: tuple[Change, ...]) -> None:
    from machinable.display.tables import Table, exact, write_table

    if not changes:
        return
    rows = [
        [change.name, *("nothing" if side is None else exact(side) for side in (change.before, change.after))]
        for change in changes[:SHOWN]
    ]
    print()
    write_table(Table([heading, "then", "now"], rows), sys.stdout)
    if len(changes) > SHOWN:
        print(f"… and {len(changes) - SHOWN} more; --json has all")
