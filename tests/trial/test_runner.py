"""One attempt of a trial: its code, its environment and its outcome."""

from __future__ import annotations

import asyncio
import json
import os
import pickle
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import msgspec
import pytest

from machinable.component.base import Component
from machinable.component.local_dir import LocalFolder
from machinable.engines.interruption import interruption
from machinable.errors import InvalidType, LeaseLost
from machinable.plan.spec import Outcome, Target
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.trial import capture, descriptors, runner
from machinable.trial.runner import check_function, run
from machinable.trial.status import StatusFiles
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


@contextmanager
def calling(act: Callable[[], object], number: int, *modules: ModuleType, where: str) -> Iterator[None]:
    """Call a function before a line of some modules, or where Python handles signals there, counted from the first."""
    paths, seen = {module.__file__ for module in modules}, 0

    def step() -> None:
        nonlocal seen
        seen += 1
        if seen == number:
            act()

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename not in paths:
            return None
        if event == "line":
            step()
        return trace

    def profile(frame: FrameType, event: str, argument: Any) -> None:
        inner, caller = frame.f_code.co_filename, frame.f_back and frame.f_back.f_code.co_filename
        if (event == "c_return" and inner in paths) or (event == "call" and paths & {inner, caller}):
            step()

    former = sys.gettrace(), sys.getprofile()
    if where == "lines":
        sys.settrace(trace)
    else:
        sys.setprofile(profile)
    try:
        yield
    finally:
        sys.settrace(former[0])
        sys.setprofile(former[1])


class Prints(Component):
    def on_execute(self) -> int:
        print("printed")
        self.log.info("logged")
        self.store.write("a.json", 1)
        self.record["a"] = 1
        self.record.save()
        return 5


def tree(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def standard_streams() -> tuple[Any, ...]:
    descriptors = [(found.st_dev, found.st_ino) for found in map(os.fstat, (1, 2))]
    return sys.stdout, sys.stderr, sys.breakpointhook, *descriptors


class Attempt:
    """One attempt in a new directory, which an act disturbs once."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.was_held = False
        self._spec = spec()
        self._files = DirectoryFiles(directory)
        self.status = StatusFiles(self._spec, self._files, f"{FOLDER}/trials/{UID}")
        self.status.open()

    def interrupt(self) -> None:
        """Interrupt it as a signal handler does."""
        self.was_held = interruption.is_held
        interruption.receive(signal.SIGINT, KeyboardInterrupt())

    def run(self) -> str:
        try:
            run(self._spec, self._files, FOLDER, code=Prints, capture="keep", status=self.status)
        except (KeyboardInterrupt, LeaseLost) as error:
            return type(error).__name__
        finally:
            self.status.abandon()
        return "finished"

    @property
    def state(self) -> str:
        return str(json.loads((self.directory / FOLDER / "trials" / UID / "status.json").read_text())["state"])


def ends_of_attempts(
    directory: Path, disturb: Callable[[Attempt], None], check: Callable[[Attempt, str], None], where: str
) -> Counter[str]:
    """Disturb an attempt at the first line, another one at the second, and so on; check each, and count their ends."""
    modules = (runner, capture, descriptors) if where == "lines" else (capture, descriptors)
    before, ends, is_disturbed = standard_streams(), Counter[str](), True
    while is_disturbed:
        is_disturbed = False

        number = sum(ends.values()) + 1
        attempt = Attempt(directory / str(number))

        def act(attempt: Attempt = attempt) -> None:
            nonlocal is_disturbed
            is_disturbed = True
            disturb(attempt)

        with calling(act, number, *modules, where=where):
            end = attempt.run()
        ends[end] += 1
        assert standard_streams() == before, number
        assert (descriptors._current, interruption.is_held) == ([], False), number
        if is_disturbed:
            check(attempt, end)
        if where == "signals":  # one in `contextlib` leaves that to the end of its frames
            descriptors._user.clear()
        assert not descriptors._user, number
    return ends


def test_an_interrupt_at_any_line_is_recorded_and_leaves_no_stream_redirected(tmp_path: Path) -> None:
    def check(attempt: Attempt, end: str) -> None:
        assert attempt.state in ("interrupted", "finished") or not attempt.was_held

    ends = ends_of_attempts(tmp_path, Attempt.interrupt, check, "lines")
    assert ends.pop("finished") == 1 and set(ends) == {"KeyboardInterrupt"}


def test_nothing_is_written_after_a_trial_was_lost_at_any_line(tmp_path: Path) -> None:
    """The heartbeat finds out, and interrupts it."""
    left: dict[str, bytes] = {}

    def lose(attempt: Attempt) -> None:
        attempt.status._lose()
        left.clear()
        left.update(tree(attempt.directory))
        attempt.interrupt()

    def check(attempt: Attempt, end: str) -> None:
        assert tree(attempt.directory) == left
        assert end == "LeaseLost" or not attempt.was_held or attempt.state == "finished"

    ends = ends_of_attempts(tmp_path, lose, check, "lines")
    assert ends["LeaseLost"] > ends["KeyboardInterrupt"] and ends["finished"] == 1


@pytest.mark.skipif(sys.version_info < (3, 12), reason="an error of a profile function skips the handlers of its frame")
def test_a_signal_handler_of_others_leaves_no_stream_redirected(tmp_path: Path) -> None:
    def interrupt(attempt: Attempt) -> None:
        raise KeyboardInterrupt

    ends = ends_of_attempts(tmp_path, interrupt, lambda attempt, end: None, "signals")
    assert ends["KeyboardInterrupt"] > 100
