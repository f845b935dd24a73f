"""Execute one task, step by step: each function takes the finished product of the one before.

`prepare` reads, plans and checks, and writes nothing. `execute_checked` begins or resumes an execution, runs its
trials, and returns what can be read. A dry run ends where the storage would be opened.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from machinable.component.imports import source_digest
from machinable.engines import registry
from machinable.engines.base import Engine, OnProgress, Work
from machinable.engines.processes.threads import idle_notice
from machinable.errors import InvalidValue, Refused, StorageUnavailable
from machinable.events import Listener
from machinable.execution.directory import ProjectCode, create_execution, read_code
from machinable.execution.dry_run import PlannedOutcome, outcomes_text, plan_outcomes
from machinable.execution.interrupts import Interrupts, check_alarm, with_alarm
from machinable.execution.ledger import Ledger
from machinable.execution.options import Options
from machinable.execution.preflight import preflight
from machinable.execution.resources import Capacity, capacity_of
from machinable.execution.reuse import ReusePolicy, SharedResults, reuse_policy
from machinable.execution.scheduler import Completed, Run, Scheduler
from machinable.execution.worker_task import ImportedFunction, InProcessTask, WorkerTask, check_importable
from machinable.plan.plan import Plan
from machinable.plan.planner import live_code
from machinable.plan.resources import threads_of
from machinable.plan.spec import Target
from machinable.plan.task import Task
from machinable.results.execution import Execution
from machinable.serialization import Plain
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
    from machinable.execution.resume import Comparison

__all__ = ["Checked", "execute_checked", "outcomes_of", "prepare"]


class Checked(Struct, frozen=True):
    """A task that can run: planned, imported, and with the engine that has the resources for it.

    Attributes:
        options: How it is executed.
        plan: Its trials.
        callbacks: Receive each finished trial.
        live: Classes and functions of the task that need no import.
        function: Where workers import the function that runs in place of every component.
        reuse: Which results are reused.
        engine: Where the trials run.
        capacity: The resources for them.
        stored: How the plan compares with the execution that it resumes; None for a new execution.
        is_stored_task: Whether the task is that of the resumed execution.
    """

    options: Options
    plan: Plan
    callbacks: tuple[Callable[[Any], Any], ...]
    live: Mapping[Target, Any]
    function: ImportedFunction | None
    reuse: ReusePolicy
    engine: Engine
    capacity: Capacity
    stored: Comparison | None = None
    is_stored_task: bool = False

    @property
    def shares(self) -> bool:
        """Whether results are shared; one function for all components computes something else than they do."""
        uses = self.plan.uses
        return self.options.function is None and (self.reuse.mode == "all" or any(use.requires for use in uses))


def prepare(task: Task | None, options: Options) -> Checked:
    """Plan a task, and check that it can run. Nothing is written.

    Args:
        task: The task; None for the one of the execution that is resumed.
        options: How it is executed.

    Raises:
        ConfigurationError, UsageError: The task, the project or an option is wrong.
        NotStored, StorageError: The execution to resume cannot be read.
        Refused: A trial cannot run here.
    """
    stored: Execution | None = None
    is_stored_task, seed = task is None, options.seed
    if options.resume is not None:
        from machinable.execution.resume import stored_execution, stored_task  # most executions are new

        stored = stored_execution(options.url, options.resume, seed)
        seed = stored.id
        task = stored_task(stored) if task is None else task
    assert task is not None
    live = live_code(task.request)
    plan = task.plan(options.project, seed)
    if not len(plan):
        raise InvalidValue("the task has no trials", given=repr(task), todo="Add one: .component(name).")
    reuse = reuse_policy(options.reuse, options.rerun, options.cascade, plan)
    plan = preflight(plan, live, options.function)
    comparison: Comparison | None = None
    if stored is not None:
        from machinable.execution.resume import compare

        comparison = compare(stored, plan, reuse, is_stored_task=is_stored_task)
    engine = registry.make(options.engine)
    try:
        function = _check_engine(engine, options, live)
        capacity = capacity_of(engine, options.resources)
        capacity.check(plan)
    except BaseException:
        engine.close()  # it may have started a cluster to see what there is
        raise
    return Checked(
        options=options,
        plan=plan,
        callbacks=tuple(task.callbacks),
        live=live,
        function=function,
        reuse=reuse,
        engine=engine,
        capacity=capacity,
        stored=comparison,
        is_stored_task=is_stored_task,
    )


def _check_engine(engine: Engine, options: Options, live: Mapping[Target, Any]) -> ImportedFunction | None:
    """Check that an engine can run the code and end trials in time; return where workers import the function."""
    if options.policy.timeout is not None and not engine.can_end:
        if not engine.runs_on_submit:  # it may run trials in other threads
            raise Refused(
                f"the engine {engine.name!r} cannot end a trial that exceeds its timeout",
                todo="Leave out the timeout, or use engine='processes'.",
            )
        check_alarm()
    return None if engine.reach == "process" else check_importable(live, options.function)


def execute_checked(checked: Checked, interrupts: Interrupts) -> Execution | Plan:
    """Execute a task that was checked.

    Returns:
        The execution; the plan, which is printed, with an engine that runs nothing.

    Raises:
        StorageError: The storage cannot be opened or written.
        TrialsFailed: Trials failed.
        KeyboardInterrupt: It was interrupted; everything is written.
    """
    stored = checked.stored
    if stored is not None and not checked.is_stored_task:
        print(stored.changes.summary(str(stored.stored)), file=sys.stderr)
    if checked.engine.is_dry:
        print(outcomes_text(checked.plan, outcomes_of(checked)))
        return checked.plan
    if stored is not None and stored.is_complete:
        print(f"{stored.stored} has {stored.stored.status}: there is nothing to resume", file=sys.stderr)
        return stored.stored
    with interrupts.allowed():
        files, locks = open_storage(checked)
    with closing(locks):
        run = (begin if stored is None else resume)(checked, files, locks, interrupts)
        with worker_task(checked, run) as (work, engine):
            _advise(checked)
            scheduler = Scheduler(run, engine, work, interrupts)
            try:
                with at_work(files, run.folder):
                    scheduler.run()
            except KeyboardInterrupt as interrupt:
                if sys.version_info >= (3, 11):
                    interrupt.add_note(f"execution {run.folder} in {files.url}")
                raise
        return finish(run, scheduler.outage)


def open_storage(checked: Checked) -> tuple[Files, Locks]:
    """Open the storage and its locks.

    Raises:
        StorageUnavailable: The storage or the lock server cannot be opened.
        Refused: The engine's workers do not reach the storage.
    """
    engine, stored = checked.engine, checked.stored
    files = open_files(checked.options.url, create=True) if stored is None else stored.stored.files
    if engine.reach == "anywhere" and files.reach != "anywhere" and not engine.ships:
        raise Refused(
            f"the engine {engine.name!r} has workers on other hosts, which do not reach {files.url}",
            given=files.url,
            todo="Give a storage that is reached from anywhere, such as s3://bucket/folder.",
        )
    return files, open_locks(files, *checked.options.locks)


def begin(checked: Checked, files: Files, locks: Locks, interrupts: Interrupts) -> Run:
    """Begin a new execution: create its directory, and write what will run."""
    plan, function = checked.plan, checked.options.function
    name = None if function is None else f"{function.__module__}:{getattr(function, '__qualname__', function)}"
    with interrupts.allowed():
        code = read_code(plan.project, files, checked.options.storage.code_backup)
        folder = create_execution(files, plan, _engine_facts(checked), code, name)
        lease = None
        if files.reach != "process":
            lease = locks.take(layout.join(folder, layout.EXECUTION_LEASE), {"execution": folder})
    return _begun(checked, files, locks, folder, lease)


def resume(checked: Checked, files: Files, locks: Locks, interrupts: Interrupts) -> Run:
    """Resume a stored execution in its directory: see that nothing else runs it, and write what will run now."""
    from machinable.execution.resume import compare, take_over, write_resumption  # most executions are new

    assert checked.stored is not None
    stored, plan = checked.stored.stored, checked.plan
    with interrupts.allowed():
        lease = take_over(stored, locks)
        comparison = compare(stored, plan, checked.reuse, is_stored_task=checked.is_stored_task)  # as it is by now
        code: ProjectCode = read_code(plan.project, files, checked.options.storage.code_backup)
    run = _begun(checked, files, locks, str(stored), lease)
    completed = write_resumption(comparison, plan, run.ledger, run.shared, _engine_facts(checked), code)
    return replace(run, completed=completed)


def _engine_facts(checked: Checked) -> dict[str, Plain]:
    return {"type": checked.engine.name, "slots": checked.engine.slots}


def _begun(checked: Checked, files: Files, locks: Locks, folder: str, lease: Lease | None) -> Run:
    fallback = ""
    if files.reach != "process":  # from now on there is work to lose
        fallback = fallback_name(folder)
        files = FallbackFiles(files, fallback)
    options, plan = checked.options, checked.plan
    return Run(
        plan=plan,
        files=files,
        folder=folder,
        ledger=Ledger(len(plan), plan.seed, files, folder, options.listeners, checked.callbacks),
        policy=options.policy,
        reuse=checked.reuse,
        shared=SharedResults(files, checked.reuse, _sources(checked), locks, folder) if checked.shares else None,
        capacity=checked.capacity,
        completed=Completed(),
        lease=lease,
        fallback=fallback,
    )


def _sources(checked: Checked) -> dict[str, str | None]:
    """Return the digests of the components' source as it is now; it may be edited while trials run."""
    is_loaded = checked.engine.reach == "process"
    project = checked.plan.project
    targets = {use.definition.module: use.definition.target for use in checked.plan.uses}
    return {module: source_digest(target, project, as_loaded=is_loaded) for module, target in targets.items()}


