"""Reading many executions of an object store with few requests."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

from machinable.results.execution import Execution
from machinable.results.listing import prefetch
from machinable.results.storage import Storage
from machinable.storage.open import open_files
from machinable.storage.s3 import ObjectStoreFiles
from tests.results.worlds import finished, lines, planned, stored

NUMBER = 12


@pytest.fixture
def url(s3_folder: Callable[[], str]) -> str:
    return s3_folder()


def ago(hours: float) -> str:
    return (datetime.now(timezone.utc) - timedelta(hours=hours)).isoformat(timespec="microseconds")


def fill(url: str) -> ObjectStoreFiles:
    """Store executions; the first is the newest."""
    files = open_files(url, create=True)
    assert isinstance(files, ObjectStoreFiles)
    for number in range(NUMBER):
        folder = f"OY1p1o-{number + 2}"
        stored([planned(0)], files=files, folder=folder, started=ago(number))
        for part in (1, 2):
            files.write(f"{folder}/ledger.{part:06d}.jsonl", lines([finished(0, part=part)]))
    return files


def counted(storage: Storage) -> list[str]:
    """Return a list that receives each request of a storage."""
    assert isinstance(storage.files, ObjectStoreFiles)
    requests: list[str] = []

    def note(request: Any, **others: Any) -> None:
        requests.append(request.url.partition("?")[0].rpartition("/")[2])

    storage.files._client.meta.events.register("before-send.s3", note)
    return requests


def test_all_executions_are_read_with_fewer_than_five_requests_each(url: str) -> None:
    fill(url)
    storage = Storage(url)
    requests = counted(storage)
    executions, total = storage.newest()
    prefetch(executions, Execution.load)
    assert [(str(one), one.status, one.trials[0].last_row) for one in executions] == [
        (f"OY1p1o-{number + 2}", "finished", {"part": 2}) for number in range(NUMBER)
    ]
    assert total == NUMBER
    # a list of the folders, one of all files, and execution.json, the plan and two parts of each ledger
    assert len(requests) == 2 + 4 * NUMBER


def test_a_limit_leaves_the_older_ones_unread(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    files = fill(url)
    walk = files.walk

    def as_if_stored_at_the_start(self: ObjectStoreFiles, path: str) -> Any:
        for found in walk(path):
            number = int(found.path.partition("/")[0].removeprefix("OY1p1o-")) - 2
            yield found._replace(changed=datetime.fromisoformat(ago(number)).timestamp() + 1)

    monkeypatch.setattr(ObjectStoreFiles, "walk", as_if_stored_at_the_start)
    storage = Storage(url)
    requests = counted(storage)
    executions, total = storage.newest(3)
    assert ([str(one) for one in executions], total) == (["OY1p1o-2", "OY1p1o-3", "OY1p1o-4"], NUMBER)
    assert requests.count("execution.json") == 3


def test_an_old_execution_that_was_stored_last_is_not_listed_first(url: str) -> None:
    files = fill(url)
    stored([planned(0)], files=files, folder="OY1p1o", started=ago(99))
    assert [str(one) for one in Storage(url).newest(2)[0]] == ["OY1p1o-2", "OY1p1o-3"]
