"""Create the folder of an execution, and write the files that are known at its start."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from inspect import unwrap
from itertools import islice
from typing import IO, Any

from msgspec import Struct

from machinable import ids
from machinable.component.source_files import Sources, code_of
from machinable.config.secrets import is_secret_name
from machinable.engines.base import Engine
from machinable.errors import Refused, WrongType, listed, warn
from machinable.execution.environment import host, now, packages
from machinable.plan.plan import Plan
from machinable.plan.search_plan import SearchPlan
from machinable.plan.spec import TrialSpec
from machinable.serialization import Plain, as_plain, dumps, is_hidden
from machinable.settings import CodeBackup
from machinable.storage import layout
from machinable.storage.code_snapshot import MAX_LISTED, code_diff, code_state, pack_into, scan
from machinable.storage.credentials import without_credentials
from machinable.storage.files import Files, writing
from machinable.storage.hashing import digest, stream_digest

__all__ = [
    "ProjectCode",
    "create_execution",
    "engine_again",
    "engine_facts",
    "pack_project",
    "plan_line",
    "plan_lines",
    "read_code",
]

MAX_IN_MEMORY = 8 * 2**20  # bytes of an archive; larger ones are packed in a file instead of in memory


class ProjectCode(Struct, frozen=True):
    """The state of the project's code."""

    facts: dict[str, Plain]  # what execution.json says about it
    archive: IO[bytes] | None = None  # a temporary file with all files, if a backup is made; closed by its writer
    diff: bytes | None = None  # the uncommitted changes, if a backup is made


def read_code(
    sources: Sources,
    modules: Iterable[str],
    changed: Iterable[str],
    files: Files,
    backup: CodeBackup | None,
    objects: Iterable[Any] = (),
) -> ProjectCode:
    """Return the state of the code that trials import, and its backup.

    Args:
        sources: The source files of the project.
        modules: The modules of the components.
        changed: Files that differ from the code that runs, see `begin_project`.
        files: The storage, which the archive excludes.
        backup: How the archive is made; None for no archive.
        objects: The classes and functions that the task was given.

    Raises:
        StorageError: A file of the project cannot be read, or the files exceed the size limit.
    """
    facts: dict[str, Plain] = {"commit": None, "branch": None, "dirty": None, "backup": None}
    state = code_state(sources.project)
    facts.update(state or {})
    imported: dict[str, Plain] = {path: digest(data) for path, data in code_of(sources, modules).items()}
    facts["files"] = imported
    facts["changed"] = list(changed)
    facts["paths"] = [path.rstrip("/") for path in sources.roots() if path]
    if backup is None:
        return ProjectCode(facts)
    if cells := _cells(objects, sources):
        facts["cells"] = cells
        findings = [one for cell in cells for one in scan("a cell", cell.encode()) if backup.scan]
        if findings:
            warn(
                f"the stored code of cells contains possible secrets: {listed(findings, MAX_LISTED)}. Mark a false "
                "alarm with `not a secret` on its line, or disable the scan with {scan: false}."
            )
    from tempfile import SpooledTemporaryFile  # 10 ms with what it imports

    archive: IO[bytes] = SpooledTemporaryFile(MAX_IN_MEMORY)  # noqa: SIM115  # the writer closes it
    try:
        pack_project(archive, sources, files, backup, imported)
        facts["backup"] = stream_digest(archive)
    except BaseException:
        archive.close()
        raise
    return ProjectCode(facts, archive, code_diff(sources.project, state))


def _cells(objects: Iterable[Any], sources: Sources) -> list[str]:
    """Return the source of the cells, or of the scripts outside of the project, in which objects were defined."""
    import linecache

    found: dict[str, None] = {}
    for one in objects:
        members = vars(one).values() if isinstance(one, type) else [one]
        codes = [getattr(unwrap(member), "__code__", None) for member in members if callable(member)]
        for file in {code.co_filename for code in codes if one.__module__ == "__main__" and code is not None}:
            if sources.path_of(file) is None:
                found["".join(linecache.getlines(file))] = None
    return [text for text in found if text]


def pack_project(
    archive: IO[bytes], sources: Sources, files: Files, backup: CodeBackup, needed: Iterable[str] = ()
) -> None:
    """Write an archive of the project's files without the storage; warn if it lacks those that are needed."""
    here = files.local_path("")
    pack_into(
        archive,
        sources.project,
        exclude=[here] if here else [],
        ignore=backup.ignore,
        limit=backup.limit,
        look_for_secrets=backup.scan,
        read_source=sources.read,
        needed=needed,
    )


