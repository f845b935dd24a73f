"""Text about a search: its facts, and a table of its samples."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

from machinable.display.tables import Table, cell, settings_text
from machinable.errors import MachinableError
from machinable.results.chart import Chart, Point, Series
from machinable.results.execution import Execution
from machinable.results.search import SampleState, SearchResult, SearchSample, order_of

__all__ = ["importance_of", "is_search", "samples_table", "search_charts", "search_facts"]

LISTED = 20  # samples
LISTED_BEST = 6  # improvements
IMPORTANT = 150  # samples by which the importance is estimated for people: one second, and 24 s for 1,000
STATES: tuple[SampleState, ...] = ("finished", "pruned", "failed", "running")


def is_search(execution: Execution) -> bool:
    """Return whether an execution is a search."""
    return bool((execution.data.get("task") or {}).get("search"))


def importance_of(execution: Execution) -> dict[str, float]:
    """Return the importance of each setting; nothing while samples follow, or if it cannot be computed, as with few."""
    if execution.status == "running":
        return {}
    try:
        return execution.search.importance(IMPORTANT)
    except MachinableError:
        return {}


def search_facts(execution: Execution) -> dict[str, str | None]:
    """Return the facts about a search, by name."""
    search = execution.search
    counts = Counter(sample.state for sample in search.samples)
    states = ", ".join(f"{counts[state]} {state}" for state in STATES if counts[state])
    over = f"; over after {search.over}" if search.over else ""
    best = next(iter(search.best()), None)
    return {
        "search": f"{search.mode} {search.metric}, {len(search.samples)} samples: {states or 'none'}{over}",
        "best": None if best is None else f"{_value(best)} by sample {best.number}: {settings_text(best.values)}",
        "history": _history_text(search),
        "importance": ", ".join(f"{path} {share:.2g}" for path, share in importance_of(execution).items()),
    }


def _value(sample: SearchSample) -> str:
    interval = sample.interval
    text = cell(sample.value)
    return text if interval is None else f"{text} ({cell(interval[0])} to {cell(interval[1])})"


def _course(search: SearchResult) -> list[tuple[int, float, float]]:
    """Return how many samples had ended, the seconds, and the best value so far, at each end of a sample with one."""
    rows = enumerate(search.history(), 1)
    return [(count, row["seconds"] or 0.0, row["best"]) for count, row in rows if row["best"] is not None]


def _history_text(search: SearchResult) -> str:
    """Return the improvements of the best value: `0.91 after 1 sample, 0.95 after 3, 0.97 after 28`."""
    better: list[tuple[int, float]] = []
    for count, _, best in _course(search):
        if not better or best != better[-1][1]:
            better.append((count, best))
    parts = [f"{cell(best)} after {count}" for count, best in better]
    if not parts:
        return ""
    parts[0] += " sample" if better[0][0] == 1 else " samples"
    kept = parts if len(parts) <= LISTED_BEST else [parts[0], "…", *parts[1 - LISTED_BEST :]]
    return ", ".join(kept)


def search_charts(search: SearchResult) -> list[Chart]:
    """Return curves of the best value so far, over samples and over seconds; none before there is a value."""
    course = _course(search)
    curves = {
        "samples": _steps([Point(float(count), best) for count, _, best in course]),
        "seconds": _steps([Point(seconds, best) for _, seconds, best in course]),
    }
    return [
        Chart("curves", search.metric, x, [], None, [Series("best so far", (), points, [])], "none", 0.0, "", [])
        for x, points in curves.items()
        if points
    ]


def _steps(points: list[Point]) -> list[Point]:
    """Return points between which a value stays as it is until the next one, where it changes at once."""
    corners = [Point(after.x, before.y) for before, after in pairwise(points) if before.y != after.y]
    # Sorting is stable, so that a corner has to come first to be before the point above or below it
    return sorted([*corners, *points], key=lambda point: point.x)


def samples_table(search: SearchResult, limit: int = LISTED) -> Table:
    """Return a table of the best samples, then of those that are not finished."""
    finished = search.best(max(1, len(search.samples)))
    others = sorted(
        (sample for sample in search.samples if sample.state != "finished" or sample.value is None),
        key=lambda sample: (STATES.index(sample.state), *order_of(sample.value, search.mode), sample.number),
    )
    rows: list[list[Any]] = [
        [
            sample.number,
            sample.state,
            cell(sample.value) if sample.value is not None else "",
            f"{cell(sample.interval[0])} to {cell(sample.interval[1])}" if sample.interval is not None else "",
            *(cell(sample.values[path]) if path in sample.values else "" for path in search.space),
        ]
        for sample in [*finished, *others][:limit]
    ]
    return Table(["sample", "state", search.metric, "95 %", *search.space], [[str(one) for one in row] for row in rows])
