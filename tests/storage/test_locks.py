"""One of many callers gets a lease, and a holder that is gone does not block the others."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest

from machinable.errors import BadName, Damaged, InvalidValue, LeaseLost, NotAvailable, StorageUnavailable
from machinable.serialization import dumps
from machinable.storage import layout, lock_backends
from machinable.storage.files import Files
from machinable.storage.local import DirectoryFiles
from machinable.storage.lock_backends import DirectoryLeases, FileLeases, ObjectStoreLeases
from machinable.storage.locks import Lease, Locks, open_locks
from machinable.storage.memory import MemoryFiles
from machinable.storage.open import open_files
from machinable.storage.process_info import this_process
from tests.kits.redis_server import PASSWORD, RedisServer, is_installed, redis_server

PATH = layout.lease("ab" * 16)
KINDS = ["memory", "directory", "s3", "redis"]

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


class Anywhere(MemoryFiles):
    """Files that several hosts reach, without exclusive operations."""

    reach = "anywhere"
    url = "anywhere://"

    def __init__(self) -> None:
        super().__init__()
        self.url = f"anywhere://{next(_numbers)}"


_numbers = count()


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    pytest.importorskip("redis")
    if not is_installed():
        pytest.skip("there is no redis-server here")
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


class World(NamedTuple):
    """A storage and the server of its locks, if there is one; `storage` is its URL."""

    files: Files
    storage: str
    server: str | None

    def locks(self, lease: float = 30.0) -> Locks:
        """Open the locks as another process would."""
        files = self.files if self.files.reach == "process" else open_files(self.storage, create=True)
        locks = open_locks(files, self.server, lease)
        _opened.append(locks)
        return locks

    def leave(self, **facts: Any) -> None:
        """Leave a lease of another process."""
        held = {**this_process(), "lease": 30.0, "token": os.urandom(4).hex(), **facts}
        if self.server is not None:
            import redis as client

            self.files.create(layout.STORAGE_ID, b"%032d\n" % 7, "")
            name = self.files.read(layout.STORAGE_ID).decode().strip()
            with client.Redis.from_url(self.server) as connection:
                # Redis itself removes expired keys, and refuses 0 as their time.
                connection.set(f"machinable:{name}/{PATH}", dumps(held), px=max(1, int(held["lease"] * 1000)))
        else:
            self.files.write(PATH, dumps(held).encode() + b"\n")

    def process(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        """Another Python that has `locks` and `PATH`."""
        begin = (
            "import sys, os\nfrom machinable.storage.open import open_files\n"
            "from machinable.storage.locks import open_locks\n"
            f"locks = open_locks(open_files({self.storage!r}, create=True), {self.server!r})\nPATH = {PATH!r}\n"
        )
        command = [sys.executable, "-W", "error", "-W", "ignore::DeprecationWarning", "-c", begin + code, *arguments]
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


_opened: list[Locks] = []


@pytest.fixture(autouse=True)
def _close() -> Iterator[None]:
    yield
    while _opened:
        _opened.pop().close()


@pytest.fixture
def worlds(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], World]:
    def make(kind: str) -> World:
        if kind == "memory":
            return World(MemoryFiles(), "mem://", None)
        storage, server = str(tmp_path / "storage"), None
        if kind == "s3":
            storage = request.getfixturevalue("s3_folder")()
        elif kind == "redis":
            server = request.getfixturevalue("redis").url
        return World(open_files(storage, create=True), storage, server)

    return make


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, worlds: Callable[[str], World]) -> World:
    return worlds(request.param)


@pytest.fixture(params=KINDS[1:])
def shared(request: pytest.FixtureRequest, worlds: Callable[[str], World]) -> World:
    """A storage that several processes can share."""
    return worlds(request.param)


@pytest.fixture
def directory(worlds: Callable[[str], World]) -> World:
    return worlds("directory")


def race(locks: list[Locks]) -> list[Lease]:
    """Take a lease with several locks at the same moment, and return those that were taken."""
    barrier = threading.Barrier(len(locks))

    def take(one: Locks) -> Lease | None:
        barrier.wait()
        return one.take(PATH)

    with ThreadPoolExecutor(len(locks)) as pool:
        return [lease for lease in pool.map(take, locks) if lease is not None]


def taken(locks: Locks) -> Lease:
    lease = locks.take(PATH)
    assert lease is not None
    return lease


def left(files: Files, below: str = "") -> list[str]:
    """All files of a storage."""
    found = []
    for entry in files.entries(below):
        path = layout.join(below, entry.name)
        found += left(files, path) if entry.is_directory else [path]
    return found


def test_one_of_many_concurrent_callers_gets_a_lease(world: World) -> None:
    many = [world.locks() for _ in range(8)]
    for _ in range(5):
        (lease,) = race(many)
        assert lease.is_held
        lease.release()
        assert not lease.is_held


def test_a_released_lease_can_be_taken_again_and_leaves_no_file(world: World) -> None:
    one, other = world.locks(), world.locks()
    with taken(one) as lease:
        assert (lease.path, other.take(PATH), one.take(PATH)) == (PATH, None, None)
        assert other.take(layout.lease("cd" * 16)) is not None
    assert other.holder(PATH) is None
    with taken(other):
        pass
    other.close()
    lease.release()  # once more changes nothing
    expected = [] if world.server is None else [layout.STORAGE_ID]
    assert [path for path in left(world.files) if not path.startswith(".machinable")] == expected


def test_others_see_only_the_facts_of_the_holder(world: World) -> None:
    locks = world.locks()
    assert locks.holder(PATH) is None
    locks.take(PATH, {"execution": "OY1p1o", "uid": "9c2EapVGXnPH"})
    held = world.locks().holder(PATH) or {}
    assert {key: held.pop(key) for key in ("execution", "uid", "host", "pid")} == {
        "execution": "OY1p1o",
        "uid": "9c2EapVGXnPH",
        "host": os.uname().nodename,
        "pid": os.getpid(),
    }
    assert sorted(held) == (["time"] if world.storage == "mem://" else ["heartbeat", "time"])
    assert all(moment.endswith("+00:00") for moment in held.values())


def test_all_fields_of_a_lease_are_documented(directory: World) -> None:
    lease = directory.locks().take(PATH, {"execution": "OY1p1o", "uid": "9c2EapVGXnPH"})
    stored = json.loads(directory.files.read(PATH))
    text = (Path(__file__).parents[2] / "docs" / "storage-format.md").read_text(encoding="utf-8")
    table = text.partition("| field of a lease |")[2].partition("\n\n")[0]
    assert lease is not None
    assert [*stored, "renewals"] == re.findall(r"^\| `([a-z]+)` \|", table, re.MULTILINE)


def test_closing_releases_all_leases(world: World) -> None:
    locks = world.locks()
    lease = locks.take(PATH)
    locks.close()
    locks.close()
    assert lease is not None and not lease.is_held
    assert world.locks().take(PATH) is not None
    with pytest.raises(ValueError, match="these locks are closed"):
        locks.take(PATH)


def test_a_path_outside_of_the_storage_is_refused(world: World) -> None:
    for act in (world.locks().take, world.locks().holder):
        with pytest.raises(BadName):
            act("../x.lease")


def test_a_waiting_caller_gets_a_released_lease(world: World) -> None:
    lease = world.locks().take(PATH, {"execution": "OY1p1o"})
    assert lease is not None
    holders: list[Any] = []

    def waiting(facts: Any) -> None:
        holders.append(facts["execution"])
        lease.release()

    got = world.locks().wait(PATH, waiting=waiting)
    assert got is not None and got.is_held
    assert holders == ["OY1p1o"]


def test_waiting_ends_when_the_lease_is_no_longer_needed(world: World) -> None:
    world.locks().take(PATH)
    answers = iter([False, False, True])
    assert world.locks().wait(PATH, unless=lambda: next(answers)) is None


# --- holders that are gone

HOLD = "lease = locks.take(PATH, {'execution': 'OY1p1o'})\nprint(lease.is_held, flush=True)\nsys.stdin.read()\n"


@pytest.fixture
def dead() -> dict[str, Any]:
    """The facts of a process of this host that has ended."""
    code = "from machinable.storage.process_info import this_process; import json; print(json.dumps(this_process()))"
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    facts: dict[str, Any] = json.loads(out)
    return facts


@pytest.mark.parametrize("is_reaped", [True, False])
def test_the_lease_of_a_killed_holder_on_this_host_is_taken_over_at_once(shared: World, is_reaped: bool) -> None:
    locks = shared.locks()
    with shared.process(HOLD) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "True\n"
        assert locks.take(PATH) is None
        held = locks.holder(PATH) or {}
        assert (held["execution"], held["pid"]) == ("OY1p1o", holder.pid)
        os.kill(holder.pid, signal.SIGKILL)
        if is_reaped:
            holder.wait()
        else:  # it has ended, and is still listed
            os.waitid(os.P_PID, holder.pid, os.WEXITED | os.WNOWAIT)
        lease = locks.take(PATH)
        assert lease is not None and lease.is_held
        holder.stdin.close()


def test_one_of_many_callers_takes_over_from_an_ended_holder(world: World, dead: dict[str, Any]) -> None:
    many = [world.locks() for _ in range(8)]
    for _ in range(5):
        world.leave(**dead)
        (lease,) = race(many)
        assert many[0].take(PATH) is None
        lease.release()


def test_a_process_with_the_same_id_is_not_the_holder(world: World) -> None:
    world.leave(born="12")
    assert world.locks().take(PATH) is not None


@pytest.mark.parametrize(
    "facts", [{"host": "elsewhere"}, {"boot": "before"}], ids=["another host", "another start of this host"]
)
def test_callers_wait_for_a_holder_on_another_host(world: World, dead: dict[str, Any], facts: dict[str, Any]) -> None:
    world.leave(**dead | facts)
    assert world.locks().take(PATH) is None


def test_a_lease_without_heartbeats_expires(world: World) -> None:
    # The holder states after how many seconds, not the waiting process.
    world.leave(host="elsewhere", lease=0.001)
    lease, locks = None, world.locks(lease=1000.0)
    while lease is None:  # the server of Redis takes a millisecond, and memory has no clock
        lease = locks.take(PATH)
    assert lease.is_held


class Clock:
    """The monotonic clock of waiting processes."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr("machinable.storage.locks.time", self)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


