"""Stored results: when they are reused, when they are stale, and how a reused trial reads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

import machinable as ml
from machinable import errors, events
from machinable.component.source_files import code_digest
from machinable.execution.dry_run import PlannedOutcome, dry_run
from machinable.execution.reuse import ReusePolicy, decide_reuse
from machinable.plan.spec import ComponentSpec, Target, TrialSpec
from machinable.results.pointers import Available, Input, Pointer, changed_input, find_pointer
from machinable.storage import layout
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from tests.conftest import World
from tests.execution.fakes import Computing, computed, stored

DECLARATIONS = """
components:
  - nums: {size: 3}
  - double: {_requires_: {data: nums}}
  - train: {lr: 0.1, _requires_: {data: double}}
"""
MODULE = "from machinable import Component\n\n\nclass Any(Component):\n    pass\n"


@pytest.fixture
def here(project: World) -> Path:
    return project(DECLARATIONS, nums=MODULE, double=MODULE, train=MODULE)


def edit_nums(here: Path) -> None:
    """Change the code of a module."""
    (here / "nums.py").write_text(MODULE + "CHANGED = True\n")


def states(execution: Any) -> dict[str, str]:
    return {trial.component: trial.status for trial in execution.trials}


def test_requirements_are_computed_once_and_listed_trials_each_time(here: Path, tmp_path: Path) -> None:
    first, ran = computed("train", tmp_path / "s")
    assert ran == ["nums", "double", "train"]
    second, ran = computed("train", tmp_path / "s")
    assert ran == ["train"]
    assert states(second) == {"nums": "reused", "double": "reused", "train": "finished"}
    assert [trial.source for trial in second.trials] == [
        f"{first}/{first.trials[0].uid}",
        f"{first}/{first.trials[1].uid}",
        None,
    ]
    assert (second.status, bool(second)) == ("finished", True)


def test_another_configuration_of_a_requirement_is_another_result(here: Path, tmp_path: Path) -> None:
    computed("train", tmp_path / "s")
    (here / "machinable.yaml").write_text(DECLARATIONS.replace("size: 3", "size: 4"))
    _, ran = computed("train", tmp_path / "s")
    assert ran == ["nums", "double", "train"]
    (here / "machinable.yaml").write_text(DECLARATIONS)
    _, ran = computed("train", tmp_path / "s")
    assert ran == ["train"]


def test_with_all_listed_trials_with_a_pointer_are_reused_too(here: Path, tmp_path: Path) -> None:
    computed("train", tmp_path / "s", seed=1)
    _, ran = computed("train", tmp_path / "s", seed=1, reuse="all")
    assert ran == ["train"]  # listed trials have no pointer unless somebody asked for it
    execution, ran = computed("train", tmp_path / "s", seed=1, reuse="all")
    assert ran == []
    assert execution.status == "finished"
    _, ran = computed("train", tmp_path / "s", seed=2, reuse="all")
    assert ran == ["train"]  # another seed is another computation


def test_with_false_everything_runs_and_others_use_the_results(here: Path, tmp_path: Path) -> None:
    computed("train", tmp_path / "s")
    second, ran = computed("train", tmp_path / "s", reuse=False)
    assert ran == ["nums", "double", "train"]
    third, _ = computed("train", tmp_path / "s")
    assert {str(trial.source).partition("/")[0] for trial in third.trials[:2]} == {str(second)}


def test_the_project_can_set_reuse(here: Path, tmp_path: Path) -> None:
    (here / "machinable.yaml").write_text(DECLARATIONS + "execution: {reuse: false}\n")
    computed("train", tmp_path / "s")
    assert computed("train", tmp_path / "s")[1] == ["nums", "double", "train"]
    assert computed("train", tmp_path / "s", reuse=True)[1] == ["train"]


def test_other_source_is_told_once_and_its_result_reused(here: Path, tmp_path: Path) -> None:
    first, _ = computed("train", tmp_path / "s")
    edit_nums(here)
    with pytest.warns(UserWarning, match="^reusing nums from ") as told:
        _, ran = computed("train", tmp_path / "s")
    assert ran == ["train"]
    (notice,) = [str(one.message) for one in told]
    assert notice == (
        f"reusing nums from {first}/{first.trials[0].uid}, but its code has changed since: nums.py. "
        "To compute it again: rerun='nums' (--rerun nums); to always do so: reuse='same-code' (--reuse same-code)"
    )


def test_with_same_code_other_source_means_that_there_is_no_result(here: Path, tmp_path: Path) -> None:
    computed("train", tmp_path / "s")
    edit_nums(here)
    assert computed("train", tmp_path / "s", reuse="same-code")[1] == ["nums", "train"]
    assert computed("train", tmp_path / "s", reuse="same-code")[1] == ["train"]


# rerun


@pytest.mark.parametrize(
    ("rerun", "ran"),
    [
        ("nums", ["nums", "train"]),
        (["nums"], ["nums", "train"]),
        ("n*", ["nums", "train"]),
        (["nums", "dou*"], ["nums", "double", "train"]),
        (True, ["nums", "double", "train"]),
        ("train", ["train"]),
        ((), ["train"]),
        (False, ["train"]),
        (None, ["train"]),
    ],
)
def test_components_named_in_rerun_run_although_their_results_exist(
    here: Path, tmp_path: Path, rerun: Any, ran: list[str]
) -> None:
    computed("train", tmp_path / "s")
    assert computed("train", tmp_path / "s", rerun=rerun)[1] == ran


def test_dependents_run_again_if_what_they_read_has_changed(here: Path, tmp_path: Path) -> None:
    computed("train", tmp_path / "s")
    second, ran = computed("train", tmp_path / "s", Computing({"nums": "new"}), rerun="nums")
    assert ran == ["nums", "double", "train"]
    third, ran = computed("train", tmp_path / "s")
    assert ran == ["train"]
    assert str(third.trials[1].source).partition("/")[0] == str(second)


def test_a_result_that_read_nothing_of_a_requirement_is_not_stale(here: Path, tmp_path: Path) -> None:
    computed("train", tmp_path / "s", Computing(reads=False))
    assert computed("train", tmp_path / "s", Computing({"nums": "new"}), rerun="nums")[1] == ["nums", "train"]


def test_without_a_cascade_only_the_named_ones_run_and_the_next_reuse_runs_the_others(
    here: Path, tmp_path: Path
) -> None:
    first, _ = computed("train", tmp_path / "s")
    assert [trial.stale for trial in first.trials] == [None, None, None]
    second, ran = computed("train", tmp_path / "s", Computing({"nums": "new"}), rerun="nums", cascade=False)
    assert ran == ["nums", "train"]
    assert states(second) == {"nums": "finished", "double": "reused", "train": "finished"}
    assert second.trials[1].stale == "data:x"
    assert ml.Storage(tmp_path / "s")[str(first)].trials[1].stale == "data:x"
    third, ran = computed("train", tmp_path / "s", Computing({"nums": "new"}))
    assert ran == ["double", "train"]
    assert third.trials[1].stale is None


def test_the_previous_result_counts_until_the_new_one_is_complete(here: Path, tmp_path: Path) -> None:
    first, _ = computed("train", tmp_path / "s")
    identity = first.trials[0].identity
    seen: list[str] = []

    def look(spec: TrialSpec) -> None:
        if spec.component == "nums":
            pointer = find_pointer(DirectoryFiles(tmp_path / "s"), identity)
            assert pointer is not None
            seen.append(pointer.trial)

    second, _ = computed("train", tmp_path / "s", Computing(meets=look), rerun="nums")
    assert seen == [f"{first}/{first.trials[0].uid}"]
    pointer = find_pointer(DirectoryFiles(tmp_path / "s"), identity)
    assert pointer is not None
    assert pointer.trial == f"{second}/{second.trials[0].uid}"


def test_a_failed_rerun_leaves_the_previous_result(here: Path, tmp_path: Path) -> None:
    first, _ = computed("train", tmp_path / "s")
    with pytest.raises(errors.TrialsFailed):
        computed("train", tmp_path / "s", Computing(fails=["nums"]), rerun="nums")
    third, ran = computed("train", tmp_path / "s")
    assert ran == ["train"]
    assert third.trials[0].source == f"{first}/{first.trials[0].uid}"


@pytest.mark.parametrize(
    ("options", "kind", "words"),
    [
        (
            {"rerun": "numbs"},
            errors.UnknownName,
            "no component of the plan named 'numbs'\n  given as `rerun`\n  Did you mean 'nums'?",
        ),
        ({"rerun": ["nums", "x*"]}, errors.UnknownName, "no component of the plan named 'x*'"),
        ({"rerun": ""}, errors.UnknownName, "no component of the plan named ''"),
        ({"rerun": 3}, errors.InvalidType, "rerun is 3"),
        ({"rerun": [3]}, errors.InvalidType, "rerun is [3]"),
        ({"reuse": "al"}, errors.InvalidValue, "reuse is 'al'"),
        ({"reuse": 1}, errors.InvalidValue, "reuse is 1"),
        ({"cascade": "no"}, errors.InvalidType, "cascade is 'no'\n  Expected True or False."),
        ({"on_busy": "sleep"}, errors.InvalidValue, "on_busy is 'sleep'\n  Expected wait or skip or fail."),
    ],
)
def test_invalid_options_are_refused_before_anything_is_written(
    here: Path, tmp_path: Path, options: dict[str, Any], kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind) as caught:
        computed("train", tmp_path / "s", **options)
    assert words in str(caught.value)
    assert not (tmp_path / "s").exists()


# a reused trial reads like any other


def test_a_reused_trial_reads_like_any_other(project: World, tmp_path: Path) -> None:
    project(
        "components:\n  - work: {x: 1, y: square(3)}\n",
        work=(
            "from machinable import Component\n\n\nclass Work(Component):\n"
            "    def config_square(self, x):\n        return x * x\n\n"
            "    def on_execute(self):\n"
            "        for step in range(3):\n            self.record['step'] = step\n            self.record.save()\n"
            "        self.store.write('a.json', {'x': self.config.x})\n        self.log.info('hello')\n"
            "        print('printed')\n        return self.flags.SEED\n"
        ),
    )
    place = stored(tmp_path / "s")
    (first,) = ml.execute("work", place, "OY1p1o", reuse="all").trials
    execution = ml.execute("work", place, "OY1p1o", reuse="all")
    for trial in (execution.trials[0], ml.Storage(tmp_path / "s")["OY1p1o-2"].trials[0]):
        assert (trial.status, trial.source) == ("reused", f"OY1p1o/{first.uid}")
        assert list(trial.records) == list(first.records)
        assert trial.records.scopes == ["default"]
        assert trial.last_row == first.last_row
        assert trial.files == ["a.json"]
        assert trial.read("a.json") == {"x": 1}
        assert (trial.result, trial.seconds, trial.attempt) == (first.result, first.seconds, 1)
        assert (trial.log, trial.output) == (first.log, first.output)
        assert (trial.started, trial.host) == (first.started, first.host)
        assert trial.config.y == 9
        assert trial.error is None
    trials = ml.Storage(tmp_path / "s").trials
    assert len(trials.where(status="reused")) == 1
    assert len(trials.where(**{"records.step.max": 2})) == 2
    assert len(trials.where(**{"config.y": 9})) == 2
    assert repr(trials) == "<Trials: 1 finished, 1 reused>"
    (row,) = trials.summary("records.step.last")
    assert row["n"] == 1  # a reused result is no repetition


def test_a_reused_trial_whose_source_was_removed_says_so(here: Path, tmp_path: Path) -> None:
    first, _ = computed("train", tmp_path / "s")
    second, _ = computed("train", tmp_path / "s")
    shutil.rmtree(tmp_path / "s" / str(first))
    trial = ml.Storage(tmp_path / "s")[str(second)].trials[0]
    assert (trial.status, trial.last_row, trial.seconds) == ("reused", {"n": 1}, 0.5)
    for read in (lambda: trial.records, lambda: trial.files, lambda: trial.log, lambda: trial.result):
        with pytest.raises(errors.NotStored) as caught:
            read()
        assert str(caught.value).splitlines() == [
            f"the trial {trial.uid} of {second} was reused from {trial.source}, which is gone",
            "  Run it again: execute(…, rerun='nums').",
        ]


def test_a_result_that_was_removed_is_computed_again(here: Path, tmp_path: Path) -> None:
    first, _ = computed("train", tmp_path / "s")
    shutil.rmtree(tmp_path / "s" / str(first))
    assert computed("train", tmp_path / "s")[1] == ["nums", "double", "train"]


def test_an_unreadable_pointer_is_reported_and_replaced(here: Path, tmp_path: Path) -> None:
    first, _ = computed("train", tmp_path / "s")
    path = tmp_path / "s" / layout.pointer(first.trials[1].identity)
    path.write_text("{")
    with pytest.warns(RuntimeWarning, match="cannot be read: .*; double runs again"):
        _, ran = computed("train", tmp_path / "s")
    assert ran == ["double", "train"]
    assert computed("train", tmp_path / "s")[1] == ["train"]


def test_a_pointer_describes_the_result(here: Path, tmp_path: Path) -> None:
    execution, _ = computed("train", tmp_path / "s")
    nums, double, _ = execution.trials
    path = tmp_path / "s" / layout.pointer(double.identity)
    assert path == tmp_path / "s" / "by-content" / double.identity[:2] / f"{double.identity}.json"
    data = json.loads(path.read_text())
    assert data | {"time": "", "code": ""} == {
        "format": 1,
        "identity": double.identity,
        "trial": f"{execution}/{double.uid}",
        "time": "",
        "seconds": 0.5,
        "record": {"n": 1},
        "artifacts": {"x": "sha256:double"},
        "inputs": {"data": {"identity": nums.identity, "artifacts": {"x": "sha256:nums"}}},
        "code": "",
    }
    assert data["code"] == {"double.py": code_digest((here / "double.py").read_bytes())}


def test_a_pointer_of_an_earlier_version_costs_one_more_run_and_reading_ignores_it(here: Path, tmp_path: Path) -> None:
    execution, _ = computed("train", tmp_path / "s")
    for trial in execution.trials[:2]:
        path = tmp_path / "s" / layout.pointer(trial.identity)
        facts = json.loads(path.read_text())
        path.write_text(json.dumps({**{key: facts[key] for key in facts if key != "code"}, "module": "old"}))

    assert [trial.stale for trial in ml.Storage(tmp_path / "s")[str(execution)].trials] == [None, None, None]
    with pytest.warns(RuntimeWarning, match="cannot be read: it lacks code; (nums|double) runs again"):
        again, _ = computed("train", tmp_path / "s")
    assert [trial.status for trial in again.trials] == ["finished", "finished", "finished"]
    third, _ = computed("train", tmp_path / "s")
    assert [trial.status for trial in third.trials] == ["reused", "reused", "finished"]


def test_in_one_execution_into_memory_it_is_computed_once(here: Path) -> None:
    engine = Computing()
    task = ml.Task().component("train").component("double")
    assert ml.execute(task, engine=engine).status == "finished"
    assert sorted(engine.ran) == ["double", "double", "nums", "train"]  # once required, once listed


def test_results_of_a_function_in_place_of_components_are_not_shared(here: Path, tmp_path: Path) -> None:
    @ml.execute
    def run(flags: Any) -> str:
        return "not train"

    execution = run(ml.Task("train"), stored(tmp_path / "s"), reuse="all")
    assert execution.status == "finished"
    assert not (tmp_path / "s" / "by-content").exists()
    assert computed("train", tmp_path / "s")[1] == ["nums", "double", "train"]


# what is heard of it


def test_listeners_and_callbacks_receive_reused_trials(here: Path, tmp_path: Path) -> None:
    computed("train", tmp_path / "s", seed=1, reuse="all")
    heard: list[events.Event] = []
    called: list[tuple[str, str, Any]] = []
    task = ml.Task("train").on_complete(lambda trial: called.append((trial.component, trial.status, trial.last_row)))
    execution, _ = computed(task, tmp_path / "s", seed=1, reuse="all", listeners=[heard.append])
    assert [type(event).__name__ for event in heard] == ["ExecutionStarted", *["TrialReused"] * 3, "ExecutionFinished"]
    assert [event.source for event in heard if isinstance(event, events.TrialReused)] == [
        t.source for t in execution.trials
    ]
    assert isinstance(heard[-1], events.ExecutionFinished)
    assert (heard[-1].status, heard[-1].finished, heard[-1].failed) == ("finished", 3, 0)
    assert called == [("train", "reused", {"n": 1})]  # the task's own trials only


def test_callbacks_receive_each_finished_trial(here: Path, tmp_path: Path) -> None:
    called: list[tuple[int, str, Any, str]] = []

    def note(trial: Any) -> None:
        called.append((trial.index, trial.status, trial.last_row, str(trial.execution)))

    task = ml.Task("nums").repeat(3).on_complete(note)
    execution, _ = computed(task, tmp_path / "s")
    assert called == [(index, "finished", {"n": 1}, str(execution)) for index in range(3)]
    called.clear()
    computed(task, tmp_path / "s", Computing(fails=["nums"]), on_failure="continue")
    assert called == []


def test_a_callback_that_raises_causes_only_a_warning(here: Path, tmp_path: Path) -> None:
    def broken(trial: Any) -> None:
        raise ValueError("my mistake")

    called: list[str] = []
    task = ml.Task("nums").on_complete(broken).on_complete(lambda trial: called.append(trial.uid))
    with pytest.warns(RuntimeWarning) as told:
        execution, _ = computed(task, tmp_path / "s")
    assert execution.status == "finished"
    assert called == [execution.trials[0].uid]
    (text,) = [str(one.message) for one in told]
    assert text.startswith("the callback test_a_callback_that_raises_causes_only_a_warning.<locals>.broken ")
    assert text.rstrip().endswith("ValueError: my mistake")


# dry


def actions(task: Any, directory: Path, **options: Any) -> list[tuple[str, str, str, str | None]]:
    plan, found = dry_run(task, stored(directory), **options)
    return [(spec.component, one.action, one.why, one.source) for spec, one in zip(plan, found, strict=True)]


def test_a_dry_run_says_what_would_become_of_each_trial(here: Path, tmp_path: Path) -> None:
    listed = ("train", "run", "it is listed in the task", None)
    assert actions("train", tmp_path / "s") == [
        ("nums", "run", "there is no result yet", None),
        ("double", "run", "there is no result yet", None),
        listed,
    ]
    assert not (tmp_path / "s").exists()
    first, _ = computed("train", tmp_path / "s")
    nums, double = (f"{first}/{trial.uid}" for trial in first.trials[:2])
    there = "its result exists"
    assert actions("train", tmp_path / "s") == [
        ("nums", "reuse", there, nums),
        ("double", "reuse", there, double),
        listed,
    ]
    assert actions("train", tmp_path / "s", rerun="nums") == [
        ("nums", "run", "rerun was requested", nums),
        ("double", "reuse", "unless the result of nums changes", double),
        listed,
    ]
    assert actions("train", tmp_path / "s", reuse=False)[0] == ("nums", "run", "nothing is reused", nums)
    computed("nums", tmp_path / "s", reuse=False)  # listed: gives no pointer
    second, _ = computed("train", tmp_path / "s", Computing({"nums": "new"}), rerun="nums", cascade=False)
    assert actions("train", tmp_path / "s")[:2] == [
        ("nums", "reuse", there, f"{second}/{second.trials[0].uid}"),
        ("double", "stale", f"data:x has changed since {double}", double),
    ]
    assert actions("train", tmp_path / "s", cascade=False)[1] == (
        "double",
        "reuse",
        "stale, because data:x has changed",
        double,
    )
    before = sorted(path for path in tmp_path.rglob("*"))
    actions("train", tmp_path / "s", reuse="all")
    assert sorted(path for path in tmp_path.rglob("*")) == before


def test_without_a_storage_all_trials_are_pending(here: Path) -> None:
    plan, found = dry_run("train")
    assert found == [PlannedOutcome(spec.uid, "pending", "nothing is stored without a storage") for spec in plan]


def test_a_dry_run_prints_what_would_become_of_each_trial(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, _ = computed("train", tmp_path / "s", seed=1)
    capsys.readouterr()
    plan = ml.execute("train", stored(tmp_path / "s"), 1, "dry")
    assert isinstance(plan, ml.Plan)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Plan {plan.id}: 3 trials (2 reuse, 1 run)"
    assert lines[1].endswith("action  why")
    assert lines[2].endswith(f"reuse   {first}/{first.trials[0].uid}: its result exists")
    assert lines[4].endswith("run     it is listed in the task")


# the decision itself


SPEC = TrialSpec(
    index=0,
    uid="u",
    seed=0,
    flags={"NAME": "my.net"},
    definition=ComponentSpec("net", "nets", None, {}, Target("nets"), is_requirement=True),
)


def _with(**changed: Any) -> TrialSpec:
    return replace(SPEC, definition=replace(SPEC.definition, **changed))


THEN, NOW = {"nets.py": "then"}, {"nets.py": "now"}
READ = {"data": Input("identity of data", {"x": "1"})}
POINTER = Pointer("OY1p1o/u", "2026-01-31T09:15:02.120000+00:00", 1.0, None, {}, READ, THEN)


@pytest.mark.parametrize(
    ("policy", "pointer", "artifacts", "code", "action", "changed"),
    [
        (ReusePolicy(), None, {}, {}, "run", ()),
        (ReusePolicy(), POINTER, {"data": {"x": "1"}}, THEN, "reuse", ()),
        (ReusePolicy(), POINTER, {"data": {"x": "2"}}, THEN, "stale", ()),
        (ReusePolicy(), POINTER, {"data": {}}, THEN, "stale", ()),
        (ReusePolicy(), POINTER, {}, THEN, "reuse", ()),  # nobody knows of another one
        (ReusePolicy(cascade=False), POINTER, {"data": {"x": "2"}}, THEN, "reuse", ()),
        (ReusePolicy(), POINTER, {}, NOW, "reuse", ("nets.py",)),
        (ReusePolicy("same-code"), POINTER, {}, NOW, "run", ()),
        (ReusePolicy("same-code"), POINTER._replace(code={}), {}, {}, "reuse", ()),  # of an installed package
        (ReusePolicy("same-code"), POINTER, {}, THEN, "reuse", ()),
        (ReusePolicy(False), POINTER, {}, THEN, "run", ()),
        (ReusePolicy(rerun=frozenset({"net"})), POINTER, {}, THEN, "run", ()),
        (ReusePolicy(rerun=frozenset({"Net"})), POINTER, {}, THEN, "reuse", ()),
    ],
)
def test_what_becomes_of_a_trial(
    policy: ReusePolicy,
    pointer: Pointer | None,
    artifacts: dict[str, dict[str, str]],
    code: dict[str, str],
    action: str,
    changed: tuple[str, ...],
) -> None:
    results = {f"identity of {name}": Available("OY1p1o/data", digests) for name, digests in artifacts.items()}
    read = {} if pointer is None else pointer.inputs
    decision = decide_reuse(SPEC, policy, pointer, changed_input(MemoryFiles(), read, results.get), code)
    assert (decision.action, decision.changed) == (action, changed)
    assert decision.pointer is pointer


def test_results_of_the_main_script_are_not_shared() -> None:

    assert ReusePolicy().shares(SPEC.definition)
    assert not ReusePolicy().shares(_with(target=Target("__main__", "Net", "class")).definition)
    assert not ReusePolicy().shares(_with(is_requirement=False).definition)
    assert ReusePolicy("all").shares(_with(is_requirement=False).definition)


def test_a_missing_input_has_changed() -> None:
    files, read = MemoryFiles(), {"a": Input("3f2c", {"x": "1", "y": "2"})}
    assert changed_input(files, read, {"3f2c": Available("OY1p1o/a", {"x": "1"})}.get) == "a:y"
    assert changed_input(files, read, {"b": Available("OY1p1o/b", {"x": "2"})}.get) is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": 2}', '{"format": 1, "trial": "x"}', '{"format": 1, "trial": 3}']
)
def test_a_file_that_is_no_pointer_is_damaged(text: str) -> None:
    files = MemoryFiles()
    files.write(layout.pointer("ab" * 16), text.encode())
    with pytest.raises(errors.Damaged, match="Remove it, so that the result is computed again"):
        find_pointer(files, "ab" * 16)


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        ({"new.py": "1", "util.py": "2"}, ()),
        ({"new.py": "9", "util.py": "2"}, ("data.py", "new.py")),
        ({"data.py": "2", "util.py": "1"}, ("data.py", "util.py")),
        ({"new.py": "1", "util.py": "1"}, ("util.py",)),
    ],
    ids=["renamed", "renamed and changed", "swapped", "one renamed, another one a copy of it"],
)
def test_a_file_that_only_has_another_name_now_is_unchanged(now: dict[str, str], changed: tuple[str, ...]) -> None:
    spec = TrialSpec(0, "u", 1, {}, ComponentSpec("data", "data", None, {}, Target("data"), is_requirement=True))
    pointer = Pointer("OY1p1o/u", "", None, None, {}, {}, {"data.py": "1", "util.py": "2"})
    current = {"data.py": "gone", **now}
    assert decide_reuse(spec, ReusePolicy(), pointer, None, current).changed == changed


# --- seeds from the content


def test_what_is_listed_with_seeds_from_its_content_is_a_requirement_later(here: Path, tmp_path: Path) -> None:
    first = ml.execute(ml.Task("nums").repeat(2), tmp_path / "s", "content")

    second, ran = computed("train", tmp_path / "s")
    third = ml.execute(ml.Task("nums").repeat(3), tmp_path / "s", "content", reuse="all")

    assert ran == ["double", "train"]
    assert second.trials[0].source == f"{first}/{first.trials[0].uid}"
    assert [trial.status for trial in third.trials] == ["reused", "reused", "finished"]
    assert first.seed_text == f"content:{first}"
    assert [one.seed for one in third.trials][:2] == [one.seed for one in first.trials]


def test_an_execution_with_seeds_from_the_content_is_resumed_and_its_plan_executed(here: Path, tmp_path: Path) -> None:
    fails = "on_execute = lambda self: 1 / (not self.flags.REPEAT_NUMBER)"
    (here / "nums.py").write_text(MODULE.replace("pass", fails))
    task = ml.Task("nums").repeat(2)
    plan = task.plan(here, "content")

    failed = ml.execute(plan, tmp_path / "s", on_failure="continue")
    status = failed.status
    (here / "nums.py").write_text(MODULE)
    with pytest.warns(UserWarning, match="the code of .* has changed"):
        resumed = ml.execute(storage=tmp_path / "s", resume=str(failed))

    assert (str(failed), status, resumed.status) == (plan.id, "failed", "finished")
    assert [one.seed for one in resumed.trials] == [one.seed for one in plan]
    assert [one.identity for one in resumed.trials] == [one.identity for one in plan]


def test_a_dry_run_names_a_result_with_another_seed(here: Path, tmp_path: Path) -> None:
    first = ml.execute("nums", tmp_path / "s")
    place = f"{first}/{first.trials[0].uid}"

    _, required = dry_run("train", tmp_path / "s")
    _, listed = dry_run("nums", tmp_path / "s", reuse="all")
    _, other = dry_run(ml.Task().component("nums", {"size": 4}), tmp_path / "s", reuse="all")

    assert [one.why for one in required] == [
        f"there is a result with another seed: {place}",
        "there is no result yet",
        "it is listed in the task",
    ]
    assert [one.why for one in (*listed, *other)] == [required[0].why, "there is no result yet"]
