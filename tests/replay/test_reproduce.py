"""The engine of a repeated execution; its results are tested in tests/journeys/test_reproduce.py."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.replay.reproduce import _engine, reproduce


@pytest.mark.parametrize("is_there", [True, False])
def test_without_ray_its_trials_run_locally(is_there: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = find_spec("json") if is_there else None
    monkeypatch.setattr("machinable.replay.reproduce.find_spec", lambda name: spec)

    assert _engine({"engine": {"type": "ray", "slots": 2}}) == ("ray" if is_there else "local")


@pytest.mark.parametrize("children", [[], {"kid": None}, {"kid": "data"}, ["data"]], ids=str)
def test_an_execution_is_reproduced_whichever_form_its_children_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, children: Any
) -> None:
    (tmp_path / "machinable.yaml").write_text(
        "components:\n  - many: {_children_: {kid: kind}}\n  - kind:\n  - data:\n"
    )
    for name in ("many", "kind", "data"):
        code = f"from machinable import Component\n\nclass {name.title()}(Component):\n    pass\n"
        (tmp_path / f"{name}.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    execution = ml.execute(ml.Task().component("many", children=children), tmp_path / "out")

    with ml.Storage(tmp_path / "out") as storage:
        assert reproduce(storage, str(execution)).verdict == "identical"
