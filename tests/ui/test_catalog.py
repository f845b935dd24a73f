from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from machinable.results.storage import Storage
from machinable.storage.local import DirectoryFiles
from machinable.storage.open import open_files
from machinable.ui.catalog import Catalog
from tests.results.worlds import facts, finished, lines, planned, started, stored, write


class Clock:
    now = 0.0

    def __call__(self) -> float:
        self.now += 60
        return self.now


@pytest.fixture
def files(tmp_path: Path) -> DirectoryFiles:
    return DirectoryFiles(tmp_path / "storage")


def ended(files: Any, folder: str, seconds_ago: float = 100) -> None:
    plan = [planned(0), planned(1)]
    ledger = [started(0), finished(0), started(1), finished(1), {"event": "ended", "time": "2026-01-31T09:15:02+00:00"}]
    stored(plan, ledger, files=files, folder=folder)


def opened(files: DirectoryFiles) -> Catalog:
    catalog = Catalog(Storage(files.url), Clock())
    catalog.update()
    return catalog


def names(catalog: Catalog) -> list[str]:
    return [str(execution) for execution in catalog.executions]


def test_new_executions_appear_and_deleted_ones_disappear(files: DirectoryFiles) -> None:
    ended(files, "OY1p1o")
    catalog = opened(files)
    assert (names(catalog), len(catalog.trials), catalog.changes) == (["OY1p1o"], 2, 1)

    ended(files, "OY1p1o-2")
    catalog.update()
    assert (sorted(names(catalog)), len(catalog.trials), catalog.changes) == (["OY1p1o", "OY1p1o-2"], 4, 2)

    files.remove("OY1p1o")
    catalog.update()
    assert (names(catalog), len(catalog.trials), catalog.changes) == (["OY1p1o-2"], 2, 3)


def test_nothing_is_read_again_while_nothing_changes(files: DirectoryFiles) -> None:
    ended(files, "OY1p1o")
    catalog = opened(files)
    before = catalog.executions

    catalog.update()

    assert catalog.executions is before and catalog.changes == 1
    catalog.update(everything=True)
    assert catalog.executions is not before and catalog.changes == 2


def test_a_line_in_the_ledger_or_a_tag_is_seen(files: DirectoryFiles) -> None:
    stored([planned(0)], [started(0)], files=files, engine={"type": "processes"})
    catalog = opened(files)
    assert [trial.status for trial in catalog.trials] == ["pending"]

    write(files, "OY1p1o/ledger.jsonl", lines([started(0), finished(0)]))
    catalog.update()
    assert [trial.status for trial in catalog.trials] == ["finished"]

    write(files, "OY1p1o/annotations.jsonl", lines([{"time": "2026-01-31T09:15:02+00:00", "tags": {"best": True}}]))
    catalog.update()
    assert [trial.tags for trial in catalog.trials] == [{"best": True}] and catalog.changes == 3


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (facts("OY1p1o") | {"format": 99}, "format 99"),
        (b"{", "OY1p1o/execution.json"),
        ([1], "OY1p1o/execution.json"),
        ({"format": 1}, "OY1p1o/execution.json"),
    ],
)
def test_what_cannot_be_read_is_named_with_the_reason(files: DirectoryFiles, content: Any, why: str) -> None:
    ended(files, "OY1p1o-2")
    ended(files, "OY1p1o")
    write(files, "OY1p1o/execution.json", content)

    catalog = opened(files)

    assert names(catalog) == ["OY1p1o-2"] and list(catalog.left_out) == ["OY1p1o"]
    assert why in catalog.left_out["OY1p1o"]
    ended(files, "OY1p1o")  # it is repaired
    catalog.update()
    assert sorted(names(catalog)) == ["OY1p1o", "OY1p1o-2"] and not catalog.left_out


def test_a_folder_that_is_not_yet_an_execution_is_ignored(files: DirectoryFiles) -> None:
    write(files, "OY1p1o/plan.jsonl", lines([planned(0)]))
    write(files, "notes/readme.txt", b"mine")

    catalog = opened(files)

    assert (names(catalog), catalog.left_out, catalog.is_read) == ([], {}, True)


def test_it_looks_at_most_once_in_a_period(files: DirectoryFiles) -> None:
    ended(files, "OY1p1o")
    catalog = Catalog(Storage(files.url), lambda: 0.0)
    catalog.update()

    ended(files, "OY1p1o-2")
    catalog.update()

    assert names(catalog) == ["OY1p1o"]


def test_a_storage_that_disappears_leaves_what_was_read_with_the_reason(files: DirectoryFiles, tmp_path: Path) -> None:
    ended(files, "OY1p1o")
    catalog = opened(files)

    (tmp_path / "storage").rename(tmp_path / "away")
    catalog.update()
    assert names(catalog) == ["OY1p1o"] and "storage" in (catalog.fault or "") and catalog.changes == 2

    (tmp_path / "away").rename(tmp_path / "storage")
    catalog.update()
    assert names(catalog) == ["OY1p1o"] and catalog.fault is None and catalog.changes == 3


def test_what_has_ended_in_a_bucket_is_read_once(s3_folder: Callable[[], str]) -> None:
    url = s3_folder()
    bucket = open_files(url, create=True)
    ended(bucket, "OY1p1o")
    stored([planned(0)], None, files=bucket, folder="OY1p1o-2", engine={"type": "processes"})
    write(bucket, "OY1p1o-2/ledger.000001.jsonl", lines([started(0)]))
    with Storage(url) as storage:
        catalog = Catalog(storage, Clock())
        catalog.update()
        first = {str(execution): execution for execution in catalog.executions}

        write(bucket, "OY1p1o-2/ledger.000002.jsonl", lines([finished(0)]))
        catalog.update()

        assert catalog.execution("OY1p1o") is first["OY1p1o"]
        assert [trial.status for trial in catalog.execution("OY1p1o-2")] == ["finished"] and catalog.changes == 2
    bucket.close()
