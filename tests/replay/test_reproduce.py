"""The engine of a repeated execution; its results are tested in tests/journeys/test_reproduce.py."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import Refused
from machinable.replay.reproduce import _engine, reproduce


class Stored:
    def __init__(self, **engine: Any) -> None:
        self.data = {"engine": engine}

    def __str__(self) -> str:
        return "OY1p1o"


def engine_of(**facts: Any) -> Any:
    return _engine(Stored(**facts))  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ["ray", "slurm"])
def test_without_the_package_of_an_engine_trials_run_locally(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    there = {"ray": find_spec("json"), "submitit": find_spec("json")}
    monkeypatch.setattr("machinable.replay.reproduce.find_spec", there.get)
    assert engine_of(type=engine, slots=2) == engine

    there.clear()
    assert engine_of(type=engine, slots=2) == "local"


def test_an_execution_is_reproduced_with_the_options_of_its_engine() -> None:
    assert engine_of(type="slurm", slots=1, options={"cluster": "local"}) == {"type": "slurm", "cluster": "local"}
    assert engine_of(type="processes", slots=4) == "processes:4"
    assert engine_of(type="processes", slots=4, options={"recycle": 1}) == {"type": "processes", "recycle": 1}
    with pytest.raises(Refused, match="OY1p1o ran on the engine 'slurm' with options that are not stored: setup\n"):
        engine_of(type="slurm", slots=1, options={}, left_out=["setup"])


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
