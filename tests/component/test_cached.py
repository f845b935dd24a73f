"""Methods that run once."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.component.base import Component, Mixin
from machinable.component.cached import cached
from machinable.errors import BadName, InvalidType, NotAvailable, WrongKind
from machinable.plan.spec import MixinSpec
from machinable.results.verify import repair, verify
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from tests.component.worlds import World, child, spec
from tests.conftest import World as Project

ran: list[Any] = []


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


def left(files: Files) -> list[str]:
    """Return the names of the values below by-content/; each has its digest beside it."""
    names = sorted(found.path for found in files.walk("by-content"))
    values = [name for name in names if not name.endswith(".sha256")]
    assert [f"{name}.sha256" for name in values] == [name for name in names if name not in values]
    return [name.rpartition("/")[2] for name in values]


def result(code: type[Component], files: Files, trial: Any = None) -> Any:
    ended = World(code, trial or spec(), files).ended
    assert ended.error is None, ended.error["traceback"]
    return ended.result


class Terms(Component):
    @cached("terms.json")
    def terms(self, n: int = 3, *, scale: float = 1) -> list[float]:
        """The first terms."""
        ran.append((n, scale))
        return [k * scale for k in range(n)]

    def on_execute(self) -> Any:
        return self.terms()


def test_a_method_runs_once_for_all_trials_of_a_storage(files: Files) -> None:
    assert result(Terms, files) == [0, 1, 2]
    assert result(Terms, files, spec(seed=7, uid="another", identity="ff" * 16)) == [0, 1, 2]
    assert ran == [(3, 1)]
    assert left(files) == ["terms.json"]
    assert result(Terms, MemoryFiles()) == [0, 1, 2]
    assert ran == [(3, 1)] * 2


def test_a_cached_method_keeps_its_name_and_docstring() -> None:
    assert (Terms.terms.__name__, Terms.terms.__doc__) == ("terms", "The first terms.")


@pytest.mark.parametrize(
    "other",
    [
        spec({"lr": 2}),
        spec({"lr": 1}, component="other"),
        spec({"lr": 1}, module="other"),
        spec({"lr": 1}, content="ab" * 16),
    ],
    ids=["configuration", "component", "module", "content"],
)
def test_the_value_depends_on_the_identity_of_the_component(other: Any) -> None:
    files = MemoryFiles()
    for trial in (spec({"lr": 1}), other, spec({"lr": 1})):
        result(Terms, files, trial)
    assert len(ran) == 2


def test_the_value_depends_on_the_content_of_a_trial_but_not_on_its_seed(project: Project, tmp_path: Path) -> None:
    project(
        "components:\n  - work: {lr: 0.5, _hidden: 1, new?: 3}\n",
        work="import machinable as ml\nclass Work(ml.Component):\n"
        "    @ml.cached('x.json')\n    def x(self):\n        print('ran')\n        return 1\n"
        "    def on_execute(self):\n        return self.x()\n",
    )
    task = ml.Task().component("work", [None, {"_hidden": 2}, {"new": 3}, {"lr": 1}]).repeat(2)
    execution = ml.execute(task, storage=str(tmp_path / "storage"))
    again = ml.execute(task, storage=str(tmp_path / "storage"))
    printed = [trial.output for trial in [*execution.trials, *again.trials]]
    assert printed.count("ran\n") == 2
    assert printed.count("") == 14


def test_equal_arguments_give_one_value_however_they_are_written(files: Files) -> None:
    class Asking(Terms):
        def on_execute(self) -> Any:
            assert self.terms() == self.terms(3) == self.terms(n=3, scale=1) == [0, 1, 2]
            assert self.terms(2) == [0, 1]
            assert self.terms(2, scale=0.5) == self.terms(scale=0.5, n=2) == [0, 0.5]

    result(Asking, files)
    assert ran == [(3, 1), (2, 1), (2, 0.5)]
    assert left(files) == ["terms.json"] * 3


def test_arguments_may_be_anything_plain() -> None:
    numpy = pytest.importorskip("numpy")

    class Asking(Component):
        @cached("x.json")
        def x(self, *args: Any, **more: Any) -> Any:
            ran.append(args)
            return len(ran)

        def on_execute(self) -> Any:
            ways = [self.x([1, "a"], k={"b": None}), self.x((1, "a"), k={"b": None}), self.x(k={"b": None})]
            ways += [self.x(numpy.float64(0.5)), self.x(0.5), self.x(1), self.x(True), self.x("1")]
            return ways

    assert result(Asking, MemoryFiles()) == [1, 1, 2, 3, 3, 4, 5, 6]


@pytest.mark.parametrize("argument", [object(), {1, 2}, b"x", len], ids=["object", "set", "bytes", "function"])
def test_other_arguments_are_refused(argument: Any) -> None:
    class Asking(Terms):
        def on_execute(self) -> Any:
            with pytest.raises(InvalidType, match=r"Terms\.terms is cached, and its argument n\[0\] is not plain data"):
                self.terms([argument])
            with pytest.raises(TypeError, match="unexpected keyword"):
                self.terms(more=1)

    result(Asking, MemoryFiles())
    assert ran == []


def test_all_calls_return_the_same_type(files: Files) -> None:
    numpy = pytest.importorskip("numpy")

    class Arrays(Component):
        @cached("deep/a.npy.gz")
        def array(self) -> Any:
            return numpy.arange(3)

        @cached("a.json")
        def numbers(self) -> Any:
            return numpy.arange(3)

        @cached("a.pkl")
        def anything(self) -> Any:
            return {1, 2}

        @cached("none.json")
        def nothing(self) -> None:
            ran.append(None)

        def on_execute(self) -> None:
            for _ in range(2):
                assert self.array().dtype == int and self.array().tolist() == [0, 1, 2]
                assert self.numbers() == [0, 1, 2]
                assert self.anything() == {1, 2}
                assert self.nothing() is None

    result(Arrays, files)
    assert ran == [None]


def save(model: list[int], path: str) -> None:
    Path(path).write_text(str(model[0]))


def load(path: str) -> list[int]:
    return [int(Path(path).read_text())]


def test_a_model_is_stored_as_its_library_writes_it(files: Files) -> None:
    class Trained(Component):
        @cached("model.zip", save=save, load=load)
        def model(self) -> list[int]:
            ran.append(1)
            return [7]

        def on_execute(self) -> list[int]:
            return self.model() + self.model()

    assert result(Trained, files) == [7, 7]
    assert ran == [1]


class Scaling(Mixin):
    @cached("factors.json")
    def factors(self, n: int) -> list[int]:
        ran.append(self.config.factor)
        return [self.config.factor] * n

    @cached_property
    def whole(self) -> Any:
        return self.__mixin__.factors(1)

    @property
    @cached("one.json")
    def one(self) -> Any:
        ran.append("one")
        return 1


def test_methods_of_mixins_belong_to_the_component() -> None:
    mixin = MixinSpec("_scaling_", __name__, "Scaling")

    class Using(Component):
        def on_execute(self) -> Any:
            scaling = self._scaling_
            return scaling.factors(2), scaling.factors(n=2), scaling.whole, scaling.one, scaling.one

    files = MemoryFiles()
    for _ in range(2):
        assert result(Using, files, spec({"factor": 5}, mixins=(mixin,))) == ([5, 5], [5, 5], [5], 1, 1)
    assert ran == [5, 5, "one"]
    result(Using, files, spec({"factor": 6}, mixins=(mixin,)))
    assert ran == [5, 5, "one", 6, 6, "one"]


class Kid(Component):
    @cached("x.json")
    def x(self) -> Any:
        ran.append((self.config.get("size"), self.node.config.lr))
        return self.config.get("size")


class Node(Component):
    def on_execute(self) -> Any:
        return [kid.x() for kid in self.children]


def test_a_child_counts_with_its_own_configuration_in_every_node() -> None:
    files = MemoryFiles()
    kids = tuple(child("kid", Kid, {"size": size}) for size in (1, 2, 1))
    for lr in (0.1, 0.2, 0.1):
        assert result(Node, files, spec({"lr": lr}, children=kids)) == [1, 2, 1]
    assert ran == [(1, 0.1), (2, 0.1)]


PARTS = """
mixins:
  - terms:
      factor: 2
      note?: none
      ~deep: {depth: 3}
