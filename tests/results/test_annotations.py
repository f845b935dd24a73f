"""Tags and notes that are added to what has run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from machinable.errors import Damaged
from machinable.results import cache
from machinable.results.annotations import annotate
from machinable.results.execution import Execution
from machinable.results.storage import Storage
from machinable.results.verify import Fault, repair, verify
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.numbered_parts import PartAppender
from machinable.storage.open import open_files
from tests.results.worlds import FOLDER, finished, planned, stored, time, uid

PATH = f"{FOLDER}/annotations.jsonl"


def add(files: Files, index: int | None = None, **facts: Any) -> None:
    annotate(files, FOLDER, {"time": time(), "user": "ada"} | ({} if index is None else {"uid": uid(index)}) | facts)


def world(files: Files) -> Execution:
    plan = [planned(i, tags={"study": "a", "data": {"n": i}}) for i in range(3)]
    return stored(plan, [*(finished(i, loss=float(i)) for i in range(3)), {"event": "ended"}], files=files)


@pytest.fixture(params=["read", "cached"])
def execution(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Execution:
    execution = world(DirectoryFiles(tmp_path / "storage"))
    if request.param == "cached":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(cache, "MIN_SIZE", 0)
        monkeypatch.setattr(cache, "SETTLED", -1e12)
        execution.trials.rows()
        execution.refresh()
    return execution


def faults(files: Files) -> list[Fault]:
    return [fault for fault in verify(files, clock=lambda: 1e12)[1] if fault.path == PATH]


def values(execution: Execution, field: str) -> list[Any]:
    return [row[field] for row in execution.trials.columns(field).rows()]


def test_later_tags_count_more_and_what_ran_is_unchanged(execution: Execution) -> None:
    files = execution.files
    before = {found.path: files.read(found.path) for found in files.walk("")}

    add(files, 1, tags={"study": "b", "best": True})
    add(files, tags={"reviewed": "ok"})
    add(files, 0, removed=["study"])
    add(files, 2, tags={"data": {"n": 7}})
    execution.refresh()

    assert values(execution, "tags.study") == [None, "b", "a"]
    assert values(execution, "tags.best") == [None, True, None]
    assert values(execution, "tags.data.n") == [0, 1, 7]
    assert [trial.index for trial in execution.trials.where("tags.reviewed=ok and tags.study!=a")] == [0, 1]
    assert execution.trials[1].tags == {"study": "b", "data": {"n": 1}, "best": True, "reviewed": "ok"}
    assert execution.trials[1].planned("tags") == {"study": "a", "data": {"n": 1}}
    assert {path: files.read(path) for path in before} == before

    add(files, tags={"study": "c"})  # of all trials, whatever was said of one before
    execution.refresh()
    assert values(execution, "tags.study") == ["c", "c", "c"]


def test_notes_are_a_field_of_trials_and_of_tables(execution: Execution) -> None:
    add(execution.files, 1, note="diverged")
    add(execution.files, note="night run")
    execution.refresh()

    assert values(execution, "note") == ["night run", "diverged; night run", "night run"]
    assert [trial.index for trial in execution.trials.where("note~*diverged*")] == [1]
    assert list(execution.trials.rows()[0])[-1] == "note"
    assert [(line["note"], line["user"]) for line in execution.trials[1].notes] == [("diverged", "ada")]


def test_a_tag_does_not_separate_repetitions(execution: Execution) -> None:
    before = execution.trials.where("tags.data.n=1").summary("records.loss")
    add(execution.files, 1, tags={"best": True})
    execution.refresh()

    assert list(execution.trials.where("tags.data.n=1").summary("records.loss")) == list(before)


def test_an_unfinished_line_of_a_killed_writer_is_ignored(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    execution = world(files)
    add(files, note="first")
    with open(tmp_path / PATH, "ab") as file:
        file.write(b'{"time": "2026-01')  # it was killed here
    add(files, note="second")

    assert [line["note"] for line in execution.notes] == ["first", "second"]
    assert faults(files) == []


def test_a_damaged_line_is_reported_and_can_be_moved_aside() -> None:
    files = MemoryFiles()
    execution = world(files)
    add(files, note="first")
    files.write(PATH, files.read(PATH) + b'{"time": 3, "note": "x"}\n')

    with pytest.raises(Damaged, match=r"line 2 of .* is not an annotation: time is an integer"):
        execution.trials.rows()
    (fault,) = faults(files)
    assert fault.kind == "damaged"
    assert repair(files, fault)
    assert [line["note"] for line in execution.notes] == ["first"]


def test_several_writers_on_a_storage_that_cannot_append_lose_nothing() -> None:
    class Parts(MemoryFiles):
        appends = False

        def appender(self, path: str) -> PartAppender:
            return PartAppender(self, path, create=self.create)

    files = Parts()
    execution = world(files)
    for number in range(3):
        add(files, note=str(number))

    assert [line["note"] for line in execution.notes] == ["0", "1", "2"]
    assert len([entry for entry in files.entries(FOLDER) if entry.name.startswith("annotations.")]) == 3


@pytest.mark.filterwarnings("ignore:datetime.datetime.utcnow:DeprecationWarning")  # of botocore
def test_writers_on_s3_lose_nothing_and_readers_list_once(s3_folder: Callable[[], str]) -> None:
    url = s3_folder()
    world(open_files(url, create=True))
    writers = [open_files(url, create=False) for _ in range(2)]
    for number in range(2):
        for writer, files in enumerate(writers):
            add(files, writer, tags={f"by{writer}": number}, note=f"{writer}.{number}")

    with Storage(url) as storage:
        trials = storage.trials.where("tags.by1=1")
        (execution,) = storage.executions
        parts = execution._reader.annotation_parts

    assert [trial.index for trial in trials] == [1]
    assert [line["note"] for line in trials[0].notes] == ["1.0", "1.1"]
    assert parts == [1, 2, 3, 4]


def test_an_execution_with_damaged_annotations_is_left_out(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    world(files)
    stored([planned(0)], [finished(0)], files=files, folder="8gWVkz")
    (tmp_path / PATH).write_bytes(b'{"time": 3}\n')

    with pytest.warns(RuntimeWarning, match="OY1p1o is left out: line 1 of .*annotations.jsonl is not an annotation"):
        found = Storage(tmp_path).trials.columns("execution").rows()
    assert found == [{"execution": "8gWVkz"}]
