"""Trials in workers that are led: they say what they have done, and wait for what comes next."""

from __future__ import annotations

from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any

import pytest

from machinable.engines.base import steps
from machinable.engines.processes.pool import ProcessesEngine
from machinable.plan.spec import Outcome, TrialSpec
from tests.engines.works import pid, trial


def led(spec: TrialSpec) -> Outcome:
    """Does as it is told, until it is told to end."""
    assert steps.ask is not None
    heard = [["begun"]]
    while heard[-1] != ["end"]:
        heard.append(steps.ask({"heard": heard[-1], "value": float("inf")}))
    return Outcome(spec.uid, "finished", 1, 0.0, result=heard)


def hasty(spec: TrialSpec) -> Outcome:
    assert steps.ask is not None
    steps.ask({})
    return Outcome(spec.uid, "finished", 1, 0.0)


@pytest.fixture
def engine() -> Iterator[ProcessesEngine]:
    with_one = ProcessesEngine(1)
    yield with_one
    with_one.close()


@pytest.fixture
def said(engine: ProcessesEngine) -> SimpleQueue[Any]:
    """What trials of the engine say."""
    queue: SimpleQueue[Any] = SimpleQueue()
    engine.on_step = queue.put
    return queue


def test_a_trial_that_is_led_says_what_it_has_done_and_is_told_what_comes_next(
    engine: ProcessesEngine, said: SimpleQueue[Any]
) -> None:
    future = engine.submit(led, trial())

    first = said.get(timeout=60)
    engine.order(future, ["save", "ä b"])
    second = said.get(timeout=60)
    engine.order(future, ["end"])

    assert first == {"heard": ["begun"], "value": float("inf")}
    assert second["heard"] == ["save", "ä b"]
    assert future.result(60).result == [["begun"], ["save", "ä b"], ["end"]]


def test_an_order_that_comes_too_late_is_no_trial(engine: ProcessesEngine, said: SimpleQueue[Any]) -> None:
    future = engine.submit(hasty, trial(1))
    said.get(timeout=60)
    engine.order(future, ["go"])
    engine.order(future, ["end"])  # it does not wait for this one any more
    future.result(60)

    worker = engine.submit(pid, trial(2)).result(60).result

    assert engine.submit(pid, trial(3)).result(60).result == worker


def test_one_that_waits_for_an_order_can_be_interrupted(engine: ProcessesEngine, said: SimpleQueue[Any]) -> None:
    future = engine.submit(led, trial())
    said.get(timeout=60)

    engine.interrupt()

    assert isinstance(future.exception(60), KeyboardInterrupt)
