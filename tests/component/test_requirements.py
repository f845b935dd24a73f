"""`self.requires`: what a trial reads from others, and what is recorded about it."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from machinable.component.base import Component
from machinable.errors import (
    Damaged,
    InvalidType,
    MissingArtifact,
    MissingAttribute,
    NotAvailable,
    NotStored,
    StorageError,
    WrongKind,
)
from machinable.plan.spec import MixinSpec, Requirement, Target
from machinable.storage.files import Files
from machinable.storage.hashing import digest
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.trial.runner import run
from tests.component.worlds import FOLDER, World, spec

NEEDED = "needed000000"


class Data(Component):
    """Writes what others read."""

    def on_create(self) -> None:
        self.weights: Any = "made"

    def on_execute(self) -> None:
        self.weights = {"sum": self.config.size}
        self.store.write("x.json", [1, 2])
        self.store.write("t.csv", [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}])
        Path(self.store.path("d/deep/f.bin")).write_bytes(b"1")
        Path(self.store.path("d/g.bin")).write_bytes(b"2")
        self.record["loss"] = 0.5
        self.record.save()
        self.save_checkpoint()

    def on_save(self, path: str, timestep: int) -> str:
        Path(path, "weights.json").write_text(json.dumps(self.weights))
        return "weights.json"

    def on_restore(self, path: str) -> None:
        self.weights = json.loads(Path(path).read_text())


class One(Component):
    def on_execute(self) -> None:
        self.store.write("only.txt", "one")


class Nothing(Component):
    pass


def target(cls: type[Component]) -> Target:
    return Target(cls.__module__, cls.__qualname__, "class")


def required(files: Files, cls: type[Component] = Data, uid: str = NEEDED, **more: Any) -> Requirement:
    """Return a requirement whose trial has run."""
    needed = spec({"size": 3, "_hidden": 4}, uid=uid, component="data", target=target(cls), **more)
    outcome = run(needed, files, FOLDER, capture=None)
    assert outcome.error is None, outcome.error["traceback"]
    return Requirement("data", uid, f"identity of {uid}", place=f"{FOLDER}/{uid}", spec=needed)


@pytest.fixture(params=["directory", "memory"])
def files(request: Any, tmp_path: Path) -> Files:
    return DirectoryFiles(tmp_path) if request.param == "directory" else MemoryFiles()


def reading(files: Files, read: Callable[[Component], Any], requires: dict[str, Requirement], **options: Any) -> World:
    """Return a trial that reads; `found` is what it has read."""
    found: list[Any] = []

    class Reader(Component):
        def on_execute(self) -> None:
            found.append(read(self))

    world = World(Reader, spec(requires=requires), files, **options)
    if world.ended.error is not None:
        raise AssertionError(world.ended.error["traceback"])
    world.found = found[0]  # type: ignore[attr-defined]
    return world


def result(files: Files, read: Callable[[Any], Any], requires: dict[str, Requirement], **options: Any) -> Any:
    return reading(files, read, requires, **options).found  # type: ignore[attr-defined]


def refusal(files: Files, read: Callable[[Any], Any], requires: dict[str, Requirement], kind: type[Exception]) -> str:
    def attempt(component: Any) -> str:
        with pytest.raises(kind) as caught:
            read(component)
        return str(caught.value)

    return str(result(files, attempt, requires))


def test_it_is_a_mapping_with_attributes(files: Files) -> None:
    data = required(files)

    def read(component: Component) -> Any:
        requires = component.requires
        assert requires.data is requires["data"]  # type: ignore[attr-defined]
        return (
            list(requires),
            len(requires),
            "data" in requires,
            "other" in requires,
            requires.get("other"),
            repr(requires),
        )

    assert result(files, read, {"data": data, "more": data}) == (
        ["data", "more"],
        2,
        True,
        False,
        None,
        "<requires data, more>",
    )
    assert result(files, lambda c: (dict(c.requires), bool(c.requires), repr(c.requires)), {}) == (
        {},
        False,
        "<requires nothing>",
    )


def test_artifacts_are_read_as_they_were_written(files: Files) -> None:
    requires = {"data": required(files), "one": required(files, One, "one000000000")}
    assert result(files, lambda c: (c.requires.data.read("x.json"), c.requires.one.read()), requires) == ([1, 2], "one")


def test_inputs_are_recorded_with_their_digests(files: Files) -> None:
    requires = {
        "data": required(files),
        "again": required(files, uid="again0000000"),
        "unread": required(files, uid="u"),
    }

    def read(component: Any) -> None:
        component.requires.data.read("x.json")
        component.requires.data.path("d/")
        component.requires.again.frame("t.csv")
        assert component.requires.unread.config.size == 3

    world = reading(files, read, requires)

    def stored(name: str) -> bytes:
        return files.read(f"{FOLDER}/trials/{NEEDED}/artifacts/{name}")

    inputs = {
        "data": {"x.json": digest(stored("x.json")), "d/deep/f.bin": digest(b"1"), "d/g.bin": digest(b"2")},
        "again": {"t.csv": digest(stored("t.csv"))},
    }
    assert (world.ended.inputs, world.json("status.json")["inputs"]) == (inputs, inputs)


def test_a_trial_stores_the_digests_of_what_it_wrote(files: Files) -> None:
    needed = spec({"size": 3}, target=target(Data))
    outcome = run(needed, files, FOLDER, capture=None)
    written = json.loads(files.read(f"{FOLDER}/trials/{needed.uid}/status.json"))["artifacts"]
    names = ["d/deep/f.bin", "d/g.bin", "t.csv", "x.json"]
    stored = {name: files.read(f"{FOLDER}/trials/{needed.uid}/artifacts/{name}") for name in names}
    assert written == {name: {"digest": digest(data), "size": len(data)} for name, data in stored.items()}
    weights = files.read(f"{FOLDER}/trials/{needed.uid}/checkpoints/weights.json")
    assert outcome.artifacts == {name: digest(data) for name, data in stored.items()} | {
        "../checkpoints/weights.json": digest(weights)
    }


def test_a_frame_has_exactly_the_columns_that_were_asked_for(files: Files) -> None:
    def read(component: Any) -> Any:
        frame = component.requires.data.frame
        return [frame("t.csv", columns=["name", "id"]).to_dict("split"), list(frame("t.csv").columns)]

    assert result(files, read, {"data": required(files)}) == [
        {"index": [0, 1], "columns": ["name", "id"], "data": [["a", 1], ["b", 2]]},
        ["id", "name"],
    ]


def test_an_empty_frame_keeps_its_columns(files: Files) -> None:
    class Empty(Component):
        def on_execute(self) -> None:
            import pandas

            self.store.write("empty.csv", pandas.DataFrame({"id": [], "name": []}))
            self.store.write("none.json", [])

    needed = spec(uid="empty0000000", target=target(Data))
    run(needed, files, FOLDER, code=Empty, capture=None)
    requires = {"e": Requirement("data", needed.uid, "i", place=f"{FOLDER}/{needed.uid}")}

    def read(component: Any) -> Any:
        frames = [component.requires.e.frame(name, columns=["name", "id"]) for name in ("empty.csv", "none.json")]
        return [(list(frame.columns), len(frame)) for frame in frames]

    assert result(files, read, requires) == [(["name", "id"], 0)] * 2
    assert "has no column 'nam'" in refusal(
        files, lambda c: c.requires.e.frame("empty.csv", ["nam"]), requires, WrongKind
    )


def test_a_path_is_on_this_host_and_fetched_once(files: Files) -> None:
    def read(component: Any) -> Any:
        first, second = component.requires.data.path("d/"), component.requires.data.path("d/")
        assert first == second
        one = component.requires.data.path("d/g.bin")
        return Path(first, "deep", "f.bin").read_bytes(), Path(one).read_bytes()

    assert result(files, read, {"data": required(files)}) == (b"1", b"2")


def test_the_configuration_is_that_of_its_trial(files: Files) -> None:
    config = result(files, lambda c: c.requires.data.config, {"data": required(files)})
    assert (config, config.size) == ({"size": 3}, 3)


def test_rows_and_the_trial_are_those_of_the_storage(files: Files) -> None:
    def read(component: Any) -> Any:
        data = component.requires.data
        return (
            data.trial.uid,
            data.trial.status,
            [row["loss"] for rows in (data.trial.records, data.records) for row in rows],
        )

    assert result(files, read, {"data": required(files)}) == (NEEDED, "finished", [0.5, 0.5])

    absent = Requirement("data", "x", "identity", place=f"{FOLDER}/absent")
    assert "no longer exists" in refusal(files, lambda c: c.requires.data.trial, {"data": absent}, NotStored)


@pytest.mark.parametrize(
    ("read", "kind", "message"),
    [
        (lambda r: r.dat, MissingAttribute, "nothing is required under the name 'dat'\n  Did you mean 'data'?"),
        (lambda r: r["q"], MissingAttribute, "nothing is required under the name 'q'\n  Required: data, one, part"),
        (
            lambda r: r.data.read(),
            MissingArtifact,
            f"the requirement 'data' (data, {FOLDER}/{NEEDED}) has 4 artifacts, not a single one\n"
            "  Name one: d/deep/f.bin, d/g.bin, t.csv, x.json",
        ),
        (lambda r: r.data.read("x.jsn.gz"), Exception, "'x.jsn.gz'"),
        (
            lambda r: r.data.read("y.json"),
            MissingArtifact,
            f"the requirement 'data' (data, {FOLDER}/{NEEDED}) has no artifact 'y.json'\n  Did you mean 'x.json'?",
        ),
        (lambda r: r.data.path("e/"), MissingArtifact, "has no artifact 'e/'"),
        (lambda r: r.one.path("models/"), MissingArtifact, "has no artifact 'models/'\n  It has: only.txt"),
        (
            lambda r: r.data.frame("t.csv", columns="id"),
            InvalidType,
            "columns is the text 'id'\n  Give a list: columns=['id'].",
        ),
        (lambda r: r.data.path("../status.json"), ValueError, "'../status.json'"),
        (lambda r: r.data.frame("x.json"), WrongKind, "is not a table but list"),
        (
            lambda r: r.data.frame("t.csv", columns=["id", "nam", "zzz"]),
            WrongKind,
            f"'t.csv' of the requirement 'data' (data, {FOLDER}/{NEEDED}) has no column 'nam', 'zzz'\n"
            "  its columns: id, name\n  Did you mean 'name'?",
        ),
        (
            lambda r: r.part.read("x.json"),
            NotAvailable,
            f"the requirement 'part' (data, {FOLDER}/{NEEDED}): the trial depends only on 't.csv', not on 'x.json'\n"
            "  Require all of it: part: data",
        ),
        (lambda r: r.part.trial, NotAvailable, "the trial depends only on 't.csv', not on its trial"),
        (lambda r: r.part.records, NotAvailable, "the trial depends only on 't.csv', not on its records"),
        (lambda r: r.part.component, NotAvailable, "the trial depends only on 't.csv', not on its component"),
        (lambda r: r.part.load_into(1), NotAvailable, "the trial depends only on 't.csv', not on its component"),
    ],
)
def test_what_cannot_be_read_is_an_error(read: Any, kind: type[Exception], message: str) -> None:
    files = MemoryFiles()
    data = required(files)
    requires = {"data": data, "one": required(files, One, "one000000000"), "part": replace(data, artifact="t.csv")}
    refused = refusal(files, lambda c: read(c.requires), requires, kind)
    assert message in refused


def test_read_without_a_name_returns_the_required_artifact(files: Files) -> None:
    requires = {
        "part": replace(required(files), artifact="x.json"),
        "dir": replace(required(files, uid="d"), artifact="d/"),
    }
    world = reading(
        files,
        lambda c: (
            c.requires.part.read(),
            c.requires.part.config.size,
            Path(c.requires.dir.path()).name,
            Path(c.requires.dir.path("d/g.bin")).read_bytes(),
        ),  # type: ignore[attr-defined]
        requires,
    )
    assert world.found == ([1, 2], 3, "d", b"2")  # type: ignore[attr-defined]
    assert list(world.ended.inputs["dir"]) == ["d/deep/f.bin", "d/g.bin"]


def test_a_requirement_without_artifacts_cannot_be_read() -> None:
    files = MemoryFiles()
    refused = refusal(files, lambda c: c.requires.n.read(), {"n": required(files, Nothing, "n")}, MissingArtifact)
    assert refused == "the requirement 'n' (data, OY1p1o/n) has no artifacts, not a single one\n  Let it write one."


def test_a_result_that_is_gone_or_does_not_exist_yet_is_an_error() -> None:
    files = MemoryFiles()
    gone = Requirement("data", "gone", "i", place=f"{FOLDER}/gone")
    assert "no longer exists" in refusal(files, lambda c: c.requires.d.config, {"d": gone}, NotStored)
    waiting = Requirement("data", "waiting", "i")
    refused = refusal(files, lambda c: c.requires.d.read("x.json"), {"d": waiting}, NotAvailable)
    assert "the requirement 'd' (data) has no result" in refused


# live instances


def test_a_live_component_has_its_configuration_and_its_last_checkpoint(files: Files) -> None:
    def read(component: Any) -> Any:
        live = component.requires.data.component
        assert component.requires.data.component is live
        return type(live).__name__, live.config.size, live.config._hidden, live.weights, live.store.read("x.json")

    world = reading(files, read, {"data": required(files)})
    assert world.found == ("Data", 3, 4, {"sum": 3}, [1, 2])  # type: ignore[attr-defined]
    checkpoint = files.read(f"{FOLDER}/trials/{NEEDED}/checkpoints/weights.json")
    assert world.ended.inputs["data"]["../checkpoints/weights.json"] == digest(checkpoint)
    assert "restored from the checkpoint" in world.text("log.txt")


class Loads(Data):
    """Defines how it is loaded."""

    def on_load(self, into: Any = None) -> Any:
        state = self.store.read("x.json"), self.store.has("d/"), self.store.has("no.txt"), self.store.read("no.txt", 0)
        if into is None:
            self.weights = state
            return None
        into.append(state)
        return "loaded"


def test_a_component_can_say_how_it_is_loaded_and_into_what() -> None:
    files = MemoryFiles()

    def read(component: Any) -> Any:
        mine: list[Any] = []
        answer = component.requires.data.load_into(mine)
        return answer, mine, component.requires.data.component.weights

    state = ([1, 2], True, False, 0)
    assert result(files, read, {"data": required(files, Loads)}) == ("loaded", [state], state)


def test_a_component_of_a_finished_trial_refuses_to_write() -> None:
    files = MemoryFiles()
    requires = {"data": required(files), "n": required(files, Nothing, "n")}

    def read(component: Any) -> Any:
        live, refused = component.requires.data.component, []
        for attempt in (
            lambda: live.record,
            lambda: live.directory,
            lambda: live.store.write("a.txt", ""),
            live.save_checkpoint,
            lambda: component.requires.data.load_into(object()),
            component.on_load,
        ):
            with pytest.raises(NotAvailable) as caught:
                attempt()
            refused.append(caught.value.message)
        live.log.info("it speaks")
        live.progress(1, 2)
        assert component.requires.n.component.requires == {}
        return refused

    world = reading(files, read, requires)
    assert world.found == [  # type: ignore[attr-defined]
        "self.record is not available in a component whose trial has finished",
        "self.directory is not available in a component whose trial has finished",
        "self.store.write is not available in a component whose trial has finished",
        "self.save_checkpoint() is not available in a component whose trial has finished",
        "Data does not define how to load its state into another object",
        "on_load is for components that another one requires",
    ]
    log = world.text("log.txt")
    assert "it speaks" in log
    assert "the requirement 'n' (data, OY1p1o/n) has saved no checkpoint: it is as on_create left it" in log
    before = files.read(f"{FOLDER}/trials/{NEEDED}/status.json")
    assert b"finished" in before


class Other(Component):
    def on_execute(self) -> None:
        self.store.write("x.json", [3, 4])


class Deep(Component):
    """Requires another component."""

    def on_execute(self) -> None:
        self.store.write("sum.json", sum(self.requires.data.read("x.json")))  # type: ignore[attr-defined]

    def again(self) -> int:
        return sum(self.requires.data.read("x.json")) + len(self.requires)  # type: ignore[attr-defined]


def test_a_live_component_reads_what_it_requires_itself() -> None:
    files = MemoryFiles()
    data = required(files)
    deep = required(files, Deep, "deep", requires={"data": data})
    required(files, Other, "other")
    trial = spec(requires={"deep": deep}, indirect={data.identity: f"{FOLDER}/other"})

    def work(requires: Any) -> Any:
        return requires.deep.component.again()

    world = World(work, trial, files)

    read = digest(b"[3, 4]\n")
    assert world.ended.result == 8  # of the present result, not of the one that was there when it ran
    assert world.ended.inputs == {"deep.data": {"x.json": read}}
    assert world.ended.indirect == {"deep.data": {"identity": data.identity, "place": f"{FOLDER}/other"}}
    assert world.json("status.json")["indirect"] == world.ended.indirect


def test_a_result_behind_a_requirement_that_was_not_computed_is_an_error() -> None:
    files = MemoryFiles()
    deep = required(files, Deep, "deep", requires={"data": required(files)})
    refused = refusal(files, lambda c: c.requires.deep.component.again(), {"deep": deep}, NotAvailable)
    assert refused == (
        "the requirement 'deep.data' (data) has no result, and this execution does not compute it\n"
        "  Require it directly, or compute it again: rerun='data' (--rerun data)."
    )


class Borrows(Component):
    def config_double(self, x: int) -> int:
        return 2 * x


def test_a_live_component_has_its_mixins_and_config_methods(tmp_path: Path) -> None:
    (tmp_path / "mixin_of_requires.py").write_text(
        "from machinable import Mixin\nclass M(Mixin):\n    def size(self):\n        return self.config.size\n"
    )
    files = MemoryFiles()
    needed = required(files, Borrows, mixins=(MixinSpec("_m_", "mixin_of_requires"),))
    assert needed.spec is not None
    definition = replace(needed.spec.definition, config={"size": "double(4)"})
    needed = replace(needed, spec=replace(needed.spec, definition=definition))
    assert result(files, lambda c: c.requires.b.component._m_.size(), {"b": needed}, project=str(tmp_path)) == 8


def a_function() -> None: ...


def test_a_required_function_has_no_component() -> None:
    files = MemoryFiles()
    needed = spec(uid="f", component="f", target=Target(__name__, "a_function", "function"))
    run(needed, files, FOLDER, capture=None)
    requirement = Requirement("f", "f", "i", place=f"{FOLDER}/f", spec=needed)
    refused = refusal(files, lambda c: c.requires.f.component, {"f": requirement}, TypeError)
    assert refused.startswith("f is a function, so there is no component")


def test_functions_get_their_requirements() -> None:
    files = MemoryFiles()

    def work(requires: Any) -> Any:
        return requires.data.read("x.json")

    world = World(work, spec(requires={"data": required(files)}), files)
    assert (world.ended.result, list(world.ended.inputs)) == ([1, 2], ["data"])


class Pickled(Component):
    def on_execute(self) -> None:
        self.store.write("x.pkl", {"a": 1})
        self.store.write("x.json", [1])
        Path(self.store.path("d/x.bin")).write_bytes(b"1")


class Evil:
    """An object that leaves a trace when it is unpickled."""

    def __init__(self, trace: Path) -> None:
        self.trace = str(trace)

    def __reduce__(self) -> Any:
        return open, (self.trace, "w")


@pytest.mark.parametrize("known", [True, False], ids=["from the pointer", "from the status"])
@pytest.mark.parametrize("name", ["x.pkl", "x.json"])
def test_an_artifact_that_is_not_what_the_trial_wrote_is_not_read(
    files: Files, tmp_path: Path, known: bool, name: str
) -> None:
    requirement = required(files, Pickled, "pickled00000")
    status = json.loads(files.read(f"{FOLDER}/trials/pickled00000/status.json"))
    if known:
        requirement = replace(requirement, digests={one: facts["digest"] for one, facts in status["artifacts"].items()})
    requires = {"data": requirement}
    assert result(files, lambda c: c.requires.data.read("x.pkl"), requires) == {"a": 1}
    files.write(f"{FOLDER}/trials/pickled00000/artifacts/{name}", pickle.dumps(Evil(tmp_path / "trace")))

    message = refusal(files, lambda c: c.requires.data.read(name), requires, Damaged)

    assert message.splitlines() == [
        f"{name!r} of the requirement 'data' (data, {FOLDER}/pickled00000) is not what was stored",
        "  Compute it again: rerun='data' (--rerun data).",
    ]
    assert not (tmp_path / "trace").exists()


def test_a_pickle_that_the_trial_did_not_write_is_not_read(files: Files, tmp_path: Path) -> None:
    requires = {"data": required(files, Pickled, "pickled00000")}
    files.write(f"{FOLDER}/trials/pickled00000/artifacts/new.pkl", pickle.dumps(Evil(tmp_path / "trace")))
    files.write(f"{FOLDER}/trials/pickled00000/artifacts/new.json", b"[1]")

    assert "runs its author's code" in refusal(files, lambda c: c.requires.data.read("new.pkl"), requires, StorageError)
    assert result(files, lambda c: c.requires.data.read("new.json"), requires) == [1]
    assert not (tmp_path / "trace").exists()


def test_a_fetched_file_that_is_not_what_the_trial_wrote_is_an_error() -> None:
    files = MemoryFiles()
    requires = {"data": required(files, Pickled, "pickled00000")}
    files.write(f"{FOLDER}/trials/pickled00000/artifacts/d/x.bin", b"2")

    assert "'d/x.bin' of " in refusal(files, lambda c: c.requires.data.path("d/"), requires, Damaged)


def test_a_checkpoint_that_is_not_what_the_trial_saved_is_an_error(files: Files) -> None:
    requires = {"data": required(files)}
    (name,) = [found.path for found in files.walk(f"{FOLDER}/trials/{NEEDED}/checkpoints")]
    files.write(name, b'{"sum": 4}')

    assert "is not what was stored" in refusal(files, lambda c: c.requires.data.last_checkpoint(), requires, Damaged)


def several(files: Files, *names: str) -> dict[str, Requirement]:
    return {name: required(files, uid=f"needed{number:06}") for number, name in enumerate(names)}


def test_several_of_one_name_are_a_sequence_in_order(files: Files) -> None:
    def read(component: Any) -> Any:
        requires = component.requires
        folds = requires.folds
        assert [one.name for one in folds] == ["folds.0", "folds.1", "folds.2"]
        assert (folds[-1].name, [one.name for one in folds[:2]]) == ("folds.2", ["folds.0", "folds.1"])
        assert requires["folds.1"] is folds[1]
        return list(requires), len(requires), "folds" in requires, len(folds), repr(folds), folds[1].read("x.json")

    world = reading(files, read, several(files, "folds.0", "folds.1", "folds.2", "data"))
    assert world.found == (["folds", "data"], 2, True, 3, "<3 requirements 'folds'>", [1, 2])  # type: ignore[attr-defined]
    assert list(world.ended.inputs) == ["folds.1"]


def test_requirements_of_a_list_have_numbers(files: Files) -> None:
    def read(component: Any) -> Any:
        requires = component.requires
        return requires[0].name, [one.name for one in requires[1]], requires[-1][0].name

    assert result(files, read, several(files, "0", "1.0", "1.1")) == ("0", ["1.0", "1.1"], "1.0")


@pytest.mark.parametrize(
    ("names", "read", "kind", "words"),
    [
        (["folds.0"], lambda requires: requires.folds[1], IndexError, "no requirement folds[1]: there are 1"),
        (["folds.0"], lambda requires: requires.folds.read(), NotAvailable, "self.requires.folds[0].read"),
        (["folds.0"], lambda requires: requires.fold, MissingAttribute, "Did you mean 'folds'?"),
        (["data"], lambda requires: requires[0], IndexError, "only if they were given as a list"),
        (["0"], lambda requires: requires[1], IndexError, "there is no requirement 1: 1 are required"),
    ],
)
def test_a_wrong_number_says_what_there_is(
    names: list[str], read: Callable[[Any], Any], kind: type[Exception], words: str
) -> None:
    files = MemoryFiles()
    assert words in refusal(files, lambda component: read(component.requires), several(files, *names), kind)


class Returning(Component):
    def on_execute(self) -> Any:
        return {"n": 1, "pair": (1, 2)}


def test_the_result_is_an_input_noted_by_its_digest(files: Files) -> None:
    one = required(files, Returning)
    world = reading(files, lambda component: component.requires.one.result, {"one": one})
    assert world.found == {"n": 1, "pair": (1, 2)}  # type: ignore[attr-defined]
    assert list(world.ended.inputs["one"]) == ["../result"]
    artifact = replace(one, artifact="x.json")
    assert "depends only on 'x.json'" in refusal(
        files, lambda component: component.requires.one.result, {"one": artifact}, NotAvailable
    )
