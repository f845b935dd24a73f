"""What pictures of trials show."""

from __future__ import annotations

import math
from typing import Any

import pytest

from machinable.errors import InvalidType, InvalidValue, MachinableError, UnknownName
from machinable.results.chart import MAX_POINTS, Chart, Point, caption, thinned
from machinable.results.summary import figures
from machinable.results.trials import Trials
from machinable.storage.memory import MemoryFiles
from tests.results.test_contrast import level, world
from tests.results.worlds import FOLDER, failed, finished, lines, planned, started, status, stored, uid, write

NAN = float("nan")


def with_rows(*trials: tuple[dict[str, Any], list[Any]], end: Any = finished, scope: str = "default") -> Trials:
    """Trials of each configuration, as repetitions, with rows: mappings, or values of `loss` in each iteration."""
    files = MemoryFiles()
    plan, ledger = [], []
    for index, (config, values) in enumerate(trials):
        rows = [one if isinstance(one, dict) else {"loss": one, "_iteration": i} for i, one in enumerate(values)]
        plan.append(planned(index, config, flags=level(index)))
        write(files, f"{FOLDER}/trials/{uid(index)}/records/{scope}.jsonl", lines(rows))
        ledger += [started(index)]
        if end is not None:
            last = rows[-1] if rows and scope == "default" else {}
            ledger += [end(index, **{name: value for name, value in last.items() if name[0] != "_"})]
    return stored(plan, ledger, files=files).trials


def drawn(chart: Chart) -> dict[str, list[tuple[float, float]]]:
    """The positions of the points of each series."""
    return {one.name: [(point.x, point.y) for point in one.points] for one in chart.series}


def test_curves_are_means_over_repetitions_with_intervals() -> None:
    trials = with_rows(({"rate": 1}, [4.0, 2.0]), ({"rate": 1}, [6.0, 2.5]), ({"rate": 2}, [9.0, 8.0]))

    chart = trials.chart("records.loss")

    assert (chart.kind, chart.x, chart.settings, chart.categories) == ("curves", "_iteration", ["config.rate"], None)
    assert drawn(chart) == {"1": [(0.0, 5.0), (1.0, 2.25)], "2": [(0.0, 9.0), (1.0, 8.0)]}
    wanted = figures([4.0, 6.0], 0)
    assert chart.series[0].points[0] == Point(0.0, 5.0, wanted["low"], wanted["high"], 2)
    assert chart.series[1].points[0] == Point(0.0, 9.0, trial=f"{FOLDER}/{uid(2)}")
    assert chart.series[0].trials == [f"{FOLDER}/{uid(0)}", f"{FOLDER}/{uid(1)}"]


@pytest.mark.parametrize(
    ("band", "interval"),
    [("sd", (5 - math.sqrt(2), 5 + math.sqrt(2))), ("range", (4.0, 6.0)), ("none", (None, None)), (None, (None, None))],
)
def test_a_band_is_chosen(band: str | None, interval: tuple[Any, Any]) -> None:
    chart = with_rows(({}, [4.0, 1.0]), ({}, [6.0, 1.0])).chart("records.loss", band=band)

    (series,) = chart.series
    assert (series.name, series.points[0].low, series.points[0].high) == ("", *map(pytest.approx, interval))


def test_trials_that_are_no_repetitions_are_never_pooled() -> None:
    trials = with_rows(({"rate": 1, "size": 8}, [1.0, 1.0]), ({"rate": 1, "size": 9}, [3.0, 3.0]))

    assert drawn(trials.chart("records.loss", by="config.rate")) == {
        "rate=1, size=8": [(0.0, 1.0), (1.0, 1.0)],
        "rate=1, size=9": [(0.0, 3.0), (1.0, 3.0)],
    }


def test_between_different_x_a_trial_is_on_straight_lines_from_its_first_to_its_last() -> None:
    trials = with_rows(
        ({}, [{"t": 0, "loss": 0.0}, {"t": 2, "loss": 4.0}, {"t": 4, "loss": 4.0}]),
        ({}, [{"t": 1, "loss": 4.0}, {"t": 2, "loss": 6.0}]),
    )

    chart = trials.chart("records.loss", "t")

    assert drawn(chart) == {"": [(0.0, 0.0), (1.0, 3.0), (2.0, 5.0), (4.0, 4.0)]}
    assert [point.n for point in chart.series[0].points] == [1, 2, 2, 1]
    assert chart.notes == ["the mean is over 1 to 2 values along the curve"]


def test_over_time_repetitions_begin_together() -> None:
    rows = [[{"loss": 4.0 - i, "_timestamp": start + 2.0 * i} for i in range(3)] for start in (100.0, 5000.0)]

    chart = with_rows(({}, rows[0]), ({}, rows[1])).chart("records.loss", "_timestamp")

    assert drawn(chart) == {"": [(0.0, 4.0), (2.0, 3.0), (4.0, 2.0)]}
    assert caption(chart) == "Mean and 95 % interval of loss by seconds since the first row, n = 2."


