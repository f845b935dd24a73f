"""Searches by Ray Tune: samples are trials like any others, however they were stopped, paused, lost or changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import Refused, TrialsFailed
from machinable.events import TrialStarted
from tests.journeys.test_ray import script

World = Callable[..., Path]

NET = """
import json
import os
import random
import signal

from machinable import Component


class Net(Component):
    x = 0.0

    def on_execute_iteration(self, iteration):
        if iteration == 2 and self.flags.ATTEMPT == 1:
            self.trouble()
        self.x += self.config.lr
        self.record["loss"] = 1 / (1 + self.x)
        self.record["noise"] = random.random()
        self.record["double"] = self.config.double
        return StopIteration if iteration + 1 == self.config.steps else None

    def trouble(self):
        if self.config.trouble == "raise":
            raise ValueError("too fast")
        if self.config.trouble == "worker":
            os.kill(os.getpid(), signal.SIGKILL)
        if self.config.trouble == "host":
            os.kill(os.getppid(), signal.SIGKILL)
            signal.pause()

    def on_save(self, path, timestep):
        name = os.path.join(path, f"{timestep}.json")
        with open(name, "w") as file:
            json.dump(self.x, file)
        return name

    def on_restore(self, path):
        with open(path) as file:
            self.x = json.load(file)

    def on_after_execute(self):
        self.store.write("x.json", self.x)
"""
DECLARATIONS = """
components:
  - net: {lr: 0.1, steps: 9, double: [$self.lr, $self.lr], trouble: ~}
  - data:
  - needs^net: {_requires_: {data: data}}
  - stateless^net:
"""
MODULES = {
    "net": NET,
    "data": """
from machinable import Component


class Data(Component):
    def on_execute(self):
        self.store.write("scale.json", 10)
""",
    "needs": """
from net import Net


class Needs(Net):
    def on_create(self):
        self.x = float(self.requires.data.read("scale.json"))
""",
    "stateless": """
from machinable import Component


class Stateless(Component):
    def on_execute_iteration(self, iteration):
        self.record["loss"] = iteration
