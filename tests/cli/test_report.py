"""`machinable report`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Run


@pytest.fixture
def stored(run: Run, project: Path) -> Path:
    """A project with the executions `OY1p1o` and `8gWVkz`."""
    run("execute", "train", "fails=[1]", "--repeat", "2", "--seed", "OY1p1o", "--storage", "out", "--quiet")
    run("execute", "train", "~fast", "--seed", "42", "--storage", "out", "--quiet")
    return project


def test_a_page_is_written(run: Run, stored: Path) -> None:
    ran = run("report", "OY1p1o", "8gWVkz", "--storage", "out")

    assert (ran.code, ran.out, ran.err) == (0, "", "wrote report-OY1p1o.html\n")
    text = (stored / "report-OY1p1o.html").read_text()
    assert text.startswith("<!DOCTYPE html>")
    assert "<h1>OY1p1o · 8gWVkz</h1>" in text
    assert "ValueError: no good" in text


def test_what_is_there_is_replaced_only_if_that_is_said(run: Run, stored: Path) -> None:
    (stored / "page.html").write_text("precious")

    refused = run("report", "OY1p1o", "--to", "page.html", "--storage", "out")

    assert (refused.code, refused.out) == (3, "")
    assert refused.err == ("page.html exists already\n  Replace it with --yes, or name another file: --to FILE.\n")
    assert (stored / "page.html").read_text() == "precious"
    assert run("report", "OY1p1o", "--to", "page.html", "--yes", "--storage", "out").code == 0
    assert (stored / "page.html").read_text().startswith("<!DOCTYPE html>")
    assert run("report", "OY1p1o", "--to", "out", "--yes", "--storage", "out").code == 3


def test_one_trial_alone_and_to_stdout(run: Run, stored: Path) -> None:
    first, second = (trial["uid"] for trial in run("show", "OY1p1o", "--storage", "out", "--json").data["trials"])

    ran = run("report", f"OY1p1o/{first}", "--to", "-", "--storage", "out")

    assert ran.code == 0
    assert first in ran.out and second not in ran.out
    assert list(stored.glob("*.html")) == []


def test_the_same_as_data(run: Run, stored: Path) -> None:
    data = run("report", "OY1p1o", "8gWVkz", "--storage", "out", "--json").data

    assert [execution["execution"] for execution in data["executions"]] == ["OY1p1o", "8gWVkz"]
    assert [group["execution"] for group in data["groups"]] == ["OY1p1o", "8gWVkz"]
    assert list(stored.glob("*.html")) == []
    both = run("report", "OY1p1o", "--storage", "out", "--json", "--to", "-")
    assert (both.code, both.data["error"]["type"]) == (2, "InvalidValue")


def test_a_folder_that_is_not_there_is_told(run: Run, stored: Path) -> None:
    ran = run("report", "OY1p1o", "--to", "nowhere/page.html", "--storage", "out")

    assert ran.code == 2
    assert (
        ran.err == "nowhere/page.html cannot be written: No such file or directory\n  Name another file: --to FILE.\n"
    )
