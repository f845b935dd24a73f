"""Artifacts by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.component.base import Component
from machinable.component.local_dir import LocalFolder
from machinable.component.store import Store
from machinable.errors import ArtifactExists, BadName, MissingArtifact, StorageError, WrongKind
from machinable.storage.files import Files
from machinable.storage.hashing import digest
from machinable.storage.memory import MemoryFiles
from tests.component.worlds import World, spec


class Counting(MemoryFiles):
    """An object store: files cannot grow, and requests are counted."""

    appends = False

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def exists(self, path: str) -> bool:
        self.asked.append(path)
        return super().exists(path)


def no_shared_data() -> Any:
    raise AssertionError("nothing is shared here")


def make(files: Files, is_new: bool = True) -> tuple[Store, LocalFolder]:
    local = LocalFolder(files, "t/artifacts")
    return Store(files, "t/artifacts", local, is_new, no_shared_data), local


@pytest.fixture(params=["memory", "directory", "objects", "s3"])
def files(request: pytest.FixtureRequest, new_files: Callable[[str], Files]) -> Files:
    return Counting() if request.param == "objects" else new_files(request.param)


def left(files: Files) -> list[str]:
    """Return all files of a storage."""
    return sorted(found.path for found in files.walk(""))


def test_artifacts_are_read_as_the_type_that_was_written(files: Files) -> None:
    store, _ = make(files)
    for name, data in [("a.json", {"x": [1, None]}), ("deep/er/b.txt", "text"), ("c.bin", b"\0"), ("d.p", {1, 2})]:
        store.write(name, data)
        assert store.read(name) == data
    assert files.read("t/artifacts/deep/er/b.txt") == b"text"


def test_nothing_is_overwritten_unless_that_is_allowed(files: Files) -> None:
    store, _ = make(files)
    store.write("a.json", 1)
    with pytest.raises(ArtifactExists, match="overwrite=True"):
        store.write("a.json", 2)
    assert store.read("a.json") == 1
    store.write("a.json", 3, overwrite=True)
    assert store.read("a.json") == 3
    store.write("a.txt", "another extension is another name")


def test_artifacts_of_a_previous_attempt_are_not_overwritten(files: Files) -> None:
    files.write("t/artifacts/a.json", b"1")
    store, _ = make(files, is_new=False)

    with pytest.raises(FileExistsError):
        store.write("a.json", 2)


def test_a_file_and_a_folder_cannot_have_the_same_name(files: Files) -> None:
    store, _ = make(files)
    store.write("a.json", 1)
    store.write("b.json/c.json", 1)
    for name, overwrite in [("a.json/b.json", False), ("a.json/b/c.json", True), ("b.json", False), ("b.json", True)]:
        if name == "b.json" and not files.appends:
            continue  # an object store has no folders, there both names are possible
        with pytest.raises(ArtifactExists):
            store.write(name, 1, overwrite=overwrite)
    assert store.read("a.json") == 1


def test_a_model_is_stored_as_its_library_writes_it(files: Files) -> None:
    store, _ = make(files)
    store.write("model.zip", [1, 2], save=save, load=load)

    assert store.read("model.zip") == [1, 2]
    assert store.read("model.zip", load=lambda path: Path(path).read_text()) == "1,2"
    with pytest.raises(ArtifactExists):
        store.write("model.zip", [3], save=save, load=load)
    store.write("model.zip", [3], overwrite=True, save=save)
    assert store.read("model.zip", load=load) == [3]


def save(model: list[int], path: str) -> None:
    Path(path).write_text(",".join(map(str, model)))


def load(path: str) -> list[int]:
    return [int(number) for number in Path(path).read_text().split(",")]


@pytest.mark.parametrize(
    "name", ["a", "a.unknown", "", "../a.json", "/a.json", "x/../a.json", "a\\b.json", "C:/a.json"]
)
def test_names_without_a_format_or_outside_the_folder_are_refused(name: str, files: Files) -> None:
    store, _ = make(files)
    for access in (lambda: store.write(name, 1), lambda: store.read(name, None)):
        with pytest.raises(BadName):
            access()
    assert files.entries("") == []


def test_a_failed_write_leaves_nothing_behind(files: Files) -> None:
    store, _ = make(files)
    with pytest.raises(WrongKind):
        store.write("deep/a.txt", 5)
    assert files.entries("") == []
    store.write("a.txt", "kept")
    with pytest.raises(TypeError):
        store.write("a.txt", 5, overwrite=True)
    assert store.read("a.txt") == "kept"


def test_a_missing_artifact_is_the_default_or_an_error_with_near_names(files: Files) -> None:
    store, _ = make(files)
    store.write("plots/loss.json", 1)

    assert store.read("none.json", 5) == 5
    assert store.read("none.json", None) is None
    with pytest.raises(
        MissingArtifact, match=r"this trial has no artifact 'plots/los\.json'\n  Did you mean 'plots/loss\.json'"
    ):
        store.read("plots/los.json")
    with pytest.raises(FileNotFoundError, match=r"It has: plots/loss\.json"):
        store.read("weights.npz")
    assert store.read("plots/loss.json/x.json", 3) == 3


def test_a_new_trial_on_an_object_store_sends_no_requests_before_it_writes() -> None:
    files = Counting()
    store, _ = make(files)
    store.write("deep/a.json", 1)

    assert files.asked == []
    with pytest.raises(ArtifactExists):
        store.write("deep/a.json", 1)


def test_a_path_is_local_and_what_is_written_there_is_stored(files: Files) -> None:
    store, local = make(files)
    store.write("a.txt", "one")
    assert Path(store.path("a.txt")).read_text() == "one"
    Path(store.path("deep/model.pt")).write_bytes(b"\1")
    directory = Path(store.path("many/"))
    (directory / "x.json").write_text("[1]")
    Path(store.path("a.txt")).write_text("changed")

    assert (store.read("many/x.json"), store.read("a.txt")) == ([1], "changed")
    store.write("b.txt", "two")
    assert Path(store.path("b.txt")).read_text() == "two"
    with pytest.raises(ArtifactExists):
        store.write("many/x.json", 2)
    place = os.path.dirname(store.path("b.txt"))
    local.close()
    assert files.read("t/artifacts/deep/model.pt") == b"\1"
    assert os.path.exists(place) == (files.local_path("") is not None)


def test_what_is_removed_from_the_local_directory_is_removed(files: Files) -> None:
    store, local = make(files)
    store.write("a.txt", "one")
    os.unlink(store.path("a.txt"))
    local.close()

    assert not files.exists("t/artifacts/a.txt")


def test_a_directory_that_stays_empty_is_not_stored(files: Files) -> None:
    _, local = make(files)
    assert os.path.isdir(local.open())
    assert local.open() == local.open()
    local.close()
    local.close()

    assert not any(entry.name == "artifacts" for entry in files.entries("t"))


@pytest.mark.parametrize("name", ["", "/", "../x", "/etc/passwd", "a/../../b", "C:\\x", "a//b"])
def test_a_path_stays_in_the_folder(name: str, files: Files) -> None:
    store, _ = make(files)
    with pytest.raises(BadName):
        store.path(name)


def test_a_link_in_the_local_directory_is_followed_to_its_file(tmp_path: Path) -> None:
    files: Any = MemoryFiles()
    store, local = make(files)
    Path(store.path("a.txt")).write_text("one")
    os.symlink(store.path("a.txt"), store.path("b.txt"))
    os.symlink(tmp_path / "nowhere", store.path("c.txt"))
    local.close()

    assert (files.read("t/artifacts/b.txt"), files.exists("t/artifacts/c.txt")) == (b"one", False)


# --- directories


def fill(path: str, **names: str) -> None:
    for name, text in names.items():
        place = Path(path, name.replace("__", "/"))
        place.parent.mkdir(exist_ok=True)
        place.write_text(text)


def test_a_directory_is_stored_when_its_block_ends(files: Files) -> None:
    store, local = make(files)
    with store.directory("deep/model/") as path:
        fill(path, config="{}", parts__one="1", parts__two="2")
        assert os.path.basename(path) == "model"
        assert not store.has("deep/model/")
    assert not os.path.exists(path)
    assert store.has("deep/model/") and store.has("deep/")
    assert left(files) == [f"t/artifacts/deep/model/{name}" for name in ("config", "parts/one", "parts/two")]
    assert Path(store.path("deep/model/"), "parts", "two").read_text() == "2"
    local.close()


def fail_within(store: Store, name: str, **options: Any) -> str:
    """Return the path of a directory whose block has failed."""

    def work(path: str) -> None:
        fill(path, config="{}")
        raise KeyError(path)

    with pytest.raises(KeyError) as caught, store.directory(name, **options) as path:
        work(path)
    return str(caught.value.args[0])


def test_a_directory_whose_block_fails_leaves_nothing(files: Files) -> None:
    store, _ = make(files)
    path = fail_within(store, "deep/model/")
    assert left(files) == []
    assert not os.path.exists(path)
    assert files.local_path("") is None or os.listdir(files.local_path("") or "") == []


def test_a_directory_is_replaced_as_a_whole_and_only_if_that_is_allowed(files: Files) -> None:
    store, _ = make(files)
    with store.directory("model/") as path:
        fill(path, old="1", both="1")
    with pytest.raises(ArtifactExists, match=r"store\.directory\(…, overwrite=True\)"), store.directory("model/"):
        raise AssertionError("the block does not begin")
    with store.directory("model/", overwrite=True) as path:
        fill(path, new="2", both="2")
    assert left(files) == ["t/artifacts/model/both", "t/artifacts/model/new"]
    assert files.read("t/artifacts/model/both") == b"2"
    fail_within(store, "model/", overwrite=True)
    assert left(files) == ["t/artifacts/model/both", "t/artifacts/model/new"]


def test_a_directory_and_a_file_cannot_have_the_same_name(files: Files) -> None:
    store, _ = make(files)
    store.write("a.json", 1)
    for name in ("a.json/", "a.json/b/"):
        with pytest.raises(ArtifactExists), store.directory(name, overwrite=True):
            pass
    with store.directory("b.json/") as path:
        fill(path, x="1")
    if files.appends:  # an object store has no folders, there both names are possible
        with pytest.raises(ArtifactExists):
            store.write("b.json", 1, overwrite=True)
    with store.directory("c/") as path:
        store.write("c/x.txt", "written in the meantime")
        with pytest.raises(ArtifactExists, match="'c/' already exists"), store.directory("c/"):
            pass
        store._remove({"c/x.txt"})
        fill(path, y="1")
    assert left(files) == ["t/artifacts/a.json", "t/artifacts/b.json/x", "t/artifacts/c/y"]


def test_an_empty_directory_is_not_stored(files: Files) -> None:
    store, _ = make(files)
    with store.directory("model/"):
        pass
    assert not store.has("model/")
    assert left(files) == []


def test_a_directory_can_be_written_while_a_copy_of_the_others_is_open(files: Files) -> None:
    store, local = make(files)
    Path(store.path("a.txt")).write_text("one")
    with store.directory("model/") as path:
        fill(path, x="1", y="1")
    with store.directory("model/", overwrite=True) as path:
        fill(path, y="2")
    assert sorted(os.listdir(store.path("model/"))) == ["y"]
    Path(store.path("model/y")).write_text("3")
    local.close()
    assert (left(files), files.read("t/artifacts/model/y")) == (["t/artifacts/a.txt", "t/artifacts/model/y"], b"3")


def test_a_file_that_cannot_be_stored_removes_the_rest_of_its_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    files = Counting()
    store, _ = make(files)
    write = files.write

    def fail(path: str, data: bytes) -> None:
        if path.endswith("/y"):
            raise OSError("the network is away")
        write(path, data)

    monkeypatch.setattr(files, "write", fail)
    with pytest.raises(OSError, match="the network is away"), store.directory("model/") as path:
        fill(path, x="1", y="2")
    assert left(files) == []
    assert not store.has("model/")


@pytest.mark.parametrize("name", ["model", "", "/", "../model/", "a/../b/", "/model/", "a\\b/"])
def test_a_directory_is_named_with_a_slash_and_stays_in_the_folder(name: str, files: Files) -> None:
    store, _ = make(files)
    with pytest.raises(BadName), store.directory(name):
        pass
    assert left(files) == []


def test_a_directory_is_not_read_as_a_whole(files: Files) -> None:
    store, _ = make(files)
    for act in (lambda: store.read("model/"), lambda: store.write("model/", 1)):
        with pytest.raises(
            BadName, match=r"with store\.directory\('model/'\) as path:`, read it with path\('model/'\)"
        ):
            act()


# --- digests


def test_digests_are_those_of_the_files_at_the_end(files: Files) -> None:
    store, local = make(files)
    store.write("a.txt", "one")
    store.write("b.txt", "two")
    store.write("b.txt", "three", overwrite=True)
    with store.directory("model/") as path:
        fill(path, x="1")
    expected = {"a.txt": "one", "b.txt": "three", "model/x": "1"}
    assert store.digests() == {name: facts(text) for name, text in expected.items()}

    Path(store.path("a.txt")).write_text("changed")
    Path(store.path("deep/c.pt")).write_text("by a library")
    os.unlink(store.path("b.txt"))
    expected = {"a.txt": "changed", "deep/c.pt": "by a library", "model/x": "1"}
    assert store.digests() == {name: facts(text) for name, text in expected.items()}
    store.write("a.txt", "again", overwrite=True)
    assert store.digests()["a.txt"] == facts("again")
    store.write("b.txt", "its name is free")
    local.close()
    assert left(files) == [f"t/artifacts/{name}" for name in ("a.txt", "b.txt", "deep/c.pt", "model/x")]


def facts(text: str) -> dict[str, Any]:
    return {"digest": digest(text.encode()), "size": len(text)}


def test_artifacts_of_a_previous_attempt_have_digests(files: Files) -> None:
    files.write("t/artifacts/a.txt", b"one")
    store, _ = make(files, is_new=False)
    assert store.digests() == {"a.txt": facts("one")}


def test_digests_of_a_new_trial_on_an_object_store_need_no_requests() -> None:
    class Silent(Counting):
        def read(self, path: str) -> bytes:
            raise AssertionError("read")

        def entries(self, path: str) -> Any:
            raise AssertionError("listed")

        def walk(self, path: str) -> Any:
            raise AssertionError("listed")

    files = Silent()
    store, _ = make(files)
    assert store.digests() == {}
    store.write("a.txt", "one")
    assert store.digests() == {"a.txt": facts("one")}
    assert files.asked == []


# --- in a trial


def test_a_promised_directory_exists_or_the_trial_fails(files: Files) -> None:
    class Keeping(Component):
        def on_execute(self) -> None:
            with self.store.directory("model/") as path:
                fill(path, **dict.fromkeys(self.config.files, "1"))

    promise = ("model/",)
    assert World(Keeping, spec({"files": ["x"]}, results=promise), files).ended.error is None
    ended = World(Keeping, spec({"files": []}, uid="another", results=promise), files).ended
    assert (ended.error or {})["message"].startswith("the promised result 'model/' was not written")


def test_the_digests_are_in_the_status_and_the_outcome(files: Files) -> None:
    class Keeping(Component):
        def on_execute(self) -> None:
            self.store.write("a.txt", "one")
            with self.store.directory("model/") as path:
                fill(path, x="1")
            Path(self.directory, "free.md").write_text("free")

    world = World(Keeping, files=files)
    expected = {"a.txt": facts("one"), "free.md": facts("free"), "model/x": facts("1")}
    assert world.json("status.json")["artifacts"] == expected
    assert world.ended.artifacts == {name: stored["digest"] for name, stored in expected.items()}


def test_all_artifacts_can_be_read_after_the_execution(tmp_path: Path) -> None:
    def keep(store: Any) -> None:
        store.write("model.zip", [1, 2], save=save, load=load)
        with store.directory("plots/") as path:
            fill(path, x="1")

    ml.execute(ml.Task(keep), storage=str(tmp_path))
    (trial,) = ml.Storage(str(tmp_path)).trials
    assert trial.files == ["model.zip", "plots/x"]
    assert Path(trial.path("plots/"), "x").read_text() == "1"
    assert trial.read("model.zip", load=load) == [1, 2]
    with pytest.raises(StorageError, match="trust=True"):
        trial.read("model.zip")
    (trusted,) = ml.Storage(str(tmp_path), trust=True).trials
    assert trusted.read("model.zip") == [1, 2]


def test_a_directory_with_names_that_the_storage_cannot_keep_is_refused(files: Files) -> None:
    store, local = make(files)
    with pytest.raises(BadName, match="temporary file"), store.directory("model/") as path:
        Path(path, ".machinable-writing-weights").write_text("x")
    assert not store.has("model/")
    local.close()
