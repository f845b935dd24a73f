"""How many iterations a sample of a search has run is stored, and what is told how many runs so many."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from machinable.component.base import Component
from machinable.plan.spec import TrialSpec
from machinable.storage.files import MemoryFiles
from machinable.trial.lifecycle import Order
from tests.component.worlds import World, spec

SAMPLE = {"of": "BkqOgXQFFYBo", "number": 3, "values": {"lr": 0.5}}


def sample(**more: Any) -> TrialSpec:
    whole = spec()
    return replace(whole, flags={**whole.flags, "TUNING": True}, sample=SAMPLE, **more)


class Five(Component):
    """Ends by itself after five iterations, or fails on its way."""

    fails_at: int | None = None

    def on_before_execute_iteration(self, iteration: int) -> None:
        if iteration == self.fails_at:
            raise ValueError("no luck")

    def on_execute_iteration(self, iteration: int) -> Any:
        self.record["i"] = iteration
        return StopIteration if iteration == 4 else None

    def on_save(self, path: str, timestep: int) -> None:
        Path(path, "state").touch()

    def on_after_execute(self) -> None:
        self.store.write("flags.json", [self.flags.TUNING, self.flags.get("ITERATION")])


class FailsFirst(Five):
    fails_at = 0


class FailsThird(Five):
    fails_at = 2


@pytest.mark.parametrize(
    ("code", "told", "ran"),
    [
        (Five, None, 0),  # who searches leads it, and nobody does
        (Five, 0, 0),
        (Five, 2, 2),
        (Five, 5, 5),
        (Five, 9, 5),
        (FailsFirst, 2, 1),  # the one in which it failed counts: it fails again
        (FailsThird, 2, 2),
        (FailsThird, 9, 3),
    ],
)
def test_a_sample_runs_as_many_as_it_is_told(code: type[Five], told: int | None, ran: int) -> None:
    world = World(code, sample(iterations=told))

    rows = ran if world.ended.error is None else ran - 1
    assert [row["i"] for row in world.rows()] == list(range(rows))
    assert world.json("status.json")["iterations"] == ran


def test_other_trials_run_without_and_say_nothing_about_it() -> None:
    world = World(Five)

    assert len(world.rows()) == 5
    assert "iterations" not in world.json("status.json")


def test_what_runs_so_many_is_still_a_sample() -> None:
    world = World(Five, sample(iterations=2))

    assert world.json("artifacts/flags.json") == [True, 1]


class Pauses:
    """Has a checkpoint saved after some iterations, and interrupts the sample there."""

    def __init__(self, iterations: int, directory: Path) -> None:
        self.left = iterations
        self.directory = directory

    def done(self, row: Any, is_last: bool) -> Order:
        self.left -= 1
        return Order("go") if self.left else Order("save", str(self.directory))

    def saved(self, is_saved: bool) -> Order:
        raise KeyboardInterrupt


def paused(trial: TrialSpec, iterations: int, directory: Path) -> str:
    """Runs so many iterations, and gives where the checkpoint is."""
    directory.mkdir()
    world = World(Five, trial, steps=Pauses(iterations, directory))
    assert world.interrupt is not None
    assert world.json("status.json")["iterations"] is None  # it has not ended
    return str(directory)


OTHER = replace(sample(), sample={**SAMPLE, "number": 4})
VALUES = replace(sample(), sample={**SAMPLE, "values": {"lr": 0.6}})


def test_those_of_former_attempts_count(tmp_path: Path) -> None:
    aside = paused(sample(), 2, tmp_path / "a")

    led = World(Five, sample(resume_from=aside, iterations=2), MemoryFiles())
    unled = World(Five, sample(resume_from=aside), MemoryFiles())

    assert [led.json("status.json")["iterations"], unled.json("status.json")["iterations"]] == [4, 2]


@pytest.mark.parametrize(("first", "then"), [(OTHER, sample()), (VALUES, sample()), (sample(), VALUES)])
def test_no_number_makes_what_has_taken_over_something(first: TrialSpec, then: TrialSpec, tmp_path: Path) -> None:
    aside = paused(first, 2, tmp_path / "a")
    world = World(Five, replace(then, resume_from=aside, iterations=1), MemoryFiles())
    assert world.json("status.json")["iterations"] is None

    again = paused(replace(then, resume_from=aside), 1, tmp_path / "b")
    for one in (first, then):
        world = World(Five, replace(one, resume_from=again, iterations=1), MemoryFiles())
        assert world.json("status.json")["iterations"] is None
