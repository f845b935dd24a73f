"""What searches are refused, before anything runs: never left out in silence, and with what to do instead."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.engines.base import WorkerLost
from machinable.engines.processes.pool import ProcessesEngine
from machinable.errors import (
    ImportFailed,
    InvalidType,
    InvalidValue,
    MachinableError,
    Refused,
    UnknownName,
    WrongType,
)

World = Callable[..., Path]

NET = """
from machinable import Component


class Net(Component):
    def on_execute_iteration(self, iteration):
        self.record["loss"] = 1.0
"""
DECLARATIONS = """
components:
  - net: {lr: 1, size: 2, cores: 1, _resources_: {cpus: $self.cores}}
  - plain:
  - patient^net: {_retries_: {count: 1, delay: 2}}
"""


@pytest.fixture(autouse=True)
def _declared(project: World) -> None:
    project(
        DECLARATIONS,
        net=NET,
        plain="from machinable import Component\n\n\nclass Plain(Component): ...\n",
        patient="from net import Net\n\n\nclass Patient(Net): ...\n",
    )


@pytest.mark.parametrize("engine", ["local", "dry", "processes:1"])
def test_another_engine_refuses_a_search_and_shows_a_grid_as_versions(engine: str) -> None:
    task = ml.Task("net").tune(config={"lr": {"grid_search": [0.1, 0.2]}, "size": 3}, num_samples=2)

    with pytest.raises(Refused) as caught:
        ml.execute(task, "stored", engine=engine)

    assert str(caught.value) == (
        f"the engine {engine.partition(':')[0]!r} does not search as Task.tune wants it; the engine 'ray' does\n"
        "  Use engine='ray'; or, as versions: .component('net', [{'lr': 0.1, 'size': 3}, {'lr': 0.2, 'size': 3}])"
        ".repeat(2)"
    )
    assert not os.path.exists("stored")


def test_what_is_drawn_has_no_versions() -> None:
    with pytest.raises(Refused, match=r"the engine 'ray' does\n  Use engine='ray'\.$"):
        ml.execute(ml.Task("net").tune(config={"lr": lambda: 1}))


def refused(kind: type[MachinableError], words: str, task: ml.Task, **options: Any) -> None:
    with pytest.raises(kind, match=words):
        ml.execute(task, "stored", engine="ray", **options)
    assert not os.path.exists("stored")


def test_a_component_without_iterations_cannot_be_stopped() -> None:
    refused(InvalidValue, "plain has no on_execute_iteration", ml.Task("plain").tune(config={}))


def test_a_function_in_place_of_components_has_no_iterations() -> None:
    def instead() -> None: ...

    with pytest.raises(InvalidType, match="a function in place of the components has no iterations"):
        ml.execute(instead)(ml.Task("net").tune(config={}), engine="ray")


def test_a_timeout_is_ray_tunes_business() -> None:
    refused(Refused, "Let Ray Tune stop samples: .tune", ml.Task("net").tune(config={}), timeout=3)


@pytest.mark.parametrize(("name", "options"), [("patient", {}), ("net", {"retries": 1, "retry_delay": 2})])
def test_a_delay_before_another_attempt_has_no_meaning(name: str, options: dict[str, Any]) -> None:
    refused(Refused, "Ray Tune tries samples again at once", ml.Task(name).tune(config={}), **options)


def test_resources_cannot_be_sampled() -> None:
    grid = {"cores": {"grid_search": [2, 1]}}
    refused(Refused, "the resources of net are sampled: .* 2.* in place of .* 1", ml.Task("net").tune(config=grid))


@pytest.mark.parametrize(
    ("kind", "words", "tuning"),
    [
        (UnknownName, "no option of Task.tune named 'num_sample'\n  Did you mean 'num_samples'", {"num_sample": 2}),
        (InvalidType, "scheduler of Task.tune is 5\n  Give TrialScheduler", {"scheduler": 5}),
        (InvalidType, "search_alg of Task.tune is 5\n  Give SearchAlgorithm or Searcher", {"search_alg": 5}),
        (InvalidValue, "mode of Task.tune is 'mx'\n  It is 'min' or 'max'", {"mode": "mx", "metric": "loss"}),
        (
            InvalidType,
            "time_budget_s of Task.tune is 'one'\n  Give int or float or timedelta",
            {"time_budget_s": "one"},
        ),
        (InvalidValue, "Ray Tune does not take this: TypeError: cannot pickle", {"callbacks": [threading.Lock()]}),
        (WrongType, "is not plain data\n  in config of Task.tune.lr", {"config": {"lr": object()}}),
        (InvalidValue, "nothing can be sampled: ", {"config": {"lr": {"grid_search": 3}}}),
    ],
)
def test_what_ray_tune_does_not_take_is_told_before(
    kind: type[MachinableError], words: str, tuning: dict[str, Any]
) -> None:
    refused(kind, words, ml.Task("net").tune(**{"config": {}, **tuning}))


def test_a_sampled_function_that_raises_is_told_with_its_error() -> None:
    from ray import tune

    lr = tune.sample_from(lambda config: 1 / 0)
    refused(
        InvalidValue,
        "nothing can be sampled: ZeroDivisionError: division by zero",
        ml.Task("net").tune(config={"lr": lr}),
    )


def test_without_ray_tune_it_is_told_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray.tune", None)

    refused(ImportFailed, r"pip install 'machinable-engine\[tune\]'", ml.Task("net").tune(config={}))


class Loses(ProcessesEngine):
    """Searches with one sample, and loses its worker when that is over."""

    def check_search(self, tuning: Any, seed: int) -> dict[str, Any]:
        return {}

    def search(self, work: Any, tuning: Any, origin: Any, retries: int, stops: bool, sampling: Any, alarm: Any) -> None:
        sampling.plans(0, {})
        spec = sampling.begins(0, {})
        self.submit(replace(work, is_led=False), spec).result(60)
        lost: Future[Any] = Future()
        lost.set_exception(WorkerLost("it is gone"))
        sampling.ends(spec, lost, False)


def test_a_sample_whose_worker_is_lost_when_it_is_over_has_finished() -> None:
    execution = ml.execute(ml.Task("net").tune(), "stored", engine=Loses(1))

    assert [trial.status for trial in execution.trials] == ["finished"]
