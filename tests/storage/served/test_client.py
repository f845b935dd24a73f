"""Files that another process serves: over real sockets, with connections that break."""

from __future__ import annotations

import io
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from io import BytesIO
from pathlib import Path
from queue import Queue
from typing import Any

import pytest

from machinable.errors import BadName, StorageError, StorageUnavailable
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.locks import open_locks
from machinable.storage.memory import MemoryFiles
from machinable.storage.served import client
from machinable.storage.served.client import ServedFiles, ServedLeases
from machinable.storage.served.messages import Access
from machinable.storage.served.server import FilesServer
from tests.kits.storage import FilesConformance

EVERYTHING = [""]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[FilesServer]:
    with closing(FilesServer(DirectoryFiles(tmp_path))) as server:
        server.admit("t", 1, EVERYTHING)
        yield server


@contextmanager
def opened(server: FilesServer, port: int | None = None, **options: Any) -> Iterator[ServedFiles]:
    access = server.access
    if port is not None:
        access = Access(access.host, port, access.token, access.url, access.appends)
    with closing(ServedFiles(access, **options)) as files, files.attempt("t", 1):
        yield files


class TestServedDirectory(FilesConformance):
    @pytest.fixture
    def files(self, served: FilesServer) -> Iterator[Files]:
        with opened(served) as files:
            yield files


class TestServedMemory(FilesConformance):
    @pytest.fixture
    def files(self) -> Iterator[Files]:
        with closing(FilesServer(MemoryFiles())) as server:
            server.admit("t", 1, EVERYTHING)
            with opened(server) as files:
                yield files


class NumberedFiles(MemoryFiles):
    """A storage whose files cannot grow."""

    appends = False


class TestServedNumberedParts(FilesConformance):
    @pytest.fixture
    def files(self) -> Iterator[Files]:
        with closing(FilesServer(NumberedFiles())) as server:
            server.admit("t", 1, EVERYTHING)
            with opened(server) as files:
                yield files


# connections that break


class Proxy:
    """Forwards connections to a server, and breaks the next one after some bytes of one direction."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self.rest: dict[str, int] = {}  # bytes until the break, by direction
        self.breaks = 0
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []
        self._start(self._accept)

    def _start(self, target: Callable[..., None], *arguments: Any) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                self._sockets.append(near)
                far = socket.create_connection(("127.0.0.1", self._target))
                self._sockets.append(far)
                ends = threading.Barrier(2)
                self._start(self._forward, "request", near, far, ends)
                self._start(self._forward, "reply", far, near, ends)

    def _forward(self, direction: str, source: socket.socket, target: socket.socket, ends: threading.Barrier) -> None:
        with suppress(OSError):
            while data := source.recv(2**16):
                if direction in self.rest:
                    data, left = data[: self.rest[direction]], self.rest[direction] - len(data)
                    self.rest[direction] = left
                    if left <= 0:
                        del self.rest[direction]
                        self.breaks += 1
                        target.sendall(data)
                        break
                target.sendall(data)
        for end in (source, target):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        ends.wait()  # until then, the other thread may receive from it
        source.close()

    def close(self) -> None:
        for end in (self._listening, *self._sockets):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for end in (self._listening, *self._sockets):
            end.close()


@pytest.fixture
def proxy(served: FilesServer) -> Iterator[Proxy]:
    with closing(Proxy(served.access.port)) as proxy:
        yield proxy


BIG = bytes(range(256)) * 2**14  # 4 MiB
CHANGES: dict[str, tuple[Callable[[Files], Any], Any]] = {
    "write": (lambda files: files.write("new", b"1" * 1000), None),
    "a large write": (lambda files: files.write("new", BIG), None),
    "write from a file": (lambda files: files.write_from("new", BytesIO(BIG)), None),
    "create": (lambda files: files.create("new", b"1" * 1000, "me"), True),
    "create a directory": (lambda files: files.create_directory("new/folder"), True),
    "move": (lambda files: files.move("old", "new"), None),
    "remove": (lambda files: files.remove("old"), None),
    "read": (lambda files: files.read("old"), b"old\n"),
    "read a large file": (lambda files: files.read("large") == BIG, True),
    "list": (lambda files: [entry.name for entry in files.entries("")], ["large", "old"]),
    "append": (lambda files: append(files, "old", b"2\n"), None),
    "take a lease": (lambda files: open_locks(files).take(layout.lease("ab" * 16)) is not None, True),
}


def append(files: Files, path: str, *lines: bytes) -> None:
    with closing(files.appender(path)) as appender:
        for line in lines:
            appender.write(line)


def contents(directory: Path) -> dict[str, Any]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in directory.rglob("*")
        if not path.name.endswith(".lease")
    }


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize(
    ("direction", "size"), [("request", 1), ("request", 150), ("request", 2**21), ("reply", 1), ("reply", 2**21)]
)
def test_a_request_whose_connection_breaks_is_carried_out_exactly_once(
    name: str,
    direction: str,
    size: int,
    served: FilesServer,
    proxy: Proxy,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    act, expected = CHANGES[name]
    expected_directory = tmp_path_factory.mktemp("expected")
    for directory in (tmp_path, expected_directory):
        (directory / "old").write_bytes(b"old\n")
        (directory / "large").write_bytes(BIG)
    act(DirectoryFiles(expected_directory))

    with opened(served, proxy.port) as files:
        files.exists("old")  # connects
        proxy.rest[direction] = size

        assert act(files) == expected

    assert contents(tmp_path) == contents(expected_directory)
    assert proxy.breaks == (direction not in proxy.rest)


def test_a_file_that_changed_while_the_connection_was_broken_is_not_mixed(
    served: FilesServer, proxy: Proxy, tmp_path: Path
) -> None:
    (tmp_path / "large").write_bytes(BIG * 16)  # more than the system sends ahead
    with opened(served, proxy.port) as files:
        pieces = files.pieces("large")
        assert next(pieces) == BIG[: 2**20]
        proxy.rest["reply"] = 0
        (tmp_path / "new").write_bytes(BIG[::-1] * 16)
        (tmp_path / "new").rename(tmp_path / "large")
        with pytest.raises(StorageUnavailable, match="'large' has changed while it was read"):
            list(pieces)


def test_every_line_is_appended_once_and_in_order_however_often_the_connection_breaks(
    served: FilesServer, proxy: Proxy, tmp_path: Path
) -> None:
    lines = [b"%d\n" % number for number in range(3000)]

    with opened(served, proxy.port) as files, closing(files.appender("rows.jsonl")) as appender:
        for number, line in enumerate(lines):
            if number % 100 == 0:
                files.exists("x")
                proxy.rest["request" if number % 200 else "reply"] = 40 + number % 97
            appender.write(line)

    assert (tmp_path / "rows.jsonl").read_bytes() == b"".join(lines)
    assert proxy.breaks > 20


def test_nothing_half_written_appears_when_a_client_is_gone(served: FilesServer, tmp_path: Path) -> None:
    (tmp_path / "model").write_bytes(b"complete")
    program = """
