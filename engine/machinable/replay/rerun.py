"""Plan or run a stored task with restored code, in a process that has imported no other code."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from msgspec.structs import asdict, replace

import machinable.errors
from machinable.component.imports import importing
from machinable.component.source_files import Sources, statements
from machinable.config.secrets import masked_paths
from machinable.display.progress import PlainProgress, Progress
from machinable.errors import MachinableError, MissingMember, NotStored, Refused
from machinable.events import Event, ExecutionStarted
from machinable.execution.execute import execute
from machinable.plan.plan import Plan
from machinable.plan.search_plan import SearchPlan
from machinable.plan.spec import ComponentSpec, Target, TrialSpec
from machinable.plan.table import flatten
from machinable.plan.task import Task, task_from_data
from machinable.replay.exported import load_function
from machinable.results.execution import Execution
from machinable.results.reader import import_paths
from machinable.results.search import SearchLog
from machinable.serialization import Plain, dumps, loads

__all__ = ["PACKAGE", "TaskSubset", "main", "submit", "with_required"]

PACKAGE = os.path.dirname(os.path.abspath(machinable.errors.__file__))
# The storage of the other process is temporary: it needs no lock server, which may be out of reach.
_ENVIRONMENT = {"MACHINABLE_LOCKS": "storage", "PYTHONUNBUFFERED": "1"}


class Request(msgspec.Struct, frozen=True):
    """The request to the other process: run a stored task, or describe its trials."""

    action: str  # "run" or "describe"
    task: Mapping[str, Plain]
    function: str | None  # `module:qualname`, instead of every component
    name: str | None
    seed: str  # that of the execution, as text
    search: Sequence[Mapping[str, Plain]]  # what a search has done, as lines of its ledger; none for other tasks
    uids: Sequence[str] | None  # None means all
    project: str  # the directory with the code
    paths: Sequence[str] = ()  # folders in it from which its modules are imported
    origin: str = ""  # the storage of the execution
    storage: str = ""
    engine: Any = "local"
    show_progress: bool = False


def submit(
    execution: Execution, action: str, uids: Sequence[str] | None, project: str, directory: str, **options: Any
) -> Any:
    """Start the other process, and return its answer: the name of the execution, or descriptions of trials.

    Request and answer are files in the directory. The options are further attributes of `Request`.

    Raises:
        Refused: The other process raised an error, whose exit code this one has, or it ended without an answer.
    """
    task, function = execution.data["task"], execution.data.get("function")
    paths = import_paths(execution.data)
    options["origin"] = execution.files.url
    search = _search(execution) if task.get("search") else []
    name, seed = execution.name, execution.seed_text
    request = Request(action, task, function, name, seed, search, uids, project, paths, **options)
    asked, answered = Path(directory, "request.json"), Path(directory, "answer.json")
    asked.write_text(dumps(asdict(request)), encoding="ascii")
    program = (  # the project comes first only while its own modules are imported
        f"import sys; sys.path[:] = [*filter(None, sys.path), {os.path.dirname(PACKAGE)!r}]; "
        "from machinable.replay.rerun import main; main(*sys.argv[1:])"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MACHINABLE_")}
    if action == "run":  # Python itself imports modules such as sitecustomize from these folders
        folders = [os.path.join(project, path) for path in paths]
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, [*folders, environment.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", program, asked, answered],
        cwd=project,
        env=environment | _ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=None if request.show_progress else subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if not answered.exists():
        raise Refused(
            f"the process that runs the trials again ended with {done.returncode} before it had finished",
            given=done.returncode,
            details=(done.stderr or "").splitlines()[-20:],
        )
    answer = loads(answered.read_bytes())
    answered.unlink()
    if "error" in answer:
        error = Refused("the stored task cannot be run again", details=answer["error"].splitlines())
        error.exit_code = answer["exit_code"]
        raise error
    return answer["answer"]


def _search(execution: Execution) -> list[dict[str, Plain]]:
    """Return what a search has done: samples, results and decisions, and after how many iterations trials ended."""
    rows = SearchLog.read(execution.files, str(execution)).rows
    for trial in execution:
        if trial.status == "pruned" and trial.last_row is not None:
            last = trial.last_row.get("_iteration")
            count = len(trial.records) if last is None else last + 1
            rows.append({"event": "pruned", "uid": trial.uid, "iteration": count, "because": trial.because or ""})
    return rows


# --- in the other process


def main(request_file: str, answer_file: str) -> None:
    """Read a request, and write the answer."""
    request = Request(**loads(Path(request_file).read_bytes()))
    try:
        answer: dict[str, Any] = {"answer": {"run": _run, "describe": _describe}[request.action](request)}
    except MachinableError as error:
        answer = {"error": str(error), "exit_code": error.exit_code}
    temporary = Path(f"{answer_file}.writing")
    temporary.write_text(dumps(answer), encoding="ascii")
    temporary.replace(answer_file)


def _task(request: Request, code_of: Callable[[str, str], Any] | None = None) -> Task:
    with importing(request.project):
        task = task_from_data(request.task, code_of=code_of)
    task.stored_in = request.origin
    task.repeated = request.search or None
    if request.name is not None:
        task.named(request.name)
    return task if request.uids is None else TaskSubset(task, request.uids)


class _Progress(PlainProgress):
    """Progress without its first line, which names the storage, because this one is temporary."""

    def on_event(self, event: Event) -> None:
        (Progress if isinstance(event, ExecutionStarted) else PlainProgress).on_event(self, event)


def _run(request: Request) -> str:
    run = execute if request.function is None else execute(load_function(request.function, request.project))
    execution = run(
        _task(request),
        storage={"storage": request.storage, "code_backup": False},
        seed=request.seed,
        engine=request.engine,
        project=request.project,
        on_failure="continue",
        listeners=[_Progress(partial(print, file=sys.stderr, flush=True))] if request.show_progress else [],
        progress=False,
    )
    return str(execution)


def _describe(request: Request) -> dict[str, Any]:
    """Return what plan.jsonl lacks about each trial, by uid: its definition and the names of its hidden values.

    No code of the project is imported: it may come from others, who only expect that it is copied.
    """
    described = {}
    sources = Sources(request.project, paths=request.paths)
    plan = _task(request, partial(_stand_in, sources)).plan(request.project, request.seed, storage=request.origin)
    for row in request.search:
        if row["event"] == "asked" and isinstance(plan, SearchPlan):
            if row["uids"]:
                plan.plan_sample(row["values"])
                plan.add()
            else:
                plan.refuse()
    for spec in plan:
        definition = spec.definition
        if request.function is not None:
            module, _, name = request.function.partition(":")
            definition = replace(definition, target=Target(module, name, "function"))
        parts = (definition, *definition.children)
        hidden = {key for one in parts for key in flatten(one.config).keys() - flatten(one.stored).keys()}
        hidden |= {path for one in parts for path in masked_paths(one.config, one.stored)}
        described[spec.uid] = {"definition": msgspec.to_builtins(_without_values(definition)), "hidden": sorted(hidden)}
    return described


def _stand_in(sources: Sources, module: str, path: str) -> Any:
    """Return a class or a function with the names of one in the project, which a plan cannot tell from it.

    Raises:
        MissingMember: There is none in the source of the module.
    """
    files = [file for name, file in sources.files_of(module) if name == module]
    found: list[Any] = [ast.parse(sources.read(file)) for file in files]
    for part in path.split("."):
        found = [
            node
            for outer in found
            for node in statements(outer)
            if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.name == part
        ]
    if not found:
        raise MissingMember(
            f"there is no class or function {path!r} in the source of the module {module!r}",
            given=f"{module}:{path}",
            todo="Code that is made while a module is imported can be reproduced, but not exported.",
        )
    stand_in: Any = type(path, (), {}) if isinstance(found[-1], ast.ClassDef) else lambda: None
    stand_in.__module__, stand_in.__qualname__ = module, path
    return stand_in


def _without_values(spec: ComponentSpec) -> ComponentSpec:
    """Return a definition without the fields of plan.jsonl and without possible secrets."""
    return replace(
        spec,
        version=None,
        config={},
        stored={},
        flags={},
        tags={},
        origins={},
        environment=dict.fromkeys(sorted(spec.environment), ""),
        children=tuple(map(_without_values, spec.children)),
    )


# --- some trials of a plan


def with_required(uids: Iterable[str], required_by: Callable[[str], Iterable[str]]) -> set[str]:
    """Return the uids of trials and of their requirements, direct and indirect."""
    waiting, chosen = list(uids), set[str]()
    while waiting:
        uid = waiting.pop()
        if uid not in chosen:
            chosen.add(uid)
            waiting += required_by(uid)
    return chosen


class PlanSubset(Plan):
    """A plan that iterates over some of its trials; an index counts all of them."""

    uids: Collection[str]

    @classmethod
    def of(cls, plan: Plan, uids: Collection[str]) -> PlanSubset:
        """Return these trials of a plan."""
        return plan._copied(cls, uids=uids)

    def __len__(self) -> int:
        return len(self.uids)

    def __iter__(self) -> Iterator[TrialSpec]:
        return (self._spec(index) for index, row in enumerate(self.rows) if row.uid in self.uids)


class TaskSubset(Task):
    """A task of which only some trials run; their flags are those of the whole plan."""

    def __init__(self, task: Task, uids: Sequence[str]) -> None:
        super().__init__(task)
        self._uids = uids

    def plan(self, project: Any = None, seed: object = None, *, storage: str | None = None) -> Plan:
        """Plan the whole task, and return the plan with only these trials and what they require."""
        plan = super().plan(project, seed, storage=storage)
        if isinstance(plan, SearchPlan):
            plan.chosen = self._uids
            return plan
        specs = {spec.uid: spec for spec in plan}
        for uid in self._uids:
            if uid not in specs:
                raise NotStored(
                    f"the trial {uid} is not in the plan that the restored code makes of the task",
                    given=uid,
                    todo="The code, or the version of machinable, makes a different plan from the stored one.",
                )
        uids = with_required(self._uids, lambda uid: [needed.uid for needed in specs[uid].requires.values()])
        return PlanSubset.of(plan, uids)
