"""What a running execution writes, as it arrives."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from machinable.results.execution import Execution
from machinable.results.tail import Follower, News
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.streams import RowWriter, TextWriter
from tests.results.worlds import NOW, failed, finished, planned, started, status, stored, time, uid, write


class PartFiles(MemoryFiles):
    """Memory in which files cannot grow, as on an object store."""

    appends = False
    reach = "anywhere"

    def part(self, path: str, number: int, text: str) -> None:
        stem, _, extension = path.rpartition(".")
        self.write(f"{stem}.{number:06d}.{extension}", text.encode())


@pytest.fixture(params=["memory", "directory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return MemoryFiles() if request.param == "memory" else DirectoryFiles(tmp_path)


class Clock:
    """A clock that is put forward by hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def world(files: Files, number: int = 1) -> Execution:
    execution = stored([planned(index) for index in range(number)], files=files)
    for index in range(number):
        write(files, f"{execution}/trials/{uid(index)}/status.json", status())
    return execution


def append_events(files: Files, *events: dict[str, Any]) -> None:
    ledger = RowWriter(files, "OY1p1o/ledger.jsonl")
    for event in events:
        ledger.append(event)
    ledger.close()


def ended(state: str = "finished") -> dict[str, Any]:
    return {"event": "ended", "status": state, "time": time(), "seconds": 1.0}


def shown(news: list[News]) -> list[Any]:
    return [(one.kind, one.data["event"] if one.kind == "event" else one.data) for one in news]


def test_rows_lines_and_events_come_once_each_in_order_of_time(files: Files) -> None:
    execution = world(files)
    follower = Follower(execution, clock=Clock())
    rows = RowWriter(files, f"OY1p1o/trials/{uid(0)}/records/default.jsonl")
    log = TextWriter(files, f"OY1p1o/trials/{uid(0)}/log.txt")
    output = TextWriter(files, f"OY1p1o/trials/{uid(0)}/output.log")
    assert follower.news() == []

    append_events(files, started(0))
    rows.append({"loss": 0.5, "_timestamp": NOW - 20})
    log.write("2026-01-31 09:14:52 INFO begun\n")  # ten seconds before NOW
    first = follower.news()
    rows.append({"loss": 0.25, "_timestamp": NOW - 1})
    output.write("half a li")
    second = follower.news()
    output.write("ne\n")
    third = follower.news()
    append_events(files, finished(0), ended())

    assert shown(first) == [
        ("event", "started"),
        ("row", {"loss": 0.5, "_timestamp": NOW - 20}),
        ("log", "2026-01-31 09:14:52 INFO begun"),
    ]
    assert shown(second) == [("row", {"loss": 0.25, "_timestamp": NOW - 1})]
    assert shown(third) == [("output", "half a line")]
    assert follower.status is None
    assert shown(follower.news()) == [("event", "finished"), ("event", "ended")]
    assert (follower.status, follower.states) == ("finished", {uid(0): "finished"})


def test_a_trial_that_has_ended_is_read_to_its_end_and_then_no_more(files: Files) -> None:
    world(files, 2)
    append_events(files, started(0))
    follower = Follower(Execution(files, "OY1p1o"), clock=Clock())
    follower.news()
    TextWriter(files, f"OY1p1o/trials/{uid(0)}/output.log").write("no end of line")
    append_events(files, finished(0), started(1))
    TextWriter(files, f"OY1p1o/trials/{uid(1)}/output.log").write("the next\n")

    news = follower.news()

    assert sorted((one.uid, one.data) for one in news if one.kind == "output") == [
        (uid(0), "no end of line"),
        (uid(1), "the next"),
    ]
    TextWriter(files, f"OY1p1o/trials/{uid(0)}/output.log").write("late\n")
    assert follower.news() == []


def test_an_ended_execution_shows_its_last_trial(files: Files) -> None:
    world(files, 2)
    for index in (0, 1):
        TextWriter(files, f"OY1p1o/trials/{uid(index)}/output.log").write(f"trial {index}\n")
    append_events(files, started(0), finished(0), started(1), failed(1), ended("failed"))
    follower = Follower(Execution(files, "OY1p1o"), clock=Clock())

    news = follower.news()

    assert [one.data for one in news if one.kind == "output"] == ["trial 1"]
    assert follower.status == "failed"


@pytest.mark.parametrize("last", [0, 1, 10, 999])
@pytest.mark.parametrize("kind", ["directory", "memory", "parts"])
def test_the_last_lines_are_those_at_the_end_of_all_lines(tmp_path: Path, kind: str, last: int) -> None:
    files = {"directory": DirectoryFiles(tmp_path), "memory": MemoryFiles(), "parts": PartFiles()}[kind]
    lines = [f"{number} " + "x" * (number % 100 * 50) for number in range(500)]
    world(files)
    place = f"OY1p1o/trials/{uid(0)}/output.log"
    if isinstance(files, PartFiles):
        for number in range(5):
            files.part(place, number + 1, "".join(f"{line}\n" for line in lines[100 * number : 100 * number + 100]))
    else:
        files.write(place, "".join(f"{line}\n" for line in lines).encode())
    follower = Follower(Execution(files, "OY1p1o", clock=Clock()), uid(0), clock=Clock())

    assert [news.data for news in follower.news(last)] == lines[max(0, 500 - last) :]
    if kind == "directory":
        with open(tmp_path / place, "a") as file:
            file.write("more\n")
        assert [news.data for news in follower.news()] == ["more"]
    assert follower.news() == []


