"""A path or a URL opens a storage, or one error says why not."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from machinable.errors import StorageUnavailable
from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.storage.open import open_files, storage_url
from tests.kits.storage import AWKWARD

# --- directories


@pytest.mark.parametrize("scheme", ["", "osfs://"])
@pytest.mark.parametrize("name", AWKWARD)
def test_the_path_of_a_directory_is_taken_literally(tmp_path: Path, name: str, scheme: str) -> None:
    with pytest.raises(StorageUnavailable):
        open_files(f"{scheme}{tmp_path}/{name}", create=False)
    assert os.listdir(tmp_path) == []
    files = open_files(f"{scheme}{tmp_path}/{name}", create=True)
    assert type(files) is DirectoryFiles
    assert files.url == str(tmp_path / name)
    assert os.listdir(tmp_path) == [name]
    files.write("x", b"1")
    assert open_files(files.url, create=False).read("x") == b"1"


def test_a_file_url_is_unquoted(tmp_path: Path) -> None:
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


def test_a_file_is_not_a_storage(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("1")
    for url in (f"{tmp_path}/x", f"{tmp_path}/x/y"):
        with pytest.raises(StorageUnavailable, match=r"cannot create the storage .*: (File exists|Not a directory)"):
            open_files(url, create=True)
    with pytest.raises(StorageUnavailable, match="is not a directory"):
        open_files(f"{tmp_path}/x", create=False)
    assert (tmp_path / "x").read_text() == "1"


def test_the_error_of_a_missing_storage_has_its_absolute_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageUnavailable) as caught:
        open_files("results", create=False)
    assert str(caught.value) == (
        f"there is no storage at {str(tmp_path / 'results')!r}\n  Give the directory in which executions were stored."
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


def test_each_opening_of_memory_is_empty() -> None:
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
            "Valid: endpoint_url, acl, cache_control, strict.",
        ),
    ],
)
def test_a_url_without_a_meaning_is_an_error(url: str, message: str, advice: str) -> None:
    for create in (True, False):
        with pytest.raises(StorageUnavailable) as caught:
            open_files(url, create=create)
        assert (caught.value.message, caught.value.advice()) == (message, advice)
