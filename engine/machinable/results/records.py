"""The rows that a trial has saved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from machinable.errors import UnknownName, import_optional
from machinable.plan.table import html_table, short_text
from machinable.results.reader import not_stored
from machinable.storage import layout
from machinable.storage.documents import read_rows
from machinable.storage.files import Files

__all__ = ["Records", "data_frame"]

DEFAULT = "default"
MAX_LISTED = 40  # rows in a notebook


def data_frame(columns: Mapping[str, Sequence[Any]]) -> Any:
    """Return a pandas DataFrame of named columns of the same length.

    Raises:
        NotAvailable: pandas is not installed.
    """
    pandas = import_optional("pandas", "a frame needs pandas", "[frames]")
    try:
        return pandas.DataFrame(dict(columns))
    except (ValueError, OverflowError):  # a text or a date that no other type of pandas has
        names = pandas.Index(list(columns), dtype=object)
        return pandas.DataFrame({name: pandas.Series(columns[name], dtype=object) for name in names}, columns=names)


class Records(Sequence[Mapping[str, Any]]):
    """The rows of one scope of a trial, read on first use. Each row is a mapping from columns to values."""

    def __init__(self, files: Files, path: str, scope: str = DEFAULT) -> None:
        self._files = files
        self._path = path
        self.scope = scope

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """All rows.

        Raises:
            Damaged: A complete line is not a row.
        """
        return read_rows(self._files, layout.join(self._path, layout.scope_file(self.scope)))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __repr__(self) -> str:
        return f"<Records {self.scope}: {len(self)} row{'' if len(self) == 1 else 's'}>"

    def _repr_html_(self) -> str:
        columns = [name for name in self.columns if name != "_timestamp"]
        shown = self.rows if len(self) <= MAX_LISTED else self.rows[-MAX_LISTED:]
        cells = [["" if row.get(name) is None else short_text(row[name]) for name in columns] for row in shown]
        more = f"<p>… the last {MAX_LISTED} of {len(self):,} rows</p>" if len(self) > MAX_LISTED else ""
        return html_table(columns, cells) + more

    @property
    def last(self) -> Any:
        """The last row, a mapping; None if there is none."""
        return self.rows[-1] if self.rows else None

    @property
    def columns(self) -> list[str]:
        """The names of all columns, in the order in which they appear first."""
        return list(dict.fromkeys(column for row in self.rows for column in row))

    def column(self, name: str) -> list[Any]:
        """Return the values of a column, None for rows without it.

        Raises:
            UnknownName: There are rows, and none has such a column.
        """
        values = [row.get(name) for row in self.rows]
        if values and not any(name in row for row in self.rows):
            raise UnknownName("column", name, self.columns)
        return values

    @property
    def scopes(self) -> list[str]:
        """The names of all scopes of the trial that have rows, sorted."""
        entries = self._files.entries(layout.join(self._path, layout.RECORDS))
        names = {layout.scope_of(entry.name) for entry in entries if not entry.is_directory}
        return sorted(name for name in names if name)

    def __call__(self, scope: str) -> Records:
        """Return the rows of another scope.

        Raises:
            NotStored: The trial has no rows in such a scope.
        """
        scopes = self.scopes
        if scope != DEFAULT and scope not in scopes:
            message = f"the trial has no rows in the scope {scope!r}"
            raise not_stored(message, scope, scopes, "It has", "It has: no rows at all")
        return Records(self._files, self._path, scope)

    def frame(self) -> Any:
        """Return the rows as a pandas DataFrame, with missing values where a row lacks a column.

        Raises:
            NotAvailable: pandas is not installed.
        """
        rows = self.rows
        return data_frame({column: [row.get(column) for row in rows] for column in self.columns})
