"""One stored trial: its states, and what it left."""

from __future__ import annotations

import json
import pickle
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from machinable.errors import BadName, Damaged, MissingArtifact, StorageError, UnknownName
from machinable.results.execution import Execution
from machinable.results.trial import Trial
from machinable.serialization import dumps, loads
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.locks import open_locks
from machinable.storage.memory import MemoryFiles
from tests.results.worlds import FOLDER, failed, finished, planned, started, status, stored, time, uid, write

PLACE = f"{FOLDER}/trials/{uid(0)}"
ERROR = {"type": "ValueError", "message": "no data", "traceback": "Traceback …"}


@pytest.fixture(params=["memory", "directory"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    return MemoryFiles() if request.param == "memory" else DirectoryFiles(tmp_path)


def only(files: Files, ledger: list[dict[str, Any]] | None = None, **more: Any) -> Trial:
    trust = more.pop("trust", False)
    return stored([planned(0, **more)], ledger, files=files, trust=trust).trials[0]


def test_a_trial_has_the_facts_of_its_line_in_the_plan(files: Files) -> None:
    execution = stored([], files=files)
    row = planned(0, {"data": {"name": "mnist"}}, tags={"model": "bm25"}) | {"version": ("~small", {"lr": 0.1})}
    files.write(f"{FOLDER}/plan.jsonl", (dumps(row) + "\n").encode())
    (trial,) = execution

    assert (trial.uid, trial.index, trial.seed, trial.identity) == (uid(0), 0, 1000, "0" * 32)
    assert (trial.component, trial.module, trial.version) == ("train", "train", ("~small", {"lr": 0.1}))
    assert trial.flags == {"SEED": 1000, "UID": uid(0), "NAME": "train", "MODULE": "train"}
    assert (trial.tags, trial.config.data.name) == ({"model": "bm25"}, "mnist")
    assert trial.execution is execution
    assert repr(trial) == f"<Trial {uid(0)}: train, pending>"


def test_a_trial_that_has_not_begun_has_nothing(files: Files) -> None:
    trial = only(files)

    assert (trial.status, trial.attempt, trial.started, trial.finished, trial.seconds) == (
        "pending",
        0,
        None,
        None,
        None,
    )
    assert (trial.host, trial.result, trial.error, trial.checkpoint) == (None, None, None, None)
    assert (trial.log, trial.output, list(trial.records), trial.files, trial.last_row) == ("", "", [], [], None)


@pytest.mark.parametrize(
    ("ledger", "stored_status", "expected"),
    [
        ([started(0)], None, "interrupted"),  # before its first heartbeat
        ([started(0)], status(), "running"),
        (None, status(), "running"),  # a ledger that is lost is an empty one
        ([], status(heartbeat=time(29.9)), "running"),
        ([started(0)], status(heartbeat=time(30)), "interrupted"),
        ([started(0)], status("interrupted"), "interrupted"),
        ([started(0)], status("finished"), "finished"),  # killed between the trial's end and its line in the ledger
        ([started(0)], status("failed"), "failed"),
        ([started(0), finished(0)], status(), "finished"),  # the ledger is decisive
        ([started(0), failed(0)], status(), "failed"),  # its worker was lost
        ([started(0), failed(0), started(0, 2)], status(attempt=2), "running"),
        ([started(0), failed(0), started(0, 2), finished(0, 2)], status("finished", attempt=2), "finished"),
        ([started(0), {"event": "interrupted", "uid": uid(0), "attempt": 1}], status(), "interrupted"),
    ],
)
def test_the_state_is_that_of_the_ledger_or_else_of_the_trial(
    files: Files, ledger: Any, stored_status: Any, expected: str
) -> None:
    trial = only(files, ledger)
    if stored_status is not None:
        write(files, f"{PLACE}/status.json", stored_status)

    assert trial.status == expected


@pytest.mark.parametrize(
    ("engine", "is_held", "expected"),
    [
        ("local", True, "running"),  # its process writes status.json later
        ("local", False, "interrupted"),
        ("processes", True, "pending"),  # it waits for a worker
        ("processes", False, "pending"),
    ],
)
def test_a_started_trial_without_a_status_runs_if_its_executing_process_runs_trials(
    tmp_path: Path, engine: str, is_held: bool, expected: str
) -> None:
    files = DirectoryFiles(tmp_path)
    stored([planned(0)], [started(0)], files=files)
    facts = json.loads(files.read(f"{FOLDER}/execution.json")) | {"engine": {"type": engine, "slots": 1}}
    write(files, f"{FOLDER}/execution.json", facts)
    with closing(open_locks(files)) as locks:
        lease = locks.take_over(f"{FOLDER}/execution.lease", {"execution": FOLDER})
        if not is_held:
            lease.release()

        assert Execution(files, FOLDER).trials[0].status == expected


def test_a_running_trial_is_looked_at_each_time(files: Files) -> None:
    trial = only(files, [started(0)])
    write(files, f"{PLACE}/status.json", status())
    assert trial.status == "running"

    write(files, f"{PLACE}/status.json", status("finished"))

    assert trial.status == "finished"


def test_an_ended_trial_has_the_facts_of_its_status(files: Files) -> None:
    trial = only(files, [started(0), finished(0)])
    write(files, f"{PLACE}/status.json", status("finished", result={"score": (1,)}, checkpoint="checkpoints/1"))

    assert (trial.attempt, trial.started, trial.finished, trial.seconds) == (1, time(50), time(10), 4.2)
    assert (trial.host, trial.error, trial.checkpoint) == ({"name": "node7", "pid": 4711}, None, "checkpoints/1")
    assert trial.result == {"score": [1]}


def test_without_a_ledger_the_seconds_are_those_of_the_status(files: Files) -> None:
    trial = only(files)
    write(files, f"{PLACE}/status.json", status("finished", attempt=2))

    assert (trial.attempt, trial.seconds) == (2, 40.0)


def test_a_failure_has_the_traceback_of_the_status(files: Files) -> None:
    trial = only(files, [failed(0)])
    write(files, f"{PLACE}/status.json", status("failed", error=ERROR))

    assert trial.error == ERROR


def test_the_failure_of_a_lost_worker_is_in_the_ledger(files: Files) -> None:
    trial = only(files, [failed(0)])
    write(files, f"{PLACE}/status.json", status())

    assert trial.error == {"type": "ValueError", "message": "no data"}
    assert (trial.started, trial.finished) == (time(50), time())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"state": "runn', "cannot be read"),
        (b"null", "cannot be read: it holds null, not a mapping"),
        (b"{}", "cannot be read: it lacks state"),
        (b'{"state": "asleep"}', "cannot be read: state is 'asleep', expected running, finished, failed, interrupted"),
        (b'{"state": "running"}', "has no heartbeat time"),
        (b'{"state": "running", "heartbeat": "yesterday"}', "cannot be read: heartbeat is text, not a time"),
    ],
)
def test_a_damaged_status_is_an_error(files: Files, content: bytes, message: str) -> None:
    trial = only(files, [started(0)])
    files.write(f"{PLACE}/status.json", content)

    with pytest.raises(Damaged, match=rf"{PLACE}/status\.json {message}"):
        _ = trial.status


