"""Only files of a trial's directory become artifacts."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from machinable.component.base import Component
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from tests.component.worlds import World, messages


@pytest.fixture(params=["memory", "directory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return MemoryFiles() if request.param == "memory" else DirectoryFiles(tmp_path / "storage")


def bind(path: str) -> None:
    before = os.getcwd()
    os.chdir(os.path.dirname(path))  # the path of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind(os.path.basename(path))
    finally:
        os.chdir(before)


def device(path: str) -> None:
    try:
        os.mknod(path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("devices can only be made by root")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (os.mkfifo, "a pipe"),
        (bind, "a socket"),
        (device, "a device"),
        (lambda path: os.symlink("/dev/zero", path), "a link that leads out, or nowhere"),
        (lambda path: os.symlink(__file__, path), "a link that leads out, or nowhere"),
        (lambda path: os.symlink("nowhere", path), "a link that leads out, or nowhere"),
        (lambda path: os.symlink("odd", path), "a link that leads out, or nowhere"),
        (lambda path: os.symlink("/", path), "a link to a directory"),
        (lambda path: os.symlink("../deep", path), "a link to a directory"),
    ],
)
def test_what_is_not_a_file_is_left_out_with_a_line_in_the_log(
    files: Files, make: Callable[[str], object], kind: str
) -> None:
    class Makes(Component):
        def on_execute(self) -> None:
            os.mkdir(os.path.join(self.directory, "deep"))
            make(os.path.join(self.directory, "deep", "odd"))
            Path(self.directory, "good.txt").write_text("good")

    world = World(Makes, files=files)

    assert (world.ended.error, list(world.ended.artifacts)) == (None, ["good.txt"])
    assert messages(world.text("log.txt")) == [f"WARNING deep/odd is not stored: it is {kind}"]


def test_a_link_to_a_file_of_the_directory_is_an_artifact(files: Files) -> None:
    class Links(Component):
        def on_execute(self) -> None:
            Path(self.directory, "1.txt").write_text("last")
            os.symlink("1.txt", os.path.join(self.directory, "last.txt"))

    world = World(Links, files=files)

    assert (sorted(world.ended.artifacts), world.text("artifacts/last.txt")) == (["1.txt", "last.txt"], "last")
    assert "log.txt" not in world.names()
