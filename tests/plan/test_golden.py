"""Every vector in `task_expansion.json` and `ids.json` gives the plan that it contains."""

from __future__ import annotations

import builtins
from pathlib import Path
from typing import Any

import pytest

from machinable.plan.task import Task
from tests import golden_cases
from tests.golden_cases import decode, typed

EXPANSION = golden_cases.load("task_expansion")
IDS = golden_cases.load("ids")


def build(calls: list[Any]) -> Task:
    constructor = next((decode(arguments) for method, arguments in calls if method == "Task"), {})
    task = Task(**constructor)
    for method, arguments in calls:
        if method != "Task":
            getattr(task, method)(**decode(arguments))
    return task


@pytest.mark.parametrize("case", EXPANSION["cases"], ids=lambda case: case["name"])
def test_a_task_expands_as_written(case: dict[str, Any], tmp_path: Path) -> None:
    golden_cases.write(tmp_path, EXPANSION["files"])
    expect = case["expect"]
    if "error" in expect:
        with pytest.raises(getattr(builtins, expect["error"])):
            build(case["calls"]).plan(tmp_path, decode(case["seed"]))
        return
    plan = build(case["calls"]).plan(tmp_path, decode(case["seed"]))
    assert (plan.id, plan.seed, len(plan)) == (expect["id"], expect["seed"], len(expect["trials"]))
    for spec, trial in zip(plan, expect["trials"], strict=True):
        for name in ("component", "module", "seed", "uid"):
            assert getattr(spec, name) == trial[name]
        assert typed(dict(spec.config)) == typed(decode(trial["config"]))
        assert trial["flags"].items() <= dict(spec.flags).items()
        assert len(spec.children) == len(trial["children"])
        for child, expected in zip(spec.children, trial["children"], strict=True):
            assert typed(dict(child.config)) == typed(decode(expected["config"]))
            assert (child.component, child.module) == (expected["component"], expected["module"])
            assert expected.get("flags", {}).items() <= dict(child.flags).items()


@pytest.mark.parametrize("case", IDS["cases"], ids=lambda case: case["name"])
def test_a_seed_gives_the_id_that_is_written(case: dict[str, Any], tmp_path: Path) -> None:
    golden_cases.write(tmp_path, IDS["files"])
    expect = case["expect"]
    if "error" in expect:
        with pytest.raises(getattr(builtins, expect["error"])):
            Task("a").plan(tmp_path, decode(case["seed"]))
    else:
        plan = Task("a").plan(tmp_path, case["seed"])
        assert (plan.id, plan.seed) == (expect["id"], expect["seed"])
