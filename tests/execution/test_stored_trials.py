"""Stored trials as requirements, of the same storage and of another one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import MachinableError
from machinable.replay.reproduce import reproduce
from machinable.storage.open import without_credentials
from tests.conftest import World

DECLARATIONS = """
mixins: [{help: {}}]
components:
  - data: {size: 3, fails: false}
  - train: {rate: 0.5, _width: 4, _mixins_: help, _requires_: {data: data}, _children_: {kid: data}}
  - use: {deep: true, _requires_: {model: train}}
"""
HELP = """
from machinable import Mixin


class Help(Mixin):
    def doubled(self):
        return 2 * self.config.rate
"""
DATA = """
from machinable import Component


class Data(Component):
    def on_execute(self):
        if self.config.fails:
            raise ValueError("it fails")
        self.store.write("x.json", list(range(self.config.size)))
"""
TRAIN = """
import json
import os

from machinable import Component


class Train(Component):
    def on_create(self, kid):
        self.kid, self.weight = kid, None

    def on_execute(self):
        self.weight = sum(self.requires.data.read()) * self.config.rate
        self.store.write("w.json", self.weight)
        self.record["loss"] = self.weight
        self.record.save()
        self.save_checkpoint()
        return self._help_.doubled()

    def on_save(self, path, timestep):
        with open(os.path.join(path, "w"), "w") as file:
            json.dump(self.weight, file)
        return "w"

    def on_restore(self, path):
        with open(path) as file:
            self.weight = json.load(file)
"""
USE = """
from machinable import Component


class Use(Component):
    def on_execute(self):
        model = self.requires.model
        live = model.component
        found = [model.result, model.read(), model.records.last["loss"], live.weight, live.config._width]
        found += [live._help_.doubled(), live.kid.config.size]
        return found + ([live.requires.data.read()] if self.config.deep else [])
