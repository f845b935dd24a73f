"""`machinable plot`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.results.test_chart import with_rows
from tests.results.test_records import NotAvailable

ROWS = [{"loss": 4.0 - i, "accuracy": 0.25 * i, "note": "ok", "_iteration": i} for i in range(3)]


@pytest.fixture
def stored(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage with four trials that have rows."""
    trials = with_rows(*(({"rate": rate}, ROWS) for rate in (0.1, 0.1, 0.5, 0.5)))
    files = trials[0].execution.files
    for found in files.walk(""):
        target = project / "out" / found.path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files.read(found.path))
    monkeypatch.setenv("MACHINABLE_STORAGE", "out")
    return project


def test_a_figure_is_written_and_replaced(run: Run, stored: Path) -> None:
    command = ("plot", "last", "--metric", "records.loss,records.accuracy", "--by", "config.rate")

    ran = run(*command, "-o", "figure.pdf")

    assert (ran.code, ran.out) == (0, "")
    assert ran.err == (
        "wrote figure.pdf\n"
        "Mean and 95 % interval of loss by iteration, n = 2.\n"
        "Mean and 95 % interval of accuracy by iteration, n = 2.\n"
    )
    first = (stored / "figure.pdf").read_bytes()
    assert first.startswith(b"%PDF")
    assert run(*command, "-o", "figure.pdf", "--log", "y").code == 0  # figures are drawn again and again
    assert (stored / "figure.pdf").read_bytes() != first
    (stored / "link.svg").symlink_to("figure.svg")
    (stored / "figure.svg").touch()
    assert run(*command, "-o", "link.svg", "--size", "7", "3").code == 0
    assert (stored / "figure.svg").read_bytes().startswith(b"<?xml") and (stored / "link.svg").is_symlink()
    assert sorted(os.listdir(stored)) == [
        "base.py",
        "figure.pdf",
        "figure.svg",
        "link.svg",
        "machinable.yaml",
        "out",
        "train.py",
    ]


def test_its_data_is_json(run: Run, stored: Path) -> None:
    ran = run("plot", "config.rate<0.3", "--metric", "records.loss", "--json", "--band", "sd")

    (chart,) = ran.data["charts"]
    assert (chart["kind"], chart["x"], chart["band"]) == ("curves", "_iteration", "sd")
    assert chart["series"][0]["points"][0] == {"x": 0.0, "y": 4.0, "low": 4.0, "high": 4.0, "n": 2, "trial": None}
    assert len(chart["series"][0]["trials"]) == 2
    assert run("plot", "--metric", "records.note", "--json").data["error"]["message"].startswith("records.note is 'ok'")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--metric records.loss", "no file is given\n  Name one: -o figure.pdf, -o figure.svg or -o figure.png.\n"),
        (
            "--metric records.loss -o figure.jpeg",
            "'figure.jpeg' does not end in the format of a figure\n  The formats are .pdf, .png, .svg: -o ",
        ),
        ("-o a.pdf", "no metric is given\n  Name one or several: --metric records.loss,records.accuracy.\n"),
        ("--metric records.los -o a.pdf", "no field named 'records.los'\n  Did you mean 'records.loss'"),
        ("--metric records.loss, -o a.pdf", "--metric 'records.loss,' lacks a field"),
        ("--metric records.loss --x rate -o a.pdf", "no field named 'rate'\n  Did you mean 'config.rate'?"),
        ("--metric records.loss --smooth 2 -o a.pdf", "smooth is 2.0, and it is a number from 0 up to 1"),
        ("--metric records.loss --size 0 1 -o a.pdf", "(0.0, 1.0) is not the size of a figure"),
        ("status=failed --metric records.loss -o a.pdf", "there is no trial in "),
        ("--where config.rate>>1 --metric records.loss -o a.pdf", "the condition 'config.rate>>1' does not parse"),
        ("--metric records.loss -o missing/a.pdf", "cannot write missing/a.pdf: No such file or directory"),
        ("--metric records.loss -o train.pdf", "train.pdf exists and is no PDF file, so it is not replaced"),
        ("--metric records.loss -o out.png", "out.png is a directory\n  Name another file: -o FILE.\n"),
    ],
)
def test_bad_input_is_one_message_and_writes_nothing(words: str, message: str, run: Run, stored: Path) -> None:
    (stored / "train.pdf").write_text("important")
    (stored / "out.png").mkdir()
    before = sorted(os.listdir(stored))

    ran = run("plot", *words.split(" "))

    assert (ran.code > 0, ran.out) == (True, "")
    assert ran.err.startswith(message)
    assert sorted(os.listdir(stored)) == before
    assert (stored / "train.pdf").read_text() == "important"


def test_a_missing_library_is_one_message(run: Run, stored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.delitem(sys.modules, "machinable.results.figure", raising=False)

    ran = run("plot", "--metric", "records.loss", "-o", "a.png")

    assert (ran.code, ran.err) == (
        NotAvailable.exit_code,
        "a figure needs matplotlib\n  Install it: pip install 'machinable-engine[plot]'\n",
    )
