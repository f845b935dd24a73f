"""Directories that trials share, one at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.component.base import Component
from machinable.component.shared import SharedData, SharedDirectory
from machinable.errors import BadName, InvalidType, MissingKey
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.locks import open_locks
from machinable.storage.memory import MemoryFiles
from machinable.storage.open import open_files
from tests.component.worlds import World, messages, spec
from tests.conftest import World as Project
from tests.kits.redis_server import is_installed, redis_server


def add(name: str = "notes/", keys: Any = ("lr",)) -> type[Component]:
    """Return a component that adds a line to a file in a shared directory and returns all lines."""

    class Adding(Component):
        def on_execute(self) -> str:
            directory = self.store.shared(name, keys)
            with open(f"{directory}/notes.txt", "a") as file:
                file.write(f"{self.config.n} ")
            return Path(directory, "notes.txt").read_text()

    return Adding


def result(code: type[Component], files: Files, **config: Any) -> Any:
    ended = World(code, spec(config), files).ended
    assert ended.error is None, ended.error["traceback"]
    return ended.result


def shared_data_of(component: Component) -> SharedData:
    found: SharedData = component.__dict__["__machinable__"].context.shared_data
    return found


def left(files: Files, ending: str = "") -> list[str]:
    """Return the files below by-content/, without the key."""
    return sorted(found.path.rpartition("/")[2] for found in files.walk("by-content") if found.path.endswith(ending))


def test_trials_with_equal_keys_share_a_directory(files: Files) -> None:
    notes = add()
    assert result(notes, files, lr=0.1, n=1) == "1 "
    assert result(notes, files, lr=0.1, n=2) == "1 2 "
    assert result(notes, files, lr=0.2, n=3) == "3 "
    assert result(notes, files, lr=0.1, n=4) == "1 2 4 "
    assert left(files) == ["notes.txt", "notes.txt"]


def test_the_directory_depends_on_component_name_and_values(files: Files) -> None:
    assert result(add(), files, lr=1, n=1) == "1 "
    assert result(add(), files, lr=1.0, n=2) == "1 2 "
    assert result(add("other/"), files, lr=1, n=3) == "3 "
    assert result(add(keys=["data.name", "lr"]), files, lr=1, data={"name": "x", "size": 1}, n=4) == "4 "
    assert result(add(keys=["lr", "data.name"]), files, lr=1, data={"name": "x", "size": 2}, n=5) == "4 5 "
    assert result(add(keys=["data"]), files, lr=1, data={"name": "x", "size": [2]}, n=6) == "6 "
    assert result(add(keys=[]), files, lr=1, n=7) == "7 "
    assert result(add(keys=[]), files, lr=2, n=8) == "7 8 "
    ended = World(add(), spec({"lr": 1, "n": 9}, component="other"), files).ended
    assert ended.result == "9 "


def test_a_renamed_component_keeps_its_directory_and_cached_values(project: Project, tmp_path: Path) -> None:
    code = (
        "import machinable as ml\nclass C(ml.Component):\n"
        "    @ml.cached('x.json', keys=['lr'])\n    def x(self):\n        print('ran')\n"
        "    def on_execute(self):\n        self.x()\n"
        "        with self.store.shared('notes/', keys=['lr']) as path, open(f'{path}/a', 'a+') as file:\n"
        "            file.write('x')\n            file.seek(0)\n            return file.read()\n"
    )

    def trial(name: str, declared: str) -> tuple[object, str]:
        modules = {"base": code, name: "from base import C\nclass Heir(C): pass\n"}
        project(f"components:\n  - base: {{lr: 0.5}}\n  - {name}^base: {{{declared}}}\n", **modules)
        (found,) = ml.execute(ml.Task(name), storage=str(tmp_path / "storage")).trials
        return found.result, found.output

    assert trial("before", "") == ("x", "ran\n")
    assert trial("after", "_identity_: before") == ("xx", "")
    assert trial("another", "") == ("x", "ran\n")


def test_a_directory_is_locked_until_the_trial_ends(files: Files) -> None:
    class Holding(Component):
        def on_execute(self) -> object:
            path = self.store.shared("a/", keys=[])
            assert self.store.shared("a/", keys=[]) == path
            (lease,) = [lease for *_, lease in shared_data_of(self)._directories.values()]
            assert open_locks(files).take(lease.path) is None
            assert (open_locks(files).holder(lease.path) or {})["execution"] == "OY1p1o"
            return lease.path

    lease = open_locks(files).take(result(Holding, files))
    assert lease is not None
    lease.release()
    assert left(files) == []


def test_a_directory_is_locked_until_its_with_block_ends(files: Files) -> None:
    class Early(Component):
        def on_execute(self) -> object:
            with self.store.shared("a/", keys=[]) as path:
                (lease,) = [lease for *_, lease in shared_data_of(self)._directories.values()]
                Path(path, "x").write_text("1")
                again = self.store.shared("a/", keys=[])
            assert not lease.is_held
            assert left(files) == ["x"]
            with again:  # is over with the first block
                pass
            with self.store.shared("a/", keys=[]) as path:
                Path(path, "x").write_text("2")
                Path(path, "y").write_text("2")
            with self.store.shared("a/", keys=[]) as path:
                os.unlink(f"{path}/x")
                return Path(path, "y").read_text()

    assert result(Early, files) == "2"
    assert left(files) == ["y"]


def test_the_path_is_text() -> None:
    path = SharedDirectory("/some/where")
    assert os.path.join(path, "x") == "/some/where/x"
    assert f"{path}/x" == "/some/where/x"
    assert isinstance(path, str)


def test_changes_of_a_failed_trial_are_stored_too(files: Files) -> None:
    class Failing(Component):
        def on_execute(self) -> None:
            Path(self.store.shared("a/", keys=[]), "x").write_text("1")
            raise ValueError("broken")

    assert (World(Failing, files=files).ended.error or {})["message"] == "broken"
    assert left(files) == ["x"]


def test_waiting_is_logged(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    has_it, is_over = threading.Event(), threading.Event()

    class Holding(Component):
        def on_execute(self) -> None:
            with self.store.shared("a/", keys=[]):
                has_it.set()
                is_over.wait()

    class Waiting(Component):
        def on_execute(self) -> None:
            log = self.log
            self.store.shared("a/", keys=[])
            log.info("has it")

    holding = threading.Thread(target=World, args=(Holding, spec(uid="holding"), files))
    holding.start()
    has_it.wait()
    worlds: list[World] = []
    waiting = threading.Thread(target=lambda: worlds.append(World(Waiting, spec(), files)))
    waiting.start()
    log = tmp_path / "OY1p1o" / "trials" / spec().uid / "log.txt"
    while not (log.exists() and "waiting" in log.read_text()):
        assert waiting.is_alive()
    is_over.set()
    waiting.join()
    holding.join()
    said, then = messages(worlds[0].text("log.txt"))
    assert said.startswith("INFO waiting for the shared directory 'a/', held by another trial: execution OY1p1o, uid ")
    assert f"uid holding, host {os.uname().nodename}, pid {os.getpid()}" in said
    assert then == "INFO has it"


@pytest.mark.parametrize(
    ("name", "keys", "kind", "message"),
    [
        ("a", [], BadName, "'a' is not the name of a directory\n  Add a slash: 'a/'"),
        ("../", [], BadName, "'../' cannot be the name of an artifact"),
        (
            "a/",
            ["lrr"],
            MissingKey,
            "no key 'lrr' in the configuration, but `keys` names it\n  Did you mean 'lr'?",
        ),
        ("a/", ["lr.x"], MissingKey, "no key 'lr.x' in the configuration"),
        ("a/", ["_workers"], MissingKey, "no key '_workers' in the configuration"),
        ("a/", "lr", InvalidType, "keys is the text 'lr'\n  Give a list: keys=['lr']."),
    ],
)
def test_what_cannot_be_shared_is_refused(name: str, keys: Any, kind: type[Exception], message: str) -> None:
    caught = []

    class Wrong(Component):
        def on_execute(self) -> None:
            try:
                self.store.shared(name, keys)
            except Exception as error:
                caught.append(error)

    files = MemoryFiles()
    World(Wrong, spec({"lr": 1, "_workers": 4}), files)
    assert type(caught[0]) is kind
    assert str(caught[0]).startswith(message)
    assert left(files) == []


def test_a_trial_that_lost_its_lease_does_not_overwrite_the_changes_of_others(s3_folder: Callable[[], str]) -> None:
    files = open_files(s3_folder(), create=True)

    class Late(Component):
        def on_execute(self) -> None:
            with self.store.shared("a/", keys=[]) as path:
                (lease,) = [lease for *_, lease in shared_data_of(self)._directories.values()]
                Path(path, "x").write_text("1")
                lease._last -= 1000
            raise AssertionError("not reached")

    error = World(Late, files=files).ended.error or {}
    assert error["message"].startswith("the changes in the shared directory '")
    assert "They are still in that directory" in error["message"]
    assert left(files) == []
    files.close()


def test_a_directory_that_cannot_be_fetched_is_not_held(monkeypatch: pytest.MonkeyPatch) -> None:
    files = MemoryFiles()
    assert result(add(), files, lr=1, n=1) == "1 "
    read = files.read

    def fail(path: str) -> bytes:
        if path.endswith("notes.txt"):
            raise OSError("the network is away")
        return read(path)

    class Trying(Component):
        def on_execute(self) -> object:
            with suppress(OSError):
                self.store.shared("notes/", keys=["lr"])
            assert shared_data_of(self)._directories == {}
            monkeypatch.undo()
            with self.store.shared("notes/", keys=["lr"]) as path:
                return os.listdir(path)

    monkeypatch.setattr(files, "read", fail)
    assert result(Trying, files, lr=1, n=2) == ["notes.txt"]


def test_locks_can_be_those_of_a_server(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    if not is_installed():
        pytest.skip("there is no redis-server here")
    files = DirectoryFiles(tmp_path / "storage")
    (tmp_path / "redis").mkdir()

    class Holding(Component):
        def on_execute(self) -> object:
            Path(self.store.shared("a/", keys=[]), "x").write_text("1")
            (lease,) = [lease for *_, lease in shared_data_of(self)._directories.values()]
            assert left(files) == ["storage-id", "x"]  # and no lease
            with redis_locks.take("other") or pytest.fail("taken"):
                return redis_locks.take(lease.path)

    with redis_server(tmp_path / "redis") as server:
        redis_locks = open_locks(files, server.url)
        ended = World(Holding, files=files, locks=(server.url, 30.0)).ended
        redis_locks.close()
    assert (ended.error, ended.result) == (None, None)


COUNTER = """
from machinable import Component


class Counter(Component):
    def on_execute(self):
        for _ in range(5):
            with self.store.shared("count/", keys=["name"]) as path:
                try:
                    with open(f"{path}/number") as file:
                        number = int(file.read())
                except FileNotFoundError:
                    number = 0
                with open(f"{path}/number", "w") as file:
                    file.write(str(number + 1))
"""


@pytest.mark.parametrize("kind", ["directory", "s3", "memory"])
def test_worker_processes_use_a_directory_one_after_the_other(
    kind: str, project: Project, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    project("components:\n  - counter: {name: x, n: 0}\n", counter=COUNTER)
    storage = str(tmp_path / "storage") if kind == "directory" else None
    if kind == "s3":
        storage = request.getfixturevalue("s3_folder")()
    task = ml.Task().component("counter", [{"n": n} for n in range(4)])
    execution = ml.execute(task, storage=storage, engine="processes:2")
    assert execution.status == "finished"
    if storage is not None:
        files = open_files(storage, create=False)
        (number,) = files.walk("by-content")
        assert files.read(number.path) == b"20"
        files.close()
