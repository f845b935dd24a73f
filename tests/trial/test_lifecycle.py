"""The order of events, failures in each event, iterations, and forked processes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from machinable.component.base import Component
from tests.component.worlds import World, messages

Project = Callable[..., Path]

FORKS = """
import os
import sys
from machinable import Component


class Forks(Component):
    def on_execute(self):
        if self.config.where == "execute":
            return self.forked()

    def on_execute_iteration(self, iteration):
        if self.config.where == "iteration" and iteration < 2:
            self.record["code"] = self.forked()
            return
        return StopIteration

    def on_success(self, result):
        if self.config.where == "success" and (code := self.forked()) is not None:
            self.log.info("code %s", code)

    def forked(self):
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print("in the child")
        if self.config.how == "raises":
            raise ValueError("of the child")
        if self.config.how == "exits":
            sys.exit(3)
        if self.config.how == "says":
            sys.exit("no way")


def function(component):
    return Forks.forked(component)
"""

SCRIPT = """
import sys
import forks
import machinable as ml

if __name__ == "__main__":
    task = ml.Task().component("forks", [{"where": where} for where in ("execute", "iteration", "success")])
    task = task.component("forks", [{"how": how} for how in ("raises", "exits", "says")])
    task = task.component(forks.function, {"how": "exits"})
    execution = ml.execute(task, {"storage": "stored", "code_backup": False}, engine=sys.argv[1])
    with open("seen.txt", "a") as file:
        for trial in execution.trials:
            codes = [row["code"] for row in trial.records]
            said = [line for line in trial.output.splitlines() if not line.startswith((" ", "Traceback"))]
            print(trial.status, trial.result, codes, trial.log.partition("code ")[2].strip(), said, file=file)
