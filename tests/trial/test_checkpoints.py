"""Checkpoints are saved and restored, and an attempt that continues from one ends like an uninterrupted one."""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import numpy
import pytest
from msgspec.structs import replace

from machinable.component.base import Component
from machinable.plan.spec import CheckpointPolicy
from machinable.storage.documents import read_rows
from machinable.storage.files import Appender, Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.numbered_parts import PartAppender
from machinable.trial.runner import run
from machinable.trial.status import StatusFiles
from tests.component.worlds import FOLDER, UID, World, child, messages, spec


@pytest.fixture(params=["memory", "directory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return MemoryFiles() if request.param == "memory" else DirectoryFiles(tmp_path)


class Saves(Component):
    """Saves in all ways, and once nothing."""

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


def test_a_checkpoint_that_is_not_saved_leaves_no_files(files: Files) -> None:
    class Nothing(Component):
        def on_execute(self) -> object:
            return self.save_checkpoint()

    world = World(Nothing, files=files)

    assert (world.ended.result, world.names(), world.json("status.json")["checkpoint"]) == (
        False,
        ["status.json", "trial.json"],
        None,
    )


def test_a_given_path_is_passed_to_on_save_unchanged(files: Files, tmp_path: Path) -> None:
    class Own(Component):
        def on_save(self, path: str, timestep: int) -> Any:
            return f"{path}-{timestep}"

        def on_execute(self) -> object:
            return self.save_checkpoint("s3://elsewhere/x", 5)

    world = World(Own, files=files)

    assert world.ended.result == world.json("status.json")["checkpoint"] == "s3://elsewhere/x-5"
    assert "checkpoints" not in world.names()


def test_a_name_outside_the_folder_is_stored_and_other_return_values_are_refused(files: Files) -> None:
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


def test_a_checkpoint_is_stored_immediately(files: Files) -> None:
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


PATH = f"{FOLDER}/trials/{UID}"
OWN = ("_timestamp", "_seconds_taken", "_total_seconds_taken")


class Killed(BaseException):
    """Stands for a killed process: nothing is written afterwards."""


def killed(component: type[Component], files: Files, trial: Any) -> str:
    """Run until the component raises `Killed`; return the folder to which the attempt is moved."""
    outcome = run(trial, files, FOLDER, code=component, capture=None)
    assert outcome.error is not None, "it was not killed"
    assert outcome.error["type"] == "Killed", outcome.error["traceback"]
    aside = f"{PATH}/attempts/1"
    for entry in files.entries(PATH):
        files.move(f"{PATH}/{entry.name}", f"{aside}/{entry.name}")
    return aside


def resumed(component: type[Component], files: Files, trial: Any, aside: str) -> World:
    return World(component, replace(trial, resume_from=aside, attempt=2), files)


def facts(world: World, scopes: tuple[str, ...] = ("default",)) -> Any:
    """Return what can be compared: rows without times, artifacts and checkpoints."""
    rows = {
        scope: [{key: value for key, value in row.items() if key not in OWN} for row in world.rows(scope)]
        for scope in scopes
    }
    names = sorted(world.names("artifacts") + world.names("checkpoints"))
    return rows, {name: world.text(name) for name in names}, world.ended.result


class Walk(Component):
    """Draws, writes and saves in iterations."""

    stops_at = 6
    kill: Any = None  # (iteration, where)

    def on_create(self) -> None:
        self.total = 0.0
        random.random()

    def at(self, iteration: int, where: str) -> None:
        if type(self).kill == (iteration, where):
            raise Killed

    def on_before_execute_iteration(self, iteration: int) -> None:
        if self.flags.get("saves") == "before":
            self.save_checkpoint()
        self.at(iteration, "before")

    def on_execute_iteration(self, iteration: int) -> Any:
        self.total += random.random() + float(numpy.random.rand())
        self.record["total"] = self.total
        self.record.scope("even")["i"] = iteration
        if iteration % 2 == 0:
            self.record.scope("even").save()
        self.store.write(f"{iteration}.json", self.total)
        self.at(iteration, "early")
        if self.flags.get("saves", "within") == "within" and iteration % 2:
            self.save_checkpoint()
        self.at(iteration, "late")
        return StopIteration if iteration == self.stops_at else None

    def on_after_execute_iteration(self, iteration: int) -> None:
        if self.flags.get("saves") == "after":
            self.save_checkpoint()
        self.at(iteration, "after")

    def on_after_execute(self) -> None:
        self.at(0, "end")

    def on_save(self, path: str, timestep: int) -> str:
        name = f"{timestep}.json"
        Path(path, name).write_text(json.dumps(self.total))
        return name

    def on_restore(self, path: str) -> None:
        self.total = json.loads(Path(path).read_text())


def killed_at(cls: type[Walk], *kill: Any) -> type[Walk]:
    return type("KilledWalk", (cls,), {"kill": kill})


@pytest.mark.parametrize("saves", ["within", "before", "after"])
@pytest.mark.parametrize("kill", [(4, "before"), (4, "early"), (5, "early"), (5, "late"), (5, "after"), (0, "end")])
def test_a_resumed_trial_equals_an_uninterrupted_one(files: Files, saves: str, kill: tuple[int, str]) -> None:
    trial = spec(flags={"SEED": 7, "saves": saves}, seed=7)
    whole = World(Walk, trial, MemoryFiles())
    assert whole.ended.error is None, whole.ended.error
    aside = killed(killed_at(Walk, *kill), files, trial)
    rest = resumed(Walk, files, trial, aside)
    assert rest.ended.error is None, rest.ended.error
    assert facts(rest, ("default", "even")) == facts(whole, ("default", "even"))
    assert rest.ended.artifacts == whole.ended.artifacts
    assert rest.ended.record is not None
    assert {**rest.ended.record, **dict.fromkeys(OWN)} == {**whole.ended.record, **dict.fromkeys(OWN)}  # type: ignore[dict-item]
    assert "starts again" not in rest.text("log.txt")


def test_total_seconds_continue_after_resuming(files: Files) -> None:
    trial = spec()
    aside = killed(killed_at(Walk, 5, "after"), files, trial)
    totals = [row["_total_seconds_taken"] for row in resumed(Walk, files, trial, aside).rows()]
    assert totals == sorted(totals)
    assert len(totals) == 7


def test_a_kill_before_the_end_of_an_iteration_discards_its_checkpoint(files: Files) -> None:
    trial = spec()
    aside = killed(killed_at(Walk, 5, "late"), files, trial)
    status = json.loads(files.read(f"{aside}/status.json"))
    at = status["at_checkpoint"]
    assert (status["checkpoint"], at["saved"]["node"]["name"]) == ("checkpoints/2.json", "checkpoints/1.json")
    assert (at["iteration"], at["is_last"], at["rows"]) == (4, False, {"default": 4, "even": 2})
    assert sorted(at["artifacts"]) == ["0.json", "1.json", "2.json", "3.json"]
    world = resumed(Walk, files, trial, aside)
    assert messages(world.text("log.txt"))[0] == f"INFO continues from {aside}"
    digest = world.ended.artifacts["../checkpoints/2.json"]
    earlier = ["checkpoints/0.json", "checkpoints/1.json"]
    saved = {"name": "checkpoints/2.json", "saves": 3, "digest": digest, "earlier": earlier}
    assert world.json("status.json")["at_checkpoint"] == {"saved": {"node": saved}}


class Counts(Component):
    """Saves after each of ten iterations; a subclass says how."""

    def on_create(self) -> None:
        self.count = 0

    def on_execute_iteration(self, iteration: int) -> Any:
        self.count += 1
        return StopIteration if iteration == 9 else None

    def on_after_execute_iteration(self, iteration: int) -> None:
        self.save_checkpoint()

    def on_save(self, path: str, timestep: int) -> Any:
        Path(path, f"{timestep}.json").write_text(json.dumps(self.count))
        return f"{timestep}.json"

    def on_restore(self, path: str) -> None:
        self.count = json.loads(Path(path).read_text())


@pytest.mark.parametrize(
    ("keep", "kept"), [(1, [9]), (2, [8, 9]), (CheckpointPolicy().keep, [7, 8, 9]), (None, list(range(10)))]
)
def test_the_last_checkpoints_are_kept(files: Files, keep: int | None, kept: list[int]) -> None:
    world = World(Counts, spec(checkpoints=CheckpointPolicy(keep)), files)
    assert world.ended.error is None
    assert world.names("checkpoints") == [f"checkpoints/{number}.json" for number in kept]
    earlier = [f"checkpoints/{number}.json" for number in kept[:-1]]
    assert world.json("status.json")["at_checkpoint"]["saved"]["node"]["earlier"] == earlier


class Folders(Counts):
    def on_save(self, path: str, timestep: int) -> Any:
        Path(path, "all", str(timestep)).mkdir(parents=True)
        Path(path, "all", str(timestep), "state").write_text(str(self.count))
        return os.path.join(path, "all", str(timestep))


class SameName(Counts):
    def on_save(self, path: str, timestep: int) -> Any:
        Path(path, "last.json").write_text(str(self.count))
        return "last.json"


class WholeFolder(Counts):
    def on_save(self, path: str, timestep: int) -> Any:
        Path(path, f"{timestep}.json").write_text(str(self.count))


class Elsewhere(Counts):
    def on_after_execute_iteration(self, iteration: int) -> None:
        self.save_checkpoint(str(self.config.directory))


class RemovesThem(Counts):
    def on_save(self, path: str, timestep: int) -> Any:
        for name in os.listdir(path):
            os.unlink(os.path.join(path, name))
        return super().on_save(path, timestep)


@pytest.mark.parametrize(
    ("component", "left"),
    [
        (Folders, ["all/8/state", "all/9/state"]),
        (SameName, ["last.json"]),
        (WholeFolder, [f"{number}.json" for number in range(10)]),  # any of the files may be needed to restore
        (Elsewhere, []),
        (RemovesThem, ["9.json"]),
    ],
)
def test_only_whole_checkpoints_in_the_folder_of_the_trial_are_removed(
    files: Files, tmp_path: Path, component: type[Component], left: list[str]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    trial = spec({"directory": str(tmp_path / "elsewhere")}, checkpoints=CheckpointPolicy(2))
    world = World(component, trial, files)
    assert world.ended.error is None, world.ended.error
    assert world.names("checkpoints") == [f"checkpoints/{name}" for name in left]
    assert len(list((tmp_path / "elsewhere").iterdir())) == (10 if component is Elsewhere else 0)


class Stops(Counts):
    stops_at = 5

    def on_before_execute_iteration(self, iteration: int) -> None:
        if iteration == type(self).stops_at:
            raise Killed


def test_the_checkpoints_of_earlier_attempts_count(files: Files) -> None:
    trial = spec(checkpoints=CheckpointPolicy(3))
    aside = killed(Stops, files, trial)
    stops_again = type("StopsAgain", (Stops,), {"stops_at": 6})
    world = resumed(stops_again, files, trial, aside)
    assert world.names("checkpoints") == [f"checkpoints/{number}.json" for number in (3, 4, 5)]


def test_a_checkpoint_is_removed_only_when_the_next_one_is_recorded(files: Files, monkeypatch: Any) -> None:
    class Fails(Counts):
        def on_save(self, path: str, timestep: int) -> Any:
            if timestep == 3:
                monkeypatch.setattr(StatusFiles, "_write_status", unwritable)
            return super().on_save(path, timestep)

    def unwritable(self: StatusFiles) -> None:
        raise OSError("disk full")

    run(spec(checkpoints=CheckpointPolicy(1)), files, FOLDER, code=Fails, capture=None)
    monkeypatch.undo()
    at = json.loads(files.read(f"{PATH}/status.json"))["at_checkpoint"]
    assert at["saved"]["node"]["name"] == "checkpoints/2.json"
    assert sorted(entry.name for entry in files.entries(f"{PATH}/checkpoints")) == ["2.json", "3.json"]


def test_a_checkpoint_is_recorded_immediately_on_an_object_store() -> None:
    class ObjectStore(MemoryFiles):
        appends = False

    files = ObjectStore()

    class Looks(Counts):
        def on_execute(self) -> Any:
            self.save_checkpoint()
            status = json.loads(files.read(f"{PATH}/status.json"))
            return [status["at_checkpoint"]["saved"]["node"]["name"], files.exists(f"{PATH}/trial.json")]

        def on_execute_iteration(self, iteration: int) -> Any:
            return StopIteration

    assert World(Looks, files=files).ended.result == ["checkpoints/0.json", True]


def test_the_rows_before_a_checkpoint_are_stored_with_it_on_an_object_store() -> None:
    class NumberedFiles(MemoryFiles):
        appends = False

        def appender(self, path: str) -> Appender:
            return PartAppender(self, path, create=self.create)

    class Looks(Component):
        def on_save(self, path: str, timestep: int) -> str:
            name = os.path.join(path, "state")
            Path(name).write_text("state")
            return name

        def on_execute(self) -> list[int]:
            stored = []
            for number in range(3):
                self.record["x"] = number
                self.record.save()
                self.save_checkpoint()
                stored.append(len(read_rows(files, f"{PATH}/records/default.jsonl")))
            return stored

    files = NumberedFiles()

    assert World(Looks, files=files).ended.result == [1, 2, 3]


class Every(Counts):
    def on_after_execute_iteration(self, iteration: int) -> None:
        if iteration == 5:
            self.save_checkpoint()


def test_a_checkpoint_is_saved_every_few_iterations(files: Files) -> None:
    trial = spec(checkpoints=CheckpointPolicy(None, 3))
    world = World(Every, trial, files)
    assert [world.text(name) for name in world.names("checkpoints")] == ["3", "6", "9"]


def test_an_attempt_continues_from_a_checkpoint_that_was_saved_automatically(files: Files) -> None:
    trial = spec(checkpoints=CheckpointPolicy(2, 3))
    aside = killed(type("KilledEvery", (Every,), {"on_before_execute_iteration": stop_at_eight}), files, trial)
    world = resumed(Every, files, trial, aside)
    assert len(world.rows()) == 0
    assert (world.ended.error, world.names("checkpoints")) == (None, ["checkpoints/1.json", "checkpoints/2.json"])


def stop_at_eight(self: Component, iteration: int) -> None:
    if iteration == 8:
        raise Killed


class Piece(Component):
    def on_create(self) -> None:
        self.steps = 0

    def on_save(self, path: str, timestep: int) -> str:
        Path(path, f"part-{timestep}").write_text(str(self.steps))
        return f"part-{timestep}"

    def on_restore(self, path: str) -> None:
        self.steps = int(Path(path).read_text())


class Whole(Component):
    kill = False

    def on_create(self, part: Any) -> None:
        self.part, self.steps = part, 0

    def on_execute(self) -> list[int]:
        while self.steps < 5:
            self.steps += 1
            self.part.steps += 10
            self.record["x"] = random.random()
            self.record.save()
            self.save_checkpoint()
            self.part.save_checkpoint()
            if self.kill and self.steps == 3:
                self.record["x"] = -1
                self.record.save()
                self.store.write("late.txt", "not at the checkpoint")
                raise Killed
        return [self.steps, self.part.steps]

    def on_save(self, path: str, timestep: int) -> None:
        Path(path, "whole").write_text(str(self.steps))

    def on_restore(self, path: str) -> None:
        self.steps = int(Path(path, "whole").read_text())


def test_loops_and_children_continue_where_they_stopped(files: Files) -> None:
    trial = spec(children=(child("part", Piece),))
    whole = World(Whole, trial, MemoryFiles())
    aside = killed(type("Dies", (Whole,), {"kill": True}), files, trial)
    rest = resumed(Whole, files, trial, aside)
    assert rest.ended.error is None, rest.ended.error
    assert (rest.ended.result, facts(rest)) == ([5, 50], facts(whole))


def test_a_checkpoint_elsewhere_is_restored_from_there(tmp_path: Path) -> None:
    class ClusterResources(Component):
        kill = False

        def on_create(self) -> None:
            self.n = 0

        def on_execute(self) -> int:
            self.n += 1
            self.save_checkpoint(str(tmp_path / "state"))
            if self.kill:
                raise Killed
            return self.n

        def on_save(self, path: str, timestep: int) -> None:
            Path(path).write_text(str(self.n))

        def on_restore(self, path: str) -> None:
            self.n = int(Path(path).read_text())

    files = MemoryFiles()
    aside = killed(type("Dies", (ClusterResources,), {"kill": True}), files, spec())
    assert resumed(ClusterResources, files, spec(), aside).ended.result == 2


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (
            lambda files, aside: files.write(f"{aside}/artifacts/1.json", b"0"),
            "the artifact '1.json' was changed after the checkpoint",
        ),
        (
            lambda files, aside: files.remove(f"{aside}/artifacts/1.json"),
            "FileNotFoundError",
        ),
        (
            lambda files, aside: files.write(f"{aside}/checkpoints/1.json", b"9.5"),
            "the checkpoint checkpoints/1.json was changed after it was saved",
        ),
        (lambda files, aside: files.remove(f"{aside}/checkpoints/1.json"), "the checkpoint checkpoints/1.json"),
        (
            lambda files, aside: files.write(f"{aside}/records/default.jsonl", b"{}\n"),
            "the record 'default' had 4 rows, and 1 are left",
        ),
        (lambda files, aside: files.remove(f"{aside}/status.json"), "it has no checkpoint"),
        (lambda files, aside: files.write(f"{aside}/status.json", b"{"), ""),
        (
            lambda files, aside: files.write(f"{aside}/status.json", b'{"state": "failed", "at_checkpoint": null}'),
            "it has no checkpoint",
        ),
    ],
    ids=[
        "artifact changed",
        "artifact gone",
        "checkpoint changed",
        "checkpoint gone",
        "rows gone",
        "no status",
        "damaged status",
        "no checkpoint",
    ],
)
def test_an_attempt_starts_again_if_a_file_has_changed_since_the_checkpoint(files: Files, spoil: Any, why: str) -> None:
    trial = spec(flags={"SEED": 7}, seed=7)
    whole = World(Walk, trial, MemoryFiles())
    aside = killed(killed_at(Walk, 4, "early"), files, trial)
    spoil(files, aside)
    rest = resumed(Walk, files, trial, aside)
    assert (rest.ended.error, facts(rest)) == (None, facts(whole))
    assert messages(rest.text("log.txt"))[0].startswith(
        f"WARNING cannot continue from the previous attempt, so it starts again: {why or files.url}"
    )


def test_a_retry_without_a_checkpoint_starts_empty(files: Files) -> None:
    aside = killed(killed_at(Walk, 0, "early"), files, spec())
    rest = resumed(Walk, files, spec(), aside)
    assert (rest.ended.error, len(rest.rows())) == (None, 7)
    assert "it has no checkpoint" in rest.text("log.txt")