@pytest.mark.parametrize("kind", ["memory", "directory", "s3"])
def test_only_those_who_watch_a_lease_see_it_expire(
    kind: str, worlds: Callable[[str], World], clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = worlds(kind)
    world.leave(host="elsewhere")
    locks = world.locks()
    assert locks.take(PATH) is None
    for step in (-3600, 0, 86400):  # the clock of this host is set
        set_to = SimpleNamespace(time_ns=lambda step=step: time.time_ns() + step * 10**9, monotonic=time.monotonic)
        monkeypatch.setattr(lock_backends, "time", set_to)
        if kind == "directory":  # and that of the file server
            os.utime(Path(world.storage, PATH), (time.time() + step,) * 2)
            assert locks.take(PATH) is None  # a heartbeat
        clock.now += 29
        assert locks.take(PATH) is None
        world.leave(host="elsewhere", renewals=step)
        assert locks.take(PATH) is None
        assert world.locks().take(PATH) is None
    clock.now += 30
    assert world.locks().take(PATH) is None
    assert locks.take(PATH) is not None


@pytest.mark.parametrize("stated", [1e300, float("nan"), float("inf"), -1.0, 0, True, "30", None, [30], {"s": 30}])
def test_a_lease_of_an_impossible_time_is_over_after_the_usual_one(world: World, clock: Clock, stated: Any) -> None:
    if world.server is not None:
        pytest.skip("the server has its own time for each lease")
    world.leave(host="elsewhere", lease=stated)
    locks = world.locks()
    assert locks.take(PATH) is None
    clock.now += 29
    assert locks.take(PATH) is None
    clock.now += 1
    assert locks.take(PATH) is not None


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"null",
        b'{"token": 1}',
        b'{"token": "t", "pid": "1"}',
        b'{"token": "t", "host": {"__map__": []}}',
        b'{"token": "t", "renewals": []}',
        b'{"token": "t", "time": "?"}',
        b"[" * 100_000,
    ],
)
def test_an_unreadable_lease_expires_when_it_is_watched(directory: World, clock: Clock, content: bytes) -> None:
    directory.files.write(PATH, content)
    locks = directory.locks()
    assert locks.take(PATH) is None
    assert set(locks.holder(PATH) or {}) == {"heartbeat"}
    clock.now += 30
    assert locks.take(PATH) is not None


