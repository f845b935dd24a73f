"""A search: samples are ordinary trials, the sampler hears their mean, and all of it can be interrupted and resumed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable import events
from machinable.errors import InvalidType, InvalidValue, MachinableError, Refused, TrialsFailed, UnknownName
from machinable.replay.reproduce import reproduce
from machinable.results.search import SearchLog
from machinable.search.sample import Sample
from tests.conftest import World

YAML = """
components:
  - data: {}
  - net:
      rate: 0.1
      layers: [8]
      steps: 4
      fails_above: 9
      ~deep: {layers: [8, 8]}
  - reader: {_requires_: {data: data}, rate: 0.1}
"""
NET = """
import math
from machinable import Component

class Net(Component):
    def on_execute_iteration(self, iteration):
        if self.config.rate > self.config.fails_above:
            raise ValueError("diverged")
        self.record["loss"] = abs(math.log10(self.config.rate) + 2) + self.flags.SEED % 10 / 100 + 1 / (iteration + 1)
        if iteration + 1 == self.config.steps:
            return StopIteration
"""
READER = """
from machinable import Component

class Reader(Component):
    def on_execute(self):
        return {"score": self.config.rate, "bad": float("nan") if self.config.rate > 0.5 else 1.0}
"""
CHECKED = """
from dataclasses import dataclass
from machinable import Component

class Net(Component):
    @dataclass
    class Config:
        rate: float
        depth: int = 3

    def on_execute(self):
        return self.config.rate