"""


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_a_forked_process_does_not_continue_the_trial(engine: str, project: Project) -> None:
    directory = project("components:\n  - forks: {where: execute, how: returns}\n", forks=FORKS)
    (directory / "script.py").write_text(SCRIPT)

    done = subprocess.run([sys.executable, "script.py", engine], cwd=directory, capture_output=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert (directory / "seen.txt").read_text().splitlines() == [
        "finished 0 []  ['in the child']",
        "finished None [0, 0]  ['in the child', 'in the child']",
        "finished None [] 0 ['in the child']",
        "finished 1 []  ['in the child', 'ValueError: of the child']",
        "finished 3 []  ['in the child']",
        "finished 1 []  ['in the child', 'no way']",
        "finished 3 []  ['in the child']",
    ]


ORDER = [
    "on_before_init",
    "on_init",
    "on_after_init",
    "on_start",
    "on_init_children",
    "on_after_init_children",
    "on_seeding",
    "on_before_create",
    "on_create",
    "on_after_create",
    "on_before_execute",
    "on_execute",
    "on_before_execute_iteration",
    "on_execute_iteration",
    "on_after_execute_iteration",
    "on_after_execute",
    "on_before_destroy",
    "on_destroy",
    "on_after_destroy",
    "on_success",
    "on_finish",
]


def traced(
    failing: str | None, error: BaseException | None = None, then: tuple[str, ...] = ()
) -> tuple[type[Component], list[str]]:
    """Return a component that logs its events and raises in one of them, and again in those of `then`."""
    log: list[str] = []

    def event(name: str) -> Any:
        def method(self: Component, *arguments: Any) -> Any:
            log.append(name)
            if name == failing or name in then:
                raise error if name == failing and error is not None else RuntimeError(name)
            return StopIteration if name == "on_execute_iteration" else None

        def on_create(self: Component) -> Any:
            return method(self)

        return on_create if name == "on_create" else method

    return type("Traced", (Component,), {name: event(name) for name in [*ORDER, "on_failure"]}), log


def test_all_events_come_in_order() -> None:
    cls, log = traced(None)

    assert World(cls).ended.state == "finished"
    assert log == ORDER


@pytest.mark.parametrize("failing", ORDER)
def test_after_a_failure_only_the_last_two_follow(failing: str) -> None:
    cls, log = traced(failing)
    world = World(cls)

    before = ORDER[: ORDER.index(failing) + 1]
    if failing in ORDER[:3]:
        follows = []
    elif failing == "on_finish":
        follows = ["on_failure"]
    else:
        follows = ["on_failure", "on_finish"]
    assert log == before + follows
    assert (world.ended.state, world.ended.result, world.json("status.json")["state"]) == ("failed", None, "failed")
    assert world.ended.error is not None
    assert (world.ended.error["type"], world.ended.error["message"]) == ("RuntimeError", failing)


@pytest.mark.parametrize("error", [SystemExit(3), RecursionError("deep"), GeneratorExit(), MemoryError()])
def test_whatever_is_raised_fails_the_trial(error: BaseException) -> None:
    cls, log = traced("on_execute", error)
    world = World(cls)

    assert (world.ended.state, log[-2:]) == ("failed", ["on_failure", "on_finish"])
    assert world.ended.error is not None and world.ended.error["type"] == type(error).__name__


def test_an_error_that_is_falsy_is_a_failure() -> None:
    class Empty(Exception):
        def __len__(self) -> int:
            return 0

    cls, _ = traced("on_execute", Empty())

    assert World(cls).ended.state == "failed"


def test_errors_after_a_failure_are_logged_and_change_nothing() -> None:
    cls, _ = traced("on_execute", ValueError("first"), then=("on_failure", "on_finish"))
    world = World(cls)

    assert world.ended.error is not None and world.ended.error["message"] == "first"
    lines = messages(world.text("log.txt"))
    assert [line for line in lines if line.startswith("ERROR")] == [
        "ERROR on_failure raised an exception",
        "ERROR on_finish raised an exception",
    ]
    assert world.text("log.txt").count("RuntimeError: on_failure") == 1


@pytest.mark.parametrize("failing", ["on_start", "on_create", "on_execute", "on_finish"])
def test_an_interrupt_is_recorded_and_raised(failing: str) -> None:
    cls, log = traced(failing, KeyboardInterrupt())
    world = World(cls)

    assert world.interrupt is not None
    status = world.json("status.json")
    assert (status["state"], status["result"], status["error"]["type"]) == ("interrupted", None, "KeyboardInterrupt")
    assert status["finished"] is not None
    assert log[ORDER.index(failing) + 1 :] == (
        ["on_failure"] if failing == "on_finish" else ["on_failure", "on_finish"]
    )


def test_an_interrupt_during_the_handling_of_a_failure_is_raised() -> None:
    class Slow(Component):
        def on_execute(self) -> None:
            raise ValueError("first")

        def on_failure(self, exception: BaseException) -> None:
            raise KeyboardInterrupt

    world = World(Slow)

    assert world.interrupt is not None
    assert (world.json("status.json")["state"], world.json("status.json")["error"]["message"]) == (
        "interrupted",
        "first",
    )


def first_of_nothing() -> object:
    return next(iter(()))


class Empty:
    def __iter__(self) -> Empty:
        return self

    def __next__(self) -> None:
        raise StopIteration


@pytest.mark.parametrize(
    "leak",
    [
        first_of_nothing,
        lambda: next(x for x in [1] if x > 1),
        lambda: next(Empty()),
        lambda: iter(()).__next__(),
    ],
)
@pytest.mark.parametrize("event", ["on_execute", "on_execute_iteration"])
def test_a_stop_iteration_that_leaks_is_a_failure(event: str, leak: Callable[[], object]) -> None:
    world = World(type("Leaks", (Component,), {event: lambda self, *iteration: leak()}))

    assert world.ended.error is not None
    assert (world.ended.state, world.ended.error["type"]) == ("failed", "RuntimeError")
    assert "StopIteration" in world.ended.error["message"]
    assert "test_lifecycle.py" in world.ended.error["traceback"]


def test_a_raise_statement_in_on_execute_is_logged() -> None:
    class Stops(Component):
        def on_execute(self) -> None:
            raise StopIteration

    world = World(Stops)

    assert (world.ended.state, world.ended.result) == ("finished", None)
    assert messages(world.text("log.txt")) == ["WARNING on_execute raised StopIteration: its result is None"]


def test_a_raise_statement_ends_the_iterations() -> None:
    class Raises(Component):
        def on_execute_iteration(self, iteration: int) -> None:
            self.record["i"] = iteration
            if iteration == 2:
                try:
                    first_of_nothing()
                except StopIteration as stop:
                    raise StopIteration from stop

    world = World(Raises)

    assert (world.ended.error, [row["i"] for row in world.rows()]) == (None, [0, 1])


def test_a_decorated_iteration_may_raise_it_too() -> None:
    def decorated(function: Callable[..., object]) -> Callable[..., object]:
        return lambda *arguments: function(*arguments)

    class Raises(Component):
        @decorated
        def on_execute_iteration(self, iteration: int) -> None:
            raise StopIteration("over")

    assert World(Raises).ended.error is None


def test_a_row_that_is_never_saved_is_dropped_with_a_warning() -> None:
    class Keeps(Component):
        def on_execute_iteration(self, iteration: int) -> Any:
            self.record["x"] = iteration
            self.record.scope("more")["y"] = 1
            return StopIteration if iteration == 1 else None

        def on_after_execute_iteration(self, iteration: int) -> bool:
            return iteration != 1

    world = World(Keeps)

    assert [row["x"] for row in world.rows()] == [0]
    assert messages(world.text("log.txt")) == [
        "WARNING a row of the record 'default' was not saved and is dropped",
        "WARNING a row of the record 'more' was not saved and is dropped",
    ]


def test_stop_iteration_anywhere_else_is_a_failure() -> None:
    class Stops(Component):
        def on_execute_iteration(self, iteration: int) -> None: ...

        def on_before_execute_iteration(self, iteration: int) -> None:
            raise StopIteration

    assert World(Stops).ended.state == "failed"


@pytest.mark.parametrize(
    ("result", "kept"),
    [
        ((1, [2.5, None]), (1, [2.5, None])),
        ({"a": {1: "x"}}, {"a": {1: "x"}}),
        (float("inf"), float("inf")),
    ],
)
def test_a_plain_result_is_stored(result: object, kept: object) -> None:
    cls = type("Gives", (Component,), {"on_execute": lambda self: result})

    assert World(cls).ended.result == kept


@pytest.mark.parametrize("result", [object(), {"a": {1, 2}}, b"bytes"])
def test_a_result_that_is_not_plain_reaches_the_events_and_is_dropped_with_a_line_in_the_log(result: object) -> None:
    seen: list[object] = []

    class Gives(Component):
        def on_execute(self) -> object:
            return result

        def on_success(self, result: object) -> None:
            seen.append(result)

    world = World(Gives)

    assert (world.ended.state, world.ended.result, world.json("status.json")["result"]) == ("finished", None, None)
    assert seen == [result]
    assert messages(world.text("log.txt"))[0].startswith("WARNING the result is dropped: ")


def test_a_result_that_contains_itself_is_dropped() -> None:
    circle: list[object] = []
    circle.append(circle)
    world = World(type("Gives", (Component,), {"on_execute": lambda self: circle}))

    assert (world.ended.state, world.ended.result) == ("finished", None)
