"""Samples of a search run again without the search: what they were, as trials of a plan."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.cli.again import again
from machinable.errors import NotStored, Refused
from machinable.project import Project
from machinable.replay.export import export
from machinable.replay.partial_plan import part_with, samples_in
from machinable.replay.reproduce import _engine, reproduce
from machinable.results.execution import Execution
from machinable.results.storage import Storage
from machinable.serialization import dumps, loads
from tests.kits.searches import Search

World = Callable[..., Path]

DECLARATIONS = """
components:
  - data: {size: 3}
  - net: {lr: 0.1, deep: {width: 4}, half: half(config.lr), _requires_: {data: data}}
"""
DATA = """
import random
from machinable import Component


class Data(Component):
    def on_execute(self):
        self.store.write("x.json", [random.random() for _ in range(self.config.size)])
"""
NET = """
import json
import os
import random
from machinable import Component


class Net(Component):
    def config_half(self, lr):
        return lr / 2

    def on_create(self):
        self.x = sum(self.requires.data.read("x.json"))

    def on_execute(self):
        return self.config.half

    def on_execute_iteration(self, iteration):
        if self.config.lr > 1 and iteration == 1:
            raise ValueError("too fast")
        self.x += self.config.lr * random.random()
        self.record["x"] = self.x
        self.record["width"] = self.config.deep.width
        if iteration == 9:
            return StopIteration

    def on_save(self, path, timestep):
        with open(os.path.join(path, f"{timestep}.json"), "w") as file:
            json.dump(self.x, file)
        return f"{timestep}.json"

    def on_restore(self, path):
        with open(path) as file:
            self.x = json.load(file)

    def on_after_execute(self):
        self.store.write("x.json", [self.x, random.random()])