components:
  - kid: {size: 1.0, note?: none}
  - node: {_mixins_: [terms], lr: 0.1}
  - other: {_mixins_: [terms], rate: 5}
"""
TERMS = """
import machinable as ml

class Terms(ml.Mixin):
    @ml.cached("x.json")
    def value(self):
        print("mixin")
        return self.config.factor * self.config.get("depth", 1)

    @ml.cached("x.json", keys=["factor"])
    def factor(self):
        print("factor")
        return self.config.factor
"""
KID = """
import machinable as ml

class Kid(ml.Component):
    @ml.cached("x.json")
    def value(self):
        print("child")
        return self.config.size
"""
NODE = """
import machinable as ml

class Node(ml.Component):
    @ml.cached("x.json", keys=["lr"])
    def own(self):
        print("own")
        return self.config.lr

    def on_execute(self):
        own = [self.own()] if "lr" in self.config else []
        return [self._terms_.value(), self._terms_.factor(), *(kid.value() for kid in self.children), *own]
"""


@pytest.mark.parametrize(
    ("component", "version", "child", "computed"),
    [
        ("node", None, {}, ""),
        ("node", {"lr": 0.2}, {}, "own"),
        ("node", {"note": "x", "new": 1}, {}, "mixin"),
        ("node", {"factor": 3}, {}, "mixin factor"),
        ("node", "~deep", {}, "mixin"),
        ("node", None, {"size": 2}, "child"),
        ("node", None, {"size": 1, "note": "none"}, ""),
        ("other", None, {}, ""),
        ("other", {"factor": 3}, {"note": "x"}, "mixin factor child"),
    ],
)
def test_the_key_is_the_configuration_of_the_owner(
    project: Project, tmp_path: Path, component: str, version: Any, child: dict[str, Any], computed: str
) -> None:
    project(PARTS, terms=TERMS, kid=KID, node=NODE, other=NODE.replace("Node", "Other"))
    storage = str(tmp_path / "storage")
    first = ml.execute(ml.Task().component("node", children=["kid"]), storage)
    assert first.trials[0].output.split() == ["own", "mixin", "factor", "child"]
    second = ml.execute(ml.Task().component(component, version, children=[("kid", child)]), storage)
    assert second.trials[0].output.split() == computed.split()


def test_keys_that_the_configuration_lacks_are_named(project: Project) -> None:
    class Wrong(Component):
        @cached("x.json", keys=["data.nmae"])
        def x(self) -> int:
            return 1

        def on_execute(self) -> Any:
            with pytest.raises(KeyError, match=r"no key 'data.nmae' in the configuration, but `keys` names it"):
                self.x()

    result(Wrong, MemoryFiles(), spec({"data": {"name": 1}}))
    with pytest.raises(InvalidType, match="keys is the text 'lr'"):
        cached("x.json", keys="lr")


DATA = """
import machinable as ml


