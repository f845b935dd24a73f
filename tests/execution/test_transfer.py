"""Directories for workers that do not reach the storage: what a trial requires, with all that it may read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.engines.transfer import unpack_folder
from machinable.execution.transfer import StorageTransfer, folders_behind
from machinable.serialization import dumps
from machinable.storage.memory import MemoryFiles

World = Callable[..., Path]


@pytest.fixture
def files() -> MemoryFiles:
    """The results of a few trials: d needs b, and an artifact of c; both need a."""
    files = MemoryFiles()
    requires = {
        "X/trials/a": {},
        "X/trials/b": {"one": ("X/a", None)},
        "X/trials/c": {"one": ("X/a", None)},
        "Y/trials/d": {"left": ("X/b", None), "right": ("X/c", "table.csv"), "not yet": (None, None)},
    }
    for folder, needed in requires.items():
        described: dict[str, Any] = {
            name: {"component": "x", "uid": "u", "identity": "i", "artifact": artifact, "place": place}
            for name, (place, artifact) in needed.items()
        }
        files.write(f"{folder}/trial.json", dumps({"requires": described}).encode())
        files.write(f"{folder}/artifacts/table.csv", folder.encode())
    return files


@pytest.mark.parametrize(
    ("path", "folders"),
    [
        ("X/trials/a", ["X/trials/a"]),
        ("X/trials/b", ["X/trials/b", "X/trials/a"]),
        ("X/trials/c/artifacts/table.csv", ["X/trials/c"]),
        ("Y/trials/d", ["Y/trials/d", "X/trials/b", "X/trials/c", "X/trials/a"]),
        ("Y/trials/d/attempts/1", ["Y/trials/d/attempts/1"]),
        ("Y/trials/gone", ["Y/trials/gone"]),
    ],
)
def test_a_directory_is_packed_with_all_that_it_may_read(path: str, folders: list[str], files: MemoryFiles) -> None:
    assert folders_behind(files, path) == folders


def test_a_transfer_packs_them_into_one_archive(files: MemoryFiles) -> None:
    there = MemoryFiles()

    unpack_folder(there, StorageTransfer(files).fetch("X/trials/b"))

    for folder in ("X/trials/a", "X/trials/b"):
        assert there.read(f"{folder}/artifacts/table.csv") == folder.encode()
    assert not there.exists("X/trials/c")


CHAIN = {
    "first": """
from machinable import Component


class First(Component):
    def on_execute(self):
        self.store.write("numbers.json", [1, 2, 3])
""",
    "second": """
from machinable import Component


class Second(Component):
    def on_execute(self):
        self.record["total"] = sum(self.requires.first.read())
        self.record.save()

    def on_load(self, into=None):
        self.numbers = self.requires.first.read()
""",
    "third": """
from machinable import Component


class Third(Component):
    def on_execute(self):
        second = self.requires.second
        rows = [row["total"] for row in second.records]
        return second.component.numbers, rows, second.trial.status, second.trial.last_row["total"], second.trial.uid
""",
}
CHAINED = """
components:
  - first:
  - second: {_requires_: {first: first}}
  - third: {_requires_: {second: second}}
"""


@pytest.mark.parametrize("engine", ["local", "processes:1"])
@pytest.mark.parametrize("kind", ["memory", "directory"])
def test_a_requirement_can_be_read_on_every_engine_and_storage(
    kind: str, engine: str, project: World, tmp_path: Path
) -> None:
    project(CHAINED, **CHAIN)
    storage = None if kind == "memory" else tmp_path / "stored"

    execution = ml.execute("third", storage, "OY1p1o", engine)

    second, third = execution.trials[1:]
    assert third.result == ([1, 2, 3], [6], "finished", 6, second.uid)
