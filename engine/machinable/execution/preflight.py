"""Plan a task and check that it can run, before anything is written; errors are reported together."""

from __future__ import annotations

import os
import threading
import traceback
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import replace

from machinable.component.base import (
    Component,
    event_with_other_parameters,
    hidden_attributes,
    misspelt_events,
    overrides,
)
from machinable.component.config_methods import check_calls
from machinable.component.imports import importing, load_component
from machinable.component.project_modules import begin_project, changed_since_import, note_libraries, sources_of
from machinable.component.source_files import Sources, modules_of, replaced_modules
from machinable.component.submit import apply_on_submit
from machinable.config.resolved import Origins
from machinable.engines import registry
from machinable.engines.base import Engine
from machinable.errors import (
    ImportFailed,
    InvalidType,
    InvalidValue,
    MachinableError,
    Place,
    Refused,
    SeveralErrors,
    WarningsHeld,
    did_you_mean,
    warn,
)
from machinable.events import Listener
from machinable.execution.directory import ProjectCode, read_code
from machinable.execution.options import Options, load_listeners
from machinable.execution.portable_code import PortableCode, portable_code
from machinable.execution.resources import Capacity, capacity_of
from machinable.execution.reuse import ReusePolicy, SharedResults, reuse_policy
from machinable.plan.plan import Plan, Use
from machinable.plan.planner import live_code
from machinable.plan.search_plan import SearchPlan
from machinable.plan.spec import ComponentSpec, Target
from machinable.plan.task import Task, task_from_data
from machinable.storage.files import Files
from machinable.storage.locks import Locks
from machinable.trial.runner import check_function
from machinable.trial.seeding import check_seeding

if TYPE_CHECKING:
    from machinable.execution.resume import Changes
    from machinable.execution.search import Search
    from machinable.results.search import SearchLog

__all__ = ["Checked", "begin_search", "preflight", "prepare"]


class Checked(Struct, frozen=True):
    """A task that can run: planned and imported, with an engine that has the resources for it."""

    options: Options
    plan: Plan
    callbacks: tuple[Callable[[Any], Any], ...]  # receive each finished trial
    live: Mapping[Target, Any]  # classes and functions of the task that need no import
    portable: PortableCode  # the code for workers that import it by no name
    reuse: ReusePolicy
    sources: Sources  # the source files of the project, as they are imported
    changed: tuple[str, ...]  # files that changed after objects in the task were defined, and so are not what runs
    engine: Engine
    capacity: Capacity
    stored: Changes | None  # the changes to the execution that the plan resumes; None for a new one
    search: Search | None = None  # the search, whose plan grows

    def code(self, files: Files) -> ProjectCode:
        """Return the state of the code that runs, with a backup, if one is made, that excludes the storage."""
        options, function = self.options, self.options.function
        modules = _modules(self.plan)
        if function is not None:
            modules = [function.__module__]
        objects = [*self.live.values()] if function is None else [function]
        backup = options.storage.code_backup
        return read_code(self.sources, dict.fromkeys(modules), self.changed, files, backup, objects)

    def shared_results(
        self, files: Files, locks: Locks, folder: str = "", code: ProjectCode | None = None
    ) -> SharedResults:
        """Return the results that are shared with other executions; without folder and code, they are only read."""
        listed_files: Any = {} if code is None else code.facts["files"]
        return SharedResults(files, self.reuse, self.sources, self.changed, locks, folder, listed_files)


