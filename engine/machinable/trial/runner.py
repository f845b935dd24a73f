"""Run one attempt of a trial: import its code, run its component, store what it writes and how it ended."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from types import MappingProxyType
from typing import Any, Literal

from machinable.component.base import Component, state_of
from machinable.component.imports import Code, check_function, importing
from machinable.errors import WrongType
from machinable.plan.spec import Outcome, State, Target, TrialSpec
from machinable.serialization import Plain, as_plain
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.streams import TextWriter
from machinable.trial.capture import Capture
from machinable.trial.context import Progress, TrialContext
from machinable.trial.lifecycle import exit_forked_children, run_component
from machinable.trial.tracebacks import error_data, first_line

__all__ = ["Progress", "run"]

_NOTHING: AbstractContextManager[Any] = nullcontext()


def run(
    spec: TrialSpec,
    files: Files,
    folder: str,
    *,
    project: str | None = None,
    attempt: int = 1,
    capture: Literal["tee", "keep"] | None = "tee",
    code: Code | None = None,
    live: Mapping[Target, Code] = MappingProxyType({}),
    progress: Progress | None = None,
    locks: tuple[str | None, float] | None = None,
) -> Outcome:
    """Run one attempt of a trial; with `spec.resume_from` continue from the last checkpoint of a previous attempt.

    Args:
        spec: the trial.
        files: the storage.
        folder: the folder of the execution in it.
        project: the absolute path of the project, which is first in `sys.path` while the trial runs.
        attempt: the number of the attempt, from 1.
        capture: "tee" writes output to the folder of the trial and to the console, "keep" to the folder only, None
            leaves it alone.
        code: the class or function to run in place of `spec.target`.
        live: classes and functions that need no import.
        progress: receives the number of steps that the component reports and of how many, or its last row and None.
        locks: the URL of the lock server (None: locks are files of the storage) and the seconds of a lease.

    Returns:
        How the attempt ended. Exceptions of the component, `SystemExit` too, are part of it as data.

    Raises:
        KeyboardInterrupt: the trial was interrupted, which its folder records.
    """
    began = time.perf_counter()
    context = TrialContext(spec, files, folder, project, attempt, live, progress, locks)
    try:
        context.status.open()
        with _captured(context, capture), importing(project), _environment(spec.definition.environment):
            try:
                with _working_directory(context) if spec.definition.change_directory else _NOTHING:
                    context.resume()
                    with exit_forked_children():
                        code = code or context.load(spec.target)
                        if isinstance(code, type):
                            result = run_component(context, code)
                        else:
                            result = _run_function(context, code)
                        context.ending.result = _plain(context, result)
            except BaseException as error:  # before closing, because the first error counts
                context.ending.add(error)
            finally:
                context.close()
    except BaseException as error:
        context.ending.add(error)
    return _finish(context, began)


def _run_function(context: TrialContext, function: Callable[..., Any]) -> Any:
    """Call a function that stands in place of a component; there are no events."""
    names = check_function(function)
    component = context.construct_node(Component, calls=False)
    component.children = context.child_specs()
    state_of(component).is_started = True
    context.describe()
    context.seeding.apply()
    context.clock.begin()
    arguments = {name: component if name == "component" else getattr(component, name) for name in names}
    with exit_forked_children():
        return function(**arguments)


def _plain(context: TrialContext, result: Any) -> Plain:
    """Return the result as plain data; log what is dropped."""
    plain: Plain = None
    try:
        plain = None if result is None else as_plain(result, "result", tuples=True)
    except (WrongType, RecursionError) as error:
        context.log.warning("the result is dropped: %s", first_line(error))
    for scope in context.unsaved_rows():
        context.log.warning("a row of the record %r was not saved and is dropped", scope)
    return plain


def _finish(context: TrialContext, began: float) -> Outcome:
    ending = context.ending
    for _ in range(3):  # retry finalization if interrupted again
        try:
            outcome = _store_ending(context, began)
            break
        except KeyboardInterrupt as again:
            ending.interrupt = again
    if ending.interrupt is not None:
        raise ending.interrupt
    return outcome


def _store_ending(context: TrialContext, began: float) -> Outcome:
    ending = context.ending
    if ending.failure is not None or ending.interrupt is not None:
        ending.result = None
    error = None if ending.failure is None else error_data(ending.failure)
    state: State = "finished" if error is None else "failed"
    inputs = context.inputs()
    try:
        context.status.close(
            "interrupted" if ending.interrupt is not None else state,
            ending.result,
            error,
            context.seeding.applied,
            context.written,
            inputs,
        )
    except Exception as lost:  # without a stored state the trial has not finished
        state, ending.result = "failed", None
        error = error or error_data(lost)
    return Outcome(
        context.spec.uid,
        state,
        context.attempt,
        time.perf_counter() - began,
        context.last_row(),
        ending.result,
        error,
        artifacts=context.status.digests,
        inputs=inputs,
    )


def _captured(context: TrialContext, capture: Literal["tee", "keep"] | None) -> AbstractContextManager[Any]:
    if capture is None:
        return _NOTHING
    return Capture(TextWriter(context.files, layout.join(context.path, layout.OUTPUT)), capture == "tee")


def _environment(variables: Mapping[str, str]) -> AbstractContextManager[None]:
    return _variables_set(variables) if variables else _NOTHING


@contextmanager
def _variables_set(variables: Mapping[str, str]) -> Iterator[None]:
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
    before = os.getcwd()
    os.chdir(context.directory)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):  # it was removed while the trial ran
            os.chdir(before)