def engine_facts(engine: Engine) -> dict[str, Plain]:
    """Return the facts about an engine in execution.json and the ledger."""
    facts: dict[str, Plain] = {"type": engine.name, "slots": engine.slots}
    if engine.given not in (None, engine.name):
        facts["given"] = engine.given
    if engine.given_options:
        stored = {name: value for name, value in engine.given_options.items() if _is_stored(engine, name, value)}
        facts["options"] = as_plain(stored)
        if left_out := sorted(engine.given_options.keys() - stored.keys()):
            facts["left_out"] = [*left_out]
    return facts


def engine_again(name: str, facts: Mapping[str, Any], todo: str | None = None) -> str | dict[str, Any]:
    """Return the engine of an execution, of which these facts are stored, as it can be given again.

    Args:
        name: The execution.
        facts: The facts about its engine.
        todo: What to do if some of its options are not stored; by default, to give it again.

    Raises:
        Refused: Some of its options are not stored.
    """
    kind = str(facts.get("type"))
    if left_out := facts.get("left_out"):
        missing = ", ".join(f"{name}: …" for name in left_out)
        raise Refused(
            f"{name} ran on the engine {kind!r} with options that are not stored: {listed(left_out)}",
            given=left_out,
            todo=todo
            or f"Give the engine again: in machinable.yaml execution: {{engine: {{type: {kind}, {missing}}}}}, or in "
            f"Python engine={{…}}. To do without them: --engine {kind}.",
        )
    if options := facts.get("options"):
        return {**options, "type": kind}
    return str(facts.get("given") or kind)


def _is_stored(engine: Engine, name: str, value: Any) -> bool:
    """Return whether an option of an engine is stored: it is plain, and has no secret."""
    if name in engine.unstored or is_hidden(name) or is_secret_name(name):
        return False
    try:
        plain = as_plain(value)
    except WrongType:
        return False
    return _has_no_secret(plain)


def _has_no_secret(value: Plain) -> bool:
    if isinstance(value, str):
        return without_credentials(value) == value
    if isinstance(value, dict):
        return all(
            not is_hidden(key) and not is_secret_name(str(key)) and _has_no_secret(item) for key, item in value.items()
        )
    return all(map(_has_no_secret, value)) if isinstance(value, list) else True


def create_execution(
    files: Files,
    plan: Plan,
    engine: Engine,
    code: ProjectCode,
    function: str | None = None,
    hold: Callable[[str], object] = lambda folder: None,
) -> str:
    """Create a new directory, write execution.json, plan.jsonl and the code into it, and return its name.

    It is `OY1p1o` or, if that exists, `OY1p1o-2`.

    Args:
        files: The storage.
        plan: The plan.
        engine: The engine that runs it.
        code: The code of the project.
        function: The function that replaces every component.
        hold: Called with the name before anything is written into the directory, which others cannot use yet.

    Raises:
        StorageUnavailable: The storage cannot be written.
    """
    run, started = 1, now()
    with writing(files, todo="Check its permissions and the free space, or give another storage."):
        taken: set[str] = set()
        while (folder := ids.folder_name(plan.id, run)) in taken or not files.create_directory(folder):
            if not taken and files.reach == "anywhere":  # each attempt is a request; one request lists all names
                taken = {entry.name for entry in files.entries("")}
            run += 1
        hold(folder)
        if code.archive is not None:
            with code.archive as archive:
                archive.seek(0)
                files.write_from(layout.join(folder, layout.CODE), archive)
        if code.diff is not None:
            files.write(layout.join(folder, layout.DIFF), code.diff)
        lines, path = plan_lines(plan), layout.join(folder, layout.PLAN)
        if files.appends:  # in chunks: the lines of 100,000 trials would need as much memory as the plan again
            appender = files.appender(path)
            while chunk := b"".join(islice(lines, 1000)):
                appender.write(chunk)
            appender.close()
        else:
            files.write(path, b"".join(lines))
        facts: dict[str, Any] = {
            "format": layout.FORMAT,
            "id": plan.id,
            "run": run,
            "seed": plan.seed,
            **({"seeds": "content"} if plan.by_content else {}),
            "name": plan.name,
            "started": started,
            "task": plan.request.as_data(),
            "function": function,
            "engine": engine_facts(engine),
            "project": plan.project_name,
            "code": code.facts,
            "host": host(),
            "python": sys.version.split()[0],
            "packages": packages(),
            **({} if isinstance(plan, SearchPlan) else {"trials": len(plan)}),
            "platform": sys.platform,
        }
        # Last, because a directory counts as an execution once this file exists.
        files.write(layout.join(folder, layout.EXECUTION), (dumps(facts) + "\n").encode("ascii"))
    return folder


def plan_lines(plan: Plan) -> Iterator[bytes]:
    """Yield the lines of plan.jsonl."""
    return map(plan_line, plan)


def plan_line(spec: TrialSpec) -> bytes:
    """Return the line of a trial in plan.jsonl."""
    return dumps(spec.as_data()).encode("ascii") + b"\n"
