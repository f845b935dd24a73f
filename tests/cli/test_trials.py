"""`machinable trials`, and conditions in place of ids."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def stored(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage with two executions; `8gWVkz` has a failure."""
    monkeypatch.setenv("MACHINABLE_STORAGE", "out")
    run("execute", "train", "fails=[1]", "--repeat", "3", "--seed", "42", "--quiet")
    run("execute", "train", "~fast", "--seed", "OY1p1o", "--name", "second", "--quiet")
    return project / "out"


def table(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_trials_are_filtered_sorted_and_cut(run: Run, stored: Path) -> None:
    columns = ("--columns", "status,config.rate,records.loss")
    ran = run("trials", "--where", "config.rate<0.3 and status=finished", *columns)
    assert (ran.code, ran.err) == (0, "")
    assert table(ran.out) == [["status", "config.rate", "records.loss"], *[["finished", "0.1", "0.2"]] * 2]

    ran = run("trials", "--sort", "records.loss", "--descending", "--top", "1", "--json")
    (row,) = ran.data["trials"]
    assert (row["execution"], row["records.loss"], ran.data["storage"]) == ("OY1p1o", 1.0, str(stored))
    assert len(table(run("trials", "8gW").out)) == 4
    assert len(table(run("trials", "last", "status=finished").out)) == 2


def test_other_forms_are_for_other_programs(run: Run, stored: Path) -> None:
    chosen = ("trials", "--columns", "execution,records.loss", "--where", "name=second")

    assert run(*chosen, "--csv").out == "execution,records.loss\nOY1p1o,1.0\n"
    assert run(*chosen, "--md").out.splitlines()[2] == "| OY1p1o | 1 |"
    assert r"OY1p1o & 1 \\" in run(*chosen, "--latex").out
    both = run(*chosen, "--csv", "--latex")
    assert (both.code, both.err.splitlines()[0]) == (2, "--csv and --latex exclude each other")


def test_by_summarises_repetitions(run: Run, stored: Path) -> None:
    ran = run("trials", "--by", "config.rate")

    heading, *rows = table(ran.out)
    assert " ".join(heading) == "rate n failed loss ± sd 95 % interval median min max"
    assert sorted(row[:3] for row in rows) == [["0.1", "2", "1"], ["0.5", "1", "0"]]
    data = run(
        "trials", "--by", "config.rate", "--columns", "records.loss,seconds", "--json", "--sort", "n", "--top", "1"
    )
    assert [(row["field"], row["n"]) for row in data.data["summary"]] == [("records.loss", 1), ("seconds", 1)]
    wrong = run("trials", "--by", "config.rate", "--sort", "spread")
    assert (wrong.code, wrong.err.splitlines()[0]) == (2, "no column named 'spread'")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--where", "config.rate<<3"), "the condition 'config.rate<<3' does not parse"),
        (("--where", "config.rte<3"), "no field named 'config.rte'\n  Did you mean 'config.rate'"),
        (("--columns", "status,,uid"), "--columns 'status,,uid' lacks a field"),
        (("--where", "finished"), "the condition 'finished' does not parse"),
        (("--descending",), "--descending needs --sort"),
        (("nothing",), "there is no execution 'nothing'"),
    ],
)
def test_bad_input_is_one_message(run: Run, stored: Path, words: tuple[str, ...], message: str) -> None:
    ran = run("trials", *words)

    assert (ran.code in (2, 3), ran.out, message in ran.err) == (True, "", True), ran.err


def test_conditions_stand_in_place_of_ids(run: Run, stored: Path) -> None:
    shown = run("show", "error.type=ValueError")
    assert "ValueError: no good" in shown.out
    assert table(run("show", "status=finished").out)[0][0] == "execution"
    assert len(run("show", "status=finished", "--json").data["trials"]) == 3
    groups = run("compare", "status=finished", "--json").data["groups"]
    assert [(group["execution"], group["n"]) for group in groups] == [("OY1p1o", 1), ("8gWVkz", 2)]
    groups = run("compare", "8gWVkz", "status=failed", "--json").data["groups"]
    assert [(group["execution"], group["others"]) for group in groups] == [("8gWVkz", {"failed": 1})]
    report = run("report", "config.rate>0.3", "--to", "-")
    assert "OY1p1o" in report.out and "8gWVkz" not in report.out
    nothing = run("compare", "status=running")
    assert (nothing.code, nothing.err) == (3, f"no trial in {stored} satisfies status=running\n")


