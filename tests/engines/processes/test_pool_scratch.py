"""Temporary directories: there as long as their process, and no longer."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from machinable.engines.processes.pool import PREFIX, Scratch

pytest.importorskip("fcntl")


KILLED = """
import os
import signal
from machinable.engines.processes.pool import Scratch

scratch = Scratch()
os.mkdir(os.path.join(scratch.path, "inside"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def made_long_ago(path: Path) -> None:
    os.utime(path, (0, 0))


def test_it_is_there_until_it_is_closed(temporary: Path) -> None:
    scratch = Scratch()
    (Path(scratch.path) / "deep").mkdir()
    assert [str(path) for path in temporary.iterdir()] == [scratch.path]

    scratch.close()
    scratch.close()

    assert list(temporary.iterdir()) == []


def test_what_a_killed_process_has_left_is_removed_and_nothing_else(temporary: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(temporary)}, timeout=60)
    (left,) = temporary.iterdir()
    held = Scratch()
    (temporary / f"{PREFIX}young").mkdir()
    (temporary / f"{PREFIX}file").write_text("")
    (temporary / "others").mkdir()
    (temporary / f"{PREFIX}link").symlink_to(temporary / "others")
    for path in temporary.iterdir():
        if path.name != f"{PREFIX}young" and not path.is_symlink():
            made_long_ago(path)

    last = Scratch()

    assert done.returncode == -signal.SIGKILL
    assert not left.exists()
    assert {path.name for path in temporary.iterdir()} == {
        Path(held.path).name,
        Path(last.path).name,
        f"{PREFIX}young",
        f"{PREFIX}file",
        "others",
        f"{PREFIX}link",
    }
    held.close()
    last.close()
