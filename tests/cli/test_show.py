"""`machinable list`, `machinable show` and `machinable report`."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest

import machinable
from tests.cli.conftest import Run


@pytest.fixture
def stored(run: Run, project: Path) -> str:
    """A storage with two executions; `8gWVkz` has a failure."""
    run("execute", "train", "fails=[1]", "--repeat", "2", "--seed", "42", "--storage", "out", "--quiet")
    run("execute", "train", "~fast", "--seed", "OY1p1o", "--storage", "out", "--name", "second", "--quiet")
    return str(project / "out")


def test_list_shows_the_newest_first(run: Run, stored: str) -> None:
    ran = run("list", "--storage", "out")

    assert (ran.code, ran.err) == (0, "")
    lines = [line.split() for line in ran.out.splitlines()]
    assert lines[0] == ["execution", "started", "status", "trials", "finished", "failed", "name", "components"]
    assert [(line[0], *line[4:]) for line in lines[1:]] == [
        ("OY1p1o", "finished", "1", "1", "0", "second", "train"),
        ("8gWVkz", "failed", "2", "1", "1", "train"),
    ]


def test_list_takes_a_limit_and_says_how_many_are_older(run: Run, stored: str) -> None:
    ran = run("list", "--storage", "out", "--limit", "1")

    assert len(ran.out.splitlines()) == 2
    assert ran.err == "and 1 older\n"
    data = run("list", "--storage", "out", "--limit", "1", "--json").data
    assert (data["storage"], data["total"]) == (stored, 2)
    assert [(e["execution"], e["status"], e["seed"]) for e in data["executions"]] == [
        ("OY1p1o", "finished", 22490017876)
    ]


def test_show_has_the_execution_its_trials_and_failures(run: Run, stored: str) -> None:
    ran = run("show", "8gWVkz", "--storage", "out")

    assert (ran.code, ran.err) == (0, "")
    head, trials, group, traceback, failures = ran.out.split("\n\n")
    facts = dict(line.split(None, 1) for line in head.splitlines())
    assert (facts["execution"], facts["status"], facts["seed"], facts["storage"]) == (
        "8gWVkz",
        "failed",
        "7957417341",
        stored,
    )
    assert trials.splitlines()[0].split() == ["uid", "component", "status", "REPEAT_NUMBER", "seconds", "loss", "note"]
    assert [line.split()[1:4] for line in trials.splitlines()[1:]] == [
        ["train", "finished", "0"],
        ["train", "failed", "1"],
    ]
    assert group == "component  n  failed  loss\ntrain      1       1   0.2"
    assert traceback.splitlines()[-1] == "ValueError: no good"
    assert failures.splitlines()[:2] == ["1 of 2 trials failed", "  1 trial: ValueError: no good, with REPEAT_NUMBER=1"]
    assert failures.splitlines()[3] == (
        "    again: machinable execute train 'fails=[1]' --repeat 2 --storage out --seed 8gWVkz"
    )


def test_show_one_trial_by_the_beginning_of_its_uid(run: Run, stored: str) -> None:
    uid = run("show", "OY1p1o", "--storage", "out", "--json").data["trials"][0]["uid"]

    ran = run("show", "OY1p1o", "--storage", "out", "--trial", uid[:6])

    assert ran.code == 0
    assert ran.out.splitlines()[0] == f"trial      {uid}  1 of 1 in OY1p1o"
    assert "\nconfig\n  data:\n    name: mnist\n    batch: 8\n  rate: 0.5\n" in ran.out
    assert "\nrecords default: 1 row\nloss  note\n   1  ok\n" in ran.out
    assert ran.out.endswith("\nfiles\n  model.json\n")
    assert run("show", f"OY1p1o/{uid[:6]}", "--storage", "out").out == ran.out
    data = run("show", "OY1p1o", "--storage", "out", "--trial", uid, "--json").data
    assert (data["files"], data["records"]["default"][0]["loss"]) == (["model.json"], 1.0)


def test_logs_and_outputs_are_shown_as_they_were_written(run: Run, stored: str) -> None:
    assert run("show", "OY1p1o", "--storage", "out", "--output").out == "training\n"
    assert run("show", "OY1p1o", "--storage", "out", "--log").out.endswith(" INFO rate 0.5\n")
    both = run("show", "8gWVkz", "--storage", "out", "--output").out.splitlines()
    assert [line.split()[0] for line in both] == ["==>", "training", "==>", "training"]
    assert json.loads(run("show", "OY1p1o", "--storage", "out", "--output", "--json").out)["trials"][0]["output"] == (
        "training\n"
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["show", "OY1p1p"], "Did you mean 'OY1p1o'?"),
        (["show", "OY1p1o", "--trial", "zzz"], "the execution OY1p1o has no trial 'zzz'"),
        (["show", "OY1p1o", "--trial", ""], "the execution OY1p1o has no trial ''"),
        (["show", "OY1p1o/zzz"], "the execution OY1p1o has no trial 'zzz'"),
        (["tail", "OY1p1o/zzz"], "the execution OY1p1o has no trial 'zzz'"),
        (["show", "../out"], "there is no execution '..'"),
    ],
)
def test_an_unknown_name_comes_with_similar_ones(run: Run, stored: str, words: list[str], message: str) -> None:
    ran = run(*words, "--storage", "out")

    assert (ran.code, ran.out) == (3, "")
    assert message in ran.err


@pytest.fixture
def reported(run: Run, project: Path) -> Path:
    """A project with the executions `OY1p1o` and `8gWVkz`."""
    run("execute", "train", "fails=[1]", "--repeat", "2", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    run("execute", "train", "~fast", "--seed", "42", "--storage", "out", "--quiet")
    return project


def test_a_page_is_written(run: Run, reported: Path) -> None:
    ran = run("report", "OY1p1o", "8gWVkz", "--storage", "out")

    assert (ran.code, ran.out, ran.err) == (0, "", "wrote report-OY1p1o.html\n")
    text = (reported / "report-OY1p1o.html").read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert "<h1>OY1p1o · 8gWVkz</h1>" in text
    assert "ValueError: no good" in text


def test_an_existing_page_is_replaced_only_with_yes(run: Run, reported: Path) -> None:
    (reported / "page.html").write_text("precious")

    refused = run("report", "OY1p1o", "--to", "page.html", "--storage", "out")

    assert (refused.code, refused.out) == (3, "")
    assert refused.err == ("page.html already exists\n  Replace it with --yes, or name another file: --to FILE.\n")
    assert (reported / "page.html").read_text() == "precious"
    assert run("report", "OY1p1o", "--to", "page.html", "--yes", "--storage", "out").code == 0
    assert (reported / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert run("report", "OY1p1o", "--to", "out", "--yes", "--storage", "out").code == 3


def test_a_watched_page_is_written_until_the_execution_has_ended(
    run: Run, reported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = ["running", "running", "finished"]
    monkeypatch.setattr("machinable.results.execution.Execution.status", property(lambda _: states[0]))
    pages: list[str] = []

    def sleep(seconds: float) -> None:
        pages.append((reported / "page.html").read_text())
        states.pop(0)

    monkeypatch.setattr("machinable.cli.show.time", SimpleNamespace(sleep=sleep))

    ran = run("report", "OY1p1o", "--to", "page.html", "--storage", "out", "--watch")

    assert (ran.code, ran.err) == (
        0,
        "wrote page.html, and again every 5 s while it runs\nwrote page.html\n",
    )
    assert ['<meta http-equiv="refresh" content="5">' in page for page in pages] == [True, True]
    assert "refresh" not in (reported / "page.html").read_text()
    assert [file.name for file in reported.glob("page*")] == ["page.html"]
    refused = run("report", "OY1p1o", "--to", "page.html", "--storage", "out", "--watch")
    assert (refused.code, refused.err.splitlines()[0]) == (3, "page.html already exists")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--contrast", "config.rate"], "--contrast 'config.rate' is not a baseline"),
        (["--contrast", "config.rate<3"], "--contrast 'config.rate<3' is not a baseline"),
        (["--contrast", "config.rat=0.1"], "no field named 'config.rat'"),
        (["--contrast", "config.rate=7"], "no value of config.rate named 7"),
        (["--watch", "--to", "-"], "--watch needs a file"),
    ],
)
def test_wrong_options_of_a_page_are_errors(options: list[str], message: str, run: Run, reported: Path) -> None:
    ran = run("report", "OY1p1o", "8gWVkz", "--storage", "out", *options)

    assert (ran.code, ran.out, ran.err.splitlines()[0]) == (2, "", message)
    assert list(reported.glob("*.html")) == []


def test_one_trial_can_be_written_to_stdout(run: Run, reported: Path) -> None:
    first, second = (trial["uid"] for trial in run("show", "OY1p1o", "--storage", "out", "--json").data["trials"])

    ran = run("report", f"OY1p1o/{first}", "--to", "-", "--storage", "out")

    assert ran.code == 0
    assert first in ran.out and second not in ran.out
    assert list(reported.glob("*.html")) == []


def test_json_has_the_data_of_the_page(run: Run, reported: Path) -> None:
    data = run("report", "OY1p1o", "8gWVkz", "--storage", "out", "--json").data

    assert [execution["execution"] for execution in data["executions"]] == ["OY1p1o", "8gWVkz"]
    assert [group["execution"] for group in data["groups"]] == ["OY1p1o", "8gWVkz"]
    assert list(reported.glob("*.html")) == []
    both = run("report", "OY1p1o", "--storage", "out", "--json", "--to", "-")
    assert (both.code, both.data["error"]["type"]) == (2, "InvalidValue")


def test_a_missing_folder_is_an_error(run: Run, reported: Path) -> None:
    ran = run("report", "OY1p1o", "--to", "nowhere/page.html", "--storage", "out")

    assert ran.code == 2
    assert ran.err == "cannot write nowhere/page.html: No such file or directory\n  Name another file: --to FILE.\n"


def shown_on_a_terminal(columns: int, *words: str) -> list[str]:
    """Return the lines that the program shows on a terminal of a width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    environment |= {"PYTHONPATH": str(Path(machinable.__file__).parents[1]), "TERM": "xterm", "NO_COLOR": "1"}
    try:
        subprocess.run([sys.executable, "-m", "machinable", *words], stdout=theirs, env=environment, check=True)
        return os.read(ours, 100_000).decode().splitlines()
    finally:
        os.close(theirs)
        os.close(ours)


