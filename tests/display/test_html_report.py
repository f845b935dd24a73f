"""The page about executions."""

from __future__ import annotations

import base64
import hashlib
import math
import re
import sys
from html.parser import HTMLParser
from typing import Any

import pytest

from machinable.display.html_report import report
from machinable.display.summary import Side
from machinable.errors import UnknownName
from machinable.results.execution import Execution
from machinable.storage.memory import MemoryFiles
from tests.results.test_contrast import level
from tests.results.worlds import failed, finished, lines, planned, status, stored, uid, write

VOID = {"meta", "line", "path", "circle", "br", "img"}


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
        if self.open and self.open[-1] in ("h2", "h3"):
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


def test_a_page_has_results_first_then_settings_failures_code_and_environment() -> None:
    found = page(execution())

    sections = ["Results", "Summary", "Curves", "Settings", "Trials", "Failures", "Code", "OY1p1o", "Environment"]
    assert list(found.sections)[1:] == sections
    assert "failed\n" in found.sections["Results"] and "trials 3: 2 finished, 1 failed" in found.sections["Results"]
    summary = found.sections["Summary"].split()
    assert summary[:10] == ["component", "rate", "n", "failed", "loss", "±", "sd", "loss", "95", "%"]
    assert "0.375 ± 0.18" in found.sections["Summary"]
    assert "rate\n0.1 | 0.5" in found.sections["Settings"]
    assert found.sections["Trials"].split()[:7] == ["uid", "component", "status", "rate", "model", "seconds", "loss"]
    assert "ValueError: no <data>" in found.sections["Failures"]
    assert f"{'4f1c' * 10} on main, with uncommitted changes" in found.sections["OY1p1o"]
    assert "+added <line>" in found.sections["OY1p1o"]
    assert "numpy\n1.26.4" in found.sections["OY1p1o"]


def test_each_column_of_numbers_is_a_chart_with_a_curve_and_a_band_for_each_group() -> None:
    found = page(execution())

    curves = found.sections["Curves"]
    assert (found.elements.count("polyline"), found.elements.count("polygon")) == (2, 2)  # failed ones are left out
    assert "validation: f1" in curves and "note" not in curves
    assert "rate=0.1" in curves and "rate=0.5" not in curves
    assert "Mean and 95 % interval of validation.f1 by row, n = 2. Left out: 1 failed." in curves


def test_whole_groups_are_drawn_if_there_are_many_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("machinable.display.html_report.MAX_DRAWN", 2)

    found = page(execution())

    assert found.elements.count("polyline") == 2
    assert "Only the first 1 of 2 groups are drawn." in found.sections["Curves"]


def repeated(**more: Any) -> Execution:
    """Two rates with three repetitions each."""
    plan = [planned(n, {"rate": n // 3}, flags=level(n % 3), **more) for n in range(6)]
    return stored(plan, [finished(n, loss=n + n**2 / 8) for n in range(6)])


def test_the_only_setting_that_differs_is_compared_with_its_first_value() -> None:
    found = page(repeated())

    contrasts = found.sections["Contrasts"]
    assert "Differences to config.rate = 0, with 95 % intervals" in contrasts
    assert "loss\n1\n3 pairs\n+4.875\n" in contrasts and "paired t" in contrasts
    chosen = Reader(report([Side(repeated())], "now", contrasts=[("config.rate", 1)]))
    assert "Differences to config.rate = 1" in chosen.sections["Contrasts"]
    with pytest.raises(UnknownName, match=r"no value of config\.rate named 7"):
        report([Side(repeated())], "now", contrasts=[("config.rate", 7)])


def test_without_scipy_the_page_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.stats", None)

    contrasts = page(repeated()).sections["Contrasts"]

    assert "this needs scipy. Install it: pip install 'machinable-engine[stats]'" in contrasts


def test_images_that_trials_wrote_are_in_the_page_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    found = execution()
    files = found.files
    artifacts = f"{found}/trials/{uid(0)}/artifacts"
    pictures = {
        "a.png": b"\x89PNG...",
        "evil.svg": b"<svg onload='alert(1)'/>",
        "fake.png": b"<script>",
        "big.gif": b"GIF8",
    }
    for name, content in (pictures | {"big.gif": b"GIF8" + b"x" * 100}).items():
        files.write(f"{artifacts}/{name}", content)
    monkeypatch.setattr("machinable.display.html_report.MAX_IMAGE", 50)

    text = report([Side(found)], "now")

    sources = re.findall(r'<img src="([^"]*)"', text)
    assert sources == [
        f"data:image/png;base64,{base64.b64encode(pictures['a.png']).decode()}",
        f"data:image/svg+xml;base64,{base64.b64encode(pictures['evil.svg']).decode()}",  # an image runs no script
    ]
    images = Reader(text).sections["Images"]
    assert f"a.png\n rate=0.1 {uid(0)}" in images
    assert "2 images not shown: too large, too many, or not of the kind of the name" in images


def test_a_page_of_what_runs_is_loaded_again() -> None:
    assert '<meta http-equiv="refresh" content="5">' in report([Side(repeated())], "now", refresh=5)
    assert "refresh" not in report([Side(repeated())], "now")


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

    assert not re.search(r"(?:src|href)\s*=\s*\"?(?!data:)|@import|url\(|https?://", text)


def test_an_execution_without_trials_has_a_page() -> None:
    found = page(stored([]))

    assert "none" in found.sections["Trials"]
    assert "Curves" not in found.sections
