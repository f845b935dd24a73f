"""Redirected output, down to file descriptors."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from machinable.engines.processes.output import output_to
from machinable.errors import LeaseLost
from machinable.storage.files import Files, Guard
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles


@pytest.fixture(params=["directory", "memory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return DirectoryFiles(tmp_path) if request.param == "directory" else MemoryFiles()


@pytest.mark.parametrize("ends_badly", [False, True])
def test_output_is_redirected_to_the_file_and_restored_after_any_error(
    ends_badly: bool, files: Files, capfd: pytest.CaptureFixture[str]
) -> None:
    try:
        with output_to(files, "trials/a/output.log"):
            os.write(1, b"out\n")
            os.write(2, b"\xff")
            if ends_badly:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        pass
    os.write(1, b"back")

    assert files.read("trials/a/output.log") == b"out\n\xff"
    assert capfd.readouterr() == ("back", "")


def test_without_output_there_is_no_file(files: Files) -> None:
    with output_to(files, "trials/a/output.log"):
        pass

    assert files.entries("trials/a") == []


def test_a_second_attempt_appends(files: Files) -> None:
    for text in (b"1\n", b"2\n"):
        with output_to(files, "output.log"):
            os.write(1, text)

    assert files.read("output.log") == b"1\n2\n"


def test_a_worker_that_has_lost_its_trial_writes_nothing_to_the_output_of_the_next_attempt(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    files.write("a/output.log", b"")
    guard = Guard()
    files.guard("a", guard)
    guard.lost = LeaseLost("lost")
    before = os.listdir("/proc/self/fd")

    with pytest.raises(LeaseLost), output_to(files, "a/output.log"):
        os.write(1, b"late")

    files.unguard("a", guard)
    assert (files.read("a/output.log"), os.listdir("/proc/self/fd")) == (b"", before)


def test_no_descriptor_is_left_open(files: Files) -> None:
    before = os.listdir("/proc/self/fd")
    with output_to(files, "output.log"):
        os.write(1, b"x")

    assert os.listdir("/proc/self/fd") == before
