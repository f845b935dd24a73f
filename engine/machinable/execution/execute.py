"""Carries out tasks: plans them, checks them, makes their folders, runs them, and gives back what can be read."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import TYPE_CHECKING, Any, overload

from machinable import ids
from machinable.component.imports import source_digest
from machinable.display.notebook import notebook_listeners
from machinable.engines import registry
from machinable.engines.base import Engine, OnProgress, Work
from machinable.engines.processes.threads import idle_notice
from machinable.errors import InvalidType, InvalidValue, Refused, StorageUnavailable, TrialsFailed
from machinable.events import Event, Listener, checked_listeners
from machinable.execution.directory import backed_up, begin
from machinable.execution.dry_run import PlannedOutcome, intentions, intentions_text
from machinable.execution.environment import now
from machinable.execution.error_report import trials_failed
from machinable.execution.interrupts import Interrupts, check_alarm, with_alarm
from machinable.execution.ledger import Journal
from machinable.execution.options import (
    check_options,
    locks_of,
    plain_section,
    policy_of,
    preferences,
    reuse_of,
    url_of,
)
from machinable.execution.preflight import preflight
from machinable.execution.resources import capacity_of
from machinable.execution.reuse import Exclusion, Mode, Pointers, rule_of
from machinable.execution.scheduler import Completed, OnBusy, OnFailure, Scheduler
from machinable.execution.transfer import Staging, StorageTransfer
from machinable.execution.worker_task import InProcessTask, WorkerTask, check_importable
from machinable.plan.plan import Plan
from machinable.plan.planner import live_code
from machinable.plan.resources import threads_of
from machinable.plan.task import Task
from machinable.project import Project
from machinable.results.execution import Execution
from machinable.settings import choose, storage_choice
from machinable.storage import layout
from machinable.storage.cleanup import at_work
from machinable.storage.code_snapshot import pack_into
from machinable.storage.fallback import FallbackFiles, fallback_name, outage_of
from machinable.storage.files import Files
from machinable.storage.hashing import digest
from machinable.storage.locks import Lease, Locks, open_locks
from machinable.storage.open import open_files
from machinable.storage.process_info import cores

if TYPE_CHECKING:
    from machinable.execution.resume import Changes, Resumption

__all__ = ["changes", "execute", "rehearse"]


@overload
def execute(task: Callable[..., Any]) -> Callable[..., Any]: ...


@overload
def execute(
    task: Any = None,
    storage: Any = None,
    seed: Any = None,
    engine: Any = None,
    *,
    project: Project | str | os.PathLike[str] | None = None,
    resume: str | None = None,
    rerun: str | Sequence[str] | bool = (),
    cascade: bool = True,
    reuse: Mode | None = None,
    on_busy: OnBusy | None = None,
    on_failure: OnFailure | None = None,
    retries: int | None = None,
    retry_delay: float | None = None,
    timeout: float | None = None,
    listeners: Sequence[Listener | Callable[[Event], None]] = (),
) -> Any: ...


def execute(task: Any = None, storage: Any = None, seed: Any = None, engine: Any = None, **options: Any) -> Any:
    """Execute a task, or a list of tasks.

    Args:
        task: a `Task`, what `Task(...)` takes, or a list of such. A function alone makes this a decorator: the
            function becomes the component of every trial.
        storage: a path, a URL, or `{"storage": …, "code_backup": False}`; default: memory, nothing is kept.
        seed: None, an int, or an execution id; for a list of tasks also a list with one for each.
        engine: "local" (default), "dry", a mapping `{"type": …}`, or an engine.
        project: a `Project` or its path; default: the working directory.
        resume: the id of a stored execution that goes on in its own folder: what has finished stays. Without a task it
            is its stored plan that counts, with one that task.
        rerun: components (a name, a pattern, a list of these, True for all) that run though their results are there.
        cascade: False: what depends on these does not run again, even if what it read has changed.
        reuse: True (default): results of requirements count; "all": those of listed trials too; "same-code": not
            those that were made by other source of the component; False: none.
        on_busy: of a result that another execution computes at the moment: "wait" (default) for it after everything
            else, "skip" it, or "fail".
        on_failure: "raise" (default) and "continue" run all trials; "stop" starts none after the first failure.
        retries: further attempts of a trial that failed (default 0), with the same seed.
        retry_delay: seconds before one. timeout: seconds that an attempt may take.
        listeners: functions that are called with each event, or instances of `machinable.events.Listener`.

    Returns:
        The `Execution`; for a list of tasks a list; with the engine "dry" the `Plan`, which is printed.

    Raises:
        ConfigurationError, UsageError: nothing has been started or written.
        StorageError: the storage is not there or cannot be written.
        Refused: a trial asks for more than there is, or a timeout cannot be kept here.
        TrialsFailed: trials failed; `.execution` has all that ran.
        KeyboardInterrupt: everything has been written that was there to write.
    """
    is_function = callable(task) and not isinstance(task, type)
    if is_function and storage is None and seed is None and engine is None and not options:
        return _decorated(task)
    if is_function:
        raise InvalidType(
            f"execute takes the function {getattr(task, '__qualname__', task)} alone, as a decorator",
            given=task,
            todo="To run it as a component: execute(Task(function), …).",
        )
    return _execute(task, storage, seed, engine, None, **options)


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function, assigned=("__module__", "__name__", "__qualname__", "__doc__"))
    def run(task: Any = None, storage: Any = None, seed: Any = None, engine: Any = None, **options: Any) -> Any:
        return _execute(task, storage, seed, engine, function, **options)

    return run


def _execute(
    task: Any,
    storage: Any,
    seed: Any,
    engine: Any,
    function: Callable[..., Any] | None,
    *,
    project: Project | str | os.PathLike[str] | None = None,
    listeners: Sequence[Listener | Callable[[Event], None]] = (),
    **options: Any,
) -> Any:
    check_options(options)
    where = project if isinstance(project, Project) else Project(project)
    heard: tuple[Listener, ...] = (*checked_listeners(listeners), *notebook_listeners())
    resume = options.pop("resume", None)
    if task is None and resume is None:
        raise InvalidValue("there is nothing to execute", todo="Give a task: execute(Task().component(name)).")
    several = isinstance(task, list)
    if several and resume is not None:
        raise InvalidValue("one execution is resumed with one task, not with a list", given=task)
    if several and None in task:
        raise InvalidValue(
            f"number {task.index(None)} of the list of tasks is None",
            given=task,
            todo="Give a list of tasks.",
        )
    tasks = [one if one is None or isinstance(one, Task) else Task(one) for one in (task if several else [task])]
    if not tasks:
        raise InvalidValue("there is nothing to execute: the list of tasks is empty")
    seeds = _seeds(seed, len(tasks), several)
    batch = [
        _Run(one, where, storage, given, engine, function, heard, resume, options)
        for one, given in zip(tasks, seeds, strict=True)
    ]
    done: list[Any] = []
    failed: list[TrialsFailed] = []
    for run in batch:
        with Interrupts() as interrupts:
            try:
                done.append(run.execute(interrupts))
            except TrialsFailed as error:
                if not several:
                    raise
                done.append(error.execution)
                failed.append(error)
                if run.policy.on_failure == "stop":
                    break
            finally:
                run.close()
    if failed:
        first = failed[0]
        raise TrialsFailed(
            first.message if len(failed) == 1 else f"{len(failed)} executions have failed trials: {first.message}, …",
            details=[line for error in failed for line in error.details],
            todo=first.todo,
            execution=first.execution,
            executions=done,
        ) from first.__cause__
    return done if several else done[0]


def _name_of(function: Callable[..., Any] | None) -> str | None:
    return None if function is None else f"{function.__module__}:{getattr(function, '__qualname__', function)}"


def _seeds(seed: Any, count: int, several: bool) -> list[Any]:
    if not several or not isinstance(seed, (list, tuple)):
        return [seed] * count
    if len(seed) != count:
        raise InvalidValue(f"{len(seed)} seeds are given for {count} tasks", given=seed, todo="Give one for each task.")
    return list(seed)


class _Run:
    """One task on its way: planned and checked when it is made, carried out by `execute`."""

    def __init__(
        self,
        task: Task | None,
        project: Project,
        storage: Any,
        seed: Any,
        engine: Any,
        function: Callable[..., Any] | None,
        listeners: Sequence[Listener],
        resume: str | None,
        options: dict[str, Any],
    ) -> None:
        section = plain_section(project, task)
        user = preferences(os.environ)
        self.storage = storage_choice(storage, os.environ, section, user)
        self.url = url_of(project, self.storage)
        self.stored: Execution | None = None
        is_stored_task = task is None
        if resume is not None:
            from machinable.execution.resume import stored_execution, stored_task  # most executions begin

            self.stored = stored_execution(self.url, resume, seed)
            seed = self.stored.id
            task = stored_task(self.stored) if task is None else task
        else:
            given = choose("seed", seed, os.environ, section, user)
            seed = ids.seed_of_text(given.value) if given.source == "environment" else given.value
        assert task is not None
        self.engine: Engine = registry.make(choose("engine", engine, os.environ, section, user, "local").value)
        self.policy = policy_of(options, section)
        self.lock_choice = locks_of(os.environ, section)
        self.function = function
        self.listeners = listeners
        self.callbacks = tuple(task.callbacks)
        live = live_code(task.request)
        plan = task.plan(project, seed)
        if not len(plan):
            raise InvalidValue("the task has no trials", given=repr(task), todo="Add one: .component(name).")
        self.rule = rule_of(*reuse_of(options, section), plan)
        self.plan: Plan = preflight(plan, live, function)
        self.resumption: Resumption | None = None
        if self.stored is not None:
            from machinable.execution.resume import Resumption

            self.resumption = Resumption(self.stored, self.plan, is_stored_task, self.rule)
        self.tells_changes = not is_stored_task
        if self.policy.timeout is not None and not self.engine.can_end:
            if not self.engine.runs_on_submit:  # others may run trials in other threads
                raise Refused(
                    f"the engine {self.engine.name!r} cannot end a trial whose time is over",
                    todo="Leave out the timeout, or use engine='processes'.",
                )
            check_alarm()
        self.live = live
        self.place = None if self.engine.reach == "process" else check_importable(live, function)
        try:
            self.capacity = capacity_of(self.engine, section.get("resources"))
            self.capacity.refuse(self.plan)
        except BaseException:
            self.engine.close()  # it may have started a cluster to see what there is
            raise

    @property
    def shares(self) -> bool:
        """Whether results may be shared: where one function stands for all components, nobody knows whose they are."""
        return self.function is None and (self.rule.mode == "all" or any(use.requires for use in self.plan.uses))

    def execute(self, interrupts: Interrupts) -> Execution | Plan:
        if self.resumption is not None and self.tells_changes:
            print(self.resumption.changes.told_of(str(self.stored)), file=sys.stderr)
        if self.engine.is_dry:
            print(intentions_text(self.plan, self.intentions()))
            return self.plan
        if self.resumption is not None and not self.resumption.to_run:
            assert self.stored is not None
            print(f"{self.stored} has {self.stored.status}: there is nothing to resume", file=sys.stderr)
            return self.stored
        with interrupts.allowed():
            files = open_files(self.url, create=True) if self.stored is None else self.stored.files
            if self.engine.reach == "anywhere" and files.reach != "anywhere" and not self.engine.ships:
                raise Refused(
                    f"the engine {self.engine.name!r} has workers on other hosts, which do not reach {files.url}",
                    given=files.url,
                    todo="Give a storage that is reached from anywhere, such as s3://bucket/folder.",
                )
            locks = open_locks(files, *self.lock_choice)
        try:
            return self._carry_out(files, locks, interrupts)
        finally:
            locks.close()

    def _carry_out(self, files: Files, locks: Locks, interrupts: Interrupts) -> Execution:
        plan = self.plan
        engine = {"type": self.engine.name, "slots": self.engine.slots}
        done = Completed()
        with interrupts.allowed():
            if self.resumption is None or self.stored is None:
                code = backed_up(self.plan.project, files, self.storage.code_backup)
                folder, _ = begin(files, plan, engine, code, now(), _name_of(self.function))
                lease = _own(files, locks, folder)
            else:
                folder = str(self.stored)
                lease = self.resumption.take(locks)
                code = backed_up(self.plan.project, files, self.storage.code_backup)
        storage, refuge = files, ""
        if files.reach != "process":  # from now on there is work to lose
            refuge = fallback_name(folder)
            files = FallbackFiles(files, refuge)
        pointers = None
        if self.function is None:
            pointers = Pointers(files, self._sources() if self.shares else {})
        journal = Journal(plan, files, folder, self.listeners, self.callbacks)
        self.engine.on_notice = functools.partial(_notify, journal)
        if self.resumption is not None:
            done = self.resumption.begin(self.plan, journal, pointers, engine, code)
        work, where = self._work(files, folder, refuge)
        here = work
        self._tell_idle_cores()
        if self.policy.timeout is not None and not self.engine.can_end:
            work = with_alarm(work, self.policy.timeout)
        exclusion = Exclusion(locks if self.shares else None, folder)
        scheduler = Scheduler(
            plan,
            where,
            work,
            files,
            folder,
            journal,
            self.policy,
            self.capacity,
            interrupts,
            self.rule,
            pointers if self.shares else None,
            exclusion,
            done,
        )
        execution = Execution(files, folder, plan=plan, trust=True)
        try:
            with at_work(storage, folder):
                scheduler.run()
        except KeyboardInterrupt as interrupt:
            interrupt.add_note(f"execution {folder} in {files.url}") if hasattr(interrupt, "add_note") else None
            raise
        finally:
            if isinstance(where, Staging):
                where.close()
            if isinstance(here, InProcessTask):
                here.close()
            if lease is not None:
                lease.release()
        if not files.flush_fallback():
            raise files.outage()
        if scheduler.outage:
            raise outage_of(scheduler.outage, files.url)
        if journal.failures and self.policy.on_failure != "continue":
            raise trials_failed(journal, execution)
        return execution

    def _sources(self) -> dict[str, str | None]:
        """The digests of the source of all components, as they are now: they may be edited while this runs."""
        here = self.engine.reach == "process"
        targets = {use.definition.module: use.definition.target for use in self.plan.uses}
        return {module: source_digest(target, self.plan.project, as_loaded=here) for module, target in targets.items()}

    def intentions(self) -> list[PlannedOutcome]:
        """What would become of each trial."""
        if self.storage.url is None:
            return intentions(self.plan, None, self.rule, has_storage=False)
        files = _opened_to_look(self.url) if self.stored is None else self.stored.files
        if files is None:
            return intentions(self.plan, None, self.rule)  # nothing is there yet
        locks = open_locks(files, *self.lock_choice)
        try:
            pointers = Pointers(files, self._sources()) if self.shares else None
            keeps = self.resumption.unchanged if self.resumption is not None else frozenset()
            return intentions(self.plan, pointers, self.rule, Exclusion(locks, ""), keeps)
        finally:
            locks.close()

    def _work(self, files: Files, folder: str, refuge: str) -> tuple[Work, Engine]:
        """What is done for a trial, and where: workers that do not reach the storage have it spooled."""
        if self.engine.reach == "process":
            work = InProcessTask(
                files,
                folder,
                self.plan.project,
                self.live,
                self.function,
                on_progress=self._progress_listener(),
                locks=self.lock_choice,
            )
            return work, self.engine
        self.engine.on_progress = self._progress_listener()
        if self.engine.ships:
            self.engine.transfer = StorageTransfer(files)
            self.engine.ship(self.plan.project, self._shipped(files, folder))
            mark = digest(files.read(layout.join(folder, layout.EXECUTION)))
            elsewhere = WorkerTask(
                self.url, folder, self.plan.project, self.place, self.lock_choice, files.reach, mark, refuge
            )
            return elsewhere, self.engine
        if files.reach != "process":
            on_host = WorkerTask(self.url, folder, self.plan.project, self.place, self.lock_choice, refuge=refuge)
            return on_host, self.engine
        spool = Staging(self.engine, files, folder)
        return WorkerTask(spool.directory, folder, self.plan.project, self.place, self.lock_choice), spool

    def _shipped(self, files: Files, folder: str) -> bytes:
        """The code that workers of other hosts import: what was backed up; without a backup, what would have been."""
        from machinable.storage.archive import SIZE_LIMIT  # 5 ms, and few hosts are others

        backup = self.storage.code_backup
        if self.stored is None and backup is not None:
            return files.read(layout.join(folder, layout.CODE))
        archive, here = BytesIO(), files.local_path("")
        ignore = backup.ignore if backup is not None else ()
        limit = backup.limit if backup is not None else SIZE_LIMIT
        exclude = [here] if here else []
        pack_into(archive, self.plan.project, exclude=exclude, ignore=ignore, limit=limit, look_for_secrets=False)
        return archive.getvalue()

    def _progress_listener(self) -> OnProgress | None:
        """What passes progress and rows on to the listeners that take them; None if none does."""
        progress = [one for one in self.listeners if one.hears(Listener.on_progress)]
        rows = [one for one in self.listeners if one.hears(Listener.on_record)]
        if not progress and not rows:
            return None

        def on_progress(uid: str, i: int | dict[str, Any], total: int | None) -> None:
            if isinstance(i, dict):
                for one in rows:
                    one.on_record(uid, i)
                return
            for one in progress:
                one.on_progress(uid, i, total)

        return on_progress

    def _tell_idle_cores(self) -> None:
        """Tell listeners that take advice when this host could do more at a time."""
        listeners = [one for one in self.listeners if one.hears(Listener.on_advice)]
        if not listeners or self.engine.reach == "anywhere":
            return
        threads = max(threads_of(use.definition.resources, use.definition.default_threads) for use in self.plan.uses)
        notice = idle_notice(min(self.engine.slots, len(self.plan)), threads, cores())
        if notice is not None:
            for one in listeners:
                one.on_advice(notice)

    def close(self) -> None:
        self.engine.close()


def _notify(journal: Journal, text: str) -> None:
    """Pass a message of the engine to the listeners, or print it to stderr if none takes it."""
    if not journal.notice(text):
        print(text, file=sys.stderr)


def _own(files: Files, locks: Locks, folder: str) -> Lease | None:
    """The lease of an execution's own folder: nobody resumes it meanwhile."""
    holder = {"execution": folder}
    return None if files.reach == "process" else locks.take(layout.join(folder, layout.EXECUTION_LEASE), holder)


