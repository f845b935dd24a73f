"""`machinable compare`."""

from __future__ import annotations

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


def test_executions_stand_side_by_side_with_what_differs_and_what_came_out(run: Run, stored: str) -> None:
    ran = run("compare", "OY1p1o", "8gWVkz", "--storage", "out")

    assert (ran.code, ran.err) == (0, "")
    assert table(ran.out) == [
        ["execution", "component", "rate", "half", "n", "failed", "loss"],
        ["OY1p1o", "train", "0.1", "0.1", "2", "1", "0.2", "±", "0"],
        ["8gWVkz", "train", "0.5", "0.5", "1", "0", "1"],
    ]


def test_trials_are_named_behind_the_execution(run: Run, stored: str) -> None:
    first, second, _ = (trial["uid"] for trial in run("show", "OY1p1o", "--storage", "out", "--json").data["trials"])

    ran = run("compare", f"OY1p1o/{first[:6]}", f"OY1p1o/{second}", "8gWVkz", "--storage", "out")

    assert table(ran.out)[0][:3] == ["execution", "trial", "component"]
    assert [line[:2] for line in table(ran.out)[1:]] == [["OY1p1o", first], ["OY1p1o", second], ["8gWVkz", "train"]]


def test_naming_one_twice_changes_nothing(run: Run, stored: str) -> None:
    assert (
        run("compare", "OY1p1o", "OY1p1o", "--storage", "out").out == run("compare", "OY1p1o", "--storage", "out").out
    )


def test_what_is_compared_can_be_chosen(run: Run, stored: str) -> None:
    ran = run("compare", "OY1p1o", "8gWVkz", "--field", "records.loss.count", "--storage", "out")

    assert table(ran.out)[0] == ["execution", "component", "rate", "half", "n", "failed", "loss.count"]
    wrong = run("compare", "OY1p1o", "--field", "records.los", "--storage", "out")
    assert wrong.code == 2
    assert "no field named 'records.los'\n  Did you mean 'records.loss'" in wrong.err


def test_the_groups_as_data(run: Run, stored: str) -> None:
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
        "records": {"loss": {"mean": 0.2, "std": 0.0}},
    }
    assert second["records"]["loss"] == {"mean": 1.0, "std": None}


def test_numbers_of_other_code_come_with_a_warning(run: Run, stored: str, project: Path) -> None:
    (project / "train.py").write_text((project / "train.py").read_text() + "\n# changed\n")
    run("execute", "train", "--seed", "43", "--storage", "out", "--quiet")

    ran = run("compare", "OY1p1o", "JvrjPh", "--storage", "out")

    assert ran.err == "JvrjPh ran with other code than OY1p1o: machinable diff OY1p1o JvrjPh\n"


def test_what_is_not_stored_is_told(run: Run, stored: str) -> None:
    ran = run("compare", "OY1p1o", "OY1p1p", "--storage", "out")

    assert (ran.code, ran.out) == (3, "")
    assert "Did you mean 'OY1p1o'?" in ran.err
    assert run("compare", "OY1p1o/zzz", "--storage", "out").code == 3
    assert run("compare", "--storage", "out").code == 2