def prepare(task: Task | None, options: Options, expected: Plan | None = None) -> Checked:
    """Plan a task, or that of a resumed execution, and check that it can run, and that it has an expected plan.

    Raises:
        ConfigurationError, UsageError: The task, the project or an option is wrong.
        NotStored, StorageError: The execution to resume cannot be read.
        Refused: A trial cannot run here, or the project no longer gives the expected plan.
    """
    stored = changes = None
    is_stored_task, seed = task is None, options.seed
    if options.resume is not None:
        from machinable.execution.resume import compare, engine_of, stored_execution  # 3 ms with what it imports

        stored = stored_execution(options.url, options.resume, seed)
        seed = stored.seed_text
        task = task_from_data(stored.data["task"], stored.name) if task is None else task
    assert task is not None
    live = live_code(task.request)
    with WarningsHeld():
        plan = task.plan(options.project, seed, storage=options.url)
        if not len(plan) and not isinstance(plan, SearchPlan):
            raise InvalidValue("the task has no trials", given=repr(task), todo="Add one: .component(name).")
        if expected is not None:
            _check_same(expected, plan)
        begin_project(plan.project, keep={target.module for target in live})
        search = None
        if isinstance(plan, SearchPlan):
            log = None
            if plan.repeated is not None:
                from machinable.results.search import SearchLog

                log = SearchLog(
                    [dict(row) for row in plan.repeated], "the samples of the search that is repeated", 0.0, ""
                )
            elif stored is not None:
                from machinable.results.search import SearchLog

                log = SearchLog.read(stored.files, str(stored))
                log = log if is_stored_task else log._replace(over="")
            search = begin_search(plan, live, options.function, log)
        reuse = reuse_policy(options, plan)
        plan = preflight(plan, live, options.function)
    _refuse_replaced_modules(plan)
    if options.named:
        options = replace(options, listeners=(*options.listeners, *load_listeners(options.named, plan.project)))
    if stored is not None:
        changes = compare(stored, plan, reuse, is_stored_task=is_stored_task)
    if search is not None and options.engine == "dry":
        search.preview()
    given = engine_of(stored) if options.engine is None and stored is not None else options.engine
    engine = registry.make(given, plan.project)
    engine.on_notice = partial(_announce, options.listeners)
    try:
        if options.policy.timeout is not None and not engine.can_end:
            if not engine.runs_on_submit:  # it may run trials in other threads
                raise Refused(
                    f"the engine {engine.name!r} cannot end a trial that exceeds its timeout",
                    todo="Leave out the timeout, or use engine='processes'.",
                )
            if threading.current_thread() is not threading.main_thread():
                raise Refused(
                    f"a timeout with the engine {engine.name!r} needs an alarm signal, which only the main thread can "
                    "receive",
                    todo="Use worker processes: engine='processes'.",
                )
        if search is not None and search.prunes and not engine.can_prune:
            raise Refused(
                f"the engine {engine.name!r} cannot end a trial between two iterations",
                todo="Leave out prune, or use another engine, such as 'processes'.",
            )
        is_imported = engine.reach != "process"  # by workers, as it is now
        portable = portable_code(live, options.function, plan.project) if is_imported else PortableCode()
        changed = () if is_imported else _changed_files(live, plan.project)
        capacity = capacity_of(engine, options.resources)
        capacity.check(plan.uses, engine.on_notice if engine.may_grow else None)
    except BaseException:
        engine.close()  # it may have started a cluster to count its resources
        raise
    sources = sources_of(plan.project)
    callbacks = tuple(task.callbacks)
    if search is not None:
        search.capacity = capacity
    return Checked(options, plan, callbacks, live, portable, reuse, sources, changed, engine, capacity, changes, search)


def begin_search(
    plan: SearchPlan,
    live: Mapping[Target, Any],
    function: Callable[..., Any] | None = None,
    log: SearchLog | None = None,
) -> Search:
    """Return the search of a plan, with the trials of its first sample, or of all that a resumed one has had.

    Raises:
        ConfigurationError: The search or its first sample is wrong.
    """
    from machinable.execution.search import Search  # most executions search nothing

    seedings: set[tuple[str, ...]] = set()

    def check(use: Use) -> Use:
        with importing(plan.project):
            return checked_use(use, plan.project, live, function, seedings)

    if plan.search.prune is not None:
        target = plan.base.definition.target
        with importing(plan.project):
            code = function or live.get(target) or load_component(target, plan.project)
        if not isinstance(code, type) or not overrides(code, "on_execute_iteration"):
            raise InvalidValue(
                f"trials are pruned between iterations, and {plan.base.component} has no on_execute_iteration",
                given=plan.search.prune,
                path="prune",
                todo="Define it, or leave out prune.",
            )
    return Search(plan, check, log)


def _modules(plan: Plan) -> list[str]:
    """Return the modules of all components that may run, which stored trials do not."""
    return [module for use in plan.uses if not use.definition.stored_at for module in modules_of(use.definition)]


