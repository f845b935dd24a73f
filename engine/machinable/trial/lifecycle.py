"""Call the events of a component in order, from `on_start` to `on_finish`.

Processes that a trial forks exit when the code of its component ends: only one process continues the trial.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from time import perf_counter
from types import TracebackType
from typing import Any

from machinable.component.base import Component, overrides, state_of
from machinable.component.children import construct, create, destroy, make_children
from machinable.engines.interruption import interruption
from machinable.engines.time_limit import time_limit
from machinable.trial.capture import error_data
from machinable.trial.context import TrialContext

__all__ = ["exit_forked_children", "run_component"]


def run_component(context: TrialContext, cls: type[Component]) -> Any:
    """Construct a component and call all its events; return the result of `on_execute`."""
    node = construct(cls, context)
    context.resume_component(node)
    try:
        context.describe(node)
        state_of(node).is_started = True
        context.began = perf_counter()
        node.on_start()
        make_children(node, context)
        if node.on_seeding() is not False:
            context.seeding.apply()
        create(node)
        context.began = perf_counter()
        node.on_before_execute()
        context.before_execute(node)
        try:
            with exit_forked_children():
                result = node.on_execute()
        except StopIteration as stop:
            result = None
            _check_deliberate(stop, "on_execute", "to end early, return")
            context.log.warning("on_execute raised StopIteration: its result is None")
        if overrides(cls, "on_execute_iteration"):
            with interruption.deferred() if overrides(cls, "on_save") else nullcontext():
                _iterate(node, context)
        node.on_after_execute()
        destroy(node)
        if context.because:
            node.on_finish(None, False)
            return None
        context.check_results()
        node.on_success(result)
    except BaseException as caught:
        error = time_limit.error(caught)
        _log_errors(context, node, "on_failure", error)
        _log_errors(context, node, "on_finish", None, False)
        if error is not caught:
            raise error from None
        raise
    try:
        node.on_finish(result, True)
    except BaseException as caught:
        error = time_limit.error(caught)
        _log_errors(context, node, "on_failure", error)
        if error is not caught:
            raise error from None
        raise
    return result


def _iterate(node: Component, context: TrialContext) -> None:
    first = context.first_iteration()
    if first is None:
        return
    iteration, has_begun = first
    checkpoints, every = context.checkpoints, context.spec.definition.checkpoints.every
    is_last = False
    is_judged, ends_after = bool(context.spec.judged), context.spec.ends_after
    while not is_last:
        before = node.record.last if is_judged else None
        node.flags["ITERATION"] = iteration
        checkpoints.is_iterating = True
        saves = state_of(node).saves
        if not has_begun:
            node.on_before_execute_iteration(iteration)
        checkpoints.settle(iteration, has_begun=True)
        has_begun = False
        try:
            with exit_forked_children():
                answer = node.on_execute_iteration(iteration)
            is_last = answer is StopIteration or isinstance(answer, StopIteration)
        except StopIteration as stop:
            _check_deliberate(stop, "on_execute_iteration", "to end the iterations, return StopIteration")
            is_last = True
        else:
            if node.on_after_execute_iteration(iteration) is not False:
                node.record.save_iteration(iteration)
            is_due = interruption.is_pending or (every is not None and (iteration + 1) % every == 0)
            if is_due and state_of(node).saves == saves:
                node.save_checkpoint()
        checkpoints.is_iterating = False
        iteration += 1
        checkpoints.settle(iteration, is_last=is_last)
        interruption.raise_pending()
        if ends_after is not None and iteration >= ends_after[0] and not is_last:
            context.because = ends_after[1]
            return
        if is_judged:
            row = node.record.last
            if row is not None and row is not before:
                context.report_judged(iteration, row)
            if not is_last and context.is_pruned():
                return


def _check_deliberate(stop: StopIteration, event: str, todo: str) -> None:
    """Check that a `raise` statement of the event raised it, and not something that the event has called.

    Raises:
        RuntimeError: It leaked, which Python treats alike in generators (PEP 479).
    """
    from opcode import opmap  # only for this error

    at = stop.__traceback__
    while at is not None and at.tb_next is not None:
        at = at.tb_next
    code = at.tb_frame.f_code if at is not None else None
    if at is None or code is None or code.co_name != event or code.co_code[at.tb_lasti] != opmap["RAISE_VARARGS"]:
        raise RuntimeError(f"{event} called something that raised StopIteration, such as next(); {todo}") from stop


def _log_errors(context: TrialContext, node: Component, event: str, *arguments: Any) -> None:
    """Call an event after a failure; further errors are only logged."""
    try:
        getattr(node, event)(*arguments)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            context.interrupt = error
        context.log.error("%s raised an exception\n%s", event, error_data(error)["traceback"])


class exit_forked_children:  # noqa: N801 - reads as the function that it is at its uses
    """Exit processes that were forked within a block at its end, as programs exit.

    Their exit code is 0, that of a `SystemExit`, or 1 after another exception, whose traceback they print.
    """

    def __enter__(self) -> None:
        self._process = os.getpid()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if os.getpid() == self._process:
            return
        code = 0 if error is None else 1
        try:
            if isinstance(error, SystemExit):
                if error.code is None or isinstance(error.code, int):
                    code = (error.code or 0) & 0xFF
                else:
                    print(error.code, file=sys.stderr)
            elif error is not None:
                sys.excepthook(type(error), error, error.__traceback__)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)  # exit handlers belong to the process of the trial
