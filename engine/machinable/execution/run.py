"""Execute a checked task, step by step: each function takes the product of the one before."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from io import BytesIO
from math import prod
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from machinable.display.terminal import echo
from machinable.engines.base import OnProgress, Work
from machinable.engines.processes.threads import idle_notice
from machinable.errors import Refused
from machinable.events import Listener
from machinable.execution.directory import ProjectCode, create_execution, pack_project
from machinable.execution.interrupts import Interrupts, with_alarm
from machinable.execution.ledger import Ledger
from machinable.execution.preflight import Checked
from machinable.execution.scheduler import Run, Scheduler
from machinable.execution.stop import StopWatch, forget_stop
from machinable.execution.worker_task import InProcessTask, WorkerTask, environment_for_workers
from machinable.plan.plan import Plan
from machinable.plan.search_plan import SearchPlan
from machinable.results.execution import Execution
from machinable.settings import CodeBackup
from machinable.storage import layout
from machinable.storage.cleanup import at_work
from machinable.storage.fallback import FallbackFiles, fallback_name, outage_of
from machinable.storage.files import Files
from machinable.storage.hashing import digest
from machinable.storage.locks import Lease, LeaseGuard, Locks, open_locks
from machinable.storage.open import open_files
from machinable.storage.process_info import cores

if TYPE_CHECKING:
    from machinable.execution.limits import SharedLimits
    from machinable.execution.search import Search
    from machinable.storage.served.server import FilesServer

__all__ = ["execute_checked"]


def execute_checked(checked: Checked, interrupts: Interrupts) -> Execution | Plan:
    """Execute a checked task; with an engine that runs nothing, print and return the plan.

    Raises:
        StorageError: The storage cannot be opened or written.
        TrialsFailed: Trials failed.
        KeyboardInterrupt: It was interrupted; everything is written.
    """
    stored = checked.stored
    if stored is not None and not stored.is_stored_task:
        echo(stored.summary(str(stored.stored)), file=sys.stderr)
    if checked.engine.is_dry:
        from machinable.execution.dry_run import outcomes_of, outcomes_text

        echo(outcomes_text(checked.plan, outcomes_of(checked)))
        return checked.plan
    if stored is not None and stored.is_empty and (checked.search is None or not checked.search.may_go_on):
        echo(f"{stored.stored} has {stored.stored.status}: there is nothing to resume", file=sys.stderr)
        return stored.stored
    with interrupts.allowed():
        files, locks = open_storage(checked)
    with closing(locks), ExitStack() as marks:
        run = (begin if stored is None else resume)(checked, files, locks, interrupts, marks)
        with worker_task(run) as (work, server):
            _advise(checked)
            for notice in _shared_by_parts(checked.plan):
                run.ledger.notice(notice)
            scheduler = Scheduler(run, work, server, interrupts)

            def stop(sender: str) -> None:
                run.ledger.notice(f"{run.folder} was stopped by {sender}")
                interrupts.stop()

            try:
                # Marks are removed before the lease is released.
                with marks.pop_all(), StopWatch(run.files, run.folder, stop):
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
        Refused: The engine's workers cannot access the storage.
    """
    engine, stored = checked.engine, checked.stored
    files = open_files(checked.options.url, create=True) if stored is None else stored.stored.files
    if engine.reach == "anywhere" and files.reach != "anywhere" and not engine.ships:
        raise Refused(
            f"the engine {engine.name!r} has workers on other hosts, which cannot access {files.url}",
            given=files.url,
            todo="Use a storage that every host can access, such as s3://bucket/folder.",
        )
    return files, open_locks(files, *checked.options.locks)


