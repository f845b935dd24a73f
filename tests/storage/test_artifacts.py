"""Artifacts of a trial are read in its process, in another process, and from a remote storage."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from machinable.errors import BadName, MissingArtifact, StorageError
from machinable.storage.artifacts import Artifacts, fetch
from machinable.storage.files import FileInfo, Files
from machinable.storage.formats.registry import dump
from machinable.storage.memory import MemoryFiles


@pytest.fixture
def files(files: Files) -> Files:
    for name, data in {"a.json": b"[1]", "model/config.json": b"{}", "model/deep/weights.bin": b"\1"}.items():
        files.write(f"t/artifacts/{name}", data)
    return files


def artifacts(files: Files, trust: bool = False) -> Artifacts:
    return Artifacts(files, "t/artifacts", "this trial", trust=trust)


def test_names_are_those_of_files(files: Files) -> None:
    assert artifacts(files).names() == ["a.json", "model/config.json", "model/deep/weights.bin"]
    assert Artifacts(files, "nothing", "this trial", trust=False).names() == []


def test_a_missing_artifact_is_the_default(files: Files) -> None:
    found = artifacts(files)
    assert (found.read("a.json"), found.content("a.json")) == ([1], b"[1]")
    assert found.read("b.json", None) is None
    assert found.read("model/deep/weights.bin") == b"\1"
    for act in (found.read, found.content, found.local_path):
        with pytest.raises(MissingArtifact, match=r"this trial has no artifact 'b\.json'\n  Did you mean 'a\.json'\?"):
            act("b.json")
    with pytest.raises(MissingArtifact, match=r"It has: a\.json, model/config\.json, model/deep/weights\.bin"):
        found.read("other.npy")


def test_a_directory_has_a_path_and_cannot_be_read(files: Files) -> None:
    found = artifacts(files)
    with pytest.raises(BadName, match=r"read it with path\('model/'\)"):
        found.read("model/")
    path = Path(found.local_path("model/"))
    assert path.name == "model"
    assert sorted(p.relative_to(path).as_posix() for p in path.rglob("*.*")) == ["config.json", "deep/weights.bin"]
    assert Path(found.local_path("model/deep/"), "weights.bin").read_bytes() == b"\1"
    assert Path(found.local_path("a.json")).name == "a.json"
    assert artifacts(files).local_path("model/") == str(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("modle/", "this trial has no artifact 'modle/'\n  Did you mean 'model/'?"),
        ("a.json/", "this trial has no artifact 'a.json/'"),
        ("model", "this trial has no artifact 'model'"),
        ("deep/", "this trial has no artifact 'deep/'"),
    ],
)
def test_the_path_of_a_missing_artifact_is_an_error(name: str, message: str, files: Files) -> None:
    with pytest.raises(MissingArtifact) as caught:
        artifacts(files).local_path(name)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize("name", ["", "/", "../t/", "..", "a/../b", "model//"])
def test_a_path_stays_in_the_folder(name: str, files: Files) -> None:
    for act in (artifacts(files).local_path, artifacts(files).content):
        with pytest.raises((BadName, MissingArtifact)):
            act(name)


def test_formats_that_run_code_are_read_if_trusted(files: Files) -> None:
    files.write("t/artifacts/x.pkl", dump("x.pkl", {1}))
    assert artifacts(files, trust=True).read("x.pkl") == {1}
    with pytest.raises(StorageError, match="trust=True"):
        artifacts(files).read("x.pkl", None)


def test_a_name_that_leaves_the_target_is_not_fetched(tmp_path: Path) -> None:
    class Misleading(MemoryFiles):
        def walk(self, path: str) -> Iterator[FileInfo]:
            yield FileInfo(f"{path}/../x", 1, None)

    files = Misleading()
    files.create_directory("t")
    with pytest.raises(BadName, match="is not a path within a storage"):
        fetch(files, "t", str(tmp_path / "target"))


def test_fetched_artifacts_are_removed_when_the_process_ends() -> None:
    code = (
        "import os\n"
        "from machinable.storage.artifacts import Artifacts\n"
        "from machinable.storage.memory import MemoryFiles\n"
        "files = MemoryFiles()\n"
        "files.write('t/m/x', b'1')\n"
        "path = Artifacts(files, 't', 'it', trust=False).local_path('m/')\n"
        "assert os.listdir(path) == ['x']\n"
        "if os.fork() == 0:\n"
        "    raise SystemExit\n"
        "os.wait()\n"
        "assert os.listdir(path) == ['x']\n"
        "print(path)\n"
    )
    out = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True).stdout
    assert out.strip()
    assert not os.path.exists(os.path.dirname(os.path.dirname(out.strip())))