import sys
from machinable.storage.served.client import ServedFiles, ServedLeases
from machinable.storage.served.messages import Access
import os
files = ServedFiles(Access("127.0.0.1", int(sys.argv[1]), bytes.fromhex(sys.argv[2]), "x", True))
class Endless:
    def tell(self): return 0
    def read(self, size):
        print("sent", flush=True)
        return bytes(size)
with files.attempt("t", 1):
    files.write_from("model", Endless())
"""
    with subprocess.Popen(
        [sys.executable, "-c", program, str(served.access.port), served.access.token.hex()], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for _ in range(5):
            process.stdout.readline()
        process.kill()
        process.stdout.read()
    served.dismiss("t")  # waits for what is being written

    assert contents(tmp_path) == {"model": b"complete"}


def test_what_was_appended_is_seen_before_what_is_written_later(served: FilesServer, tmp_path: Path) -> None:
    with opened(served) as files:
        appender = files.appender("rows.jsonl")
        for number in range(50):
            appender.write(b"%d\n" % number)
            files.write("status.json", b"%d" % number)
            assert (tmp_path / "rows.jsonl").read_bytes().endswith(b"%d\n" % number)
        appender.close()


def test_appended_data_is_seen_although_nothing_else_is_sent(served: FilesServer, tmp_path: Path) -> None:
    with opened(served) as files:
        appender = files.appender("rows.jsonl")
        appender.write(b"1\n")
        while not (tmp_path / "rows.jsonl").exists():
            pass
        appender.close()


def test_a_forked_process_uses_its_own_connections(served: FilesServer, tmp_path: Path) -> None:
    with opened(served) as files:
        appender = files.appender("rows.jsonl")
        files.write("mine", b"1")
        appender.write(b"parent\n")
        child = os.fork()
        if child == 0:
            files.write("forked", b"2")
            other = files.appender("forked.jsonl")
            other.write(b"child\n")
            other.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        files.write("mine", b"3")
        appender.close()

    assert contents(tmp_path) == {
        "mine": b"3",
        "forked": b"2",
        "forked.jsonl": b"child\n",
        "rows.jsonl": b"parent\n",
    }


# who may connect


def test_another_token_is_refused(served: FilesServer, tmp_path: Path) -> None:
    other = Access("127.0.0.1", served.access.port, os.urandom(32), "x", True)

    with (
        closing(ServedFiles(other)) as files,
        files.attempt("t", 1),
        pytest.raises(StorageUnavailable, match=r"the server at 127.0.0.1:\d+ does not have the token"),
    ):
        files.write("x", b"1")

    assert contents(tmp_path) == {}


def test_a_server_that_is_gone_is_reported_and_ends_the_worker(
    served: FilesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE_IF_REFUSED", 0.1)
    lost: list[str] = []
    with opened(served, on_lost=lost.append) as files:
        files.write("x", b"1")
        served.close()
        with pytest.raises(StorageUnavailable, match=r"the executing process, which writes to the storage .*refused"):
            files.write("x", b"2")
    assert lost[0].startswith("the executing process, which writes to the storage ")


def test_a_worker_that_writes_nothing_notices_that_the_server_is_gone(
    served: FilesServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "PATIENCE_IF_REFUSED", 0.1)
    monkeypatch.setattr(client, "PING_INTERVAL", 0.05)
    lost = threading.Event()
    with opened(served, on_lost=lambda reason: lost.set()) as files:
        files.connect()
        served.close()
        assert lost.wait(30)


def test_a_worker_whose_attempt_is_over_is_told_and_writes_nothing(
    served: FilesServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(client, "PING_INTERVAL", 0.05)
    lost: Queue[str] = Queue()
    with opened(served, on_lost=lost.put) as files:
        files.write("x", b"1")
        served.dismiss("t")
        served.admit("t", 2, EVERYTHING)
        assert lost.get(timeout=30) == "attempt 1 of the trial t is over"
        with pytest.raises(StorageError, match="attempt 1 of the trial t is over"):
            files.write("x", b"2")
    assert contents(tmp_path) == {"x": b"1"}


# leases


def test_a_lease_is_taken_once_and_renewed_by_the_clock_of_the_storage(served: FilesServer) -> None:
    path = layout.lease("cd" * 16)
    with (
        opened(served) as files,
        opened(served) as other,
        closing(open_locks(files)) as locks,
        closing(open_locks(other)) as others,
    ):
        with locks.take(path, {"execution": "X"}) as lease:  # type: ignore[union-attr]
            assert others.take(path) is None
            assert (others.holder(path) or {})["execution"] == "X"
            lease._renew()
            assert lease.is_held
        assert others.take(path) is not None


def test_a_lease_is_replaced_only_if_it_is_unchanged_and_its_holder_is_told(served: FilesServer) -> None:
    path = layout.lease("cd" * 16)
    with opened(served) as files, opened(served) as other, closing(open_locks(files)) as locks:
        lease = locks.take(path)
        leases = ServedLeases(other)
        found = leases.find(path)
        assert (lease is not None, found is not None) == (True, True)
        assert leases._replace(path, {"token": "other"}, found.mark)  # type: ignore[union-attr]
        assert not leases._replace(path, {"token": "third"}, found.mark)  # type: ignore[union-attr]
        lease._renew()  # type: ignore[union-attr]
        assert not lease.is_held  # type: ignore[union-attr]
        assert leases.find(path).facts == {"token": "other"}  # type: ignore[union-attr]


def test_one_of_several_clients_takes_a_lease_in_memory() -> None:
    path = layout.lease("cd" * 16)
    with closing(FilesServer(MemoryFiles())) as server:
        server.admit("t", 1, EVERYTHING)
        barrier = threading.Barrier(4)
        with opened(server) as files, ThreadPoolExecutor(4) as pool:

            def race(_: int) -> bool:
                with closing(open_locks(files)) as locks:
                    barrier.wait()
                    taken = locks.take(path) is not None
                    barrier.wait()
                    return taken

            assert sorted(pool.map(race, range(4))) == [False, False, False, True]


# large files


def test_a_large_file_is_sent_and_fetched_with_little_memory(tmp_path: Path) -> None:
    """Stream 256 MiB between two processes; each may need 32 MiB for that."""
    program = """
