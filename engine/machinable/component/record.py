"""Rows of measurements: `self.record["loss"] = 0.1`, then `self.record.save()`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from time import perf_counter, time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from machinable.errors import InvalidType, InvalidValue, MissingAttribute, suggestion
from machinable.serialization import MAX_INT, Plain, as_plain

if TYPE_CHECKING:
    from machinable.storage.streams import RowWriter

__all__ = ["Record"]

_SCALARS = frozenset({float, int, str, bool, type(None)})
_OWN_COLUMNS = frozenset({"_iteration", "_timestamp", "_seconds_taken", "_total_seconds_taken"})
_SHORTEST = 1e-9  # seconds: a time of 0 makes rates infinite
REPORT_INTERVAL = 0.1  # seconds between two reported rows; displays refresh less often


class Record:
    """The current row of one scope.

    Args:
        open_rows: Opens the rows of a scope for writing.
        began: Returns when the current phase of the trial began, on `time.perf_counter`.
        scope: The name of this scope.
        restored: The number of rows and the last row that scopes have from a previous attempt.
        on_row: Receives the numbers and texts of saved rows of this scope, at most one row per `REPORT_INTERVAL`.
    """

    def __init__(
        self,
        open_rows: Callable[[str], RowWriter],
        began: Callable[[], float],
        scope: str = "default",
        restored: Mapping[str, tuple[int, dict[str, Plain]]] = MappingProxyType({}),
        on_row: Callable[[dict[str, Plain]], None] | None = None,
    ) -> None:
        self._on_row = on_row
        self._next_report = 0.0
        self._open_rows = open_rows
        self._began = began
        self._scope = scope
        self._scopes: dict[str, Record] = {}  # all of them, once there are several
        self._rows: RowWriter | None = None
        self._row: dict[str, Plain] = {}
        self._restored = restored
        self.last: dict[str, Plain] | None
        self._count, self.last = restored.get(scope, (0, None))
        self._earlier = self.last["_total_seconds_taken"] if self.last is not None else 0.0
        self._has_begun = False
        self._beginning = 0.0
        self._previous = 0.0

    def __setitem__(self, column: str, value: Any) -> None:
        kind = type(value)
        if (
            kind in _SCALARS
            and (kind is not int or -MAX_INT < value < MAX_INT)
            and type(column) is str
            and column[:1] != "_"
        ):
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
        """Fill several columns, or none if one of the values is invalid."""
        filled = dict(values, **more)
        for column, value in filled.items():
            kind = type(value)
            if (
                kind not in _SCALARS
                or (kind is int and not -MAX_INT < value < MAX_INT)
                or type(column) is not str
                or column[:1] == "_"
            ):
                filled[column] = _checked(column, value)
        self._row.update(filled)

    def save(self, echo: bool = False, force: bool = False) -> dict[str, Plain] | None:
        """Store the row and begin the next one.

        Args:
            echo: Also print it.
            force: Store it even if it is empty.

        Returns:
            The row with its times, or None if the row was empty.
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
            self._previous = self._began()
            self._beginning = self._previous - self._earlier
        if self._rows is None:
            self._rows = self._open_rows(self._scope)
        if iteration is not None:
            row["_iteration"] = iteration
        # Further digits would be a fifth of a short row, and mean nothing. `round` takes twice as long.
        row["_timestamp"] = int(time() * 1e6) / 1e6
        row["_seconds_taken"] = int((now - self._previous) * 1e9) / 1e9
        row["_total_seconds_taken"] = int((now - self._beginning) * 1e6) / 1e6
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
            raise InvalidType(f"{name!r} is not the name of a scope", given=name, todo="The name of a scope is text.")
        if name == self._scope:
            return self
        self._scopes.setdefault(self._scope, self)
        if name not in self._scopes:
            record = Record(self._open_rows, self._began, name, self._restored)
            record._rows = self._open_rows(name)  # raises for a name that cannot be a file
            record._scopes = self._scopes
            self._scopes[name] = record
        return self._scopes[name]

    def _all(self) -> dict[str, Record]:
        return self._scopes or {self._scope: self}

    def timing(self, mode: str = "iteration") -> float:
        """Return a time in seconds, never 0.

        Args:
            mode: "iteration" (since the previous row), "total" (since the start) or "avg" (per row).

        Raises:
            InvalidValue: The mode is unknown.
        """
        now = perf_counter()
        previous = self._previous if self._has_begun else self._began()
        beginning = self._beginning if self._has_begun else previous - self._earlier
        times = {
            "iteration": now - previous,
            "total": now - beginning,
            "avg": (previous - beginning) / self._count if self._count else now - beginning,
        }
        if mode not in times:
            todo = suggestion(mode, times, "Use 'iteration', 'total' or 'avg'.")
            raise InvalidValue(f"no timing {mode!r}", given=mode, known=times, todo=todo)
        return max(times[mode], _SHORTEST)

    def unsaved(self) -> list[str]:
        """Return the scopes with a row that was not saved."""
        return [name for name, record in self._all().items() if record._row]

    def counts(self) -> dict[str, int]:
        """Return the number of rows of each scope."""
        counts = {name: count for name, (count, _) in self._restored.items()}
        counts.update({name: record._count for name, record in self._all().items()})
        return {name: count for name, count in counts.items() if count}

    def flush(self) -> None:
        """Store the saved rows of all scopes, also in an object store."""
        for record in self._all().values():
            if record._rows is not None:
                record._rows.flush()

    def close(self) -> None:
        """Close the files of all scopes."""
        for record in self._all().values():
            if record._rows is not None:
                record._rows.close()


def _checked(column: object, value: Any) -> Plain:
    """Return the value as plain data.

    Raises:
        WrongType: It is not plain data; the message names the column.
        InvalidType: The column is not text.
        InvalidValue: The column is reserved.
    """
    if type(column) is not str:
        raise InvalidType(f"{column!r} is not the name of a column", given=column, todo="The name of a column is text.")
    if column in _OWN_COLUMNS:
        raise InvalidValue(f"the column {column} is written by save()", given=column, todo="Use another name.")
    return as_plain(value, column)