def _refuse_replaced_modules(plan: Plan) -> None:
    """Refuse to run code that would import a module of Python or of a library instead of the project's.

    A name that this process has imported before cannot mean both, and a worker process might import the other one.
    """
    libraries = note_libraries(plan.project)
    sources = sources_of(plan.project)
    modules = dict.fromkeys(_modules(plan))
    for name in replaced_modules(sources, modules):
        for _, file in sources.files_of(name):
            # Elsewhere, too, a directory without __init__.py does not come before a module or a package.
            if file.endswith((f"{name}.py", f"{name}/__init__.py")):
                raise Refused(
                    f"the code imports {name}, but this process has imported {libraries[name]} by that name before, "
                    f"and not {file} of the project",
                    given=name,
                    todo="Rename the module of the project.",
                )


def _check_same(expected: Plan, plan: Plan) -> None:
    """Check that a task still gives the plan that was made of it."""
    trials = [[(row.uid, one.identity(index)) for index, row in enumerate(one.rows)] for one in (expected, plan)]
    if trials[0] != trials[1]:
        changed = len(set(trials[0]) ^ set(trials[1]))
        raise Refused(
            f"the project has changed since the plan {expected.id} was made: {changed} trials differ",
            given=expected.id,
            todo="Make the plan again: task.plan().",
        )


def _changed_files(live: Mapping[Target, Any], project: str) -> tuple[str, ...]:
    """Return the files that differ from the code that runs, because it was imported before they changed."""
    files: dict[str, set[str]] = {}
    named: dict[str, list[str]] = {}
    for target, code in live.items():
        if changed := changed_since_import(code, project):
            files.setdefault(target.module, set()).update(changed)
            named.setdefault(target.module, []).append(str(target.name))
    for module, found in files.items():
        names = ", ".join(named[module])
        warn(
            f"{', '.join(sorted(found))} changed after {module} was imported: {names} runs as imported, "
            "and the code backup has the files as they are now. "
            f"Import {module} again, or give the component by its name."
        )
    stuck = sources_of(project).stuck
    if stuck:
        warn(
            f"{', '.join(stuck)} changed after this process imported it. A process imports an extension module only "
            "once, so it runs as imported, and the code backup has the file as it is now. Start a new process, or use "
            "worker processes: engine='processes'."
        )
    return tuple(sorted(set(stuck).union(*files.values())))


def _announce(listeners: tuple[Listener, ...], text: str) -> None:
    """Pass a message of the engine to the listeners before there is an execution."""
    for listener in listeners:
        listener.on_notice(text)


def preflight(plan: Plan, live: Mapping[Target, Any], function: Callable[..., Any] | None = None) -> Plan:
    """Return the plan with typed configurations coerced and all `on_submit` hooks applied, if its code can run.

    With a function that runs instead of every component, their modules are not imported.

    Raises:
        ConfigurationError: Something is wrong; several errors are raised as one.
    """
    errors: dict[str, MachinableError] = {}

    def add(error: MachinableError, at: Place | None) -> None:
        for one in error.parts:
            one.at = one.at or at
            if isinstance(one, ImportFailed) and one.__cause__ is not None:
                one.details = (*one.details, *_failed_line(one.__cause__, plan.project))
            errors.setdefault(str(one), one)

    if function is not None:
        check_function(function)
    is_checked = isinstance(plan, SearchPlan)  # when its samples were planned
    uses = [*plan.uses] if is_checked else []
    seedings: set[tuple[str, ...]] = set()
    with importing(plan.project):
        for use in () if is_checked else plan.uses:
            try:
                uses.append(checked_use(use, plan.project, live, function, seedings))
            except MachinableError as error:
                add(error, use.at)
        SeveralErrors.raise_any(list(errors.values()))
        if function is None:
            _warn_of_misspelt_events(uses, plan.project, live)
    is_same = all(new is old for new, old in zip(uses, plan.uses, strict=True))
    return plan if is_same else plan.with_uses(uses)


