"""What `execute` takes, what it refuses before anything is written, and how it ends."""

from __future__ import annotations

import asyncio
import gc
import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable import errors, events
from machinable.display.progress import measurements
from machinable.engines.local import LocalEngine
from tests.conftest import World

DECLARATIONS = "components:\n  - good: {x: 1}\n  - bad: {depth: 12}\n  - broken:\n  - flaky: {_retries_: {count: 2}}\n"
GOOD = """
from machinable import Component


class Good(Component):
    def on_execute(self):
        return self.config.x
"""
BAD = """
from machinable import Component


class Bad(Component):
    def on_execute(self):
        raise RuntimeError("too deep")
"""
FLAKY = """
from machinable import Component


class Flaky(Component):
    def on_execute(self):
        self.record["attempt"] = self.flags.ATTEMPT
        self.record.save()
        self.log.info("attempt %s", self.flags.ATTEMPT)
        if self.flags.ATTEMPT < 3:
            raise OSError("not yet")
        return self.flags.SEED
"""


@pytest.fixture
def here(project: World) -> Path:
    return project(DECLARATIONS, good=GOOD, bad=BAD, broken="import numpyy\n", flaky=FLAKY)


def test_all_others_run_when_a_trial_fails_and_its_own_error_comes_first(here: Path, tmp_path: Path) -> None:
    with pytest.raises(errors.TrialsFailed) as caught:
        ml.execute(ml.Task().component("bad").component("good"), tmp_path / "s", seed="OY1p1o")
    execution = caught.value.execution
    assert [trial.status for trial in execution.trials] == ["failed", "finished"]
    assert str(caught.value).splitlines() == [
        "1 of 2 trials of OY1p1o failed",
        "  RuntimeError: too deep",
        f"    trial {execution.trials[0].uid} (1 of 2), bad depth=12",
        "  To run only what has not finished: execute(task, storage, resume='OY1p1o'), "
        f"or machinable resume OY1p1o --storage {tmp_path / 's'}",
    ]
    cause = str(caught.value.__cause__)
    assert cause.rstrip().endswith('raise RuntimeError("too deep")\nRuntimeError: too deep')
    assert "machinable" not in cause.replace(str(here), "")  # none of our own frames


def test_failures_are_returned_with_continue(here: Path) -> None:
    execution = ml.execute(ml.Task().component("bad").component("good"), on_failure="continue")
    assert (bool(execution), execution.status, len(execution.failures)) == (False, "failed", 1)
    error = execution.failures[0].error
    assert error is not None
    assert (error["type"], error["message"]) == ("RuntimeError", "too deep")


def test_with_stop_no_trial_starts_after_the_first_failure(here: Path) -> None:
    with pytest.raises(errors.TrialsFailed) as caught:
        ml.execute(ml.Task().component("good").component("bad").component("good"), on_failure="stop")
    assert [trial.status for trial in caught.value.execution.trials] == ["finished", "failed", "pending"]


@pytest.mark.parametrize(
    ("task", "arguments", "kind", "words"),
    [
        (None, {}, ValueError, "nothing to execute"),
        ([], {}, ValueError, "the list of tasks is empty"),
        (ml.Task(), {}, ValueError, "no trials"),
        ("goood", {}, KeyError, "Did you mean 'good'?"),
        (("good", "~wide"), {}, KeyError, "no version named '~wide'"),
        ("broken", {}, ImportError, "No module named 'numpyy'"),
        ("good", {"seed": "abc"}, ValueError, "'abc' is not an execution id"),
        ("good", {"seed": True}, TypeError, "True is not a seed"),
        ("good", {"engine": "lokal"}, KeyError, "Did you mean 'local'?"),
        ("good", {"engine": {"type": "local", "slot": 2}}, ValueError, "takes no slot"),
        ("good", {"engine": {"slots": 2}}, ValueError, "has no `type`"),
        ("good", {"engine": 3}, TypeError, "3 is not an engine"),
        ("good", {"storage": {"url": "x"}}, KeyError, "no key of a storage named 'url'"),
        ("good", {"storage": 3}, TypeError, "not a storage: 3"),
        ("good", {"on_failure": "ignore"}, ValueError, "raise or continue or stop"),
        ("good", {"on_failur": "stop"}, TypeError, "Did you mean 'on_failure'?"),
        ("good", {"retries": -1}, ValueError, "cannot be negative"),
        ("good", {"retries": True}, TypeError, "a whole number"),
        ("good", {"timeout": 0}, ValueError, "timeout is 0 seconds"),
        ("good", {"listeners": print}, TypeError, "not a list of listeners"),
        ("good", {"listeners": [lambda: None]}, TypeError, "cannot take one event"),
        (["good", "good"], {"seed": [1]}, ValueError, "1 seeds for 2 tasks"),
        (["good", None], {}, ValueError, "item 1 of the list of tasks is None"),
        ("good", {"listeners": [asyncio.sleep]}, TypeError, "the listener sleep is a coroutine"),
        (ml.Task(int), {}, TypeError, "the class builtins:int is not a subclass of Component"),
        (ml.Task().component("good", children=[dict]), {}, TypeError, "not a subclass of Component"),
        ([ml.Task("good"), ml.Task("goood")], {}, KeyError, "goood"),
        (ml.Task().component("good", resources={"license": 1}), {}, RuntimeError, "Declare how much there is"),
        (ml.Task().component("good", resources={"cpus": 10_000}), {}, RuntimeError, "requests 10000 cpus"),
        (ml.Task().component("good", resources={"memory": "900TiB"}), {}, RuntimeError, "GiB of memory"),
    ],
)
def test_invalid_calls_are_refused_before_anything_is_written(
    here: Path, tmp_path: Path, task: Any, arguments: dict[str, Any], kind: type[Exception], words: str
) -> None:
    storage = tmp_path / "s"
    with pytest.raises(kind) as caught:
        ml.execute(task, **{"storage": str(storage), **arguments})
    assert isinstance(caught.value, errors.MachinableError)
    assert words in str(caught.value)
    assert not storage.exists()


