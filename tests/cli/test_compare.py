"""`machinable compare` and `machinable diff`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def stored(run: Run, project: Path) -> str:
    """A storage with two executions: `OY1p1o` with a failure, and `8gWVkz` with a higher rate."""
    run("execute", "train", "fails=[1]", "--repeat", "3", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    run("execute", "train", "~fast", "fails=[1]", "--seed", "42", "--storage", "out", "--quiet")
    return str(project / "out")


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_executions_are_shown_side_by_side_with_settings_that_differ(run: Run, stored: str) -> None:
    ran = run("compare", "OY1p1o", "8gWVkz", "--storage", "out")

    assert (ran.code, ran.err) == (0, "")
    assert table(ran.out) == [
        ["execution", "component", "rate", "half", "n", "failed", "loss", "±", "sd", "loss", "95", "%"],
        ["OY1p1o", "train", "0.1", "0.1", "2", "1", "0.2", "±", "0", "0.2", "to", "0.2"],
        ["8gWVkz", "train", "0.5", "0.5", "1", "0", "1"],
    ]


def test_a_trial_is_named_after_its_execution(run: Run, stored: str) -> None:
    first, second, _ = (trial["uid"] for trial in run("show", "OY1p1o", "--storage", "out", "--json").data["trials"])

    ran = run("compare", f"OY1p1o/{first[:6]}", f"OY1p1o/{second}", "8gWVkz", "--storage", "out")

    assert table(ran.out)[0][:3] == ["execution", "trial", "component"]
    assert [line[:2] for line in table(ran.out)[1:]] == [["OY1p1o", first], ["OY1p1o", second], ["8gWVkz", "train"]]


def test_a_repeated_name_counts_once(run: Run, stored: str) -> None:
    assert (
        run("compare", "OY1p1o", "OY1p1o", "--storage", "out").out == run("compare", "OY1p1o", "--storage", "out").out
    )


def test_the_compared_fields_can_be_chosen(run: Run, stored: str) -> None:
    ran = run("compare", "OY1p1o", "8gWVkz", "--field", "records.loss.count", "--storage", "out")

    assert table(ran.out)[0][:8] == ["execution", "component", "rate", "half", "n", "failed", "loss.count", "±"]
    wrong = run("compare", "OY1p1o", "--field", "records.los", "--storage", "out")
    assert wrong.code == 2
    assert "no field named 'records.los'\n  Did you mean 'records.loss'" in wrong.err


def test_json_has_the_groups(run: Run, stored: str) -> None:
    data = run("compare", "OY1p1o", "8gWVkz", "--storage", "out", "--json").data

    first, second = data["groups"]
    assert data["storage"] == stored
    assert len(first.pop("uids")) == 3
    assert first == {
        "execution": "OY1p1o",
        "trial": None,
        "component": "train",
        "config": {"rate": 0.1, "half": 0.1},
        "n": 2,
        "others": {"failed": 1},
        "records": {"loss": {"n": 2, "mean": 0.2, "sd": 0.0, "low": 0.2, "high": 0.2}},
    }
    assert second["records"]["loss"] == {"n": 1, "mean": 1.0, "sd": None, "low": None, "high": None}


def test_different_code_is_reported(run: Run, stored: str, project: Path) -> None:
    (project / "train.py").write_text((project / "train.py").read_text() + "\n# changed\n")
    run("execute", "train", "--seed", "43", "--storage", "out", "--quiet")

    ran = run("compare", "OY1p1o", "JvrjPh", "--storage", "out")

    assert ran.err == "JvrjPh ran with different code from OY1p1o: machinable diff OY1p1o JvrjPh\n"


def test_an_unknown_execution_is_an_error(run: Run, stored: str) -> None:
    ran = run("compare", "OY1p1o", "OY1p1p", "--storage", "out")

    assert (ran.code, ran.out) == (3, "")
    assert "Did you mean 'OY1p1o'?" in ran.err
    assert run("compare", "OY1p1o/zzz", "--storage", "out").code == 3
    assert run("compare", "--storage", "out").code == 2


@pytest.fixture
def differing(run: Run, project: Path) -> str:
    """`OY1p1o`; `8gWVkz` with a higher rate and other code; `OY1p1o-2`, which is as the first one."""
    run("execute", "train", "--repeat", "2", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    run("execute", "train", "--repeat", "2", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    (project / "train.py").write_text((project / "train.py").read_text().replace("* 2", "* 3"))
    (project / "notes.txt").write_text("new\n")
    run("execute", "train", "~fast", "--repeat", "3", "--seed", "42", "--storage", "out", "--quiet")
    return str(project / "out")


def test_only_differences_are_shown(run: Run, differing: str) -> None:
    ran = run("diff", "OY1p1o", "8gWVkz", "--storage", "out")

    assert (ran.code, ran.err) == (0, "")
    uids = [
        [t["uid"] for t in run("show", one, "--storage", "out", "--json").data["trials"]]
        for one in ("OY1p1o", "8gWVkz")
    ]
    execution, code, notes, module, config, only, results = ran.out.split("\n\n")
    assert [line.split() for line in execution.splitlines()] == [
        ["execution", "OY1p1o", "8gWVkz"],
        ["seed", "22490017876", "7957417341"],
    ]
    assert code.splitlines()[1].startswith("backup  sha256:")
    assert notes == "new notes.txt"
    assert module.splitlines()[0] == "changed train.py"
    assert '  -        self.record["loss"] = self.config.rate * 2' in module.splitlines()
    assert '  +        self.record["loss"] = self.config.rate * 3' in module.splitlines()
    assert config.splitlines() == [
        "configuration of train, 2 trials  OY1p1o  8gWVkz",
        "rate                                 0.1     0.5",
        "half                                 0.1     0.5",
    ]
    assert only == f"only in 8gWVkz\n  train {uids[1][2]}"
    assert results.splitlines()[:3] == [
        "results of 2 of 2 trials",
        f"  train {uids[0][0]} → {uids[1][0]}",
        "    records default.loss: 1 of 1 rows, first in row 0: 0.2 → 1.5 (at most 0.87 apart)",
    ]
    assert "    artifacts model.json: rate: 0.1 → 0.5 (at most 0.4 apart)" in results.splitlines()


def test_equal_executions_do_not_differ(run: Run, differing: str) -> None:
    ran = run("diff", "OY1p1o", "OY1p1o-2", "--storage", "out")

    assert (ran.code, ran.out) == (0, "OY1p1o and OY1p1o-2 do not differ\n")


def test_two_trials_of_one_execution_can_be_compared(run: Run, differing: str) -> None:
    first, second = (trial["uid"] for trial in run("show", "OY1p1o", "--storage", "out", "--json").data["trials"])

    ran = run("diff", f"OY1p1o/{first}", f"OY1p1o/{second[:8]}", "--storage", "out")

    (head, line) = ran.out.splitlines()
    assert head.split() == ["seeds", f"OY1p1o/{first}", f"OY1p1o/{second}"]
    assert line.split()[:4] == ["train", first, "→", second]


def test_json_has_all_differences(run: Run, differing: str) -> None:
    data = run("diff", "OY1p1o", "8gWVkz", "--storage", "out", "--json").data

    assert (data["first"], data["second"]) == ("OY1p1o", "8gWVkz")
    assert data["facts"] == [{"name": "seed", "before": 22490017876, "after": 7957417341}]
    assert [(change["name"], change["how"]) for change in data["files"]] == [
        ("notes.txt", "new"),
        ("train.py", "changed"),
    ]
    assert data["packages"] == []
    (config,) = data["config"]
    assert len(config["trials"]) == 2
    assert config["changes"] == [{"key": key, "before": 0.1, "after": 0.5} for key in ("rate", "half")]
    assert len(data["seeds"]) == len(data["results"]) == 2
    assert (data["only_first"], len(data["only_second"]), data["same_results"]) == ([], 1, 0)


def test_different_packages_hosts_and_commits_are_shown(run: Run, differing: str, project: Path) -> None:
    path = project / "out" / "OY1p1o-2" / "execution.json"
    data = json.loads(path.read_text())
    data["packages"] = data["packages"] | {"numpy": "0.1", "added": "1.0"}
    del data["packages"]["click"]
    data["host"]["name"], data["code"]["commit"], data["python"] = "node7", "4f1c" * 10, "3.9.0"
    path.write_text(json.dumps(data) + "\n")

    ran = run("diff", "OY1p1o", "OY1p1o-2", "--storage", "out")

    cells = [line.split() for line in ran.out.splitlines()]
    assert ["added", "1.0"] in cells
    assert [line[-1] for line in cells if line[:1] == ["numpy"]] == ["0.1"]
    assert [len(line) for line in cells if line[:1] == ["click"]] == [2]
    assert [line[-1] for line in cells if line[:1] == ["host"]] == ["node7"]
    assert [line[-1] for line in cells if line[:1] == ["commit"]] == [("4f1c" * 10)[:18]]
    assert [line[-1] for line in cells if line[:1] == ["python"]] == ["3.9.0"]


def test_without_code_backups_there_are_no_files_to_compare(run: Run, differing: str, project: Path) -> None:
    for one in ("OY1p1o", "8gWVkz"):
        (project / "out" / one / "code.zip").unlink()

    assert "train.py" not in run("diff", "OY1p1o", "8gWVkz", "--storage", "out").out


def test_a_missing_or_unnamed_execution_is_an_error(run: Run, differing: str) -> None:
    assert run("diff", "OY1p1o", "nothing", "--storage", "out").code == 3
    assert run("diff", "OY1p1o", "--storage", "out").code == 2


@pytest.mark.filterwarnings("ignore:the code of OY1p1o has changed")
def test_the_codes_of_a_resumed_execution_are_compared(run: Run, stored: str, project: Path) -> None:
    with open(project / "train.py", "a") as file:
        file.write("# later\n")
    run("resume", "OY1p1o", "--storage", "out", "--quiet")

    ran = run("diff", "OY1p1o", "8gWVkz", "--storage", "out")
    section = "OY1p1o was resumed with other code\n\nchanged train.py\n"
    assert section in ran.out
    assert "  +# later" in ran.out.partition(section)[2].splitlines()
    (resumed,) = run("diff", "OY1p1o", "8gWVkz", "--storage", "out", "--json").data["resumed"]
    assert (resumed["execution"], [change["name"] for change in resumed["files"]]) == ("OY1p1o", ["train.py"])
