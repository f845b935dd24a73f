"""Large executions are cached for the next reader, which gets the same answers as without a cache."""

from __future__ import annotations

import datetime
import json
import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from machinable.errors import InvalidValue
from machinable.results import cache as cache_module
from machinable.results.execution import Execution
from machinable.results.query import find_field, known_fields
from machinable.results.storage import Storage
from machinable.serialization import encode
from machinable.settings import storage_choice
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from tests.results.worlds import FOLDER, failed, finished, lines, planned, started, status, stored, uid, write
from tests.results.worlds import time as ago

MANY = 700  # trials, so that the plan is large enough


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "machinable"


@pytest.fixture
def files(tmp_path: Path) -> DirectoryFiles:
    return DirectoryFiles(tmp_path / "storage")


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were read in storages."""
    names: list[str] = []
    read = DirectoryFiles.read

    def noted(files: DirectoryFiles, path: str) -> bytes:
        names.append(path.rpartition("/")[2])
        return read(files, path)

    monkeypatch.setattr(DirectoryFiles, "read", noted)
    return names


def plan() -> list[dict[str, Any]]:
    flags = {"REPEAT_SEED": 7, "REPEAT_TOTAL": MANY, "note": "x" * 300}
    return [planned(i, {"rate": i % 3 / 10}, flags=flags | {"REPEAT_NUMBER": i}) for i in range(MANY)]


def ledger() -> list[dict[str, Any]]:
    return [finished(i, loss=i / 7) for i in range(MANY)] + [{"event": "ended", "status": "finished"}]


def later() -> float:
    """Return a time at which no file has just changed."""
    return time.time() + 100


def read(files: DirectoryFiles, clock: Callable[[], float] = later) -> Execution:
    """Open an execution and read it."""
    execution = Execution(files, FOLDER, clock=clock)
    assert len(execution.trials.columns("status").rows()) == len(execution)
    return execution


def names(cache: Path) -> list[str]:
    return sorted(path.name for path in cache.iterdir()) if cache.is_dir() else []


def test_the_next_reader_reads_neither_plan_nor_ledger(files: DirectoryFiles, seen: list[str], cache: Path) -> None:
    stored(plan(), ledger(), files=files)

    first = read(files).trials.columns("index", "status", "config.rate", "records.loss").rows()
    assert seen == ["plan.jsonl", "ledger.jsonl"]
    again = Execution(files, FOLDER, clock=later)

    assert again.trials.columns("index", "status", "config.rate", "records.loss").rows() == first
    assert (again.status, again.has_ended, len(again), bool(again)) == ("finished", True, MANY, True)
    assert [trial.index for trial in again.trials.where(**{"records.loss": lambda loss: loss > 99})] == [
        *range(694, MANY)
    ]
    assert [(trial.seed, trial.last_row) for trial in again][9] == (1009, {"loss": 9 / 7})
    assert seen == ["plan.jsonl", "ledger.jsonl"]
    assert len(names(cache)) == 1


def test_each_execution_of_a_storage_is_cached(files: DirectoryFiles, cache: Path, seen: list[str]) -> None:
    for folder in (FOLDER, "OY1p1o-2"):
        stored(plan(), ledger(), files=files, folder=folder, started=ago(len(folder)))
    for path in Path(files.url).glob("*/*.jsonl"):
        path.touch()

    def asked() -> Any:
        executions = [Execution(files, folder, clock=later) for folder in (FOLDER, "OY1p1o-2")]
        return [execution.trials.columns("execution", "uid", "records.loss").frame() for execution in executions]

    one, other = zip(asked(), asked(), strict=True)
    assert one[0].equals(one[1]) and other[0].equals(other[1]) and not one[0].equals(other[0])
    assert (len(names(cache)), seen.count("plan.jsonl")) == (2, 2)
    assert len(Storage(files.url).trials.where(execution="OY1p1o-2")) == MANY


# --- the same answers, whatever is stored

SCALARS = st.none() | st.booleans() | st.integers(0, 3) | st.floats() | st.sampled_from(["x", "f()", "f(2)", "-"])
KEYS = st.sampled_from(["a", "b", "a.b", "1", "__tuple__"]) | st.just(3)
VALUES = st.recursive(
    SCALARS | st.dates(),
    lambda inner: st.lists(inner, max_size=2) | st.tuples(inner, inner) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)
CONFIGS = st.dictionaries(st.sampled_from(["a", "b", "c"]), VALUES, max_size=3)
RECORDS = st.none() | st.dictionaries(st.sampled_from(["loss", "a.b", "when"]), SCALARS | VALUES, max_size=2)
ASKED = ["config.a.0", "config.a.b", "config.b.a.b", "config.c.__tuple__", "config.nothing", "records.__map__"]
SECONDS = st.none() | st.integers(0, 3) | st.floats()
EVENTS = st.sampled_from(["started", "finished", "failed", "interrupted", "reused", "blocked", "skipped"])


@st.composite
def executions(draw: st.DrawFn) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A plan and a ledger."""
    rows = [
        planned(number, draw(CONFIGS), tags=draw(CONFIGS), flags=draw(CONFIGS), version=draw(VALUES))
        for number in range(draw(st.integers(1, 4)))
    ] * draw(st.sampled_from([1, 5]))
    plan = [row | {"index": number, "uid": uid(number)} for number, row in enumerate(rows)]
    events = []
    for number in draw(st.lists(st.integers(0, len(plan) + 1), max_size=6)):
        event = {"event": draw(EVENTS), "uid": uid(number), "attempt": 1, "time": ago(), "seconds": draw(SECONDS)}
        events.append(event | ({"record": draw(RECORDS)} if draw(st.booleans()) else {}))
    return [encode(row) for row in plan], [encode(event) for event in events]