def test_errors_of_several_components_are_reported_together(here: Path) -> None:
    with pytest.raises(errors.SeveralErrors) as caught:
        ml.execute(ml.Task().component("goood").component("good", "~wide"))
    assert [type(error).__name__ for error in caught.value.errors] == ["UnknownName", "UnknownName"]


def test_a_module_that_fails_to_import_is_reported_with_its_line(here: Path) -> None:
    with pytest.raises(errors.ImportFailed) as caught:
        ml.execute("broken")
    assert str(caught.value).splitlines() == [
        "machinable.yaml:4:5: the module 'broken' cannot be imported: ModuleNotFoundError: No module named 'numpyy'",
        "    4 |   - broken:",
        "            ^",
        "  broken.py:1: import numpyy",
        "  Install 'numpyy' wherever trials run, or put it into the project, where git does not ignore it.",
    ]


def test_a_storage_that_is_a_file_is_refused_and_not_changed(here: Path, tmp_path: Path) -> None:
    (tmp_path / "s").write_text("mine")
    with pytest.raises(errors.StorageUnavailable):
        ml.execute("good", tmp_path / "s")
    assert (tmp_path / "s").read_text() == "mine"


def test_a_misspelled_key_causes_a_warning_that_names_the_key(here: Path) -> None:
    (here / "machinable.yaml").write_text("components:\n  - good: {x: 1, epochs: 10}\n")
    with pytest.warns(UserWarning, match="good has no key 'epoch', so it is added. Did you mean 'epochs'?") as warned:
        ml.execute(("good", {"epoch": 5}))
    assert warned[0].filename == __file__  # not in this package, which the user has not written


def test_a_misspelled_event_causes_a_warning_that_names_the_event(here: Path) -> None:
    (here / "good.py").write_text(
        "import machinable as ml\nclass Good(ml.Component):\n"
        "    def on_execut(self):\n        return 1\n    def on_epoch_end(self):\n        pass\n"
    )
    with pytest.warns(UserWarning, match="never called") as warned:
        ml.execute(ml.Task("good").repeat(2))
    assert [str(one.message) for one in warned] == [
        "Good.on_execut is never called: there is no such event. Did you mean 'on_execute'?"
    ]


def test_listeners_receive_every_event_once_and_in_order(here: Path) -> None:
    heard: list[events.Event] = []
    ml.execute(ml.Task().component("good").component("bad"), listeners=[heard.append], on_failure="continue")
    assert [type(event).__name__ for event in heard] == [
        "ExecutionStarted",
        "TrialStarted",
        "TrialFinished",
        "TrialStarted",
        "TrialFailed",
        "ExecutionFinished",
    ]
    failed = heard[4]
    assert isinstance(failed, events.TrialFailed)
    assert (failed.component, failed.index, failed.error["type"], failed.will_retry) == (
        "bad",
        1,
        "RuntimeError",
        False,
    )
    ended = heard[-1]
    assert isinstance(ended, events.ExecutionFinished)
    assert (ended.status, ended.finished, ended.failed) == ("failed", 1, 1)


def test_an_event_comes_after_its_change_is_stored(here: Path, tmp_path: Path) -> None:
    seen: list[str] = []

    def look(event: events.Event) -> None:
        if isinstance(event, events.TrialFinished):
            path = tmp_path / "s" / event.execution / "trials" / event.uid / "status.json"
            seen.append(json.loads(path.read_text())["state"])

    ml.execute("good", tmp_path / "s", listeners=[look])
    assert seen == ["finished"]


