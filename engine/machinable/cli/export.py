"""`machinable export`: a folder that repeats trials without machinable."""

from __future__ import annotations

import click

from machinable.cli.output import json_option, storage_option, tell, write_json

__all__ = ["command"]


@click.command("export")
@click.argument("identifier", metavar="ID")
@storage_option
@click.option(
    "--trial",
    "uids",
    multiple=True,
    metavar="UID",
    help="Only this trial and what it requires; can be repeated. The beginning of its uid is enough.",
)
@click.option("--to", "directory", metavar="DIR", help="The folder. Default: export-ID.")
@click.option("--project", metavar="DIR", help="Take the code that lies there, in place of the code backup.")
@json_option
def command(
    identifier: str,
    storage: str | None,
    uids: tuple[str, ...],
    directory: str | None,
    project: str | None,
    as_json: bool,
) -> None:
    """Write a folder that repeats the trials of ID without machinable, with the same random numbers."""
    from machinable.cli.reading import open_storage
    from machinable.cli.targets import trial_of
    from machinable.replay.export import export

    with open_storage(storage) as opened:
        execution = opened[identifier]
        chosen = [trial_of(execution, uid).uid for uid in uids] or None
        target = directory or f"export-{execution}"
        found = export(opened, identifier, target, uids=chosen, project=project)
    if as_json:
        write_json(found.as_data())
        return
    for note in found.notes:
        tell(note)
    from machinable.execution.environment import command_line

    trials = f"{len(found.trials)} trial{'' if len(found.trials) == 1 else 's'}"
    print(f"wrote {target}: {trials}, {len(found.modules)} file{'' if len(found.modules) == 1 else 's'} of code")
    print(f"next: {command_line(['cd', target])} && python run.py")
