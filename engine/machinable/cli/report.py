"""`machinable report`: a page about executions, in one file that any browser shows."""

from __future__ import annotations

import os
import sys

import click

from machinable.cli.output import json_option, storage_option, tell, write_json

__all__ = ["command"]


@click.command("report")
@click.argument("identifiers", nargs=-1, required=True, metavar="ID[/TRIAL]…")
@storage_option
@click.option("--to", "file", metavar="FILE", help="Where to; - for stdout. Default: report-ID.html.")
@click.option("--yes", is_flag=True, help="Replace a file that is there.")
@json_option
def command(identifiers: tuple[str, ...], storage: str | None, file: str | None, yes: bool, as_json: bool) -> None:
    """Write one HTML file with tables, curves and failures of executions or trials; it needs nothing else."""
    from machinable.cli.reading import execution_data, open_storage
    from machinable.cli.targets import several
    from machinable.display.html_report import report
    from machinable.display.summary import side_by_side
    from machinable.errors import InvalidValue
    from machinable.execution.environment import now

    if as_json and file == "-":
        raise InvalidValue("stdout cannot take both the page and JSON", given=file, todo="Name a file: --to FILE.")

    with open_storage(storage) as opened:
        chosen = several(opened, identifiers)
        sides = [one.side for one in chosen]
        executions = list({str(one.execution): one.execution for one in chosen}.values())
        if as_json:
            write_json(
                {
                    "storage": opened.url,
                    "executions": [execution_data(execution) | {"data": execution.data} for execution in executions],
                    "groups": [line.as_data() for line in side_by_side(sides)],
                }
            )
            if file is None:
                return
        path = file or f"report-{executions[0]}.html"
        if path != "-":
            _refuse_taken(path, yes)
        text = report(executions, sides, f"{now()[:19].replace('T', ' ')} UTC")
    if path == "-":
        sys.stdout.write(text)
        return
    _write(path, text)
    tell(f"wrote {path}")


def _refuse_taken(path: str, yes: bool) -> None:
    from machinable.errors import ArtifactExists

    if os.path.lexists(path) and not (yes and os.path.isfile(path)):
        raise ArtifactExists(
            f"{path} exists already",
            given=path,
            todo="Replace it with --yes, or name another file: --to FILE."
            if os.path.isfile(path)
            else "Name another file: --to FILE.",
        )


def _write(path: str, text: str) -> None:
    from machinable.errors import InvalidValue

    try:
        with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(text)
    except OSError as error:
        raise InvalidValue(
            f"{path} cannot be written: {error.strerror}", given=path, todo="Name another file: --to FILE."
        ) from error
