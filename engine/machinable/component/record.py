"""Rows of measurements: `self.record["loss"] = 0.1`, then `self.record.save()`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from time import perf_counter, time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from machinable.errors import InvalidType, InvalidValue, MissingAttribute, did_you_mean, near_names
from machinable.serialization import Plain, as_plain

if TYPE_CHECKING:
    from machinable.storage.streams import RowWriter

__all__ = ["Clock", "Record", "Restored"]

_SCALARS = frozenset({float, int, str, bool, type(None)})
_OWN_COLUMNS = frozenset({"_iteration", "_timestamp", "_seconds_taken", "_total_seconds_taken"})
_SHORTEST = 1e-9  # seconds: a time of 0 makes rates infinite
REPORT_INTERVAL = 0.1  # seconds between two reported rows; displays refresh less often


class Clock:
    """The beginning of the current phase of a trial, on `time.perf_counter`."""

    __slots__ = ("beginning",)

    def __init__(self) -> None:
        self.beginning = perf_counter()

    def begin(self) -> None:
        """Start the phase now: the first row of a scope is timed from here."""
        self.beginning = perf_counter()


class Restored(Struct, frozen=True):
    """The rows that a scope has from a previous attempt: their number, their seconds and the last one."""

    rows: int = 0
    seconds: float = 0.0
    last: dict[str, Plain] | None = None

    @classmethod
    def of(cls, rows: Sequence[dict[str, Plain]]) -> Restored:
        """Summarize these rows."""
        return cls(len(rows), rows[-1]["_total_seconds_taken"], rows[-1]) if rows else cls()


_NOTHING = Restored()


class Record:
    """The row of one scope that is being filled.

    Args:
        open_rows: opens the rows of a scope for writing.
        clock: the beginning of the current phase.
        scope: the name of this scope.
        restored: what scopes have from a previous attempt.
        on_row: receives the numbers and texts of saved rows of this scope, at most one row per `REPORT_INTERVAL`.
    """

    def __init__(
        self,
        open_rows: Callable[[str], RowWriter],
        clock: Clock,
        scope: str = "default",
        restored: Mapping[str, Restored] = MappingProxyType({}),
        on_row: Callable[[dict[str, Plain]], None] | None = None,
    ) -> None:
        self._on_row = on_row
        self._next_report = 0.0
        self._open_rows = open_rows
        self._clock = clock
        self._scope = scope
        self._scopes: dict[str, Record] = {scope: self}
        self._rows: RowWriter | None = None
        self._row: dict[str, Plain] = {}
        self._restored = restored
        earlier = restored.get(scope, _NOTHING)
        self._count, self._earlier, self.last = earlier.rows, earlier.seconds, earlier.last
        self._has_begun = False
        self._beginning = 0.0
        self._previous = 0.0

    def __setitem__(self, column: str, value: Any) -> None:
        if type(value) in _SCALARS and type(column) is str and column[:1] != "_":
            self._row[column] = value  # nearly all values, without a call
        else:
            self._row[column] = _checked(column, value)

    def __getitem__(self, column: str) -> Plain:
        return self._row[self._known(column)]

    def __delitem__(self, column: str) -> None:
        del self._row[self._known(column)]

    def _known(self, column: str) -> str:
        if column not in self._row:
            raise MissingAttribute(
                f"the row has no column {column!r}",
                given=column,
                known=self._row,
                todo=f"It has: {', '.join(self._row) or 'nothing yet'}",
            )
        return column

    def __contains__(self, column: object) -> bool:
        return column in self._row

    def __iter__(self) -> Iterator[str]:
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<record {self._scope}: {self._row!r}>"

    def update(self, values: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), **more: Any) -> None:
        """Fill several columns; if one of the values is refused, none."""
        filled = dict(values, **more)
        for column, value in filled.items():
            if type(value) not in _SCALARS or type(column) is not str or column[:1] == "_":
                filled[column] = _checked(column, value)
        self._row.update(filled)

    def save(self, echo: bool = False, force: bool = False) -> dict[str, Plain] | None:
        """Store the row and begin the next one.

        Args:
            echo: print it as well.
            force: store it even if it is empty.

        Returns:
            The row with its times, or None if there was nothing to store.
        """
        return self._save(None, echo, force)

    def save_iteration(self, iteration: int) -> None:
        """Store the row of an iteration, if there is one."""
        self._save(iteration, False, False)

    def _save(self, iteration: int | None, echo: bool, force: bool) -> dict[str, Plain] | None:
        row = self._row
        if not row and not force:
            return None
        now = perf_counter()
        if not self._has_begun:
            self._has_begun = True
            self._previous = self._clock.beginning
            self._beginning = self._previous - self._earlier
        if self._rows is None:
            self._rows = self._open_rows(self._scope)
        if iteration is not None:
            row["_iteration"] = iteration
        row["_timestamp"] = time()
        row["_seconds_taken"] = now - self._previous
        row["_total_seconds_taken"] = now - self._beginning
        try:
            self._rows.append(row)
        except BaseException:  # it can be saved again
            for column in _OWN_COLUMNS:
                row.pop(column, None)
            raise
        self._count += 1
        self._previous = now
        self._row = {}
        self.last = row
        if self._on_row is not None and now >= self._next_report:
            self._next_report = now + REPORT_INTERVAL
            self._on_row({column: value for column, value in row.items() if type(value) in _SCALARS})
        if echo:
            print(" ".join(f"{column}={value}" for column, value in row.items()))
        return row.copy()

    def scope(self, name: str) -> Record:
        """Return the record of that name, whose rows are separate from all others."""
        if not isinstance(name, str):
            raise InvalidType(
                f"{name!r} is not the name of a scope", given=name, todo="A scope has a text as its name."
            )
        if name not in self._scopes:
            record = Record(self._open_rows, self._clock, name, self._restored)
            record._rows = self._open_rows(name)  # refuses a name that cannot be a file
            record._scopes = self._scopes
            self._scopes[name] = record
        return self._scopes[name]

    def timing(self, mode: str = "iteration") -> float:
        """Return a time in seconds, never 0.

        Args:
            mode: "iteration" (since the previous row), "total" (since the beginning) or "avg" (per row).

        Raises:
            InvalidValue: another mode.
        """
        now = perf_counter()
        previous = self._previous if self._has_begun else self._clock.beginning
        beginning = self._beginning if self._has_begun else previous - self._earlier
        if mode == "iteration":
            seconds = now - previous
        elif mode == "total":
            seconds = now - beginning
        elif mode == "avg":
            seconds = (previous - beginning) / self._count if self._count else now - beginning
        else:
            modes = ("iteration", "total", "avg")
            near = near_names(mode, modes)
            raise InvalidValue(
                f"no timing {mode!r}",
                given=mode,
                known=modes,
                todo=did_you_mean(near) if near else "Take 'iteration', 'total' or 'avg'.",
            )
        return max(seconds, _SHORTEST)

    def unsaved(self) -> list[str]:
        """Return the scopes with a row that was not saved."""
        return [name for name, record in self._scopes.items() if record._row]

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each scope."""
        counts = {name: there.rows for name, there in self._restored.items()}
        counts.update({name: record._count for name, record in self._scopes.items()})
        return {name: count for name, count in counts.items() if count}

    def close(self) -> None:
        """Close the files of all scopes."""
        for record in self._scopes.values():
            if record._rows is not None:
                record._rows.close()


def _checked(column: object, value: Any) -> Plain:
    """Return the value as plain data.

    Raises:
        WrongType: it is not plain; the message names the column.
        InvalidType: the column is not text.
        InvalidValue: the column is reserved.
    """
    if type(column) is not str:
        raise InvalidType(f"{column!r} is not the name of a column", given=column, todo="Columns have texts as names.")
    if column in _OWN_COLUMNS:
        raise InvalidValue(f"the column {column} is written by save()", given=column, todo="Take another name.")
    return value if type(value) in _SCALARS else as_plain(value, column)