""",
}


@pytest.fixture(autouse=True)
def _declared(project: World, ray_cluster: None) -> None:
    project(DECLARATIONS, **MODULES)


@pytest.fixture
def tune() -> Any:
    from ray import tune

    return tune


def search(tuning: dict[str, Any], name: str = "net", version: Any = None, **options: Any) -> Any:
    storage = options.pop("storage", "stored")
    task = ml.Task().component(name, version).tune(**tuning)
    return ml.execute(task, {"storage": storage, "code_backup": False}, "OY1p1o", "ray", **options)


def iterations(execution: Any) -> list[list[int]]:
    return [[row["_iteration"] for row in trial.records] for trial in execution.trials]


def ledger(execution: Any) -> list[dict[str, Any]]:
    lines = (Path(execution.storage) / str(execution) / "ledger.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def events(execution: Any, uid: str) -> list[tuple[str, int]]:
    return [(row["event"], row["attempt"]) for row in ledger(execution) if row.get("uid") == uid]


def alone(lr: float, steps: int, seed: int) -> list[tuple[float, float]]:
    """What a trial with that rate and seed records when nobody leads it."""
    execution = ml.execute(ml.Task().component("net", {"lr": lr, "steps": steps, "_seed_": seed}))
    return [(row["loss"], row["noise"]) for row in execution.trials[0].records]


def recorded(trial: Any) -> list[tuple[float, float]]:
    return [(row["loss"], row["noise"]) for row in trial.records]


def test_each_sample_is_a_trial_with_its_own_values_seed_and_records(tune: Any) -> None:
    execution = search(
        {
            "stop": {"training_iteration": 3},
            "num_samples": 2,
            "config": {"lr": tune.grid_search([0.1, 0.5]), "trouble": tune.choice(["none"])},
        }
    )

    assert execution.status == "finished"
    assert [trial.config.lr for trial in execution.trials] == [0.1, 0.5, 0.1, 0.5]
    assert iterations(execution) == [[0, 1, 2]] * 4
    assert [trial.records[0]["double"] for trial in execution.trials] == [[0.1, 0.1], [0.5, 0.5]] * 2
    assert [trial.flags["INDEX"] for trial in execution.trials] == [0, 1, 2, 3]
    assert len({trial.seed for trial in execution.trials}) == 4
    for trial in execution.trials:
        assert recorded(trial) == alone(trial.config.lr, 3, trial.seed)
        assert trial.read("x.json") == pytest.approx(3 * trial.config.lr)


def test_the_same_seed_draws_the_same(tune: Any) -> None:
    tuning = {"stop": {"training_iteration": 1}, "num_samples": 3, "config": {"lr": tune.loguniform(1e-4, 1e-1)}}

    first, second = search(tuning), search(tuning)

    assert [recorded(trial) for trial in first.trials] == [recorded(trial) for trial in second.trials]
    assert [trial.uid for trial in first.trials] == [trial.uid for trial in second.trials]
    assert str(second) == "OY1p1o-2"


def test_a_component_that_ends_by_itself_ends_its_sample(tune: Any) -> None:
    execution = search({"config": {"lr": tune.grid_search([0.1, 0.2])}}, version={"steps": 4})

    assert iterations(execution) == [[0, 1, 2, 3]] * 2


def test_a_scheduler_stops_the_worse_ones(tune: Any) -> None:
    from ray.tune.schedulers import ASHAScheduler

    scheduler = ASHAScheduler(max_t=6, grace_period=2, reduction_factor=2)
    execution = search(
        {
            "config": {"lr": tune.grid_search([0.9, 0.1])},
            "scheduler": scheduler,
            "metric": "loss",
            "mode": "min",
            "max_concurrent_trials": 1,
        }
    )

    assert iterations(execution) == [[0, 1, 2, 3, 4, 5], [0, 1]]
    assert [trial.status for trial in execution.trials] == ["finished"] * 2


def test_samples_that_are_paused_record_what_they_would_have_recorded_in_one_go(tune: Any) -> None:
    from ray.tune.schedulers import HyperBandScheduler

    execution = search(
        {
            "config": {"lr": tune.grid_search([0.1, 0.2, 0.3, 0.4, 0.5])},
            "metric": "loss",
            "mode": "min",
            "scheduler": HyperBandScheduler(max_t=4, reduction_factor=2),
        }
    )

    paused = [row["uid"] for row in ledger(execution) if row["event"] == "interrupted"]
    assert paused
    assert [trial.status for trial in execution.trials] == ["finished"] * 5
    for trial in execution.trials:
        assert recorded(trial) == alone(trial.config.lr, len(trial.records), trial.seed)
        assert trial.read("x.json") == pytest.approx(trial.config.lr * len(trial.records))


def test_samples_that_a_scheduler_forgets_come_to_their_end(tune: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machinable.engines.ray.leader.STUCK", 0.5)
    from ray.tune.schedulers import FIFOScheduler

    class Forgets(FIFOScheduler):  # type: ignore[misc]
        def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
            return "PAUSE" if result["training_iteration"] == 2 else "CONTINUE"

        def choose_trial_to_run(self, controller: Any) -> Any:
            return next((trial for trial in controller.get_trials() if trial.status == "PENDING"), None)

    execution = search({"config": {"lr": tune.grid_search([0.1, 0.2])}, "scheduler": Forgets()})

    assert iterations(execution) == [[0, 1]] * 2
    assert [trial.read("x.json") for trial in execution.trials] == [0.2, 0.4]


def test_population_based_training_goes_on_from_the_checkpoints_of_others_with_other_values(tune: Any) -> None:
    from ray.tune.schedulers import PopulationBasedTraining

    execution = search(
        {
            "config": {"lr": tune.grid_search([0.1, 0.9])},
            "stop": {"training_iteration": 4},
            "metric": "loss",
            "mode": "min",
            "scheduler": PopulationBasedTraining(
                time_attr="training_iteration",
                perturbation_interval=2,
                quantile_fraction=0.5,
                synch=True,
                hyperparam_mutations={"lr": [0.5, 0.7]},
                resample_probability=1.0,
            ),
        }
    )
    worse, better = execution.trials

    changed = [row["values"]["lr"] for row in ledger(execution) if "values" in row]
    assert changed
    assert set(changed) <= {0.5, 0.7}
    assert worse.config.lr == changed[-1]
    assert worse.read("x.json") == pytest.approx(0.9 * 2 + 2 * changed[-1])
    assert better.read("x.json") == pytest.approx(0.9 * 4)
    assert iterations(execution) == [[0, 1, 2, 3]] * 2


def test_a_stopper_that_ends_everything_ends_all_samples_in_order(tune: Any) -> None:
    class BothAreOnTheirWay(tune.Stopper):  # type: ignore[misc,name-defined]
        def __init__(self) -> None:
            self.seen: set[str] = set()

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            self.seen.add(trial_id)
            return False

        def stop_all(self) -> bool:
            return len(self.seen) == 2

    execution = search(
        {"config": {"lr": tune.grid_search([0.1, 0.2])}, "stop": BothAreOnTheirWay()}, version={"steps": -1}
    )

    assert [trial.status for trial in execution.trials] == ["finished"] * 2
    for trial in execution.trials:
        assert trial.read("x.json") == pytest.approx(trial.config.lr * len(trial.records))


# what goes wrong


def failed(tuning: dict[str, Any], **options: Any) -> tuple[TrialsFailed, Any]:
    with pytest.raises(TrialsFailed) as caught:
        search({"stop": {"training_iteration": 3}, **tuning}, **options)
    return caught.value, caught.value.execution


def test_a_sample_that_fails_costs_only_itself(tune: Any) -> None:
    error, execution = failed({"config": {"trouble": tune.grid_search(["raise", "none"])}})

    assert [trial.status for trial in execution.trials] == ["failed", "finished"]
    assert "ValueError: too fast" in str(error)
    assert "resume" not in str(error)
    assert 'raise ValueError("too fast")' in str(error.__cause__)


def test_one_that_is_tried_again_is_another_attempt(tune: Any) -> None:
    execution = search(
        {"stop": {"training_iteration": 3}, "config": {"trouble": tune.grid_search(["raise"])}}, retries=1
    )
    (trial,) = execution.trials

    assert events(execution, trial.uid) == [("started", 1), ("failed", 1), ("started", 2), ("finished", 2)]
    assert recorded(trial) == alone(0.1, 3, trial.seed)


def test_on_failure_stop_ends_the_search(tune: Any) -> None:
    tuning = {"config": {"trouble": tune.grid_search(["raise", "none", "none"])}, "max_concurrent_trials": 1}
    _, execution = failed(tuning, on_failure="stop")

    assert [trial.status for trial in execution.trials] == ["failed"]


def test_a_worker_that_dies_is_named_with_its_cause(tune: Any) -> None:
    error, execution = failed({"config": {"trouble": tune.grid_search(["worker", "none"])}})

    assert [trial.status for trial in execution.trials] == ["failed", "finished"]
    assert "was lost: it was killed by SIGKILL" in str(error)


def test_a_sample_whose_actor_is_gone_goes_on_from_its_checkpoint(tune: Any) -> None:
    execution = search(
        {
            "stop": {"training_iteration": 4},
            "config": {"trouble": tune.grid_search(["host"])},
            "checkpoint_config": tune.CheckpointConfig(checkpoint_frequency=1, checkpoint_at_end=False),
        },
        retries=1,
    )
    (trial,) = execution.trials

    assert events(execution, trial.uid) == [("started", 1), ("failed", 1), ("started", 2), ("finished", 2)]
    assert "its process, or its host, is gone" in ledger(execution)[1]["error"]["message"]
    assert recorded(trial) == alone(0.1, 4, trial.seed)


def test_what_saves_nothing_cannot_be_paused_and_says_so(tune: Any) -> None:
    error, _ = failed(
        {"config": {}, "checkpoint_config": tune.CheckpointConfig(checkpoint_frequency=1)}, name="stateless"
    )

    assert "needs components with on_save and on_restore" in str(error)


def test_without_checkpoints_nothing_need_be_saved(tune: Any) -> None:
    assert iterations(search({"stop": {"training_iteration": 2}, "config": {}}, name="stateless")) == [[0, 1]]


def test_a_metric_that_no_row_has_is_told_with_those_that_there_are(tune: Any) -> None:
    error, _ = failed({"config": {}, "metric": "los", "mode": "min"})

    assert "no column 'los', which Task.tune looks at; it has loss, noise, double" in str(error)


def test_a_search_does_not_go_on_where_it_was(tune: Any) -> None:
    _, execution = failed({"config": {"trouble": tune.grid_search(["raise"])}})

    with pytest.raises(Refused, match="a search does not go on where it was"):
        ml.execute(storage="stored", engine="ray", resume=str(execution))


INTERRUPTED = """
import os
import signal
import machinable as ml