def test_several_rows_at_one_x_are_averaged_and_nan_is_a_gap() -> None:
    trials = with_rows(({}, [{"epoch": 0, "loss": 1.0}, {"epoch": 0, "loss": 2.0}, {"epoch": 1, "loss": NAN}]))

    chart = trials.chart("records.loss", "epoch")

    assert chart.series[0].points[0][:2] == (0.0, 1.5)
    assert math.isnan(chart.series[0].points[1].y)
    assert "1 of 2 points are not finite numbers, and not drawn" in chart.notes


def test_smoothing_is_a_moving_average_without_a_bias_to_the_start() -> None:
    chart = with_rows(({}, [4.0, 0.0, NAN, 2.0])).chart("records.loss", smooth=0.5)

    values = [point.y for point in chart.series[0].points]
    assert values[:2] + values[3:] == pytest.approx([4.0, 4.0 / 3, 12.0 / 7])
    assert math.isnan(values[2])


def test_trials_that_run_are_drawn_and_failed_ones_only_if_there_are_no_others() -> None:
    running = with_rows(({}, [4.0, 2.0]), end=None)
    files = running[0].execution.files
    write(files, f"{FOLDER}/trials/{uid(0)}/status.json", status())
    broken = with_rows(({"a": 1}, [4.0, 2.0]), end=failed)

    assert drawn(running.chart("records.loss")) == {"": [(0.0, 4.0), (1.0, 2.0)]}
    assert drawn(broken.chart("records.loss")) == {"": [(0.0, 4.0), (1.0, 2.0)]}
    both = Trials([*running, *broken]).chart("records.loss")
    assert (len(both.series), both.notes[0]) == (1, "left out: 1 failed")


def test_rows_of_other_scopes_have_curves_over_their_columns() -> None:
    trials = with_rows(({}, [{"f1": 1, "at": 5}, {"f1": 2, "at": 6}]), scope="validation")

    assert drawn(trials.chart("records.validation.f1")) == {"": [(0.0, 1.0), (1.0, 2.0)]}
    assert drawn(trials.chart("records.validation.f1", "records.validation.at", kind="curves")) == {
        "": [(5.0, 1.0), (6.0, 2.0)]
    }


def test_numbers_among_the_settings_have_a_curve_with_intervals() -> None:
    trials = world(({"rate": 0.1, "net": "b"}, [1.0, 3.0]), ({"rate": 0.01, "net": "b"}, [5.0, 7.0]))

    chart = trials.chart("records.x", "config.rate", "config.net")

    assert (chart.kind, chart.settings) == ("curves", ["config.net"])
    assert drawn(chart) == {"b": [(0.01, 6.0), (0.1, 2.0)]}
    assert chart.series[0].points[0].high == figures([5.0, 7.0], 0)["high"]


def test_bars_are_means_with_intervals() -> None:
    trials = world(({"net": "b"}, [1.0, 3.0, None]), ({"net": "a"}, [5.0, 7.0]))

    by = trials.chart("records.x")
    across = trials.chart("records.x", "config.net")

    assert (by.kind, by.categories, by.settings, drawn(by)) == (
        "bars",
        ["b", "a"],
        ["config.net"],
        {"": [(0.0, 2.0), (1.0, 6.0)]},
    )
    assert (across.kind, across.categories, across.series[0].points) == ("bars", ["b", "a"], by.series[0].points)
    assert by.notes == ["left out: 1 failed"]


def test_bars_over_components_are_split_by_settings_that_differ_within_one() -> None:
    plan = [
        planned(0, {"rate": 1}, component="nets.mlp"),
        planned(1, {"rate": 2}, component="nets.mlp"),
        planned(2, {"rate": 1}, component="nets.cnn"),
    ]
    trials = stored(plan, [finished(index, x=float(index)) for index in range(3)]).trials

    chart = trials.chart("records.x", "component")

    assert (chart.categories, chart.settings) == (["mlp", "cnn"], ["config.rate"])
    assert drawn(chart) == {"1": [(0.0, 0.0), (1.0, 2.0)], "2": [(0.0, 1.0)]}


def test_flags_of_the_user_and_children_separate_trials() -> None:
    flagged = [planned(0, {"rate": 1}, flags={"FAST": 1}), planned(1, {"rate": 1}, flags={"FAST": 2})]
    children = [
        planned(n, children=[{"component": "c", "module": "c", "config": {"size": n}, "flags": {}}]) for n in range(2)
    ]
    values = [finished(0, x=1.0), finished(1, x=2.0)]

    found = stored(flagged, values).trials.chart("records.x", "config.rate")
    assert drawn(found) == {
        "1": [(1.0, 1.0)],
        "2": [(1.0, 2.0)],
    }
    assert stored(children, values).trials.chart("records.x").categories == ["(1)", "(2)"]
    with pytest.raises(InvalidValue, match="have the same component and are not repetitions: children differ"):
        stored(children, values).trials.chart("records.x", "component")


