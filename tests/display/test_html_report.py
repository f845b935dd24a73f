"""The page about executions."""

from __future__ import annotations

import base64
import hashlib
import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from machinable.display.html_report import report
from machinable.display.summary import Side
from machinable.results.execution import Execution
from machinable.storage.memory import MemoryFiles
from tests.results.worlds import failed, finished, lines, planned, status, stored, uid, write

VOID = {"meta", "line", "path", "circle", "br"}


class Reader(HTMLParser):
    """What a browser would show: text by heading, and the elements."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.open: list[str] = []
        self.sections: dict[str, str] = {}
        self._heading = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.elements.append(tag)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] == "h2":
            self._heading = data
        elif self.open and self.open[-1] not in ("style", "script"):
            self.sections[self._heading] = self.sections.get(self._heading, "") + data + "\n"


def page(*executions: Execution) -> Reader:
    text = report([Side(one) for one in executions], "2026-01-31 09:15:02 UTC")
    reader = Reader(text)
    assert reader.open == []
    return reader


def execution(name: str = "rates", component: str = "train") -> Execution:
    files = MemoryFiles()
    rates = (0.1, 0.1, 0.5)
    plan = [planned(i, {"rate": rate}, component=component, tags={"model": "a"}) for i, rate in enumerate(rates)]
    error = {"type": "ValueError", "message": "no <data>", "traceback": "Traceback…\nValueError: no <data>"}
    found = stored(
        plan,
        [finished(0, loss=0.5), finished(1, loss=0.25), failed(2)],
        files=files,
        name=name,
        packages={"numpy": "1.26.4"},
        code={"commit": "4f1c" * 10, "branch": "main", "dirty": True, "backup": None},
    )
    for index in range(3):
        folder = f"{found}/trials/{uid(index)}"
        write(
            files,
            f"{folder}/status.json",
            status("failed" if index == 2 else "finished", error=error if index == 2 else None),
        )
        rows = [{"loss": 1 / (i + 1), "note": "x", "_iteration": i, "_timestamp": 1.0} for i in range(3)]
        write(files, f"{folder}/records/default.jsonl", lines(rows))
        write(files, f"{folder}/records/validation.jsonl", lines([{"f1": 0.1}, {"f1": 0.2}]))
    write(files, f"{found}/code.diff", b"+added <line>\n")
    return found


def test_a_page_has_facts_summary_curves_trials_failures_and_environment() -> None:
    found = page(execution())

    assert list(found.sections)[1:] == ["OY1p1o", "Summary", "Curves", "Trials", "Failures", "Packages and code"]
    assert "failed\n" in found.sections["OY1p1o"]
    assert f"{'4f1c' * 10} on main, with uncommitted changes" in found.sections["OY1p1o"]
    summary = found.sections["Summary"].split()
    assert summary[:11] == [*["execution", "component", "rate", "n", "failed", "loss", "±", "sd", "loss", "95", "%"]]
    assert "0.375 ± 0.18" in found.sections["Summary"]
    assert found.sections["Trials"].split()[:7] == ["uid", "component", "status", "rate", "model", "seconds", "loss"]
    assert "ValueError: no <data>" in found.sections["Failures"]
    assert "numpy\n1.26.4" in found.sections["Packages and code"]
    assert "+added <line>" in found.sections["Packages and code"]


def test_each_column_of_numbers_is_a_chart_with_a_line_for_each_trial() -> None:
    found = page(execution())

    assert found.elements.count("polyline") == 6
    assert "validation: f1" in found.sections["Curves"]
    assert "note" not in found.sections["Curves"]
    assert "OY1p1o train rate=0.1" in found.sections["Curves"]


def test_some_trials_of_each_group_are_drawn_if_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machinable.display.html_report.MAX_CURVES", 2)

    found = page(execution())

    assert found.elements.count("polyline") == 4  # one trial of each rate, with two columns
    assert "Only the first 1 trial of each group is drawn." in found.sections["Curves"]


def test_names_cannot_run_scripts() -> None:
    evil = '"><script>alert(1)</script>'

    text = report([Side(execution(evil, evil))], evil)

    assert text.count("<script>") == 1
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    assert script is not None
    allowed = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{allowed}'" in text
    assert "default-src 'none'" in text
    Reader(text)


def test_names_of_columns_and_components_are_escaped_in_charts() -> None:
    evil = "</title><script>alert(1)</script>"
    files = MemoryFiles()
    found = stored([planned(0, {"rate": evil})], [finished(0)], files=files)
    folder = f"{found}/trials/{uid(0)}"
    write(files, f"{folder}/status.json", status("finished"))
    rows = [{evil: value, "one": math.nan if value else 1.0} for value in (0.0, 1.0)]
    write(files, f"{folder}/records/default.jsonl", lines(rows))

    text = report([Side(found)], "now")

    assert text.count("<script>") == 1
    assert Reader(text).elements.count("polyline") == 1
    assert Reader(text).elements.count("circle") == 1


def test_a_chart_without_finite_numbers_says_so() -> None:
    files = MemoryFiles()
    found = stored([planned(0, {"rate": 1})], [finished(0)], files=files)
    folder = f"{found}/trials/{uid(0)}"
    write(files, f"{folder}/status.json", status("finished"))
    write(files, f"{folder}/records/default.jsonl", lines([{"loss": math.nan}, {"loss": math.inf}]))

    assert "no finite numbers" in page(found).sections["Curves"]


def test_the_page_loads_nothing_else() -> None:
    text = report([Side(execution())], "now")

    assert not re.search(r"(?:src|href)\s*=|@import|url\(|https?://", text)


def test_an_execution_without_trials_has_a_page() -> None:
    found = page(stored([]))

    assert "none" in found.sections["Trials"]
    assert "Curves" not in found.sections
