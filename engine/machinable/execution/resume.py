"""An execution goes on in its own folder: what has finished stays, all else that counts now runs."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property
from typing import Any

from machinable import ids
from machinable.errors import Damaged, InvalidType, InvalidValue, NotStored, Refused
from machinable.execution.attempts import artifacts_in, outcome_left, status_left
from machinable.execution.directory import Code, plan_lines
from machinable.execution.environment import host
from machinable.execution.ledger import Journal
from machinable.execution.queue import Available
from machinable.execution.reuse import Pointers, ReusePolicy, described
from machinable.execution.scheduler import Completed, PreviousAttempt
from machinable.plan.plan import Plan
from machinable.plan.spec import Outcome, TrialSpec
from machinable.plan.table import cell, flatten
from machinable.plan.task import Task, task_from_data
from machinable.results.execution import Execution
from machinable.results.storage import Storage
from machinable.results.trial import LEASE, Trial
from machinable.serialization import Plain, decode, dumps
from machinable.storage import layout
from machinable.storage.cleanup import workers_left
from machinable.storage.files import Files, writing
from machinable.storage.locks import Lease, Locks
from machinable.storage.process_info import is_gone, this_process
from machinable.storage.streams import read_rows

__all__ = ["Changes", "Resumption", "stored_execution", "stored_task"]

WORKER_EXIT_TIMEOUT = 15.0  # seconds in which workers have ended whose executing process was killed
HANDOFF_WINDOW = 2.0  # seconds in which they have noticed that, where it cannot be seen whether there are any
MARKED = 0.2  # the same where they leave a mark: all threads of a killed process are gone by then
PAUSE = 0.02  # seconds between two looks for them
SHOWN = 5
_STAYS = ("finished", "reused")


@dataclass(frozen=True)
class Changes:
    """What counts now against what is stored, as uids of trials.

    Attributes:
        added: they are new, or their configuration is another one (then they are removed, too). removed: they do not
            count any more; their folders stay. kept: they are in both. to_run: those of the plan that will run.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    to_run: tuple[str, ...]

    def __str__(self) -> str:
        return f"+{len(self.added)} \N{MINUS SIGN}{len(self.removed)} ={len(self.kept)}"

    def told_of(self, execution: str) -> str:
        """One line about them."""
        counts = f"{len(self.added)} added, {len(self.removed)} removed, {len(self.kept)} kept"
        return f"{execution}: {self}: {counts}; {len(self.to_run)} to run"


def stored_execution(url: str, name: Any, seed: Any) -> Execution:
    """The execution that is to go on.

    Args:
        url: of the storage. name: of its folder, as `OY1p1o-2`. seed: what was said besides, None for nothing.

    Raises:
        InvalidType, InvalidValue: that is no id, there is no storage, or the seed is another one.
        NotStored, StorageError: there is no such execution, or it cannot be read.
    """
    if not isinstance(name, str):
        raise InvalidType(f"resume takes the id of an execution, not {name!r}", given=name)
    identifier, _ = ids.parse_folder_name(name)
    if url.startswith("mem:"):
        raise InvalidValue(
            f"{name} cannot be resumed without the storage that it lies in",
            given=name,
            todo="Say where: execute(resume=…, storage=DIRECTORY).",
        )
    if seed is not None and ids.seed_of(seed) != ids.decode(identifier):
        raise InvalidValue(
            f"{name} has a seed of its own, and {seed!r} is another one", given=seed, todo="Leave out the seed."
        )
    storage = Storage(url, trust=True)
    try:
        execution = storage[name]
    except NotStored as error:
        if storage.files.is_directory(name):
            raise NotStored(
                f"{name} in {storage.url} never began: its process ended while it wrote down what is to run",
                given=name,
                todo=f"Execute the task again, with seed={identifier!r} for the same numbers.",
            ) from None
        raise error from None
    total = execution.data.get("trials")
    if isinstance(total, int) and total != len(execution):
        raise Damaged(
            f"{layout.join(storage.url, name, layout.PLAN)} has {len(execution)} of {total} trials",
            given=len(execution),
            todo="Restore the file from a copy, or give the task: then that counts.",
        )
    return execution


