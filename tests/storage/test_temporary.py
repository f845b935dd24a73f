"""Temporary directories on this host, and what killed processes leave of them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from machinable.component.local_dir import LocalFolder
from machinable.storage import temporary as module
from machinable.storage.memory import MemoryFiles
from machinable.storage.temporary import SCRATCH, Scratch

KILLED = """
import os
import signal
from machinable.storage.temporary import Scratch

scratch = Scratch()
os.mkdir(os.path.join(scratch.path, "inside"))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    module._sweep.cache_clear()
    return tmp_path


def make_old(path: Path) -> None:
    os.utime(path, (0, 0))


def test_a_scratch_directory_exists_until_it_is_closed(temporary: Path) -> None:
    scratch = Scratch()
    (Path(scratch.path) / "deep").mkdir()
    assert [str(path) for path in temporary.iterdir()] == [scratch.path]

    scratch.close()
    scratch.close()

    assert list(temporary.iterdir()) == []


def test_scratch_directories_of_killed_processes_are_removed_and_nothing_else(temporary: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED], env={**os.environ, "TMPDIR": str(temporary)}, timeout=60)
    (left,) = temporary.iterdir()
    held = Scratch()
    (temporary / f"{SCRATCH}young").mkdir()
    (temporary / f"{SCRATCH}file").write_text("")
    (temporary / "others").mkdir()
    (temporary / f"{SCRATCH}link").symlink_to(temporary / "others")
    for path in temporary.iterdir():
        if path.name != f"{SCRATCH}young" and not path.is_symlink():
            make_old(path)

    Scratch().close()  # only the first one of a process looks
    assert left.exists()
    module._sweep.cache_clear()
    last = Scratch()

    assert done.returncode == -signal.SIGKILL
    assert not left.exists()
    assert {path.name for path in temporary.iterdir()} == {
        Path(held.path).name,
        Path(last.path).name,
        f"{SCRATCH}young",
        f"{SCRATCH}file",
        "others",
        f"{SCRATCH}link",
    }
    held.close()
    last.close()


def test_copies_of_remote_folders_are_removed_with_what_killed_processes_have_left(temporary: Path) -> None:
    files = MemoryFiles()
    files.write("folder/x", b"1")
    left = temporary / f"{SCRATCH}left"
    left.mkdir()
    make_old(left)
    folder = LocalFolder(files, "folder")
    assert [path.name for path in Path(folder.open()).iterdir()] == ["x"]
    assert [str(path) for path in temporary.iterdir()] == [folder.open()]
    folder.close()
    assert list(temporary.iterdir()) == []
