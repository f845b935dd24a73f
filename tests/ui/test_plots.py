from __future__ import annotations

import pytest

from machinable.errors import InvalidValue, UnknownName
from machinable.results.trials import Trials
from machinable.storage.memory import MemoryFiles
from machinable.ui.plots import MAX_TRIALS, chart_options, check_number, line_options, parallel_options
from tests.results.worlds import finished, lines, planned, started, stored, uid, write


def trials() -> Trials:
    """Two rates with two repetitions, three rows each."""
    files, plan, ledger = MemoryFiles(), [], []
    for index in range(4):
        number = {"REPEAT_NUMBER": index // 2, "REPEAT_SEED": index // 2}
        config = {"rate": (index % 2 + 1) / 10, "kind": "ab"[index % 2]}
        plan.append(planned(index, config, flags=number, identity=f"{index:032x}"))
        rows = [{"loss": index + row} for row in range(3)]
        write(files, f"OY1p1o/trials/{uid(index)}/records/default.jsonl", lines(rows))
        ledger += [started(index), finished(index, **rows[-1])]
    return stored(plan, ledger, files=files).trials


def test_curves_have_a_band_behind_each() -> None:
    options = chart_options(trials().chart("records.loss", by="config.rate", band="range"))

    names = [(one["type"], one["name"]) for one in options["series"]]
    assert names == [("line", "rate=0.1"), ("custom", "rate=0.1"), ("line", "rate=0.2"), ("custom", "rate=0.2")] or [
        name for _, name in names
    ] == ["0.1", "0.1", "0.2", "0.2"]
    assert options["series"][0]["data"] == [[0, 1], [1, 2], [2, 3]]
    assert options["series"][1]["data"] == [[0, 0, 2], [1, 1, 3], [2, 2, 4]]
    assert options["series"][1]["itemStyle"] == options["series"][0]["itemStyle"]
    assert (options["xAxis"]["type"], options["yAxis"]["type"]) == ("value", "value")


def test_axes_are_logarithmic_where_asked() -> None:
    options = chart_options(trials().chart("records.loss", by="config.rate", log="y"))

    assert (options["xAxis"]["type"], options["yAxis"]["type"]) == ("value", "log")


def test_bars_have_whiskers_and_a_scatter_leads_to_trials() -> None:
    bars = chart_options(trials().chart("records.loss", by="config.rate", kind="bars", band="range"))
    assert [one["type"] for one in bars["series"]] == ["bar", "custom"]
    assert bars["series"][0]["data"] == [3, 4] and bars["series"][1]["data"] == [[0, 2, 4], [1, 3, 5]]

    scatter = chart_options(trials().chart("records.loss", x="config.rate", kind="scatter"))
    assert scatter["series"][0]["data"][0] == {"value": [0.1, 2], "name": f"OY1p1o/{uid(0)}"}


def test_a_heat_map_has_a_row_for_each_series() -> None:
    options = chart_options(trials().chart("records.loss", x="config.rate", by="config.kind", kind="heatmap"))

    assert options["xAxis"]["data"] == ["0.1", "0.2"] and len(options["yAxis"]["data"]) == 2
    assert sorted(options["series"][0]["data"]) == [[0, 0, 3], [1, 1, 4]]
    assert (options["visualMap"]["min"], options["visualMap"]["max"]) == (3, 4)


def test_parallel_coordinates_have_an_axis_for_each_field() -> None:
    options = parallel_options(trials(), ["config.kind", "config.rate", "records.loss"])

    assert [(axis["name"], axis["type"]) for axis in options["parallelAxis"]] == [
        ("kind", "category"),
        ("rate", "value"),
        ("loss", "value"),
    ]
    assert options["series"][0]["data"][1] == {"value": ["b", 0.2, 3], "name": f"OY1p1o/{uid(1)}"}
    assert (options["visualMap"]["min"], options["visualMap"]["max"]) == (2, 5)


@pytest.mark.parametrize(
    ("fields", "kind"),
    [([], InvalidValue), (["config.rate"], InvalidValue), (["config.rate", "nonsense"], UnknownName)],
)
def test_parallel_coordinates_need_two_known_fields(fields: list[str], kind: type[Exception]) -> None:
    with pytest.raises(kind):
        parallel_options(trials(), fields)


def test_too_many_trials_are_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidValue, match="at most 3,000 are drawn") as error:
        check_number(Trials([trials()[0]] * (MAX_TRIALS + 1)))

    assert "Add a condition" in str(error.value)


def test_names_of_users_are_values_and_never_code() -> None:
    nasty = "<img src=x onerror=alert(1)>"
    options = line_options(nasty, [(0, 1), (1, 2)])

    assert options["series"][0]["name"] == nasty
    assert not [key for key in options["series"][0] if key.startswith(":")]