def test_the_configuration_is_the_one_that_the_component_read(files: Files) -> None:
    trial = only(files, config={"size": 2, "lr": "rate(2)"})
    assert (trial.config.lr, trial.config.size) == ("rate(2)", 2)

    write(files, f"{PLACE}/trial.json", planned(0, {"size": 2, "lr": 0.5}))
    trial.execution.refresh()  # type: ignore[attr-defined]

    assert (trial.config.lr, trial.config["size"], dict(trial.config)) == (0.5, 2, {"size": 2, "lr": 0.5})


def test_log_and_output_are_read_each_time(files: Files) -> None:
    trial = only(files, [started(0)])
    files.write(f"{PLACE}/log.txt", "2026-01-31 09:15:02 INFO größer\n".encode())
    files.write(f"{PLACE}/output.log", b"half \xc3")

    assert (trial.log, trial.output) == ("2026-01-31 09:15:02 INFO größer\n", "half �")


def test_artifacts_are_listed_and_read_by_the_name_they_were_written_with(files: Files) -> None:
    trial = only(files, [finished(0)])
    write(files, f"{PLACE}/artifacts/scores.json", {"a": [1]})
    files.write(f"{PLACE}/artifacts/plots/loss.txt", b"down")

    assert trial.files == ["plots/loss.txt", "scores.json"]
    assert (trial.read("scores.json"), trial.read("plots/loss.txt")) == ({"a": [1]}, "down")