@contextmanager
def worker_task(checked: Checked, run: Run) -> Iterator[tuple[Work, Engine]]:
    """Give what an engine does for a trial, and the engine: with staging where workers do not reach the storage.

    Afterwards nothing of it is in use, and the execution can be resumed.
    """
    options, engine = checked.options, checked.engine
    plan, files, folder = run.plan, run.files, run.folder
    engine.on_notice = partial(_notify, run.ledger)
    on_progress = _progress_listener(options.listeners)
    work: Work
    staging = in_process = None
    if engine.reach == "process":
        work = in_process = InProcessTask(
            files,
            folder,
            plan.project,
            checked.live,
            options.function,
            on_progress=on_progress,
            locks=options.locks,
        )
    else:
        from machinable.execution.transfer import Staging, StorageTransfer  # 3 ms with what runs worker processes

        engine.on_progress = on_progress
        task = WorkerTask(options.url, folder, plan.project, checked.function, options.locks, fallback=run.fallback)
        if engine.ships:
            engine.transfer = StorageTransfer(files)
            engine.ship(plan.project, _code_to_ship(checked, run))
            mark = digest(files.read(layout.join(folder, layout.EXECUTION)))
            task = replace(task, reach=files.reach, mark=mark)
        elif files.reach == "process":
            engine = staging = Staging(engine, files, folder)
            task = replace(task, url=staging.directory)
        work = task
    if options.policy.timeout is not None and not checked.engine.can_end:
        work = with_alarm(work, options.policy.timeout)
    try:
        yield work, engine
    finally:
        if staging is not None:
            staging.close()
        if in_process is not None:
            in_process.close()
        if run.lease is not None:
            run.lease.release()


