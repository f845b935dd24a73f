"""Run the trials of an exported directory. Its `run.py` calls this in the copy of machinable beside it."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from inspect import unwrap
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import replace

from machinable.component.imports import importing, load_component
from machinable.display.progress import PlainProgress
from machinable.display.tables import cell
from machinable.display.terminal import echo
from machinable.errors import UnknownName
from machinable.execution.environment import host, now, packages
from machinable.execution.ledger import Ledger
from machinable.execution.worker_task import InProcessTask
from machinable.plan.spec import ComponentSpec, Target, TrialSpec, spec_from_data
from machinable.results.reader import import_paths
from machinable.serialization import dumps, loads
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles

__all__ = ["load_function", "main"]

INTERRUPTED = 130  # exit code


def main(directory: str, arguments: Sequence[str]) -> int:
    """Run all trials of an exported directory, or those with the given uids, and return the exit code.

    It is 0, 1 if a trial failed, 2 if nothing could run, and 130 if it was interrupted.
    """
    facts = loads(Path(directory, "config.json").read_bytes())
    data, folder = facts["execution"], facts["folder"]
    specs: dict[str, TrialSpec] = {}
    for trial in facts["trials"]:  # requirements come before the trials that need them
        specs[trial["uid"]] = _spec(trial, specs, folder)
    if {"-h", "--help"} & set(arguments):
        echo("Usage: python run.py [UID]…\n\n  Run these trials, or all of them:")
        echo("\n".join(f"  {uid}  {spec.component}" for uid, spec in specs.items()))
        return 0
    if unknown := [uid for uid in arguments if uid not in specs]:
        _show(str(UnknownName("trial", unknown[0], specs)))
        return 2
    chosen = [spec for uid, spec in specs.items() if not arguments or uid in arguments]
    missing = sorted({name for spec in chosen for name in spec.definition.environment if name not in os.environ})
    if missing:
        _show(f"set these environment variables, as the trials had them: {', '.join(missing)}")
        return 2
    project, files = os.path.join(directory, "code"), DirectoryFiles(os.path.join(directory, "results"))
    sys.path[:0] = [os.path.join(project, path) for path in import_paths(data)]
    # A value that trials share is computed by the first of them, with its random numbers.
    _remove(files, layout.BY_CONTENT)
    _begin(files, folder, data, specs.values())
    ledger = Ledger(len(chosen), data["seed"], files, folder, [PlainProgress(_show)])
    function = None if data["function"] is None else load_function(data["function"], project)
    work = InProcessTask(files, folder, project, function=function)
    began = time.perf_counter()
    ledger.began()
    try:
        for spec in chosen:
            _remove(files, layout.join(folder, layout.trial(spec.uid)))
            ledger.started(spec)
            outcome = work(spec)
            if outcome.error is None:
                ledger.finished(spec, outcome)
                if outcome.result is not None:
                    _show(f"  result: {cell(outcome.result)}")
            else:
                ledger.failed(spec, outcome, will_retry=False)
                _show(outcome.error["traceback"].rstrip("\n"))
    except KeyboardInterrupt:
        ledger.interrupted(spec)
    work.close()
    ledger.ended(time.perf_counter() - began)
    _show(f'To read the results in Python, in {directory}: machinable.Storage("results")["{folder}"]')
    return {"finished": 0, "failed": 1}.get(ledger.status, INTERRUPTED)


def _begin(files: Files, folder: str, data: Mapping[str, Any], specs: Collection[TrialSpec]) -> None:
    """Write the files that make the results an execution of a storage, the first time."""
    path = layout.join(folder, layout.EXECUTION)
    if files.exists(path):
        return
    rows = [
        replace(spec, requires={name: replace(one, place=None) for name, one in spec.requires.items()}).as_data()
        for spec in specs
    ]
    here = {"python": platform.python_version(), "platform": sys.platform, "packages": packages(), "host": host()}
    facts = {**data, **here, "started": now(), "engine": {"type": "local", "slots": 1}, "trials": len(rows)}
    files.write(layout.join(folder, layout.PLAN), "".join(f"{dumps(row)}\n" for row in rows).encode("ascii"))
    files.write(path, f"{dumps(facts)}\n".encode("ascii"))


def _remove(files: Files, path: str) -> None:
    with suppress(FileNotFoundError):
        files.remove(path)


def _show(line: str) -> None:
    echo(line, file=sys.stderr)


def load_function(name: str, project: str) -> Any:
    """Return the function `module:qualname`, without the decorator `execute`."""
    module, _, qualname = name.partition(":")
    with importing(project):
        return unwrap(load_component(Target(module, qualname, "function"), project))


def _spec(facts: Mapping[str, Any], others: Mapping[str, TrialSpec], folder: str) -> TrialSpec:
    spec = spec_from_data({**facts, "config": facts["planned"]})
    definition = _with_values(msgspec.convert(facts["definition"], ComponentSpec), spec.definition)
    environment = {name: os.environ.get(name, "") for name in definition.environment}
    requires = {
        name: replace(needed, place=layout.join(folder, needed.uid), spec=others[needed.uid])
        for name, needed in spec.requires.items()
    }
    indirect: dict[str, str] = {}
    for other in (others[needed.uid] for needed in spec.requires.values()):
        indirect |= other.indirect
        indirect |= {one.identity: layout.join(folder, one.uid) for one in other.requires.values()}
    definition = replace(definition, environment=environment)
    return replace(spec, definition=definition, requires=requires, indirect=indirect)


def _with_values(definition: ComponentSpec, planned: ComponentSpec) -> ComponentSpec:
    values = {name: getattr(planned, name) for name in ("version", "config", "stored", "flags", "tags")}
    return replace(definition, **values, children=tuple(map(_with_values, definition.children, planned.children)))