def test_taking_over_watches_a_holder_on_another_host(shared: World) -> None:
    world, watched = shared, []
    world.leave(host="elsewhere", execution="OY1p1o", lease=0.3)
    lease = world.locks().take_over(PATH, watching=lambda facts, seconds: watched.append((facts["host"], seconds)))
    assert lease is not None and lease.is_held
    assert watched in ([("elsewhere", 0.3)], [])  # a lock server may have removed it before
    lease.release()


def test_a_holder_that_writes_a_heartbeat_is_not_taken_over(shared: World) -> None:
    holder = shared.locks(lease=60.0)
    lease = taken(holder)
    other = shared.process(ELSEWHERE + "print(locks.take_over(PATH, watching=watching))")
    assert other.stdout is not None and other.stdin is not None
    assert other.stdout.readline() == f"watching {os.getpid()}\n"
    lease._renew()
    other.stdin.close()
    assert other.stdout.readline() == "None\n"
    assert other.wait() == 0
    other.stdout.close()
    lease.check()


ELSEWHERE = """
from machinable.storage import process_info
real = process_info._described
process_info._described = lambda pid: {**real(pid), "host": "elsewhere"}
def watching(facts, seconds):
    print("watching", facts["pid"], flush=True)
    sys.stdin.read()
"""


