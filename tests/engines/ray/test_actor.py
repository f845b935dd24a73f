"""What stands for an engine on another host: several calls at once, which the network may bring in any order."""

from __future__ import annotations

import io
import os
import pickle
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from machinable.engines.base import PortableWork
from machinable.engines.ray.actor import Setup, TrialActor, TrialRequest
from machinable.engines.transfer import pack_folder
from machinable.plan.spec import Outcome, TrialSpec
from machinable.storage.code_snapshot import pack_into
from machinable.storage.local import DirectoryFiles
from tests.engines.works import trial


class Reads(PortableWork):
    """Work in a storage that no worker reaches: gives what a folder has that it reads."""

    def __init__(self, directory: str = "") -> None:
        self.directory = directory

    def is_reached(self) -> bool:
        return False

    def moved(self, project: str, url: str | None) -> Reads:
        assert url is not None
        return Reads(url)

    def folder_of(self, spec: TrialSpec) -> str:
        return f"trials/{spec.uid}"

    def folders_needed(self, spec: TrialSpec) -> list[str]:
        return ["data"]

    def __call__(self, spec: TrialSpec) -> Outcome:
        read = Path(self.directory, "data", "a").read_text() if spec.config["reads"] else None
        return Outcome(spec.uid, "finished", 1, 0.0, result=read)


class Sleeps(PortableWork):
    """Takes so many seconds."""

    def moved(self, project: str, url: str | None) -> Sleeps:
        return self

    def __call__(self, spec: TrialSpec) -> Outcome:
        time.sleep(spec.config["seconds"])
        return Outcome(spec.uid, "finished", 1, 0.0)


@pytest.fixture
def actor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrialActor]:
    monkeypatch.chdir(tmp_path)
    made = TrialActor(Setup.here(str(tmp_path), is_heard=False), None)
    yield made
    made.close()
    os.chdir(tmp_path)


def test_a_trial_waits_for_the_folders_that_a_former_call_brings(actor: TrialActor, tmp_path: Path) -> None:
    there = DirectoryFiles(tmp_path / "there")
    there.write("data/a", b"what it reads")
    actor.look(0, pickle.dumps(Reads()))
    requests = [
        TrialRequest(number, pickle.dumps(trial(number, reads=number > 0)), 1, f"{number}") for number in range(3)
    ]
    replies: list[Any] = []

    later = threading.Thread(target=lambda: replies.extend(actor.exchange([requests[2]], 2, 60.0, 1)))
    later.start()  # it comes first
    assert [reply.number for reply in actor.exchange([requests[0]], 1, 0.0, 0)] == [0]  # time enough for it to begin
    actor.exchange([requests[1]], 0, 0.0, 1, pack_folder(there, "data"))
    later.join(60)

    assert {reply.number: reply.kind for reply in replies} == {1: "outcome", 2: "outcome"}
    assert all(b"what it reads" in reply.outcome for reply in replies)


def test_trials_that_wait_behind_a_long_one_are_handed_back(actor: TrialActor) -> None:
    actor.look(0, pickle.dumps(Sleeps()))
    actor.exchange([TrialRequest(0, pickle.dumps(trial(0, seconds=0)), 1, "")], 1, 60.0)  # the worker has started
    requests = [TrialRequest(number, pickle.dumps(trial(number, seconds=1)), 1, "") for number in (1, 2, 3)]

    handed_back = actor.exchange(requests, 1, 0.0)
    ended = actor.exchange([], 1, 0.0)

    assert [(reply.kind, reply.number) for reply in handed_back] == [("returned", 2), ("returned", 3)]
    assert [(reply.kind, reply.number) for reply in ended] == [("outcome", 1)]


def test_code_comes_from_what_was_shipped_wherever_the_project_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, environment = tmp_path / "project", tmp_path / "project" / ".venv"
    (project / "lib").mkdir(parents=True)
    environment.mkdir()
    for name in ("helper.py", "left_out.py", "lib/other.py"):
        (project / name).touch()
    archive = io.BytesIO()
    pack_into(archive, str(project), ignore=["left_out.py", ".venv"], look_for_secrets=False)
    monkeypatch.chdir(project)
    monkeypatch.setattr("sys.path", [str(environment), str(project), str(project / "lib")])  # as Ray's workers have it
    made = TrialActor(Setup.here(str(project), is_heard=False), archive.getvalue())
    try:
        code = Path(made._engine.origin.path[1])
        assert made._engine.origin.path == [str(environment), str(code), str(code / "lib")]
        assert sorted(path.name for path in code.iterdir()) == ["helper.py", "lib"]
    finally:
        made.close()
        os.chdir(tmp_path)