import resource, sys
from machinable.storage.served.client import ServedFiles, ServedLeases
from machinable.storage.served.messages import Access
files = ServedFiles(Access("127.0.0.1", int(sys.argv[1]), bytes.fromhex(sys.argv[2]), "x", True))
big = sys.argv[3]
with files.attempt("t", 1):
    files.write("small", b"1")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with open(big, "rb") as file:
        files.write_from("model.bin", file)
    with open(big + ".fetched", "w+b") as file:
        file.writelines(files.pieces("model.bin"))
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    serving = """
import sys, resource
from machinable.storage.local import DirectoryFiles
from machinable.storage.served.server import FilesServer
server = FilesServer(DirectoryFiles(sys.argv[1]))
server.admit("t", 1, [""])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(server.access.port, server.access.token.hex(), flush=True)
input()
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""
    big, storage = tmp_path / "big", tmp_path / "storage"
    storage.mkdir()
    with big.open("wb") as file:
        file.write(b"begin")
        file.seek(256 * 2**20)
        file.write(b"end")
    with subprocess.Popen(
        [sys.executable, "-c", serving, str(storage)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        port, token = server.stdout.readline().split()
        done = subprocess.run(
            [sys.executable, "-c", program, port, token, str(big)], capture_output=True, text=True, timeout=120
        )
        grown = server.communicate("\n", timeout=60)[0]

    assert done.stderr == ""
    assert int(done.stdout) < 32
    assert int(grown) < 32
    for copy in (storage / "model.bin", big.with_name("big.fetched")):
        with copy.open("rb") as file:
            file.seek(-8, io.SEEK_END)
            assert (copy.stat().st_size, file.read()) == (big.stat().st_size, b"\0" * 5 + b"end")


def test_the_message_for_a_path_that_leaves_the_storage_is_that_of_every_storage(served: FilesServer) -> None:
    with opened(served) as files, pytest.raises(BadName, match=r"'../x' is not a path within a storage"):
        files.read("../x")
