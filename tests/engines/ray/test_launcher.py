"""The first code on another host says where it is, and why that host cannot run trials."""

from __future__ import annotations

import os
import pickle
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

import machinable as ml
from machinable.engines.cluster.actor import Setup
from machinable.engines.ray.launcher import Launcher


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Launcher]:
    monkeypatch.chdir(tmp_path)
    ray = types.ModuleType("ray")
    ray.get_runtime_context = lambda: types.SimpleNamespace(get_node_id=lambda: "n1")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", ray)

    setup = pickle.dumps(Setup.here(str(tmp_path), is_heard=False))

    def make(version: str = ml.__version__, code: bytes | None = None) -> Launcher:
        return Launcher(version, setup, code)

    return make


def test_a_host_that_can_run_trials_has_no_problem(make: Callable[..., Launcher], tmp_path: Path) -> None:
    launcher = make()
    try:
        assert launcher.prepare(pickle.dumps(print)) == ("n1", os.uname().nodename, "")
        assert launcher.call("exchange", [], 0) == ([], [])
    finally:
        launcher.call("close")
        os.chdir(tmp_path)


def test_another_version_is_reported(make: Callable[..., Launcher]) -> None:
    assert make("0.0.1").prepare(b"")[2] == f"machinable {ml.__version__} is installed there, and 0.0.1 here"


def test_a_host_without_machinable_is_reported(make: Callable[..., Launcher], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "machinable.engines.cluster.actor", None)

    assert make("0.0.1").prepare(b"")[2].startswith("machinable cannot be imported there: ")


def test_any_other_problem_is_reported_with_its_type(make: Callable[..., Launcher], tmp_path: Path) -> None:
    assert make(code=b"no archive").prepare(b"")[2].startswith("Damaged: cannot unpack the code backup")

    launcher = make()
    try:
        assert launcher.prepare(b"no work")[2].startswith("UnpicklingError: ")
    finally:
        launcher.call("close")
        os.chdir(tmp_path)