def _notify(ledger: Ledger, text: str) -> None:
    """Pass a message of the engine to the listeners; print it if none takes it, because waiting looks like hanging."""
    if not ledger.notice(text):
        print(text, file=sys.stderr)


def _progress_listener(listeners: tuple[Listener, ...]) -> OnProgress | None:
    """Return what passes progress and rows to the listeners that take them; None if none does."""
    progress = [one for one in listeners if one.hears(Listener.on_progress)]
    rows = [one for one in listeners if one.hears(Listener.on_record)]
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


def _code_to_ship(checked: Checked, run: Run) -> bytes:
    """Return the code that workers on other hosts import: the backup, or what a backup would have in it."""
    from machinable.storage.archive import SIZE_LIMIT  # 5 ms, and few hosts are others

    backup = checked.options.storage.code_backup
    if checked.stored is None and backup is not None:
        return run.files.read(layout.join(run.folder, layout.CODE))
    archive, here = BytesIO(), run.files.local_path("")
    pack_into(
        archive,
        run.plan.project,
        exclude=[here] if here else [],
        ignore=backup.ignore if backup is not None else (),
        limit=backup.limit if backup is not None else SIZE_LIMIT,
        look_for_secrets=False,
    )
    return archive.getvalue()


def _advise(checked: Checked) -> None:
    """Tell the listeners that take advice if this host could run more trials at a time."""
    listeners = [one for one in checked.options.listeners if one.hears(Listener.on_advice)]
    engine, plan = checked.engine, checked.plan
    if not listeners or engine.reach == "anywhere":
        return
    threads = max(threads_of(use.definition.resources, use.definition.default_threads) for use in plan.uses)
    advice = idle_notice(min(engine.slots, len(plan)), threads, cores())
    if advice is not None:
        for one in listeners:
            one.on_advice(advice)


def finish(run: Run, outage: str) -> Execution:
    """Return the execution after its trials have ended.

    Args:
        run: The execution.
        outage: Why it stopped early, if the storage could not be written.

    Raises:
        StorageUnavailable: The storage could not be written.
        TrialsFailed: Trials failed, and the policy is not to continue.
    """
    if not run.files.flush_fallback():
        raise run.files.outage()
    if outage:
        raise outage_of(outage, run.files.url)
    execution = Execution(run.files, run.folder, plan=run.plan, trust=True)
    if run.ledger.failures and run.policy.on_failure != "continue":
        from machinable.execution.error_report import trials_failed  # 2 ms, and most executions do not fail

        raise trials_failed(run.ledger, execution)
    return execution


def outcomes_of(checked: Checked) -> list[PlannedOutcome]:
    """Return what would become of each trial."""
    plan, reuse, options = checked.plan, checked.reuse, checked.options
    if options.storage.url is None:
        return plan_outcomes(plan, reuse, None, has_storage=False)
    files = _existing_storage(options.url) if checked.stored is None else checked.stored.stored.files
    if files is None:
        return plan_outcomes(plan, reuse, None)  # it would be created
    with closing(open_locks(files, *options.locks)) as locks:
        shared = SharedResults(files, reuse, _sources(checked), locks) if checked.shares else None
        finished = checked.stored.unchanged if checked.stored is not None else frozenset()
        return plan_outcomes(plan, reuse, shared, finished)


def _existing_storage(url: str) -> Files | None:
    try:
        return open_files(url, create=False)
    except StorageUnavailable:
        if "://" in url or os.path.lexists(url):
            raise
        return None
