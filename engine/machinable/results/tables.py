"""Tables of values as data for other programs: plain rows, pandas, Arrow, CSV, Markdown and LaTeX."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from machinable.errors import import_optional
from machinable.plan.table import exact_text, short_text
from machinable.results.conditions import in_order
from machinable.results.query import is_number
from machinable.results.records import data_frame

__all__ = ["Tabular", "format_cell", "short_headings", "sorted_rows"]

_MAX_WIDTH = 40  # characters of a cell


class Tabular(ABC):
    """Something that is a table: a column of values for each heading; None is a missing value."""

    @abstractmethod
    def _by_column(self) -> dict[str, list[Any]]:
        """Return the values of each column, in order."""

    def rows(self) -> list[dict[str, Any]]:
        """Return a mapping from headings to values for each row, None where there is no value."""
        columns = self._by_column()
        return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]

    def frame(self) -> Any:
        """Return a pandas DataFrame.

        Raises:
            NotAvailable: pandas is not installed.
        """
        return data_frame(self._by_column())

    def arrow(self) -> Any:
        """Return a `pyarrow.Table`, which polars and DuckDB read. A column of mixed types becomes text.

        Raises:
            NotAvailable: pyarrow is not installed.
        """
        pyarrow = import_optional("pyarrow", "an Arrow table needs pyarrow", "[frames]")

        def column(values: list[Any]) -> Any:
            try:
                return pyarrow.array(values)
            except (
                pyarrow.ArrowException,
                OverflowError,
                TypeError,
                ValueError,
            ):  # several types, or numbers too large
                return pyarrow.array(
                    [None if value is None else exact_text(value) for value in values], pyarrow.string()
                )

        return pyarrow.table({name: column(values) for name, values in self._by_column().items()})

    def csv(self) -> str:
        """Return CSV with a line of headings: numbers with all digits, nothing for None, collections as JSON."""
        import csv  # 2 ms, and most tables are printed
        from io import StringIO

        columns = self._by_column()
        text = StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        for values in zip(*columns.values(), strict=True):
            cells = ["" if value is None else exact_text(value) for value in values]
            # A line that is empty would be no row.
            text.write('""\n') if cells == [""] else writer.writerow(cells)
        return text.getvalue()

    def markdown(self) -> str:
        """Return a table of GitHub's Markdown; characters with a meaning are escaped."""
        headings, rows, numeric = self._texts()
        rule = ["---:" if is_number else "---" for is_number in numeric]
        escaped = [list(map(_markdown, row)) for row in (headings, *rows)]
        return "".join(f"| {' | '.join(row)} |\n" for row in (escaped[0], rule, *escaped[1:]))

    def latex(self) -> str:
        r"""Return a LaTeX `tabular` for the package booktabs; characters with a meaning are escaped."""
        headings, rows, numeric = self._texts()
        lines = [" & ".join(map(_latex, row)) + r" \\" for row in (headings, *rows)]
        kinds = "".join("r" if is_number else "l" for is_number in numeric)
        return "\n".join(
            [
                r"% \usepackage{booktabs}",
                rf"\begin{{tabular}}{{{kinds}}}",
                r"\toprule",
                lines[0],
                r"\midrule",
                *lines[1:],
                r"\bottomrule",
                r"\end{tabular}",
                "",
            ]
        )

    def _texts(self) -> tuple[list[str], list[list[str]], list[bool]]:
        """Return headings, cells for people, and which columns have only numbers."""
        columns = self._by_column()
        numeric = [all(value is None or is_number(value) for value in values) for values in columns.values()]
        return [*columns], [list(map(short_text, row)) for row in zip(*columns.values(), strict=True)], numeric


def sorted_rows(rows: Sequence[dict[str, Any]], column: str, descending: bool) -> list[dict[str, Any]]:
    """Return rows in the order of a column, those without a value, or with NaN, last."""
    return [rows[number] for number in in_order([row[column] for row in rows], descending)]


def short_headings(headings: Sequence[str]) -> list[str]:
    """Return headings such as `optimizer.schedule.rate` shortened to the last parts that distinguish them."""
    parts = [heading.split(".") for heading in headings]
    counts = [1] * len(parts)
    while True:
        names = [".".join(one[-count:]) for one, count in zip(parts, counts, strict=True)]
        ambiguous = [i for i, name in enumerate(names) if names.count(name) > 1 and counts[i] < len(parts[i])]
        if not ambiguous:
            return names
        for i in ambiguous:
            counts[i] += 1


def format_cell(value: Any) -> str:
    """Return the short text of a value in a table; empty for None."""
    text = short_text(value)
    return text if len(text) <= _MAX_WIDTH else text[: _MAX_WIDTH - 1] + "…"


_MARKDOWN = re.compile(r"([\\`*_\[\]<>|~&$#])")
_SPACE = re.compile(r"\s+")


def _markdown(text: str) -> str:
    return _MARKDOWN.sub(r"\\\1", _SPACE.sub(" ", text).strip())


_LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\char34{}",
    "`": r"\textasciigrave{}",
    # An argument of \\ in the line above would begin with one of these.
    "[": "{[}",
    "]": "{]}",
    "*": "{*}",
    "±": r"$\pm$",
    "…": r"\ldots{}",
}
_NUMBER = re.compile(r"(-?[0-9]+(?:\.[0-9]+)?)(?:e([-+]?[0-9]+))?")


def _latex(text: str) -> str:
    number = _NUMBER.fullmatch(text)
    if number is not None:
        if number[2]:
            return rf"${number[1]} \times 10^{{{int(number[2])}}}$"
        return f"${text}$" if text[0] == "-" else text
    text = _SPACE.sub(" ", text).strip()
    escaped = "".join(_LATEX.get(character, character) for character in text if character.isprintable())
    return re.sub(r"-(?=-)", "-{}", escaped)  # two hyphens would be a dash
