"""A search that is killed at any write, and killed again while it is resumed, does what an undisturbed one does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KILLED = Path(__file__).parents[1] / "kits" / "killed_search.py"


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    assert _kills(tmp_path, "31", "5") > 5


def test_results_of_two_workers_are_told_once_in_the_stored_order_although_the_search_is_killed(tmp_path: Path) -> None:
    assert _kills(tmp_path, "random", "3", "1") > 1


def _kills(*arguments: str | Path) -> int:
    done = subprocess.run([sys.executable, KILLED, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-3000:]
    return int(done.stdout)
