"""Progress: what events say, as lines."""

from __future__ import annotations

from typing import Any

from machinable.display.progress import PlainProgress, Progress
from machinable.events import (
    Event,
    ExecutionFinished,
    ExecutionStarted,
    TrialBlocked,
    TrialFailed,
    TrialFinished,
    TrialInterrupted,
    TrialReused,
    TrialSkipped,
    TrialStarted,
)

TIME = "2026-01-31T09:15:02.120000+00:00"


def trial(kind: Any, uid: str, *facts: Any) -> Event:
    event: Event = kind("OY1p1o", TIME, uid, 0, "train", 1, *facts)
    return event


def began(total: int = 3, storage: str = "/s") -> Event:
    return ExecutionStarted("OY1p1o", TIME, 1, storage, total)


class Clock:
    """A clock that is moved by hand."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_progress_counts_ended_trials_and_estimates_the_time_left() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.on_event(began(4))
    assert progress.summary() == "0 of 4 done"
    progress.on_event(trial(TrialStarted, "a"))
    progress.on_event(trial(TrialStarted, "b"))
    clock.now += 30
    progress.on_event(trial(TrialFinished, "a", 30.0, {"loss": 1.0}))

    assert progress.summary() == "1 of 4 done, 1 running, 1 min 30 s left"
    assert progress.now_running() == ["train b"]

    progress.on_event(trial(TrialFailed, "b", 30.0, {"type": "ValueError", "message": "no"}, False))
    progress.on_event(ExecutionFinished("OY1p1o", TIME, "failed", 1, 1, 30.0))

    assert progress.summary() == "2 of 4 done, 1 failed"
    assert progress.ending() == "OY1p1o: failed after 30.0 s; 1 finished, 1 failed"


def test_a_retried_trial_has_not_ended() -> None:
    progress = Progress(Clock())
    progress.on_event(began(1))
    progress.on_event(trial(TrialStarted, "a"))
    progress.on_event(trial(TrialFailed, "a", 1.0, {"type": "E", "message": ""}, True))

    assert (progress.done, progress.running) == (0, {})


def test_an_interrupted_trial_is_not_done() -> None:
    progress = Progress(Clock())
    progress.on_event(began(3))
    progress.on_event(trial(TrialFinished, "a", 0.25, None))
    progress.on_event(trial(TrialInterrupted, "b", "KeyboardInterrupt"))

    assert progress.summary() == "1 of 3 done, 1 interrupted, 0.0 ms left"
    progress.on_event(ExecutionFinished("OY1p1o", TIME, "interrupted", 1, 0, 1.0))
    assert progress.summary() == "1 of 3 done, 1 interrupted"
    assert progress.ending() == "OY1p1o: interrupted after 1.00 s; 1 finished, 1 interrupted"


def test_trials_that_did_not_run_are_done_and_do_not_count_for_the_time_left() -> None:
    clock = Clock()
    progress = Progress(clock)
    progress.on_event(began(6))
    clock.now += 10
    progress.on_event(trial(TrialReused, "a", "OY1p1o/a"))
    assert progress.summary() == "1 of 6 done, 1 reused"
    progress.on_event(trial(TrialFailed, "b", 10.0, {"type": "ValueError", "message": "no"}, False))
    progress.on_event(trial(TrialBlocked, "c", "net b"))
    progress.on_event(trial(TrialSkipped, "d", "OY1p1o on node7"))

    assert progress.summary() == "4 of 6 done, 1 reused, 1 failed, 1 blocked, 1 skipped, 20.0 s left"


def test_a_resumed_execution_says_how_many_trials_had_finished() -> None:
    lines: list[str] = []
    plain = PlainProgress(lines.append, Clock())
    plain.on_event(ExecutionStarted("OY1p1o", TIME, 1, "/s", 5, 3))
    plain.on_event(trial(TrialFinished, "a", 0.25, {"loss": 1.0}))
    plain.on_event(trial(TrialReused, "b", "Bo8Tk1/b"))
    plain.on_event(ExecutionFinished("OY1p1o", TIME, "finished", 5, 0, 2.0))

    assert lines == [
        "OY1p1o: 5 trials (3 already finished), stored in /s",
        "4/5 finished train a 250 ms loss=1",
        "5/5 reused train b from Bo8Tk1/b",
        "OY1p1o: finished after 2.00 s; 3 already finished, 1 finished, 1 reused",
    ]


def test_each_trial_has_a_line() -> None:
    lines: list[str] = []
    plain = PlainProgress(lines.append, Clock())
    plain.on_event(began(3, "mem://"))
    plain.on_event(trial(TrialStarted, "a"))
    plain.on_event(trial(TrialFinished, "a", 0.25, {"loss": 0.123456789, "_timestamp": 1.0}))
    plain.on_event(trial(TrialFailed, "b", 1.5, {"type": "ValueError", "message": "no\ngood"}, False))
    plain.on_event(trial(TrialInterrupted, "c", "KeyboardInterrupt"))
    plain.on_event(ExecutionFinished("OY1p1o", TIME, "interrupted", 1, 1, 61.0))

    assert lines == [
        "OY1p1o: 3 trials, in memory",
        "1/3 finished train a 250 ms loss=0.123457",
        "2/3 failed train b 1.50 s ValueError: no",
        "2/3 interrupted train c because of KeyboardInterrupt",
        "OY1p1o: interrupted after 1 min 1 s; 1 finished, 1 failed, 1 interrupted",
    ]


def test_many_trials_have_one_line_per_second() -> None:
    clock = Clock()
    lines: list[str] = []
    plain = PlainProgress(lines.append, clock)
    plain.on_event(began(10_000))
    for number in range(10_000):
        clock.now += 0.001
        plain.on_event(trial(TrialFinished, str(number), 0.001, None))

    assert len(lines) == 1 + 20 + 9 + 1
    assert lines[-1].startswith("10000/10000 ")


def test_completed_steps_are_shown() -> None:
    progress = Progress()
    progress.on_event(ExecutionStarted("OY1p1o", "", 1, "mem://", 1))
    progress.on_event(TrialStarted("OY1p1o", "", "b", 0, "train", 1))
    progress.on_progress("b", 3, 10)
    assert (progress.now_running(), progress.summary()) == (["train b 3/10"], "0 of 1 done, 1 running 3/10")
    progress.on_progress("b", 4, None)
    assert progress.now_running() == ["train b step 4"]
    progress.on_event(TrialFinished("OY1p1o", "", "b", 0, "train", 1, 0.1, None))
    progress.on_progress("b", 5, 10)
    assert (progress.now_running(), progress.steps) == ([], {})


def test_the_last_row_of_a_running_trial_is_shown_until_it_ends() -> None:
    progress = Progress()
    progress.on_event(ExecutionStarted("OY1p1o", "", 1, "mem://", 1))
    progress.on_event(TrialStarted("OY1p1o", "", "b", 0, "train", 1))
    progress.on_record("b", {"loss": 0.5, "_timestamp": 1.0})
    assert progress.now_running() == ["train b loss=0.5"]
    progress.on_progress("b", 3, 10)
    progress.on_record("b", {"loss": 0.25, "note": "ok", "_timestamp": 2.0})
    assert progress.now_running() == ["train b 3/10 loss=0.25 note=ok"]
    progress.on_event(TrialFinished("OY1p1o", "", "b", 0, "train", 1, 0.1, None))
    progress.on_record("b", {"loss": 0.1})
    assert (progress.now_running(), progress.records) == ([], {})


def test_advice_is_written_once_in_a_long_execution_and_notices_at_once() -> None:
    now, lines = [0.0], []
    plain = PlainProgress(lines.append, lambda: now[0])
    now[0] = 1.0
    plain.on_event(ExecutionStarted("OY1p1o", "", 1, "/s", 3))
    plain.on_advice("use more cores")
    plain.on_notice("another execution computes it")
    short = list(lines)
    now[0] = 20.0
    for uid in ("a", "b"):
        plain.on_event(TrialFinished("OY1p1o", "", uid, 0, "train", 1, 1.0, None))

    assert short == ["OY1p1o: 3 trials, stored in /s", "another execution computes it"]
    assert [line.partition(" ")[0] for line in lines[2:]] == ["use", "1/3", "2/3"]
