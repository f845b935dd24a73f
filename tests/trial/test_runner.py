"""One attempt of a trial: its code, its environment and its outcome."""

from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from machinable.component.base import Component
from machinable.component.local_dir import LocalFolder
from machinable.errors import InvalidType
from machinable.plan.spec import Outcome, Target
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.trial import runner
from machinable.trial.runner import check_function
from tests.component.worlds import FOLDER, UID, World, child, spec


class Kid(Component):
    pass


def test_an_empty_trial_leaves_two_files_and_an_outcome_that_can_be_pickled() -> None:
    world = World(Component, spec(attempt=2), capture="tee")

    assert world.names() == ["status.json", "trial.json"]
    assert world.ended == Outcome(UID, "finished", 2, world.ended.seconds)
    assert 0 < world.ended.seconds < 10
    assert pickle.loads(pickle.dumps(world.ended)) == world.ended


def test_the_class_is_imported_from_the_project_which_is_not_changed(tmp_path: Path) -> None:
    (tmp_path / "shelf_of_trial.py").write_text(
        "from machinable.component.base import Component\n"
        "class Work(Component):\n"
        "    def on_execute(self):\n"
        "        import late_of_trial\n"
        "        return late_of_trial.X\n"
    )
    (tmp_path / "late_of_trial.py").write_text("X = 5\n")
    world = World(None, spec(target=Target("shelf_of_trial")), project=str(tmp_path))

    assert (world.ended.error, world.ended.result) == (None, 5)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["late_of_trial.py", "shelf_of_trial.py"]
    assert str(tmp_path) not in sys.path


class Shared(Component):
    def on_execute(self) -> object:
        self.store.write("a.json", {"x": 1})
        self.record["y"] = 2
        self.record.save()
        Path(self.directory, "free.txt").write_text("free")
        return os.path.basename(os.getcwd())


@pytest.mark.parametrize("files", [MemoryFiles, None])
def test_the_local_directory_contains_the_artifacts_and_can_be_the_working_directory(
    files: Any, tmp_path: Path
) -> None:
    class Work(Shared):
        def on_success(self, result: object) -> None:
            Path("relative.txt").write_text("from here")
            assert os.path.samefile(os.getcwd(), self.directory)

    before = os.getcwd()
    world = World(Work, spec(change_directory=True), files() if files else DirectoryFiles(tmp_path))

    assert (world.ended.error, os.getcwd()) == (None, before)
    assert world.names() == [
        "artifacts/a.json",
        "artifacts/free.txt",
        "artifacts/relative.txt",
        "records/default.jsonl",
        "status.json",
        "trial.json",
    ]
    assert world.text("artifacts/relative.txt") == "from here"


def test_the_working_directory_is_restored_after_a_failure(tmp_path: Path) -> None:
    class Fails(Component):
        def on_execute(self) -> None:
            os.chdir("/")
            raise ValueError

    before = os.getcwd()
    world = World(Fails, spec(change_directory=True), DirectoryFiles(tmp_path))

    assert (world.ended.state, os.getcwd(), world.names()) == ("failed", before, ["status.json", "trial.json"])


def test_what_was_written_before_a_failure_stays() -> None:
    class Fails(Shared):
        def on_after_execute(self) -> None:
            self.store.path("more.bin")
            Path(self.store.path("more.bin")).write_bytes(b"1")
            raise ValueError

    world = World(Fails)

    assert (world.ended.state, world.ended.record, world.text("artifacts/more.bin")) == ("failed", world.rows()[0], "1")


