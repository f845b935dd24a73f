"""The engine of a repeated execution; its results are tested in tests/journeys/test_reproduce.py."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from machinable.replay.reproduce import _engine


@pytest.mark.parametrize("is_there", [True, False])
def test_without_ray_its_trials_run_locally(is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("json") if is_there else None
    monkeypatch.setattr("machinable.replay.reproduce.find_spec", lambda name: spec)

    assert _engine({"engine": {"type": "ray", "slots": 2}}) == ("ray" if is_there else "local")
