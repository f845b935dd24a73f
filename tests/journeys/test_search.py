"""A search that is killed at any write, and killed again while it is resumed, does what an undisturbed one does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

KILLED = Path(__file__).parents[1] / "kits" / "killed_search.py"


def test_a_search_that_was_killed_goes_on_as_if_it_had_not_been(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, KILLED, tmp_path, "31", "5"], capture_output=True, text=True, timeout=120)

    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout) > 5