def stored_task(execution: Execution) -> Task:
    """The task that an execution was made of."""
    task = task_from_data(execution.data["task"])
    return task if execution.name is None else task.named(execution.name)


class Resumption:
    """One execution that is to go on.

    Args:
        stored: as it is. plan: what counts now. is_stored_task: whether the plan is of the stored task, so that
            nothing but the project can have changed it. rule: says what is to be run again.

    Attributes:
        changes: what that comes to. unchanged: uids of the trials that stay as they are.
        doubtful: uids of those that stay if what they require, and runs, gives the same as before.

    Raises:
        Refused: the project gives another plan now, and nobody asked for that.
    """

    def __init__(self, stored: Execution, plan: Plan, is_stored_task: bool, rule: ReusePolicy) -> None:
        self._stored = stored
        self._rule = rule
        self._plan = plan
        self._is_stored_task = is_stored_task
        self._look()

    @property
    def to_run(self) -> bool:
        """Whether there is anything to do."""
        changes = self.changes
        return bool(changes.to_run or changes.added or changes.removed) or not self._stored.has_ended

    def _look(self) -> None:
        stored = {trial.uid: trial for trial in self._stored}
        planned = {row.uid: index for index, row in enumerate(self._plan.rows)}
        self._changed = {
            uid
            for uid, index in planned.items()
            if uid in stored and stored[uid].identity != self._plan.identity(index)
        }
        self.unchanged = frozenset(
            uid for uid in planned if uid in stored and uid not in self._changed and stored[uid].status in _STAYS
        )
        if self._is_stored_task:
            self._refuse_others(stored, planned)
        self.doubtful = self._in_doubt()
        self.unchanged -= self.doubtful
        new = [uid for uid in planned if uid not in stored or uid in self._changed]
        self.changes = Changes(
            tuple(new),
            tuple(uid for uid in stored if uid not in planned or uid in self._changed),
            tuple(uid for uid in planned if uid in stored and uid not in self._changed),
            tuple(uid for uid in planned if uid not in self.unchanged and uid not in self.doubtful),
        )

    def _in_doubt(self) -> frozenset[str]:
        """Take out what is to be run again; gives the trials that depend on something that runs."""
        uses = self._plan.uses
        if self._rule.rerun:
            self.unchanged -= {
                row.uid for row in self._plan.rows if self._rule.names(uses[row.use].component, uses[row.use].name)
            }
        if not any(use.requires for use in uses) or not self._rule.cascade:
            return frozenset()
        moving: set[int] = set()  # the uses of requirements that run, or may have to
        doubtful = set()
        for row in self._plan.rows:
            use = uses[row.use]
            is_doubtful = any(needed.use in moving for needed in use.requires.values())
            if is_doubtful and row.uid in self.unchanged:
                doubtful.add(row.uid)
            if use.identity and (is_doubtful or row.uid not in self.unchanged):
                moving.add(row.use)
        return frozenset(doubtful)

    def _refuse_others(self, stored: Mapping[str, Trial], planned: Mapping[str, int]) -> None:
        """See that the stored task means what it meant. Of what has finished, what is stored counts."""
        finished = {uid for uid in self._changed if stored[uid].status in _STAYS}
        lines = [
            f"{stored[uid].component} {uid}: {_difference(stored[uid], self._plan[planned[uid]])}"
            for uid in planned
            if uid in self._changed and uid not in finished
        ]
        lines += [
            f"{trial.component} {uid}: is not there any more" for uid, trial in stored.items() if uid not in planned
        ]
        lines += [f"{self._plan[index].component} {uid}: is new" for uid, index in planned.items() if uid not in stored]
        if lines:
            name = self._stored
            raise Refused(
                f"the project gives other trials than {name} began with",
                details=[*lines[:SHOWN], *([f"and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else [])],
                todo=f"Bring it back to what it was (machinable restore {name} DIR gives the former files), or give "
                f"the task, then that is what counts: execute(task, resume={str(name)!r}).",
            )
        self._changed -= finished
        self.unchanged |= finished

    # from here on it goes on

    def take(self, locks: Locks) -> Lease | None:
        """Keep others from resuming it, and see that nobody carries it out.

        Raises:
            Refused: somebody does.
        """
        path = layout.join(str(self._stored), layout.EXECUTION_LEASE)
        lease = locks.take(path, {"execution": str(self._stored)})
        if lease is None:
            facts = locks.holder(path) or {}
            raise Refused(
                f"{self._stored} is running: {described(facts)}",
                given=str(self._stored),
                details=_heard(facts),
                todo="Wait until it has ended, or end that process. A process that is gone from another host is given "
                f"up {LEASE:g} s after its last sign of life.",
            )
        try:
            self._wait_for_orphans()
            self._stored.refresh()
            self._look()
        except BaseException:
            lease.release()
            raise
        return lease

    def _wait_for_orphans(self) -> None:
        """Wait for the end of workers whose executing process was killed."""
        files, name, here = self._stored.files.inner, str(self._stored), this_process()["host"]
        began = time.monotonic()
        while True:
            alive = next(self._alive(), None)
            left = workers_left(files, name) if alive is None else []
            passed = time.monotonic() - began
            if alive is None and not left and passed >= self._hidden():
                return
            who, where, pid = f"a worker of {name}", here, left[0] if left else None
            if alive is not None:
                who, where, pid = f"the trial {alive.uid} of {name}", *map((alive.host or {}).get, ("name", "pid"))
            if where != here or passed > WORKER_EXIT_TIMEOUT:
                raise Refused(
                    f"{who} seems to run on {where} (process {pid})",
                    given=name,
                    todo=f"End that process; one that is gone is given up {LEASE:g} s after its last sign of life.",
                )
            time.sleep(PAUSE)
            self._stored.refresh()

    def _hidden(self) -> float:
        """For how many seconds a worker may be at work, or about to be, that cannot be seen: it may have got a trial
        just before its executing process was killed."""
        since = datetime.now(timezone.utc) - timedelta(seconds=WORKER_EXIT_TIMEOUT)
        begun = [trial for trial in self._stored if trial.event == "started" and trial.host is None]
        if not any(trial.noted is None or datetime.fromisoformat(trial.noted) > since for trial in begun):
            return 0.0
        if self._engine == "local":
            return 0.0
        has_marks = self._engine == "processes" and self._stored.files.inner.marks_processes
        return MARKED if has_marks else HANDOFF_WINDOW

    @cached_property
    def _engine(self) -> str | None:
        """Where it was carried out the last time."""
        ledger = read_rows(self._stored.files, layout.join(str(self._stored), layout.LEDGER))
        engines = [row.get("engine") for row in ledger if row.get("event") == "resumed"]
        engine = engines[-1] if engines else self._stored.data.get("engine")
        return engine.get("type") if isinstance(engine, dict) else None

    def _alive(self) -> Iterator[Trial]:
        """Trials of which a process seems to be at work."""
        here = this_process()
        for trial in self._stored:
            if trial.status != "running":
                continue
            facts = trial.host or {}
            is_ours = facts.get("name") == here["host"]
            gone = is_ours and is_gone({**here, "pid": facts.get("pid"), "born": ""})
            if not gone and not (is_ours and facts.get("pid") == os.getpid()):
                yield trial

    def begin(
        self, plan: Plan, journal: Journal, pointers: Pointers | None, engine: Mapping[str, Plain], code: Code
    ) -> Completed:
        """Write down that it goes on, with what.

        Returns:
            What is there already.

        Raises:
            StorageUnavailable: the storage cannot be written.
        """
        files, changes = self._stored.files, self.changes
        with writing(files):
            self._write_code(files, code)
            if self._changed or [trial.uid for trial in self._stored] != [row.uid for row in plan.rows]:
                self._write_plan(files, plan)
            journal.resumed(
                len(self.unchanged),
                {
                    "added": len(changes.added),
                    "removed": len(changes.removed),
                    "kept": len(changes.kept),
                    "engine": dict(engine),
                    "code": code.facts,
                    "host": host(),
                },
            )
            return self._done(files, plan, journal, pointers)

    def _write_code(self, files: Files, code: Code) -> None:
        """Keep the code beside the former, if it is other code."""
        if code.archive is None:
            return
        with code.archive as archive:
            before, now = self._stored.data["code"].get("backup"), code.facts["backup"]
            if before is None or before == now:
                return
            warnings.warn(
                f"the code of {self._stored} has changed since it began ({before} then, {now} now): "
                "what runs from here on runs with the present code",
                UserWarning,
                stacklevel=2,
            )
            archive.seek(0)
            files.write_from(self._free(files, layout.CODE), archive)

    def _free(self, files: Files, name: str) -> str:
        """A name beside a file that nobody has."""
        number = 1
        while files.exists(path := layout.join(str(self._stored), layout.former(name, number))):
            number += 1
        return path

    def _write_plan(self, files: Files, plan: Plan) -> None:
        """Replace the plan and the task; what they were is kept beside them."""
        folder = str(self._stored)
        for name in (layout.PLAN, layout.EXECUTION):
            files.write(self._free(files, name), files.read(layout.join(folder, name)))
        files.write(layout.join(folder, layout.PLAN), b"".join(plan_lines(plan)))
        facts = dict(self._stored.data) | {"task": plan.task, "name": plan.name, "trials": len(plan)}
        files.write(layout.join(folder, layout.EXECUTION), (dumps(facts) + "\n").encode("ascii"))

    def _done(self, files: Files, plan: Plan, journal: Journal, pointers: Pointers | None) -> Completed:
        folder = str(self._stored)
        results: dict[str, Available] = {}
        former: dict[str, PreviousAttempt] = {}
        doubtful: dict[str, Outcome] = {}
        for index, row in enumerate(plan.rows):
            if row.uid not in self._stored:
                continue
            trial = self._stored[row.uid]
            if row.uid not in self.unchanged:
                if (attempt := self._former(files, folder, trial)) is not None:
                    former[row.uid] = attempt
                left = outcome_left(files, folder, row.uid) if row.uid in self.doubtful else None
                if left is not None:
                    doubtful[row.uid] = left
                continue
            if trial.source is not None:
                if plan.uses[row.use].identity:
                    source, _, uid = trial.source.partition("/")
                    artifacts = artifacts_in(status_left(files, source, uid) or {})
                    results[row.uid] = Available(trial.source, artifacts)
                continue
            is_told = trial.event == "finished"
            if is_told and not plan.uses[row.use].identity:
                continue
            outcome = outcome_left(files, folder, row.uid) or Outcome(row.uid, "finished", 1, 0.0)
            spec = plan[index]
            if spec.is_requirement:
                results[row.uid] = Available(f"{folder}/{row.uid}", outcome.artifacts)
                if pointers is not None and pointers.find(spec.identity) is None:
                    pointers.write(spec, folder, outcome)
            if not is_told:
                journal.told_late(spec, outcome)
        return Completed(self.unchanged, results, former, doubtful)

    def _former(self, files: Files, folder: str, trial: Trial) -> PreviousAttempt | None:
        """The last attempt of a trial that is to run, if it has left anything."""
        if not trial.has_begun:
            return None
        status = status_left(files, folder, trial.uid)
        if status is not None:
            stopped = status["state"] != "finished" and trial.uid not in self._changed
            kept = stopped and status.get("at_checkpoint") is not None
            return PreviousAttempt(int(status.get("attempt") or 1), status.get("checkpoint") if kept else None)
        path = layout.join(folder, layout.trial(trial.uid))
        if not files.entries(path):
            return None
        numbers = [int(entry.name) for entry in files.entries(f"{path}/{layout.ATTEMPTS}") if entry.name.isdecimal()]
        return PreviousAttempt(max(numbers, default=0) + 1)


def _heard(facts: Mapping[str, Any]) -> list[str]:
    return [f"its last sign of life: {facts['heartbeat']}"] if facts.get("heartbeat") else []


def _difference(trial: Trial, spec: TrialSpec) -> str:
    """What differs between a stored trial and what it would be now."""
    before, now = flatten(decode(trial.planned("config"))), flatten(spec.stored)
    parts = [
        f"{key} {cell(before[key]) if key in before else 'absent'} → {cell(now[key]) if key in now else 'absent'}"
        for key in dict.fromkeys([*before, *now])
        if key not in before or key not in now or dumps(before[key]) != dumps(now[key])
    ]
    return ", ".join(parts) or "what it computes is another thing (its children, flags, module or requirements)"
