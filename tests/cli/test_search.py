"""Searches on the command line and in machinable.yaml."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.cli.search import check_words, with_search
from machinable.errors import MachinableError, MalformedText
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
    (history,) = [line for line in shown.out.splitlines() if line.startswith("history")]
    assert re.fullmatch(r"history +0\.\d+ after 1 sample(, 0\.\d+ after [23])*", history)
    run("report", "hp2cEP", "--storage", "s", "--to", "report.html")
    page = (world / "report.html").read_text()
    assert "<h3>Search</h3>" in page
    assert f"by sample {best['sample']}" in page
    assert ("over samples." in page, "over seconds." in page, page.count("best result.score")) == (True, True, 2)


def test_a_search_without_a_result_has_neither_history_nor_charts(world: Path, run: Run) -> None:
    (world / "net.py").write_text(NET.replace('return {"score": self.config.rate}', 'raise ValueError("no")'))
    run("execute", "net", *TUNED, "--storage", "s", "--seed", "1", "--quiet")

    assert "history" not in run("show", "hp2cEP", "--storage", "s").out
    run("report", "hp2cEP", "--storage", "s", "--to", "report.html")
    page = (world / "report.html").read_text()
    assert ("<h3>Search</h3>" in page, "over samples." in page) == (True, False)


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
    (world / "machinable.yaml").write_text(YAML.replace("samples: 4", "samples: 0"))
    assert f"machinable.yaml:6:{YAML.splitlines()[5].index('samples') + 1}: `samples` is at least 1" in run("check").out
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


# what the options mean, and where they are wrong

GIVEN: dict[str, Any] = {"tune": ("rate=uniform(0,1)",), "samples": 3, "metric": "records.loss.last", "mode": "min"}


def test_options_describe_a_search() -> None:
    task = with_search(
        ml.Task("net"),
        {
            **GIVEN,
            "tune": ("rate=loguniform(1e-4,1e-1)", " hidden = choice([32],[64,64])", "~=choice(~a,~b)"),
            "sampler": "{tpe: {multivariate: true}}",
            "prune": "{asha: {reduction: 4}}",
            "repeats": 2,
            "stop": None,
            "search_timeout": 60.0,
        },
    )

    assert task.search is not None
    assert task.search.space == {
        "rate": {"loguniform": [1e-4, 1e-1]},
        "hidden": {"choice": [[32], [64, 64]]},
        "~": {"choice": ["~a", "~b"]},
    }
    assert (task.search.sampler, task.search.prune) == ({"tpe": {"multivariate": True}}, {"asha": {"reduction": 4}})
    assert (task.search.samples, task.search.timeout, task.levels[0].total) == (3, 60.0, 2)


def test_options_change_a_part_of_the_search_of_a_task() -> None:
    task = ml.Task("net").tune({"rate": ml.uniform(0, 1)}, "records.loss.last", "min", 50, prune="asha")

    changed = with_search(task, {"samples": 5, "tune": ("size=randint(1,8)",)})

    assert changed.search is not None
    assert (changed.search.samples, changed.search.prune) == (5, "asha")
    assert list(changed.search.space) == ["rate", "size"]
    assert task.search is not None
    assert task.search.samples == 50


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"tune": ("rate=uniform(0,1",)},
            "command line:1:24: the parenthesis of uniform is not closed\n  in --tune rate\n"
            "    1 | --tune rate=uniform(0,1\n                               ^\n  Write uniform(0,1).",
        ),
        ({"tune": ("rate=uniform(1,0)",)}, "command line:1:13: the lower bound of uniform(1, 0) is not less than"),
        ({"tune": ("rate=log_uniform(0,1)",)}, "command line:1:13: no domain named 'log_uniform'"),
        ({"tune": ("rate",)}, "--tune 'rate' is not KEY=DOMAIN"),
        ({"tune": ("=uniform(0,1)",)}, "--tune '=uniform(0,1)' is not KEY=DOMAIN"),
        ({"tune": ("a=uniform(0,1)", "a=uniform(0,2)")}, "--tune gives 'a' twice"),
        ({"tune": ()}, "--samples needs a search"),
        ({"sampler": "tep"}, "no sampler named 'tep'\n  in sampler\n  Did you mean 'tpe'?"),
        ({"sampler": "{tpe: {multi: true}}"}, "the sampler 'tpe' takes no multi"),
        ({"prune": "{asha: {first: 0}}"}, "first of the pruner 'asha' is 0"),
    ],
)
def test_what_is_wrong_is_refused_at_its_place(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MachinableError) as raised:
        with_search(ml.Task("net"), {**GIVEN, **options})

    assert message in str(raised.value)


def test_a_sampler_with_options_that_are_not_yaml_is_refused() -> None:
    with pytest.raises(MalformedText, match="this is not YAML"):
        with_search(ml.Task("net"), {**GIVEN, "sampler": "{tpe: "})


@pytest.mark.parametrize("word", ["rate=0.3", "rate.start=0.3"])
def test_a_key_has_either_a_value_or_a_domain(word: str) -> None:
    task = with_search(ml.Task("net"), GIVEN)

    with pytest.raises(MachinableError) as raised:
        check_words(task, ["@deep", word], ["@deep", word])

    assert str(raised.value).startswith(f"command line:1:7: {word[:-4]!r} has a value, and the search tries others for")
    check_words(task, ["rates=3", "@rate"], ["rates=3", "@rate"])
    check_words(ml.Task("net"), ["rate=0.3"], ["rate=0.3"])
