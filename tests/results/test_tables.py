"""Tables for other programs."""

from __future__ import annotations

import csv
import datetime
import io
from typing import Any

import pyarrow

from machinable.results.tables import Tabular


class Given(Tabular):
    def __init__(self, **columns: list[Any]) -> None:
        self.columns = columns

    def _by_column(self) -> dict[str, list[Any]]:
        return self.columns


AWKWARD = ["a|b", "50 % of $x_1 & #2", "line\nbreak", "\\cmd{~^}", "[*]--", '<"`>']


def test_csv_keeps_all_digits_and_quotes_what_needs_it() -> None:
    day = datetime.date(2026, 1, 31)
    table = Given(x=[1 / 3, None, float("nan"), 2**70], text=['a,"b"', "c\nd", [1, {"k": None}], day])

    assert list(csv.reader(io.StringIO(table.csv()))) == [
        ["x", "text"],
        ["0.3333333333333333", 'a,"b"'],
        ["", "c\nd"],
        ["NaN", '[1, {"k": null}]'],
        [str(2**70), "2026-01-31"],
    ]
    assert Given(x=[None, True]).csv() == 'x\n""\ntrue\n'


def test_markdown_escapes_what_has_a_meaning() -> None:
    assert Given(name=AWKWARD, x=[1 / 3, 2, None, -1.0, 1e-7, 0]).markdown().splitlines() == [
        "| name | x |",
        "| --- | ---: |",
        r"| a\|b | 0.333333 |",
        r"| 50 % of \$x\_1 \& \#2 | 2 |",
        "| line break |  |",
        r"| \\cmd{\~^} | -1 |",
        r"| \[\*\]-- | 1e-07 |",
        r"| \<" + r'"\`\> | 0 |',
    ]


def test_latex_escapes_what_has_a_meaning_and_sets_numbers() -> None:
    assert Given(config_name=AWKWARD, x=[1 / 3, 2, None, -1.0, 1e-7, 0]).latex().splitlines() == [
        r"% \usepackage{booktabs}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"config\_name & x \\",
        r"\midrule",
        r"a\textbar{}b & 0.333333 \\",
        r"50 \% of \$x\_1 \& \#2 & 2 \\",
        r"line break &  \\",
        r"\textbackslash{}cmd\{\textasciitilde{}\textasciicircum{}\} & $-1$ \\",
        r"{[}{*}{]}-{}- & $1 \times 10^{-7}$ \\",
        r"\textless{}\char34{}\textasciigrave{}\textgreater{} & 0 \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_an_arrow_table_has_text_for_columns_of_several_types() -> None:
    table = Given(x=[1, 2.5, None], mixed=[1, "a", None], large=[2**80, 1, 2], day=[datetime.date(2026, 1, 31)] * 3)

    found = table.arrow()

    assert found.schema.types == [pyarrow.float64(), pyarrow.string(), pyarrow.string(), pyarrow.date32()]
    assert found.to_pydict()["mixed"] == ["1", "a", None]


def test_without_rows_there_are_headings() -> None:
    table = Given(a=[], b=[])

    assert (table.rows(), table.csv(), table.markdown()) == ([], "a,b\n", "| a | b |\n| ---: | ---: |\n")
    assert table.arrow().num_rows == 0
