"""What a trial keeps by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from machinable.component.folder import LocalFolder
from machinable.component.store import Store
from machinable.errors import ArtifactExists, BadName, MissingArtifact, WrongKind
from machinable.storage.files import DirectoryFiles, Files, MemoryFiles


class Counting(MemoryFiles):
    """An object store: files that cannot grow, and that count what they are asked."""

    appends = False

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []

    def exists(self, path: str) -> bool:
        self.asked.append(path)
        return super().exists(path)


def make(files: Files, is_new: bool = True) -> tuple[Store, LocalFolder]:
    local = LocalFolder(files, "t/artifacts")
    return Store(files, "t/artifacts", local, is_new), local


@pytest.fixture(params=["memory", "directory", "objects"])
def files(request: pytest.FixtureRequest, tmp_path: Path) -> Files:
    makers: dict[str, Callable[[], Files]] = {
        "memory": MemoryFiles, "directory": lambda: DirectoryFiles(tmp_path), "objects": Counting,
    }  # fmt: skip
    return makers[request.param]()


def test_what_was_written_is_read_as_the_same_kind(files: Files) -> None:
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


def test_what_a_former_attempt_has_left_counts_as_there(files: Files) -> None:
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


@pytest.mark.parametrize(
    "name", ["a", "a.unknown", "", "../a.json", "/a.json", "x/../a.json", "a\\b.json", "C:/a.json"]
)
def test_names_without_a_format_or_outside_of_the_folder_are_refused(name: str, files: Files) -> None:
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


def test_what_is_missing_is_the_default_or_an_error_with_near_names(files: Files) -> None:
    store, _ = make(files)
    store.write("plots/loss.json", 1)

    assert store.read("none.json", 5) == 5
    assert store.read("none.json", None) is None
    with pytest.raises(MissingArtifact, match=r"no artifact 'plots/los\.json'\n  Did you mean 'plots/loss\.json'"):
        store.read("plots/los.json")
    with pytest.raises(FileNotFoundError, match=r"This trial has written: plots/loss\.json"):
        store.read("weights.npz")
    assert store.read("plots/loss.json/x.json", 3) == 3


def test_a_new_trial_on_an_object_store_asks_for_nothing_before_it_writes() -> None:
    files = Counting()
    store, _ = make(files)
    store.write("deep/a.json", 1)

    assert files.asked == []
    with pytest.raises(ArtifactExists):
        store.write("deep/a.json", 1)


def test_a_path_is_local_and_what_is_written_there_is_kept(files: Files) -> None:
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


def test_a_directory_that_stays_empty_is_not_kept(files: Files) -> None:
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