class Listener:
    def __call__(self, event):
        print(type(event).__name__, flush=True)

    def on_record(self, uid, row):
        os.kill(os.getpid(), signal.SIGINT)


task = ml.Task().component("net", {"steps": -1}).tune(config={"lr": {"grid_search": [0.1, 0.2]}})
try:
    ml.execute(task, {"storage": "stored", "code_backup": False}, "OY1p1o", {"type": "ray", "num_cpus": 2},
               listeners=[Listener()])
except KeyboardInterrupt:
    print("interrupted")
print([trial.status for trial in ml.Storage("stored")["OY1p1o"].trials])
"""


def test_ctrl_c_interrupts_all_samples_and_writes_that_down(world: Path) -> None:
    done = script(world, INTERRUPTED, HOME=str(world))

    lines = done.stdout.splitlines()
    assert lines[-3] == "ExecutionFinished", done.stdout + done.stderr
    assert lines[-2] == "interrupted"
    assert "interrupted" in lines[-1]
    assert set(json.loads(lines[-1].replace("'", '"'))) <= {"interrupted", "pending"}
    assert done.stderr == ""


# where it is kept, and who is told


@pytest.fixture
def unreached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets the storage look like another one of the same name to workers, as on another host."""
    monkeypatch.setattr("machinable.execution.execute.digest", lambda data: "that of another execution")


