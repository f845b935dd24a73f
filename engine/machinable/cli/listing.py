"""`machinable list`: the executions in a storage, newest first."""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import click

from machinable.cli.output import json_option, storage_option, tell, write_json

if TYPE_CHECKING:
    from machinable.results.execution import Execution

__all__ = ["command", "moment"]

UNUSUAL = ("reused", "blocked", "skipped", "interrupted", "pending", "running")  # shown where there are any


@click.command("list")
@storage_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only the newest N.")
@json_option
def command(storage: str | None, limit: int | None, as_json: bool) -> None:
    """List the executions in a storage, newest first."""
    from machinable.cli.reading import open_storage
    from machinable.display.tables import table_of, write_table

    with open_storage(storage) as opened:
        executions = opened.executions
        shown = [_data(execution) for execution in executions[:limit]]
        if as_json:
            write_json({"storage": opened.url, "total": len(executions), "executions": shown})
            return
        if not shown:
            tell(f"no executions in {opened.url}")
            return
        rows: list[dict[str, Any]] = [
            row | {"started": moment(row["started"]), "components": ", ".join(row["components"])} for row in shown
        ]
        unusual = [state for state in UNUSUAL if any(row["states"].get(state) for row in rows)]
        for row in rows:
            states = row.pop("states")
            behind = {key: row.pop(key) for key in ("name", "components")}
            row |= {state: states.get(state, 0) for state in unusual} | behind
            del row["id"], row["seed"]
        write_table(table_of(rows, {"started": "started (UTC)"}), sys.stdout)
        if len(executions) > len(shown):
            tell(f"and {len(executions) - len(shown)} older")


def _data(execution: Execution) -> dict[str, Any]:
    trials = execution.trials.rows("status", "component")
    states = [trial["status"] for trial in trials]
    return {
        "execution": str(execution),
        "id": execution.id,
        "seed": execution.seed,
        "started": execution.started,
        "status": execution.status,
        "trials": len(states),
        "finished": states.count("finished"),
        "failed": states.count("failed"),
        "name": execution.name,
        "states": dict(Counter(states)),
        "components": list(dict.fromkeys(trial["component"] for trial in trials)),
    }


def moment(time: str | None) -> str:
    """A stored time for people: `2026-01-31 09:15:02`."""
    return (time or "")[:19].replace("T", " ")
