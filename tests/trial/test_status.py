"""The status files of a trial and their heartbeat."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from machinable.component.base import Component
from machinable.errors import LeaseLost
from machinable.storage.files import Appender, Guard
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.numbered_parts import PartAppender
from machinable.storage.process_info import this_process
from machinable.storage.streams import TextWriter
from machinable.trial import status
from machinable.trial.runner import run
from machinable.trial.seeding import Seeding
from machinable.trial.status import Heartbeat, StatusFiles
from tests.component.worlds import UID, World, child, spec


def test_functions_are_called_regularly_from_one_thread() -> None:
    heartbeat = Heartbeat(interval=0.01)
    threads, enough = set(), threading.Semaphore(0)

    def first() -> None:
        threads.add(threading.current_thread())
        enough.release()

    def second() -> None:
        threads.add(threading.current_thread())
        enough.release()

    heartbeat.add(first)
    heartbeat.add(second)
    for _ in range(6):
        assert enough.acquire(timeout=10)
    heartbeat.remove(first)
    heartbeat.remove(second)
    heartbeat.remove(second)

    (thread,) = threads
    assert (thread.daemon, thread.name) == (True, "machinable-heartbeat")


def test_no_thread_starts_before_it_is_needed() -> None:
    before = threading.active_count()
    heartbeat = Heartbeat(interval=60)
    assert threading.active_count() == before
    heartbeat.add(lambda: None)
    heartbeat.add(lambda: None)
    assert threading.active_count() == before + 1


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork with threads, which is the point
def test_a_forked_process_starts_a_separate_timer() -> None:
    heartbeat = Heartbeat(interval=0.01)
    heartbeat.add(lambda: None)
    child = os.fork()
    if child == 0:
        called = threading.Event()
        heartbeat.add(called.set)
        os._exit(0 if called.wait(10) else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


class Kid(Component):
    pass


class RecordingFiles(MemoryFiles):
    """Records every write."""

    def __init__(self, appends: bool = True) -> None:
        super().__init__()
        self.appends = appends
        self.writes: list[tuple[str, Any]] = []
        self.refuses = False

    def write(self, path: str, data: bytes) -> None:
        if self.refuses:
            raise OSError("not reachable")
        self.writes.append((path.rpartition("/")[2], json.loads(data)))
        super().write(path, data)


class Beats:
    """A timer that tests trigger."""

    def __init__(self) -> None:
        self.beats: list[Callable[[], None]] = []

    def add(self, beat: Callable[[], None], *, is_soon: bool = False) -> None:
        self.beats.append(beat)

    def remove(self, beat: Callable[[], None]) -> None:
        if beat in self.beats:
            self.beats.remove(beat)


@pytest.fixture
def beats(monkeypatch: pytest.MonkeyPatch) -> Beats:
    beats = Beats()
    monkeypatch.setattr(status, "heartbeat", beats)
    return beats


def make(files: RecordingFiles) -> tuple[StatusFiles, list[Exception]]:
    trouble: list[Exception] = []
    status_files = StatusFiles(spec({"a": 1}), files, "t")
    status_files.on_error = trouble.append
    return status_files, trouble


def test_a_trial_writes_three_times(beats: Beats) -> None:
    files = RecordingFiles()
    before = datetime.now(timezone.utc)
    World(Component, spec({"a": 1}), files)
    (first, running), (second, trial), (third, finished) = files.writes

    assert (first, second, third) == ("status.json", "trial.json", "status.json")
    assert list(running) == [
        "state",
        "attempt",
        "token",
        "started",
        "heartbeat",
        "finished",
        "host",
        "threads",
        "result",
        "error",
        "checkpoint",
        "at_checkpoint",
        "artifacts",
        "inputs",
    ]
    assert (running["state"], running["attempt"], running["finished"]) == ("running", 1, None)
    here = this_process()
    assert running["host"] == {"name": here["host"], "pid": os.getpid(), "boot": here["boot"], "born": here["born"]}
    assert finished | {"state": "running", "finished": None, "heartbeat": running["heartbeat"]} == running
    assert before <= datetime.fromisoformat(finished["started"]) <= datetime.fromisoformat(finished["finished"])
    assert finished["started"].endswith("+00:00") and len(finished["started"]) == len(
        "2026-01-31T09:15:02.120000+00:00"
    )
    assert (finished["state"], trial["uid"], beats.beats) == ("finished", UID, [])


def test_the_description_is_the_line_of_the_plan_with_calls_evaluated_and_hidden_keys_left_out() -> None:
    class Work(Component):
        def config_rate(self, x: float) -> float:
            return x * 10

        def config_table(self) -> object:
            return {"k": (1, 2), "_hidden": 1}

    config = {"lr": "rate(config._base)", "_base": 2, "by": "rate(2)", "t": "table()", "login": {"password": "s3cret"}}
    stored = {"lr": "rate(config._base)", "by": "rate(2)", "t": "table()", "login": {"password": "${TOKEN}"}}
    trial = spec(
        config,
        stored=stored,
        version=("~small", {"lr": 1}),
        tags={"x": 1},
        identity="ab12",
        evaluate=False,
        children=(child("kid", Kid, {"k": "f(1)", "_h": 2}),),
    )
    world = World(Work, trial)

    assert world.json("trial.json") == json.loads(
        json.dumps(
            trial.as_data()
            | {
                "config": {
                    "lr": "rate(config._base)",
                    "by": 20,
                    "t": {"k": {"__tuple__": [1, 2]}},
                    "login": {"password": "${TOKEN}"},
                },
                "version": {"__tuple__": ["~small", {"lr": 1}]},
                "seeding": list(Seeding(None, 0).predicted()),
            }
        )
    )
    assert world.json("trial.json")["children"][0]["config"] == {"k": "f(1)"}


def test_a_call_that_needs_more_than_a_constructed_component_is_tried_again_before_the_work(beats: Beats) -> None:
    class Work(Component):
        def on_create(self) -> None:
            self.size = 3

        def config_size(self) -> int:
            return self.size

        def config_never(self) -> object:
            return object()

        def on_before_execute(self) -> None:
            assert json.loads(files.read(f"OY1p1o/trials/{UID}/trial.json"))["config"]["size"] == "size()"

    files = RecordingFiles()
    world = World(Work, spec({"size": "size()", "never": "never()", "a": 1}), files)

    assert world.json("trial.json")["config"] == {"size": 3, "never": "never()", "a": 1}
    (line,) = world.text("log.txt").splitlines()
    assert line[20:].startswith("WARNING never is stored as text: WrongType: <object object at")
    assert [name for name, _ in files.writes] == ["status.json", "trial.json", "trial.json", "status.json"]


def test_a_trial_that_cannot_be_loaded_is_described_as_planned() -> None:
    world = World(None, spec({"a": "f(1)", "_h": 1}))

    assert world.ended.error is not None and world.ended.error["type"] == "ImportFailed"
    assert (world.json("trial.json")["config"], world.json("status.json")["state"]) == ({"a": "f(1)"}, "failed")


def test_on_an_object_store_a_short_trial_writes_only_at_its_end(beats: Beats) -> None:
    class Work(Component):
        def on_execute(self) -> None:
            assert files.writes == []

    files = RecordingFiles(appends=False)
    World(Work, spec({"a": 1}), files)

    assert [(name, data.get("state")) for name, data in files.writes] == [
        ("trial.json", None),
        ("status.json", "finished"),
    ]


def test_the_executing_process_writes_a_short_trial_only_at_its_end(tmp_path: Path, beats: Beats) -> None:
    class Holder(Guard):
        checks = 0

        def check(self) -> None:
            super().check()
            self.checks += 1

    class Work(Component):
        def on_execute(self) -> None:
            assert list(folder.iterdir()) == []
            self.store.write("x.json", 1)
            assert holder.checks > 0
            if self.config.is_long:
                beats.beats[0]()
                assert json.loads((folder / "status.json").read_text())["state"] == "running"
            if self.config.is_lost:
                holder.lost = LeaseLost("lost")
                with pytest.raises(LeaseLost, match="lost"):
                    self.store.write("y.json", 1)

    for is_long, is_lost in ((False, False), (True, False), (False, True)):
        files, holder = DirectoryFiles(tmp_path / f"{is_long} {is_lost}"), Holder()
        files.guard("OY1p1o", holder)
        folder = Path(files.url, "OY1p1o/trials", UID)
        folder.mkdir(parents=True)
        planned = spec({"is_long": is_long, "is_lost": is_lost})
        options: Any = {"project": None, "capture": None, "code": Work, "in_executing_process": True}
        if is_lost:
            with pytest.raises(LeaseLost, match="lost"):
                run(planned, files, "OY1p1o", **options)
        else:
            assert run(planned, files, "OY1p1o", **options).error is None
        written = [] if is_lost else ["status.json", "trial.json"]
        assert sorted(path.name for path in folder.iterdir()) == ["artifacts", *written]


def test_on_an_object_store_a_checkpoint_is_written_immediately(beats: Beats) -> None:
    class Work(Component):
        def on_execute(self) -> None:
            self.save_checkpoint("x")

        def on_save(self, path: str, timestep: int) -> None: ...

    files = RecordingFiles(appends=False)
    World(Work, spec({"a": 1}), files)

    states = [data["state"] for name, data in files.writes if name == "status.json"]
    assert (states, files.writes[1][1]["checkpoint"]) == (["running", "finished"], "x")


def test_on_an_object_store_a_long_trial_appears_with_its_first_heartbeat(beats: Beats) -> None:
    class Work(Component):
        def on_execute(self) -> None:
            (beat,) = beats.beats
            beat()
            beat()

    files = RecordingFiles(appends=False)
    World(Work, spec({"a": 1}), files)
    names = [name for name, _ in files.writes]

    assert names == ["trial.json", "status.json", "status.json", "status.json"]
    assert [data["state"] for name, data in files.writes if name == "status.json"] == ["running", "running", "finished"]
    assert files.writes[2][1]["heartbeat"] > files.writes[1][1]["heartbeat"]


def test_a_failed_heartbeat_is_reported_and_the_next_one_is_written(beats: Beats) -> None:
    files = RecordingFiles()
    status_files, trouble = make(files)
    status_files.open()
    (beat,) = beats.beats
    files.refuses = True
    beat()
    files.refuses = False
    beat()

    assert [str(error) for error in trouble] == ["not reachable"]
    assert len(files.writes) == 3  # running, then description and heartbeat


def test_no_heartbeat_comes_after_the_end(beats: Beats) -> None:
    files = RecordingFiles()
    status_files, _ = make(files)
    status_files.open()
    (beat,) = beats.beats
    status_files.close("finished", (), {"result": 5})
    written = list(files.writes)
    beat()

    assert (files.writes, written[-1][1]["state"], written[-1][1]["result"]) == (written, "finished", 5)


def test_the_last_checkpoint_is_stored_immediately(beats: Beats) -> None:
    files = RecordingFiles()
    status_files, _ = make(files)
    status_files.saved("checkpoints/3", {"saved": {}, "rows": {"default": 2}})
    status_files.saved("checkpoints/4", None)

    found = [status for name, status in files.writes if name == "status.json"]
    assert [(status["checkpoint"], status["at_checkpoint"]["rows"], status["state"]) for status in found] == [
        ("checkpoints/3", {"default": 2}, "running"),
        ("checkpoints/4", {"default": 2}, "running"),
    ]


def test_the_facts_of_a_checkpoint_are_removed_when_nothing_can_continue_from_it(beats: Beats) -> None:
    files = RecordingFiles()
    facts = {"saved": {"node": {"name": "checkpoints/3", "saves": 1, "digest": "sha256:1"}}, "rows": {"default": 2}}
    for state in ("failed", "finished"):
        status_files, _ = make(files)
        status_files.saved("checkpoints/3", facts)
        status_files.close(state, (), {"artifacts": {}})  # type: ignore[arg-type]
        assert status_files.digests == {"../checkpoints/3": "sha256:1"}

    ended = [status["at_checkpoint"] for name, status in files.writes if status.get("finished")]
    assert ended == [facts, {"saved": facts["saved"]}]


def test_a_storage_that_is_lost_at_the_end_fails_the_trial() -> None:
    class Work(Component):
        def on_finish(self, result: object, success: bool) -> None:
            files.refuses = True

    files = RecordingFiles()
    world = World(Work, files=files)

    assert world.ended.error is not None
    assert (world.ended.state, world.ended.error["message"]) == ("failed", "not reachable")


def test_a_storage_that_is_lost_at_the_start_fails_the_trial() -> None:
    files = RecordingFiles()
    files.refuses = True
    world = World(Component, files=files)

    assert world.ended.error is not None
    assert (world.ended.state, world.ended.error["type"]) == ("failed", "OSError")


@pytest.mark.parametrize("kind", [DirectoryFiles.appender, PartAppender])
def test_a_writer_whose_attempt_was_lost_and_has_ended_opens_no_file(
    kind: Callable[[DirectoryFiles, str], Appender], tmp_path: Path
) -> None:
    files = DirectoryFiles(tmp_path)
    attempt = StatusFiles(spec(), files, f"e/trials/{UID}")
    attempt.open()
    writer = kind(files, f"e/trials/{UID}/output.log")
    attempt._lose()
    attempt.abandon()

    with pytest.raises(LeaseLost, match="no longer holds the trial"):
        writer.write(b"late\n")
    writer.close()
    assert os.listdir(tmp_path / "e/trials" / UID) == ["status.json"]


def test_an_attempt_that_stands_still_while_it_opens_a_file_does_not_write_to_that_of_the_next_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, path = DirectoryFiles(tmp_path), f"e/trials/{UID}"
    attempt, successor = StatusFiles(spec(), files, path), StatusFiles(spec(attempt=2), DirectoryFiles(tmp_path), path)
    attempt.open()
    writer, opened = TextWriter(files, f"{path}/output.log"), files._open_to_write

    def stands_still(real: str, flags: int) -> int:
        os.rename(tmp_path / path, tmp_path / "aside")
        (tmp_path / path).mkdir()
        successor.open()
        return opened(real, flags)

    monkeypatch.setattr(files, "_open_to_write", stands_still)
    with pytest.raises(LeaseLost, match="no longer holds the trial"):
        writer.write("late\n")
    assert files.read(f"{path}/output.log") == b""
    for one in (attempt, successor):
        one.abandon()


class Leaves(Component):
    """Leaves a thread behind, which goes on when the trial has ended."""

    late: list[Callable[[], object]] = []

    def on_execute(self) -> None:
        self.late[:] = [
            lambda: self.store.write("late.json", 1),
            lambda: self.store.directory("late/").__enter__(),
            lambda: self.store.path("late.txt"),
            lambda: self.record.scope("late"),
            lambda: self.record.save(force=True),
            lambda: self.log.info("late"),
            lambda: self.save_checkpoint(),
        ]

    def on_save(self, path: str, timestep: int) -> None:
        raise AssertionError("never called")


def test_a_thread_that_outlives_its_trial_changes_nothing_of_it() -> None:
    world = World(Leaves, capture="keep")
    before = world.names()
    for act in Leaves.late:
        with pytest.raises(ValueError, match="is closed, because the trial has ended"):
            act()
    assert world.names() == before == ["status.json", "trial.json"]