def begin(checked: Checked, files: Files, locks: Locks, interrupts: Interrupts, marks: ExitStack) -> Run:
    """Begin a new execution: create its folder, and write the plan; `marks` receives the mark of this process."""
    plan, function = checked.plan, checked.options.function
    name = None if function is None else f"{function.__module__}:{getattr(function, '__qualname__', function)}"
    lease: Lease | None = None

    def hold(folder: str) -> None:
        """Take the lease and leave a mark, before the folder is an execution that others could take."""
        nonlocal lease
        if files.reach != "process":
            lease = locks.take_over(layout.join(folder, layout.EXECUTION_LEASE), {"execution": folder})
        marks.enter_context(at_work(files, folder))

    with interrupts.allowed():
        code = checked.code(files)
        try:
            folder = create_execution(files, plan, checked.engine, code, name, hold)
        except BaseException:
            if lease is not None:
                lease.release()
            raise
    return _begun(checked, files, locks, folder, lease, code)


def resume(checked: Checked, files: Files, locks: Locks, interrupts: Interrupts, marks: ExitStack) -> Run:
    """Resume a stored execution in its folder: check that nothing else runs it, and write the new plan."""
    from machinable.execution.resume import compare, take_over, write_resumption  # 3 ms with what it imports

    stored, plan = checked.stored, checked.plan
    assert stored is not None
    with interrupts.allowed():
        lease = take_over(stored.stored, locks)
        marks.enter_context(at_work(files, str(stored.stored)))
        forget_stop(files, str(stored.stored))
        stored = compare(stored.stored, plan, checked.reuse, is_stored_task=stored.is_stored_task)  # as it is now
        code = checked.code(files)
    run = _begun(checked, files, locks, str(stored.stored), lease, code)
    return replace(run, completed=write_resumption(stored, plan, run.ledger, run.shared, checked.engine, code))


def _begun(checked: Checked, files: Files, locks: Locks, folder: str, lease: Lease | None, code: ProjectCode) -> Run:
    """Return the execution after its folder is written; from now on, an outage must not lose results."""
    fallback, guard = "", None
    if lease is not None:
        guard = LeaseGuard(files, folder, lease)
    if files.reach != "process":
        fallback = fallback_name(folder)
        files = FallbackFiles(files, fallback)
    plan = checked.plan
    planned = plan.to_run if isinstance(plan, SearchPlan) else len(plan)
    ledger = Ledger(planned, plan.seed, files, folder, checked.options.listeners, checked.callbacks)
    shared = checked.shared_results(files, locks, folder, code)
    return Run(checked, files, folder, ledger, shared, fallback, _limits(checked, files, locks, ledger), guard)


def _limits(checked: Checked, files: Files, locks: Locks, ledger: Ledger) -> SharedLimits | None:
    """Return the limits that executions share, if trials need some."""
    limits, uses = checked.capacity.shared, checked.plan.uses
    wanted = {name: limits[name] for name in limits if any(name in use.definition.resources for use in uses)}
    if not wanted:
        return None
    from machinable.execution.limits import SharedLimits  # few executions share limits

    for name in wanted if files.reach == "process" else ():
        ledger.notice(f"{name} is not shared: other executions do not see one whose results stay in memory")
    return SharedLimits(locks, ledger.folder, wanted, is_remote=files.reach == "anywhere")


@contextmanager
def worker_task(run: Run) -> Iterator[tuple[Work, FilesServer | None]]:
    """Provide the work of an engine for a trial, and the server for workers that do not reach the storage.

    Afterwards nothing of it is in use, and the execution can be resumed.
    """
    options, engine, plan = run.checked.options, run.checked.engine, run.checked.plan
    files, folder = run.files, run.folder
    engine.on_notice = run.ledger.notice
    on_progress = _progress_listener(options.listeners, run.checked.search)
    work: Work
    server = in_process = None
    if engine.reach == "process":
        work = in_process = InProcessTask(
            files, folder, plan.project, run.checked.live, options.function, on_progress, options.locks
        )
        if run.checked.search is not None:
            in_process.pruned = run.checked.search.pruned
    else:
        engine.on_progress = on_progress
        work = WorkerTask(
            options.url,
            folder,
            plan.project,
            run.checked.portable,
            options.locks,
            root=getattr(files.inner, "root", None) if engine.reach == "host" else None,  # hosts number devices
            fallback=run.fallback,
            sources={path: data for path, data in run.checked.sources.files.items() if path.endswith(".py")},
        )
        if engine.ships:
            engine.ship(plan.project, _code_to_ship(run))
            mark = digest(files.read(layout.join(folder, layout.EXECUTION)))
            work = replace(work, mark=mark, environment=environment_for_workers(files.reach))
        if engine.ships or files.reach == "process":
            from machinable.storage.served.server import FilesServer  # 3 ms, and most executions need none

            check = (lambda: None) if run.guard is None else run.guard.check
            server = FilesServer(files, engine.address_for_workers(), check)
            work = replace(work, reach=files.reach, access=server.access)
    if options.policy.timeout is not None and not engine.can_end:
        work = with_alarm(work, options.policy.timeout)
    try:
        yield work, server
    finally:
        for one in (server, in_process):
            if one is not None:
                one.close()
        if run.guard is not None:
            run.guard.release()


