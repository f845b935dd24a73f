"""Conformance tests for engines. Derive from `EngineConformance` and define a fixture `engine`.

from machinable.testing import EngineConformance

class TestMyEngine(EngineConformance):
    @pytest.fixture
    def engine(self):
        engine = MyEngine()
        yield engine
        engine.close()
"""

from __future__ import annotations

import math
import os
import random
import socket
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest
from msgspec.structs import replace

from machinable.component.base import Component
from machinable.engines.base import Engine, Work, reports
from machinable.execution.execute import execute
from machinable.plan.spec import ComponentSpec, Outcome, Target, TrialSpec
from machinable.plan.task import Task
from machinable.serialization import loads

__all__ = ["RESULT_TIMEOUT", "EngineConformance", "contents"]

RESULT_TIMEOUT = 60.0  # seconds after which a result counts as missing

_PLAIN: dict[str, Any] = {
    "text": "ünï \udc80",
    "nothing": None,
    "numbers": [1, 2.5, -(10**30), float("inf")],
    "tuple": (1, (2,)),
    "date": date(2026, 1, 31),
    "keys": {1: "a", None: "b"},
    "deep": {"er": [{"still": []}]},
    "yes": True,
}


def trial(number: int = 0, **config: Any) -> TrialSpec:
    """Return a trial that is not part of any plan."""
    return TrialSpec(
        index=number,
        uid=f"{number:012d}",
        seed=number,
        flags={"SEED": number},
        definition=ComponentSpec("work", "work", ("~a", {"b": 1}), config, Target("work"), stored=config),
    )


# functions that run trials; workers import them


def answer(spec: TrialSpec) -> Outcome:
    """Return the content of the specification."""
    facts = {
        "number": spec.index,
        "config": spec.config,
        "version": spec.version,
        "module": spec.definition.target.module,
    }
    return Outcome(spec.uid, "finished", spec.attempt, 0.25, record={"loss": 0.5}, result=facts)


def much(spec: TrialSpec) -> Outcome:
    """Return more than fits into a pipe."""
    return Outcome(spec.uid, "finished", 1, 0.0, result="x" * 5_000_000)


def failed(spec: TrialSpec) -> Outcome:
    """Return an outcome that failed."""
    return Outcome(spec.uid, "failed", 1, 0.5, error={"type": "E", "message": "m\nm", "traceback": "t" * 1_000_000})


class Awkward(Exception):
    """An exception that cannot be pickled."""

    def __init__(self, one: object, two: object) -> None:
        super().__init__(f"awkward {one} {two}")
        self.held = lambda: None


def raises(spec: TrialSpec) -> Outcome:
    """Raise an exception instead of returning an outcome."""
    raise Awkward(1, two=2)


def interrupted(spec: TrialSpec) -> Outcome:
    """Raise KeyboardInterrupt."""
    raise KeyboardInterrupt


def waits(spec: TrialSpec) -> Outcome:
    """Connect to the test, then wait for a byte."""
    with socket.create_connection(("127.0.0.1", spec.config["port"])) as connection:
        connection.recv(1)
    return Outcome(spec.uid, "finished", 1, 0.0)


def until_pruned(spec: TrialSpec) -> Outcome:
    """Connect to the test, then ask again and again whether the trial is pruned."""
    with socket.create_connection(("127.0.0.1", spec.config["port"])):
        until = time.monotonic() + RESULT_TIMEOUT
        while not (because := reports.pruned(spec.uid)) and time.monotonic() < until:
            time.sleep(0.01)
    return Outcome(spec.uid, "pruned", 1, 0.0, because=because)


def steps(spec: TrialSpec) -> Outcome:
    """Report progress."""
    reports.progress(spec.uid, 3, 3)
    return Outcome(spec.uid, "finished", 1, 0.0)


def process(spec: TrialSpec) -> Outcome:
    """Return the process in which it runs."""
    return Outcome(spec.uid, "finished", 1, 0.0, result=os.getpid())


class Sample(Component):
    """Draw, record, store and print, so that executions can be compared."""

    def on_execute(self) -> Any:
        if self.flags.REPEAT_NUMBER == 1:
            print("before the failure")
            raise Awkward(1, two=self.flags.SEED)
        for _ in range(3):
            self.record["x"] = random.random()
            self.record["nothing"] = math.nan
            self.record.save()
        self.record.scope("other")["y"] = 1
        self.record.scope("other").save()
        self.store.write("draws.json", [random.random() for _ in range(10)])
        self.store.write("deep/er/text.txt", "ünï\n")
        print("out", end=" ")
        print("err", file=sys.stderr)
        print("ünï")
        self.log.info("a line")
        return {"tuple": (1, 2), "draw": random.random()}


