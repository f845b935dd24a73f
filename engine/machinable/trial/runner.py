"""Run one attempt of a trial: import its code, run its component, store its files and its outcome."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from inspect import Parameter, signature
from types import MappingProxyType
from typing import Any, Literal

from machinable.component.base import Component, state_of
from machinable.component.children import child_specs, construct
from machinable.component.imports import Code, importing
from machinable.engines.devices import device_variables
from machinable.engines.interruption import interruption
from machinable.engines.time_limit import time_limit
from machinable.errors import InvalidType, LeaseLost, WrongType, suggestion
from machinable.plan.spec import Outcome, State, Target, TrialSpec
from machinable.serialization import Plain, as_plain
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.streams import TextWriter
from machinable.trial.capture import captured, error_data, first_line
from machinable.trial.context import Progress, TrialContext
from machinable.trial.lifecycle import exit_forked_children, run_component
from machinable.trial.status import StatusFiles

__all__ = ["FUNCTION_PARAMETERS", "Progress", "check_function", "run"]

FUNCTION_PARAMETERS = ("config", "flags", "children", "requires", "tags", "log", "record", "store", "component")


def run(
    spec: TrialSpec,
    files: Files,
    folder: str,
    *,
    project: str | None = None,
    capture: Literal["tee", "keep"] | None = "tee",
    code: Code | None = None,
    live: Mapping[Target, Code] = MappingProxyType({}),
    progress: Progress | None = None,
    locks: tuple[str | None, float] | None = None,
    status: StatusFiles | None = None,
    pruned: Callable[[], str] = lambda: "",
    in_executing_process: bool = False,
) -> Outcome:
    """Run one attempt of a trial; with `spec.resume_from` continue from the last checkpoint of a previous attempt.

    Args:
        spec: The trial.
        files: The storage.
        folder: The folder of the execution in it.
        project: The absolute path of the project, which is first in `sys.path` while the trial runs.
        capture: "tee" writes output to the folder of the trial and to the console, "keep" to the folder only, None
            leaves it alone.
        code: The class or function to run instead of the component.
        live: Classes and functions that need no import.
        progress: Receives the completed and total steps that the component reports, or its last row and None.
        locks: The URL of the lock server (None: locks are files of the storage) and the seconds of a lease.
        status: The status files of the attempt, if they are open already.
        pruned: Return why the trial ends between two iterations, "" if it does not.
        in_executing_process: Whether this process writes the ledger, see `StatusFiles`.

    Returns:
        How the attempt ended. Exceptions of the component, `SystemExit` too, are part of it as data.

    Raises:
        KeyboardInterrupt: The trial was interrupted, which its folder records; or an interrupt came when its component
            had ended.
        LeaseLost: The trial was taken from this attempt, which therefore records nothing.
    """
    began = time.perf_counter()
    is_open = status is not None
    if status is None:
        path = layout.join(folder, layout.trial(spec.uid))
        status = StatusFiles(spec, files, path, in_executing_process=in_executing_process)
    context = TrialContext(spec, files, folder, project, live, progress, locks, status, pruned)
    with interruption.held():
        result: Plain = None
        try:
            if not is_open:
                status.open()
            output = TextWriter(files, layout.join(context.path, layout.OUTPUT)) if capture is not None else None
            with (
                captured(output, passes=capture == "tee"),
                _outside_of_event_loops(),
                importing(project),
                _environment(spec) if spec.definition.environment or spec.devices else nullcontext(),
            ):
                try:
                    with _working_directory(context):
                        result = _plain(context, _run_code(context, code))
                except BaseException as error:  # before closing, because the first error counts
                    interruption.hold()  # it may be an interrupt from just before that
                    context.fail(time_limit.error(error))
                finally:
                    context.close()
        except BaseException as error:
            context.fail(error)
        if context.status.lost is not None:
            context.status.abandon()
            raise context.status.lost
        for _ in range(3):  # retry finalization if interrupted again
            try:
                outcome = _store_ending(context, result, began)
                break
            except KeyboardInterrupt as again:
                context.interrupt = again
        if context.interrupt is not None:
            raise context.interrupt
    return outcome


def _run_code(context: TrialContext, code: Code | None) -> Any:
    """Run a component or a function, which alone is interrupted, and return its result."""
    try:
        interruption.release()
        context.resume()
        with exit_forked_children():
            code = code or context.load(context.spec.definition.target)
            return run_component(context, code) if isinstance(code, type) else _run_function(context, code)
    finally:
        interruption.hold()


@contextmanager
def _outside_of_event_loops() -> Iterator[None]:
    """Let the code of a trial use `asyncio.run`, although it is called from a running loop, such as a notebook's."""
    asyncio: Any = sys.modules.get("asyncio")
    loop = asyncio._get_running_loop() if asyncio is not None else None
    if loop is None:
        yield
        return
    asyncio._set_running_loop(None)
    try:
        yield
    finally:
        asyncio._set_running_loop(loop)
        asyncio.set_event_loop(loop)  # which `asyncio.run` has removed


