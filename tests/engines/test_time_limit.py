"""A time limit on the local engine ends a component whatever it catches."""

from __future__ import annotations

import signal
from contextlib import suppress

import pytest

import machinable as ml
from machinable.engines import time_limit
from tests.conftest import World

WORKS = """
import contextlib
import time
from machinable import Component


class Works(Component):
    def on_execute(self):
        calls = 0
        while True:
            calls += 1
            {code}

    def work(self):
        self.record["x"] = 1
        self.record.save()
        time.sleep(0.005)

    def on_failure(self, exception):
        self.log.info("failed with %s", type(exception).__name__)
        time.sleep(0.05)

    def on_finish(self, result, success):
        time.sleep(0.05)
        self.store.write("end.json", success)


def again(function):
    while True:
        with contextlib.suppress(BaseException):
            return function()
"""


@pytest.mark.parametrize(
    "code",
    [
        "self.work()",
        """try:
                self.work()
            except Exception:
                pass""",
        """with contextlib.suppress(Exception):
                self.work()""",
        """try:
                self.work()
            except:
                print("again")""",
        """try:
                while True:
                    try:
                        self.work()
                    except BaseException:
                        self.log.info("inner")
            except BaseException:
                self.log.info("outer")""",
        """try:
                self.work()
            finally:
                continue""",
        "again(self.work)",
    ],
)
@pytest.mark.filterwarnings("ignore:'continue' in a 'finally' block:SyntaxWarning")
def test_whatever_a_component_catches_it_ends(project: World, monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    monkeypatch.setattr(time_limit, "GRACE", 0.05)
    project("components: [works: ]\n", works=WORKS.format(code=code))
    handler = signal.getsignal(signal.SIGALRM)

    (trial,) = ml.execute("works", timeout=0.5, on_failure="continue").trials

    assert trial.error is not None
    assert (trial.status, trial.error["type"], trial.error["message"]) == (
        "failed",
        "TimeoutError",
        "the trial took longer than 0.5 s",
    )
    assert "works.py" in trial.error["traceback"]
    assert "failed with TimeoutError" in trial.log
    assert trial.read("end.json") is False
    assert signal.getsignal(signal.SIGALRM) is handler


def test_a_component_that_ends_after_the_error_has_finished(project: World) -> None:
    code = """try:
                while True:
                    self.work()
            except TimeoutError:
                return calls"""
    project("components: [works: ]\n", works=WORKS.format(code=code))
    assert ml.execute("works", timeout=0.1).trials[0].result == 1


def test_a_function_and_an_import_have_a_time_limit_too(project: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_limit, "GRACE", 0.05)

    def endless() -> None:
        while True:
            with suppress(Exception):
                sum(range(1000))

    project("components: [a: ]\n", a="from machinable import Component\n\nclass A(Component): ...\n")
    (trial,) = ml.execute(ml.Task(endless), timeout=0.5, on_failure="continue").trials
    assert trial.error is not None
    assert trial.error["type"] == "TimeoutError"


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_a_component_knows_how_much_time_remains(project: World, engine: str) -> None:
    left = (
        "from machinable import Component\n\nclass Left(Component):\n    def on_execute(self):\n"
        "        return [self.remaining for _ in range(2)]\n"
    )
    project("components:\n  - left:\n", left=left)

    (limited,) = ml.execute("left", engine=engine, timeout=60).trials
    (unlimited,) = ml.execute("left", engine=engine).trials

    assert 60 >= limited.result[0] > limited.result[1] > 0
    assert unlimited.result == [None, None]