def test_list_takes_conditions_on_executions_and_on_their_trials(run: Run, stored: Path) -> None:
    def listed(*words: str) -> list[str]:
        return [entry["execution"] for entry in run("list", *words, "--json").data["executions"]]

    assert listed("--where", "status=failed") == ["8gWVkz"]
    assert listed("--where", "trials>2 and config.rate=0.1") == ["8gWVkz"]
    assert listed("--where", "records.loss>0.9") == ["OY1p1o"]
    assert listed("--where", "started>2020-01-01", "--sort", "trials", "--descending") == ["8gWVkz", "OY1p1o"]
    assert listed("--sort", "trials", "--limit", "1") == ["OY1p1o"]
    assert run("list", "--where", "status=done").err.startswith("no status named 'done'")
    assert run("list", "--where", "name=none").err == f"no executions in {stored} satisfy the conditions\n"
    assert run("list", "--sort", "stared").err == "no column named 'stared'\n  Did you mean 'started' or 'seed'?\n"


def test_times_are_local_or_utc(run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "XYZ-5")
        time.tzset()
        shown = [run("list").out, run("list", "--utc").out, run("show", "last").out]
    time.tzset()

    assert [" XYZ" in text for text in shown] == [True, False, True]
    assert " UTC " in shown[1]


def test_a_heading_is_bold_if_color_is_forced(run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[1m" not in run("list").out  # NO_COLOR counts more
    monkeypatch.delenv("NO_COLOR")
    assert run("list").out.startswith("\x1b[1mexecution")


def test_ids_are_completed_with_fields_and_values(run: Run, stored: Path) -> None:
    from machinable.cli.completion import values
    from machinable.cli.options import program

    context = program.commands["trials"].make_context("trials", ["--storage", str(stored)])

    assert values("fields", context, "config.ra") == ["config.rate"]
    assert values("fields", context, "status,records.l") == ["status,records.loss"]
    assert values("fields", context, "status=") == ["status=finished"]
    assert values("targets_and_fields", context, "OY") == ["OY1p1o"]
    assert values("figures", context, "n,m") == ["n,mean", "n,median", "n,min", "n,max"]


@pytest.mark.filterwarnings("default")
def test_a_storage_one_folder_deeper_is_named(run: Run, stored: Path) -> None:
    ran = run("trials", "--storage", str(stored.parent))

    assert (ran.code, ran.out) == (0, "")
    assert ran.err.splitlines()[0] == (
        f"warning: there is no execution in {stored.parent}. "
        f"Executions are stored in {stored}: name that directory as the storage."
    )


def test_several_storages_are_read_as_one(run: Run, stored: Path) -> None:
    run("execute", "train", "--seed", "2FnHcS", "--storage", "more", "--quiet")
    both = ("--storage", "out", "--storage", "more")

    assert {row["execution"] for row in run("trials", *both, "--json").data["trials"]} == {"8gWVkz", "OY1p1o", "2FnHcS"}
    assert run("list", *both, "--json").data["total"] == 3
    assert len(run("compare", "2Fn", "8gW", *both, "--json").data["groups"]) == 2
    assert f"--storage {stored} --seed 8gWVkz" in run("show", "8gW", *both).out  # what runs the failed trial again
    assert run("trials", "--storage", "out", "--storage", "nowhere").code == 3
    assert run("tag", "2Fn", "a=1", *both).code == 0  # what writes takes the last one


def test_figures_of_a_summary_are_chosen(run: Run, stored: Path) -> None:
    summary = ("trials", "--by", "config.rate", "--columns", "records.loss", "--sort", "config.rate")

    assert run(*summary, "--figures", "mean,n", "--csv").out.splitlines() == [
        "field,config.rate,mean,n",
        "records.loss,0.1,0.2,2",
        "records.loss,0.5,1.0,1",
    ]
    assert r"records.loss & 0.1 & 0.2 \\" in run(*summary, "--figures", "mean", "--latex").out
    assert table(run(*summary, "--figures", "n,max").out) == [
        ["rate", "n", "max"],
        ["0.1", "2", "0.2"],
        ["0.5", "1", "1"],
    ]
    wrong = run(*summary, "--figures", "maen")
    assert (wrong.code, wrong.err.splitlines()) == (2, ["no figure named 'maen'", "  Did you mean 'mean' or 'median'?"])
    alone = run("trials", "--figures", "n")
    assert (alone.code, alone.err.splitlines()[0]) == (2, "--figures needs --by")
