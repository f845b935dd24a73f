"""A process stands still, another host takes its execution over, and the process continues: nothing is mixed or lost.

`MACHINABLE_TAKEOVERS=50` says how often a process is stopped at a random moment.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import machinable as ml
from machinable.errors import StorageUnavailable
from machinable.results.verify import verify
from machinable.storage.open import open_files
from tests.conftest import World
from tests.kits.redis_server import is_installed, redis_server

TIMES = int(os.environ.get("MACHINABLE_TAKEOVERS", "2"))
YAML = "execution: {lease: 1, locks: LOCKS}\ncomponents:\n  - work: {rows: 4}\n"
WORK = """
import os
import random
import shutil
import time
from machinable import Component


class Work(Component):
    def on_execute(self):
        for step in range(self.config.rows):
            self.record["draw"] = random.random()
            self.record.save()
            self.store.write(f"{step}.json", random.random())
            if step == 1 and self.flags.REPEAT_NUMBER == 1 and "PAUSE" in os.environ:
                pause = os.environ["PAUSE"]
                open(pause, "w").close()
                while os.path.exists(pause):
                    time.sleep(0.01)
        self.log.info("done")
        print("printed")
        return random.random()
"""
EXECUTES = """
import sys
from machinable.cli import main
sys.exit(main(["execute", "work", "--repeat", "3", "--storage", sys.argv[1], "--seed", "OY1p1o", "--quiet",
               "--engine", sys.argv[2]]))
"""
RESUMES = """
import sys
from machinable.storage import process_info
real = process_info._described
process_info._described = lambda pid: {**real(pid), "host": "elsewhere"}
from machinable.execution import resume
resume.LEASE = 1.0
from machinable.cli import main
sys.exit(main(["resume", "OY1p1o", "--storage", sys.argv[1], "--quiet", "--engine", sys.argv[2]]))
"""


class Place(NamedTuple):
    """A storage, and a project that uses it with a lock server or without."""

    storage: str
    project: Path

    @contextmanager
    def start(self, code: str, engine: str, **environment: str) -> Iterator[subprocess.Popen[str]]:
        """Run a command in another process, which ends with the block."""
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "PYTHONDONTWRITEBYTECODE": "1",
        } | environment
        with subprocess.Popen(
            [sys.executable, "-c", code, self.storage, engine],
            cwd=self.project,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    def run(self, code: str, engine: str = "local") -> str:
        """Run a command that succeeds, and return what it says."""
        with self.start(code, engine) as process:
            text = process.communicate(timeout=120)[1]
        assert process.returncode == 0, text
        return text

    def outcomes(self) -> list[Any]:
        """Return everything that does not depend on time."""
        with ml.Storage(self.storage) as storage:
            return [
                (
                    trial.uid,
                    trial.status,
                    [row["draw"] for row in trial.records],
                    {name: trial.content(name) for name in trial.files},
                    trial.result,
                    trial.output,
                )
                for trial in storage["OY1p1o"].trials
            ]

    def has_begun(self) -> bool:
        try:
            with ml.Storage(self.storage) as storage:
                return "OY1p1o" in [str(one) for one in storage.executions]
        except StorageUnavailable:
            return False

    def faults(self) -> list[Any]:
        with closing(open_files(self.storage, create=False)) as files:
            return verify(files)[1]

    def ledger(self) -> list[dict[str, Any]]:
        with ml.Storage(self.storage) as storage:
            from machinable.storage.documents import EVENT, read_rows

            return read_rows(storage.files, "OY1p1o/ledger.jsonl", EVENT)


@pytest.fixture(params=["directory", "s3", "redis"])
def place(request: pytest.FixtureRequest, project: World, tmp_path: Path) -> Iterator[Place]:
    if request.param == "redis":
        pytest.importorskip("redis")
        if not is_installed():
            pytest.skip("there is no redis-server here")
        with redis_server(tmp_path) as server:
            yield Place(str(tmp_path / "s"), project(YAML.replace("LOCKS", server.url), work=WORK))
        return
    storage = str(tmp_path / "s") if request.param == "directory" else request.getfixturevalue("s3_folder")()
    yield Place(storage, project(YAML.replace("LOCKS", "storage"), work=WORK))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    """Return what an execution that nothing disturbs gives."""
    directory = tmp_path_factory.mktemp("undisturbed")
    (directory / "machinable.yaml").write_text(YAML.replace("LOCKS", "storage"))
    (directory / "work.py").write_text(WORK)
    place = Place(str(directory / "s"), directory)
    place.run(EXECUTES)
    return place.outcomes()


def wait_for(condition: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.005)


def family(process: subprocess.Popen[str]) -> list[int]:
    """Return the ids of a process and of its children."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return [process.pid, *map(int, children)]