class EngineConformance:
    """The tests. Subclasses define a fixture `engine`, which yields the engine and closes it."""

    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        """Return the engine to test."""
        raise NotImplementedError("give the class a fixture named `engine`")

    def test_its_attributes_are_valid(self, engine: Engine) -> None:
        assert isinstance(engine, Engine)
        assert isinstance(engine.name, str)
        assert engine.slots >= 1
        assert engine.reach in ("process", "host", "anywhere")

    def test_specifications_and_outcomes_are_complete(self, engine: Engine) -> None:
        spec = replace(trial(7, **_PLAIN), attempt=3)

        outcome = engine.submit(answer, spec).result(RESULT_TIMEOUT)

        assert outcome == Outcome(
            "000000000007",
            "finished",
            3,
            0.25,
            {"loss": 0.5},
            {"number": 7, "config": _PLAIN, "version": ("~a", {"b": 1}), "module": "work"},
        )

    def test_not_a_number_is_returned(self, engine: Engine) -> None:
        result = engine.submit(answer, trial(x=math.nan)).result(RESULT_TIMEOUT).result

        assert math.isnan(result["config"]["x"])

    def test_each_future_has_the_outcome_of_its_own_trial(self, engine: Engine) -> None:
        running: dict[int, Future[Outcome]] = {}
        for number in range(5 * engine.slots + 1):
            if len(running) == engine.slots:
                first = min(running)
                assert running.pop(first).result(RESULT_TIMEOUT).result["number"] == first
            running[number] = engine.submit(answer, trial(number))
        for number, future in running.items():
            assert future.result(RESULT_TIMEOUT).result["number"] == number

    def test_a_failed_trial_is_an_outcome(self, engine: Engine) -> None:
        outcome = engine.submit(failed, trial()).result(RESULT_TIMEOUT)

        assert outcome == Outcome(
            "000000000000", "failed", 1, 0.5, error={"type": "E", "message": "m\nm", "traceback": "t" * 1_000_000}
        )

    def test_large_specifications_and_outcomes_pass(self, engine: Engine) -> None:
        text = "y" * 3_000_000

        assert engine.submit(answer, trial(text=text)).result(RESULT_TIMEOUT).result["config"] == {"text": text}
        assert len(engine.submit(much, trial()).result(RESULT_TIMEOUT).result) == 5_000_000

    def test_an_exception_of_the_work_is_reported_and_the_next_trial_runs(self, engine: Engine) -> None:
        problem = engine.submit(raises, trial()).exception(RESULT_TIMEOUT)

        assert isinstance(problem, Exception)
        assert "awkward 1 2" in str(problem)
        assert engine.submit(answer, trial(1)).result(RESULT_TIMEOUT).result["number"] == 1

    def test_an_interrupt_by_the_work_is_an_interrupt_here(self, engine: Engine) -> None:
        try:
            problem = engine.submit(interrupted, trial()).exception(RESULT_TIMEOUT)
        except KeyboardInterrupt as error:
            problem = error

        assert isinstance(problem, KeyboardInterrupt)
        assert engine.submit(answer, trial(1)).result(RESULT_TIMEOUT).result["number"] == 1

    def test_trials_run_where_reach_says(self, engine: Engine) -> None:
        here = engine.submit(process, trial()).result(RESULT_TIMEOUT).result == os.getpid()

        assert here == (engine.reach == "process")

    def test_a_trial_can_be_ended_and_the_next_one_runs(self, engine: Engine) -> None:
        _skip_unless(engine.can_end, "it does not end trials")
        with _begun(engine) as future:
            engine.end(future)

            assert future.done()
            assert isinstance(future.exception(), Exception)
        assert engine.submit(answer, trial(1)).result(RESULT_TIMEOUT).result["number"] == 1

    def test_a_trial_can_be_interrupted_and_the_next_one_runs(self, engine: Engine) -> None:
        _skip_unless(engine.can_interrupt, "it does not interrupt trials")
        with _begun(engine) as future:
            engine.interrupt()

            assert isinstance(future.exception(RESULT_TIMEOUT), KeyboardInterrupt)
        assert engine.submit(answer, trial(1)).result(RESULT_TIMEOUT).result["number"] == 1

    def test_a_trial_can_be_pruned_and_the_next_one_is_not(self, engine: Engine) -> None:
        _skip_unless(engine.reach != "process" and engine.can_prune, "it does not prune trials")
        for number in range(2):
            with _begun(engine, until_pruned) as future:
                engine.prune(future, f"worse than {number}")

                assert future.result(RESULT_TIMEOUT).because == f"worse than {number}"
            engine.prune(future, "it has ended")
        assert engine.submit(answer, trial(1)).result(RESULT_TIMEOUT).result["number"] == 1

    def test_progress_is_reported(self, engine: Engine) -> None:
        _skip_unless(engine.tells_progress, "it does not report progress")
        engine.close()  # running workers need not report progress
        received: SimpleQueue[tuple[Any, ...]] = SimpleQueue()
        engine.on_progress = lambda *facts: received.put(facts)
        try:
            engine.submit(steps, trial(1)).result(RESULT_TIMEOUT)

            assert received.get(timeout=RESULT_TIMEOUT) == ("000000000001", 3, 3)
        finally:
            engine.on_progress = None

    def test_closing_twice_is_fine(self, engine: Engine) -> None:
        engine.submit(answer, trial()).result(RESULT_TIMEOUT)
        engine.close()
        engine.close()

    def test_an_execution_stores_the_same_as_on_local(self, engine: Engine, tmp_path: Path) -> None:
        for name, where in (("here", "local"), ("there", engine)):
            storage = {"storage": str(tmp_path / name), "code_backup": False}
            execution = execute(Task(Sample).repeat(4), storage, "OY1p1o", where, on_failure="continue", progress=False)
            assert [t.status for t in execution.trials] == ["finished", "failed", "finished", "finished"]

        assert contents(tmp_path / "there") == contents(tmp_path / "here")

    def test_an_execution_without_a_storage_can_be_read(self, engine: Engine) -> None:
        execution = execute(Task(Sample).repeat(2), None, "OY1p1o", engine, on_failure="continue", progress=False)

        first, second = execution.trials
        assert [len(list(first.records)), len(first.read("draws.json")), first.read("deep/er/text.txt")] == [
            3,
            10,
            "ünï\n",
        ]
        assert (first.output, second.output) == ("err\nout ünï\n", "before the failure\n")
        assert (first.status, second.status, (second.error or {})["type"]) == ("finished", "failed", "Awkward")


