"""Read a search from its execution: samples, the best of them, and its course."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from machinable.errors import InvalidType, InvalidValue
from machinable.serialization import Plain
from machinable.storage import layout
from machinable.storage.documents import EVENT, read_rows
from machinable.storage.files import Files

if TYPE_CHECKING:
    from machinable.results.reader import ExecutionInfo
    from machinable.results.trials import Trials

__all__ = ["SampleState", "SearchLog", "SearchResult", "SearchSample", "order_of"]

SampleState: TypeAlias = Literal["running", "finished", "failed", "pruned"]
EVENTS = ("asked", "judged", "evaluated", "searched")


class SearchLog(NamedTuple):
    """The lines of a ledger about a search, in order.

    Attributes:
        rows: The samples, their results, and the decisions of the pruner.
        over: Why no further sample follows; "" if one may follow.
        seconds: How long the search ran.
        began: The time of the first line.
    """

    rows: list[dict[str, Any]]
    over: str
    seconds: float
    began: str

    @classmethod
    def read(cls, files: Files, folder: str, parts: Sequence[int] | None = None) -> SearchLog:
        """Read the ledger of an execution."""
        rows, over, seconds = [], "", 0.0
        began = first = last = ""
        for row in read_rows(files, layout.join(folder, layout.LEDGER), EVENT, parts):
            event, time = row.get("event"), row.get("time") or last
            if event == "resumed":
                seconds += _seconds(first, last)
                first = time
            began, first, last = began or time, first or time, time
            if event == "searched":
                over = row.get("because") or ""
            elif event == "evaluated":
                over = over or row.get("over") or ""
            elif event == "asked":
                over = ""
            if event in EVENTS:
                rows.append(row)
        return cls(rows, over, seconds + _seconds(first, last), began)


def _seconds(first: str, last: str) -> float:
    if not first or not last:
        return 0.0
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def order_of(value: float | None, mode: str) -> tuple[bool, float]:
    """Return a key that orders values of a metric, the best first; NaN and no value come last."""
    if value is None or math.isnan(value):
        return True, 0.0
    return False, value if mode == "min" else -value


class SearchSample:
    """A sample of a search.

    Attributes:
        number: Its number, from 0.
        values: The values that it tries, by path; "~" for a version.
        value: The mean of the metric over its trials; of a pruned one, at the last rows that counted. None if there is
            none.
        state: "running", "finished", "failed" or "pruned".
        because: Why it failed or was pruned.
        uids: Its trials.
        seconds: The seconds from the beginning of the search until its result; None while it runs.
    """

    def __init__(self, execution: ExecutionInfo, number: int, values: dict[str, Plain], uids: Sequence[str]) -> None:
        self._execution = execution
        self.number = number
        self.values = values
        self.uids = tuple(uids)
        self.value: float | None = None
        self.state: SampleState = "running"
        self.because: str | None = None
        self.seconds: float | None = None

    def __repr__(self) -> str:
        value = "" if self.value is None else f" {self.value:g}"
        return f"<SearchSample {self.number}: {self.values!r}, {self.state}{value}>"

    @property
    def trials(self) -> Trials:
        """Its trials."""
        from machinable.results.trials import Trials

        return Trials(self._execution[uid] for uid in self.uids)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % interval of its value over its trials (Student 1908); None if it has fewer than two values."""
        from machinable.results.query import find_field, is_number, mean, spread
        from machinable.results.summary import t_interval

        field = find_field(self._execution.data["task"]["search"]["metric"])
        numbers = [value for value in ([] if field is None else field.values(list(self.trials))) if is_number(value)]
        if self.state != "finished" or len(numbers) < 2:
            return None
        low, high = t_interval(mean(numbers), spread(numbers), len(numbers))
        return low, high

    def as_data(self) -> dict[str, Plain]:
        """Return it as plain data, for programs."""
        return {
            "sample": self.number,
            "values": self.values,
            "value": self.value,
            "interval": None if self.interval is None else list(self.interval),
            "state": self.state,
            "because": self.because,
            "trials": list(self.uids),
            "seconds": self.seconds,
        }


