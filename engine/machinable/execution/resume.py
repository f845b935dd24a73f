"""Resume an execution in its own folder: finished trials stay, all others of the plan run."""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping
from contextlib import closing, suppress
from datetime import datetime, timedelta, timezone
from typing import Any

from msgspec import Struct

from machinable import ids
from machinable.display.terminal import echo
from machinable.engines import registry
from machinable.engines.base import Engine
from machinable.errors import Damaged, InvalidType, InvalidValue, NotStored, Refused, listed, warn
from machinable.execution.attempts import Completed, read_outcome, read_status
from machinable.execution.directory import ProjectCode, engine_again, engine_facts, plan_line, plan_lines
from machinable.execution.environment import host
from machinable.execution.ledger import Ledger
from machinable.execution.reuse import ReusePolicy, SharedResults, holder_text
from machinable.plan.plan import Plan
from machinable.plan.search_plan import SearchPlan
from machinable.plan.spec import Outcome, TrialSpec
from machinable.plan.table import cell, flatten
from machinable.results.execution import Execution
from machinable.results.pointers import Available
from machinable.results.reader import code_facts
from machinable.results.storage import Storage
from machinable.results.trial import LEASE, Trial
from machinable.serialization import decode, dumps
from machinable.storage import layout
from machinable.storage.artifacts import artifact_fault, artifacts_in
from machinable.storage.cleanup import workers_left
from machinable.storage.documents import EVENT, read_rows
from machinable.storage.files import Files, writing
from machinable.storage.locks import Lease, Locks
from machinable.storage.numbered_parts import growing_file, part_numbers, read_parts
from machinable.storage.process_info import is_gone, is_running, this_process

__all__ = ["Changes", "compare", "stored_execution", "take_over", "write_resumption"]

WORKER_EXIT_TIMEOUT = 15.0  # seconds within which workers exit after their executing process was killed
REMOTE_EXIT_TIMEOUT = 30.0  # seconds for which a cluster keeps workers whose driver was killed
HANDOFF_WINDOW = 2.0  # seconds within which a worker notices that it has received a trial, if it leaves no marker
MARKED_HANDOFF_WINDOW = 0.2  # the same if it leaves a marker: all threads of the killed process are gone by then
POLL_INTERVAL = 0.02  # seconds between two checks for workers
MAX_LISTED = 5  # differences in a message
_STAYS = ("finished", "reused", "unneeded", "pruned")
_FAILED = ("failed", "blocked", "skipped")