@pytest.mark.parametrize("inside", ["", "/weights/state.txt"])
def test_the_last_checkpoint_is_fetched_as_artifacts_are(files: Files, inside: str) -> None:
    trial = only(files, [finished(0)])
    write(files, f"{PLACE}/status.json", status("finished", checkpoint="checkpoints/3"))
    files.write(f"{PLACE}/checkpoints/3{inside}", b"state")

    assert trial.checkpoint == "checkpoints/3"
    assert Path(trial.path(trial.checkpoint) + inside).read_bytes() == b"state"
    with pytest.raises(MissingArtifact):
        trial.path("checkpoints/2")


def test_a_checkpoint_that_is_the_whole_directory_is_fetched(files: Files) -> None:
    trial = only(files, [finished(0)])
    write(files, f"{PLACE}/status.json", status("finished", checkpoint="checkpoints"))
    files.write(f"{PLACE}/checkpoints/weights.txt", b"state")

    assert Path(trial.path("checkpoints"), "weights.txt").read_bytes() == b"state"


def test_a_missing_tag_or_flag_is_an_error_that_names_the_near_ones(files: Files) -> None:
    trial = only(files)
    for values, name, message in (
        (trial.tags, "study", "no tag named 'study'\n  No tag is defined here."),
        (trial.flags, "SEDE", "no flag named 'SEDE'\n  Did you mean 'SEED'?"),
        (trial.flags, "x", "no flag named 'x'\n  Known: SEED, UID, NAME, MODULE"),
    ):
        with pytest.raises(UnknownName) as caught:
            values[name]
        assert str(caught.value) == message
        assert values.get(name) is None


@pytest.mark.parametrize(
    ("name", "advice"),
    [("score.json", "Did you mean 'scores.json'?"), ("xyz.npy", "It has: scores.json"), ("scores.json/x.txt", None)],
)
def test_an_unknown_artifact_is_an_error_with_near_names(files: Files, name: str, advice: str | None) -> None:
    trial = only(files, [finished(0)])
    write(files, f"{PLACE}/artifacts/scores.json", {})

    with pytest.raises(MissingArtifact) as caught:
        trial.read(name)

    assert isinstance(caught.value, FileNotFoundError)
    assert str(caught.value).startswith(f"the trial {uid(0)} of OY1p1o has no artifact {name!r}\n  {advice or ''}")
    assert trial.read(name, default=None) is None


def test_a_default_does_not_hide_a_name_that_can_never_be(files: Files) -> None:
    with pytest.raises(BadName):
        only(files).read("../status.json", default=None)


def test_a_pickle_is_read_only_with_trust(files: Files) -> None:
    files.write(f"{PLACE}/artifacts/model.p", pickle.dumps({"w": 1}))

    with pytest.raises(StorageError, match=r"trust=True"):
        only(files).read("model.p")
    assert only(files, trust=True).read("model.p") == {"w": 1}


def test_a_pickle_that_the_trial_did_not_write_is_not_read(files: Files) -> None:
    files.write(f"{PLACE}/artifacts/model.p", pickle.dumps({"w": 1}))
    facts = {"model.p": {"digest": "sha256:other", "size": 3}}
    files.write(f"{PLACE}/status.json", dumps(status("finished", artifacts=facts)).encode())

    with pytest.raises(Damaged, match="is not what the trial wrote, and reading it runs code"):
        only(files, trust=True).read("model.p")