def checked_use(
    use: Use,
    project: str,
    live: Mapping[Target, Any],
    function: Callable[..., Any] | None = None,
    seedings: set[tuple[str, ...]] | None = None,
) -> Use:
    """Return a use as it runs, after checking its code and its configuration.

    Args:
        use: The use.
        project: The directory of the project, which can be imported.
        live: Classes and functions that need no import.
        function: The function that runs instead of every component.
        seedings: The seeding functions that were checked before.

    Raises:
        MachinableError: Something is wrong.
    """
    if use.definition.stored_at:
        return use
    seeding = use.definition.seeding
    if seeding is not None and (seedings is None or seeding not in seedings):
        if seedings is not None:
            seedings.add(seeding)
        check_seeding(seeding)
    definition = _checked(use.definition, project, live) if function is None else use.definition
    return use if definition is use.definition else replace(use, definition=definition)


def _warn_of_misspelt_events(uses: Iterable[Use], project: str, live: Mapping[Target, Any]) -> None:
    running = [use.definition for use in uses if not use.definition.stored_at]
    parts = [part for definition in running for part in (definition, *definition.children)]
    for target in dict.fromkeys(part.target for part in parts):
        code = live.get(target) or load_component(target, project)
        for name, event in misspelt_events(code).items() if isinstance(code, type) else ():
            warn(f"{code.__name__}.{name} is never called: there is no such event. {did_you_mean([event])}")


def _checked(part: ComponentSpec, project: str, live: Mapping[Target, Any], *, is_child: bool = False) -> ComponentSpec:
    """Return a component or a child with the changes that its code makes."""
    code = live.get(part.target) or load_component(part.target, project)
    _check_iterations(part, code)
    if not isinstance(code, type):
        check_function(code)
        return part
    if not issubclass(code, Component):
        raise InvalidType(
            f"the class {part.target.module}:{part.target.name} is not a subclass of Component",
            given=part.target.name,
            todo="Derive it from machinable.Component, or give a function.",
        )
    if (wrong := event_with_other_parameters(code)) is not None:  # type: ignore[arg-type]
        raise InvalidType(
            f"{code.__name__}.{wrong[0]} cannot be called with the arguments of this event",
            given=wrong[0],
            todo=f"Write def {wrong[1]}.",
        )
    if hidden := hidden_attributes(code):
        name = hidden[0]
        raise InvalidType(
            f"{code.__name__}.{name} is a value of the class, which hides `self.{name}`",
            given=name,
            todo="Declare requirements in machinable.yaml, `_requires_: {data: component}`, or in the task: requires=…."
            if name == "requires"
            else "Use another name.",
        )
    changed: dict[str, Any] = {}
    try:
        may_show = part.origins.may_show if isinstance(part.origins, Origins) else lambda path, text: True
        check_calls(code, part.config, may_show)
        if getattr(code, "Config", None) is not None:
            from machinable.component.config_schema import typed_config  # most classes have none

            changed["config"], changed["stored"] = typed_config(code, part.config, part.stored, part.mixin_only)
            check_calls(code, changed["config"], may_show)  # with defaults
    except MachinableError as error:
        if isinstance(part.origins, Origins):
            part.origins.locate(error)
        raise
    config = changed.get("config", part.config)
    if part.children:
        changed["children"] = tuple(_checked(child, project, live, is_child=True) for child in part.children)
    if not is_child:
        inside = [live.get(child.target) or load_component(child.target, project) for child in part.children]
        changed.update(apply_on_submit(part, config, code, inside, project))
    return replace(part, **changed) if changed else part


def _check_iterations(part: ComponentSpec, code: Any) -> None:
    """Check that a component that saves a checkpoint every few iterations has iterations and can save."""
    needed = ("on_execute_iteration", "on_save") if part.checkpoints.every is not None else ()
    missing = [event for event in needed if getattr(code, event, None) in (None, getattr(Component, event))]
    if missing:
        raise InvalidValue(
            f"{part.component} saves a checkpoint every {part.checkpoints.every} iterations, but "
            f"{code.__name__} has no {' and no '.join(missing)}",
            path=f"{part.component}._checkpoints_.every",
            given=part.checkpoints.every,
            todo="Define it, or call self.save_checkpoint() and remove `every`.",
        )


def _failed_line(error: BaseException, project: str) -> list[str]:
    """Return the line of the project in which an import failed."""
    frames = [(frame.filename, frame.lineno, frame.line) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno, error.text))
    own = [frame for frame in frames if frame[0].startswith(project + os.sep)]
    return [f"{os.path.relpath(file, project)}:{line}: {(text or '').strip()}" for file, line, text in own[-1:]]