def _run_function(context: TrialContext, function: Callable[..., Any]) -> Any:
    """Call a function that replaces a component; there are no events."""
    names = check_function(function)
    component = construct(Component, context)
    component.children = child_specs(context.spec.children)
    state_of(component).is_started = True
    context.describe()
    context.seeding.apply()
    context.began = time.perf_counter()
    return function(**{name: component if name == "component" else getattr(component, name) for name in names})


def check_function(function: Callable[..., Any]) -> list[str]:
    """Return the parameters of a function that is used as a component.

    Args:
        function: The function.

    Raises:
        InvalidType: It has a parameter without a value, or cannot be called with keywords.
    """
    name = getattr(function, "__qualname__", repr(function))
    given = []
    for parameter in signature(function).parameters.values():
        variable = parameter.kind in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD)
        if parameter.name in FUNCTION_PARAMETERS and not variable:
            if parameter.kind is Parameter.POSITIONAL_ONLY:
                raise InvalidType(
                    f"the function {name} takes {parameter.name} by position only",
                    given=parameter.name,
                    todo="Remove the / from its parameters.",
                )
            given.append(parameter.name)
        elif variable or parameter.default is Parameter.empty:
            others = f"A component's function takes any of {', '.join(FUNCTION_PARAMETERS)}; others need a default."
            raise InvalidType(
                f"the function {name} has the parameter {str(parameter).split(':')[0]}, for which there is no value",
                given=parameter.name,
                known=FUNCTION_PARAMETERS,
                todo=suggestion(parameter.name, FUNCTION_PARAMETERS, others),
            )
    return given


def _plain(context: TrialContext, result: Any) -> Plain:
    """Return the result as plain data; log anything that is dropped."""
    plain: Plain = None
    try:
        plain = None if result is None else as_plain(result, "result", tuples=True)
    except (WrongType, RecursionError) as error:
        context.dropped.append(f"the result is dropped: {first_line(error)}")
    if record := context.used("record"):
        for scope in record.unsaved():
            context.dropped.append(f"a row of the record {scope!r} was not saved and is dropped")
    for what in context.dropped:
        context.log.warning("%s", what)
    return plain


def _store_ending(context: TrialContext, result: Plain, began: float) -> Outcome:
    state: State = "failed" if context.failure is not None else "pruned" if context.because else "finished"
    error = None if context.failure is None else error_data(context.failure, context.mask)
    if context.failure is not None or context.interrupt is not None:
        result = None
    record = context.used("record")
    inputs = {name: read for name, read in context.inputs.items() if read}
    indirect = {name: one for name, one in context.indirect.items() if name in inputs}
    facts = {"result": result, "error": error, "artifacts": context.artifacts, "inputs": inputs}
    if indirect:
        facts["indirect"] = indirect
    if state == "pruned":
        facts["because"] = context.because
    try:
        ended: State = "interrupted" if context.interrupt is not None else state
        context.status.close(ended, context.seeding.applied, facts)
    except LeaseLost:
        raise
    except Exception as lost:  # without a stored state the trial has not finished
        state, result = "failed", None
        error = error or error_data(lost, context.mask)
    return Outcome(
        context.spec.uid,
        state,
        context.spec.attempt,
        time.perf_counter() - began,
        record.last if record else None,
        result,
        error,
        artifacts=context.status.digests,
        inputs=inputs,
        indirect=indirect,
        dropped=tuple(context.dropped),
        because=context.because if state == "pruned" else "",
    )


@contextmanager
def _environment(spec: TrialSpec) -> Iterator[None]:
    variables = dict(spec.definition.environment)
    if spec.devices:
        variables |= device_variables(spec.devices)
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def _working_directory(context: TrialContext) -> Iterator[None]:
    """Restore the working directory after a trial, which may run in its local directory or change it."""
    before = None
    with suppress(FileNotFoundError):  # it was deleted
        before = os.getcwd()
    if context.spec.definition.change_directory:
        os.chdir(context.directory)
    try:
        yield
    finally:
        with suppress(OSError):  # the trial may have deleted it
            if before is not None:
                os.chdir(before)