def test_a_directory_in_place_of_a_file_is_damage(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    trial = only(files, [started(0)])
    (tmp_path / PLACE / "status.json").mkdir(parents=True)
    with pytest.raises(Damaged, match=r"status\.json is a directory"):
        _ = trial.result


def test_a_file_in_place_of_the_folder_of_a_trial_has_nothing(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    trial = only(files, [started(0)])
    files.write(PLACE, b"x")
    assert (trial.log, trial.output, list(trial.records), trial.files, trial.result) == ("", "", [], [], None)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"config": 3}, "config is an integer, not a mapping"),
        ({"config": (1,)}, "config is a tuple, not a mapping"),
        ({"flags": []}, "flags is a list, not a mapping"),
        ({"uid": 3}, "uid is an integer, not text"),
        ({"requires": 1.5}, "requires is a number, not a mapping"),
        ({"requires": {"a": {"uid": "x"}}}, "requires.a lacks component, identity"),
        ({"tags": "x"}, "tags is text, not a mapping"),
        ({"children": [{"component": "a"}]}, r"children\[0\] lacks module, config, flags"),
    ],
)
def test_a_line_of_the_plan_with_values_of_other_types_is_damaged(
    files: Files, wrong: dict[str, Any], message: str
) -> None:
    execution = stored([], files=files)
    files.write(f"{FOLDER}/plan.jsonl", (dumps(planned(0) | wrong) + "\n").encode())
    with pytest.raises(Damaged, match=rf"line 1 of .*plan\.jsonl is not a trial: {message}"):
        _ = execution.trials[0]


def test_a_description_with_a_number_in_place_of_its_flags_is_damaged(files: Files) -> None:
    trial = only(files, [started(0)])
    write(files, f"{PLACE}/trial.json", planned(0) | {"flags": 1.5})
    with pytest.raises(Damaged, match=r"trial\.json cannot be read: flags is a number, not a mapping"):
        _ = trial.description


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"event": ["failed"]}, "event is a list, not text"),
        ({"record": "x"}, "record is text, not a mapping"),
        ({"record": {"__tuple__": []}}, "record is a tuple, not a mapping"),
        ({"uid": {}}, "uid is a mapping, not text"),
        ({"source": []}, "source is a list, not text"),
        ({"error": 1}, "error is an integer, not a mapping"),
        ({"error": {"type": "ValueError"}}, "error lacks message"),
        ({"attempt": "2"}, "attempt is text, not an integer"),
        ({"seconds": "x"}, "seconds is text, not a number"),
        ({"record": {"a": [[[]] * 3] * 3}, "uid": True}, "uid is a boolean, not text"),
    ],
)
def test_a_line_of_the_ledger_with_values_of_other_types_is_damaged(
    files: Files, wrong: dict[str, Any], message: str
) -> None:
    trial = only(files, [started(0), finished(0) | wrong])
    with pytest.raises(Damaged, match=rf"line 2 of .*ledger\.jsonl is not an event: {message}"):
        _ = trial.status


def test_values_nested_too_deeply_are_damaged(files: Files) -> None:
    trial = only(files, [started(0)])
    for text in (b"[" * 100_000, b'{"uid": "x", "record": {"a": ' + b"[" * 300 + b"]" * 300 + b"}}"):
        files.write(f"{FOLDER}/ledger.jsonl", text + b"\n")
        trial.execution.refresh()  # type: ignore[attr-defined]
        with pytest.raises(Damaged, match=r"line 1 of .* is not an event: lists and mappings are nested deeper than"):
            _ = trial.status


@pytest.mark.parametrize("key", ["task", "engine", "code", "host", "packages"])
def test_an_execution_json_with_text_in_place_of_a_mapping_is_damaged(files: Files, key: str) -> None:
    trial = only(files)
    path = f"{FOLDER}/execution.json"
    write(files, path, loads(files.read(path)) | {key: "x"})
    trial.execution.refresh()
    with pytest.raises(Damaged, match=rf"execution\.json cannot be read: {key} is text, not a mapping"):
        _ = trial.execution.data


def test_a_notebook_shows_the_facts_of_a_trial(files: Files) -> None:
    trial = only(files, [started(0), failed(0, loss=0.5)], config={"net": "<b>", "_token": "hidden"})
    write(files, f"{PLACE}/status.json", status("failed", error=ERROR | {"message": "no <data>"}))

    shown = trial._repr_html_()

    assert f"<td>trial</td><td>{FOLDER}/{uid(0)}</td>" in shown
    assert "<td>config.net</td><td>&lt;b&gt;</td>" in shown and "hidden" not in shown
    assert "<td>last row.loss</td><td>0.5</td>" in shown
    assert "<td>error</td><td>ValueError: no &lt;data&gt;</td>" in shown
    assert "<td>status</td><td>pending</td>" in only(MemoryFiles(), [])._repr_html_()