def test_a_stopped_holder_on_this_host_is_not_gone(shared: World) -> None:
    if shared.server is not None:
        pytest.skip("a lock server removes leases without heartbeats by itself")
    with shared.process(HOLD) as holder:
        assert holder.stdout is not None and holder.stdin is not None
        assert holder.stdout.readline() == "True\n"
        os.kill(holder.pid, signal.SIGSTOP)
        os.waitpid(holder.pid, os.WUNTRACED)
        locks = shared.locks(lease=0.01)
        for _ in range(3):
            assert locks.take(PATH) is None
            assert locks.take_over(PATH) is None
        os.kill(holder.pid, signal.SIGCONT)
        holder.stdin.close()


# --- heartbeats


def test_a_lease_is_renewed_automatically(world: World) -> None:
    locks = world.locks()
    locks._interval = 0.05
    lease = taken(locks)
    marks = set()
    while len(marks) < 3:
        assert lease.is_held
        marks.add(lease._last)
        time.sleep(0.01)
    assert world.locks().take(PATH) is None
    lease.release()
    assert locks.holder(PATH) is None


def test_a_former_holder_notices_that_its_lease_was_taken_over(world: World) -> None:
    locks = world.locks()
    lease = taken(locks)
    world.leave(host="elsewhere", execution="OY1p1o")
    lease._renew()
    assert not lease.is_held
    lease.release()
    assert (locks.holder(PATH) or {})["execution"] == "OY1p1o"


def test_a_former_holder_does_not_release_the_lease_of_the_new_one(world: World) -> None:
    locks = world.locks()
    lease = taken(locks)
    lease._last -= 1000
    world.leave(host="elsewhere", execution="OY1p1o")
    lease.release()
    assert (locks.holder(PATH) or {})["execution"] == "OY1p1o"


def test_a_lease_that_was_removed_is_lost(shared: World) -> None:
    lease = taken(shared.locks())
    if shared.server is None:
        shared.files.remove(PATH)
    else:
        shared.locks()._leases.remove(PATH, lease._facts, True)
    lease._renew()
    assert not lease.is_held


def test_a_former_holder_is_told_who_has_taken_over(world: World) -> None:
    locks = world.locks()
    lease = taken(locks)
    lease.check()
    world.leave(host="elsewhere", pid=4711)
    lease._last -= 1000
    lost: list[str] = []
    lease.on_lost = lambda: lost.append("lost")
    for _ in range(2):
        with pytest.raises(LeaseLost, match="process 4711 on elsewhere has taken it over"):
            lease.check()
    assert lost == ["lost"]
    assert not lease.is_held


def test_an_overdue_lease_that_nobody_took_is_renewed(world: World) -> None:
    lease = taken(world.locks())
    lease._last -= 1000
    assert not lease.is_held
    lease.check()
    assert lease.is_held


def test_in_a_directory_a_former_holder_notices_without_waiting_for_a_heartbeat(directory: World) -> None:
    lease = taken(directory.locks())
    lease.check()
    os.unlink(Path(directory.storage, PATH))
    with pytest.raises(LeaseLost, match="another process has taken it over"):
        lease.check()


