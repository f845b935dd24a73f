"""Small storages written by hand, in format 1."""

from __future__ import annotations

import json
from datetime import datetime, timezone
from typing import Any

from machinable.results.execution import Execution
from machinable.storage.files import Files
from machinable.storage.memory import MemoryFiles

FOLDER = "OY1p1o"
NOW = 1769850902.0


def time(seconds_ago: float = 0.0) -> str:
    """A time before `NOW`, as it is stored."""
    return datetime.fromtimestamp(NOW - seconds_ago, timezone.utc).isoformat(timespec="microseconds")


def uid(index: int) -> str:
    return f"{index:012d}"


def planned(index: int, config: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A line of plan.jsonl."""
    flags = {"SEED": 1000 + index, "UID": uid(index), "NAME": "train", "MODULE": "train"} | more.pop("flags", {})
    return {
        "index": index,
        "uid": uid(index),
        "seed": 1000 + index,
        "component": "train",
        "module": "train",
        "version": None,
        "config": config or {},
        "flags": flags,
        "children": [],
        "requires": {},
        "tags": {},
        "identity": f"{index:032x}",
    } | more


def started(index: int, attempt: int = 1) -> dict[str, Any]:
    return {"event": "started", "uid": uid(index), "attempt": attempt, "time": time(60)}


def finished(index: int, attempt: int = 1, **record: Any) -> dict[str, Any]:
    return {
        "event": "finished",
        "uid": uid(index),
        "attempt": attempt,
        "time": time(),
        "seconds": 4.2,
        "record": record or None,
    }


def failed(index: int, attempt: int = 1, **record: Any) -> dict[str, Any]:
    error = {"type": "ValueError", "message": "no data"}
    return finished(index, attempt, **record) | {"event": "failed", "error": error}


def lines(rows: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def facts(folder: str = FOLDER, **more: Any) -> dict[str, Any]:
    """execution.json."""
    identifier, _, run = folder.partition("-")
    return {
        "format": 1,
        "id": identifier,
        "run": int(run or 1),
        "seed": 22490017876,
        "name": "rates",
        "started": time(100),
        "task": {},
        "engine": {"type": "local"},
        "project": "demo",
        "code": {},
        "host": {},
        "python": "3.11.7",
        "packages": {},
    } | more


def write(files: Files, path: str, data: Any) -> None:
    files.write(path, data if isinstance(data, bytes) else json.dumps(data).encode())


def stored(
    plan: list[dict[str, Any]],
    ledger: list[dict[str, Any]] | None = None,
    *,
    files: Files | None = None,
    folder: str = FOLDER,
    trust: bool = False,
    **more: Any,
) -> Execution:
    """An execution with these lines, at the time `NOW`."""
    files = files if files is not None else MemoryFiles()
    write(files, f"{folder}/execution.json", facts(folder, **more))
    write(files, f"{folder}/plan.jsonl", lines(plan))
    if ledger is not None:
        write(files, f"{folder}/ledger.jsonl", lines(ledger))
    return Execution(files, folder, trust=trust, clock=lambda: NOW)


def status(state: str = "running", **more: Any) -> dict[str, Any]:
    """status.json."""
    return {
        "state": state,
        "attempt": 1,
        "started": time(50),
        "heartbeat": time(5),
        "finished": None if state == "running" else time(10),
        "host": {"name": "node7", "pid": 4711},
        "result": None,
        "error": None,
        "checkpoint": None,
    } | more


class WatchedFiles(MemoryFiles):
    """Notes what is read."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def read(self, path: str) -> bytes:
        self.seen.append(path)
        return super().read(path)
