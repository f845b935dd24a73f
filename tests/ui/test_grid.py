from __future__ import annotations

import pytest

from machinable.errors import InvalidValue, UnknownName
from machinable.results.trials import Trials
from machinable.storage.memory import MemoryFiles
from machinable.ui.grid import MAX_GROUPED, PAGE, field_choices, grid, group_tables
from machinable.ui.selection import Selection
from tests.results.worlds import failed, finished, planned, started, status, stored, uid, write


def trials(count: int = 6) -> Trials:
    """Trials with a rate and a loss, of which each third fails without a row."""
    plan, ledger = [], []
    for index in range(count):
        plan.append(planned(index, {"rate": index % 2 / 10, "deep": {"a": 1}}))
        ledger += [started(index), failed(index) if index % 3 == 2 else finished(index, loss=index / 4)]
    return stored(plan, ledger).trials


def test_a_page_has_the_columns_in_which_trials_differ() -> None:
    found = grid(trials(), Selection())

    assert [(column.field, column.heading, column.is_numeric) for column in found.columns] == [
        ("execution", "execution", False),
        ("uid", "uid", False),
        ("component", "component", False),
        ("status", "status", False),
        ("config.rate", "rate", True),
        ("records.loss", "loss", True),
    ]
    assert found.rows[1] == {
        "execution": "OY1p1o",
        "uid": "000000000001",
        "component": "train",
        "status": "finished",
        "config.rate": "0.1",
        "records.loss": "0.25",
        "href": "/trial/OY1p1o/000000000001",
        "key": "OY1p1o/000000000001",
        "state": "finished",
    }
    assert (found.rows[2]["state"], found.rows[2]["records.loss"]) == ("failed", "")


def test_trials_are_filtered_and_sorted_before_they_are_divided_into_pages() -> None:
    many = trials(3 * PAGE)
    selection = Selection(where="status=finished", sort="records.loss", descending=True, columns="uid,records.loss")

    last = grid(many, selection._replace(page=99))

    assert (last.total, last.page, last.pages, len(last.rows)) == (2 * PAGE, 2, 2, PAGE)
    assert [row["uid"][-1] for row in last.rows[-2:]] == ["1", "0"]
    assert grid(many, selection._replace(where="status=pending"))[1:] == ([], 0, 1, 1)


@pytest.mark.parametrize(
    ("selection", "kind", "message"),
    [
        (Selection(where="config.rate<"), InvalidValue, "\n    config.rate<\n"),
        (Selection(where="config.rat<1"), UnknownName, "config.rate"),
        (Selection(sort="records.los"), UnknownName, "records.loss"),
        (Selection(columns="uid,records.los"), UnknownName, "records.loss"),
        (Selection(columns="nonsense"), UnknownName, "nonsense"),
        (Selection(where="status=fnished"), UnknownName, "finished"),
    ],
)
def test_what_is_wrong_with_a_selection_is_said_as_on_the_command_line(
    selection: Selection, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind) as error:
        grid(trials(), selection)

    assert message in str(error.value)


def test_a_column_that_the_trials_of_a_page_lack_is_empty() -> None:
    found = grid(trials(), Selection(where="status=failed", columns="uid,status,error.type,note"))

    assert [row["error.type"] for row in found.rows] == ["ValueError", "ValueError"]
    assert grid(trials(), Selection(where="status=pending", columns="records.loss")).rows == []


def test_a_damaged_file_makes_one_cell_unreadable() -> None:
    files = MemoryFiles()
    plan, ledger = [planned(0), planned(1)], [started(0), finished(0), started(1), finished(1)]
    execution = stored(plan, ledger, files=files)
    write(files, f"OY1p1o/trials/{uid(0)}/status.json", b"{")
    write(files, f"OY1p1o/trials/{uid(1)}/status.json", status("finished", host={"name": "node7"}))

    found = grid(execution.trials, Selection(columns="uid,status,host"))

    assert [row["host"] for row in found.rows] == ["unreadable", "node7"]
    assert [row["state"] for row in found.rows] == ["finished", "finished"]


def test_groups_have_a_summary_of_each_column_of_numbers() -> None:
    (found,) = group_tables(trials(), Selection(by="config.rate"))

    assert found.metric == "records.loss"
    assert found.headings == ["rate", "n", "failed", "mean ± sd", "95 % interval", "median", "min", "max"]
    assert found.rows[0][:4] == ["0", "2", "1", "0.5 ± 0.71"] and found.rows[1][0] == "0.1"


def test_groups_of_too_many_trials_are_refused_with_what_to_do() -> None:
    few = trials(2)
    many = Trials([*few] * (MAX_GROUPED // 2 + 1))

    with pytest.raises(InvalidValue, match="groups of at most 10,000") as error:
        group_tables(many, Selection(by="config.rate"))

    assert "machinable trials --by" in str(error.value)
    assert len(group_tables(many, Selection(by="config.rate", execution="OY1p1o", where="uid=000000000001x"))) == 0


def test_columns_are_offered_that_trials_have() -> None:
    found = field_choices(trials())

    assert {"status", "config.rate", "config.deep.a", "records.loss", "flags.SEED"} <= set(found)