class Data(ml.Component):
    @ml.cached("x.json")
    def x(self):
        print("ran")
        return self.config.size

    def on_execute(self):
        self.store.write("x.json", self.x())
"""
TRAIN = """
import machinable as ml


class Train(ml.Component):
    def on_execute(self):
        return self.requires.data.component.x()
"""


def test_a_required_component_reads_its_cached_values(project: Project, tmp_path: Path) -> None:
    project(
        "components:\n  - data: {size: 3}\n  - train:\n      lr: 0.1\n      _requires_: {data: data}\n",
        data=DATA,
        train=TRAIN,
    )
    task = ml.Task().component("train", [{"lr": 0.2}, {"lr": 0.3}])
    execution = ml.execute(task, storage=str(tmp_path / "storage"))
    assert [trial.result for trial in execution.trials if trial.component == "train"] == [3, 3]
    assert [trial.output for trial in execution.trials] == ["ran\n", "", ""]


# --- what cannot be


def test_a_cached_method_cannot_be_called_outside_a_trial() -> None:
    with pytest.raises(NotAvailable, match=r"Terms\.terms is cached, so it can only be used while a trial runs\n"):
        Terms().terms()
    with pytest.raises(NotAvailable):
        Scaling.factors(Scaling(), 2)

    class Early(Terms):
        def on_after_init(self) -> None:
            with pytest.raises(NotAvailable, match=r"Terms\.terms is cached, so it can only be used from on_start on"):
                self.terms()

        def on_start(self) -> None:
            self.terms()

    result(Early, MemoryFiles())
    assert ran == [(3, 1)]


def test_a_method_that_cannot_be_cached_is_refused_where_it_is_defined() -> None:
    with pytest.raises(BadName, match=r"no format is known for 'terms\.nyp'"):
        cached("terms.nyp")
    with pytest.raises(BadName, match="is the name of a directory"):
        cached("terms/")
    with pytest.raises(InvalidType, match="cached needs the name of an artifact"):
        cached(Terms.on_execute)  # type: ignore[arg-type]

    def many(self: Any) -> Iterator[int]:
        yield 1

    with pytest.raises(InvalidType, match="cached is for methods that return a value"):
        cached("x.json")(many)
    with pytest.raises(InvalidType, match="Put it below @property"):
        cached("x.json")(property(lambda self: 1))  # type: ignore[arg-type]


def test_a_value_that_does_not_fit_is_refused_and_nothing_is_stored(files: Files) -> None:
    class Wrong(Component):
        @cached("x.txt")
        def x(self) -> Any:
            return 5

        def on_execute(self) -> Any:
            message = r"Wrong\.x returned cannot be cached: 'x\.txt' takes text or a list of lines, not int"
            with pytest.raises(WrongKind, match=message):
                self.x()

    result(Wrong, files)
    assert left(files) == []


def test_a_method_that_fails_stores_nothing_and_runs_again(files: Files) -> None:
    class Failing(Component):
        @cached("x.json")
        def x(self) -> Any:
            ran.append(1)
            if len(ran) == 1:
                raise KeyError("not yet")
            return 2

        def on_execute(self) -> Any:
            with pytest.raises(KeyError, match="not yet"):
                self.x()
            return self.x()

    assert result(Failing, files) == 2
    assert left(files) == ["x.json"]


@pytest.mark.parametrize("how", ["changed", "without a digest", "with another digest"])
def test_a_value_that_is_not_what_was_stored_is_reported_and_computed_again(how: str, tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    result(Terms, files)
    value, recorded = sorted(found.path for found in files.walk("by-content"))
    line = files.read(recorded)
    assert line == f"{hashlib.sha256(files.read(value)).hexdigest()}  terms.json\n".encode()  # as of sha256sum
    if how == "changed":
        files.write(value, b"[6, 6, 6]")
    elif how == "without a digest":
        files.remove(recorded)
    else:
        files.write(recorded, line[1:])
    _, faults = verify(files)
    assert [(fault.kind, fault.path) for fault in faults] == [("changed", value)]

    ended = World(Terms, spec(), files).ended
    assert ended.result == [0, 1, 2]
    (log,) = [found.path for found in files.walk("") if found.path.endswith("log.txt")]
    assert f"{value} does not have the digest that was recorded" in files.read(log).decode()
    assert (len(ran), files.read(recorded), verify(files)[1]) == (2, line, [])

    files.remove(recorded)
    (tmp_path / recorded).mkdir()
    assert all(repair(files, fault) for fault in verify(files)[1])
    assert (verify(files)[1], left(files)) == ([], [])
    assert (result(Terms, files), len(ran)) == ([0, 1, 2], 3)


@pytest.mark.parametrize("what", ["value", "digest", "folder"])
def test_what_is_in_the_place_of_a_value_is_named_removed_and_computed_again(what: str, tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    result(Terms, files)
    value, recorded = sorted(found.path for found in files.walk("by-content"))
    place = {"value": value, "digest": recorded, "folder": value.rpartition("/")[0]}[what]
    files.remove(place)
    if what == "folder":
        (tmp_path / place).write_text("a file")
    else:
        (tmp_path / place / "full").mkdir(parents=True)
    assert verify(files)[0]  # it does not fail

    world = World(Terms, spec(), DirectoryFiles(tmp_path))
    assert world.ended.result == [0, 1, 2]
    assert f"{value} " in world.text("log.txt") and "it is computed again" in world.text("log.txt")
    assert (len(ran), left(files), verify(files)[1]) == (2, ["terms.json"], [])


def test_a_file_in_the_place_of_a_shared_directory_is_named(tmp_path: Path) -> None:
    class Shares(Component):
        def on_execute(self) -> None:
            Path(self.store.shared("data/", keys=[]), "a.txt").write_text("a")

    assert World(Shares, spec(), DirectoryFiles(tmp_path)).ended.error is None
    (shared,) = tmp_path.glob("by-content/*/*.shared")
    (shared / "a.txt").unlink()
    shared.rmdir()
    shared.write_text("a file")
    error = World(Shares, spec(), DirectoryFiles(tmp_path)).ended.error
    assert error is not None
    assert (error["type"], error["message"].splitlines()[0]) == (
        "Damaged",
        f"there is a file in the place of the directory {shared}",
    )


# --- side by side


def test_threads_that_call_simultaneously_compute_once(tmp_path: Path) -> None:
    barrier = threading.Barrier(4)

    class Waiting(Terms):
        def on_start(self) -> None:
            barrier.wait()

    worlds: list[World] = []

    def work(number: int) -> None:
        worlds.append(World(Waiting, spec(uid=f"trial{number}"), DirectoryFiles(tmp_path)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [world.ended.result for world in worlds] == [[0, 1, 2]] * 4
    assert ran == [(3, 1)]


WORK = """
import os, time
import machinable as ml


