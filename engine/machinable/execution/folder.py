"""Makes the folder of an execution and writes what is known at its start."""

from __future__ import annotations

import platform
import sys
from itertools import islice
from typing import Any, NamedTuple

from machinable import ids
from machinable.errors import StorageUnavailable
from machinable.execution.host import host, packages
from machinable.plain import Plain, dumps
from machinable.plan.plan import Plan
from machinable.storage import layout
from machinable.storage.backup import code_diff, code_state, digest, pack
from machinable.storage.files import Files

__all__ = ["Code", "backed_up", "begin"]


class Code(NamedTuple):
    """The state of the project's code: facts for execution.json, the archive and the diff, where they are wanted."""

    facts: dict[str, Plain]
    archive: bytes | None
    diff: bytes | None


def backed_up(project: str, files: Files, backup: bool) -> Code:
    """The state of the code, with an archive of it if `backup`; never with the storage in it.

    Raises:
        StorageError: a file of the project cannot be read.
    """
    facts: dict[str, Plain] = {"commit": None, "branch": None, "dirty": None, "backup": None}
    facts.update(code_state(project) or {})
    if not backup:
        return Code(facts, None, None)
    here = files.local_path("")
    archive = pack(project, exclude=[here] if here else [])
    facts["backup"] = digest(archive)
    return Code(facts, archive, code_diff(project))


def begin(files: Files, plan: Plan, engine: dict[str, Plain], code: Code, started: str) -> tuple[str, int]:
    """Makes the folder, exclusively, and writes execution.json, plan.jsonl and the code.

    Returns:
        The folder's name, and the number of the run: 2 for `OY1p1o-2`.

    Raises:
        StorageUnavailable: the storage cannot be written.
    """
    run = 1
    try:
        while not files.create_directory(ids.folder_name(plan.id, run)):
            run += 1
        folder = ids.folder_name(plan.id, run)
        if code.archive is not None:
            files.write(layout.join(folder, layout.CODE), code.archive)
        if code.diff is not None:
            files.write(layout.join(folder, layout.DIFF), code.diff)
        _write_plan(files, layout.join(folder, layout.PLAN), plan)
        facts: dict[str, Any] = {
            "format": layout.FORMAT,
            "id": plan.id,
            "run": run,
            "seed": plan.seed,
            "name": plan.name,
            "started": started,
            "task": plan.task,
            "engine": engine,
            "project": plan.project_name,
            "code": code.facts,
            "host": host(),
            "python": platform.python_version(),
            "packages": packages(),
            "trials": len(plan),
            "platform": sys.platform,
        }
        # Last, because a folder counts as an execution when this is there.
        files.write(layout.join(folder, layout.EXECUTION), (dumps(facts) + "\n").encode("ascii"))
    except OSError as error:
        if isinstance(error, StorageUnavailable):
            raise
        raise StorageUnavailable(
            f"the storage {files.url} cannot be written: {error.strerror or error}", given=files.url,
            todo="Check its permissions and the free space, or give another storage.",
        ) from error  # fmt: skip
    return folder, run


def _write_plan(files: Files, path: str, plan: Plan) -> None:
    """The lines of plan.jsonl, some at a time: a plan of 100,000 trials does not fit into memory twice."""
    lines = (dumps(spec.as_data()).encode("ascii") + b"\n" for spec in plan)
    if not files.appends:
        files.write(path, b"".join(lines))
        return
    appender = files.appender(path)
    while chunk := b"".join(islice(lines, 1000)):
        appender.write(chunk)
    appender.close()