def _opened_to_look(url: str) -> Files | None:
    """A storage that is looked at and not made; None if there is none yet."""
    try:
        return open_files(url, create=False)
    except StorageUnavailable:
        if "://" in url or os.path.lexists(url):
            raise
        return None


def changes(
    resume: str, task: Any = None, storage: Any = None, *, project: Project | str | os.PathLike[str] | None = None
) -> Changes:
    """What `execute(task, storage, resume=…)` would add to a stored execution, remove from it and keep of it.

    Nothing is written or run.

    Raises:
        as `execute` before the start.
    """
    where = project if isinstance(project, Project) else Project(project)
    whole = task if task is None or isinstance(task, Task) else Task(task)
    run = _Run(whole, where, storage, None, "dry", None, (), resume, {})
    assert run.resumption is not None
    return run.resumption.changes


def rehearse(task: Any, storage: Any = None, seed: Any = None, **options: Any) -> tuple[Plan, list[PlannedOutcome]]:
    """What `execute` would do: the plan, and what would become of each trial. Nothing is run or written.

    Args:
        task, storage, seed, options: as for `execute`; one task.

    Raises:
        as `execute` before the start.
    """
    project = options.pop("project", None)
    check_options(options)
    where = project if isinstance(project, Project) else Project(project)
    whole = task if task is None or isinstance(task, Task) else Task(task)
    run = _Run(whole, where, storage, seed, "dry", None, (), options.pop("resume", None), options)
    return run.plan, run.intentions()
