"""A code backup is unpacked completely or not at all, and never outside of the directory."""

from __future__ import annotations

import io
import os
import random
import signal
import stat
import subprocess
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from machinable.errors import BadName, Damaged, StorageError, StorageUnavailable
from machinable.storage.archive import Unpacked, unpack
from tests.storage.test_code_snapshot import pack

FILE, LINK = stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777


def archive(*entries: tuple[str, bytes] | tuple[str, bytes, int], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", options.get("method", zipfile.ZIP_DEFLATED)) as opened:
        for name, content, *mode in entries:
            info = zipfile.ZipInfo(name)
            info.create_system = 3
            info.external_attr = (mode[0] if mode else FILE) << 16
            info.compress_type = options.get("method", zipfile.ZIP_DEFLATED)
            opened.writestr(info, content)
    return buffer.getvalue()


def tree(root: Path) -> dict[str, bytes | str]:
    found: dict[str, bytes | str] = {}
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            found[path.relative_to(root).as_posix()] = f"-> {os.readlink(path)}"
        elif path.is_file():
            found[path.relative_to(root).as_posix()] = path.read_bytes()
    return found


def test_unpacking_restores_what_was_packed(tmp_path: Path) -> None:
    project = tmp_path / "a project!"
    for name in ("train.py", "nets/dense.py", "nets/ünï %?.py", "deep/er/x", "empty"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_bytes(b"" if name == "empty" else name.encode() * 1000)
    (project / "run.sh").write_text("true\n")
    (project / "run.sh").chmod(0o755)
    (project / "link").symlink_to("nets/dense.py")
    (project / "deep/up").symlink_to("../nets")
    (project / "nowhere").symlink_to("gone")

    done = unpack(pack(project), tmp_path / "new/copy")

    assert done == Unpacked(
        9,
        sum(p.stat().st_size for p in project.rglob("*") if p.is_file() and not p.is_symlink() and "up" not in p.parts),
        (),
    )
    assert tree(tmp_path / "new/copy") == tree(project)
    assert pack(tmp_path / "new/copy") == pack(project)
    assert os.listdir(tmp_path / "new") == ["copy"]


def test_files_get_the_modes_of_this_user(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        unpack(archive(("a", b"", stat.S_IFREG | 0o4777), ("b", b"", stat.S_IFREG | 0o600)), tmp_path / "x")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((tmp_path / "x" / name).stat().st_mode) for name in "ab"] == [0o750, 0o640]


def test_an_empty_archive_is_an_empty_directory(tmp_path: Path) -> None:
    assert unpack(archive(), tmp_path / "x") == Unpacked(0, 0, ())
    assert (tmp_path / "x").is_dir()


def test_an_empty_directory_is_filled_and_a_full_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/x").write_text("mine")
    (tmp_path / "file").write_text("mine")
    (tmp_path / "link").symlink_to("empty")
    data = archive(("x", b"1"))
    unpack(data, tmp_path / "empty")
    assert tree(tmp_path / "empty") == {"x": b"1"}
    for name, reason in (("full", "is not empty"), ("file", "is not a directory"), ("link", "is not empty")):
        with pytest.raises(StorageUnavailable, match=reason):
            unpack(data, tmp_path / name)
    assert (tmp_path / "full/x").read_text() == "mine"
    with pytest.raises(StorageUnavailable, match="cannot write to "):
        unpack(data, tmp_path / "file/x")


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/x", "//x", "a//b", "./x", "a/./b", "..", ".", "a/..", "", "/"],
)
def test_a_name_that_leads_out_is_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    (tmp_path / "w").mkdir()
    with pytest.raises((BadName, Damaged)):
        unpack(archive(("good", b"1"), (name, b"2")), tmp_path / "w/x")
    assert tree(tmp_path) == {}
    assert os.listdir(tmp_path / "w") == []


@pytest.mark.parametrize(
    ("leads", "is_made"),
    [
        ("../outside", False),
        ("/etc/passwd", False),
        ("a/../../outside", False),
        ("..", False),
        (".", True),
        ("a/x", True),
        ("a/../a/x", True),
        ("self", True),
        ("a/missing/../../x", True),
    ],
)
def test_a_link_that_leads_out_is_left_out(tmp_path: Path, leads: str, is_made: bool) -> None:
    done = unpack(archive(("a/x", b"1"), ("self", leads.encode(), LINK)), tmp_path / "x")
    assert done.skipped == (() if is_made else ("self",))
    assert os.path.lexists(tmp_path / "x/self") is is_made


def test_links_that_lead_out_together_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    for number, links in enumerate(
        [
            [("a", "b/.."), ("b", ".")],
            [("a", "b/../.."), ("b", "c/d"), ("c/d/x", "")],
            [("p", "."), ("q", "p/.."), ("r", "q/outside")],
        ]
    ):
        entries = [(name, leads.encode(), LINK if leads else FILE) for name, leads in links]
        unpack(archive(*entries), tmp_path / f"{number}")
        top = os.path.realpath(tmp_path / f"{number}")
        for path in Path(top).rglob("*"):
            assert os.path.realpath(path) == top or os.path.realpath(path).startswith(top + os.sep)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    out = os.fsencode(tmp_path / "outside")
    for entries in (
        [("d", out, LINK), ("d/x", b"2")],
        [("d/x", b"2"), ("d", out, LINK)],
        [("d", out, LINK), ("d", b"2")],
    ):
        with pytest.raises(BadName):
            unpack(archive(*entries), tmp_path / "x")  # type: ignore[arg-type]
    assert tree(tmp_path) == {}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_duplicate_name_is_refused(tmp_path: Path) -> None:
    for entries in ([("a", b"1"), ("a", b"2")], [("a", b"1"), ("a/", b"")], [("a/b", b"1"), ("a", b"2")]):
        with pytest.raises(BadName):
            unpack(archive(*entries), tmp_path / "x")
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_special_files_are_refused(tmp_path: Path, kind: int) -> None:
    with pytest.raises(BadName, match="neither a file nor a link"):
        unpack(archive(("a", b"", kind | 0o644)), tmp_path / "x")


def test_a_zip_bomb_is_refused_by_its_stated_size(tmp_path: Path) -> None:
    data = archive(("zeros", bytes(2**20)))
    with pytest.raises(Damaged, match=r"it has 1\.0 MiB, the limit is 100 KiB"):
        unpack(data, tmp_path / "x", limit=100 * 1024)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("said", [10, 2**30, 2**20 + 1])
def test_a_zip_bomb_with_a_false_size_is_refused(tmp_path: Path, said: int) -> None:
    data = bytearray(archive(("zeros", bytes(2**20))))
    place = data.index(b"PK\x01\x02") + 24  # the size in the directory of the archive
    data[place : place + 4] = said.to_bytes(4, "little")
    with pytest.raises(Damaged):
        unpack(bytes(data), tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_a_file_that_is_no_archive_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(Damaged) as caught:
        unpack(b"no archive", tmp_path / "x")
    assert str(caught.value) == (
        "cannot unpack the code backup: File is not a zip file\n  Restore code.zip from a copy."
    )


def test_any_damage_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    good = archive(("a/x.py", b"print(1)\n" * 50), ("b", b"a/x.py", LINK), ("empty", b""))
    chance = random.Random(7)
    for number in range(300):
        data = bytearray(good)
        for _ in range(chance.randint(1, 4)):
            if chance.random() < 0.2:
                del data[chance.randrange(len(data)) :]
                break
            data[chance.randrange(len(data))] = chance.randrange(256)
        with suppress(StorageError):
            unpack(bytes(data), tmp_path / f"{number}" / "x", limit=2**20)
        left = os.listdir(tmp_path / f"{number}") if (tmp_path / f"{number}").exists() else []
        assert left in ([], ["x"])


@pytest.mark.parametrize(
    "names",
    [
        [f"{number}/" + "a/" * 32_000 + "x" for number in range(6)],
        ["a/" * 257 + "x"],
        ["x" * 5000],
    ],
    ids=["six names of 32,000 folders", "too many folders", "too long"],
)
def test_names_that_no_file_system_has_are_refused_before_they_take_time(tmp_path: Path, names: list[str]) -> None:
    with pytest.raises(BadName, match="it has more than 4096 characters or 256 folders"):
        unpack(archive(*((name, b"") for name in names)), tmp_path / "x")
    assert os.listdir(tmp_path) == []


def test_folders_with_too_many_characters_together_are_refused(tmp_path: Path) -> None:
    names = [f"{number}/" + ("a" * 30 + "/") * 120 + "x" for number in range(200)]
    with pytest.raises(Damaged, match="the names of its folders have more than 33554432 characters"):
        unpack(archive(*((name, b"") for name in names)), tmp_path / "x")


@pytest.mark.parametrize("name", [".git", ".GIT", ".g\u200cit", ".hg", "sub/.git", "sub/.svn"])
def test_data_of_version_control_is_left_out(tmp_path: Path, name: str) -> None:
    done = unpack(
        archive((f"{name}/config", b"[core]\n\tfsmonitor = touch /tmp/ran\n"), (f"{name}/hooks/x", b""), ("x.py", b"")),
        tmp_path / "x",
    )
    assert done == Unpacked(1, 0, (name,))
    assert tree(tmp_path / "x") == {"x.py": b""}


KILLED = """
import os, signal, sys
from machinable.storage import archive

def stop(*arguments):
    os.kill(os.getpid(), signal.SIGKILL)

archive._make_links = stop
archive.unpack(sys.stdin.buffer.read(), sys.argv[1])
"""


def test_what_a_killed_process_unpacked_is_removed_by_the_next_one(tmp_path: Path) -> None:
    data = archive(("a.py", b"1"))
    command = [sys.executable, "-c", KILLED, str(tmp_path / "code")]
    assert subprocess.run(command, input=data, check=False).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".machinable-writing-")
    unpack(data, tmp_path / "code")
    assert [path.name for path in tmp_path.iterdir()] == ["code"]