@pytest.mark.parametrize("kind", ["directory", "memory", "unreached"])
def test_wherever_it_is_stored_what_is_paused_goes_on(kind: str, tune: Any, request: pytest.FixtureRequest) -> None:
    from ray.tune.schedulers import HyperBandScheduler

    if kind == "unreached":
        request.getfixturevalue("unreached")
    execution = search(
        {
            "config": {"lr": tune.grid_search([0.1, 0.2, 0.3])},
            "metric": "loss",
            "mode": "min",
            "scheduler": HyperBandScheduler(max_t=4, reduction_factor=2),
        },
        "needs",
        storage="mem://" if kind == "memory" else "stored",
    )
    required, *samples = execution.trials

    assert (required.component, required.status) == ("data", "finished")
    assert [trial.status for trial in samples] == ["finished"] * 3
    for trial in samples:
        assert trial.read("x.json") == pytest.approx(10 + trial.config.lr * len(trial.records))


def test_every_repetition_is_searched(tune: Any) -> None:
    task = ml.Task("net").repeat(2).tune({"training_iteration": 1}, {"lr": tune.grid_search([0.1, 0.2])})
    execution = ml.execute(task, {"storage": "stored", "code_backup": False}, 1, "ray")

    assert [trial.flags["REPEAT_NUMBER"] for trial in execution.trials] == [0, 0, 1, 1]
    assert [trial.flags["TOTAL"] for trial in execution.trials] == [4] * 4
    assert len({trial.seed for trial in execution.trials}) == 4


def test_plan_and_ledger_grow_while_it_runs_and_listeners_hear_of_it(tune: Any) -> None:
    heard: list[Any] = []

    class Listener:
        def __call__(self, event: Any) -> None:
            heard.append(type(event).__name__)
            if isinstance(event, TrialStarted):
                assert event.uid in [trial.uid for trial in ml.Storage("stored")["OY1p1o"].trials]

        def on_record(self, uid: str, row: dict[str, Any]) -> None:
            heard.append("row")

    completed: list[Any] = []
    task = ml.Task("net").tune({"training_iteration": 2}, {"lr": tune.grid_search([0.1, 0.2])})
    task.on_complete(lambda trial: completed.append(trial.config.lr))
    ml.execute(task, {"storage": "stored", "code_backup": False}, "OY1p1o", "ray", listeners=[Listener()])

    assert heard.count("TrialStarted") == heard.count("TrialFinished") == 2
    assert (heard[0], heard[-1]) == ("ExecutionStarted", "ExecutionFinished")
    assert "row" in heard
    assert sorted(completed) == [0.1, 0.2]