"""


class Drawn:
    """A distribution: what has no plain form."""


TASK = ml.Task().component("net", [None, {"deep": {"width": 5}}]).tune(config={"lr": Drawn()}, scheduler=Drawn())


@pytest.fixture
def search(project: World, tmp_path: Path) -> Search:
    """A search over two trials in a project that is edited before anything is repeated."""
    directory = project(DECLARATIONS, data=DATA, net=NET)
    return Search(directory, tmp_path / "stored", TASK, total=40)


@pytest.fixture
def stored(search: Search, tmp_path: Path) -> Callable[[], Storage]:
    """Ends the search, and gives the storage."""

    def end() -> Storage:
        search.close()
        (tmp_path / "project" / "net.py").write_text("raise RuntimeError('this is not what ran')\n")
        return Storage(str(tmp_path / "stored"))

    return end


def verdicts(storage: Storage, **options: Any) -> tuple[Any, ...]:
    found = reproduce(storage, "OY1p1o", engine="local", **options)
    return found.verdict, [one.component for one in found.trials], found.rows, found.notes


def test_each_sample_runs_again_with_its_values_and_as_far_as_it_went(
    search: Search, stored: Callable[[], Storage]
) -> None:
    search.sample(0, {"lr": 0.5, "deep.width": 7}, 2)
    search.sample(1, {"lr": 0.25}, 5)
    search.sample(0, {"lr": 0.75}, 3, origin=1)

    assert verdicts(stored()) == ("identical", ["data", "net", "net", "net"], 10, ())


def test_the_plan_has_them_as_they_are_stored(search: Search, stored: Callable[[], Storage], tmp_path: Path) -> None:
    search.sample(0, {"lr": 0.5, "deep.width": 7}, 2)
    search.sample(0, {"lr": 0.75}, 3, origin=1)
    execution = stored()["OY1p1o"]
    uids = [trial.uid for trial in execution.trials]

    found = planned(execution, tmp_path / "project", uids)

    lines = (tmp_path / "stored" / "OY1p1o" / "plan.jsonl").read_text().splitlines()
    assert [loads(dumps(spec.as_data())) for spec in found] == [without_places(loads(line)) for line in lines]
    assert [spec.iterations for spec in found] == [None, 2, 3]
    assert [spec.uid for spec in planned(execution, tmp_path / "project", uids[2:])] == [uids[0], uids[2]]


def planned(execution: Execution, directory: Path, uids: list[str], task: ml.Task = TASK) -> Any:
    project = Project(directory)
    return part_with(task.plan(project, "OY1p1o"), project, samples_in(execution, uids) or [], uids)


def without_places(row: dict[str, Any]) -> dict[str, Any]:
    """A line of plan.jsonl, but for where requirements lay."""
    return {**row, "requires": {name: {**needed, "place": None} for name, needed in row["requires"].items()}}


def test_one_that_ended_or_failed_by_itself_does_so_again(search: Search, stored: Callable[[], Storage]) -> None:
    search.sample(0, {"lr": 0.5}, 100)
    search.sample(1, {"lr": 2}, 100)
    storage = stored()

    assert [(trial.status, trial.iterations) for trial in storage["OY1p1o"].trials] == [
        ("finished", None),
        ("finished", 10),
        ("failed", 2),
    ]
    assert verdicts(storage)[0] == "identical"


def test_one_that_was_set_aside_runs_in_one_go(search: Search, stored: Callable[[], Storage]) -> None:
    aside = search.sample(0, {"lr": 0.5}, 2, pauses=True)
    other = search.sample(1, {"lr": 0.25}, 3, pauses=True)
    search.sample(0, {"lr": 0.5}, 2, since=aside)
    search.sample(1, {"lr": 0.25}, 0, since=other)
    storage = stored()

    assert [trial.iterations for trial in storage["OY1p1o"].trials] == [None, 4, 3]
    note = "each of 2 samples that was set aside or tried again is repeated in one go"
    assert verdicts(storage) == ("identical", ["data", "net", "net"], 7, (note,))


def test_one_that_never_iterated_does_not_again(search: Search, stored: Callable[[], Storage]) -> None:
    search.sample(0, {"lr": 0.5}, 0)

    assert verdicts(stored()) == ("identical", ["data", "net"], 0, ())


def mixed(search: Search) -> None:
    """Population based training: three take over values or states, the fourth does not."""
    asides = [search.sample(number, {"lr": lr}, 2, pauses=True) for number, lr in enumerate((0.1, 0.2, 0.3, 0.4))]
    search.sample(0, {"lr": 0.2}, 2, since=asides[1])  # another one's state, with other values
    back = search.sample(1, {"lr": 0.3}, 2, since=asides[1], pauses=True)  # other values, and back again
    search.sample(1, {"lr": 0.2}, 2, since=back)
    search.sample(2, {"lr": 0.3}, 2, since=asides[3])  # another one's state, with the same values
    search.sample(3, {"lr": 0.4}, 2, since=asides[3])


def test_one_that_took_over_values_or_states_is_left_out_and_said_so(
    search: Search, stored: Callable[[], Storage], tmp_path: Path
) -> None:
    mixed(search)
    search.lose(4, {"lr": 0.5})
    search.plan(5, {"lr": 0.6})
    storage = stored()
    uids = [trial.uid for trial in storage["OY1p1o"].trials][1:]
    notes = [
        f"the samples {', '.join(uids[:3])} cannot be repeated: other values, or the state of another sample, "
        "came in on the way, as in population based training",
        f"the sample {uids[4]} cannot be repeated: Ray Tune gave up, or a worker was lost",
    ]

    verdict, _, rows, found = verdicts(storage)
    exported = export(storage, "OY1p1o", str(tmp_path / "out"))

    assert (verdict, rows) == ("identical", 4)
    assert found == (
        *notes,
        "a sample that was set aside or tried again is repeated in one go",
        "1 trial of OY1p1o had not ended and cannot be compared",
    )
    assert exported.notes == [*notes, f"the sample {uids[5]} cannot be repeated: it was not led to its end"]
    assert exported.trials[1:] == [uids[3]]


def test_who_asks_for_one_that_cannot_be_repeated_is_told_why(
    search: Search, stored: Callable[[], Storage], tmp_path: Path
) -> None:
    mixed(search)
    storage = stored()
    uid = storage["OY1p1o"].trials[1].uid
    expected = (
        "none of these samples of OY1p1o can be repeated from its beginning\n"
        f"  the sample {uid} cannot be repeated: other values, or the state of another sample, came in on the way, "
        "as in population based training\n"
        "  Search again. With the same seed, samples that Ray Tune draws by itself are the same."
    )
    for act in (
        lambda: reproduce(storage, "OY1p1o", uids=[uid]),
        lambda: export(storage, "OY1p1o", str(tmp_path / "out"), uids=[uid]),
    ):
        with pytest.raises(Refused) as caught:
            act()
        assert str(caught.value) == expected
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("is_there", [True, False])
def test_without_ray_what_ran_on_it_runs_here(is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("json") if is_there else None
    monkeypatch.setattr("importlib.util.find_spec", lambda name: spec)

    assert _engine({"engine": {"type": "ray", "slots": 2}}) == ("ray" if is_there else "local")


def test_what_failed_by_itself_is_run_again_as_one_sample(search: Search, stored: Callable[[], Storage]) -> None:
    search.sample(0, {"lr": 2}, 100)
    search.lose(1, {"lr": 0.5})
    execution = stored()["OY1p1o"]
    data, failed, lost = execution.trials

    assert again(execution, failed, None) == f"machinable reproduce OY1p1o --trial {failed.uid}"
    assert (again(execution, lost, None), again(execution, data, "out")) == (None, None)


def test_before_one_has_ended_there_is_nothing_to_compare_with(search: Search, stored: Callable[[], Storage]) -> None:
    uid = search.plan(0, {"lr": 0.5}).uid

    with pytest.raises(Refused) as caught:
        reproduce(stored(), "OY1p1o", uids=[uid])

    assert str(caught.value) == (
        "no trial of OY1p1o has ended, so there is nothing to compare with (pending)\n  Search again."
    )


def test_one_that_the_code_does_not_make_any_more_is_not_there(
    search: Search, stored: Callable[[], Storage], tmp_path: Path
) -> None:
    search.sample(0, {"lr": 0.5}, 1)
    execution = stored()["OY1p1o"]
    uid = execution.trials[1].uid

    for task in (ml.Task("data"), ml.Task("net").repeat(2)):
        with pytest.raises(NotStored, match=f"the trial {uid} is not in the plan that the restored code makes"):
            planned(execution, tmp_path / "project", [uid], task.tune(config={"lr": 1}))


def test_what_is_exported_goes_as_far_without_machinable(
    search: Search, stored: Callable[[], Storage], tmp_path: Path
) -> None:
    aside = search.sample(0, {"lr": 0.5}, 2, pauses=True)
    search.sample(1, {"lr": 0.25}, 0)
    search.sample(2, {"lr": 2}, 100)
    search.sample(0, {"lr": 0.5}, 3, since=aside)
    storage = stored()
    out = tmp_path / "out"

    export(storage, "OY1p1o", str(out))

    ran = subprocess.run([sys.executable, "-I", "-S", "run.py"], cwd=out, capture_output=True, text=True, check=False)
    assert ran.returncode == 1, ran.stderr  # one of them fails again
    for trial in storage["OY1p1o"].trials:
        results = out / "results" / trial.uid
        rows = results / "records" / "default.jsonl"
        found = [json.loads(line) for line in rows.read_text().splitlines()] if rows.exists() else []
        assert [row["x"] for row in found] == [row["x"] for row in trial.records if "x" in row]
        assert json.loads((results / "outcome.json").read_text())["state"] == trial.status
        if trial.status == "finished":
            assert json.loads((results / "artifacts" / "x.json").read_text()) == trial.read("x.json")
    assert [trial.iterations for trial in storage["OY1p1o"].trials] == [None, 5, 0, 2]


def test_an_ordinary_execution_has_no_samples(project: World, tmp_path: Path) -> None:
    project("components:\n  - data: {size: 3}\n", data=DATA)
    execution = ml.execute("data", str(tmp_path / "stored"), "OY1p1o")
    (trial,) = execution.trials

    assert (samples_in(execution, [trial.uid]), trial.sample, trial.iterations) == (None, None, None)
