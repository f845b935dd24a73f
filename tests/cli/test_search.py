"""Searches on the command line and in machinable.yaml."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run

YAML = """\
components:
  - net: {rate: 0.1, steps: 3}
tasks:
  rates:
    component: net
    tune: {space: {rate: {loguniform: [1e-4, 1e-1]}}, metric: result.score, mode: max, samples: 4, repeats: 2}
"""
NET = """\
from machinable import Component

class Net(Component):
    def on_execute(self):
        return {"score": self.config.rate}
"""
TUNED = ("--tune", "rate=uniform(0,1)", "--metric", "result.score", "--mode", "max", "--samples", "3")


@pytest.fixture
def world(project: Path) -> Path:
    (project / "machinable.yaml").write_text(YAML)
    (project / "net.py").write_text(NET)
    return project


def test_a_component_is_searched(world: Path, run: Run) -> None:
    ran = run("execute", "net", *TUNED, "--storage", "s", "--seed", "1", "--quiet")

    assert ran.code == 0
    assert ran.out.splitlines()[0].split() == ["sample", "state", "result.score", "95", "%", "rate"]
    shown = run("show", "hp2cEP", "--storage", "s")
    assert "max result.score, 3 samples: 3 finished; over after 3 samples" in shown.out
    data = run("show", "hp2cEP", "--storage", "s", "--json").data["search"]
    best = max(data["samples"], key=lambda sample: sample["value"])
    assert data["best"] == [best["sample"]]
    assert best["value"] == best["values"]["rate"]


def test_options_change_a_part_of_a_declared_search(world: Path, run: Run) -> None:
    declared = run("execute", "rates", "--dry", "--json").data["trials"]
    changed = run(
        "execute", "rates", "--samples", "2", "--repeats", "3", "--tune", "steps=randint(1,9)", "--dry", "--json"
    )

    assert len(declared) == 8
    assert len({trial["config"]["rate"] for trial in declared}) == 4
    assert len(changed.data["trials"]) == 6
    assert len({(trial["config"]["rate"], trial["config"]["steps"]) for trial in changed.data["trials"]}) == 2


def test_a_declared_search_is_checked(world: Path, run: Run) -> None:
    assert run("check").code == 0
    text = YAML.replace("loguniform: [1e-4", "loguniform: [0").replace("mode: max", "mod: max")
    (world / "machinable.yaml").write_text(text)
    assert "no key of a search named 'mod'" in run("check").out
    (world / "machinable.yaml").write_text(text.replace("mod: max", "mode: max"))
    ran = run("check")
    assert (ran.code, "machinable.yaml:6:" in ran.out, "has no logarithm" in ran.out) == (2, True, True)
    (world / "machinable.yaml").write_text(YAML.replace("{rate: {log", "{rat: {log"))
    assert "no key named 'rat'" in run("check").out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--samples", "3"), "--samples needs a search"),
        (("--tune", "rate", *TUNED[2:]), "--tune 'rate' is not KEY=DOMAIN"),
        (("--tune", "rate=unifrm(0,1)", *TUNED[2:]), "no domain named 'unifrm'"),
        ((*TUNED, "--tune", "rate=uniform(0,2)"), "--tune gives 'rate' twice"),
        ((*TUNED[:4], "--samples", "3"), "a search needs a mode"),
        ((*TUNED[:6], "--samples", "0"), "`samples` is at least 1, not 0"),
        (("--tune", "rat=uniform(0,1)", *TUNED[2:]), "no key named 'rat'"),
    ],
)
def test_options_that_make_no_search_are_refused(words: tuple[str, ...], message: str, world: Path, run: Run) -> None:
    ran = run("execute", "net", *words)

    assert ran.code == 2
    assert message in ran.err
