"""Storages of PyFilesystem behave like others, and their errors contain no secret."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.errors import StorageUnavailable
from machinable.storage.files import Files
from machinable.storage.open import open_files
from machinable.storage.pyfilesystem import PyFilesystemFiles, import_fs
from tests.conftest import World
from tests.kits.storage import FilesConformance


class TestPyFilesystemInMemory(FilesConformance):
    @pytest.fixture
    def files(self) -> Iterator[Files]:
        import_fs()
        from fs.memoryfs import MemoryFS

        files = PyFilesystemFiles(MemoryFS(), "mem://")
        yield files
        files.close()


class TestPyFilesystemInADirectory(FilesConformance):
    @pytest.fixture
    def files(self) -> Iterator[Files]:
        files = open_files("temp://", create=True)
        yield files
        files.close()


class TestPyFilesystemThatReplacesAsAWhole(FilesConformance):
    """Behaves like an object store, in memory."""

    @pytest.fixture
    def files(self) -> Iterator[Files]:
        import_fs()
        from fs.memoryfs import MemoryFS

        files = PyFilesystemFiles(MemoryFS(), "gs://bucket")
        yield files
        files.close()


def test_no_secret_is_in_an_error_of_an_opener_or_behind_it() -> None:
    import_fs()
    pytest.importorskip("fs_s3fs")
    url = "s3://" + ":".join(("KEYID", "SECRET")) + "@"  # a traceback shows this line, too
    with pytest.raises(StorageUnavailable) as caught:
        open_files(url, create=True)  # the opener's own error has the URL in it
    text = "".join(traceback.format_exception(caught.value))
    assert "invalid bucket name" in text
    assert "SECRET" not in text
    assert "KEYID" not in text
    assert caught.value.__cause__ is caught.value.__context__ is None


def test_no_secret_is_in_an_error_while_it_is_used() -> None:
    class Failing:
        def getmeta(self) -> dict[str, bool]:
            return {"network": True}

        def readbytes(self, path: str) -> bytes:
            raise LibraryError("no answer from s3://KEYID:SE%2FCRET@bucket, SE/CRET")

    class LibraryError(Exception):
        pass

    import_fs()
    files = PyFilesystemFiles(Failing(), "s3://KEYID:SE%2FCRET@bucket")
    with pytest.raises(StorageUnavailable) as caught:
        files.read("x")
    assert str(caught.value) == (
        "the storage 's3://bucket' cannot be used: no answer from s3://…@bucket, …\n"
        "  Check the URL, the network and the credentials."
    )
    assert "CRET" not in "".join(traceback.format_exception(caught.value))
    assert repr(files) == "PyFilesystemFiles('s3://bucket')"
    assert files.reach == "anywhere"


def test_no_error_of_the_library_escapes() -> None:
    import_fs()
    from fs import errors

    kinds: list[Any] = [
        kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.FSError)
    ]
    assert len(kinds) > 25
    for kind in kinds:
        failure = kind.__new__(kind)
        failure.__dict__.update(path="x", exc=None, _msg="no", path_a="x", path_b="y", purpose="z")

        class Failing:
            def getmeta(self) -> dict[str, bool]:
                return {}

            def readbytes(self, path: str, failure: Exception = failure) -> bytes:
                raise failure

        with pytest.raises(OSError, match=r".") as caught:
            PyFilesystemFiles(Failing(), "x://").read("x")
        assert type(caught.value).__module__ in ("builtins", "machinable.errors")


def test_every_failure_while_opening_is_the_same_error(monkeypatch: pytest.MonkeyPatch) -> None:
    from fs.errors import PermissionDenied
    from fs.tempfs import TempFS

    def refuse(filesystem: TempFS, path: str) -> bool:
        raise PermissionDenied(path)

    monkeypatch.setattr(TempFS, "isempty", refuse)
    with pytest.raises(StorageUnavailable, match=r"the storage 'temp://y' cannot be used: permission denied"):
        open_files("temp://y", create=True)


COUNTS = """
from machinable import Component