def test_a_listener_that_raises_causes_only_a_warning(here: Path) -> None:
    def broken(event: events.Event) -> None:
        if isinstance(event, events.TrialFinished):
            raise ValueError("my mistake")

    with pytest.warns(RuntimeWarning, match="my mistake"):
        execution = ml.execute("good", listeners=[broken])
    assert execution.status == "finished"


def test_a_listener_that_always_raises_causes_one_warning_and_receives_all_events(here: Path) -> None:
    heard: list[str] = []

    def broken(event: events.Event) -> None:
        heard.append(type(event).__name__)
        raise ValueError(f"my mistake at {heard[-1]}")

    with pytest.warns(RuntimeWarning) as told:
        ml.execute("good", listeners=[broken])
    assert [str(one.message).splitlines()[-1] for one in told] == ["ValueError: my mistake at ExecutionStarted"]
    assert heard == ["ExecutionStarted", "TrialStarted", "TrialFinished", "ExecutionFinished"]


def test_a_failed_trial_is_retried_with_the_same_seed_and_all_attempts_are_kept(here: Path, tmp_path: Path) -> None:
    heard: list[events.Event] = []
    execution = ml.execute("flaky", tmp_path / "s", listeners=[heard.append])
    (trial,) = execution.trials
    assert (trial.status, trial.attempt, trial.result) == ("finished", 3, trial.seed)
    assert [row["attempt"] for row in trial.records] == [3]
    folder = tmp_path / "s" / str(execution) / "trials" / trial.uid
    for attempt in ("1", "2"):
        kept = folder / "attempts" / attempt
        assert sorted(path.name for path in kept.iterdir()) == ["log.txt", "records", "status.json", "trial.json"]
        assert json.loads((kept / "records" / "default.jsonl").read_text())["attempt"] == int(attempt)
    assert [event.will_retry for event in heard if isinstance(event, events.TrialFailed)] == [True, True]


def test_retries_of_the_call_apply_to_components_without_their_own(here: Path) -> None:
    execution = ml.execute("bad", retries=1, on_failure="continue")
    assert (execution.trials[0].status, execution.trials[0].attempt) == ("failed", 2)


def test_only_the_named_errors_are_retried(project: World) -> None:
    declarations = "components:\n  - flaky: {_retries_: {count: 5, on: [TimeoutError]}}\n"
    project(declarations, flaky=FLAKY)
    execution = ml.execute("flaky", on_failure="continue")
    assert (execution.trials[0].status, execution.trials[0].attempt) == ("failed", 1)


def test_a_trial_that_exceeds_the_timeout_fails_and_the_others_continue(project: World) -> None:
    slow = "import threading\nfrom machinable import Component\nclass Slow(Component):\n    def on_execute(self):\n        threading.Event().wait()\n"  # noqa: E501
    project(DECLARATIONS + "  - slow:\n", good=GOOD, slow=slow)
    execution = ml.execute(ml.Task().component("slow").component("good"), timeout=1.0, on_failure="continue")
    assert [trial.status for trial in execution.trials] == ["failed", "finished"]
    error = execution.trials[0].error
    assert error is not None
    assert (error["type"], error["message"]) == ("TimeoutError", "the trial took longer than 1 s")


def test_an_interrupt_ends_everything_in_order(project: World, tmp_path: Path) -> None:
    module = "from machinable import Component\nclass Stop(Component):\n    def on_execute(self):\n        raise KeyboardInterrupt\n"  # noqa: E501
    project(DECLARATIONS + "  - stop:\n", good=GOOD, stop=module)
    heard: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        ml.execute(
            ml.Task().component("good").component("stop").component("good"),
            tmp_path / "s",
            seed="OY1p1o",
            listeners=[lambda event: heard.append(type(event).__name__)],
        )
    execution = ml.Storage(tmp_path / "s")["OY1p1o"]
    assert [trial.status for trial in execution.trials] == ["finished", "interrupted", "pending"]
    assert execution.status == "interrupted"
    assert heard[-2:] == ["TrialInterrupted", "ExecutionFinished"]


STEPS = """
from machinable import Component


class Steps(Component):
    def on_execute_iteration(self, iteration):
        self.record["step"] = iteration
        return StopIteration if iteration == 1 else None

    def on_success(self, result):
        self.store.write("tuning.json", self.flags.TUNING)
"""


def test_the_flag_tuning_of_the_user_is_ignored(project: World) -> None:
    project("components:\n  - steps:\n", steps=STEPS)
    trial = ml.execute(ml.Task().component("steps", flags={"TUNING": True, "mine": 1})).trials[0]
    assert ([row["step"] for row in trial.records], trial.read("tuning.json")) == ([0, 1], False)


