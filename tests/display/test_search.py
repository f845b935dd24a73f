"""What people see of a search: its charts, and the importance of its settings."""

from __future__ import annotations

from typing import Any, cast

import pytest

from machinable.display.search import search_charts
from machinable.results.execution import Execution
from machinable.results.search import SearchLog, SearchResult


def _search(values: list[float]) -> SearchResult:
    rows: list[dict[str, Any]] = []
    for number, value in enumerate(values):
        time = f"2026-01-01T00:00:{number:02}+00:00"
        rows.append({"event": "asked", "sample": number, "values": {"a": value % 7, "b": number % 3}, "uids": []})
        rows.append({"event": "evaluated", "sample": number, "value": value, "state": "finished", "time": time})
    space = {"a": {"uniform": [0, 7]}, "b": {"randint": [0, 2]}}
    task = {"metric": "result", "mode": "min", "space": space}
    return SearchResult(cast("Execution", None), task, SearchLog(rows, "", 0.0, "2026-01-01T00:00:00+00:00"))


def test_the_best_value_stays_as_it_is_until_a_better_one_is_found() -> None:
    samples, seconds = search_charts(_search([3.0, 3.5, 1.0, 2.0]))

    assert [(point.x, point.y) for point in samples.series[0].points] == [(1, 3), (2, 3), (3, 3), (3, 1), (4, 1)]
    assert [(point.x, point.y) for point in seconds.series[0].points] == [(0, 3), (1, 3), (2, 3), (2, 1), (3, 1)]


def test_the_importance_is_estimated_by_at_most_so_many_samples_from_the_whole_search() -> None:
    pytest.importorskip("optuna")
    values = [float((number * 37) % 11) for number in range(24)]

    assert _search(values).importance(most=24) == _search(values).importance()
    few = _search(values).importance(most=8)
    assert few.keys() == {"a", "b"} and few != _search(values).importance()