def test_scatter_has_a_point_for_each_trial() -> None:
    plan = [planned(0, {"net": "a"}), planned(1, {"net": "b"}), planned(2, {"net": "a"})]
    trials = stored(plan, [finished(0, x=1, y=4), finished(1, x=2, y=5), finished(2, x=3)]).trials

    chart = trials.chart("records.y", "records.x", "config.net")

    assert (chart.kind, drawn(chart)) == ("scatter", {"a": [(1.0, 4.0)], "b": [(2.0, 5.0)]})
    assert chart.series[1].points[0].trial == f"{FOLDER}/{uid(1)}"
    assert chart.notes == ["left out: 1 without a value"]


def test_a_heat_map_has_a_cell_for_two_settings_and_refuses_a_third() -> None:
    configs = [{"rate": rate, "size": size} for rate in (0.1, 0.01) for size in (8, 4)]
    trials = world(*((config, [config["size"] / config["rate"]] * 2) for config in configs))

    chart = trials.chart("records.x", "config.rate", "config.size", kind="heatmap")

    assert (chart.categories, chart.settings) == (["0.01", "0.1"], ["config.size"])
    assert drawn(chart) == {"4": [(0.0, 400.0), (1.0, 40.0)], "8": [(0.0, 800.0), (1.0, 80.0)]}
    third = world(*(({**config, "deep": deep}, [1.0]) for config in configs for deep in (1, 2)))
    with pytest.raises(InvalidValue, match=r"two settings, and the trials differ in more: config\.deep"):
        third.chart("records.x", "config.rate", "config.size", kind="heatmap")


@pytest.mark.parametrize(
    ("arguments", "kind", "message"),
    [
        (("records.los",), UnknownName, "no field named 'records.los'\n  Did you mean 'records.loss'"),
        (("records.loss", "iteration"), UnknownName, "no field named 'iteration'\n  Did you mean '_iteration'"),
        (
            ("records.loss", None, "config.rat"),
            UnknownName,
            "no field named 'config.rat'\n  Did you mean 'config.rate'",
        ),
        (("records.note",), InvalidType, f"records.note is 'ok' in the trial {uid(0)}, which is not a number"),
        (("records.loss", "note"), InvalidType, f"note is 'ok' in the trial {uid(0)}, which is not a number"),
        (("config.net",), InvalidType, f"config.net is 'a' in the trial {uid(0)}, which is not a number"),
        (("records.loss.min", "_iteration"), UnknownName, "no field named '_iteration'"),
        (("records.bad",), InvalidValue, "records.bad has no finite number in these trials"),
        (("seconds", "config.net", None, "curves"), InvalidType, "config.net is 'a' in the trial"),
        (("seconds", None, None, "curves"), InvalidValue, "seconds is one value of each trial"),
        (("seconds", None, None, "scatter"), InvalidValue, "a scatter needs a horizontal axis"),
        (("seconds", "config.rate", None, "heatmap"), InvalidValue, "a heatmap needs a vertical axis"),
        (("seconds", None, None, "bar"), UnknownName, "no kind named 'bar'\n  Did you mean 'bars'?"),
    ],
)
def test_what_cannot_be_drawn_is_an_error(arguments: Any, kind: type[MachinableError], message: str) -> None:
    rows = [{"loss": 1.0, "note": "ok", "bad": NAN, "_iteration": i} for i in range(2)]
    trials = with_rows(({"rate": 1, "net": "a"}, rows), ({"rate": 2, "net": "a"}, rows))
    metric, x, by, shape, *_ = [*arguments, None, None, None]

    with pytest.raises(kind) as caught:
        trials.chart(metric, x, by, kind=shape)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"band": "99%"}, "no band named '99%'"),
        ({"log": "z"}, "no axes named 'z'"),
        ({"smooth": 1.0}, "smooth is 1.0, and it is a number from 0 up to 1"),
        ({"log": "x"}, "1 of 2 points are not positive"),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    trials = with_rows(({}, [1.0, 2.0]))

    if options == {"log": "x"}:  # the other point can be drawn
        assert trials.chart("records.loss", **options).notes[0].startswith(message)
        return
    with pytest.raises(MachinableError) as caught:
        trials.chart("records.loss", **options)
    assert str(caught.value).startswith(message)


def test_no_trials_and_no_results_are_errors_that_say_what_there_is() -> None:
    with pytest.raises(InvalidValue, match="there are no trials to draw"):
        Trials().chart("records.loss")
    with pytest.raises(InvalidValue) as caught:
        stored([planned(0), planned(1)], []).trials.chart("records.loss")
    assert str(caught.value) == ("no trial has finished with a value of records.loss\n  Of the trials are 2 pending.")


def test_a_long_curve_keeps_its_extremes() -> None:
    points = [Point(float(x), math.sin(x)) for x in range(10 * MAX_POINTS)]
    points[4321] = Point(4321.0, 7.0)

    found = thinned(points)

    assert len(found) <= MAX_POINTS + 2
    assert (found[0], found[-1], max(found, key=lambda point: point.y).x) == (points[0], points[-1], 4321.0)
    assert [point.x for point in found] == sorted({point.x for point in found})
