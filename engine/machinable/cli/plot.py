"""`machinable plot`: draw a figure of trials."""

from __future__ import annotations

import os

from machinable.cli.output import message, replace_file, write_json
from machinable.cli.targets import chosen_trials, field_names, open_storage
from machinable.errors import ArtifactExists, InvalidValue, NotStored
from machinable.results.chart import RowReader, caption
from machinable.results.trials import Trials

__all__ = ["plot_command"]

# The formats of figures, and how their files begin.
FORMATS = {"pdf": (b"%PDF-",), "png": (b"\x89PNG",), "svg": (b"<?xml", b"<svg")}
ELSEWHERE = "Name another file: -o FILE."


def plot_command(
    identifiers: tuple[str, ...],
    storage: str | tuple[str, ...] | None,
    conditions: tuple[str, ...],
    metric: str | None,
    x: str | None,
    by: str | None,
    kind: str | None,
    band: str,
    smooth: float,
    log: str | None,
    size: tuple[float, float] | None,
    file: str | None,
    as_json: bool,
) -> None:
    """Draw a figure of fields of trials into a file, or write what it shows as JSON."""
    if file is None and not as_json:
        raise InvalidValue("no file is given", todo="Name one: -o figure.pdf, -o figure.svg or -o figure.png.")
    extension = None if file is None else _checked_format(file)
    metrics, fields = field_names(metric, "--metric"), field_names(by, "--by")
    with open_storage(storage) as opened:
        trials = chosen_trials(opened, identifiers).where(*conditions)
        if not len(trials):
            todo = None if identifiers or conditions else opened.hint()
            what = " that satisfies the conditions" if identifiers or conditions else ""
            raise NotStored(f"there is no trial in {opened.url}{what}", given=opened.url, todo=todo)
        reader = RowReader()
        charts = [
            trials.chart(one, x, fields, kind=kind, band=band, smooth=smooth, log=log or "", reader=reader)
            for one in metrics or [_only_metric(trials)]
        ]
        if as_json:
            write_json({"storage": opened.url, "charts": [chart.as_data() for chart in charts]})
        if file is None or extension is None:
            return
        from machinable.results.figure import figure  # imports matplotlib

        content = figure(charts, size).content(extension)
    replace_file(file, content, ELSEWHERE)
    message(f"wrote {file}")
    for chart in charts:
        message(caption(chart))
        for note in chart.notes:
            message(f"note: {note}")


def _only_metric(trials: Trials) -> str:
    """Return the only column of numbers."""
    metrics = trials.metrics()
    if len(metrics) == 1:
        return metrics[0]
    raise InvalidValue(
        "no metric is given",
        known=metrics,
        todo=f"Name one or several: --metric {','.join(metrics)}." if metrics else "Name a field: --metric seconds.",
    )


def _checked_format(path: str) -> str:
    """Return the format of a figure, whose file may be written: it is new, empty, or a figure of this format."""
    extension = os.path.splitext(path)[1].lower().lstrip(".")
    if extension not in FORMATS:
        raise InvalidValue(
            f"{path!r} does not end in the format of a figure",
            given=path,
            known=FORMATS,
            todo=f"The formats are {', '.join(f'.{one}' for one in FORMATS)}: -o figure.pdf.",
        )
    if os.path.isdir(path):
        raise ArtifactExists(f"{path} is a directory", given=path, todo=ELSEWHERE)
    if os.path.isfile(path):
        try:
            with open(path, "rb") as file:
                beginning = file.read(8)
        except OSError as error:
            raise InvalidValue(f"cannot read {path}: {error.strerror}", given=path, todo=ELSEWHERE) from error
        if beginning and not beginning.startswith(FORMATS[extension]):
            what = f"{path} exists and is no {extension.upper()} file, so it is not replaced"
            raise ArtifactExists(what, given=path, todo=ELSEWHERE)
    return extension
