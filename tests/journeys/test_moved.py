"""Storages that were moved, copied or merged by any program that copies files."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.results.verify import verify

World = Callable[..., Path]

YAML = """\
components:
  - numbers: {size: 3}
  - total:
      fails: false
      _requires_: {data: numbers}
"""
NUMBERS = """
from machinable import Component


class Numbers(Component):
    def on_execute(self):
        self.record["size"] = self.config.size
        self.record.save()
        self.store.write("x.json", list(range(self.config.size)))
"""
TOTAL = """
import os
from machinable import Component


class Total(Component):
    def on_execute(self):
        if self.config.fails and not os.path.exists("mended"):
            raise ValueError("no")
        self.log.info("add")
        self.record["total"] = sum(self.requires.data.read("x.json"))
        self.record.save()
"""


@pytest.fixture
def here(project: World) -> Path:
    return project(YAML, numbers=NUMBERS, total=TOTAL)


def run(storage: Path, seed: str | None = "OY1p1o", version: Any = None, **options: Any) -> Any:
    return ml.execute(
        ml.Task().component("total", version).repeat(2),
        {"storage": str(storage), "code_backup": False},
        seed,
        **options,
    )


def content(storage: Path) -> dict[str, Any]:
    """Return what a reader sees of a storage."""
    with ml.Storage(str(storage)) as opened:
        return {
            str(execution): [(t.component, t.status, t.records.rows, t.log, t.files, t.result) for t in execution]
            for execution in opened.executions
        }


def faults(storage: Path) -> list[Any]:
    with ml.Storage(str(storage)) as opened:
        return verify(opened.files, clock=lambda: 1e11)[1]


def test_a_moved_storage_reads_the_same_and_can_be_resumed(here: Path, tmp_path: Path) -> None:
    run(tmp_path / "old place")
    before = content(tmp_path / "old place")
    (tmp_path / "new").mkdir()
    os.rename(tmp_path / "old place", tmp_path / "new/ünï %41 #!?")
    moved = tmp_path / "new/ünï %41 #!?"

    assert content(moved) == before
    assert faults(moved) == []
    again = run(moved)
    assert (str(again), [trial.status for trial in again]) == ("OY1p1o-2", ["reused", "finished", "finished"])


def test_nothing_stored_contains_the_place_of_the_storage(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["script.py"])
    run(tmp_path / "somewhere")
    for path in (tmp_path / "somewhere").rglob("*"):
        if path.is_file():
            assert b"somewhere" not in path.read_bytes(), path
            assert os.fsencode(here) not in path.read_bytes(), path


def test_storages_of_two_hosts_are_merged_by_copying_one_over_the_other(here: Path, tmp_path: Path) -> None:
    one, other, both = tmp_path / "one", tmp_path / "other", tmp_path / "both"
    run(one, "OY1p1o")
    run(other, "8gWVkz")
    run(other, "OY1p1p", engine="processes:1")
    for source in (one, other):
        shutil.copytree(source, both, dirs_exist_ok=True)

    assert content(both) == content(one) | content(other)
    assert faults(both) == []
    again = run(both, "OY1p1q")
    assert again.trials[0].status == "reused"


def test_rsync_copies_what_is_new(here: Path, tmp_path: Path) -> None:
    if shutil.which("rsync") is None:
        pytest.skip("there is no rsync")
    one, copy = tmp_path / "one", tmp_path / "copy"
    for seed in ("OY1p1o", "8gWVkz"):
        run(one, seed)
        subprocess.run(["rsync", "-a", f"{one}/", f"{copy}/"], check=True)
        assert content(copy) == content(one)
    assert faults(copy) == []


def test_a_copy_made_during_an_execution_can_be_read_and_resumed(here: Path, tmp_path: Path) -> None:
    """A copy has no lease or marker of a process of this host; incomplete parts look as if the process was killed."""
    copies = []

    def copy(event: Any) -> None:
        copies.append(tmp_path / f"copy{len(copies)}")
        shutil.copytree(tmp_path / "stored", copies[-1])

    run(tmp_path / "stored", listeners=[copy])

    assert len(copies) == 8
    for directory in copies:
        for lease in directory.rglob("*.lease"):
            lease.unlink()  # of this process, which still runs
        for status in directory.rglob("status.json"):
            facts = json.loads(status.read_text())
            if facts["state"] == "running":
                facts["heartbeat"] = "2020-01-01T00:00:00.000000+00:00"
                status.write_text(json.dumps(facts))
        with ml.Storage(str(directory)) as opened:
            is_over = opened["OY1p1o"].status == "finished"
        execution = ml.execute(None, {"storage": str(directory), "code_backup": False}, resume="OY1p1o")
        assert execution.status == "finished", directory
        assert content(directory) == content(tmp_path / "stored") or not is_over
        assert [rows[2][0].keys() for rows in content(directory)["OY1p1o"]] == [
            rows[2][0].keys() for rows in content(tmp_path / "stored")["OY1p1o"]
        ]


def as_parts(directory: Path) -> None:
    """Split growing files into the parts that an object store has of them."""
    for path in [*directory.rglob("*.jsonl"), *directory.rglob("log.txt"), *directory.rglob("output.log")]:
        if path.name != "plan.jsonl":
            lines = path.read_bytes().splitlines(keepends=True)
            half = (len(lines) + 1) // 2
            for number, part in enumerate((lines[:half], lines[half:]), start=1):
                if part:
                    path.with_name(f"{path.stem}.{number:06d}{path.suffix}").write_bytes(b"".join(part))
            path.unlink()


def test_a_copy_from_an_object_store_can_be_read_and_resumed(here: Path, tmp_path: Path) -> None:
    storage = tmp_path / "stored"
    run(storage, version={"fails": True}, on_failure="continue")
    before = content(storage)
    as_parts(storage)
    assert content(storage) == before
    assert faults(storage) == []
    (here / "mended").touch()

    execution = ml.execute(None, {"storage": str(storage), "code_backup": False}, resume="OY1p1o")

    assert [trial.status for trial in execution] == ["finished"] * 3
    assert [state for _, state, *_ in content(storage)["OY1p1o"]] == ["finished"] * 3
    assert not (storage / "OY1p1o/ledger.jsonl").exists()
    assert faults(storage) == []