def _progress_listener(listeners: tuple[Listener, ...], search: Search | None) -> OnProgress | None:
    """Return a function that passes progress and rows to what takes them; None if nothing does."""
    audience = [one for one in listeners if one.hears(Listener.on_progress) or one.hears(Listener.on_record)]

    def on_progress(uid: str, i: int | dict[str, Any], total: int | None) -> None:
        if search is not None and isinstance(i, dict) and total is not None:
            search.on_row(uid, total, i[search.column])
            return
        for one in audience:
            if isinstance(i, dict):
                one.on_record(uid, i)
            else:
                one.on_progress(uid, i, total)

    return on_progress if audience or (search is not None and search.prunes) else None


def _code_to_ship(run: Run) -> bytes:
    """Return the code that workers on other hosts import: the backup, or the archive that would be the backup."""
    backup = run.checked.options.storage.code_backup
    if run.checked.stored is None and backup is not None:
        return run.files.read(layout.join(run.folder, layout.CODE))
    archive = BytesIO()
    pack_project(archive, run.checked.sources, run.files, (backup or CodeBackup())._replace(scan=False))
    return archive.getvalue()


def _advise(checked: Checked) -> None:
    """Tell the listeners if this host could run more trials at a time."""
    listeners, engine, plan = checked.options.listeners, checked.engine, checked.plan
    if not listeners or engine.reach == "anywhere":
        return
    threads = max(use.definition.threads for use in plan.uses)
    advice = idle_notice(min(engine.slots, len(plan)), threads, cores())
    if advice is not None:
        for one in listeners:
            one.on_advice(advice)


def _shared_by_parts(plan: Plan) -> Iterator[str]:
    """Yield a notice for each requirement that all parts of a split read: users may expect one for each fold."""
    parts = prod(level.total for level in plan.request.levels if level.name != "REPEAT")
    listed = [use for use in plan.uses if not use.identity] if parts > 1 else []
    readers: dict[str, dict[str, None]] = {}
    for use in listed:
        for needed in use.requires.values():
            readers.setdefault(plan.uses[needed.use].definition.component, {})[use.definition.component] = None
    for required, names in readers.items():
        yield (
            f"{required} runs once, and all {parts} parts of {', '.join(names)} read its result. To run it for each "
            f"part, require it with a key that differs: requires={{…: ({required!r}, {{'fold': 2}})}}"
        )


def finish(run: Run, outage: str) -> Execution:
    """Return the execution after its trials have ended, or early because of an outage.

    Raises:
        StorageUnavailable: The storage could not be written.
        TrialsFailed: Trials failed, and the policy is not to continue.
    """
    files, ledger = run.files, run.ledger
    if not files.flush_fallback():
        raise files.outage()
    if outage:
        raise outage_of(outage, files.url)
    search = run.checked.search
    if search is not None and search.problem is not None:
        search.problem.details = (*search.problem.details, f"the execution is {run.folder} in {files.url}")
        raise search.problem
    execution = Execution(files, run.folder, plan=run.checked.plan, trust=True)
    on_failure = run.checked.options.policy.on_failure
    is_lenient = search is not None and search.has_value and on_failure == "raise"  # samples may fail
    if ledger.failures and not is_lenient and on_failure != "continue":
        from machinable.execution.error_report import trials_failed  # 2 ms, and most executions do not fail

        raise trials_failed(ledger, execution)
    return execution
