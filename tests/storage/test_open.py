"""What a path or a URL opens, and that no secret is told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

import machinable as ml
from machinable.errors import StorageUnavailable
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.open import open_files, storage_url
from machinable.storage.pyfilesystem import PyFilesystemFiles, import_fs
from tests.conftest import World
from tests.kits.storage import AWKWARD, FilesConformance


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
    """As an object store does; here the bytes lie in memory."""

    @pytest.fixture
    def files(self) -> Iterator[Files]:
        import_fs()
        from fs.memoryfs import MemoryFS

        files = PyFilesystemFiles(MemoryFS(), "gs://bucket")
        yield files
        files.close()


# --- directories


@pytest.mark.parametrize("scheme", ["", "osfs://"])
@pytest.mark.parametrize("name", AWKWARD)
def test_a_directory_is_opened_by_the_letter(tmp_path: Path, name: str, scheme: str) -> None:
    with pytest.raises(StorageUnavailable):
        open_files(f"{scheme}{tmp_path}/{name}", create=False)
    assert os.listdir(tmp_path) == []
    files = open_files(f"{scheme}{tmp_path}/{name}", create=True)
    assert type(files) is DirectoryFiles
    assert files.url == str(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    files.write("x", b"1")
    assert open_files(files.url, create=False).read("x") == b"1"


def test_a_file_url_is_quoted_as_programs_write_it(tmp_path: Path) -> None:
    directory = tmp_path / "a b%20ü"
    directory.mkdir()
    assert open_files(directory.as_uri(), create=False).url == str(directory)


def test_a_home_directory_is_expanded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    for url in ("~/again", "osfs://~/again", "file://~/again", "OSFS://~/again"):
        assert open_files(url, create=True).url == str(tmp_path / "again")


def test_relative_paths_become_absolute_and_urls_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert storage_url("results") == str(tmp_path / "results")
    assert storage_url("../results", "/project/sub") == "/project/results"
    assert storage_url(".", "/project") == "/project"
    assert storage_url("osfs://results", "/project") == "/project/results"
    assert storage_url("file://a%20b", "/project") == "/project/a b"
    assert storage_url("/absolute", "/project") == "/absolute"
    assert storage_url("a:b", "/project") == "/project/a:b"
    for url in ("mem://", "s3://KEY:SECRET@bucket/a", "temp://x", "unknown://x"):
        assert storage_url(url, "/project") == url
    assert storage_url(storage_url("results")) == storage_url("results")


def test_a_file_is_no_storage(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    for url in (f"{tmp_path}/x", f"{tmp_path}/x/y"):
        with pytest.raises(StorageUnavailable, match="cannot be a storage: it is a file"):
            open_files(url, create=True)
    with pytest.raises(StorageUnavailable, match="is not a directory"):
        open_files(f"{tmp_path}/x", create=False)
    assert (tmp_path / "x").read_text() == "1"


def test_what_is_not_there_is_told_with_its_whole_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageUnavailable) as caught:
        open_files("results", create=False)
    assert str(caught.value) == (
        f"there is no storage at {str(tmp_path / 'results')!r}\n  Give the storage directory of an execution."
    )
    assert isinstance(caught.value, OSError)


_AS_NOBODY = """
import os, sys
from machinable.errors import StorageUnavailable
from machinable.storage.open import open_files
if os.geteuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
for url in sys.argv[1:]:
    try:
        open_files(url, create=True)
    except StorageUnavailable as error:
        print(error.message)