class Work(ml.Component):
    @ml.cached("x.json")
    def x(self):
        with open(os.environ["SEEN"], "a") as file:
            file.write("ran ")
        return 1

    def on_execute(self):
        return self.x()
"""


@pytest.mark.parametrize("kind", ["directory", "s3", "memory"])
def test_worker_processes_compute_once(
    kind: str, project: Project, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEEN", str(tmp_path / "seen"))
    project("components:\n  - work: {}\n", work=WORK)
    storage = str(tmp_path / "storage") if kind == "directory" else None
    if kind == "s3":
        storage = request.getfixturevalue("s3_folder")()
    execution = ml.execute(ml.Task("work").repeat(6), storage=storage, engine="processes:2")
    assert [trial.result for trial in execution.trials] == [1] * 6
    assert (tmp_path / "seen").read_text() == "ran "


KILLED = """
import sys
from machinable.component.base import Component
from machinable.component.cached import cached
from machinable.storage.open import open_files
from tests.component.worlds import World


class Terms(Component):
    @cached("x.json")
    def x(self):
        print("computing", flush=True)
        if sys.argv[2] == "hang":
            sys.stdin.read()
        return 1

    def on_execute(self):
        return self.x()


print(World(Terms, files=open_files(sys.argv[1], create=True)).ended.result)
"""


@pytest.mark.parametrize("kind", ["directory", "s3"])
def test_after_a_process_is_killed_another_one_computes(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    storage = str(tmp_path) if kind == "directory" else request.getfixturevalue("s3_folder")()

    def start(way: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", KILLED, storage, way]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
        )

    with start("hang") as first:
        assert first.stdout is not None
        assert first.stdout.readline() == "computing\n"
        os.kill(first.pid, signal.SIGKILL)
    with start("go") as second:
        assert second.communicate()[0] == "computing\n1\n"
