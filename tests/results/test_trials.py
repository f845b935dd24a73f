"""Filtering and tabulating many trials."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any

import pytest

from machinable.errors import InvalidType, InvalidValue, UnknownName
from machinable.results import cache
from machinable.results.trial import Trial
from machinable.results.trials import Trials
from machinable.serialization import dumps
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from tests.results.worlds import (
    FOLDER,
    WatchedFiles,
    failed,
    finished,
    lines,
    planned,
    started,
    status,
    stored,
    time,
    uid,
    write,
)

NAN = float("nan")


def level(number: int) -> dict[str, Any]:
    return {"REPEAT_SEED": 7, "REPEAT_TOTAL": 2, "REPEAT_NUMBER": number}


@pytest.fixture(params=["read", "cached"])
def trials(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Trials:
    """Two learning rates, twice each; the last one failed. And a loader, which is pending.

    They are as the first reader has them, and as later readers have them from the cache.
    """
    configs = [{"lr": lr, "data": {"name": "mnist", "batch": 32}, "layers": [1, 2]} for lr in (0.1, 0.01)]
    plan = [planned(i, configs[i % 2], flags=level(i // 2), tags={"model": "bm25"}) for i in range(4)]
    plan.append(planned(4, {"path": "/data"}, component="loader", flags={"NAME": "@/loader"}))
    ledger = [finished(i, loss=0.5 / (i + 1), _timestamp=1.0) for i in range(3)]
    files = DirectoryFiles(tmp_path)
    execution = stored(plan, [*ledger, failed(3, loss=9.0), {"event": "ended", "status": "failed"}], files=files)
    if request.param == "cached":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        monkeypatch.setattr(cache, "MIN_SIZE", 0)
        monkeypatch.setattr(cache, "SETTLED", -math.inf)  # the time of the test is another one than that of its files
        assert (len(execution.trials), execution.status) == (5, "failed")
        execution.refresh()
        assert execution._reader.plan.cached is not None
    return execution.trials


def indices(trials: Trials) -> list[int]:
    return [trial.index for trial in trials]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"component": "train"}, [0, 1, 2, 3]),
        ({"component": "@/loader"}, [4]),  # the name that the task used
        ({"component": "loader"}, [4]),
        ({"component": "unknown"}, []),
        ({"component": ["loader", "unknown"]}, [4]),
        ({"status": "finished"}, [0, 1, 2]),
        ({"status": {"failed", "pending"}}, [3, 4]),
        ({"uid": uid(2)}, [2]),
        ({"index": lambda index: index > 2}, [3, 4]),
        ({"seed": 1001}, [1]),
        ({"execution": "OY1p1o", "name": "rates", "module": "train"}, [0, 1, 2, 3, 4]),
        ({"identity": f"{3:032x}"}, [3]),
        ({"config.lr": 0.1}, [0, 2]),
        ({"config.lr": (0.01, 7)}, [1, 3]),
        ({"config.lr": lambda lr: lr < 0.1}, [1, 3]),
        ({"config.data.name": "mnist", "flags.REPEAT_NUMBER": 0}, [0, 1]),
        ({"config.data": {"name": "mnist", "batch": 32}, "status": "failed"}, [3]),
        ({"config.layers": [[1, 2]]}, [0, 1, 2, 3]),  # a list is a list of allowed values
        ({"config.layers": [1, 2]}, []),
        ({"config.layers.1": 2, "config.path": "/data"}, []),
        ({"flags.REPEAT_NUMBER": True}, []),  # 1 is not True
        ({"flags.REPEAT_NUMBER": 1.0}, [2, 3]),
        ({"tags.model": "bm25", "config.lr": 0.1}, [0, 2]),
        ({"records.loss.last": lambda loss: loss < 0.3}, [1, 2]),
        ({"records.loss": 9}, [3]),
    ],
)
def test_where_keeps_the_trials_that_meet_all_conditions(
    trials: Trials, conditions: dict[str, Any], expected: list[int]
) -> None:
    assert indices(trials.where(**conditions)) == expected


def test_a_function_without_a_field_gets_the_trials_that_meet_the_conditions() -> None:
    trials = stored([planned(0), planned(1), planned(2)], [finished(0), finished(1), failed(2)]).trials
    asked: list[int] = []

    def is_odd(trial: Trial) -> bool:
        asked.append(trial.index)
        return trial.index % 2 == 1

    assert indices(trials.where(is_odd, status="finished")) == [1]
    assert asked == [0, 1]
    assert indices(trials.where(is_odd, lambda trial: trial.uid == "x")) == []
    with pytest.raises(InvalidType, match="7 is not a condition"):
        trials.where(7)  # type: ignore[arg-type]


def test_nan_is_equal_to_nan() -> None:
    trials = stored([planned(0), planned(1)], [finished(0, loss=NAN), finished(1, loss=1.0)]).trials

    assert indices(trials.where(**{"records.loss": NAN})) == [0]


def test_none_is_a_value_and_not_a_missing_key() -> None:
    trials = stored([planned(0, {"lr": None}), planned(1, {"lr": 1}), planned(2, {})]).trials

    assert indices(trials.where(**{"config.lr": None})) == [0]


@pytest.mark.parametrize(
    ("field", "advice"),
    [
        ("componet", "Did you mean 'component'?"),
        ("has_begun", "It is an attribute of trials and not a field: where(lambda trial: trial.has_begun …)."),
        ("output", "It is an attribute of trials and not a field: where(lambda trial: trial.output …)."),
        ("los", "Did you mean 'records.loss'?"),
        ("config", "Did you mean 'config.lr' or 'config.path'"),
        ("config.data.nme", "Did you mean 'config.data.name' or"),
        ("config.data.name.x", "Did you mean 'config.data.name' or 'config.data.batch'"),
        ("config.layers.2", "Did you mean 'config.layers'"),
        ("flags.REPEAT_NUMBR", "Did you mean 'flags.REPEAT_NUMBER'"),
        ("tags.mode", "Did you mean 'tags.model'"),
        ("records.los", "Did you mean 'records.loss'"),
        ("records.los.mean", "Did you mean 'records.loss'"),
        ("records.loss.median", "Did you mean 'records.loss'"),
    ],
)
def test_a_field_that_no_trial_has_is_an_error_with_near_names(trials: Trials, field: str, advice: str) -> None:
    for ask in (
        lambda: trials.where(**{field: 1}),
        lambda: trials.columns(field).rows(),
        lambda: trials.summary("index", field),
    ):
        with pytest.raises(UnknownName) as caught:
            ask()
        assert str(caught.value).startswith(f"no field named {field!r}\n  {advice}")
    with pytest.raises(UnknownName):  # although no trial is left when its turn comes
        trials.where(component="unknown", **{field: 1})


def test_an_unknown_status_is_an_error(trials: Trials) -> None:
    with pytest.raises(UnknownName) as caught:
        trials.where(status=["finished", "finishd"])

    assert str(caught.value) == "no status named 'finishd'\n  Did you mean 'finished'?"


def test_without_trials_every_field_is_valid() -> None:
    none = Trials()

    assert list(none.where(**{"config.lr": 1, "records.loss.max": 1})) == []
    assert (none.columns("config.lr").rows(), none.rows()) == ([], [])
    assert list(none.columns("config.lr", "uid").frame().columns) == ["config.lr", "uid"]
    assert (list(none.summary("records.loss", by="config.lr")), repr(none)) == ([], "<Trials: none>")


def test_trials_are_a_sequence(trials: Trials) -> None:
    assert (len(trials), trials[1].index, trials[-1].index) == (5, 1, 4)
    assert isinstance(trials[1:3], Trials)
    assert indices(trials[1:3]) == [1, 2]
    assert trials[1] in trials[1:3]
    assert repr(trials) == "<Trials: 1 pending, 3 finished, 1 failed>"


def test_rows_have_the_given_fields(trials: Trials) -> None:
    assert trials[2:].columns("config.lr", "records.loss.last", "config.data").rows() == [
        {"config.lr": 0.1, "records.loss.last": 0.5 / 3, "config.data": {"name": "mnist", "batch": 32}},
        {"config.lr": 0.01, "records.loss.last": 9.0, "config.data": {"name": "mnist", "batch": 32}},
        {"config.lr": None, "records.loss.last": None, "config.data": None},
    ]


def test_rows_have_by_default_differing_settings_and_results(trials: Trials) -> None:
    assert trials[2:].rows() == [
        {
            "execution": "OY1p1o",
            "uid": uid(2),
            "component": "train",
            "status": "finished",
            "config.lr": 0.1,
            "tags.model": "bm25",
            "flags.REPEAT_NUMBER": 1,
            "records.loss": 0.5 / 3,
        },
        {
            "execution": "OY1p1o",
            "uid": uid(3),
            "component": "train",
            "status": "failed",
            "config.lr": 0.01,
            "tags.model": "bm25",
            "flags.REPEAT_NUMBER": 1,
            "records.loss": 9.0,
        },
        {
            "execution": "OY1p1o",
            "uid": uid(4),
            "component": "loader",
            "status": "pending",
            "config.lr": None,
            "tags.model": None,
            "flags.REPEAT_NUMBER": None,
            "records.loss": None,
        },
    ]


def test_an_identity_is_found_by_its_printed_beginning() -> None:
    plan = [planned(i) | {"identity": text * 4} for i, text in enumerate(("00dd8d3f", "00dd8d30", "abcdef01"))]
    trials = stored(plan, []).trials

    assert indices(trials.where(identity="00dd8d3f")) == [0]
    assert indices(trials.where(identity="00dd8d30" * 4)) == [1]
    assert indices(trials.where(identity=["00dd8d3f", "abcdef01"])) == [0, 2]
    assert indices(trials.where(identity=lambda identity: identity.endswith("01"))) == [2]
    assert indices(trials.where(identity="00dd8d3")) == []


def test_tags_are_shown_and_found_unless_they_repeat_the_configuration() -> None:
    tags = ({"data.noise": 0.5, "my.model": "bm25"}, {"data.noise": 0.5}, {})
    trials = stored([planned(i, {"data": {"noise": 0.5}}, tags=one) for i, one in enumerate(tags)], []).trials

    assert [key for key in trials.rows()[0] if key.startswith("tags.")] == ["tags.my.model"]
    assert "bm25" in str(trials)
    assert indices(trials.where(**{"tags.data.noise": 0.5})) == [0, 1]
    assert indices(trials.where(**{"tags.my.model": "bm25"})) == [0]


@pytest.mark.parametrize(
    ("one", "other", "columns"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": NAN}, {"a": NAN}, []),
        ({"a": 1}, {"a": NAN}, ["config.a"]),
        ({"a": 1}, {"a": True}, ["config.a"]),
        ({"a": 1}, {}, ["config.a"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["config.a.c"]),
        ({"a": {"b": 1}}, {}, ["config.a.b"]),
        ({"a": {"b": 1}}, {"a": None}, ["config.a"]),
        ({"a": datetime.date(2026, 1, 31)}, {"a": datetime.date(2026, 2, 1)}, ["config.a"]),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, ["config.a"]),
    ],
)
def test_a_column_by_default_is_a_value_that_differs(one: Any, other: Any, columns: list[str]) -> None:
    trials = stored([json.loads(dumps(planned(i, config))) for i, config in enumerate((one, other))]).trials

    assert list(trials.rows()[0])[4:] == columns


def test_a_users_flag_is_no_repetition() -> None:
    trials = stored([planned(0, flags={"HOUSE_NUMBER": 3, "SPLIT_SEED_1": 5, "SPLIT_NUMBER_1": 0})]).trials

    assert list(trials.rows()[0])[4:] == ["flags.SPLIT_NUMBER_1"]


def test_stored_substitutions_are_undone() -> None:
    files = MemoryFiles()
    trials = stored([], files=files).trials
    day = datetime.date(2026, 1, 31)
    config = {"day": day, "sizes": {1: "one"}, "when": [day], "odd": {"__tuple__": 3}}
    files.write(f"{FOLDER}/plan.jsonl", (dumps(planned(0, config)) + "\n").encode())
    trials = stored_again(files)

    assert trials.columns("config.day", "config.sizes", "config.sizes.1", "config.when", "config.when.0").rows() == [
        {
            "config.day": day,
            "config.sizes": {1: "one"},
            "config.sizes.1": "one",
            "config.when": [day],
            "config.when.0": day,
        }
    ]
    assert (trials.where(**{"config.day": day})[0].config.sizes, trials[0].config.odd["__tuple__"]) == ({1: "one"}, 3)


def stored_again(files: MemoryFiles) -> Trials:
    from machinable.results.execution import Execution

    return Execution(files, FOLDER).trials


def test_the_value_of_a_config_method_is_read_from_the_trial() -> None:
    files = WatchedFiles()
    configs = [{"lr": "rate(2)", "size": 3, "rates": "all()"}, {"lr": "rate(4)", "size": 3, "rates": "all()"}]
    trials = stored([planned(i, config) for i, config in enumerate(configs)], [finished(0)], files=files).trials
    write(files, f"{FOLDER}/trials/{uid(0)}/trial.json", planned(0, {"lr": 0.5, "size": 3, "rates": {"first": [7]}}))

    assert indices(trials.where(**{"config.lr": 0.5})) == [0]
    assert trials.columns("config.lr", "config.rates.first.0", "config.rates").rows() == [
        {"config.lr": 0.5, "config.rates.first.0": 7, "config.rates": {"first": [7]}},
        {"config.lr": "rate(4)", "config.rates.first.0": None, "config.rates": "all()"},  # it has not begun
    ]
    assert [path for path in files.seen if path.endswith("trial.json")] == [f"{FOLDER}/trials/{uid(0)}/trial.json"]


def test_no_file_of_a_trial_is_read_where_plan_and_ledger_decide() -> None:
    files = WatchedFiles()
    plan = [planned(i, {"lr": 1 / (i + 1), "data": {"name": "mnist"}}, flags=level(i % 2)) for i in range(100)]
    ledger = [event for i in range(90) for event in (started(i), finished(i, loss=float(i)))]
    execution = stored(plan, ledger, files=files)  # ten trials are pending

    chosen = execution.trials.where(component="train", status="finished", **{"config.data.name": "mnist"})
    chosen = chosen.where(**{"records.loss.last": lambda loss: loss > 10, "flags.REPEAT_NUMBER": 0})
    chosen.frame()
    chosen.summary("records.loss.last", by="config.lr")
    execution.trials.rows()

    assert (len(chosen), execution.status, bool(execution)) == (39, "interrupted", True)
    assert sorted(files.seen) == [
        f"{FOLDER}/{name}" for name in ("annotations.jsonl", "execution.lease", "ledger.jsonl", "plan.jsonl")
    ]


def test_the_last_row_of_a_running_trial_is_in_its_records() -> None:
    files = MemoryFiles()
    trials = stored([planned(0), planned(1)], [started(0)], files=files).trials
    write(files, f"{FOLDER}/trials/{uid(0)}/status.json", status())
    files.write(f"{FOLDER}/trials/{uid(0)}/records/default.jsonl", lines([{"loss": 2}, {"loss": 1}]))

    assert trials.columns("status", "records.loss").rows() == [
        {"status": "running", "records.loss": 1},
        {"status": "pending", "records.loss": None},
    ]


def test_aggregates_are_over_all_rows_of_a_trial() -> None:
    files = MemoryFiles()
    rows: list[dict[str, Any]] = [
        {"loss": 4, "val.loss": 1, "note": "a"},
        {"loss": NAN},
        {"loss": 1},
        {"loss": 3.5, "best": "x"},
    ]
    trials = stored([planned(0), planned(1)], [finished(0, **rows[-1]), finished(1)], files=files).trials
    files.write(f"{FOLDER}/trials/{uid(0)}/records/default.jsonl", lines(rows))
    (first, second) = trials.columns(
        "records.loss.first",
        "records.loss.last",
        "records.loss.min",
        "records.loss.max",
        "records.loss.count",
        "records.val.loss.mean",
        "records.val.loss.std",
        "records.val.loss.count",
        "records.best",
    ).rows()

    assert list(first.values()) == [4, 3.5, 1, 4, 4, 1, None, 1, "x"]
    assert set(second.values()) == {None}
    (mean,) = trials[:1].columns("records.loss.mean", "records.loss.std").rows()
    assert all(map(math.isnan, mean.values()))
    with pytest.raises(UnknownName):  # a mean of texts
        trials.columns("records.note.mean").rows()


def test_mean_and_standard_deviation_are_those_of_a_sample() -> None:
    files = MemoryFiles()
    trials = stored([planned(0)], [finished(0, x=9)], files=files).trials
    files.write(f"{FOLDER}/trials/{uid(0)}/records/default.jsonl", lines([{"x": x} for x in (2, 4, 4, 4, 5, 5, 7, 9)]))

    (row,) = trials.columns("records.x.mean", "records.x.std").rows()

    assert row == {"records.x.mean": 5.0, "records.x.std": pytest.approx(math.sqrt(32 / 7))}


def test_a_frame_has_a_row_for_each_trial_and_a_column_for_each_field(trials: Trials) -> None:
    frame = trials.where(component="train").columns("config.lr", "records.loss.last", "status").frame()

    assert list(frame.columns) == ["config.lr", "records.loss.last", "status"]
    assert frame["config.lr"].tolist() == [0.1, 0.01, 0.1, 0.01]
    assert (str(frame["records.loss.last"].dtype), frame["status"].tolist()[-1]) == ("float64", "failed")


def test_a_table_of_many_trials_ends_with_their_number() -> None:
    trials = stored([planned(i) for i in range(1042)]).trials

    assert str(trials).splitlines()[::41] == [
        "execution  uid           component  status",
        "… and 1,002 more",
    ]
    assert trials._repr_html_().count("<tr>") == 41
    assert trials._repr_html_().endswith("<p>… and 1,002 more</p>")


def test_a_summary_is_of_finished_trials_and_counts_the_failed(trials: Trials) -> None:
    summary = trials.summary("records.loss.last", by="config.lr")

    assert summary.settings == ("config.lr",)
    assert [(row["config.lr"], row["n"], row["failed"]) for row in summary] == [(0.1, 2, 0), (0.01, 1, 1)]
    assert summary[0]["mean"] == pytest.approx((0.5 + 0.5 / 3) / 2)
    undefined = {"sd": None, "low": None, "high": None}
    middle = {"mean": 0.25, "median": 0.25, "min": 0.25, "max": 0.25}
    assert summary[1] == {"config.lr": 0.01, "n": 1, "failed": 1} | middle | undefined


def test_groups_are_of_equal_values() -> None:
    values = [1, 1.0, True, [1], [1], {"a": NAN}, {"a": NAN}, NAN, NAN, "1", None]
    plan = [planned(i, {"x": value, "y": 0}) for i, value in enumerate(values)]
    trials = stored(plan, [finished(i, loss=1.0) for i in range(len(values))]).trials

    assert [row["n"] for row in trials.summary("records.loss", by=["config.x", "config.y"])] == [2, 1, 2, 2, 2, 1, 1]
    everything = trials.summary("records.loss")
    assert ([row["n"] for row in everything], everything.settings) == ([2, 1, 2, 2, 2, 1, 1], ("config.x",))


def test_a_summary_of_texts_is_refused() -> None:
    trials = stored([planned(0)], [finished(0, note="good")]).trials

    with pytest.raises(InvalidType, match=f"records.note is 'good' in the trial {uid(0)}, which is not a number"):
        trials.summary("records.note")


# --- conditions as text, order and groups


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("config.lr<0.1", [1, 3]),
        ("config.lr <= 0.1 and status=finished", [0, 1, 2]),
        ("config.lr in [0.01, 7]", [1, 3]),
        ("config.lr!=0.1", [1, 3, 4]),  # the complement of =, so trials without it
        ("component~tr*", [0, 1, 2, 3]),
        ("component~@/*", [4]),
        ("component!=loader", [0, 1, 2, 3]),
        ("component=@/loader", None),  # @ has no meaning in YAML
        ("component='@/loader'", [4]),
        ("records.loss.last>0.2 and records.loss < 9", [0, 1]),
        ("records.loss.count=1", None),
        ("tags.model=bm25 and flags.REPEAT_NUMBER>=1", [2, 3]),
        ("config.layers=[1, 2]", [0, 1, 2, 3]),  # in text, a list is one value
        ("config.data.name~m?ist", [0, 1, 2, 3]),
        ("error.type=ValueError and error.message~'no*'", [3]),
        ("error.type!=ValueError", [0, 1, 2, 4]),
        ("ended>2026-01-01 and ended<=2026-01-31", [0, 1, 2, 3]),
        ("ended=2026-01-31", [0, 1, 2, 3]),
        ("ended='2026-01-31'", [0, 1, 2, 3]),  # as where(ended="2026-01-31") writes it
        ("ended>'2026-01-31'", []),
        ("ended>2026-01-31", []),  # after that day
        ("ended>'2026-01-31T08:00Z'", [0, 1, 2, 3]),
        ("seconds>4 and attempt=1", [0, 1, 2, 3]),
        ("name=rates and started!=2020-01-01", [0, 1, 2, 3, 4]),
        ("result=1", []),  # no trial has a result yet
    ],
)
def test_a_condition_is_text(trials: Trials, condition: str, expected: list[int] | None) -> None:
    if expected is None:
        with pytest.raises((InvalidValue, UnknownName)):
            trials.where(condition)
    else:
        assert indices(trials.where(condition)) == expected


def test_values_that_cannot_be_compared_are_an_error_only_if_no_trial_has_comparable_ones() -> None:
    trials = stored([planned(i, {"x": value}) for i, value in enumerate((3, "a", None, NAN, True, [1], 2.5))]).trials

    assert indices(trials.where("config.x<3")) == [6]
    assert indices(trials.where("config.x>=a")) == [1]
    with pytest.raises(InvalidType, match=r"config\.x is 3 and cannot be compared with 2026-01-01 by <"):
        trials.where("config.x<2026-01-01")
    with pytest.raises(InvalidValue, match="started is a time, and 5 is not"):
        trials.where("started>5")


def test_nan_and_missing_values_are_sorted_last_and_are_never_the_best() -> None:
    values = [2, NAN, None, 1.5, "b", "a", 3]
    plan = [planned(i, {"x": value}) for i, value in enumerate(values)] + [planned(7)]
    trials = stored(plan).trials

    assert indices(trials.sort("config.x")) == [3, 0, 6, 5, 4, 1, 2, 7]
    assert indices(trials.sort("config.x", descending=True)) == [4, 5, 6, 0, 3, 1, 2, 7]
    best, worst = trials.best("config.x"), trials.best("config.x", mode="min")
    assert (best and best.index, worst and worst.index) == (6, 3)
    assert trials[7:].where("index=7").best("records.loss") is None
    assert indices(trials.sort("config.x").first(2)) == [3, 0]
    with pytest.raises(UnknownName):
        trials.best("config.x", mode="largest")


def test_groups_have_the_value_of_one_field_and_the_values_of_several(trials: Trials) -> None:
    assert [(key, indices(group)) for key, group in trials.group_by("config.lr")] == [
        (0.1, [0, 2]),
        (0.01, [1, 3]),
        (None, [4]),
    ]
    keys = [key for key, _ in trials[:4].group_by("config.data", "status")]
    assert keys == [({"name": "mnist", "batch": 32}, "finished"), ({"name": "mnist", "batch": 32}, "failed")]
    with pytest.raises(InvalidType):
        trials.group_by()


def test_chosen_columns_stay_through_filters_and_are_those_of_tables(trials: Trials) -> None:
    chosen = trials.columns("config.lr", "records.loss").where("status=finished").sort("records.loss").first(2)

    assert chosen.rows() == [{"config.lr": 0.1, "records.loss": 0.5 / 3}, {"config.lr": 0.01, "records.loss": 0.25}]
    assert str(chosen).splitlines()[0].split() == ["config.lr", "records.loss"]
    assert chosen[:1].csv() == "config.lr,records.loss\n0.1,0.16666666666666666\n"


def test_a_result_that_several_trials_require_is_read_once() -> None:
    files = WatchedFiles()
    needs = {"data": {"component": "loader", "uid": uid(0), "identity": "00" * 16}}
    plan = [
        planned(0, component="loader", flags={"NAME": "loader"}),
        *(planned(number, requires=needs) for number in (1, 2)),
    ]
    first = stored(plan, [finished(number) for number in range(3)], files=files)
    reused = finished(0) | {"event": "reused", "source": f"{first}/{uid(0)}"}
    second = stored(plan, [reused, finished(1), finished(2)], files=files, folder=f"{FOLDER}-2")
    files.write(f"{FOLDER}/trials/{uid(0)}/status.json", lines([status("finished", result={"size": 5})]))
    trials = Trials([*first, *second]).where("component=train")
    assert len(trials) == 4
    files.seen.clear()

    assert len(trials.where("requires.data.result.size=5")) == 4
    assert len(trials.where("requires.data.status=reused")) == 2
    assert [path for path in files.seen if "status" in path] == [f"{FOLDER}/trials/{uid(0)}/status.json"]


def test_a_column_is_looked_for_in_other_scopes_and_in_requirements() -> None:
    files = MemoryFiles()
    needs = {"data": {"component": "loader", "uid": uid(0), "identity": "00" * 16}}
    loader = planned(0, {"size": 3}, component="loader", flags={"NAME": "loader"})
    plan = [loader, planned(1, requires=needs)]
    trials = stored(plan, [finished(0, n=1), finished(1, loss=2.0)], files=files).trials
    files.write(f"{FOLDER}/trials/{uid(1)}/records/default.jsonl", lines([{"loss": 2.0}]))
    files.write(f"{FOLDER}/trials/{uid(1)}/records/test.jsonl", lines([{"loss": 5}, {"loss": 4, "a.b": 1}]))
    files.write(f"{FOLDER}/trials/{uid(1)}/status.json", lines([status("finished", result={"score": [7, 8]})]))

    names = ["records.test.loss", "records.test.loss.max", "records.test.a.b", "requires.data.config.size"]
    names += ["requires.data.records.n", "result.score.1", "host", "execution", "started"]
    (row,) = trials.where("component=train").columns(*names).rows()

    assert list(row.values()) == [4, 5, 1, 3, 1, 8, "node7", FOLDER, time(50)]
    for wrong, near in (("records.tst.loss", "records.test.loss"), ("requires.dat.status", "requires.data.status")):
        with pytest.raises(UnknownName, match=near.replace(".", r"\.")):
            trials.where(**{wrong: 1})
