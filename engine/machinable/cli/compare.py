"""`machinable compare`: executions and trials side by side."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from machinable.cli.output import json_option, storage_option, tell, write_json

if TYPE_CHECKING:
    from machinable.cli.targets import Chosen

__all__ = ["command"]


@click.command("compare")
@click.argument("identifiers", nargs=-1, required=True, metavar="ID[/TRIAL]…")
@storage_option
@click.option(
    "--field",
    "fields",
    multiple=True,
    metavar="FIELD",
    help="What is compared, such as records.loss.min; can be repeated. Default: the last row of each trial.",
)
@json_option
def command(identifiers: tuple[str, ...], storage: str | None, fields: tuple[str, ...], as_json: bool) -> None:
    """Show executions or trials side by side: settings that differ, and mean ± deviation of what came out.

    Trials of one execution with equal settings are one line. ID/TRIAL is one trial; the beginning of its uid is enough.
    """
    from machinable.cli.reading import open_storage
    from machinable.cli.targets import several
    from machinable.display.summary import side_by_side, side_table
    from machinable.display.tables import write_table

    with open_storage(storage) as opened:
        sides = several(opened, identifiers)
        lines = side_by_side([one.side for one in sides], fields)
        if as_json:
            write_json({"storage": opened.url, "groups": [line.as_data() for line in lines]})
            return
        write_table(side_table(lines), sys.stdout)
        _tell_other_code(sides)


def _tell_other_code(sides: list[Chosen]) -> None:
    """Numbers of other code compare other things: say so."""
    from machinable.results.diff import code_facts_changes, package_changes

    first, *others = sides
    for side in others:
        data = first.execution.data, side.execution.data
        checks = (("code", code_facts_changes), ("packages", package_changes))
        if other := [what for what, changes in checks if changes(*data)]:
            tell(f"{side} ran with other {' and other '.join(other)} than {first}: machinable diff {first} {side}")
