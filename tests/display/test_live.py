"""Progress on a terminal."""

from __future__ import annotations

import io
import sys

import pytest

from machinable.events import ExecutionFinished, ExecutionStarted, TrialFinished, TrialStarted

TIME = "2026-01-31T09:15:02.120000+00:00"


def test_the_live_display_is_removed_at_the_end() -> None:
    pytest.importorskip("rich")
    from machinable.display.live import LiveProgress

    stream = io.StringIO()
    with LiveProgress(stream) as live:
        live.on_event(ExecutionStarted("OY1p1o", TIME, 1, "/s", 1))
        live.on_event(TrialStarted("OY1p1o", TIME, "a", 0, "train", 1))
        live.on_event(TrialFinished("OY1p1o", TIME, "a", 0, "train", 1, 0.25, {"loss": 0.5}))
        live.on_event(ExecutionFinished("OY1p1o", TIME, "finished", 1, 0, 0.25))

    lines = [line.strip() for line in stream.getvalue().splitlines() if line.strip()]
    assert (lines[0], lines[-1]) == ("OY1p1o: 1 trial, stored in /s", "OY1p1o: finished after 250 ms; 1 finished")


def test_text_is_printed_above_the_display_and_progress_bars_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("rich")
    from machinable.display.live import LiveProgress

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    out, err, terminal = Terminal(), Terminal(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with LiveProgress(terminal) as live:
        live.on_event(ExecutionStarted("OY1p1o", TIME, 1, "/s", 1))
        for text in ("\r10%", "\r20%", "\r30%\n", "40%\r", "\n", "ques", "tion? "):
            sys.stderr.write(text)
            sys.stderr.flush()
        print("[red] printed\nsecond", end=" ")
        sys.stderr.write("\rlast")
        live.on_event(ExecutionFinished("OY1p1o", TIME, "finished", 1, 0, 0.25))
        print("afterwards")

    lines = [line.strip() for line in terminal.getvalue().splitlines() if line.strip()]
    assert lines[1:-1] == ["30%", "40%", "ques", "tion?", "[red] printed", "last", "second"]
    assert (out.getvalue(), err.getvalue()) == ("afterwards\n", "")