def test_an_error_of_the_component_takes_precedence_over_one_while_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails(Component):
        fails = True

        def on_execute(self) -> None:
            self.directory  # noqa: B018
            if self.fails:
                raise ValueError("first")

    def no(self: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(LocalFolder, "sync", no)
    errors = [World(cls).ended.error for cls in (Fails, type("Passes", (Fails,), {"fails": False}))]

    assert [error["message"] for error in errors if error] == ["first", "no room"]


def test_a_function_is_called_once_with_the_arguments_that_it_names() -> None:
    def measure(config, flags, children, tags, log, record, store, requires, component, more=3):  # type: ignore[no-untyped-def]
        log.info("here")
        record["x"] = config.a
        record.save()
        store.write("a.json", children[0].config)
        assert component.config is config and component.record is record and component.children is children
        return [config.call, flags.ATTEMPT, [c.component for c in children], tags["t"], len(requires), more]

    world = World(measure, spec({"a": 1, "call": "rate(1)"}, tags={"t": 1}, children=(child("kid", Kid, {"k": 2}),)))

    assert world.ended.error is None
    assert world.ended.result == ["rate(1)", 1, ["kid"], 1, 0, 3]
    assert (world.rows()[0]["x"], world.text("artifacts/a.json").split()) == (1, ['{"k":', "2}"])
    assert world.json("trial.json")["config"] == {"a": 1, "call": "rate(1)"}


def test_a_function_has_children_by_name() -> None:
    def both(children):  # type: ignore[no-untyped-def]
        return [children.kid.config["k"], children["kid"] is children[0], children.kit]

    world = World(both, spec({}, children=(child("other", Kid, {"k": 2}, called="kid"),)))

    assert world.ended.error is not None
    assert world.ended.error["message"].startswith("there is no child 'kit'")

    found = World(
        lambda children: children.kid.config["k"], spec({}, children=(child("x", Kid, {"k": 2}, called="kid"),))
    )
    assert found.ended.result == 2


def test_a_function_is_seeded_and_can_fail() -> None:
    import random

    def draws() -> float:
        return random.random()

    def fails(component):  # type: ignore[no-untyped-def]
        raise SystemExit(1)

    def odd(banana):  # type: ignore[no-untyped-def]
        raise AssertionError("never called")

    assert World(draws).ended.result == 0.5384493253233003
    errors = [World(code).ended.error for code in (fails, odd)]
    assert [error["type"] for error in errors if error] == ["SystemExit", "InvalidType"]


def test_an_interrupted_function_is_recorded_as_interrupted() -> None:
    def stops() -> None:
        raise KeyboardInterrupt

    world = World(stops)

    assert world.interrupt is not None and world.json("status.json")["state"] == "interrupted"


def test_finalization_is_retried_if_it_is_interrupted() -> None:
    class Interrupting(MemoryFiles):
        left = 1

        def write(self, path: str, data: bytes) -> None:
            if b'"finished": "' in data and self.left:
                self.left -= 1
                raise KeyboardInterrupt
            super().write(path, data)

    world = World(type("Gives", (Component,), {"on_execute": lambda self: 5}), files=Interrupting())

    assert world.interrupt is not None
    assert (world.json("status.json")["state"], world.json("status.json")["result"]) == ("interrupted", None)


def test_trials_do_not_share_configurations() -> None:
    class Work(Component):
        def on_execute(self) -> object:
            self.config["items"].append(self.flags.UID)
            return self.config.to_dict()

    trial = spec({"items": []}, flags={"UID": 1})

    assert [World(Work, trial).ended.result for _ in range(2)] == [{"items": [1]}] * 2


def test_origins_reach_the_component() -> None:
    class Work(Component):
        def on_execute(self) -> object:
            return self.config.origin("a.b")

    assert (
        World(Work, spec({"a": {"b": 1}}, origins={"a": "machinable.yaml:3:5"})).ended.result == "machinable.yaml:3:5"
    )


def test_a_trial_that_needs_nothing_imports_nothing_heavy(tmp_path: Path) -> None:
    program = (
        "import sys\n"
        "from machinable.component.base import Component\n"
        "from machinable.trial.runner import run\n"
        "from machinable.plan.spec import ComponentSpec, Target, TrialSpec\n"
        "from machinable.storage.local import DirectoryFiles\n"
        "trial = TrialSpec(0, 'x', 1, {}, ComponentSpec('c', 'c', None, {}, Target('c')))\n"
        "print(run(trial, DirectoryFiles(sys.argv[1]), 'OY1p1o', code=Component).state)\n"
        "late = {'numpy', 'pandas', 'rich', 'ray', 'git', 'fs', 'pydantic', 'yaml', 'logging', 'difflib', 'tempfile',\n"
        "        'subprocess', 'zipfile', 'shutil', 'socket', 'traceback'}\n"
        "late -= {'subprocess'} if sys.version_info < (3, 11) else set()  # for uuid, which msgspec imports\n"
        "print(sorted(late & set(sys.modules)))\n"
    )
    source = os.pathsep.join([str(Path(runner.__file__).parents[2]), str(Path(msgspec.__file__).parents[1])])
    result = subprocess.run(
        [sys.executable, "-S", "-c", program, str(tmp_path)],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": source},
        check=False,
    )

    assert (result.stdout, result.stderr) == ("finished\n[]\n", "")
    assert sorted(p.name for p in (tmp_path / FOLDER / "trials" / "x").iterdir()) == ["status.json", "trial.json"]


def takes_all(config, flags, children, requires, tags, log, record, store, component, more=3): ...  # type: ignore[no-untyped-def]


def test_a_function_takes_what_a_component_has_by_name() -> None:
    assert check_function(takes_all) == [
        "config",
        "flags",
        "children",
        "requires",
        "tags",
        "log",
        "record",
        "store",
        "component",
    ]
    assert check_function(lambda: None) == []
    assert check_function(lambda *, store, flags: None) == ["store", "flags"]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda config, banana: None, "has the parameter banana, for which there is no value"),
        (lambda confg: None, "Did you mean 'config'?"),
        (lambda *args: None, r"has the parameter \*args"),
        (lambda **config: None, r"has the parameter \*\*config"),
        (lambda config, /: None, "takes config by position only"),
    ],
)
def test_a_function_with_another_parameter_is_a_type_error(function: Any, message: str) -> None:
    with pytest.raises(InvalidType, match=message):
        check_function(function)


def test_a_component_may_use_asyncio_within_a_running_loop() -> None:
    """A notebook runs its cells in one."""

    async def answer() -> int:
        await asyncio.sleep(0)
        return 42

    class Asks(Component):
        def on_execute(self) -> int:
            return asyncio.run(answer()) + asyncio.run(answer())

    async def cell() -> object:
        result = World(Asks).ended.result
        assert asyncio.get_event_loop() is asyncio.get_running_loop()
        await asyncio.sleep(0)
        return result

    assert asyncio.run(cell()) == 84
    assert World(Asks).ended.result == 84