def test_a_lease_that_cannot_be_renewed_in_time_is_not_held(directory: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = taken(directory.locks(lease=1000.0))

    def fail(*arguments: Any) -> bool:
        raise OSError("the disk is away")

    monkeypatch.setattr(DirectoryLeases, "renew", fail)
    lease._renew()
    assert lease.is_held
    lease._last -= 1000
    assert not lease.is_held


def test_a_storage_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> None:
        raise OSError(30, "Read-only file system")

    locks = open_locks(DirectoryFiles(tmp_path))
    monkeypatch.setattr(os, "makedirs", fail)
    with pytest.raises(StorageUnavailable) as caught:
        locks.take("a.lease")
    assert str(caught.value) == (
        f"cannot write to the storage {tmp_path}: Read-only file system\n  Check its permissions and the free space."
    )


def test_a_lease_that_cannot_be_released_is_a_warning(directory: World, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = taken(directory.locks())

    def fail(*arguments: Any) -> None:
        raise OSError("the disk is away")

    monkeypatch.setattr(DirectoryLeases, "remove", fail)
    with pytest.warns(RuntimeWarning, match="could not release a lease, .*, for other hosts in 30 s: the disk is away"):
        lease.release()


# --- processes

ADD = """
path = sys.argv[1]
for _ in range(10):
    with locks.wait(PATH):
        with open(path) as file:
            number = int(file.read())
        with open(path, "w") as file:
            file.write(str(number + 1))
"""


def test_processes_take_turns(shared: World, tmp_path: Path) -> None:
    (tmp_path / "number").write_text("0")
    processes = [shared.process(ADD, str(tmp_path / "number")) for _ in range(3)]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert (tmp_path / "number").read_text() == "30"


FORK = """
lease = locks.take(PATH)
child = os.fork()
if child == 0:
    assert not lease.is_held
    lease.release()
    locks.close()
    other = locks2.take("other.lease")
    assert other.is_held and locks2._thread.is_alive() and locks2.take(PATH) is None
    other.release()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert lease.is_held
lease._renew()
assert lease.is_held
print("done")
"""


def test_a_forked_process_does_not_hold_the_leases_of_its_parent(shared: World) -> None:
    first = f"locks2 = open_locks(open_files({shared.storage!r}, create=True), {shared.server!r})\n"
    with shared.process(first + "assert locks2.take('first.lease')\n" + FORK) as process:
        assert process.communicate()[0] == "done\n"


def test_leftovers_of_a_process_that_was_killed_while_taking_a_lease_do_no_harm(
    directory: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "unlink", lambda path: None)  # as if it had been killed before
    lease = directory.locks().take(PATH)
    monkeypatch.undo()
    assert lease is not None
    assert [entry.name for entry in directory.files.entries(layout.join("by-content", "ab"))] == [PATH[14:]]
    lease.release()
    with taken(directory.locks()):
        pass


# --- storages with fewer guarantees


def test_without_exclusive_operations_locks_are_advisory_with_one_warning() -> None:
    files = Anywhere()
    one, other = Locks(FileLeases(files)), Locks(FileLeases(files))
    with pytest.warns(RuntimeWarning, match=f"locks in {files.url} are advisory"):
        lease = one.take(PATH)
    assert lease is not None and other.take(PATH) is None
    lease._renew()
    assert lease.is_held
    assert (other.holder(PATH) or {})["pid"] == os.getpid()
    lease.release()
    assert other.holder(PATH) is None
    assert isinstance(open_locks(files)._leases, FileLeases)


def test_without_a_clock_a_lease_expires_when_it_has_not_changed_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from machinable.storage import locks as module

    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    files = Anywhere()
    lock_backends._advised.add(files.url)
    holder, waiter = Locks(FileLeases(files)), Locks(FileLeases(files))
    facts = {**this_process(), "host": "elsewhere", "lease": 30.0, "token": "t"}
    FileLeases(files).take(PATH, facts, lambda found: False)
    assert waiter.take(PATH) is None
    now[0] += 29
    assert waiter.take(PATH) is None
    FileLeases(files).renew(PATH, facts)
    now[0] += 29
    assert waiter.take(PATH) is None
    now[0] += 29
    assert waiter.take(PATH) is None
    now[0] += 2
    monkeypatch.setattr(module.threading.Thread, "start", lambda thread: None)
    assert waiter.take(PATH) is not None
    assert holder.take(PATH) is None


def test_a_file_system_without_locks_is_used_with_a_warning(directory: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    lease = taken(directory.locks())
    assert directory.locks().take(PATH) is None
    with pytest.warns(RuntimeWarning, match="are advisory"):
        lease.release()
    assert directory.locks().take(PATH) is not None


def test_a_file_system_without_hard_links_works(directory: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (lease,) = race([directory.locks() for _ in range(8)])
    assert (directory.locks().holder(PATH) or {})["pid"] == os.getpid()
    lease.release()
    assert directory.locks().take(PATH) is not None


def test_waiting_for_the_lock_of_a_lease_file_ends(directory: World, monkeypatch: pytest.MonkeyPatch) -> None:
    directory.leave(host="elsewhere", lease=0.001, token="x")
    monkeypatch.setattr(lock_backends, "FILE_LOCK_TIMEOUT", 0.05)
    locks = directory.locks()
    with open(Path(directory.storage, PATH)) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert locks.take(PATH) is locks.take(PATH) is None
        with pytest.raises(TimeoutError, match="holds the lock of the lease"):
            directory.locks()._leases.renew(PATH, {"token": "x"})
    assert locks.take_over(PATH) is not None


def test_a_server_without_conditions_has_advisory_locks(worlds: Callable[[str], World]) -> None:
    world = worlds("s3")
    world.files._is_conditional = False  # type: ignore[attr-defined]
    one, other = Locks(ObjectStoreLeases(world.files)), world.locks()  # type: ignore[arg-type]
    lease = one.take(PATH)
    assert lease is not None and other.take(PATH) is None
    lease._renew()
    assert lease.is_held
    one.close()
    assert other.take(PATH) is not None


def test_on_an_object_store_a_lease_costs_two_requests(worlds: Callable[[str], World]) -> None:
    world = worlds("s3")
    locks = world.locks()
    taken(locks).release()
    asked: list[str] = []
    files: Any = locks._leases._files  # type: ignore[attr-defined]
    ask = files._ask
    files._ask = lambda operation, **more: asked.append(operation) or ask(operation, **more)
    taken(locks).release()
    assert asked == ["put_object", "delete_objects"]


def test_a_takeover_whose_answer_was_lost_is_noticed(worlds: Callable[[str], World]) -> None:
    world = worlds("s3")
    world.leave(host="elsewhere", lease=0.001)
    locks = world.locks()
    files: Any = locks._leases._files  # type: ignore[attr-defined]
    real = files.replace_if
    files.replace_if = lambda *arguments: real(*arguments) and False
    lease = locks.take_over(PATH)
    assert lease is not None
    lease._renew()
    assert lease.is_held


# --- Redis


def test_an_unreachable_lock_server_is_named_without_its_password() -> None:
    pytest.importorskip("redis")
    import socket

    with socket.socket() as free:  # a port that is bound but not listening refuses connections
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(StorageUnavailable) as caught:
            open_locks(MemoryFiles(), f"redis://me:{PASSWORD}@127.0.0.1:{port}/0")
    assert f"the lock server at 127.0.0.1:{port} cannot be used" in str(caught.value)
    assert "MACHINABLE_LOCKS" in str(caught.value)
    assert PASSWORD not in str(caught.value) + repr(caught.value) + repr(caught.value.__cause__)


def test_a_wrong_password_is_an_error_that_does_not_contain_it(redis: RedisServer) -> None:
    with pytest.raises(StorageUnavailable) as caught:
        open_locks(MemoryFiles(), redis.url.replace(PASSWORD, "wrong-canary"))
    assert f"the lock server at 127.0.0.1:{redis.port} cannot be used" in str(caught.value)
    assert "wrong-canary" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://host", "host:6379", "", "redis://host:port/0", "redis://host/0?db=x"])
def test_a_url_that_is_no_lock_server_is_refused(url: str) -> None:
    pytest.importorskip("redis")
    with pytest.raises(InvalidValue, match="is not a lock server"):
        open_locks(MemoryFiles(), url)


def test_without_the_redis_client_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(NotAvailable, match=r"pip install 'machinable-engine\[redis\]'") as caught:
        open_locks(MemoryFiles(), f"redis://:{PASSWORD}@127.0.0.1:6379/0")
    assert PASSWORD not in str(caught.value)


def test_a_lost_lock_server_is_an_error(tmp_path: Path) -> None:
    pytest.importorskip("redis")
    if not is_installed():
        pytest.skip("there is no redis-server here")
    with redis_server(tmp_path) as server:
        locks = open_locks(DirectoryFiles(tmp_path), server.url)
        lease = locks.take(PATH)
        assert lease is not None
        server.process.kill()
        server.process.wait()
        with pytest.raises(StorageUnavailable, match=f"the lock server at 127.0.0.1:{server.port} cannot be used"):
            locks.take("other.lease")
        lease._renew()
        assert lease.is_held
        with pytest.warns(RuntimeWarning, match="could not release a lease"):
            lease.release()
        locks.close()


def test_storages_that_share_a_lock_server_do_not_share_their_locks(redis: RedisServer, tmp_path: Path) -> None:
    one, other = (open_locks(DirectoryFiles(tmp_path / name), redis.url) for name in ("a", "b"))
    assert one.take(PATH) is not None
    assert other.take(PATH) is not None
    for locks in (one, other):
        locks.close()


@pytest.mark.parametrize("kind", ["directory", "s3"])
def test_a_storage_that_is_reached_by_two_paths_has_one_set_of_locks(
    kind: str, redis: RedisServer, worlds: Callable[[str], World], tmp_path: Path
) -> None:
    world = worlds(kind)
    if kind == "directory":
        before, after = world.files, tmp_path / "mounted"
        first = open_locks(before, redis.url)
        lease = taken(first)
        (tmp_path / "storage").rename(after)  # what a second mount looks like, without rights to mount
        second = open_locks(DirectoryFiles(after), redis.url)
    else:
        first = open_locks(world.files, redis.url)
        lease = taken(first)
        other = open_files(world.storage, create=True)
        other.url = "s3://the-same-bucket-by-another-name"
        second = open_locks(other, redis.url)
    assert second.take(PATH) is None
    assert (second.holder(PATH) or {})["pid"] == os.getpid()
    lease.release()
    assert second.take(PATH) is not None
    for locks in (first, second):
        locks.close()


@pytest.mark.parametrize("storage", ["memory", "directory", "without exclusive operations"])
def test_processes_that_start_together_agree_on_the_id_of_the_storage(
    storage: str, redis: RedisServer, tmp_path: Path
) -> None:
    class Slow(MemoryFiles):
        def exists(self, path: str) -> bool:
            there = super().exists(path)
            time.sleep(0.01)
            return there

    files = {"memory": MemoryFiles(), "directory": DirectoryFiles(tmp_path / "x")}.get(storage) or Slow()
    many = [open_locks(files, redis.url) for _ in range(8)]
    (lease,) = race(many)
    lease.release()
    for locks in many:
        locks.close()


def test_looking_at_locks_on_a_server_writes_nothing(redis: RedisServer, tmp_path: Path) -> None:
    (tmp_path / "storage").mkdir()
    with closing(open_locks(DirectoryFiles(tmp_path / "storage"), redis.url)) as locks:
        assert locks.holder(PATH) is None
    assert left(DirectoryFiles(tmp_path / "storage")) == []


def test_locks_in_the_storage_need_no_id(directory: World) -> None:
    with taken(directory.locks()):
        assert not directory.files.exists(layout.STORAGE_ID)


def test_a_damaged_id_of_a_storage_is_an_error_that_names_its_file(redis: RedisServer, tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    files.write(layout.STORAGE_ID, b"a key of another storage/*")
    with closing(open_locks(files, redis.url)) as locks, pytest.raises(Damaged) as caught:
        locks.take(PATH)
    assert caught.value.message == f"{tmp_path}/by-content/storage-id is not an id of 32 hexadecimal digits"


def test_leases_on_a_lock_server_expire_there(redis: RedisServer) -> None:
    import redis as client

    files = MemoryFiles()
    locks = open_locks(files, redis.url, lease=30.0)
    locks.take(PATH)
    with client.Redis.from_url(redis.url) as connection:
        name = files.read(layout.STORAGE_ID).decode().strip()
        assert 0 < connection.pttl(f"machinable:{name}/{PATH}") <= 30_000
    locks.close()


def test_taking_a_lock_imports_no_client_of_a_server(tmp_path: Path) -> None:
    code = (
        "import sys\nfrom machinable.storage.local import DirectoryFiles\n"
        "from machinable.storage.memory import MemoryFiles\n"
        "from machinable.storage.locks import open_locks\n"
        "for files in (MemoryFiles(), DirectoryFiles(sys.argv[1])):\n"
        "    with open_locks(files).take('x.lease'):\n        pass\n"
        "assert not {'boto3', 'fs', 'redis', 'machinable.storage.s3'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path)], check=True)