class Changes(Struct, frozen=True):
    """The changes that a plan makes to the stored execution that it resumes, as uids of trials."""

    stored: Execution
    is_stored_task: bool  # whether the plan is of the stored task, so that only the project can have changed it
    added: tuple[str, ...]  # new trials, and those whose identity has changed (which are also removed)
    removed: tuple[str, ...]  # trials that are ignored from now on; their directories stay
    kept: tuple[str, ...]  # trials in both
    to_run: tuple[str, ...]  # trials of the plan that will run
    changed: frozenset[str]  # trials whose identity has changed
    unchanged: frozenset[str]  # finished trials, which stay
    doubtful: frozenset[str]  # trials that stay if the requirements that run give the same results as before

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to do."""
        return not (self.to_run or self.added or self.removed) and self.stored.has_ended

    def __str__(self) -> str:
        return f"+{len(self.added)} \N{MINUS SIGN}{len(self.removed)} ={len(self.kept)}"

    def summary(self, execution: str) -> str:
        """Return one line about them."""
        counts = f"{len(self.added)} added, {len(self.removed)} removed, {len(self.kept)} kept"
        return f"{execution}: {self}: {counts}; {len(self.to_run)} to run"


def stored_execution(url: str, name: Any, seed: Any) -> Execution:
    """Open the execution to resume, given the name of its folder and perhaps a seed.

    Raises:
        InvalidType, InvalidValue: The name is not an id, there is no storage, or the seed is another one.
        NotStored, StorageError: The execution does not exist or cannot be read.
    """
    if not isinstance(name, str):
        raise InvalidType(f"resume is {name!r}", given=name, todo="Expected the id of an execution.")
    identifier, _ = ids.parse_folder_name(name)
    if url.startswith("mem:"):
        raise InvalidValue(
            f"cannot resume {name} without its storage",
            given=name,
            todo=f"Name the storage: execute(resume={name!r}, storage=DIRECTORY), "
            f"or machinable resume {name} --storage DIRECTORY.",
        )
    if seed is not None and ids.seed_of(seed) != ids.decode(identifier):
        raise InvalidValue(f"{name} does not have the seed {seed!r}", given=seed, todo="Leave out the seed.")
    storage = Storage(url, trust=True)
    try:
        execution = storage[name]
    except NotStored as error:
        if storage.files.is_directory(name):
            raise NotStored(
                f"{name} in {storage.url} never started: its process ended while it wrote the plan",
                given=name,
                todo=f"Execute the task again, with seed={identifier!r} for the same random numbers.",
            ) from None
        raise error from None
    total = execution.data.get("trials")
    if isinstance(total, int) and total != len(execution):
        raise Damaged(
            f"{layout.join(storage.url, name, layout.PLAN)} has {len(execution)} of {total} trials",
            given=len(execution),
            todo="Restore the file from a copy, or give the task, which then replaces the stored one.",
        )
    return execution


def compare(stored: Execution, plan: Plan, policy: ReusePolicy, *, is_stored_task: bool) -> Changes:
    """Compare a plan with the stored execution that it resumes; the policy decides which components run again.

    Raises:
        Refused: The project no longer gives the stored task the same trials.
    """
    trials = {trial.uid: trial for trial in stored}
    planned = {row.uid: index for index, row in enumerate(plan.rows)}
    changed = {uid for uid, index in planned.items() if uid in trials and trials[uid].identity != plan.identity(index)}
    if is_stored_task:
        _refuse_other_trials(stored, trials, plan, planned, changed)
        changed = set()  # finished trials stay as they are stored
    kept = [uid for uid in planned if uid in trials and uid not in changed]
    reruns = {row.uid for row in plan.rows if policy.reruns(plan.uses[row.use].definition)}
    finished = {uid for uid in kept if trials[uid].status in _STAYS and uid not in reruns}
    if isinstance(plan, SearchPlan):  # what has failed does not run again, because the sampler knows that
        finished |= {uid for uid in kept if trials[uid].event in _FAILED and not trials[uid].will_retry}
    doubtful = _doubtful(plan, policy, finished)
    while damaged := _damaged(stored, plan, trials, planned, finished, doubtful):
        finished -= damaged
        doubtful = _doubtful(plan, policy, finished)
    return Changes(
        stored,
        is_stored_task,
        tuple(uid for uid in planned if uid not in trials or uid in changed),
        tuple(uid for uid in trials if uid not in planned or uid in changed),
        tuple(kept),
        tuple(uid for uid in planned if uid not in finished),
        frozenset(changed),
        frozenset(finished - doubtful),
        doubtful,
    )


def _damaged(
    stored: Execution,
    plan: Plan,
    trials: Mapping[str, Trial],
    planned: Mapping[str, int],
    finished: set[str],
    doubtful: Collection[str],
) -> set[str]:
    """Return the finished trials whose results are gone or changed and that a trial that may run requires."""
    waiting = [uid for uid in planned if uid not in finished or uid in doubtful]
    damaged: set[str] = set()
    checked: set[str] = set()
    while waiting:
        for needed in plan[planned[waiting.pop()]].requires.values():
            if needed.uid in finished and needed.uid not in checked:
                checked.add(needed.uid)
                if trials[needed.uid].status == "unneeded":
                    damaged.add(needed.uid)
                    waiting.append(needed.uid)
                elif (fault := _fault(stored, trials[needed.uid])) is not None:
                    warn(f"{fault} (of {needed.uid}); {trials[needed.uid].component} runs again", RuntimeWarning)
                    damaged.add(needed.uid)
                    waiting.append(needed.uid)
    return damaged


def _fault(stored: Execution, trial: Trial) -> str | None:
    """Return what is wrong with the artifacts of a trial that has finished."""
    place = trial.source or f"{stored}/{trial.uid}"
    execution, _, uid = place.partition("/")
    status = read_status(stored.files, execution, uid)
    if status is None:
        return "its files are gone"
    return artifact_fault(stored.files, layout.folder_of(place), artifacts_in(status), status["finished"])


def _doubtful(plan: Plan, policy: ReusePolicy, finished: set[str]) -> frozenset[str]:
    """Return the finished trials that depend on trials that run."""
    moving: set[int] = set()  # the uses of requirements that run, or may have to
    doubtful = set()
    for row in plan.rows if policy.cascade else ():
        use = plan.uses[row.use]
        is_doubtful = any(needed.use in moving for needed in use.requires.values())
        if is_doubtful and row.uid in finished:
            doubtful.add(row.uid)
        if use.identity and (is_doubtful or row.uid not in finished):
            moving.add(row.use)
    return frozenset(doubtful)


def _refuse_other_trials(
    stored: Execution, trials: Mapping[str, Trial], plan: Plan, planned: Mapping[str, int], changed: set[str]
) -> None:
    """Check that the stored task still gives the same trials, except for finished ones."""
    lines = [
        f"{trials[uid].component} {uid}: {_difference(trials[uid], plan[index])}"
        for uid, index in planned.items()
        if uid in changed and trials[uid].status not in _STAYS
    ]
    if not isinstance(plan, SearchPlan):  # the process may have been killed while it added a sample
        lines += [f"{trial.component} {uid}: removed" for uid, trial in trials.items() if uid not in planned]
        lines += [f"{plan[index].component} {uid}: added" for uid, index in planned.items() if uid not in trials]
    if lines:
        more = [f"and {len(lines) - MAX_LISTED} more"] if len(lines) > MAX_LISTED else []
        raise Refused(
            f"the project no longer gives the trials that {stored} started with",
            details=[*lines[:MAX_LISTED], *more],
            todo=f"Restore the project (machinable restore {stored} DIR writes the files as they were), or give the "
            f"task, which then replaces the stored one: execute(task, resume={str(stored)!r}).",
        )


def _difference(trial: Trial, spec: TrialSpec) -> str:
    before, now = flatten(decode(trial.planned("config"))), flatten(spec.stored)
    parts = [
        f"{key} {cell(before[key]) if key in before else 'absent'} → {cell(now[key]) if key in now else 'absent'}"
        for key in dict.fromkeys([*before, *now])
        if key not in before or key not in now or dumps(before[key]) != dumps(now[key])
    ]
    return ", ".join(parts) or "its children, flags, module or requirements differ"


# taking the execution over


def take_over(stored: Execution, locks: Locks) -> Lease:
    """Take the lease of a stored execution, wait until its workers have exited, and refresh it.

    Whatever the former executing process does later, it cannot change the ledger any more.

    Raises:
        Refused: The execution is running.
    """
    files, path = stored.files, layout.join(str(stored), layout.EXECUTION_LEASE)
    watched = _Watched(stored)
    watched.look()  # while the lease is watched, the trials are, too

    def watching(facts: Mapping[str, Any], seconds: float) -> None:
        echo(f"waiting {seconds:g} s for a sign of {holder_text(facts)}", file=sys.stderr)

    lease = locks.take_over(path, {"execution": str(stored)}, watching)
    if lease is None:
        raise _is_running(stored, locks, path)
    try:
        was_killed = not stored.has_ended
        if was_killed and files.appends:
            _replace(files, growing_file(files, layout.join(str(stored), layout.LEDGER)))
        _wait_for_workers(stored, watched)
        if was_killed:
            _release_results(stored, locks)
        stored.refresh()
    except BaseException:
        lease.release()
        raise
    return lease


def _is_running(stored: Execution, locks: Locks, path: str) -> Refused:
    facts = locks.holder(path) or {}
    if locks.is_stopped(path):
        return Refused(
            f"{stored} is running: {holder_text(facts)}, which is stopped",
            given=str(stored),
            todo=f"Continue that process: kill -CONT {facts['pid']} (or `fg` in its terminal). To resume it instead, "
            f"end that process first: kill -KILL {facts['pid']}",
        )
    return Refused(
        f"{stored} is running: {holder_text(facts)}",
        given=str(stored),
        details=[f"its last heartbeat: {facts['heartbeat']}"] if facts.get("heartbeat") else [],
        todo="Wait until it has ended, or end that process.",
    )


def _replace(files: Files, path: str) -> None:
    """Replace a growing file by a copy: what the former writer, which has it open, still appends is not seen."""
    with suppress(FileNotFoundError):
        files.write(path, files.read(path))


def _release_results(stored: Execution, locks: Locks) -> None:
    """Release the leases of results that the killed execution held."""
    for found in stored.files.walk(layout.BY_CONTENT):
        if layout.is_lease(found.path):
            locks.release_of(found.path, str(stored))


class _Watched:
    """The trials of an execution that seem to run, and since when each has sent no heartbeat."""

    def __init__(self, stored: Execution) -> None:
        self._stored = stored
        self._seen: dict[str, tuple[str, float]] = {}  # the last heartbeat, and when it was first seen

    def look(self) -> Trial | None:
        """Return a trial that a process seems to run, None if there is none."""
        for trial in self._stored:
            if trial.event not in (None, "started"):
                continue
            status = read_status(self._stored.files, str(self._stored), trial.uid)
            if status is None or status["state"] != "running":
                continue
            facts = status.get("host") or {}
            if facts.get("served"):  # its executing process has ended, and nothing else writes for it
                continue
            process = {**facts, "host": facts.get("name")}
            if is_gone(process) or (is_running(process) and facts["pid"] == os.getpid()):
                continue
            if is_running(process) or not self._is_silent(trial.uid, str(status.get("heartbeat"))):
                return trial
        return None

    def _is_silent(self, uid: str, heartbeat: str) -> bool:
        """Return whether a trial of another host has sent no heartbeat for so long that its process is gone."""
        seen, since = self._seen.get(uid, (heartbeat, time.monotonic()))
        if seen != heartbeat:
            since = time.monotonic()
        self._seen[uid] = heartbeat, since
        return time.monotonic() - since >= LEASE


def _wait_for_workers(stored: Execution, watched: _Watched) -> None:
    """Wait until the workers have exited whose executing process was killed."""
    files, name, here = stored.files.inner, str(stored), this_process()["host"]
    began, is_told = time.monotonic(), False
    while True:
        who, where, pid = f"a worker of {name}", here, None
        running = watched.look()
        passed = time.monotonic() - began
        if running is not None:
            who, where, pid = f"the trial {running.uid} of {name}", *map((running.host or {}).get, ("name", "pid"))
        elif workers := workers_left(files, name):
            pid = workers[0]
        elif not _may_be_starting(stored) or passed >= _handoff_window(stored):
            return
        if passed > (WORKER_EXIT_TIMEOUT if where == here else LEASE + REMOTE_EXIT_TIMEOUT):
            raise Refused(
                f"{who} {'is' if where == here else 'seems to be'} running on {where} (process {pid})",
                given=name,
                todo="End that process. One on another host counts as gone "
                f"{LEASE:g} s after its last heartbeat, and one on this host when it has ended.",
            )
        if where != here and not is_told:
            is_told = True
            echo(f"waiting for {who} on {where} to end, or to send no heartbeat for {LEASE:g} s", file=sys.stderr)
        time.sleep(POLL_INTERVAL)
        stored.refresh()


def _may_be_starting(stored: Execution) -> bool:
    """Return whether a worker may have received a trial just before its executing process was killed."""
    since = datetime.now(timezone.utc) - timedelta(seconds=WORKER_EXIT_TIMEOUT)
    started = [trial for trial in stored if trial.event == "started" and trial.host is None]
    return any(trial.noted is None or datetime.fromisoformat(trial.noted) > since for trial in started)


def engine_of(stored: Execution) -> str | dict[str, Any]:
    """Return the engine that an execution ran on last, as it can be given again; without such a name, `local`.

    Raises:
        Refused: Some of its options are not stored.
    """
    facts = _last_engine(stored)
    kind = str(facts.get("type"))
    if registry.is_known(kind):
        return engine_again(str(stored), facts)
    warn(f"{stored} ran on the engine {kind!r}, which has to be given again: it is resumed on 'local'")
    return "local"


def _last_engine(stored: Execution) -> Mapping[str, Any]:
    ledger = read_rows(stored.files, layout.join(str(stored), layout.LEDGER), EVENT)
    engines = [stored.data["engine"], *(row["engine"] for row in ledger if row.get("event") == "resumed")]
    facts: Mapping[str, Any] = engines[-1]
    return facts


def _handoff_window(stored: Execution) -> float:
    """Return the number of seconds for which a worker that is starting a trial may be invisible."""
    kind = _last_engine(stored)["type"]
    if kind == "local":
        return 0.0
    has_markers = kind == "processes" and stored.files.inner.marks_processes
    return MARKED_HANDOFF_WINDOW if has_markers else HANDOFF_WINDOW


# writing that it is resumed


def write_resumption(
    changes: Changes,
    plan: Plan,
    ledger: Ledger,
    shared: SharedResults,
    engine: Engine,
    code: ProjectCode,
) -> Completed:
    """Record in the folder of an execution that it is resumed, with its plan and code; return its finished trials.

    Raises:
        StorageUnavailable: The storage cannot be written.
    """
    stored = changes.stored
    files, folder = stored.files, str(stored)
    with writing(files):
        _write_code(stored, code)
        if isinstance(plan, SearchPlan) and _extends(plan, stored):
            with closing(files.appender(layout.join(folder, layout.PLAN))) as lines:
                for spec in plan[len(stored) :]:
                    lines.write(plan_line(spec))
        elif changes.changed or [trial.uid for trial in stored] != [row.uid for row in plan.rows]:
            _remove_parts(files, layout.join(folder, layout.PLAN))
            for name in (layout.PLAN, layout.EXECUTION):  # earlier versions stay beside them
                files.write(_free_name(stored, name), files.read(layout.join(folder, name)))
            files.write(layout.join(folder, layout.PLAN), b"".join(plan_lines(plan)))
            facts = dict(stored.data) | {"task": plan.request.as_data(), "name": plan.name}
            if not isinstance(plan, SearchPlan):
                facts["trials"] = len(plan)
            files.write(layout.join(folder, layout.EXECUTION), (dumps(facts) + "\n").encode("ascii"))
        states = (stored[uid].status for uid in changes.unchanged)
        ledger.resumed(
            Counter("finished" if state in ("reused", "unneeded") else state for state in states),
            {
                "added": len(changes.added),
                "removed": len(changes.removed),
                "kept": len(changes.kept),
                "engine": engine_facts(engine),
                "code": code.facts,
                "host": host(),
            },
        )
        return _completed(changes, plan, ledger, shared)


def _extends(plan: SearchPlan, stored: Execution) -> bool:
    """Return whether a plan begins with the stored trials of the same task."""
    before, now = [trial.uid for trial in stored], [row.uid for row in plan.rows]
    return now[: len(before)] == before and dumps(stored.data["task"]) == dumps(plan.request.as_data())


def _remove_parts(files: Files, path: str) -> None:
    """Join the parts of a growing file."""
    if numbers := [number for number in part_numbers(files, path) if number]:
        files.write(path, b"".join(read_parts(files, path)))
        for number in numbers:
            files.remove(layout.part(path, number))


def _write_code(stored: Execution, code: ProjectCode) -> None:
    """Write the code beside the earlier one, if it differs."""
    if code.archive is None:
        return
    with code.archive as archive:
        before, now = code_facts(stored.data).get("backup"), code.facts["backup"]
        if before is None or before == now:
            return
        earlier = code_facts(stored.data).get("files") or {}
        files = [name for name, digest in code.facts["files"].items() if earlier.get(name, digest) != digest]
        warn(
            f"the code of {stored} has changed since it started: {listed(files) or 'files that no module imports'}. "
            "The remaining trials run with the current code"
        )
        archive.seek(0)
        stored.files.write_from(_free_name(stored, layout.CODE), archive)


def _free_name(stored: Execution, name: str) -> str:
    number = 1
    while stored.files.exists(path := layout.join(str(stored), layout.former(name, number))):
        number += 1
    return path


def _completed(changes: Changes, plan: Plan, ledger: Ledger, shared: SharedResults) -> Completed:
    stored = changes.stored
    files, folder = stored.files, str(stored)
    results: dict[str, Available | None] = {}
    attempts: dict[str, int] = {}
    doubtful: dict[str, Outcome] = {}
    for index, row in enumerate(plan.rows):
        if row.uid not in stored:
            continue
        trial = stored[row.uid]
        if row.uid not in changes.unchanged:
            if attempt := _last_attempt(files, folder, trial):
                attempts[row.uid] = attempt
            if row.uid in changes.doubtful and (outcome := read_outcome(files, folder, row.uid)) is not None:
                doubtful[row.uid] = outcome
            continue
        if trial.status == "unneeded":
            results[plan.identity(index)] = None
            continue
        if trial.event in ("pruned", *_FAILED):
            continue
        if trial.status == "pruned":
            ledger.pruned_before(plan[index], trial)
            continue
        is_requirement = bool(plan.uses[row.use].identity)
        if trial.source is not None:
            if is_requirement:
                source, _, uid = trial.source.partition("/")
                results[plan.identity(index)] = Available(
                    trial.source, artifacts_in(read_status(files, source, uid) or {})
                )
            continue
        is_recorded = trial.event == "finished"
        if is_recorded and not is_requirement:
            continue
        outcome = read_outcome(files, folder, row.uid) or Outcome(row.uid, "finished", 1, 0.0)
        spec = plan[index]
        if is_requirement:
            results[spec.identity] = Available(f"{folder}/{row.uid}", outcome.artifacts)
            if shared.find(spec.identity) is None:
                shared.publish(spec, outcome)
        if not is_recorded:
            ledger.finished_before(spec, outcome)
    rows = read_rows(files, layout.join(folder, layout.LEDGER), EVENT)
    resumed = sum(row.get("event") == "resumed" for row in rows)
    return Completed(changes.unchanged, results, attempts, doubtful, resumed)


def _last_attempt(files: Files, folder: str, trial: Trial) -> int:
    """Return the number of the last attempt of a trial that will run; 0 if none has left any files."""
    if not trial.has_begun:
        return 0
    status = read_status(files, folder, trial.uid)
    if status is not None:
        return int(status.get("attempt") or 1)
    path = layout.join(folder, layout.trial(trial.uid))
    if not files.entries(path):
        return 0
    numbers = [int(entry.name) for entry in files.entries(f"{path}/{layout.ATTEMPTS}") if entry.name.isdecimal()]
    return max(numbers, default=0) + 1