"""
FOUND = [4, 6, 6, 6, 4, 4, 3]


@pytest.fixture
def stored(project: World, tmp_path: Path) -> tuple[str, str]:
    """A storage with an execution, and the uid of the trial in it that is required."""
    project(DECLARATIONS, data=DATA, train=TRAIN, use=USE, help=HELP)
    storage = str(tmp_path / "results")
    task = ml.Task().component("train", {"rate": 2}).component("data", {"fails": True})
    execution: Any = run(task, storage, seed="OY1p1o")
    return storage, execution.trials[1].uid


def run(task: Any, storage: str, **options: Any) -> Any:
    return ml.execute(task, {"storage": storage, "code_backup": False}, on_failure="continue", **options)


def use(requirement: Any, **config: Any) -> ml.Task:
    return ml.Task().component("use", config, requires={"model": requirement})


def states(execution: Any) -> list[tuple[str, str, str | None]]:
    return [(trial.component, trial.status, trial.source) for trial in execution.trials]


@pytest.mark.parametrize("options", [{}, {"reuse": False, "rerun": "use"}, {"engine": "processes:1"}], ids=str)
def test_a_stored_trial_is_read_with_all_that_it_required(stored: tuple[str, str], options: dict[str, Any]) -> None:
    storage, uid = stored
    first = ml.Storage(storage)["OY1p1o"]

    execution = run(use(f"OY1p1o/{uid[:6]}"), storage, **options)

    assert states(execution) == [
        ("data", "reused", f"OY1p1o/{first.trials[0].uid}"),
        ("train", "reused", f"OY1p1o/{uid}"),
        ("use", "finished", None),
    ]
    assert execution.trials[-1].result == [*FOUND, [0, 1, 2]]
    assert execution.trials[-1].stale is None
    assert execution.trials[1].identity == first[uid].identity
    again = run(use(f"OY1p1o/{execution.trials[1].uid}".replace("OY1p1o", str(execution))), storage)  # a reused trial
    assert again.trials[1].source == f"OY1p1o/{uid}"
    assert run(None, storage, resume=str(execution)).trials[-1].result == [*FOUND, [0, 1, 2]]


def test_a_stored_trial_of_another_storage_is_copied(stored: tuple[str, str], tmp_path: Path) -> None:
    storage, uid = stored
    text = f"{storage}/OY1p1o/{uid}"

    execution = run(use(text, deep=False), str(tmp_path / "other"), seed="BcDeFg")
    deep = run(use(text), "mem://")

    assert states(execution) == [("train", "finished", None), ("use", "finished", None)]
    assert execution.trials[1].result == FOUND
    assert execution.trials[0].read("w.json") == 6
    described = json.loads(
        (tmp_path / "other" / "BcDeFg" / "trials" / execution.trials[0].uid / "trial.json").read_text()
    )
    assert described["uid"] == execution.trials[0].uid
    assert "'model.data' (data) has no result" in deep.trials[1].error["message"]


def test_stored_trials_on_an_object_store_are_read_there_and_copied_from_there(
    project: World, tmp_path: Path, s3_folder: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    project(DECLARATIONS, data=DATA, train=TRAIN, use=USE, help=HELP)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    storage = without_credentials(s3_folder())
    uid = run(ml.Task().component("train", {"rate": 2}), storage, seed="OY1p1o").trials[-1].uid

    assert run(use(f"OY1p1o/{uid[:5]}"), storage).trials[-1].result == [*FOUND, [0, 1, 2]]
    copied = run(use(f"{storage}/OY1p1o/{uid[:5]}", deep=False), str(tmp_path / "other"))
    assert copied.trials[-1].result == FOUND


def test_a_dry_run_says_that_a_stored_trial_is_given(
    stored: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    storage, uid = stored
    run(use(f"{storage}/OY1p1o/{uid}"), str(tmp_path / "other"), engine="dry")
    shown = capsys.readouterr().out
    assert f"{storage}/OY1p1o/{uid}: it is given as a stored trial" in shown
    assert not (tmp_path / "other").exists()


def test_an_execution_that_required_a_stored_trial_is_reproduced(stored: tuple[str, str]) -> None:
    storage, uid = stored
    ml.execute(use(f"OY1p1o/{uid}"), storage, seed="BcDeFg")
    with ml.Storage(storage) as opened:
        assert reproduce(opened, "BcDeFg").verdict == "identical"


@pytest.mark.parametrize(
    ("text", "words", "todo"),
    [
        ("OY1p1o/zzz", "OY1p1o has no trial zzz", "machinable show OY1p1o"),
        ("OY1p1p/{uid}", "there is no execution OY1p1p in", "write the URL of its storage in front"),
        ("OY1p1o/{failed}", "is failed, not finished", "machinable resume OY1p1o"),
        ("./none/OY1p1o/{uid}", "there is no storage at", "Give the directory"),
        ("s3://key:secret@bucket/OY1p1o/{uid}", "s3://bucket of a stored trial has credentials", "in the environment"),
    ],
)
def test_a_stored_trial_that_cannot_be_used_is_an_error_before_anything_runs(
    stored: tuple[str, str], text: str, words: str, todo: str
) -> None:
    storage, uid = stored
    failed = ml.Storage(storage)["OY1p1o"].failures[0].uid
    with pytest.raises(MachinableError) as caught:
        run(use(text.format(uid=uid, failed=failed)), storage, seed="BcDeFg")
    assert words in str(caught.value)
    assert todo in str(caught.value)
    assert caught.value.path == "requires.model of use"
    assert "secret" not in str(caught.value)
    assert [str(one) for one in ml.Storage(storage).executions] == ["OY1p1o"]


def test_a_stored_trial_whose_artifacts_have_changed_is_refused(stored: tuple[str, str]) -> None:
    storage, uid = stored
    (Path(storage) / "OY1p1o" / "trials" / uid / "artifacts" / "w.json").unlink()
    with pytest.raises(MachinableError, match=r"the artifact 'w\.json' is gone"):
        run(use(f"OY1p1o/{uid}"), storage)


def test_a_declared_stored_trial_has_its_place_in_messages(project: World, tmp_path: Path) -> None:
    here = project(DECLARATIONS.replace("model: train", "model: OY1p1o/abc"), use=USE)
    with pytest.raises(MachinableError, match="is in no storage") as caught:
        ml.Task("use").plan(here)
    assert str(caught.value.at) == "machinable.yaml:6:36"