def stop(pids: list[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "TZX":
            time.sleep(0.001)


def go_on(pids: list[int]) -> None:
    for pid in reversed(pids):
        os.kill(pid, signal.SIGCONT)


@pytest.mark.skipif(sys.platform != "linux", reason="finds children in /proc")
@pytest.mark.parametrize(
    ("engine", "which"),
    [("local", "all"), ("processes:2", "all"), ("processes:2", "executing process")],
    ids=["local", "with its workers", "without its workers"],
)
def test_a_process_whose_execution_was_taken_over_stops_writing(
    place: Place, tmp_path: Path, expected: list[Any], engine: str, which: str
) -> None:
    if place.storage.startswith("s3:") and engine != "local" and which == "all":
        pytest.skip("the S3 server of the tests serves one request at a time, and that of a stopped worker never ends")
    pause = tmp_path / "pause"
    with place.start(EXECUTES, engine, PAUSE=str(pause)) as former:
        wait_for(pause.exists, former)
        pids = family(former)
        stop(pids if which == "all" else pids[:1])

        said = place.run(RESUMES, "local")

        assert "waiting 1 s for a sign of OY1p1o on" in said
        assert place.outcomes() == expected
        pause.unlink()
        go_on(pids)
        text = former.communicate(timeout=60)[1]
    assert former.returncode == 3, text
    assert text.count("this process no longer holds OY1p1o") == 1
    assert "Traceback" not in text
    assert place.outcomes() == expected
    assert place.faults() == []
    rows = place.ledger()
    assert [row["event"] for row in rows].count("ended") == 1
    assert sorted(row["uid"] for row in rows if row["event"] == "finished") == sorted(one[0] for one in expected)
    for pid in pids[1:]:
        wait_for_end(pid)


def wait_for_end(pid: int) -> None:
    while Path(f"/proc/{pid}").exists() and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":
        time.sleep(0.01)


def test_a_stopped_process_on_the_same_host_keeps_its_execution(
    place: Place, tmp_path: Path, expected: list[Any]
) -> None:
    pause = tmp_path / "pause"
    here = RESUMES.replace('{**real(pid), "host": "elsewhere"}', "real(pid)")
    with place.start(EXECUTES, "local", PAUSE=str(pause)) as process:
        wait_for(pause.exists, process)
        stop([process.pid])

        with place.start(here, "local") as other:
            text = other.communicate(timeout=60)[1]
        assert other.returncode == 3
        assert f"(process {process.pid}), which is stopped" in text
        assert f"kill -CONT {process.pid}" in text and f"kill -KILL {process.pid}" in text

        pause.unlink()
        go_on([process.pid])
        assert process.wait(timeout=60) == 0
    assert place.outcomes() == expected
    assert place.faults() == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds children in /proc")
@pytest.mark.parametrize("engine", ["local", "processes:2"])
def test_a_process_that_is_stopped_at_any_moment_mixes_nothing(place: Place, expected: list[Any], engine: str) -> None:
    chance = random.Random(7)
    for _ in range(TIMES):
        with place.start(EXECUTES, engine) as former:
            time.sleep(chance.uniform(0.2, 1.2))
            pids = family(former) if former.poll() is None else []
            stop(pids)
            has_begun = place.has_begun()
            if has_begun:
                place.run(RESUMES, "local")
            go_on(pids)
            text = former.communicate(timeout=60)[1]
        assert former.returncode in ((0, 3) if has_begun else (0,)), text
        assert place.outcomes() == expected
        assert place.faults() == []
        with closing(open_files(place.storage, create=False)) as files:
            files.remove("OY1p1o")


MOUNTED = """
mount -t tmpfs tmpfs "$1"
"$2" -c "$3" "$1" "$4" &
while [ ! -e "$PAUSE" ]; do sleep 0.01; done
if [ "$5" = unmounted ]; then
    umount -l "$1"
else
    mount -t tmpfs other "$1"
fi
rm "$PAUSE"
wait $!
code=$?
find "$1" -type f | sed "s/^/below: /" >&2
exit $code
"""


@pytest.mark.parametrize("engine", ["local", "processes:2"])
@pytest.mark.parametrize("how", ["unmounted", "covered by another"])
def test_a_storage_that_is_unmounted_is_unavailable(project: World, tmp_path: Path, engine: str, how: str) -> None:
    namespace = ["unshare", "--map-root-user", "--mount"]
    if sys.platform != "linux" or subprocess.run([*namespace, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespace can be made here")
    here, storage, rescue = project(YAML.replace("LOCKS", "storage"), work=WORK), tmp_path / "s", tmp_path / "rescue"
    storage.mkdir()
    rescue.mkdir()
    command = [*namespace, "sh", "-c", MOUNTED, "sh", str(storage), sys.executable, EXECUTES, engine, how]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PAUSE": str(tmp_path / "pause")}
    environment["TMPDIR"] = str(rescue)
    done = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 3, done.stderr
    assert f"can no longer write to the storage {storage}: another directory is at {storage}" in done.stderr
    assert "machinable rescue" in done.stderr
    assert "below: " not in done.stderr
    directory = Path(done.stderr.partition("machinable rescue ")[2].split()[0])
    assert list(directory.rglob("status.json"))
    shutil.rmtree(directory)
