from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest

from machinable.errors import BadName, MissingArtifact
from machinable.results.trial import Trial
from machinable.storage.memory import MemoryFiles
from machinable.ui.artifacts import MAX_ROWS, content_type, pieces, show_artifacts
from machinable.ui.html import render
from tests.results.worlds import finished, planned, started, stored, uid, write


def with_artifacts(**contents: bytes) -> Trial:
    files = MemoryFiles()
    execution = stored([planned(0)], [started(0), finished(0)], files=files)
    for name, content in contents.items():
        write(files, f"OY1p1o/trials/{uid(0)}/artifacts/{name}", content)
    return execution[uid(0)]


def array(value: Any) -> bytes:
    file = io.BytesIO()
    np.save(file, value)
    return file.getvalue()


def test_artifacts_are_shown_by_kind() -> None:
    trial = with_artifacts(
        **{
            "a.npy": array(np.arange(6.0).reshape(2, 3)),
            "b.csv": b'"x","y"\n1,"<b>"\n' + b"2,3\n" * 40,
            "c.html": b"<script>alert(1)</script>",
            "d/e.svg": b"<svg/>",
            "f.pkl": b"cos\nsystem\n(S'true'\ntR.",
            "g.npy": b"not an array",
            "h.txt": b"x" * 100_000,
        }
    )

    shown = {one.name: one for one in show_artifacts(trial)}

    assert shown["a.npy"].text == "float64, shape (2, 3), from 0 to 5: [[0.0, 1.0, 2.0], [3.0, 4.0, 5.0]]"
    table = shown["b.csv"]
    assert (table.kind, table.headings, table.rows[0]) == ("table", ("x", "y"), ("1", "<b>"))
    assert len(table.rows) == MAX_ROWS and table.note == f"the first {MAX_ROWS} rows"
    assert (shown["c.html"].kind, shown["c.html"].text) == ("text", "<script>alert(1)</script>")
    assert (shown["d/e.svg"].kind, shown["d/e.svg"].href) == ("image", f"/artifact/OY1p1o/{uid(0)}/d%2Fe.svg")
    assert (shown["f.pkl"].kind, shown["f.pkl"].note) == ("file", "")
    assert shown["g.npy"].kind == "file" and "g.npy" in shown["g.npy"].note
    assert len(shown["h.txt"].text) < 30_000
    html = render("artifacts", artifacts=list(shown.values()))
    assert "<script>" not in html and "<b>" not in html


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.png", "image/png"),
        ("a.b.SVG", "image/svg+xml"),
        ("a.html", "text/plain; charset=utf-8"),
        ("a.xml", "text/plain; charset=utf-8"),
        ("a.csv", "text/plain; charset=utf-8"),
        ("a.pdf", None),
        ("a.pkl", None),
        ("a.js", None),
        ("a", None),
    ],
)
def test_nothing_is_sent_as_a_page_or_a_script(name: str, kind: str | None) -> None:
    assert content_type(name) == kind


def test_only_artifacts_can_be_fetched() -> None:
    trial = with_artifacts(**{"a/b.txt": b"text"})

    size, content = pieces(trial, "a/b.txt")
    assert (size, b"".join(content)) == (4, b"text")
    for name in ("../status.json", "a/../../trial.json", "/etc/passwd", "a", "", "a/b.txt/", "b.txt", "..\\x", "a\0"):
        with pytest.raises((MissingArtifact, BadName)):
            pieces(trial, name)
