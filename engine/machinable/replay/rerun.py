"""Runs a stored task again in restored code: the inside of a process of its own, and how that is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import machinable.errors
from machinable.errors import MachinableError, Refused
from machinable.plan.plan import Plan
from machinable.plan.spec import Target, TrialSpec
from machinable.plan.table import flatten
from machinable.plan.task import Task
from machinable.replay.partial_plan import part
from machinable.results.execution import Execution
from machinable.serialization import Plain, decode, encode

__all__ = ["Request", "asked", "code_of", "main", "request_of"]


@dataclass(frozen=True)
class Request:
    """What the other process shall do.

    Attributes:
        what: `run`: run the task into `storage`; `describe`: only say what the plan knows about each trial.
        task, name, seed: as stored. uids: of the trials that are meant; None: all.
        function: `module:qualname` of what runs in place of every component.
        project: the restored code. storage: a directory. engine: where trials run. shows: whether progress is told.
    """

    what: str
    task: Mapping[str, Plain]
    function: str | None
    name: str | None
    seed: str
    uids: Sequence[str] | None
    project: str
    storage: str = ""
    engine: Any = "local"
    shows: bool = False


def request_of(
    what: str,
    execution: Execution,
    uids: Sequence[str] | None,
    project: str,
    storage: str = "",
    engine: Any = "local",
    shows: bool = False,
) -> Request:
    """A request about a stored execution."""
    data = execution.data
    return Request(
        what,
        data["task"],
        data.get("function"),
        execution.name,
        execution.id,
        uids,
        project,
        storage,
        engine,
        shows,
    )


# Nobody else is in the storage that it runs into, so it needs no lock server, which may be out of reach.
_SURROUNDINGS = {"MACHINABLE_LOCKS": "storage", "PYTHONUNBUFFERED": "1"}


def asked(request: Request, directory: str) -> Any:
    """The answer of another process, in which nothing of this one is in the way: the folder's name, or descriptions.

    What it says on stderr is said here if the request `shows` it.

    Args:
        directory: for its files.

    Raises:
        MachinableError: what was raised there. Refused: the process ended before it could answer.
    """
    paths = [os.path.join(directory, name) for name in ("request.json", "answer.json")]
    with open(paths[0], "w", encoding="ascii") as file:
        json.dump(encode(dict(vars(request))), file)
    home = os.path.dirname(os.path.dirname(os.path.abspath(machinable.errors.__file__)))
    program = (  # the project comes first only while its own modules are imported
        f"import sys; sys.path[:] = [*filter(None, sys.path), {home!r}]; "
        "from machinable.replay.rerun import main; main(*sys.argv[1:])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MACHINABLE_")}
    last: deque[str] = deque(maxlen=20)
    with subprocess.Popen(
        [sys.executable, "-c", program, *paths],
        cwd=request.project,
        env=environment | _SURROUNDINGS,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    ) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                last.append(line.rstrip("\n"))
                if request.shows:
                    print(last[-1], file=sys.stderr, flush=True)
        except BaseException:
            process.terminate()
            raise
    if not os.path.exists(paths[1]):
        raise Refused(
            f"the process that runs the trials again ended with {process.returncode} before it was done",
            given=process.returncode,
            details=list(last),
        )
    with open(paths[1], encoding="ascii") as file:
        answer = decode(json.load(file))
    os.unlink(paths[1])
    if "error" in answer:
        raise _error(answer["error"])
    return answer["answer"]


def _error(facts: Mapping[str, Any]) -> MachinableError:
    kind: type[MachinableError] = getattr(machinable.errors, facts["kind"], MachinableError)
    plain = MachinableError.__init__  # what others keep besides has not travelled
    kind = next(base for base in kind.__mro__ if issubclass(base, MachinableError) and base.__init__ is plain)
    error = kind.__new__(kind)  # of errors that are those of Python, too, only their own makes one
    MachinableError.__init__(error, "the stored task cannot be run again", details=facts["lines"])
    error.exit_code = facts["exit_code"]
    return error


# --- inside


def main(request_file: str, answer_file: str) -> None:
    """Do what a request asks for, and leave the answer."""
    with open(request_file, encoding="ascii") as file:
        request = Request(**decode(json.load(file)))
    try:
        answer: dict[str, Any] = {"answer": {"run": _run, "describe": _describe}[request.what](request)}
    except MachinableError as error:
        answer = {
            "error": {
                "kind": type(error).__name__,
                "lines": str(error).splitlines(),
                "exit_code": error.exit_code,
            }
        }
    temporary = f"{answer_file}.writing"
    with open(temporary, "w", encoding="ascii") as file:
        json.dump(encode(answer), file)
    os.replace(temporary, answer_file)


def _task(request: Request) -> Task:
    from machinable.component.imports import importing
    from machinable.plan.task import task_from_data

    with importing(request.project):
        task = task_from_data(request.task)
    if request.name is not None:
        task.named(request.name)
    return task if request.uids is None else _Chosen(task, request.uids)


def _run(request: Request) -> str:
    from machinable.display.progress import PlainProgress, Progress
    from machinable.events import Event, ExecutionStarted
    from machinable.execution.execute import execute

    task = _task(request)
    progress = Progress()
    told = PlainProgress(progress, lambda line: print(line, file=sys.stderr, flush=True))

    def listener(event: Event) -> None:
        # That it begins says where it is kept, which is not for long.
        (progress if isinstance(event, ExecutionStarted) else told)(event)

    run = execute if request.function is None else execute(_function(request.function, request.project))
    execution = run(
        task,
        storage={"storage": request.storage, "code_backup": False},
        seed=request.seed,
        engine=request.engine,
        project=request.project,
        on_failure="continue",
        listeners=[listener] if request.shows else [],
    )
    return str(execution)


def _function(text: str, project: str) -> Any:
    """The function of that name; where it was decorated with `execute`, that one is within."""
    from inspect import unwrap

    from machinable.component.imports import load_component

    module, _, name = text.partition(":")
    return unwrap(load_component(Target(module, name, "function"), project))


def _describe(request: Request) -> dict[str, Any]:
    """What code each trial needs, by uid: plain data that are not in plan.jsonl."""
    described = {spec.uid: code_of(spec) for spec in _task(request).plan(request.project, request.seed)}
    if request.function is not None:
        module, _, name = request.function.partition(":")
        for code in described.values():
            code |= {"target": module, "class": name, "kind": "function"}
    return described


def code_of(spec: TrialSpec) -> dict[str, Any]:
    """What code a trial needs, with which threads and surroundings: plain data that are not in plan.jsonl."""
    return {
        **_class_of(spec),
        "children": [_class_of(child) for child in spec.children],
        "change_directory": spec.change_directory,
        "environment": sorted(spec.environment),
        "threads": spec.threads,
        "seeding": spec.seeding,
        "content": spec.content,
    }


def _class_of(spec: Any) -> dict[str, Any]:
    stored = flatten(spec.stored)
    return {
        "class": spec.target.name,
        "kind": spec.target.kind,
        "target": spec.target.module,
        "mixins": [[mixin.attribute, mixin.module, mixin.class_name] for mixin in spec.mixins],
        "evaluate": spec.evaluate,
        "hidden": [key for key in flatten(spec.config) if key not in stored],
    }


class _Chosen(Task):
    """A task of which only some trials are run; their flags are those of the whole plan."""

    def __init__(self, task: Task, uids: Sequence[str]) -> None:
        super().__init__(task)
        self._uids = uids

    def plan(self, project: Any = None, seed: object = None) -> Plan:
        return part(super().plan(project, seed), self._uids)