def test_tasks_run_in_order_and_the_second_with_the_same_seed_is_a_rerun(here: Path, tmp_path: Path) -> None:
    executions = ml.execute([ml.Task("good"), "good"], tmp_path / "s", seed="OY1p1o")
    assert [str(execution) for execution in executions] == ["OY1p1o", "OY1p1o-2"]


def test_all_tasks_run_before_a_failure_is_raised(here: Path) -> None:
    with pytest.raises(errors.TrialsFailed) as caught:
        ml.execute(["bad", "good"])
    assert [execution.status for execution in caught.value.executions] == ["failed", "finished"]


class Terminal(io.StringIO):
    """The console of an editor: a terminal that is no file, so it cannot show a live display."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("stream", [Terminal(), io.StringIO()])
@pytest.mark.parametrize("progress", [None, True])
def test_a_script_shows_progress_results_and_next_commands(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: io.StringIO, progress: bool | None
) -> None:
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("NO_COLOR", "1")
    storage, begin = tmp_path / "s", len(stream.getvalue())

    execution = ml.execute(ml.Task("good").repeat(2), storage, progress=progress, listeners=[lambda event: None])

    head, first, _, ending, table, _, _, summary, *following = stream.getvalue()[begin:].splitlines()
    assert head == f"{execution}: 2 trials, stored in {storage}"
    assert first.startswith("1/2 finished good ")
    assert ending.startswith(f"{execution}: finished after ")
    assert table.split() == ["component", "n"]
    assert summary.startswith(f"{execution}  finished, 2 trials in ")
    assert following == [
        f"storage: {storage}",
        f"next: machinable show {execution} --storage {storage}",
        f"      machinable list --storage {storage}",
    ]


def test_a_script_shows_the_first_results_of_many(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ml.execute(ml.Task().component("good", [{"number": n} for n in range(35)]), tmp_path / "s", progress=None)

    text = capsys.readouterr().err
    assert [line.split()[1] for line in text.splitlines() if line.startswith("good ")] == list(map(str, range(30)))
    assert "\n… and 5 more\n" in text


def test_a_script_can_be_silent(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ml.execute("good", tmp_path / "s", progress=False)

    assert capsys.readouterr() == ("", "")


def test_a_script_says_at_the_start_that_results_stay_in_memory(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ml.execute("good")

    first, *_, last = capsys.readouterr().err.splitlines()
    assert first.endswith(": 1 trial, in memory; to save results: execute(…, storage='DIRECTORY')")
    assert last == "storage: memory, nothing was saved; to save results: execute(…, storage='DIRECTORY')"


def test_a_script_that_fails_or_is_interrupted_says_how_to_go_on(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MACHINABLE_STORAGE", "results")  # commands find it, too
    with pytest.raises(errors.TrialsFailed):
        ml.execute("bad", seed="OY1p1o")
    failed = capsys.readouterr().err

    def stop(event: events.Event) -> None:
        if isinstance(event, events.TrialStarted):
            signal.raise_signal(signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        ml.execute("good", seed="1234ab", listeners=[stop])
    interrupted = capsys.readouterr().err

    assert "next: machinable show OY1p1o\n      machinable resume OY1p1o\n      machinable list\n" in failed
    assert interrupted.splitlines()[-2:] == [
        f"interrupted: 1234ab is stored in {here / 'results'}; 0 of 1 done, 1 interrupted",
        "next: machinable resume 1234ab",
    ]


@pytest.mark.parametrize("progress", [0, 1, "False", "quiet"])
def test_a_wrong_progress_is_an_error(here: Path, progress: Any) -> None:
    with pytest.raises(errors.InvalidType, match="Expected None, True or False"):
        ml.execute("good", progress=progress)


def test_dry_prints_the_plan_and_writes_nothing(here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = ml.execute(ml.Task().component("good", [{"x": 1}, {"x": 2}]), tmp_path / "s", "OY1p1o", "dry")
    assert isinstance(plan, ml.Plan)
    assert capsys.readouterr().out.splitlines() == [
        "Plan OY1p1o: 2 trials",
        "#  uid           component  x",
        f"0  {plan[0].uid}  good       1",
        f"1  {plan[1].uid}  good       2",
    ]
    assert not (tmp_path / "s").exists()


def test_a_function_is_a_component_and_needs_no_project(world: Path) -> None:
    def measure(config: Any, flags: Any) -> int:
        return int(config.x * 2)

    execution = ml.execute(ml.Task().component(measure, [{"x": 1}, {"x": 2}]))
    assert [trial.result for trial in execution.trials] == [2, 4]


def test_a_decorated_function_runs_in_place_of_every_component(here: Path) -> None:
    @ml.execute
    def run(config: Any, component: Any) -> str:
        return f"{component.flags.NAME} {sorted(config)}"

    execution = run(ml.Task().component("good").component("broken"))
    assert [trial.result for trial in execution.trials] == ["good ['x']", "broken []"]


def test_a_function_with_arguments_for_execute_is_refused(here: Path) -> None:
    with pytest.raises(TypeError, match="alone, as a decorator"):
        ml.execute(lambda config: None, seed=1)


def test_the_storage_of_the_project_is_the_default(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "machinable.yaml").write_text(DECLARATIONS + "execution: {storage: kept, code_backup: false}\n")
    assert ml.execute("good").storage == str(here / "kept")
    monkeypatch.setenv("MACHINABLE_STORAGE", str(tmp_path / "environment"))
    assert ml.execute("good").storage == str(tmp_path / "environment")
    assert ml.execute("good", tmp_path / "call").storage == str(tmp_path / "call")


def test_execution_json_describes_the_execution(here: Path, tmp_path: Path) -> None:
    execution = ml.execute(ml.Task("good").named("mine"), tmp_path / "s", seed=42)
    data = json.loads((tmp_path / "s" / "8gWVkz" / "execution.json").read_text())
    assert {key: data[key] for key in ("format", "id", "run", "seed", "name", "engine", "project")} == {
        "format": 1,
        "id": "8gWVkz",
        "run": 1,
        "seed": 7957417341,
        "name": "mine",
        "engine": {"type": "local", "slots": 1},
        "project": "project",
    }
    assert data["started"].endswith("+00:00")
    assert data["python"] == ".".join(map(str, sys.version_info[:3]))
    assert data["host"]["name"] == os.uname().nodename
    assert data["packages"]["pyyaml"]
    assert data["code"]["backup"].startswith("sha256:")
    assert execution.name == "mine"


def test_an_execution_into_a_directory_imports_nothing_heavy(here: Path, tmp_path: Path) -> None:
    import subprocess

    script = (
        "import sys, machinable as ml\n"
        f"ml.execute('good', {{'storage': {str(tmp_path / 's')!r}, 'code_backup': False}})\n"
        "heavy = {'ray', 'fs', 'git', 'boto3', 'pandas', 'numpy', 'rich', 'click', 'tempfile', 'shutil',\n"
        "         'machinable.search', 'machinable.storage.served', 'machinable.cli'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    path = os.pathsep.join(sys.path)  # without `-S`, files of installed packages would import some of them
    subprocess.run(
        [sys.executable, "-S", "-W", "error", "-c", script], check=True, cwd=here, env=os.environ | {"PYTHONPATH": path}
    )


def test_what_a_trial_made_is_freed_when_it_ends(here: Path) -> None:
    (here / "machinable.yaml").write_text("components:\n  - held: {x: 1}\n")
    (here / "held.py").write_text(
        "import weakref\nfrom machinable import Component\n\nLIVING = weakref.WeakSet()\n\n\n"
        "class Held(Component):\n"
        "    def on_execute(self):\n"
        "        LIVING.add(self)\n"
        "        self.record['living'] = len(LIVING)\n"
        "        self.record.save()\n"
    )
    gc.collect()
    gc.disable()
    try:
        few = (ml.execute(ml.Task("held").repeat(5), project=here), gc.collect())[1]
        execution = ml.execute(ml.Task("held").repeat(205), project=here)
        many = gc.collect()
    finally:
        gc.enable()

    assert {trial.last_row["living"] for trial in execution.trials} == {1}
    assert many - few < 2000  # fewer than ten objects for each trial; other threads leave some, too


def test_git_runs_three_times_for_a_code_backup_with_changes(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import subprocess

    git = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], cwd=here, check=True)
    (here / "good.py").write_text(f"{GOOD}\n")
    ran: list[str] = []
    run = subprocess.run

    def counted(words: list[str], **options: Any) -> Any:
        ran.append(words[5])
        return run(words, **options)

    monkeypatch.setattr(subprocess, "run", counted)
    execution = ml.execute("good", "stored", project=here)

    assert ran == ["status", "ls-files", "diff"]
    assert execution.code_diff is not None


def test_a_missing_promised_result_fails_the_trial_and_is_named(project: World) -> None:
    writes = "from machinable import Component\nclass Work(Component):\n    def on_execute(self):\n        self.store.write('a.json', 1)\n"  # noqa: E501
    project(
        "components:\n  - keeps: {_results_: [a.json]}\n  - breaks: {_results_: [a.json, b.json]}\n",
        keeps=writes,
        breaks=writes,
    )
    execution = ml.execute(ml.Task().component("keeps").component("breaks"), on_failure="continue")
    assert [trial.status for trial in execution.trials] == ["finished", "failed"]
    error = execution.trials[1].error
    assert error is not None
    assert error["message"].splitlines()[0] == "the promised result 'b.json' was not written"


def test_an_environment_applies_to_its_trial_only_and_is_not_stored(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GOLDEN_SECRET", "s3cret")
    reads = "import os\nfrom machinable import Component\nclass Work(Component):\n    def on_execute(self):\n        return len(os.environ.get('MY_TOKEN', ''))\n"  # noqa: E501
    project(
        "components:\n  - sets: {_environment_: {MY_TOKEN: '${GOLDEN_SECRET}'}}\n  - plain:\n", sets=reads, plain=reads
    )
    execution = ml.execute(ml.Task().component("sets").component("plain"), tmp_path / "s")
    assert [trial.result for trial in execution.trials] == [6, 0]
    assert "MY_TOKEN" not in os.environ
    stored = [path.read_bytes() for path in (tmp_path / "s").rglob("*") if path.is_file()]
    assert not [content for content in stored if b"s3cret" in content]


@pytest.mark.parametrize(
    ("name", "todo"), [("requires", "_requires_: {data: component}"), ("tags", "Use another name")]
)
def test_a_value_of_a_class_that_hides_an_attribute_is_refused(project: Any, name: str, todo: str) -> None:
    project(
        "components: [hides: {}]\n", hides=f"import machinable as ml\n\nclass Hides(ml.Component):\n    {name} = {{}}\n"
    )
    with pytest.raises(
        errors.InvalidType, match=rf"Hides\.{name} is a value of the class, which hides `self\.{name}`"
    ) as caught:
        ml.execute("hides")
    assert todo in str(caught.value)


@pytest.mark.parametrize(
    ("method", "todo"),
    [
        ("on_save(self, path)", "Write def on_save(self, path, timestep)."),
        ("on_execute_iteration(self)", "Write def on_execute_iteration(self, iteration)."),
        ("on_execute(self, n)", "Write def on_execute(self)."),
        ("on_save(self, *args)", None),
        ("on_restore(self, path, more=None)", None),
    ],
)
def test_an_event_with_other_parameters_is_refused_before_anything_runs(
    project: Any, tmp_path: Path, method: str, todo: str | None
) -> None:
    project(
        "components: [takes: {}]\n",
        takes=f"import machinable as ml\n\nclass Takes(ml.Component):\n    def {method}:\n        return None\n",
    )
    if todo is None:
        assert ml.execute("takes", tmp_path / "out").status == "finished"
        return
    with pytest.raises(errors.InvalidType, match=r"Takes\.on_\w+ cannot be called with the arguments") as caught:
        ml.execute("takes", tmp_path / "out")
    assert todo in str(caught.value)
    assert not list(tmp_path.glob("out/*/plan.jsonl"))


@pytest.mark.parametrize(("text", "identifier"), [("42", "8gWVkz"), ("OY1p1o", "OY1p1o"), ("id:123456", "123456")])
def test_a_seed_of_the_environment_is_a_number_or_an_id(
    here: Path, monkeypatch: pytest.MonkeyPatch, text: str, identifier: str
) -> None:
    monkeypatch.setenv("MACHINABLE_SEED", text)
    assert ml.execute("good").id == identifier


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("reuse: 1", "reuse is 1"),
        ("on_busy: sleep", "on_busy is 'sleep'"),
        ("locks: 3", "locks is 3"),
        ("lease: soon", "a duration is a number of seconds, not 'soon'"),
        ("lease: 0.5", "a lease of 0.5 s is too short"),
        ("threads: 0", "`threads` is 0"),
    ],
)
def test_meaningless_settings_are_refused(here: Path, tmp_path: Path, setting: str, words: str) -> None:
    (here / "machinable.yaml").write_text(f"execution:\n  {setting}\ncomponents:\n  - good: {{x: 1}}\n")
    with pytest.raises(errors.MachinableError) as caught:
        ml.execute("good", tmp_path / "s")
    assert words in str(caught.value)
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("said", ["project", "environment"])
def test_an_unreachable_lock_server_is_an_error_before_anything_runs(
    here: Path, tmp_path: Path, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"redis://127.0.0.1:{port}/0"
    if said == "environment":
        monkeypatch.setenv("MACHINABLE_LOCKS", url)
    else:
        (here / "machinable.yaml").write_text(f"execution:\n  locks: {url}\ncomponents:\n  - good: {{x: 1}}\n")
    with pytest.raises(errors.StorageUnavailable) as caught:
        ml.execute("good", tmp_path / "s")
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert not list((tmp_path / "s").iterdir())


def test_the_repr_of_a_plan_is_one_line(here: Path) -> None:
    assert repr(ml.Task("good").plan(seed="OY1p1o")) == "<Plan OY1p1o: 1 trial>"


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_progress_of_a_trial_reaches_listeners(project: World, engine: str) -> None:
    steps = "from machinable import Component\nclass Steps(Component):\n    def on_execute(self):\n        self.progress(1, 2)\n        self.progress(2, 2)\n        self.progress(2, 2)\n"  # noqa: E501
    project("components:\n  - steps:\n", steps=steps)

    class Listener(events.Listener):
        def __init__(self) -> None:
            self.told: list[tuple[int, int | None]] = []

        def on_event(self, event: events.Event) -> None:
            """Progress is not an event."""

        def on_progress(self, uid: str, i: int, total: int | None) -> None:
            self.told.append((i, total))

    listener = Listener()
    ml.execute("steps", engine=engine, listeners=[listener])
    assert listener.told == [(1, 2), (2, 2), (2, 2)]


ROWS = """
from machinable import Component


