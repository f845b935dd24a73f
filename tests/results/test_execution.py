"""One stored execution: its facts, its states, its plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from machinable.errors import Damaged, InvalidType, NotStored
from machinable.plan.spec import ComponentSpec, Requirement, Target, TrialSpec, spec_from_data
from machinable.results.execution import Execution
from machinable.serialization import loads
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from tests.results.worlds import (
    FOLDER,
    facts,
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


@pytest.fixture(params=["memory", "directory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return MemoryFiles() if request.param == "memory" else DirectoryFiles(tmp_path)


def test_an_execution_has_the_facts_of_its_json_file(files: Files) -> None:
    execution = stored([planned(0)], [finished(0)], files=files, folder="OY1p1o-2")

    assert (execution.id, execution.run, execution.seed, execution.name) == ("OY1p1o", 2, 22490017876, "rates")
    assert (execution.started, execution.storage) == (time(100), files.url)
    assert execution.data == facts("OY1p1o-2")
    assert (str(execution), repr(execution)) == ("OY1p1o-2", "<Execution OY1p1o-2: 1 trial, finished>")


def noted(event: str, index: int) -> dict[str, Any]:
    facts = {"source": f"OY1p1o-2/{uid(7)}"} if event == "reused" else {"because": "net 9c2EapVGXnPH"}
    return {"event": event, "uid": uid(index), "time": time(), **facts}


@pytest.mark.parametrize(
    ("ledger", "expected"),
    [
        ([finished(0), finished(1), finished(2)], "finished"),
        ([finished(0), failed(1), finished(2)], "failed"),
        ([finished(0), failed(1)], "failed"),  # the third is pending
        ([finished(0), finished(1)], "interrupted"),  # the third is pending
        ([finished(0), finished(1), {"event": "interrupted", "uid": uid(2), "attempt": 1}], "interrupted"),
        ([failed(0), failed(0, attempt=2), finished(0, attempt=3), finished(1), finished(2)], "finished"),
        ([], "interrupted"),
        (None, "interrupted"),
        ([finished(0), noted("reused", 1), noted("reused", 2)], "finished"),
        ([finished(0), noted("reused", 1)], "interrupted"),
        ([finished(0), noted("skipped", 1), noted("reused", 2)], "partial"),
        ([noted("skipped", 0), noted("skipped", 1), noted("skipped", 2)], "partial"),
        ([finished(0), noted("skipped", 1)], "interrupted"),
        ([finished(0), noted("blocked", 1), noted("skipped", 2)], "failed"),
    ],
)
def test_the_status_follows_from_those_of_the_trials(files: Files, ledger: Any, expected: str) -> None:
    assert stored([planned(0), planned(1), planned(2)], ledger, files=files).status == expected


def test_a_trial_says_why_it_did_not_run(files: Files) -> None:
    ledger = [noted("blocked", 0), noted("skipped", 1), noted("reused", 2)]
    trials = stored([planned(0), planned(1), planned(2)], ledger, files=files).trials
    assert [(trial.status, trial.because, trial.source) for trial in trials] == [
        ("blocked", "net 9c2EapVGXnPH", None),
        ("skipped", "net 9c2EapVGXnPH", None),
        ("reused", None, f"OY1p1o-2/{uid(7)}"),
    ]
    assert repr(trials) == "<Trials: 1 reused, 1 blocked, 1 skipped>"
    assert [len(trials.where(status=state)) for state in ("reused", "blocked", "skipped")] == [1, 1, 1]


def test_a_resumed_execution_has_not_ended_until_it_ends_again(files: Files) -> None:
    ended, resumed = {"event": "ended", "status": "failed"}, {"event": "resumed", "added": 0}
    ledger = [failed(0), ended, resumed, ended]
    states = [stored([planned(0)], ledger[:lines], files=files).has_ended for lines in range(5)]
    assert states == [False, False, True, False, True]


def test_a_running_trial_counts_before_a_failed_one(files: Files) -> None:
    execution = stored([planned(0), planned(1)], [failed(0), started(1)], files=files)
    write(files, f"{FOLDER}/trials/{uid(1)}/status.json", status())

    assert execution.status == "running"


def test_an_execution_is_true_when_nothing_failed() -> None:
    assert bool(stored([planned(0)], [finished(0)]))
    assert bool(stored([planned(0)]))
    execution = stored([planned(0), planned(1)], [failed(0), finished(1)])
    assert not execution
    assert [trial.uid for trial in execution.failures] == [uid(0)]


def test_an_execution_killed_before_its_plan_was_written_is_interrupted(files: Files) -> None:
    write(files, f"{FOLDER}/execution.json", facts())

    execution = Execution(files, FOLDER)

    assert (len(execution), execution.status, execution.plan) == (0, "interrupted", ())


def test_trials_are_found_by_uid(files: Files) -> None:
    execution = stored([planned(0), planned(1)], files=files)

    assert (execution[uid(1)].index, len(execution)) == (1, 2)
    assert execution[uid(1)] is execution.trials[1]
    assert uid(1) in execution
    assert execution.trials[0] in execution
    assert "unknown" not in execution


def test_an_unknown_uid_is_an_error_with_near_ones() -> None:
    with pytest.raises(NotStored) as caught:
        stored([planned(0, uid="9c2EapVGXnPH")])["9c2EapVGXnPh"]
    assert str(caught.value) == ("the execution OY1p1o has no trial '9c2EapVGXnPh'\n  Did you mean '9c2EapVGXnPH'?")
    with pytest.raises(InvalidType, match=r"execution\.trials\[0\]"):
        stored([planned(0)])[0]  # type: ignore[index]


def test_a_folder_without_execution_is_an_error(files: Files) -> None:
    with pytest.raises(NotStored, match=r"there is no execution in .*8gWVkz"):
        _ = Execution(files, "8gWVkz").id


def test_a_torn_last_line_is_ignored(files: Files) -> None:
    stored([planned(0), planned(1)], [finished(0), failed(1)], files=files)
    for name in ("plan.jsonl", "ledger.jsonl"):
        files.write(f"{FOLDER}/{name}", files.read(f"{FOLDER}/{name}")[:-20])

    execution = Execution(files, FOLDER)

    assert [(trial.uid, trial.status) for trial in execution] == [(uid(0), "finished")]


def test_a_torn_line_that_a_resumed_execution_ended_is_ignored(files: Files) -> None:
    execution = stored([planned(0), planned(1)], files=files)
    torn = lines([finished(0)])[:-30] + b"\n" + lines([finished(1)])
    files.write(f"{FOLDER}/ledger.jsonl", torn)

    assert [trial.status for trial in execution] == ["pending", "finished"]


@pytest.mark.parametrize("name", ["plan.jsonl", "ledger.jsonl"])
def test_the_error_of_a_damaged_line_has_its_number(files: Files, name: str) -> None:
    execution = stored([planned(0)], [finished(0)], files=files)
    files.write(f"{FOLDER}/{name}", files.read(f"{FOLDER}/{name}") + b"[1]\n")

    with pytest.raises(Damaged, match=f"line 2 of .*{name} is not (a trial|an event): it holds a list, not a mapping"):
        _ = execution.status


def test_a_line_of_the_plan_that_is_not_a_trial_is_an_error(files: Files) -> None:
    execution = stored([planned(0), {"index": 1, "uid": uid(1), "seed": 1, "flags": {}, "module": "m"}], files=files)

    with pytest.raises(Damaged, match=r"line 2 of .*plan\.jsonl is not a trial: it lacks component, config"):
        len(execution)


def test_numbered_parts_of_a_copied_object_store_are_joined(files: Files) -> None:
    execution = stored([planned(0), planned(1)], files=files)
    files.write(f"{FOLDER}/ledger.000001.jsonl", lines([started(0), finished(0)]))
    files.write(f"{FOLDER}/ledger.000002.jsonl", lines([started(1), finished(1)]))

    assert execution.status == "finished"


def test_unknown_fields_and_events_of_the_ledger_change_nothing(files: Files) -> None:
    ledger = [finished(0), {"event": "applauded", "uid": uid(0)}, {"event": "ended", "status": "finished"}, {"x": 1}]

    assert stored([planned(0, colour="red")], ledger, files=files).status == "finished"


def test_what_was_read_stays_until_refresh(files: Files) -> None:
    execution = stored([planned(0)], [started(0)], files=files)
    trial = execution.trials[0]
    assert (execution.status, len(execution)) == ("interrupted", 1)

    stored([planned(0), planned(1)], [finished(0)], files=files)
    assert (trial.status, len(execution)) == ("interrupted", 1)
    execution.refresh()

    assert (trial.status, len(execution)) == ("finished", 2)


SPEC = TrialSpec(
    index=3,
    uid="9JkiDky8G5m7",
    seed=17,
    flags={"SEED": 17, "CHECKPOINT": "old.p"},
    definition=ComponentSpec(
        component="train",
        module="nets.train",
        version=("~small", {"lr": 0.1}),
        config={"lr": 0.1, "shape": [1, 2]},
        stored={"lr": 0.1, "shape": [1, 2]},
        target=Target("nets.train"),
        tags={"model": "bm25"},
        children=(
            ComponentSpec(
                component="loader:Loader",
                module="loader",
                version=None,
                config={"n": 1},
                stored={"n": 1},
                flags={"NAME": "loader:Loader"},
                target=Target("loader", "Loader", "function"),
            ),
        ),
    ),
    requires={"data": Requirement("numbers", "000000000001", "ab" * 16, "x.npy")},
    identity="0f" * 16,
)


def test_the_plan_is_made_from_what_is_stored(files: Files) -> None:
    from machinable.serialization import dumps

    execution = stored([], files=files)
    files.write(f"{FOLDER}/plan.jsonl", (dumps(SPEC.as_data()) + "\n").encode())

    assert execution.plan == (SPEC,)
    assert spec_from_data(loads(dumps(SPEC.as_data()))).as_data() == SPEC.as_data()


def test_a_given_plan_is_the_plan() -> None:
    execution = stored([planned(0)])

    assert Execution(execution._reader.files, FOLDER, plan=(SPEC,)).plan == (SPEC,)


def test_a_notebook_shows_the_trials_and_escapes_them() -> None:
    execution = stored([planned(0, {"lr": "<b>"}), planned(1, {"lr": 2})], [finished(0, loss=0.25)], name="<rates>")

    assert execution._repr_html_() == (
        "<p><b>&lt;rates&gt;</b> <code>OY1p1o</code>, 2 trials, interrupted</p><table><thead><tr>"
        "<th>execution</th><th>uid</th><th>component</th><th>status</th><th>config.lr</th><th>records.loss</th>"
        "</tr></thead><tbody>"
        f"<tr><td>OY1p1o</td><td>{uid(0)}</td><td>train</td><td>finished</td><td>&lt;b&gt;</td><td>0.25</td></tr>"
        f"<tr><td>OY1p1o</td><td>{uid(1)}</td><td>train</td><td>pending</td><td>2</td><td></td></tr></tbody></table>"
    )