class SearchResult:
    """The search of an execution until now."""

    def __init__(self, execution: ExecutionInfo, task: Mapping[str, Any], log: SearchLog) -> None:
        self._task = task
        self._log = log
        self.over = log.over
        self.samples: list[SearchSample] = []
        self._evaluated: list[SearchSample] = []
        self._importance: dict[int, dict[str, float]] = {}  # by the number of samples
        for row in log.rows:
            if row["event"] == "asked":
                self.samples.append(SearchSample(execution, row["sample"], row["values"], row["uids"]))
            elif row["event"] == "evaluated":
                sample = self.samples[row["sample"]]
                sample.value, sample.state, sample.because = row.get("value"), row["state"], row.get("because")
                sample.seconds = _seconds(log.began, row["time"])
                self._evaluated.append(sample)

    @property
    def metric(self) -> str:
        """The field of trials by which samples are compared."""
        return str(self._task["metric"])

    @property
    def mode(self) -> str:
        """Whether the smallest value is the best, "min", or the largest, "max"."""
        return str(self._task["mode"])

    @property
    def space(self) -> Mapping[str, Plain]:
        """The space that is searched, as plain data."""
        return self._task["space"]  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        return f"<SearchResult {len(self._evaluated)}/{len(self.samples)} samples, {self.mode} {self.metric}>"

    def best(self, n: int = 1) -> list[SearchSample]:
        """Return the best `n` samples that have finished, the best first; of equal ones the earlier one.

        Raises:
            InvalidType, InvalidValue: `n` is not a whole number of at least 1.
        """
        if isinstance(n, bool) or not isinstance(n, int):
            raise InvalidType(f"best takes a whole number, not {n!r}", given=n)
        if n < 1:
            raise InvalidValue(f"best takes a number of at least 1, not {n}", given=n)
        finished = [one for one in self._evaluated if one.state == "finished" and one.value is not None]
        return sorted(finished, key=lambda one: (*order_of(one.value, self.mode), one.number))[:n]

    def history(self) -> list[dict[str, Any]]:
        """Return the results in the order in which the sampler received them.

        Each has `sample`, `value`, `state`, the `best` value so far, and the `seconds` since the beginning.
        """
        best: float | None = None
        rows = []
        for one in self._evaluated:
            if one.state == "finished" and order_of(one.value, self.mode) < order_of(best, self.mode):
                best = one.value
            rows.append(
                {"sample": one.number, "value": one.value, "state": one.state, "best": best, "seconds": one.seconds}
            )
        return rows

    def importance(self, most: int | None = None) -> dict[str, float]:
        """Return the share of each path in the variance of the metric, the largest first (fANOVA, Hutter et al. 2014).

        Args:
            most: By how many samples at most, evenly spread over the search; None for all of them. The time grows with
                the square of the number: about a second for 150 samples, 24 s for 1,000.

        Raises:
            Refused: There are too few samples, or Optuna is not installed.
        """
        from machinable.search.importance import importance
        from machinable.search.sample import Sample
        from machinable.search.space import read_space

        known = [
            one for one in self._evaluated if one.state == "finished" and order_of(one.value, self.mode)[0] is False
        ]
        if most is not None and len(known) > most:
            known = [known[place * len(known) // most] for place in range(most)]
        if len(known) not in self._importance:
            values = [one.value for one in known if one.value is not None]
            samples = [Sample(one.number, one.values) for one in known]
            self._importance[len(known)] = importance(read_space(self.space), samples, values)
        return dict(self._importance[len(known)])

    def as_data(self) -> dict[str, Plain]:
        """Return it as plain data, for programs."""
        return {
            "metric": self.metric,
            "mode": self.mode,
            "space": dict(self.space),
            "over": self.over or None,
            "samples": [one.as_data() for one in self.samples],
            "best": [one.number for one in self.best()],
            "history": self.history(),
        }
