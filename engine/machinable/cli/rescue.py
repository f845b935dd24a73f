"""`machinable rescue`: brings home what was written while a storage could not take it."""

from __future__ import annotations

import os

import click

from machinable.cli.output import json_option, storage_option, tell, write_json

__all__ = ["command"]


@click.command("rescue")
@click.argument("directory", metavar="DIR")
@storage_option
@json_option
def command(directory: str, storage: str | None, as_json: bool) -> None:
    """Write into a storage what is in DIR, where it was kept while the storage could not be written.

    Trials that have run again since are left as they are.
    """
    from machinable.cli.reading import open_storage
    from machinable.results.verify import repair, unnoted
    from machinable.storage.fallback import bring_home
    from machinable.storage.files import writing
    from machinable.storage.open import open_files

    refuge = open_files(os.path.expanduser(directory), create=False)
    with open_storage(storage) as opened:
        with writing(opened.files):
            brought, left = bring_home(refuge, opened.files)
        executions = dict.fromkeys(path.partition("/")[0] for path in brought if "/" in path)
        for name in executions:
            for fault in unnoted(opened.files, name):  # how its trials ended was only known where they were kept
                repair(opened.files, fault)
        if as_json:
            write_json({"storage": opened.url, "directory": refuge.url, "brought": brought, "left": left})
            return
    for path in left:
        tell(f"left in {refuge.url}: {path}: its trial has run again since")
    print(f"{len(brought)} file{'' if len(brought) == 1 else 's'} brought to {opened.url}")
    if not left:
        print(f"{refuge.url} is not needed any more")
