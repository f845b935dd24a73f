"""Makes the folder of an execution and writes what is known at its start."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from typing import IO, Any, NamedTuple

from machinable import ids
from machinable.execution.environment import host, packages
from machinable.plan.plan import Plan
from machinable.serialization import Plain, dumps
from machinable.settings import CodeBackup
from machinable.storage import layout
from machinable.storage.code_snapshot import code_diff, code_state, pack_into
from machinable.storage.files import Files, writing
from machinable.storage.hashing import stream_digest

__all__ = ["Code", "backed_up", "begin", "plan_lines"]


class Code(NamedTuple):
    """The state of the project's code: facts for execution.json, the archive and the diff, where they are wanted.

    The archive is a temporary file that `begin` closes.
    """

    facts: dict[str, Plain]
    archive: IO[bytes] | None
    diff: bytes | None


IN_MEMORY = 8 * 2**20  # bytes of an archive; a larger one is a file while it is packed and stored


def backed_up(project: str, files: Files, backup: CodeBackup | None) -> Code:
    """The state of the code, with an archive of it if `backup`; never with the storage in it.

    Raises:
        StorageError: a file of the project cannot be read, or the files are larger than they may be.
    """
    facts: dict[str, Plain] = {"commit": None, "branch": None, "dirty": None, "backup": None}
    facts.update(code_state(project) or {})
    if backup is None:
        return Code(facts, None, None)
    from tempfile import SpooledTemporaryFile  # 10 ms with what it imports

    here = files.local_path("")
    archive: IO[bytes] = SpooledTemporaryFile(IN_MEMORY)  # noqa: SIM115  # whoever gets it closes it
    try:
        pack_into(
            archive,
            project,
            exclude=[here] if here else [],
            ignore=backup.ignore,
            limit=backup.limit,
            look_for_secrets=backup.scan,
        )
        facts["backup"] = stream_digest(archive)
    except BaseException:
        archive.close()
        raise
    return Code(facts, archive, code_diff(project))


def begin(
    files: Files, plan: Plan, engine: dict[str, Plain], code: Code, started: str, function: str | None = None
) -> tuple[str, int]:
    """Makes the folder, exclusively, and writes execution.json, plan.jsonl and the code.

    Args:
        function: `module:qualname` of the function that ran in place of every component.

    Returns:
        The folder's name, and the number of the run: 2 for `OY1p1o-2`.

    Raises:
        StorageUnavailable: the storage cannot be written.
    """
    run = 1
    with writing(files, todo="Check its permissions and the free space, or give another storage."):
        while not files.create_directory(ids.folder_name(plan.id, run)):
            run += 1
        folder = ids.folder_name(plan.id, run)
        if code.archive is not None:
            with code.archive as archive:
                archive.seek(0)
                files.write_from(layout.join(folder, layout.CODE), archive)
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
            "function": function,
            "engine": engine,
            "project": plan.project_name,
            "code": code.facts,
            "host": host(),
            "python": sys.version.split()[0],
            "packages": packages(),
            "trials": len(plan),
            "platform": sys.platform,
        }
        # Last, because a folder counts as an execution when this is there.
        files.write(layout.join(folder, layout.EXECUTION), (dumps(facts) + "\n").encode("ascii"))
    return folder, run


def plan_lines(plan: Plan) -> Iterator[bytes]:
    """The lines of plan.jsonl."""
    return (dumps(spec.as_data()).encode("ascii") + b"\n" for spec in plan)


def _write_plan(files: Files, path: str, plan: Plan) -> None:
    """The lines of plan.jsonl, some at a time: a plan of 100,000 trials does not fit into memory twice."""
    lines = plan_lines(plan)
    if not files.appends:
        files.write(path, b"".join(lines))
        return
    appender = files.appender(path)
    while chunk := b"".join(islice(lines, 1000)):
        appender.write(chunk)
    appender.close()