def _skip_unless(can: bool, reason: str) -> None:
    """Skip the test of an optional method."""
    if not can:
        pytest.skip(reason)


@contextmanager
def _begun(engine: Engine, work: Work = waits) -> Iterator[Future[Outcome]]:
    """Run a trial that by default lasts until the end of the block."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(RESULT_TIMEOUT)
        future = engine.submit(work, trial(port=server.getsockname()[1]))
        connection, _ = server.accept()
        with connection:
            yield future


_TIMES = frozenset(
    {
        "_timestamp",
        "_seconds_taken",
        "_total_seconds_taken",
        "time",
        "seconds",
        "started",
        "finished",
        "heartbeat",
        "host",
        "engine",
    }
)


def contents(directory: Path) -> dict[str, Any]:
    """Return all files below a directory by name, JSON as data and other files as bytes, without what must differ.

    Times, hosts and the engine differ; the ledger is sorted, because engines run trials at the same time.
    """
    found: dict[str, Any] = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if path.is_dir():
            found[name] = "a directory"
        elif path.suffix == ".json" and "artifacts" not in path.parts:
            found[name] = _without_times(loads(path.read_bytes()))
        elif path.suffix == ".jsonl":
            rows = [repr(_without_times(loads(line))) for line in path.read_bytes().splitlines()]
            found[name] = sorted(rows) if path.name == "ledger.jsonl" else rows
        elif path.name == "log.txt":
            found[name] = [line[19:] for line in path.read_text(encoding="utf-8").splitlines()]
        else:
            found[name] = path.read_bytes()
    return found


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_times(item) for key, item in value.items() if key not in _TIMES}
    if isinstance(value, list):
        return [_without_times(item) for item in value]
    return value
