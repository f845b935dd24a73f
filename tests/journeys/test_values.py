"""Whatever a configuration, a row, a result or an artifact can hold is stored, and every reader reads it back."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import machinable as ml
from machinable.cli import main
from machinable.serialization import as_plain
from tests.golden_cases import typed

World = Callable[..., Path]

KEEPER = """
from machinable import Component
from tests.journeys.test_values import GIVEN, SURROGATE


class Keeper(Component):
    def on_execute(self):
        value = GIVEN[self.config.number]
        self.record["value"] = value
        self.record.save()
        self.record.scope("s" * 242)["value"] = value
        self.record.scope("s" * 242).save()
        self.store.write("value.json", value)
        if SURROGATE not in repr(value):  # YAML has no such characters
            self.store.write("value.yaml.gz", value)
        self.store.write("values.jsonl", [value, value])
        return value
"""

MOMENT = "2026-01-31T10:00:00.123456789"
ODD = [
    pd.NaT,
    pd.NA,
    pd.Timestamp(MOMENT),
    pd.Timestamp("2026-10-25 00:30", tz="UTC").tz_convert("Europe/Berlin"),
    pd.Timedelta("-1 days +00:00:00.000000005"),
    np.datetime64(MOMENT),
    np.datetime64("2026-01-31"),
    np.timedelta64(1500, "ms"),
    np.array(["2026-01-31", "NaT"], dtype="datetime64[ns]"),
    np.float32(0.1),
    np.arange(6).reshape(2, 3),
    np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
    np.ma.masked_array([1, 2], mask=[False, True]),
    math.inf,
    -math.inf,
    math.nan,
    -0.0,
    10**4299,
    2**63,
    "\ud800",
    "time (s)",
    "\0 \x1b[31m \u2028",
    "NaN",
    {1: {"x": None}, None: (), "": []},
    {"__date__": "NaT"},
    {"__tuple__": 3},
    {"__timedelta__": 1},
    datetime.timedelta.max,
    datetime.timedelta.min,
    datetime.datetime.max.replace(tzinfo=datetime.timezone.utc),
    datetime.date.min,
    datetime.time(1, 2, 3, 4, datetime.timezone(datetime.timedelta(hours=-3, seconds=1))),
]
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.dates()
    | st.datetimes(timezones=st.none() | st.timezones(), allow_imaginary=False)
    | st.times()
    | st.timedeltas()
    | st.sampled_from(ODD)
)
KEYS = (
    st.sampled_from(["a", "b.c", "", "1", "x y", "__date__", "__map__"])
    | st.integers()
    | st.dates()
    | st.floats(allow_nan=False)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=8,
)
GIVEN: list[Any] = []
SURROGATE = "\\ud800"


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


def stored(values: list[Any], storage: Path) -> list[str]:
    """Store each value in every way, twice; return the ids of the executions."""
    GIVEN[:] = values
    task = ml.Task().component("keeper", [{"number": i, "value": value} for i, value in enumerate(values)])
    options: dict[str, Any] = {"storage": str(storage), "code_backup": False}
    return [ml.execute(task, options, seed=seed).id for seed in (1, None)]


def read_by_commands(storage: Path, ids: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    uids = [trial.uid for trial in ml.Storage(str(storage))[ids[0]].trials]
    uid = uids[0]
    for words in (
        ["list"],
        ["show", ids[0]],
        *(["show", f"{ids[0]}/{uid}"] for uid in uids),
        ["tail", ids[0]],
        ["tail", f"{ids[0]}/{uid}"],
        ["compare", *ids],
        ["compare", *ids, "--field", "config.value", "--field", "records.value"],
        ["diff", *ids],
        ["report", *ids, "--to", "report.html", "--yes"],
        ["verify"],
    ):
        for more in ([], ["--json"]):
            code = main([*words, *more, "--storage", str(storage)])
            out, err = capfd.readouterr()
            assert (code, "Traceback" in err) == (0, False), (words, out[-2000:], err[-2000:])
            if more and words[0] != "tail":
                json.loads(out)


def read_in_python(storage: Path, execution: str, values: list[Any]) -> None:
    trials = ml.Storage(str(storage))[execution].trials
    assert len(trials.columns("records.value", "config.value", "uid").frame()) == len(values)
    str(trials), trials._repr_html_(), trials.rows()
    for trial, value in zip(trials, values, strict=True):
        with_tuples, plain = typed(as_plain(value, tuples=True)), typed(as_plain(value))
        assert typed(trial.config.to_dict()["value"]) == plain
        assert typed(trial.result) == with_tuples
        assert typed(trial.read("value.json")) == with_tuples
        assert SURROGATE in repr(value) or typed(trial.read("value.yaml.gz")) == with_tuples
        assert typed(trial.read("values.jsonl")) == typed([as_plain(value, tuples=True)] * 2)
        for records in (trial.records, trial.records("s" * 242)):
            assert typed(records.last["value"]) == plain
            assert typed(records.column("value")) == typed([as_plain(value)])
            assert len(records.frame()) == 1
    assert [trial.uid for trial in trials.where(**{"config.number": 0})] == [trials[0].uid]


@pytest.mark.parametrize("kind", ["odd", "random"])
def test_what_is_plain_can_be_stored_and_is_equal_for_every_reader(
    project: World, tmp_path: Path, capfd: pytest.CaptureFixture[str], kind: str
) -> None:
    project("components: [keeper: {number: 0, value: null}]", keeper=KEEPER)
    number = 0

    def check(values: list[Any]) -> None:
        nonlocal number
        number += 1
        storage = tmp_path / f"storage-{number}"
        ids = stored(values, storage)
        capfd.readouterr()
        for execution in ids:
            read_in_python(storage, execution, values)
        read_by_commands(storage, ids, capfd)

    if kind == "odd":
        check([*ODD, nested(196)])
        return
    settings(max_examples=20, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True)(
        given(st.lists(VALUES, min_size=1, max_size=12))(check)
    )()