@settings(deadline=None)
@given(executions())
def test_cached_executions_give_the_same_answers(
    tmp_path_factory: pytest.TempPathFactory, execution: tuple[list[dict[str, Any]], list[dict[str, Any]]]
) -> None:
    plan, ledger = execution
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("any")
        patch.setenv("XDG_CACHE_HOME", str(directory))
        patch.setattr(cache_module, "MIN_SIZE", 0)
        files = DirectoryFiles(directory / "storage")
        stored(plan, ledger, files=files)
        for number, state in enumerate(("running", "failed")):
            write(files, f"{FOLDER}/trials/{uid(number)}/status.json", status(state))
            described = encode(planned(number, {"a": 1, "b": {"a": (1, 2)}}))
            write(files, f"{FOLDER}/trials/{uid(number)}/trial.json", described)
            write(files, f"{FOLDER}/trials/{uid(number)}/records/default.jsonl", lines([{"loss": number}]))
        first = Execution(files, FOLDER, clock=later)
        expected = _answers(first)
        again = Execution(files, FOLDER, clock=later)

        answers = _answers(again)
        assert again._reader.plan.cached is not None and first._reader.plan.cached is None
        assert answers == expected
        assert repr([trial._reader.events.get(trial.uid) for trial in again]) == repr(
            [trial._reader.events.get(trial.uid) for trial in first]
        )
        assert repr(again.plan) == repr(first.plan)


def _answers(execution: Execution) -> str:
    """Return the values of all fields, of all trials at once and of each trial."""
    trials = execution.trials
    summary = [repr(trials), execution.status, execution.has_ended, [trial.uid for trial in execution.failures]]
    fields = {*known_fields(trials), *ASKED}
    columns = {name: field.values(trials) for name in sorted(fields) if (field := find_field(name)) is not None}
    each = [(trial.status, trial.component, trial.last_row, trial.flags, trial.tags, trial.seconds) for trial in trials]
    return repr((summary, columns, each))


def test_dates_in_rows_are_dates_again(files: DirectoryFiles) -> None:
    when = datetime.date(2026, 1, 31)
    rows = [encode(finished(i, when=when, pair=[(1, 2)])) for i in range(MANY)]
    stored(plan(), rows, files=files)

    for _ in range(2):
        trials = read(files).trials
        assert trials.columns("records.when").rows()[3] == {"records.when": when}
        assert trials[3].last_row == {"when": when, "pair": [(1, 2)]}


def test_what_the_ledger_lacks_is_read_each_time(files: DirectoryFiles) -> None:
    stored(plan(), [started(0), started(1), *ledger()[2:]], files=files)
    write(files, f"{FOLDER}/trials/{uid(0)}/status.json", status("running", heartbeat=ago(0)))
    write(files, f"{FOLDER}/trials/{uid(1)}/status.json", status("failed"))
    read(files)

    write(files, f"{FOLDER}/trials/{uid(0)}/status.json", status("interrupted"))
    execution = read(files)
    assert [trial.status for trial in execution.trials[:3]] == ["interrupted", "failed", "finished"]
    assert repr(execution.trials) == f"<Trials: {MANY - 2} finished, 1 failed, 1 interrupted>"