def test_of_a_large_file_only_the_end_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = DirectoryFiles(tmp_path)
    world(files)
    place = f"OY1p1o/trials/{uid(0)}/records/default.jsonl"
    files.write(place, b"".join(b'{"x": %d, "_timestamp": 1.0}\n' % number for number in range(100_000)))
    seen: list[int] = []
    original = DirectoryFiles.read_from

    def counting(self: DirectoryFiles, path: str, position: int) -> bytes:
        data = original(self, path, position)
        seen.append(len(data))
        return data

    monkeypatch.setattr(DirectoryFiles, "read_from", counting)
    follower = Follower(Execution(files, "OY1p1o", clock=Clock()), uid(0), clock=Clock())
    assert [news.data["x"] for news in follower.news(3)] == [99_997, 99_998, 99_999]
    assert sum(seen) < 200_000


def test_one_trial_can_be_followed_alone(files: Files) -> None:
    world(files, 2)
    for index in (0, 1):
        TextWriter(files, f"OY1p1o/trials/{uid(index)}/output.log").write(f"trial {index}\n")
    append_events(files, started(0), started(1))
    follower = Follower(Execution(files, "OY1p1o"), uid(0), clock=Clock())

    assert shown(follower.news()) == [("event", "started"), ("output", "trial 0")]
    assert not follower.has_ended(uid(0))
    append_events(files, failed(0) | {"will_retry": True})
    follower.news()
    assert not follower.has_ended(uid(0))
    append_events(files, failed(0))
    follower.news()
    assert follower.has_ended(uid(0))


def test_another_attempt_starts_new_files(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    world(files)
    folder = f"OY1p1o/trials/{uid(0)}"
    append_events(files, started(0))
    RowWriter(files, f"{folder}/records/default.jsonl").append({"loss": 1, "_timestamp": NOW})
    follower = Follower(Execution(files, "OY1p1o"), clock=Clock())
    follower.news()

    files.move(f"{folder}/records", f"{folder}/attempts/1/records")
    rows = RowWriter(files, f"{folder}/records/default.jsonl")
    for loss in (2, 3, 4):
        rows.append({"loss": loss, "_timestamp": NOW})

    assert [one.data["loss"] for one in follower.news()] == [2, 3, 4]


@pytest.mark.parametrize("last", [None, 2])
def test_what_an_attempt_that_continues_has_copied_is_not_new(tmp_path: Path, last: int | None) -> None:
    files = DirectoryFiles(tmp_path)
    world(files)
    folder = f"OY1p1o/trials/{uid(0)}"
    append_events(files, started(0))
    rows = [{"loss": loss, "_timestamp": NOW + loss} for loss in range(6)]
    for row in rows[:4]:
        RowWriter(files, f"{folder}/records/default.jsonl").append(row)
    follower = Follower(Execution(files, "OY1p1o"), clock=Clock())
    assert [one.data["loss"] for one in follower.news(last) if one.kind == "row"] == [0, 1, 2, 3][-(last or 4) :]

    files.write("OY1p1o/ledger.jsonl", files.read("OY1p1o/ledger.jsonl"))  # as a process that takes over
    files.move(f"{folder}/records", f"{folder}/attempts/1/records")
    again = RowWriter(files, f"{folder}/records/default.jsonl")
    for row in rows[:3]:
        again.append(row)
    assert follower.news() == []
    append_events(files, resumed := {"event": "resumed", "added": 0, "removed": 0, "kept": 1, "time": time()})
    again.append(rows[2])  # more of the earlier ones
    again.append(rows[5])

    assert shown(follower.news()) == [("event", resumed["event"]), ("row", rows[5])]
    again.append(rows[5])
    assert [one.data["loss"] for one in follower.news()] == [5]


def test_numbered_parts_are_followed_where_files_cannot_grow() -> None:
    files = PartFiles()
    world(files)
    folder = f"OY1p1o/trials/{uid(0)}"
    files.part("OY1p1o/ledger.jsonl", 1, json.dumps(started(0)) + "\n")
    files.part(f"{folder}/records/default.jsonl", 1, '{"loss": 1, "_timestamp": 1.0}\n')
    follower = Follower(Execution(files, "OY1p1o"), clock=Clock())

    assert follower.is_remote
    assert [one.kind for one in follower.news()] == ["row", "event"]
    files.part(f"{folder}/records/default.jsonl", 2, '{"loss": 2, "_timestamp": 2.0}\n')
    files.part(f"{folder}/log.txt", 1, "one\ntwo\n")
    assert [one.data for one in follower.news()] == [{"loss": 2, "_timestamp": 2.0}, "one", "two"]
    files.part("OY1p1o/ledger.jsonl", 2, json.dumps(finished(0)) + "\n" + json.dumps(ended()) + "\n")
    assert shown(follower.news()) == [("event", "finished"), ("event", "ended")]


def test_an_execution_counts_as_interrupted_after_30_seconds_without_a_heartbeat(files: Files) -> None:
    world(files)
    append_events(files, started(0))
    clock = Clock()
    follower = Follower(Execution(files, "OY1p1o"), clock=clock)
    follower.news()

    assert follower.status is None  # its heartbeat is five seconds old
    clock.now += 26
    follower.news()
    assert follower.status == "interrupted"


def test_a_resumed_execution_has_not_ended(files: Files) -> None:
    world(files)
    append_events(
        files, started(0), {"event": "interrupted", "uid": uid(0), "attempt": 1, "time": time(1)}, ended("interrupted")
    )
    follower = Follower(Execution(files, "OY1p1o"), clock=Clock())
    follower.news()
    assert follower.status == "interrupted"

    append_events(
        files, {"event": "resumed", "added": 0, "removed": 0, "kept": 0, "time": time()}, started(0, attempt=2)
    )
    follower.news()

    assert follower.status is None