"""
SPACE: dict[str, Any] = {"rate": ml.loguniform(1e-4, 1.0)}
LOSS: dict[str, Any] = {"space": SPACE, "metric": "records.loss.last", "mode": "min"}


@pytest.fixture
def directory(project: World) -> Path:
    return project(YAML, data="from machinable import Component\nclass Data(Component): ...\n", net=NET, reader=READER)


def search(*, component: Any = "net", **options: Any) -> ml.Task:
    return ml.Task(component).tune(**{**LOSS, "samples": 6, **options})


def run(task: ml.Task | None, storage: Any = None, seed: Any = "OY1p1o", **options: Any) -> ml.Execution:
    return ml.execute(task, storage, seed if task is not None else None, progress=False, **options)


def course(execution: ml.Execution) -> list[dict[str, Any]]:
    """Return what the search asked, judged and heard, in order, without times."""
    rows = SearchLog.read(execution.files, str(execution)).rows
    return [{key: value for key, value in row.items() if key != "time"} for row in rows]


def test_samples_are_ordinary_trials_whose_seeds_are_paired_and_whose_mean_counts(directory: Path) -> None:
    execution = run(search(samples=4, repeats=3))

    trials = execution.trials
    assert (len(trials), execution.status, execution.search.over) == (12, "finished", "4 samples")
    assert [sample.number for sample in execution.search.samples for _ in sample.trials] == [
        trial.flags["SAMPLE"] for trial in trials
    ]
    seeds = [[trial.seed for trial in sample.trials] for sample in execution.search.samples]
    assert (len(set(seeds[0])), seeds[1:]) == (3, [seeds[0]] * 3)
    first = execution.search.samples[0]
    assert [trial.config["rate"] for trial in first.trials] == [first.values["rate"]] * 3
    assert first.value == pytest.approx(sum(trial.last_row["loss"] for trial in first.trials) / 3)
    best = execution.best(2)
    assert best[0].value == min(sample.value for sample in execution.search.samples)
    assert best[0].interval is not None
    assert best[0].interval[0] < best[0].value < best[0].interval[1]
    assert [row["best"] for row in execution.search.history()][-1] == best[0].value


def test_the_same_seed_gives_the_same_samples_and_trials(directory: Path, tmp_path: Path) -> None:
    one, other = (run(search(), tmp_path / name) for name in "ab")

    assert course(one) == course(other)
    assert [trial.uid for trial in one.trials] == [trial.uid for trial in other.trials]
    assert course(run(search(), seed=1))[0]["values"] != course(one)[0]["values"]


def test_versions_and_grids_are_searched(directory: Path) -> None:
    space = {"~": ml.choice(["~deep", "steps: 2"]), "rate": {"grid": [0.1, 0.01]}}
    execution = run(search(space=space, samples=None, sampler="grid"))

    found = [(trial.config["layers"], trial.config["steps"], trial.config["rate"]) for trial in execution.trials]
    assert found == [([8, 8], 4, 0.1), ([8, 8], 4, 0.01), ([8], 2, 0.1), ([8], 2, 0.01)]
    assert execution.search.over == "the space is exhausted"


def test_former_spellings_mean_the_same(directory: Path) -> None:
    task = ml.Task("net").tune(
        config={"rate": {"grid_search": [0.1, 0.01]}, "steps": 2}, num_samples=2, metric="records.loss.last", mode="min"
    )
    execution = run(task)

    assert [(trial.config["rate"], trial.config["steps"]) for trial in execution.trials] == [
        (0.1, 2),
        (0.1, 2),
        (0.01, 2),
        (0.01, 2),
    ]


def test_a_sample_that_fails_does_not_end_the_search(directory: Path) -> None:
    execution = run(search(component=("net", {"fails_above": 0.01}), samples=8))

    states = [sample.state for sample in execution.search.samples]
    assert set(states) == {"finished", "failed"}
    failed = next(sample for sample in execution.search.samples if sample.state == "failed")
    assert (failed.value, failed.because) == (None, "diverged")
    assert execution.best()[0].state == "finished"
    with pytest.raises(TrialsFailed):  # all of them
        run(search(component=("net", {"fails_above": 0}), samples=2))
    with pytest.raises(TrialsFailed) as stopped:
        run(search(component=("net", {"fails_above": 0.01}), samples=8), on_failure="stop")
    assert len(stopped.value.execution) < 8


def test_nan_counts_as_worst(directory: Path) -> None:
    space = {"rate": {"grid": [0.7, 0.1]}}
    execution = run(
        search(component="reader", space=space, metric="result.bad", mode="max", sampler="grid", samples=None)
    )

    first, second = execution.search.samples
    assert math.isnan(first.value or 0.0)
    assert execution.best(5) == [second, first]
    assert [row["best"] for row in execution.search.history()][-1] == 1.0


def test_a_requirement_of_all_samples_runs_once(directory: Path) -> None:
    execution = run(search(component="reader", metric="result.score", samples=3))

    assert [trial.component for trial in execution.trials] == ["data", "reader", "reader", "reader"]
    assert [len(sample.trials) for sample in execution.search.samples] == [1, 1, 1]


@pytest.mark.parametrize(
    "stop",
    [{"records.loss.last": 2.0}, "records.loss.last<=2.0", lambda trial: trial.last_row["loss"] <= 2.0],
    ids=["mapping", "condition", "function"],
)
def test_no_sample_follows_one_that_satisfies_stop(stop: Any, directory: Path) -> None:
    execution = run(search(samples=50, stop=stop))

    *others, last = execution.search.samples
    assert last.value is not None
    assert last.value <= 2.0
    assert all(sample.value is not None and sample.value > 2.0 for sample in others)
    assert (execution.status, execution.search.over) == ("finished", f"sample {last.number} satisfies `stop`")


def test_a_metric_that_no_row_has_is_reported_after_the_first_sample(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(
        UnknownName, match=r"(?s)no field named 'records.los.last'.*Did you mean 'records.loss'"
    ) as error:
        run(search(metric="records.los.last"), tmp_path / "s")

    assert "the execution is OY1p1o in " in str(error.value)
    (execution,) = ml.Storage(tmp_path / "s").executions
    assert (len(execution), execution.status) == (1, "interrupted")
    resumed = run(search(samples=2), tmp_path / "s", seed=None, resume="OY1p1o")
    assert (resumed.status, [one.state for one in resumed.search.samples]) == ("finished", ["failed", "finished"])


class Sampler:
    """Answers from a list, in which an exception is raised."""

    def __init__(self, *answers: Any) -> None:
        self.answers = iter(answers)
        self.heard: list[tuple[int, float | None]] = []

    def ask(self) -> Any:
        answer = next(self.answers, None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def tell(self, sample: Sample, value: float | None) -> None:
        self.heard.append((sample.number, value))


def test_a_sampler_of_the_user_is_asked_until_it_answers_nothing(directory: Path) -> None:
    sampler = Sampler({"rate": 0.1}, {"rate": 0.01})
    execution = run(search(component="reader", metric="result.score", sampler=sampler, samples=9))

    assert sampler.heard == [(0, 0.1), (1, 0.01)]
    assert execution.search.over == "the space is exhausted"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"space": {"rat": ml.uniform(0, 1)}}, "no key named 'rat'"),
        ({"space": {"~": ml.choice(["~dep"])}}, "no version named '~dep'"),
        ({"metric": "loss"}, "no field named 'loss'"),
        ({"stop": {"recrods.loss": 1}}, "no field named 'recrods.loss'"),
        ({"stop": "records.loss <"}, "does not parse"),
        ({"sampler": Sampler({"rate": "x"})}, "is not in the space"),
        ({"sampler": Sampler({"rate": 0.1}, RuntimeError("no more"))}, "raises RuntimeError"),
        ({"component": "reader", "prune": "asha"}, "reader has no on_execute_iteration"),
        ({"component": ("net", [{"steps": 1}, {"steps": 2}])}, "the task has 2 alternatives"),
    ],
)
def test_what_cannot_be_searched_is_refused(options: dict[str, Any], words: str, directory: Path) -> None:
    with pytest.raises(MachinableError, match=words):
        run(search(**options))


def test_a_dry_run_shows_the_first_ten_samples(directory: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = run(search(samples=30, repeats=2), engine="dry")

    assert len(plan) == 20
    assert "20 trials" in capsys.readouterr().out


@pytest.mark.parametrize(
    "stop", [{"records.accuracy.last": 0.9}, "records.accuracy.last > 0.9", {"records.loss.last": 0.1, "result.x": 1}]
)
def test_stop_names_a_field_that_trials_have(stop: Any, directory: Path) -> None:
    with pytest.raises(UnknownName, match=r"(?s)no field named .* has finished without it, so the search would not"):
        run(search(stop=stop))


# --- pruning


def test_pruned_trials_end_between_iterations_and_say_why(directory: Path, tmp_path: Path) -> None:
    heard: list[events.Event] = []
    execution = run(search(samples=9, repeats=2, prune="asha"), tmp_path / "s", listeners=[heard.append], timeout=60)

    pruned = [sample for sample in execution.search.samples if sample.state == "pruned"]
    assert pruned
    assert all((sample.because or "").startswith("asha: ") for sample in pruned)
    assert all(trial.status == "pruned" for sample in pruned for trial in sample.trials)
    first, second = pruned[0].trials
    assert (len(first.records) < 4, second.has_begun, second.because) == (True, True, pruned[0].because)
    stored = ml.Storage(tmp_path / "s")["OY1p1o"]
    assert [trial.uid for trial in stored.trials.where("status=pruned")] == [uid for one in pruned for uid in one.uids]
    assert (stored.status, bool(stored)) == ("finished", True)
    assert [event.uid for event in heard if isinstance(event, events.TrialPruned)] == [
        uid for sample in pruned for uid in sample.uids
    ]
    assert execution.best()[0].state == "finished"


def test_pruning_reaches_worker_processes(directory: Path, tmp_path: Path) -> None:
    execution = run(search(component=("net", {"steps": 3000}), samples=6, prune="asha"), tmp_path, engine="processes:2")

    pruned = [trial for trial in execution.trials if trial.status == "pruned"]
    assert pruned
    assert all(0 < len(trial.records) < 3000 for trial in pruned if trial.attempt)
    assert {row["event"] for row in course(execution)} == {"asked", "judged", "evaluated"} | {"searched"}


# --- resuming


def interrupting(after: int) -> Any:
    """Return a listener that interrupts the execution when some trials have ended."""
    ended: list[str] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, (events.TrialFinished, events.TrialFailed, events.TrialPruned)):
            ended.append(event.uid)
            if len(ended) == after:
                raise KeyboardInterrupt

    return listen


@pytest.mark.parametrize(
    "options",
    [
        {"prune": "asha"},
        {"sampler": "tpe", "component": ("net", {"fails_above": 0.01})},
        {"stop": "records.loss.last > 0.85 and records.loss.last < 0.9"},  # sample 5
    ],
    ids=["asha", "failures", "stop"],
)
@pytest.mark.parametrize("after", [1, 4, 7, 12])
def test_a_resumed_search_equals_one_that_was_not_interrupted(
    after: int, options: dict[str, Any], directory: Path, tmp_path: Path
) -> None:
    task = search(samples=7, repeats=2, **options)
    whole = run(task, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(task, tmp_path / "parts", listeners=[interrupting(after)])
    assert not ml.Storage(tmp_path / "parts")["OY1p1o"].has_ended

    resumed = run(None, tmp_path / "parts", resume="OY1p1o")

    assert course(resumed) == course(whole)
    states = [(trial.uid, trial.status) for trial in ml.Storage(tmp_path / "whole")["OY1p1o"].trials]
    stored = ml.Storage(tmp_path / "parts")["OY1p1o"]
    assert [(trial.uid, trial.status) for trial in stored.trials] == states
    assert stored.status == resumed.status == whole.status


def test_a_complete_search_goes_on_with_more_samples(directory: Path, tmp_path: Path) -> None:
    run(search(samples=3), tmp_path / "s")
    assert run(None, tmp_path / "s", resume="OY1p1o").search.over == "3 samples"

    resumed = run(search(samples=5), tmp_path / "s", seed=None, resume="OY1p1o")

    rows = [row for row in course(resumed) if row["event"] != "searched"]
    assert rows == [row for row in course(run(search(samples=5))) if row["event"] != "searched"]


def test_an_object_that_is_not_stored_has_to_be_given_again(directory: Path, tmp_path: Path) -> None:
    def sampler() -> Sampler:
        return Sampler({"rate": 0.1}, {"rate": 0.2}, {"rate": 0.3})

    with pytest.raises(KeyboardInterrupt):
        run(search(sampler=sampler(), samples=3), tmp_path / "s", listeners=[interrupting(2)])
    with pytest.raises(InvalidValue, match=r"(?s)sampler of the search is .*Sampler.*Give the task again"):
        run(None, tmp_path / "s", resume="OY1p1o")

    resumed = run(search(sampler=sampler(), samples=3), tmp_path / "s", seed=None, resume="OY1p1o")

    assert [sample.values["rate"] for sample in resumed.search.samples] == [0.1, 0.2, 0.3]


def test_a_search_grows_and_resumes_in_an_object_store(directory: Path, request: pytest.FixtureRequest) -> None:
    url = request.getfixturevalue("s3_folder")()
    with pytest.raises(KeyboardInterrupt):
        run(search(samples=4, repeats=2), url, listeners=[interrupting(5)])
    resumed = run(None, url, resume="OY1p1o")

    stored = ml.Storage(url)["OY1p1o"]
    assert (len(stored), stored.status) == (8, "finished")
    assert course(stored) == course(run(search(samples=4, repeats=2))) == course(resumed)
    assert [one.status for one in ml.Storage(url).executions] == ["finished"]


def test_only_a_search_has_a_best_sample(directory: Path) -> None:
    execution = run(ml.Task("net"))

    with pytest.raises(Refused, match="OY1p1o is not a search"):
        execution.best()
    with pytest.raises(InvalidType):
        run(search(samples=1)).best("x")  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["local", "processes:2"])
def test_a_reproduction_repeats_the_order_of_a_search(engine: str, directory: Path, tmp_path: Path) -> None:
    task = search(component=("net", {"steps": 400}), samples=7, repeats=2, prune="asha", sampler="tpe")
    execution = run(task, tmp_path / "s", engine=engine)
    ran = [trial.uid for trial in execution.trials if trial.last_row]

    again = reproduce(ml.Storage(tmp_path / "s"), "OY1p1o")

    assert again.verdict == "identical"
    assert [one.uid for one in again.trials] == ran
    assert any(execution[uid].status == "pruned" for uid in ran)


def test_a_search_may_give_the_values_that_the_configuration_class_of_a_component_needs(project: World) -> None:
    project("components:\n  - net: {}\n", net=CHECKED)
    rate = ml.uniform(0, 1)

    execution = run(ml.Task("net").tune({"rate": rate, "depth": ml.randint(1, 3)}, "result", "max", samples=2))

    assert [sample.value for sample in execution.search.samples] == [trial.config.rate for trial in execution.trials]
    for space, message in ({"depth": ml.randint(1, 3)}, "rate has no value"), ({"rate": rate, "dept": rate}, "'dept'"):
        with pytest.raises(MachinableError, match=message):
            run(ml.Task("net").tune(space, "result", "max", samples=2))
