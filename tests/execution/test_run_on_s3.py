"""Reuse, leases and resuming where every lookup is a request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import machinable as ml
from machinable.cli.main import main
from machinable.results.pointers import find_pointer
from machinable.storage.s3 import ObjectStoreFiles
from tests.conftest import World
from tests.execution.fakes import Computing, events_of

DECLARATIONS = "components:\n  - nums: {size: 3}\n  - train: {_requires_: {data: nums}}\n"
NUMS = """
from machinable import Component


class Nums(Component):
    def on_execute(self):
        self.store.write("x.json", [1, 2, 3])
"""
TRAIN = """
import os
from machinable import Component


class Train(Component):
    def on_execute(self):
        if os.path.exists("fail"):
            raise ValueError("no")
        return sum(self.requires.data.read("x.json"))
"""


@pytest.fixture
def url(s3_folder: Callable[[], str]) -> str:
    return s3_folder()


pytestmark = pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # of botocore


def run(url: str, **options: Any) -> Any:
    return ml.execute("train", {"storage": url, "code_backup": False}, **options)


def test_a_requirement_is_computed_once_and_read_from_s3(project: World, url: str) -> None:
    project(DECLARATIONS, nums=NUMS, train=TRAIN)
    first = run(url)
    assert events_of(first) == [("nums", "finished"), ("train", "finished")]
    second = run(url)
    assert events_of(second) == [("nums", "reused"), ("train", "finished")]
    assert second.trials[1].result == 6
    assert second.trials[0].read("x.json") == [1, 2, 3]
    leases = [found.path for found in first.files.walk("") if found.path.endswith(".lease")]
    assert leases == []


def test_a_task_of_the_project_runs_on_s3_with_its_settings(
    project: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RESULTS", url)
    tasks = (
        "tasks:\n  study:\n    component: train\n    grid: {n: [1, 2]}\n    requires: {data: {version: {size: 5}}}\n"
        "    tags: {study: s}\n    execution: {storage: '${RESULTS}', engine: processes:2}\n"
    )
    project(f"{DECLARATIONS.replace('- train: {', '- train: {n: 0, ')}{tasks}", nums=NUMS, train=TRAIN)

    assert main(["execute", "study", "--quiet", "--seed", "OY1p1o"]) == 0

    with ml.Storage(url) as storage:
        stored = storage["OY1p1o"]
        found = [(trial.component, trial.status, trial.tags.get("study"), trial.result) for trial in stored.trials]
        assert stored.data["engine"]["given"] == "processes:2"
        assert found == [("nums", "finished", None, None), *([("train", "finished", "s", 6)] * 2)]
        assert [trial.config for trial in stored.trials] == [{"size": 5}, {"n": 1}, {"n": 2}]
        assert storage.trials.where("tags.study=s").where("config.n=2")[0].uid == stored.trials[2].uid


def test_a_lookup_is_one_request(project: World, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    project(DECLARATIONS, nums=NUMS, train=TRAIN)
    execution = run(url, engine=Computing())
    identity = execution.trials[0].identity
    asked: list[str] = []
    ask = ObjectStoreFiles._ask

    def note(self: ObjectStoreFiles, operation: str, **arguments: Any) -> Any:
        asked.append(operation)
        return ask(self, operation, **arguments)

    monkeypatch.setattr(ObjectStoreFiles, "_ask", note)
    assert find_pointer(execution.files, identity) is not None
    assert asked == ["get_object"]


def test_an_execution_on_s3_is_resumed(project: World, url: str) -> None:
    here = project(DECLARATIONS, nums=NUMS, train=TRAIN)
    (here / "fail").touch()
    failed = run(url, on_failure="continue")
    assert events_of(failed) == [("nums", "finished"), ("train", "failed")]
    (here / "fail").unlink()
    execution = ml.execute(storage={"storage": url, "code_backup": False}, resume=str(failed))
    assert execution.status == "finished"
    assert (execution.trials[1].result, execution.trials[1].attempt) == (6, 2)
    kept = [found.path for found in execution.files.walk(f"{failed}/trials/{execution.trials[1].uid}/attempts/1")]
    assert [path.rpartition("/")[2] for path in kept] == ["status.json", "trial.json"]


def test_a_requirement_whose_artifact_was_removed_from_s3_is_computed_again(project: World, url: str) -> None:
    project(DECLARATIONS, nums=NUMS, train=TRAIN)
    first = run(url)
    first.files.remove(f"{first}/trials/{first.trials[0].uid}/artifacts/x.json")

    with pytest.warns(RuntimeWarning, match=r"^the artifact 'x.json' is gone \(of .*\); nums runs again$"):
        second = run(url)

    assert events_of(second) == [("nums", "finished"), ("train", "finished")]
    assert second.trials[1].result == 6


def test_a_requirement_without_artifacts_whose_folder_was_deleted_from_s3_is_computed_again(
    project: World, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    project(
        DECLARATIONS,
        nums=NUMS.replace('self.store.write("x.json", [1, 2, 3])', "return 1"),
        train=NUMS.replace("Nums", "Train"),
    )
    first = run(url)
    asked: list[str] = []
    exists = ObjectStoreFiles.exists

    def note(self: ObjectStoreFiles, path: str) -> bool:
        asked.append(path)
        return exists(self, path)

    monkeypatch.setattr(ObjectStoreFiles, "exists", note)
    assert events_of(run(url)) == [("nums", "reused"), ("train", "finished")]
    status = f"{first}/trials/{first.trials[0].uid}/status.json"
    assert asked.count(status) == 1

    first.files.remove(str(first))
    assert events_of(run(url)) == [("nums", "finished"), ("train", "finished")]