class Counts(Component):
    def on_execute(self):
        self.record["x"] = 1
        self.record.save()
        self.store.write("deep/x.json", {"a": 1})
        return 5
"""


def test_an_execution_in_a_temporary_directory_is_read_while_it_is_open(project: World) -> None:
    project("components:\n  - counts:\n", counts=COUNTS)
    execution = ml.execute("counts", "temp://")
    (trial,) = execution
    assert (trial.result, trial.records.column("x"), trial.read("deep/x.json")) == (5, [1], {"a": 1})


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_of_a_storage_is_read_and_never_written(project: World, tmp_path: Path, kind: str) -> None:
    project("components:\n  - counts:\n", counts=COUNTS)
    ml.execute("counts", tmp_path / "s", seed="OY1p1o")
    archive = Path(shutil.make_archive(str(tmp_path / "packed"), kind, tmp_path / "s"))
    before = archive.read_bytes()
    with ml.Storage(f"{kind}://{archive}") as storage:
        (execution,) = storage.executions
        (trial,) = execution
        assert (str(execution), trial.result, trial.records.column("x")) == ("OY1p1o", 5, [1])
        assert (trial.files, trial.read("deep/x.json")) == (["deep/x.json"], {"a": 1})
    files = open_files(f"{kind}://{archive}", create=False)
    with pytest.raises(PermissionError):
        files.write("OY1p1o/x", b"1")
    files.close()
    with pytest.raises(StorageUnavailable) as caught:
        ml.execute("counts", f"{kind}://{archive}")
    assert str(caught.value) == (
        f"cannot write to '{kind}://{archive}': it is an archive\n"
        "  Write to a directory and archive it afterwards; archives can be read."
    )
    assert archive.read_bytes() == before


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_a_file_that_is_not_an_archive_is_an_error(tmp_path: Path, kind: str) -> None:
    for name, content in (("x", b"no archive"), ("y", None)):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(StorageUnavailable, match=f"the storage '{kind}://{tmp_path}/{name}' cannot be used: "):
            open_files(f"{kind}://{tmp_path}/{name}", create=False)
    assert os.listdir(tmp_path) == ["x"]


# --- importing fs


_WITHOUT_SETUPTOOLS = """
import sys

class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pkg_resources", "setuptools"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Nothing())
import machinable.storage.open as opener
assert not {"fs", "git", "boto3", "numpy", "pandas", "pkg_resources"} & set(sys.modules)
opener.open_files("mem://", create=True)
opener.open_files(sys.argv[1], create=True).write("x", b"")
assert "fs" not in sys.modules
files = opener.open_files("temp://", create=True)
files.write("a/b", b"1")
assert files.read("a/b") == b"1"
files.close()
import fs
assert "s3" in fs.opener.registry.protocols
assert fs.open_fs("mem://").listdir("/") == []
assert "pkg_resources" not in sys.modules
"""


def test_fs_is_imported_without_setuptools_and_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("fs_s3fs")
    subprocess.run([sys.executable, "-W", "error", "-c", _WITHOUT_SETUPTOOLS, str(tmp_path)], check=True)


def test_an_imported_pkg_resources_stays() -> None:
    code = (
        "import sys, types\n"
        "mine = sys.modules['pkg_resources'] = types.ModuleType('pkg_resources')\n"
        "from machinable.storage.pyfilesystem import import_fs\n"
        "assert import_fs().__name__ == 'fs'\n"
        "assert sys.modules['pkg_resources'] is mine\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import_fs()
    from fs.opener.registry import Registry

    others = property(lambda registry: ["osfs", "mem"])
    monkeypatch.setattr(Registry, "protocols", others)  # as if nothing else were installed
    with pytest.raises(StorageUnavailable) as caught:
        open_files("gs://bucket", create=True)
    assert str(caught.value) == (
        "'gs://bucket' is not a storage: nothing opens gs://\n"
        "  Install its package: pip install 'machinable-engine[gcs]'"
    )
