"""Artifacts by kind: pictures, tables, texts, and arrays by shape."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from itertools import islice
from typing import Any, NamedTuple

from machinable.display.tables import cell
from machinable.display.terminal import escaped
from machinable.errors import MachinableError
from machinable.results.trial import Trial
from machinable.storage import layout
from machinable.ui.selection import address
from machinable.units import format_size, shortened

__all__ = ["Shown", "content_type", "pieces", "show_artifacts"]

MAX_SHOWN = 40  # artifacts that are shown and not only listed
MAX_SIZE = 5 * 2**20  # bytes of an artifact that is read to show it
MAX_TEXT = 20_000  # characters
MAX_ROWS, MAX_COLUMNS = 30, 30

IMAGES = {"png": "image/png", "jpg": "image/jpeg", "jpeg": "image/jpeg", "svg": "image/svg+xml"}
TEXTS = {"txt", "log", "md", "json", "jsonl", "yaml", "ini", "toml", "xml", "html", "py", "tex"}
SEPARATED = {"csv": ",", "tsv": "\t"}
TABLES = {*SEPARATED, "parquet", "feather"}
ARRAYS = {"npy", "npz"}


class Shown(NamedTuple):
    """An artifact as it is shown.

    Attributes:
        name: Its name.
        href: The address of its content.
        size: Its size as text.
        kind: `image`, `text`, `table`, `array`, or `file` for what is only listed.
        text: The text, or what an array is.
        headings: Of a table.
        rows: Of a table.
        note: What is left out, or why it cannot be shown.
    """

    name: str
    href: str
    size: str
    kind: str = "file"
    text: str = ""
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    note: str = ""


def _ending(name: str) -> str:
    return name.rpartition(".")[2].lower()


def content_type(name: str) -> str | None:
    """Return the type with which an artifact is sent to be looked at; None if it is only sent as a file.

    Everything that could run a script elsewhere is text here. A picture in SVG is shown, where scripts do not run.
    """
    ending = _ending(name)
    return IMAGES.get(ending) or ("text/plain; charset=utf-8" if ending in TEXTS | SEPARATED.keys() else None)


def pieces(trial: Trial, name: str) -> tuple[int, Iterator[bytes]]:
    """Return the size of an artifact, and its content piece by piece.

    Raises:
        MissingArtifact: There is no such artifact.
        BadName: The name cannot be that of an artifact.
    """
    if name not in trial.files:
        trial.content(name)  # raises what is wrong with the name
    path = layout.join(trial.folder, layout.ARTIFACTS, name)
    files = trial.execution.files
    return files.size(path), files.pieces(path)


def show_artifacts(trial: Trial) -> list[Shown]:
    """Return the artifacts of a trial."""
    return [_show(trial, name, is_read=number < MAX_SHOWN) for number, name in enumerate(trial.files)]


def _show(trial: Trial, name: str, *, is_read: bool) -> Shown:
    href = address("artifact", str(trial.execution), trial.uid, name)
    try:
        size = trial.execution.files.size(layout.join(trial.folder, layout.ARTIFACTS, name))
    except (OSError, MachinableError) as error:
        return Shown(name, href, "", note=str(error))
    shown, ending = Shown(name, href, format_size(size)), _ending(name)
    if not is_read:
        return shown
    if ending in IMAGES:
        return shown._replace(kind="image")
    if ending not in TEXTS | TABLES | ARRAYS:
        return shown
    if size > MAX_SIZE:
        return shown._replace(note="too large to be shown here")
    try:
        if ending in TEXTS:
            text = trial.content(name).decode("utf-8", "replace")
            return shown._replace(kind="text", text=escaped(shortened(text, MAX_TEXT)))
        if ending in SEPARATED:
            return _table(shown, _separated(trial.content(name), SEPARATED[ending]))
        value = trial.read(name)
    except (MachinableError, OSError, csv.Error) as error:
        return shown._replace(note=str(error))
    if ending in ARRAYS:
        return shown._replace(kind="array", text=_array(value))
    first = value.head(MAX_ROWS + 1)
    rows = first.rows() if hasattr(first, "rows") else first.itertuples(index=False)  # of polars, or pandas
    return _table(shown, [list(value.columns), *rows])


def _separated(data: bytes, separator: str) -> list[list[str]]:
    """Return the first lines of a table in text."""
    lines = csv.reader(StringIO(data.decode("utf-8", "replace"), newline=""), delimiter=separator)
    return list(islice(lines, MAX_ROWS + 2))


def _table(shown: Shown, lines: Sequence[Sequence[Any]]) -> Shown:
    """Return an artifact as a table, given its headings, and its first rows and one more if there are more."""
    headings, *rows = [tuple(cell(value) for value in line[:MAX_COLUMNS]) for line in lines] or [()]
    left_out = [f"the first {MAX_ROWS} rows"] if len(rows) > MAX_ROWS else []
    if lines and len(lines[0]) > MAX_COLUMNS:
        left_out.append(f"{MAX_COLUMNS} of {len(lines[0])} columns")
    return shown._replace(kind="table", headings=headings, rows=tuple(rows[:MAX_ROWS]), note=", ".join(left_out))


def _array(value: Any) -> str:
    if isinstance(value, Mapping):
        return "\n".join(f"{name}: {_array(one)}" for name, one in value.items())
    described = f"{value.dtype}, shape {tuple(value.shape)}"
    if value.dtype.kind in "iuf" and value.size:
        described += f", from {cell(value.min().item())} to {cell(value.max().item())}"
    few = value.size <= 12 and value.dtype.kind in "biufU"
    return f"{described}: {value.tolist()}" if few else described
