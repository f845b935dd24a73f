"""Tasks on the command line: declared ones, and those of Python modules."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import YAML, Run

TASKS = """\
tasks:
  study:
    component: train
    version: {rate: 2}
    grid: {layers: [[1], [2]]}
    execution: {storage: ./studies}
  both: {components: [base, train], grid: {rate: [1, 2]}}
"""
MODULE = """\
import machinable as ml

study = ml.Task().component("train", ml.grid(rate=[1, 2])).repeat(2)

def made():
    print("made")
    return ml.Task().component("train", [None, "~deep"])

def needs(x): ...
def nothing(): ...
def fails(): raise KeyError("x")
class Kind: pass
"""


@pytest.fixture(autouse=True)
def declared(project: Path) -> None:
    (project / "machinable.yaml").write_text(YAML + TASKS)
    (project / "package").mkdir()
    (project / "package" / "studies.py").write_text(MODULE)
    (project / "broken.py").write_text("1/0")


def found(run: Run, *words: str) -> list[Any]:
    ran = run("execute", *words, "--dry", "--json", "--seed", "1")
    assert ran.code == 0, ran.err + ran.out
    return [(one["component"], one["config"]["rate"], one["config"].get("layers")) for one in ran.data["trials"]]


@pytest.mark.parametrize(
    ("words", "trials"),
    [
        (["study"], [("train", 2, [1]), ("train", 2, [2])]),
        (["study", "rate=7"], [("train", 7, [1]), ("train", 7, [2])]),
        (["study", "layers=[9]"], [("train", 2, [9])]),
        (["study", "@deep"], [("train", 2, [1, 2, 3]), ("train", 2, [1, 2, 3])]),
        (["study", "--grid", "layers=[8]", "--grid", "rate=4,5"], [("train", 4, [8]), ("train", 5, [8])]),
        (["both", "rate=3"], [("base", 3, None), ("train", 3, [1, 2])]),
        (["package.studies:study", "--grid", "rate=3"], [("train", 3, [1, 2])] * 2),
        (["package.studies:made", "rate=3"], [("train", 3, [1, 2]), ("train", 3, [1, 2, 3])]),
    ],
)
@pytest.mark.filterwarnings("ignore:an alternative has the configuration of an earlier one")
def test_what_is_typed_after_a_task_applies_to_all_its_components(run: Run, words: list[str], trials: Any) -> None:
    assert found(run, *words) == trials


def test_a_task_runs_under_its_name_into_its_storage(run: Run, project: Path) -> None:
    ran = run("execute", "study", "--quiet", "--seed", "OY1p1o")

    assert ran.code == 0
    assert "OY1p1o study  finished, 2 trials" in ran.out
    assert f"next: machinable show OY1p1o --storage {project / 'studies'}" in ran.out
    assert "study" in run("list", "--storage", "studies").out
    ran = run("execute", "study", "--quiet", "--name", "mine", "--storage", "other", "--json")
    assert (ran.data["name"], ran.data["storage"]) == ("mine", str(project / "other"))
    ran = run("resume", "OY1p1o", "study", "--grid", "rate=2,3", "--storage", "studies", "--yes", "--json", "--quiet")
    assert (ran.code, len(ran.data["trials"])) == (0, 4)


def test_values_are_checked_against_the_component_that_declares_them(run: Run) -> None:
    ran = run("execute", "both", "layers=3")
    assert (ran.code, "layers is 3, but it is declared as a list" in ran.err) == (2, True)
    ran = run("execute", "study", "rate=1,2")
    assert "For one trial each, write --grid rate=1,2." in ran.err


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("stdy", "no component or task named 'stdy'\n  searched in machinable.yaml\n  Did you mean 'study'?"),
        ("package.studies:needs", "the function package.studies:needs cannot be called without arguments: missing"),
        ("package.studies:nothing", "the function package.studies:nothing returns an object of type NoneType, not"),
        ("package.studies:fails", "the function package.studies:fails has failed: KeyError: 'x'"),
        ("package.studies:Kind", "package.studies:Kind is the class Kind, not a Task"),
        ("package.studies:ml", "package.studies:ml is an object of type module, not a Task"),
        ("package.studies:stud", "there is no 'stud' in the module 'package.studies'\n  Did you mean 'study'?"),
        ("package.studie:study", "package.studie:study cannot be imported: there is no module 'package.studie'"),
        ("broken:study", "broken:study cannot be imported: ZeroDivisionError: division by zero"),
        (":study", "':study' is not module:name"),
        ("package.studies:", "'package.studies:' is not module:name"),
    ],
)
def test_what_is_no_task_is_an_error_with_the_next_step(run: Run, target: str, message: str) -> None:
    ran = run("execute", target)

    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


def test_a_misspelt_task_of_an_imported_project_is_suggested(run: Run, project: Path) -> None:
    lib = project / "vendor" / "lib"
    lib.mkdir(parents=True)
    (lib / "machinable.yaml").write_text("components: [{net: {x: 1}}]\ntasks: {sweep: {component: net}}")
    (lib / "net.py").write_text("from machinable import Component\nclass Net(Component): pass\n")
    (project / "machinable.yaml").write_text(f"+: [lib]\n{YAML}")

    assert found_components(run, "+.lib.sweep") == ["+.lib.net"]
    ran = run("execute", "+.lib.sweeep")
    assert ran.err.startswith("no component or task named '+.lib.sweeep'")
    assert "Did you mean '+.lib.sweep'" in ran.err
    assert "no imported project named 'lip'" in run("execute", "+.lip.sweep").err


def found_components(run: Run, target: str) -> list[str]:
    return [trial["component"] for trial in run("execute", target, "--dry", "--json").data["trials"]]


def test_a_command_for_components_says_that_the_name_is_a_task(run: Run) -> None:
    ran = run("config", "study")

    assert "'study' is a task, declared at machinable.yaml:16:3" in ran.err
    assert "machinable execute study --dry" in ran.err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ("engine: proceses:2", "machinable.yaml:16:37: no engine named 'proceses:2'"),
        ("retries: many", "machinable.yaml:16:37: "),
        ("on_failure: never", "machinable.yaml:16:37: on_failure is 'never'"),
        ("timeout: 0", "machinable.yaml:16:37: timeout is 0 seconds"),
    ],
)
def test_a_wrong_setting_of_a_task_is_an_error_with_its_place(
    run: Run, project: Path, settings: str, message: str
) -> None:
    text = f"{YAML}tasks:\n  s: {{component: train, execution: {{{settings}}}}}\n"
    (project / "machinable.yaml").write_text(text)

    for words in (["check"], ["execute", "s"]):
        ran = run(*words)
        assert ran.code == 2
        assert message in ran.err + ran.out


def test_check_counts_tasks_and_reports_their_errors(run: Run, project: Path) -> None:
    assert "2 tasks, 0 errors" in run("check").out

    text = YAML + TASKS.replace("version: {rate: 2}", "versio: {rate: 2}").replace("rate: [1, 2]", "rate: []")
    (project / "machinable.yaml").write_text(text)
    ran = run("check", "--json")

    assert [error["message"] for error in ran.data["errors"]] == [
        "no key of a task named 'versio'",
        "'rate' has no values: its list is empty",
    ]
    assert ran.data["tasks"] == 2


@pytest.mark.parametrize(
    ("yaml", "words", "shown"),
    [
        ("components: [train: {rate: 0.1}]", [], "train {'rate': 0.1}"),
        ("components: [train: {rate: 0.1}]", ["rate=2"], "train {'rate': 2}"),
        ("components: [train: {rate: 0.1, ~big: {rate: 9}}]", ["@big"], "train {'rate': 9}"),
        ("components: [train: {rate: 0.1}, other: {}]\ntasks: {study: {component: train}}", [], "train {'rate': 0.1}"),
        ("components: [train: {}, other: {}]", [], "the project has 2 components, so one has to be named"),
        ("components: [train: {}, other: {}]", ["rate=1"], "machinable execute train; it has train, other."),
        (
            "components: [train: {}]\ntasks: {a: {component: train}, b: {component: train}}",
            [],
            "the project has 2 tasks, so one has to be named\n  machinable execute a; it has a, b.",
        ),
        ("components: []", [], "the project declares nothing to run"),
    ],
)
def test_without_a_name_the_only_task_or_component_runs(
    run: Run, project: Path, yaml: str, words: list[str], shown: str
) -> None:
    (project / "machinable.yaml").write_text(yaml + "\n")
    (project / "other.py").write_text((project / "train.py").read_text())

    ran = run("execute", *words, "--dry", "--json")

    if "{'" in shown:
        (trial,) = ran.data["trials"]
        assert f"{trial['component']} {trial['config']}" == shown
    else:
        assert ran.code == 2
        assert shown in run("execute", *words, "--dry").err
