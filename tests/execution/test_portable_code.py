"""Classes and functions that no module has: workers receive them by value."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.component.base import Component
from machinable.errors import InvalidValue, Refused, SeveralErrors, TrialsFailed
from machinable.execution.portable_code import portable_code
from machinable.plan.spec import Target

World = Callable[..., Path]

IN_SCRIPT = "it is defined in script.py, which runs as __main__"
SCRIPT = """
from __future__ import annotations

import dataclasses
import enum
import os
import sys
from typing import Optional

import helper
import machinable as ml


class Mode(enum.Enum):
    FAST = "fast"
    SLOW = "slow"


@dataclasses.dataclass
class Adam:
    rate: float = 0.1


class Base(ml.Component):
    def on_create(self):
        self.factor = helper.FACTOR


class Mine(Base):
    @dataclasses.dataclass
    class Config:
        mode: Mode = Mode.FAST
        adam: Optional[Adam] = None
        many: list[int] = dataclasses.field(default_factory=list)

    def on_execute(self):
        assert os.getpid() != MAIN
        self.store.write("mode.p", self.config.mode)
        return [self.config.mode is Mode.FAST, shared(self.factor), self.config.adam, *self.config.many]


class Reads(ml.Component):
    def on_execute(self):
        return len(self.requires.mine.trial.result)


def shared(number):
    return number * FACTOR


FACTOR, MAIN = 10, os.getpid()
task = ml.Task().component(Mine, [None, {"mode": "slow", "adam": {"rate": 1}, "many": [7]}])
task.component(lambda config: config.x, {"x": 5}).component(Reads, requires={"mine": (Mine, {"many": [1, 2]})})
execution = ml.execute(task, "stored", 1, "processes:2", progress=False)
print([trial.result for trial in execution.trials])
"""


def python(directory: Path, script: str) -> subprocess.CompletedProcess[str]:
    (directory / "script.py").write_text(script)
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1]), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-W", "error", "script.py"]
    return subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=60)


def test_code_of_the_script_runs_in_workers_with_what_it_refers_to(world: Path) -> None:
    (world / "helper.py").write_text("FACTOR = 2\n")

    done = python(world, SCRIPT)

    assert done.stderr == ""
    assert done.stdout == "[[True, 20, None], [False, 20, {'rate': 1.0}, 7], 5, [True, 20, None, 1, 2], 5]\n"
    (stored,) = ml.Storage(str(world / "stored")).executions
    assert list(stored.data["code"]["files"]) == ["helper.py", "script.py"]
    assert "cells" not in stored.data["code"]  # the script is among the files


def test_local_code_and_lambdas_run_in_workers(project: World) -> None:
    project("components: [anything: ]\n", anything="")
    number = 40

    class Inner(Component):
        def on_execute(self) -> int:
            return number + 1

    class Outer(Component):
        def on_execute(self) -> int:
            return int(Inner.on_execute(self)) + 1  # type: ignore[arg-type]

    @ml.execute
    def instead(flags: Any) -> int:
        return number + int(flags.REPEAT_NUMBER)

    task = ml.Task().component(Inner).component(Outer).component(lambda: number)

    first = ml.execute(task, None, 1, "processes:1")
    second = instead(ml.Task("anything").repeat(2), None, 1, "processes:1")

    assert [trial.result for trial in first.trials] == [41, 42, 40]
    assert [trial.result for trial in second.trials] == [40, 41]


def test_without_cloudpickle_it_is_refused_before_anything_is_written(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    monkeypatch.setitem(sys.modules, "ray.cloudpickle", None)

    class Inner(Component):
        pass

    def inner() -> None:
        pass

    with pytest.raises(SeveralErrors) as caught:
        ml.execute(ml.Task(Inner).component(inner).component(lambda: None), str(tmp_path / "stored"), 1, "processes")

    assert [type(error) for error in caught.value.errors] == [Refused] * 3
    assert str(caught.value.errors[0]) == (
        "workers cannot import tests.execution.test_portable_code:"
        "test_without_cloudpickle_it_is_refused_before_anything_is_written.<locals>.Inner: "
        "that name refers to nothing or to something else\n"
        "  Move it into a module of the project, and import it from there; or install cloudpickle, which sends such "
        "code to workers; or use engine='local'."
    )
    assert not (tmp_path / "stored").exists()


def test_what_cannot_be_pickled_is_refused_with_the_reason() -> None:
    lock = threading.Lock()

    def locked() -> bool:
        return lock.locked()

    name = f"{__name__}:{locked.__qualname__}"
    with pytest.raises(Refused) as caught:
        portable_code({Target(__name__, locked.__qualname__, "function"): locked}, None, "/project")

    assert str(caught.value) == (
        f"{name} cannot be sent to workers: TypeError: cannot pickle '_thread.lock' object\n"
        "  workers cannot import it: that name refers to nothing or to something else\n"
        "  Create in the component what it uses and cannot be pickled. Move it into a module of the project, and "
        "import it from there; or use engine='local'."
    )


def test_code_of_a_module_without_a_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("made")
    module.__spec__ = None
    monkeypatch.setitem(sys.modules, "made", module)
    exec("def function(): pass", vars(module))

    with pytest.raises(Refused, match="workers cannot import made:function: its module was not imported from a file"):
        portable_code({Target("made", "function", "function"): module.function}, None, "/project")


def test_two_functions_of_one_name_are_refused(world: Path) -> None:
    def made(number: int) -> Callable[[], int]:
        def local() -> int:
            return number

        return local

    once = made(1)
    with pytest.raises(InvalidValue, match="the task has two different functions called "):
        ml.execute(ml.Task(once).component(made(2)))

    assert [trial.result for trial in ml.execute(ml.Task(once).component(once)).trials] == [1, 1]


def test_no_command_is_offered_for_code_that_it_could_not_import(tmp_path: Path) -> None:
    def fails() -> None:
        raise ValueError

    with pytest.raises(TrialsFailed) as caught:
        ml.execute(ml.Task(fails), str(tmp_path / "stored"), "OY1p1o")

    assert caught.value.todo == "To run only what has not finished: execute(task, storage, resume='OY1p1o')"
