"""The life of a component, from `on_start` to `on_after_destroy`: the events in order.

Processes that a trial forks end where its own code ends: only one process can go on with the trial.
"""

from __future__ import annotations

import os
import sys
from types import TracebackType
from typing import Any, Protocol

from machinable.component.base import Component, TrialContext, overrides
from machinable.plan.spec import ComponentSpec
from machinable.trial.children import connect, create, destroy

__all__ = ["Course", "ReturnsOnce", "live"]


class Course(TrialContext, Protocol):
    """What happens around the events of a trial."""

    def child_specs(self) -> list[ComponentSpec]:
        """Specifications of the children, to hand out."""

    def construct_child(self, spec: ComponentSpec, node: Component) -> Component:
        """A child after its construct events."""

    def seed(self) -> None:
        """Seed the random number generators."""

    def begin_execution(self) -> None:
        """The execute phase begins: first rows are timed from now."""

    def before_work(self) -> None:
        """The last act before `on_execute`."""

    def first_iteration(self) -> tuple[int, bool] | None:
        """With which iteration to begin, and whether it has begun already; None if the last one is over."""

    @property
    def checkpoints(self) -> Iterations: ...


class Iterations(Protocol):
    """Is told which iteration runs."""

    def before(self) -> None: ...
    def within(self, iteration: int) -> None: ...
    def after(self, iteration: int, is_last: bool) -> None: ...


def live(node: Component, course: Course) -> Any:
    """Everything between construct and end; the result is what `on_execute` gives."""
    node.on_start()
    _make_children(node, course)
    if node.on_seeding() is not False:
        course.seed()
    create(node)
    course.begin_execution()
    node.on_before_execute()
    course.before_work()
    result = _execute(node, course)
    node.on_after_execute()
    destroy(node)
    return result


def _make_children(node: Component, course: Course) -> None:
    specs = course.child_specs()
    if node.on_init_children(specs) is False:
        node.children = None
        return
    children: list[Component] = []
    node.children = children
    for spec in specs:
        index = len(children)
        if node.on_init_child(spec, index) is False:
            continue
        child = course.construct_child(spec, node)
        children.append(child)
        node.on_after_init_child(child, index)
    connect(node)
    node.on_after_init_children(children)


def _execute(node: Component, course: Course) -> Any:
    try:
        with ReturnsOnce():
            result = node.on_execute()
    except StopIteration:
        result = None
        course.log.warning("on_execute raised StopIteration: it has ended with the result None")
    if overrides(type(node), "on_execute_iteration"):
        first = course.first_iteration()
        if first is not None:
            _iterate(node, *first, course.checkpoints)
    return result


def _iterate(node: Component, iteration: int, has_begun: bool, checkpoints: Iterations) -> None:
    while True:
        node.flags["ITERATION"] = iteration
        checkpoints.before()
        if not has_begun:
            node.on_before_execute_iteration(iteration)
        checkpoints.within(iteration)
        has_begun = False
        try:
            with ReturnsOnce():
                answer = node.on_execute_iteration(iteration)
            is_last = answer is StopIteration or isinstance(answer, StopIteration)
        except StopIteration:
            is_last = True
        else:
            if node.on_after_execute_iteration(iteration) is not False:
                node.record.save_iteration(iteration)
        checkpoints.after(iteration, is_last)
        if is_last:
            return
        iteration += 1


class ReturnsOnce:
    """Only the process that enters a block leaves it. One that was forked within ends there, as a program would.

    That is with the traceback and code 1 after an exception, with the code of a `SystemExit`, and else with 0.
    """

    def __enter__(self) -> None:
        self._process = os.getpid()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if os.getpid() == self._process:
            return
        code = 1  # if not even that can be told
        try:
            code = _code(error)
            sys.stdout.flush()
            sys.stderr.flush()
        finally:
            os._exit(code)  # what waits to be done at the end of the program is the other one's business


def _code(error: BaseException | None) -> int:
    if error is None:
        return 0
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return (error.code or 0) & 0xFF
        print(error.code, file=sys.stderr)
    else:
        sys.excepthook(type(error), error, error.__traceback__)
    return 1