def test_tables_fit_the_terminal_unless_they_are_asked_to_be_wide(stored: str) -> None:
    lines = shown_on_a_terminal(60, "list", "--storage", stored)

    assert lines[0].startswith("the same in all rows: ") and lines[0].endswith(" components=train")
    assert max(map(len, lines[1:])) <= 60
    assert {line.split()[0] for line in lines[1:] if line} == {"execution", "OY1p1o", "8gWVkz"}
    wide = shown_on_a_terminal(60, "list", "--storage", stored, "--wide")
    assert len(wide) == 3 and len(wide[0]) > 60


@pytest.mark.filterwarnings("always:9BROKE is left out")
def test_one_execution_that_cannot_be_read_does_not_hide_the_others(run: Run, stored: str) -> None:
    Path("out/9BROKE").mkdir()
    Path("out/9BROKE/execution.json").write_text("{")
    first = run("list", "--storage", "out")
    assert first.code == 0
    assert "OY1p1o" in first.out and "9BROKE" not in first.out
    assert first.err.splitlines() == [
        f"warning: 9BROKE is left out: {Path.cwd()}/out/9BROKE/execution.json cannot be read: Expecting property name "
        "enclosed in double quotes: line 1 column 2 (char 1)"
    ]
    assert run("clean", "--older-than", "9999d", "--storage", "out").code == 0


def test_an_empty_storage_names_the_directories_below_it_that_have_executions(run: Run, stored: str) -> None:
    assert run("list", "--storage", ".").err.splitlines() == [
        f"no executions in {Path.cwd()}",
        f"Executions are stored in {Path.cwd()}/out: name that directory as the storage.",
    ]