# --- changed files are read again


def lose_line(path: Path) -> None:
    path.write_bytes(path.read_bytes().removesuffix(b"\n").rpartition(b"\n")[0] + b"\n")


def add_line(path: Path) -> None:
    with path.open("ab") as file:
        file.write(json.dumps(failed(5, loss=7.0)).encode() + b"\n")


def change_in_place(path: Path) -> None:
    facts = path.stat()
    text = path.read_bytes()
    with path.open("r+b") as file:
        file.write(text.replace(b'"finished"', b'"skipped" '))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))  # as if nothing had been


def replace(path: Path) -> None:
    facts = path.stat()
    beside = path.with_name("beside")
    beside.write_bytes(path.read_bytes().replace(b'"finished"', b'"skipped" '))
    os.utime(beside, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    beside.replace(path)


def add_part(path: Path) -> None:
    add_line(path.with_name("ledger.000001.jsonl"))


@pytest.mark.parametrize("change", [lose_line, add_line, change_in_place, replace, add_part])
def test_a_ledger_that_has_changed_is_read(files: DirectoryFiles, change: Callable[[Path], None]) -> None:
    stored(plan(), ledger()[:-1], files=files)
    read(files)
    given_out = read(files)

    change(Path(files.url, FOLDER, "ledger.jsonl"))

    fresh = Execution(files, FOLDER, clock=lambda: 0.0)  # caches nothing
    expected = [trial.status for trial in fresh.trials]
    assert set(expected) != {"finished"}
    for _ in range(2):
        execution = read(files)
        assert [row["status"] for row in execution.trials.columns("status").rows()] == expected
        assert [trial.status for trial in execution] == expected
    trials = given_out.trials
    assert {row["status"] for row in trials.columns("status").rows()} == {"finished"}  # as it was read
    given_out.refresh()
    assert [row["status"] for row in trials.columns("status").rows()] == expected


def test_parts_of_a_ledger_count_each(files: DirectoryFiles, seen: list[str]) -> None:
    stored(plan(), None, files=files)
    write(files, f"{FOLDER}/ledger.jsonl", lines(ledger()[:5]))
    write(files, f"{FOLDER}/ledger.000001.jsonl", lines([finished(5)]))
    write(files, f"{FOLDER}/ledger.000002.jsonl", lines([finished(6)]))
    read(files)
    assert repr(read(files).trials) == f"<Trials: {MANY - 7} pending, 7 finished>"
    assert seen.count("ledger.000002.jsonl") == 1

    write(files, f"{FOLDER}/ledger.000002.jsonl", lines([failed(6)]))
    assert repr(read(files).trials) == f"<Trials: {MANY - 7} pending, 6 finished, 1 failed>"


def test_a_plan_that_was_replaced_is_read(files: DirectoryFiles) -> None:
    stored(plan(), ledger(), files=files)
    read(files)
    former = read(files)
    trials = former.trials

    rows = plan()[::-1]
    write(files, f"{FOLDER}/plan.jsonl", lines([row | {"index": index} for index, row in enumerate(rows)]))

    assert [trial.uid for trial in read(files)] == [row["uid"] for row in rows]
    former.refresh()
    assert [trial.uid for trial in former] == [row["uid"] for row in rows]
    # Trials that were given out are still those of the plan that was.
    assert [row["config.rate"] for row in trials.columns("config.rate").rows()] == [i % 3 / 10 for i in range(MANY)]


def test_files_that_change_while_they_are_read_are_not_cached(files: DirectoryFiles, cache: Path) -> None:
    stored(plan(), ledger(), files=files)
    execution = Execution(files, FOLDER, clock=later)
    trials = execution.trials  # the plan is read

    add_line(Path(files.url, FOLDER, "ledger.jsonl"))

    assert trials[5].status == "failed"
    assert names(cache) == []


def test_files_that_have_just_been_written_are_not_cached(files: DirectoryFiles, cache: Path) -> None:
    stored(plan(), ledger(), files=files)
    changed = os.stat(files.local_path(f"{FOLDER}/ledger.jsonl") or "").st_ctime

    read(files, clock=lambda: changed + 1.9)
    assert names(cache) == []
    read(files, clock=lambda: changed + 2.1)
    assert len(names(cache)) == 1


def test_an_execution_that_runs_is_not_cached_each_time(files: DirectoryFiles, cache: Path) -> None:
    stored(plan(), ledger()[:-1], files=files)  # its process was killed, or is at work
    changed = os.stat(files.local_path(f"{FOLDER}/ledger.jsonl") or "").st_ctime

    read(files, clock=lambda: changed + 59)
    assert names(cache) == []
    read(files, clock=lambda: changed + 61)
    assert len(names(cache)) == 1


def test_an_execution_of_the_same_name_elsewhere_is_another_one(tmp_path: Path, cache: Path) -> None:
    one, other = DirectoryFiles(tmp_path / "one"), DirectoryFiles(tmp_path / "other")
    stored(plan(), ledger(), files=one)
    stored(plan(), [failed(i) for i in range(MANY)], files=other)

    for _ in range(2):
        assert (read(one).status, read(other).status) == ("finished", "failed")
    assert len(names(cache)) == 2


# --- damaged and foreign files are ignored


def cut(data: bytes) -> bytes:
    return data[: len(data) // 2]


def flip(data: bytes) -> bytes:
    middle = data.index(b'"finished"') + 3
    return data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]


@pytest.mark.parametrize(
    "spoil",
    [
        cut,
        flip,
        lambda data: b"",
        lambda data: bytes(len(data)),
        lambda data: data + b"more\n",
        lambda data: data.replace(b" cache 2 ", b" cache 3 ", 1),
        lambda data: b"\n\n\n",
        lambda data: data.replace(b"machinable ", b"machinable 0.", 1),
    ],
    ids=["cut", "a changed bit", "empty", "zeros", "longer", "a newer file", "lines", "another version of machinable"],
)
def test_damaged_files_and_those_of_another_version_are_replaced(
    files: DirectoryFiles, cache: Path, seen: list[str], spoil: Callable[[bytes], bytes]
) -> None:
    stored(plan(), ledger(), files=files)
    expected = read(files).trials.columns("status", "records.loss").rows()
    (path,) = cache.iterdir()
    good = path.read_bytes()
    path.write_bytes(spoil(good))

    assert read(files).trials.columns("status", "records.loss").rows() == expected
    assert path.read_bytes() == good
    read(files)
    assert seen.count("plan.jsonl") == 2


def test_the_file_of_another_execution_is_ignored(tmp_path: Path, cache: Path) -> None:
    one, other = DirectoryFiles(tmp_path / "one"), DirectoryFiles(tmp_path / "other")
    stored(plan(), ledger(), files=one)
    read(one)
    (of_one,) = cache.iterdir()
    stored(plan(), [failed(i) for i in range(MANY)], files=other)
    read(other)
    (of_other,) = set(cache.iterdir()) - {of_one}

    of_one.replace(of_other)

    assert read(other).status == "failed"


def test_only_its_user_can_read_it(files: DirectoryFiles, cache: Path) -> None:
    stored(plan(), ledger(), files=files)
    before = os.umask(0)
    try:
        read(files)
    finally:
        os.umask(before)

    assert oct(cache.stat().st_mode & 0o777) == "0o700"
    assert [oct(path.stat().st_mode & 0o777) for path in cache.iterdir()] == ["0o600"]


def test_a_directory_that_others_can_write_is_not_used(files: DirectoryFiles, cache: Path, seen: list[str]) -> None:
    stored(plan(), ledger(), files=files)
    read(files)
    cache.chmod(0o777)

    read(files)
    assert seen.count("plan.jsonl") == 2


def test_a_link_is_not_followed(files: DirectoryFiles, cache: Path, tmp_path: Path) -> None:
    stored(plan(), ledger(), files=files)
    (tmp_path / "elsewhere").mkdir()
    cache.parent.mkdir()
    cache.symlink_to(tmp_path / "elsewhere")

    assert read(files).status == "finished"
    assert list((tmp_path / "elsewhere").iterdir()) == []


# --- where nothing can be cached, nothing is


def test_the_cache_is_in_the_home_directory(
    files: DirectoryFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(plan(), ledger(), files=files)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # means nothing
    monkeypatch.chdir(tmp_path)

    read(files)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["storage"]  # a missing one is not made
    (tmp_path / "home").mkdir()
    read(files)
    assert len(list((tmp_path / "home" / ".cache" / "machinable").iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_not_needed(files: DirectoryFiles, cache: Path, seen: list[str]) -> None:
    stored(plan(), ledger(), files=files)
    cache.parent.write_text("a file in its place")

    assert [read(files).status, read(files).status] == ["finished", "finished"]
    assert seen.count("plan.jsonl") == 2


def test_a_full_disk_leaves_no_half_file(files: DirectoryFiles, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: str, to: str) -> None:
        raise OSError(28, "No space left on device")

    stored(plan(), ledger(), files=files)
    monkeypatch.setattr(cache_module.os, "replace", full)

    assert read(files).status == "finished"
    assert names(cache) == []


@pytest.mark.parametrize("word", ["off", "OFF"])
def test_it_can_be_switched_off(
    files: DirectoryFiles, cache: Path, monkeypatch: pytest.MonkeyPatch, seen: list[str], word: str
) -> None:
    stored(plan(), ledger(), files=files)
    read(files)
    monkeypatch.setenv("MACHINABLE_CACHE", word)

    read(files)
    assert seen.count("plan.jsonl") == 2
    monkeypatch.setenv("MACHINABLE_CACHE", "on")
    read(files)
    assert seen.count("plan.jsonl") == 2


def test_another_value_of_the_switch_is_an_error(files: DirectoryFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    stored([planned(0)], [finished(0)], files=files)
    monkeypatch.setenv("MACHINABLE_CACHE", "no")

    with pytest.raises(InvalidValue) as caught:
        read(files)
    assert str(caught.value) == "MACHINABLE_CACHE is 'no'\n  Set on or off, or unset it."
    with pytest.raises(InvalidValue, match="MACHINABLE_CACHE"):  # before anything runs
        storage_choice(None, os.environ, {}, {})


def test_small_executions_are_not_cached(files: DirectoryFiles, cache: Path) -> None:
    stored(plan()[:50], ledger(), files=files)

    assert read(files).status == "finished"
    assert names(cache) == []


def test_a_storage_in_memory_is_not_cached(cache: Path) -> None:
    files = MemoryFiles()
    stored(plan(), ledger(), files=files)

    assert Execution(files, FOLDER, clock=later).status == "finished"
    assert names(cache) == []


# --- many readers, many executions


def test_readers_do_not_disturb_each_other(files: DirectoryFiles, cache: Path) -> None:
    stored(plan(), ledger(), files=files)
    expected = read(files).trials.columns("uid", "status", "records.loss").rows()
    start = threading.Barrier(6)

    def reader(number: int) -> bool:
        start.wait()
        same = True
        for turn in range(5):
            same = same and read(files).trials.columns("uid", "status", "records.loss").rows() == expected
            if number == turn:
                for path in cache.iterdir():
                    path.unlink(missing_ok=True)
        return same

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(reader, range(6)))
    read(files)
    assert [path.suffix for path in cache.iterdir()] == [".columns"]


def test_the_least_recently_read_file_is_removed(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storages = [DirectoryFiles(tmp_path / name) for name in "abc"]
    paths = []
    for age, files in enumerate(storages[:2]):
        stored(plan(), ledger(), files=files)
        read(files)
        (path,) = set(cache.iterdir()) - set(paths)
        os.utime(path, (1000 + age, 1000 + age))
        paths.append(path)
    (cache / "abandoned.columns.12-ab").write_bytes(b"x" * 1000)  # of a killed process
    os.utime(cache / "abandoned.columns.12-ab", (900, 900))
    (cache / "of others").write_bytes(b"x" * 1000)
    monkeypatch.setattr(cache_module, "MAX_SIZE", int(2.5 * paths[0].stat().st_size))
    read(storages[0])  # so that the second is the oldest
    stored(plan(), ledger(), files=storages[2])

    read(storages[2])

    left = set(cache.iterdir())
    assert paths[0] in left and paths[1] not in left
    assert len(left - {paths[0], cache / "of others"}) == 1


def test_an_execution_larger_than_the_cache_is_not_cached(
    files: DirectoryFiles, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(plan(), ledger(), files=files)
    monkeypatch.setattr(cache_module, "MAX_SIZE", 10_000)

    assert read(files).status == "finished"
    assert names(cache) == []