class Rows(Component):
    def on_execute(self):
        self.record.scope("other")["x"] = 3
        self.record.scope("other").save()
        self.record.update({"loss": 0.5, "list": [1, 2], "note": "ok"})
        self.record.save()
        self.record["loss"] = 0.25
        self.record.save()  # too soon after the first one
"""


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_the_last_row_of_a_running_trial_reaches_listeners(project: World, engine: str) -> None:
    project("components:\n  - rows:\n", rows=ROWS)

    class Listener(events.Listener):
        def __init__(self) -> None:
            self.told: list[dict[str, Any]] = []

        def on_event(self, event: events.Event) -> None:
            """Rows are no events."""

        def on_record(self, uid: str, row: dict[str, Any]) -> None:
            self.told.append(measurements(row))

    listener = Listener()
    execution = ml.execute("rows", engine=engine, listeners=[listener])
    assert listener.told[0] == {"loss": 0.5, "note": "ok"}
    assert [row["loss"] for row in execution.trials[0].records] == [0.5, 0.25]


WANDERS = """
import os
from machinable import Component


class Wanders(Component):
    def on_execute(self):
        before = os.getcwd()
        os.chdir(os.sep)
        if self.config.fails:
            raise ValueError(before)
        return before
"""


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_a_trial_changes_the_working_directory_only_for_itself(project: World, engine: str) -> None:
    here = str(project("components:\n  - wanders: {fails: false}\n", wanders=WANDERS))
    task = ml.Task().component("wanders", [{"fails": True}, None])
    failed, finished = ml.execute(task, engine=engine, on_failure="continue").trials
    assert (failed.error["message"], finished.result, os.getcwd()) == (here, here, here)  # type: ignore[index]


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_a_component_that_closes_stdout_ends_the_same_way_on_every_engine(project: World, engine: str) -> None:
    closes = "import sys\nfrom machinable import Component\nclass Closes(Component):\n    def on_execute(self):\n        print('before')\n        sys.stdout.close()\n        sys.stderr.close()\n        print('after')\n"  # noqa: E501
    project("components:\n  - closes:\n", closes=closes)
    execution = ml.execute(ml.Task("closes").repeat(2), engine=engine)
    assert [(trial.status, trial.output) for trial in execution.trials] == [("finished", "before\nafter\n")] * 2


def test_a_component_that_closes_stdout_does_not_close_it_for_others(
    project: World, capsys: pytest.CaptureFixture[str]
) -> None:
    closes = "import sys\nfrom machinable import Component\nclass Closes(Component):\n    def on_execute(self):\n        print('before')\n        sys.stdout.close()\n"  # noqa: E501
    project("components:\n  - closes:\n", closes=closes)
    execution = ml.execute(ml.Task("closes").repeat(2))
    print("after")
    assert (execution.status, capsys.readouterr().out) == ("finished", "before\nbefore\nafter\n")


QUIET = "from machinable import Component\n\n\nclass Quiet(Component):\n    pass\n"


class Waits(LocalEngine):
    """An engine with messages for the user, before and after the execution begins."""

    def hosts(self, declared: Any) -> None:
        assert self.on_notice is not None
        self.on_notice("starting a cluster")

    def submit(self, work: Any, spec: Any) -> Any:
        assert self.on_notice is not None
        self.on_notice("waiting for workers")
        return super().submit(work, spec)


def test_messages_of_an_engine_reach_listeners_and_otherwise_stderr_once_trials_wait(
    project: World, capsys: pytest.CaptureFixture[str]
) -> None:
    project("components:\n  - quiet:\n", quiet=QUIET)
    told: list[str] = []

    class Listens(events.Listener):
        def on_notice(self, text: str) -> None:
            told.append(text)

    ml.execute("quiet", engine=Waits(), progress=False)
    assert capsys.readouterr().err == "waiting for workers\n"

    ml.execute("quiet", engine=Waits(), listeners=[Listens()], progress=False)
    assert (told, capsys.readouterr().err) == (["starting a cluster", "waiting for workers"], "")


class Hosts(ml.Engine):
    """An engine whose hosts have no cores."""

    name, slots, reach = "hosts", 1, "anywhere"

    def hosts(self, declared: Any) -> Any:
        return [{"cpus": 0.0, "memory": 1e9}]

    def ship(self, project: str, code: bytes) -> None:
        raise AssertionError("nothing is to be shipped")

    def submit(self, work: Any, spec: Any) -> Any:
        raise AssertionError("nothing is to run")

    def close(self) -> None:
        pass


def test_a_host_without_a_default_cpu_is_reported_before_the_start(project: World) -> None:
    project("components:\n  - quiet:\n", quiet=QUIET)

    with pytest.raises(errors.Refused, match="quiet needs 1 cpu, the default, but no host has one"):
        ml.execute("quiet", engine=Hosts())


@pytest.mark.parametrize(
    ("events", "missing"),
    [
        ("def on_execute(self): ...", "on_execute_iteration and no on_save"),
        ("def on_execute_iteration(self, i): return StopIteration", "on_save"),
        ("def on_save(self, path, timestep): ...", "on_execute_iteration"),
    ],
)
def test_a_checkpoint_every_few_iterations_needs_iterations_and_on_save(
    project: World, events: str, missing: str
) -> None:
    code = f"from machinable import Component\n\nclass Work(Component):\n    {events}\n"
    project("components:\n  - work: {_checkpoints_: {every: 2}}\n", work=code)
    with pytest.raises(errors.InvalidValue) as refused:
        ml.execute("work")
    assert f"work saves a checkpoint every 2 iterations, but Work has no {missing}" in str(refused.value)
    assert "machinable.yaml:2:5" in str(refused.value)


@pytest.mark.parametrize(
    ("method", "arguments", "is_noticed"),
    [("split", [5], True), ("split", [5, "FOLD"], True), ("split", [1], False), ("repeat", [5], False)],
)
def test_a_notice_says_that_all_parts_read_one_result(
    project: World, capsys: pytest.CaptureFixture[str], method: str, arguments: list[Any], is_noticed: bool
) -> None:
    code = "from machinable import Component\n\nclass {0}(Component): ...\n"
    project("components:\n  - tr: \n  - ev: {_requires_: {model: tr}}\n", tr=code.format("Tr"), ev=code.format("Ev"))

    ml.execute(getattr(ml.Task("ev"), method)(*arguments), progress=False)

    notice = (
        "tr runs once, and all 5 parts of ev read its result. To run it for each part, require it with a key that "
        "differs: requires={…: ('tr', {'fold': 2})}\n"
    )
    assert capsys.readouterr().err == (notice if is_noticed else "")


def test_a_plan_is_executed_with_its_id_seeds_and_uids(
    project: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "import random\nfrom machinable import Component\n\nclass Draw(Component):\n    def on_execute(self):\n        return random.random()\n"  # noqa: E501
    here = project("components:\n  - draw: {a: 1, ~big: {a: 2}}\n", draw=code)
    plan = ml.Task().component("draw", [None, "~big"]).repeat(2).named("named").plan()
    monkeypatch.chdir(tmp_path)

    execution = ml.execute(plan, "mem://")

    assert (str(execution), execution.name) == (plan.id, "named")
    assert [(trial.uid, trial.seed) for trial in execution.trials] == [(trial.uid, trial.seed) for trial in plan]
    again = ml.execute([plan, plan], seed=plan.id)
    assert [[trial.result for trial in one.trials] for one in again] == [[t.result for t in execution.trials]] * 2
    with pytest.raises(errors.InvalidValue, match="the plan has the id"):
        ml.execute(plan, seed=5)
    (here / "machinable.yaml").write_text("components:\n  - draw: {a: 5, ~big: {a: 2}}\n")
    with pytest.raises(errors.Refused, match=r"has changed since the plan \w+ was made: 4 trials differ"):
        ml.execute(plan)


def test_the_plan_of_a_dry_run_is_executed(project: World, capsys: pytest.CaptureFixture[str]) -> None:
    project("components:\n  - a: \n", a="from machinable import Component\n\nclass A(Component): ...\n")
    plan = ml.execute("a", engine="dry")
    assert str(ml.execute(plan)) == plan.id


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_what_trials_drop_is_said_once(engine: str, project: World) -> None:
    code = "from machinable import Component\nclass Drops(Component):\n    def on_execute(self):\n"
    code += "        self.record['x'] = 1\n        return {1}\n"
    project("components: [drops: ]\n", drops=code)
    said: list[str] = []

    class Heard(ml.events.Listener):
        def on_notice(self, text: str) -> None:
            said.append(text)

    execution = ml.execute(ml.Task("drops").repeat(3), "mem://", engine=engine, listeners=[Heard()])

    first = execution.trials[0].uid
    assert [text for text in said if "dropped" in text] == [
        f"drops ({first}): the result is dropped: {{1}} of type set is not plain data",
        f"drops ({first}): a row of the record 'default' was not saved and is dropped",
    ]
