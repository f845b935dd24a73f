"""States that are saved and restored."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from machinable.component.base import Component
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from tests.component.worlds import World, child, messages, spec


@pytest.fixture(params=["memory", "directory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return MemoryFiles() if request.param == "memory" else DirectoryFiles(tmp_path)


class Saves(Component):
    """Saves three times, in the ways that there are."""

    def on_save(self, path: str, timestep: int) -> Any:
        if timestep == 2:
            return False
        name = os.path.join(path, f"{timestep}.txt")
        Path(name).write_text(str(timestep))
        return None if timestep == 0 else name

    def on_execute(self) -> object:
        first = self.save_checkpoint()
        second = self.save_checkpoint()
        third = self.save_checkpoint()
        return [os.path.isdir(first), os.path.basename(second), third, self.save_checkpoint(timestep=7)[-5:]]


def test_what_is_saved_becomes_the_checkpoints_of_the_trial(files: Files) -> None:
    world = World(Saves, files=files)

    assert world.ended.result == [True, "1.txt", False, "7.txt"]
    assert (world.names("checkpoints"), world.text("checkpoints/1.txt")) == (
        ["checkpoints/0.txt", "checkpoints/1.txt", "checkpoints/7.txt"],
        "1",
    )
    assert world.json("status.json")["checkpoint"] == "checkpoints/7.txt"
    assert messages(world.text("log.txt")) == [
        f"INFO saved the checkpoint checkpoints{name}" for name in ("", "/1.txt", "/7.txt")
    ]


def test_nothing_saved_leaves_nothing_behind(files: Files) -> None:
    class Nothing(Component):
        def on_execute(self) -> object:
            return self.save_checkpoint()

    world = World(Nothing, files=files)

    assert (world.ended.result, world.names(), world.json("status.json")["checkpoint"]) == (
        False,
        ["status.json", "trial.json"],
        None,
    )


def test_a_path_of_ones_own_is_handed_on_as_it_is(files: Files, tmp_path: Path) -> None:
    class Own(Component):
        def on_save(self, path: str, timestep: int) -> Any:
            return f"{path}-{timestep}"

        def on_execute(self) -> object:
            return self.save_checkpoint("s3://elsewhere/x", 5)

    world = World(Own, files=files)

    assert world.ended.result == world.json("status.json")["checkpoint"] == "s3://elsewhere/x-5"
    assert "checkpoints" not in world.names()


def test_a_name_outside_of_the_folder_is_kept_and_another_answer_is_refused(files: Files) -> None:
    class ClusterResources(Component):
        answer: Any = "/elsewhere/x"

        def on_save(self, path: str, timestep: int) -> Any:
            return self.answer

        def on_execute(self) -> object:
            return self.save_checkpoint()

    world = World(ClusterResources, files=files)
    assert world.ended.result == world.json("status.json")["checkpoint"] == "/elsewhere/x"
    error = World(type("Odd", (ClusterResources,), {"answer": 5})).ended.error
    assert error is not None and error["message"].startswith("on_save returned 5\n")


class Kid(Component):
    def on_save(self, path: str, timestep: int) -> Any:
        Path(path, f"kid{timestep}").write_text("")
        return f"kid{timestep}"

    def on_restore(self, path: str) -> None:
        self.restored = path


def test_a_child_counts_its_own_saves_and_is_restored_by_its_own_flag(files: Files) -> None:
    class Node(Component):
        def on_execute(self) -> object:
            kid = self.children[0]
            return [kid.save_checkpoint(), kid.save_checkpoint(), kid.restored]

    world = World(Node, spec(children=(child("kid", Kid, flags={"CHECKPOINT": "/last"}),)), files)

    assert world.ended.result == ["kid0", "kid1", "/last"]
    assert world.json("status.json")["checkpoint"] == "checkpoints/kid1"
    assert messages(world.text("log.txt"))[0] == "INFO restored from the checkpoint /last"


def test_a_saved_checkpoint_is_stored_at_once(files: Files) -> None:
    class Looks(Component):
        def on_save(self, path: str, timestep: int) -> Any:
            Path(path, "a").write_text("x")

        def on_execute(self) -> object:
            self.save_checkpoint()
            return [files.read("OY1p1o/trials/9JkiDky8G5m7/checkpoints/a").decode(), world_status(files)]

    assert World(Looks, files=files).ended.result == ["x", "checkpoints"]


def world_status(files: Files) -> Any:
    import json

    return json.loads(files.read("OY1p1o/trials/9JkiDky8G5m7/status.json"))["checkpoint"]