"""


def test_a_directory_without_write_permission_is_an_error() -> None:
    # Not in tmp_path, as pytest denies other users access to it, again and again while sessions begin.
    with TemporaryDirectory() as directory:
        os.chmod(directory, 0o755)
        closed = Path(directory, "closed")
        closed.mkdir()
        closed.chmod(0o555)
        done = subprocess.run(
            [sys.executable, "-c", _AS_NOBODY, str(closed), str(closed / "new")],
            capture_output=True,
            text=True,
            check=True,
        )
    assert done.stdout.splitlines() == [
        f"cannot write to the storage {str(closed)!r}",
        f"cannot create the storage {str(closed / 'new')!r}: Permission denied",
    ]


# --- other URLs


def test_memory_is_new_each_time() -> None:
    files = open_files("mem://", create=True)
    assert type(files) is MemoryFiles
    files.write("x", b"1")
    assert not open_files("mem://", create=False).exists("x")


@pytest.mark.parametrize(
    ("url", "message", "advice"),
    [
        ("", "'' is not a path", "Give a directory, or . for this one."),
        ("osfs://", "'osfs://' is not a path", "Give a directory, or . for this one."),
        ("s3:/bucket/x", "'s3://bucket/x' is not a URL", "Write s3://…, or ./s3:… for a directory of that name."),
        ("s3:KEY:SECRET@bucket", "'s3://bucket' is not a URL", "Write s3://…, or ./s3:… for a directory of that name."),
        ("://x", "'://x' is not a URL", "Write s3://…, or ./:… for a directory of that name."),
        (
            "~nobody-of-that-name/x",
            "'~nobody-of-that-name/x' begins with an unknown user",
            "For a directory of that name: ./~nobody-of-that-name/x",
        ),
        ("tmep://x", "'tmep://x' is not a storage: nothing opens tmep://", "Did you mean temp://?"),
        (
            "quantum://u:SECRET@x",
            "'quantum://x' is not a storage: nothing opens quantum://",
            "Give a path, file://, mem://, s3://bucket/folder.",
        ),
        (
            "sftp://host",
            "'sftp://host' is not a storage: nothing opens sftp://",
            "Install its package: pip install 'fs.sshfs'",
        ),
        (
            "s3://K:SECRET@bucket/x?endpoint=http%3A%2F%2Fhost",
            "s3:// has no parameter 'endpoint': 's3://bucket/x?endpoint=http%3A%2F%2Fhost'",
            "Did you mean endpoint_url?",
        ),
        (
            "s3://bucket/x?region=eu",
            "s3:// has no parameter 'region': 's3://bucket/x?region=eu'",
            "Valid are endpoint_url, acl, cache_control, strict.",
        ),
    ],
)
def test_a_url_that_means_nothing_is_told(url: str, message: str, advice: str) -> None:
    for create in (True, False):
        with pytest.raises(StorageUnavailable) as caught:
            open_files(url, create=create)
        assert (caught.value.message, caught.value.advice()) == (message, advice)


def test_no_secret_is_in_an_error_of_an_opener_or_behind_it() -> None:
    import_fs()
    pytest.importorskip("fs_s3fs")
    url = "s3://" + ":".join(("KEYID", "SECRET")) + "@"  # a traceback shows this line, too
    with pytest.raises(StorageUnavailable) as caught:
        open_files(url, create=True)  # the opener's own error has the URL in it
    told = "".join(traceback.format_exception(caught.value))
    assert "invalid bucket name" in told
    assert "SECRET" not in told
    assert "KEYID" not in told
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


def test_none_of_the_librarys_errors_comes_through() -> None:
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


def test_whatever_goes_wrong_while_opening_is_one_error() -> None:
    import_fs()
    from fs.errors import PermissionDenied

    class Failing:
        def getmeta(self) -> dict[str, bool]:
            return {"network": True}

        def isempty(self, path: str) -> bool:
            raise PermissionDenied(path)

    with pytest.raises(StorageUnavailable, match=r"the storage 'x://y' cannot be used: .*Permission denied"):
        PyFilesystemFiles(Failing(), "x://y").probe(must_exist=False)


COUNTS = """
from machinable import Component


class Counts(Component):
    def on_execute(self):
        self.record["x"] = 1
        self.record.save()
        self.store.write("deep/x.json", {"a": 1})
        return 5
"""


def test_an_execution_into_a_temporary_directory_is_read_as_long_as_it_is_open(project: World) -> None:
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
def test_what_is_no_archive_is_told(tmp_path: Path, kind: str) -> None:
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


def test_a_pkg_resources_that_is_there_stays() -> None:
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
