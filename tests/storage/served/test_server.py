"""What a server of a storage lets clients do, and what it refuses."""

from __future__ import annotations

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import pytest

from machinable.errors import BadName, StorageError
from machinable.storage import layout
from machinable.storage.fallback import FallbackFiles
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.locks import open_locks
from machinable.storage.served import client
from machinable.storage.served import server as module
from machinable.storage.served.client import ServedFiles, _Line
from machinable.storage.served.messages import NONCE, SIGNATURE, Channel, Request, greet
from machinable.storage.served.server import FilesServer

OWN, NEEDED = "OY1p1o/trials/own", "Old/trials/needed"
SHARED = f"by-content/ab/{'ab' * 16}.shared/x"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    for name in (f"{OWN}/old", f"{NEEDED}/old", "OY1p1o/execution.json", "by-content/ab/abc.json", "OY1p1o/trials/x/y"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    return tmp_path


@pytest.fixture
def server(directory: Path) -> Iterator[FilesServer]:
    with closing(FilesServer(DirectoryFiles(directory))) as server:
        server.admit("own", 1, [OWN], [NEEDED])
        yield server


@pytest.fixture
def files(server: FilesServer) -> Iterator[ServedFiles]:
    with closing(ServedFiles(server.access)) as files, files.attempt("own", 1):
        yield files


def append(files: Files, path: str, data: bytes = b"1\n") -> None:
    with closing(files.appender(path)) as appender:
        appender.write(data)


WRITES: dict[str, Any] = {
    "write": lambda files, path: files.write(path, b"2"),
    "write_from": lambda files, path: files.write_from(path, BytesIO(b"2")),
    "append": append,
    "create": lambda files, path: files.create(path, b"2", "me"),
    "create_directory": lambda files, path: files.create_directory(path),
    "remove": lambda files, path: files.remove(path),
    "move": lambda files, path: files.move(path, f"{OWN}/new"),
    "move to": lambda files, path: files.move(f"{OWN}/old", path),
}
READS: dict[str, Any] = {
    "read": lambda files, path: files.read(path),
    "exists": lambda files, path: files.exists(path),
    "is_directory": lambda files, path: files.is_directory(path),
    "entries": lambda files, path: files.entries(path),
    "walk": lambda files, path: list(files.walk(path)),
    "temporaries": lambda files, path: files.temporaries(path),
    "size": lambda files, path: files.size(path),
}


def everything(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


@pytest.mark.parametrize("act", WRITES)
@pytest.mark.parametrize(
    "path",
    [
        f"{NEEDED}/old",
        "OY1p1o/execution.json",
        "OY1p1o/trials/x/y",
        "OY1p1o/trials/owner/y",
        "OY1p1o",
        "by-content/ab/abc.json",
        "by-content/ab/abc.lease",
        "new",
    ],
)
def test_a_trial_writes_only_to_its_folder_and_to_shared_data(
    act: str, path: str, files: ServedFiles, directory: Path
) -> None:
    before = everything(directory)

    with pytest.raises(BadName, match="the trial own has no access to "):
        WRITES[act](files, path)

    assert everything(directory) == before


@pytest.mark.parametrize("act", READS)
@pytest.mark.parametrize("path", ["OY1p1o/execution.json", "OY1p1o/trials/x/y", "Old", "by-content/ab/abc.json"])
def test_a_trial_reads_only_what_it_needs(act: str, path: str, files: ServedFiles) -> None:
    with pytest.raises(BadName, match="the trial own has no access to "):
        READS[act](files, path)


def test_the_root_is_not_listed(files: ServedFiles) -> None:
    for act in ("entries", "walk", "temporaries"):
        with pytest.raises(BadName, match="has no access to ''"):
            READS[act](files, "")


def test_a_trial_reads_what_it_needs_and_writes_shared_data(files: ServedFiles) -> None:
    assert files.read(f"{NEEDED}/old") == files.read(f"{OWN}/old") == b"1"
    files.write(SHARED, b"2")
    assert files.read(SHARED) == b"2"


@pytest.mark.parametrize("path", [f"{OWN}/../x/y", "/etc/passwd", f"{OWN}//y", f"{OWN}/./y", "..", f"{OWN}/a\0b"])
def test_a_path_that_the_client_does_not_check_is_checked_here(path: str, server: FilesServer, directory: Path) -> None:
    before = everything(directory)
    with closing(_Line(server.access)) as line:
        for act in ("read", "write", "write_from", "append", "remove", "create_directory", "walk"):
            data = BytesIO(b"2") if act in ("write", "write_from", "append") else None
            reply = line.ask(Request(act, path, "own", 1, has_data=data is not None), data)
            assert reply.failure is not None
            assert reply.failure.kind == "name"
        reply = line.ask(Request("move", f"{OWN}/old", "own", 1, to=path))
        assert reply.failure is not None
    assert everything(directory) == before


def test_links_out_of_the_storage_are_not_followed(files: ServedFiles, directory: Path) -> None:
    outside = directory.with_name("outside")
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_text("secret")
    (directory / OWN / "folder").symlink_to(outside)
    (directory / OWN / "file").symlink_to(outside / "secret")
    for path in ("folder/secret", "file"):
        with pytest.raises(BadName, match="is a link out of the storage"):
            files.read(f"{OWN}/{path}")
    with pytest.raises(BadName, match="is a link out of the storage"):
        files.write(f"{OWN}/folder/secret", b"2")
    files.write(f"{OWN}/file", b"2")  # replaces the link
    assert (outside / "secret").read_text() == "secret"


def test_other_requests_and_other_attempts_are_refused(server: FilesServer, files: ServedFiles) -> None:
    with closing(_Line(server.access)) as line:
        for request, kind in [
            (Request("shut_down", f"{OWN}/x", "own", 1), "storage"),
            (Request("find_lease", "OY1p1o/execution.lease", "own", 1), "name"),
            (Request("write", f"{OWN}/x", "own", 1), "storage"),  # without data
            (Request("write", f"{OWN}/x", "own", 2), "over"),
            (Request("write", f"{OWN}/x", "other", 1), "over"),
            (Request("read", f"{OWN}/old"), "over"),
        ]:
            reply = line.ask(request)
            assert (reply.failure and reply.failure.kind) == kind, request


def connected(server: FilesServer) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.access.port), 10)


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\n\r\n", bytes(NONCE + SIGNATURE), os.urandom(2**16)], ids=len)
def test_who_does_not_know_the_token_is_told_nothing(said: bytes, server: FilesServer) -> None:
    with connected(server) as stranger:
        assert len(stranger.recv(NONCE)) == NONCE
        stranger.sendall(said)
        stranger.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while data := stranger.recv(100):
                answer += data
        except ConnectionError:  # it did not read everything
            pass
    assert answer in (b"", bytes(SIGNATURE))


