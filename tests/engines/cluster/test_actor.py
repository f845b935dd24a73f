"""The actor on another host: trials and code that it receives, and its replies."""

from __future__ import annotations

import io
import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from machinable.engines.base import PortableWork
from machinable.engines.cluster.actor import Reply, Setup, TrialActor, TrialRequest
from machinable.plan.spec import Outcome, TrialSpec
from machinable.storage.code_snapshot import pack_into
from tests.engines.works import trial


class Sleeps(PortableWork):
    """Work that takes some seconds."""

    def moved(self, project: str) -> Sleeps:
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


def test_trials_that_wait_behind_a_long_one_are_handed_back(actor: TrialActor) -> None:
    actor.prepare(pickle.dumps(Sleeps()))
    actor.exchange([TrialRequest(0, pickle.dumps(trial(0, seconds=0)), 1)], 1)  # the worker has started
    requests = [TrialRequest(number, pickle.dumps(trial(number, seconds=1)), 1) for number in (1, 2, 3)]

    _, handed_back = actor.exchange(requests, 1)
    _, ended = actor.exchange([], 1)

    assert handed_back == [Reply(2, None), Reply(3, None)]
    assert [(reply.number, isinstance(reply.result, bytes)) for reply in ended] == [(1, True)]


def test_a_trial_is_pruned_that_has_just_begun(actor: TrialActor, monkeypatch: pytest.MonkeyPatch) -> None:
    future: Future[bytes] = Future()
    pruning = threading.Thread(target=actor.prune, args=(7, "worse than 3"))

    def begin(*_: Any) -> Future[bytes]:
        pruning.start()
        pruning.join(0.05)
        if not pruning.is_alive():
            future.set_result(b"it went on")
        return future

    monkeypatch.setattr(actor._engine, "pass_on", begin)
    monkeypatch.setattr(actor._engine, "prune", lambda one, because: one.set_result(because.encode()))

    _, replies = actor.exchange([TrialRequest(7, b"", 1)], 1)

    assert replies == [Reply(7, b"worse than 3")]


def test_code_is_imported_from_the_shipped_archive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