def test_who_says_nothing_is_disconnected(server: FilesServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "GREETING_TIMEOUT", 0.05)
    with connected(server) as stranger:
        stranger.recv(NONCE)
        assert stranger.recv(1) == b""


def test_clients_that_say_nothing_do_not_keep_others_out(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_GREETINGS", 2)
    monkeypatch.setattr(module, "GREETING_TIMEOUT", 0.2)
    with closing(FilesServer(DirectoryFiles(directory))) as server, ExitStack() as stack:
        server.admit("own", 1, [OWN])
        for _ in range(2):
            assert stack.enter_context(connected(server)).recv(NONCE)
        assert stack.enter_context(connected(server)).recv(NONCE) == b""
        with closing(ServedFiles(server.access)) as files, files.attempt("own", 1):
            assert files.read(f"{OWN}/old") == b"1"  # it tries again


def test_a_recorded_greeting_does_not_open_another_connection(server: FilesServer) -> None:
    with connected(server) as first, connected(server) as second:
        greeting = os.urandom(NONCE)
        channel = Channel(first)
        assert greet(channel, server.access.token, greeting)
        second.recv(NONCE)
        second.sendall(greeting + os.urandom(SIGNATURE))
        assert second.recv(100) == bytes(SIGNATURE)
        channel.release()


@pytest.mark.parametrize(
    "said", [b"\xff\xff\xff\xff", b"\0\0\0\2no", b'\0\0\0\x10{"act": "read"  ', b'\0\0\0\x09{"a": 1} ']
)
def test_a_client_that_sends_something_else_is_disconnected(
    said: bytes, server: FilesServer, files: ServedFiles
) -> None:
    with connected(server) as strange:
        channel = Channel(strange)
        assert greet(channel, server.access.token, os.urandom(NONCE))
        channel.send(said)
        strange.shutdown(socket.SHUT_WR)
        while strange.recv(100):  # at most a refusal
            pass
        channel.release()
    assert files.read(f"{OWN}/old") == b"1"  # others are not affected


# the end of an attempt


def test_the_end_of_an_attempt_stops_what_it_is_writing(
    server: FilesServer, files: ServedFiles, directory: Path
) -> None:
    reached, go_on = threading.Event(), threading.Event()

    class Slow(BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 2**22:
                reached.set()
                go_on.wait(30)
            return super().read(size)

    problems: list[BaseException] = []

    def write() -> None:
        try:
            files.write_from(f"{OWN}/model", Slow(bytes(2**23)))
        except StorageError as error:
            problems.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    assert reached.wait(30)
    server.dismiss("own")
    go_on.set()
    writer.join()

    assert [str(problem) for problem in problems] == ["nothing more is stored: attempt 1 of the trial own is over"]
    assert sorted(path.name for path in (directory / OWN).iterdir()) == ["old"]


def test_a_process_that_lost_the_execution_writes_nothing(directory: Path) -> None:
    with (
        closing(open_locks(DirectoryFiles(directory))) as locks,
        closing(FilesServer(DirectoryFiles(directory), check=locks.take("OY1p1o/execution.lease").check)) as server,
    ):
        server.admit("own", 1, [OWN])
        with closing(ServedFiles(server.access)) as files, files.attempt("own", 1):
            files.write(f"{OWN}/x", b"1")
            (directory / "OY1p1o/execution.lease").unlink()
            with pytest.raises(StorageError, match="another process has taken it over"):
                files.write(f"{OWN}/x", b"2")
    assert (directory / OWN / "x").read_bytes() == b"1"


def test_a_full_storage_switches_to_the_fallback_of_the_executing_process(directory: Path) -> None:
    class Full(DirectoryFiles):
        def write_from(self, path: str, file: IO[bytes]) -> None:
            file.read(100)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    fallback = FallbackFiles(Full(directory), f"machinable-rescued-test-{os.getpid()}")
    with closing(FilesServer(fallback)) as server:
        server.admit("own", 1, [OWN])
        with closing(ServedFiles(server.access)) as files, files.attempt("own", 1):
            with pytest.warns(RuntimeWarning, match="can no longer write to the storage"):
                files.write_from(f"{OWN}/model", BytesIO(b"12" * 2**21))
            assert files.read(f"{OWN}/model") == b"12" * 2**21
    assert fallback.directory is not None
    DirectoryFiles("/").remove(fallback.directory.lstrip("/"))


def test_a_worker_is_not_ended_while_the_storage_is_away(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "PING_INTERVAL", 0.02)
    asked, ended = threading.Event(), threading.Event()

    def check() -> None:
        asked.set()
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    with closing(FilesServer(DirectoryFiles(directory), check=check)) as server:
        server.admit("own", 1, [OWN])
        with closing(ServedFiles(server.access, lambda reason: ended.set())) as files, files.attempt("own", 1):
            assert asked.wait(30)
            asked.clear()
            assert asked.wait(30)
            with pytest.raises(OSError, match="Stale"):
                files.write(f"{OWN}/x", b"1")
    assert not ended.is_set()


def test_the_token_is_not_shown(server: FilesServer) -> None:
    assert repr(server.access) == f"<Access 127.0.0.1:{server.access.port}>"
    assert layout.is_shared(SHARED)
