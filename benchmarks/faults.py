"""Break executions, resume them, and compare them with an uninterrupted one: `python -m benchmarks.faults`.

`python -m benchmarks.faults kill redis --runs 100 --seed 3` runs some kinds of faults only. A run breaks one execution
at random moments and resumes it until it has finished. Rows without their times, artifacts, results, seeds and uids are
then the same byte for byte, `verify` finds nothing, and no lease or temporary file is left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil

from machinable.ids import is_folder_name
from machinable.results.execution import Execution
from machinable.results.verify import verify
from machinable.storage.hashing import digest
from machinable.storage.open import open_files

ROOT = Path(__file__).parents[1]
SEED = "OY1p1o"
MAX_STARTS = 20  # of one execution until it has finished
LEASE = 3.0  # seconds
TIMEOUT = 120.0  # seconds for one start

YAML = """components:
  - data: {size: 1000}
  - train: {rate: 0.1, _requires_: {data: data}, _checkpoints_: {keep: 2, every: 2}, ~wide: {rate: 0.2}}
  - noise: {rows: 6}
"""
CODE = {
    "data": """
import random
from machinable import Component


class Data(Component):
    def on_execute(self):
        self.store.write("x.bin", random.randbytes(self.config.size))
        self.store.write("x.json", [random.random() for _ in range(20)])
""",
    "train": """
import json
import os
import random
import time
from machinable import Component


class Train(Component):
    def on_create(self):
        self.weight = 0.0

    def on_execute_iteration(self, i):
        time.sleep(0.02)
        self.weight += self.config.rate * random.random() * sum(self.requires.data.read("x.json"))
        self.record["weight"] = self.weight
        self.log.info("iteration %d", i)
        self.store.write(f"{i}.json", [self.weight, random.random()])
        if i == 7:
            return StopIteration

    def on_after_execute(self):
        with open(os.path.join(self.directory, "end.bin"), "wb") as file:
            file.write(random.randbytes(5000))

    def on_save(self, path, timestep):
        with open(os.path.join(path, f"{timestep}.json"), "w") as file:
            json.dump(self.weight, file)
        return f"{timestep}.json"

    def on_restore(self, path):
        with open(path) as file:
            self.weight = json.load(file)
""",
    "noise": """
import random
import time
from machinable import Component


class Noise(Component):
    def on_execute(self):
        for i in range(self.config.rows):
            time.sleep(0.02)
            self.record["draw"] = random.random()
            self.record.save()
            print("row", i)
            self.store.write(f"deep/{i}.bin", random.randbytes(2000))
        return random.random()
""",
}
EXECUTES = """
import sys
from contextlib import closing
import machinable as ml
from machinable.storage.open import open_files

url, seed, engine = sys.argv[1:]
with closing(open_files(url, create=True)) as files:
    is_there = files.exists(f"{seed}/execution.json")
if is_there:
    execution = ml.execute(None, {"storage": url}, None, engine, resume=seed)
else:
    task = ml.Task().component("train", [None, "~wide"]).component("noise").repeat(2)
    execution = ml.execute(task, {"storage": url}, seed, engine)
print("NAME", execution, flush=True)
"""


class Failed(Exception):
    """A fault lost something, or an execution could not be finished."""


class World:
    """A project in a directory, the storage of one run, and what an uninterrupted execution gives."""

    def __init__(self, directory: Path, size: float) -> None:
        self.directory = directory
        self.size = size
        self.project = directory / "project"
        self.temporary = directory / "temporary"
        self.project.mkdir()
        self.temporary.mkdir()
        (self.project / "machinable.yaml").write_text(f"{YAML}execution: {{lease: {LEASE}}}\n")
        for name, text in CODE.items():
            (self.project / f"{name}.py").write_text(text.lstrip())
        self.expected: dict[str, dict[str, Any]] = {}
        began = time.monotonic()
        self.expect(SEED)
        self.duration = time.monotonic() - began

    def expect(self, seed: str) -> dict[str, Any]:
        """Return the results of an uninterrupted execution with a seed."""
        if seed not in self.expected:
            whole = self.directory / "whole"
            name = self.finish(str(whole), seed=seed)
            self.expected[seed] = results(str(whole), name)
        return self.expected[seed]

    def start(
        self, url: str, engine: str = "local", *, seed: str = SEED, prefix: Sequence[str] = (), **variables: str
    ) -> subprocess.Popen[str]:
        """Start or resume the execution in a process."""
        paths = [*filter(None, [variables.pop("SHIFTED", "")]), str(ROOT / "engine")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}
        environment |= {"TMPDIR": str(self.temporary), "HOME": str(self.directory), **CREDENTIALS, **variables}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        command = [*prefix, sys.executable, "-c", EXECUTES, url, seed, engine]
        return subprocess.Popen(command, cwd=self.project, env=environment, **pipes)

    def finish(self, url: str, engine: str = "local", *, starts: int = 1, **options: Any) -> str:
        """Start and resume until the execution has finished, and return its name."""
        for _ in range(starts):
            process = self.start(url, engine, **options)
            text = ended(process)
            if process.returncode == 0:
                return name_in(text)
        raise Failed(f"it does not finish:\n{text}")

    def compare(self, url: str, name: str, seed: str = SEED) -> None:
        """Check that an execution has the results of an uninterrupted one, and that the storage is whole."""
        found, wanted = results(url, name), self.expect(seed)
        if found != wanted:
            raise Failed("\n".join(differences(found, wanted)))
        with closing(open_files(url, create=False)) as files:
            faults = verify(files, clock=lambda: time.time() + 1000)[1]
            left = [one.path for one in files.walk("") if one.path.endswith(".lease")]
            left += [one.path for one in files.temporaries("", below=True)]
            # A folder that was killed before it became an execution has no results.
            folders = filter(is_folder_name, {path.partition("/")[0] for path in left})
            never_begun = tuple(f"{folder}/" for folder in folders if not files.exists(f"{folder}/execution.json"))
            left = [path for path in left if not path.startswith(never_begun)]
            faults = [fault for fault in faults if not fault.path.startswith(never_begun)]
        if faults or left:
            raise Failed(f"verify: {faults}\nleft: {left}")


CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}


def ended(process: subprocess.Popen[str]) -> str:
    """Wait for a process, and return what it has printed."""
    try:
        return process.communicate(timeout=TIMEOUT)[0]
    except subprocess.TimeoutExpired:
        process.kill()
        raise Failed(f"it hangs:\n{process.communicate()[0]}") from None


def name_in(text: str) -> str:
    """Return the name of the execution that a process has printed."""
    return re.findall(r"^NAME (\S+)$", text, re.MULTILINE)[-1]  # type: ignore[no-any-return]


def results(url: str, name: str) -> dict[str, Any]:
    """Return what must not depend on interruptions, by uid: rows, artifacts, result and seed."""
    found: dict[str, Any] = {}
    with closing(open_files(url, create=False)) as files:
        execution = Execution(files, name, trust=True)
        for trial in execution.trials:
            rows = [{key: value for key, value in row.items() if key[0] != "_"} for row in trial.records.rows]
            artifacts = {artifact: digest(trial.content(artifact)) for artifact in trial.files}
            found[f"{trial.component} {trial.uid}"] = {
                "status": "finished" if trial.status == "reused" else trial.status,
                "rows": json.dumps(rows),
                "artifacts": artifacts,
                "result": trial.result,
                "seed": trial.seed,
            }
    return found


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> Iterator[str]:
    """Yield what differs, one line each."""
    for uid in {**wanted, **found}:
        one, other = found.get(uid, {}), wanted.get(uid, {})
        yield from (
            f"{uid}: {key}: {one.get(key)!r} instead of {other.get(key)!r}"
            for key in {**one, **other}
            if one.get(key) != other.get(key)
        )


def until(process: subprocess.Popen[str], seconds: float) -> bool:
    """Wait for some seconds, and return whether a process still runs."""
    with suppress(subprocess.TimeoutExpired):
        process.wait(seconds)
        return False
    return True


@contextmanager
def bucket() -> Iterator[tuple[str, Callable[[str], str]]]:
    """Start an S3 server with a bucket; return its address and a function that makes the URL of a folder."""
    import boto3

    from tests.kits.s3_server import s3_server

    with s3_server() as endpoint:
        client = boto3.Session("key", "secret", region_name="us-east-1").client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket="faults")
        client.close()
        yield endpoint, lambda address: f"s3://key:secret@faults/stored?endpoint_url={quote(address, safe='')}"


def storage_of(world: World) -> str:
    """Return the directory of the storage that is broken."""
    return str(world.directory / "stored")


# the kinds of faults: each breaks one execution, compares it, and returns how often it was broken


def kill(world: World, chance: random.Random) -> int:
    """Kill the executing process at random moments."""
    return _killed(world, chance, storage_of(world), chance.choice(["local", "processes:2"]))


def _killed(world: World, chance: random.Random, url: str, engine: str, times: int = 3, **variables: str) -> int:
    kills = 0
    for _ in range(times):
        process = world.start(url, engine, **variables)
        if is_running := until(process, chance.uniform(0, 1.2 * world.duration)):
            process.kill()
            kills += 1
        text = ended(process)
        if not is_running:
            break
    if process.returncode not in (0, -signal.SIGKILL):
        raise Failed(f"exit code {process.returncode}:\n{text}")
    world.compare(url, name_in(text) if process.returncode == 0 else world.finish(url, engine, **variables))
    return kills


def kill_on_s3(world: World, chance: random.Random) -> int:
    """Kill the executing process at random moments, with an S3 storage."""
    with bucket() as (address, url):
        return _killed(world, chance, url(address), chance.choice(["local", "processes:2"]), 2)


def s3(world: World, chance: random.Random) -> int:
    """Refuse, lose or cut a fifth of the requests to an S3 server, and kill once."""
    from tests.kits.faulty_proxy import at_random, faulty_proxy

    with bucket() as (server, url), faulty_proxy(server) as proxy:
        proxy.choose = at_random(0.2, chance.randrange(10**6), "PUT", "GET", "DELETE", "POST", "HEAD")
        if chance.random() < 0.5:
            process = world.start(url(proxy.url))
            if until(process, chance.uniform(0, 2 * world.duration)):
                process.kill()
            ended(process)
        name = world.finish(url(proxy.url), starts=MAX_STARTS)
        proxy.choose = lambda method, path: None
        world.compare(url(server), name)
        return len(proxy.seen)


def redis(world: World, chance: random.Random) -> int:
    """Kill the lock server, and start it again without what it has stored."""
    from tests.kits.redis_server import redis_server

    url = storage_of(world)
    with ExitStack() as first:
        server = first.enter_context(redis_server(world.directory))
        process = world.start(url, MACHINABLE_LOCKS=server.url)
        broken = until(process, chance.uniform(0, 1.2 * world.duration))
        server.process.kill()
        server.process.wait()
        text = ended(process)
    with redis_server(world.directory) as server:
        if process.returncode:
            text = f"NAME {world.finish(url, MACHINABLE_LOCKS=server.url)}"
    world.compare(url, name_in(text))
    return int(broken)


def clock(world: World, chance: random.Random) -> int:
    """Set the clock of the executing process forward and back while the clock of the file system goes on."""
    file, url = world.directory / "shift", storage_of(world)

    def step(seconds: int) -> None:
        beside = file.with_suffix(".new")
        beside.write_text(str(seconds))
        beside.replace(file)

    step(0)
    (world.directory / "sitecustomize.py").write_text(CLOCK.format(file=str(file)))
    process, steps = world.start(url, chance.choice(["local", "processes:2"]), SHIFTED=str(world.directory)), 0
    while until(process, chance.uniform(0, 0.5 * world.duration)):
        step(chance.choice([3600, -3600, 3 * 86400, -20, 40, 0]))
        steps += 1
        if steps == 3 and chance.random() < 0.7:
            process.kill()
    text = ended(process)
    name = name_in(text) if process.returncode == 0 else world.finish(url, SHIFTED=str(world.directory))
    world.compare(url, name)
    return steps


CLOCK = """
import datetime
import time

now, now_ns = time.time, time.time_ns


def shift():
    with open({file!r}) as file:
        return int(file.read())


class Shifted(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return cls.fromtimestamp(time.time(), tz)


time.time = lambda: now() + shift()
time.time_ns = lambda: now_ns() + shift() * 10**9
datetime.datetime = Shifted
"""


def pause(world: World, chance: random.Random) -> int:
    """Stop the executing process for longer than its lease, and resume the execution on another host in this time."""
    url, engine = storage_of(world), chance.choice(["local", "processes:2"])
    first = world.start(url, engine)
    is_paused = until(first, chance.uniform(0, 1.2 * world.duration))
    if not is_paused:
        world.compare(url, name_in(ended(first)))
        return 0
    paused = [psutil.Process(first.pid), *psutil.Process(first.pid).children(recursive=True)]
    for process in paused:
        process.suspend()
    try:
        # On the other host, the clock says that the heartbeats are overdue.
        (world.directory / "shift").write_text("60")
        (world.directory / "sitecustomize.py").write_text(CLOCK.format(file=str(world.directory / "shift")))
        other = ["unshare", "--map-root-user", "--uts", "--pid", "--fork", "sh", "-c", 'hostname other; exec "$@"', "-"]
        name = world.finish(url, engine, starts=MAX_STARTS, prefix=other, SHIFTED=str(world.directory))
    finally:
        for process in paused:
            with suppress(psutil.NoSuchProcess):
                process.resume()
    text = ended(first)
    world.compare(url, name)
    if first.returncode == 0:  # it was stopped before it had begun, or after it had finished
        world.compare(url, name_in(text))
    return 1


def together(world: World, chance: random.Random) -> int:
    """Start 20 executions at once in one storage, two with each seed, and kill some of them."""
    url = storage_of(world)
    seeds = [f"OY1p{chance.randrange(10)}{letter}" for letter in "abcdefghij"[: round(10 * world.size)]] * 2
    processes = [world.start(url, seed=seed) for seed in seeds]
    kills = 0
    for process in chance.sample(processes, len(processes) // 4):
        if until(process, chance.uniform(0, 0.5 * world.duration)):
            process.kill()
            kills += 1
    texts = [ended(process) for process in processes]
    names = []
    for seed, process, text in zip(seeds, processes, texts, strict=True):
        if process.returncode == 0:
            names.append((seed, name_in(text)))
        elif process.returncode != -signal.SIGKILL and "is running" not in text and "Refused" not in text:
            raise Failed(f"exit code {process.returncode}:\n{text}")
    names += [(seed, world.finish(url, seed=seed)) for seed in dict.fromkeys(seeds)]
    for seed, name in names:
        world.compare(url, name, seed)
    return len(processes) + kills


# faults of a file system, in a mount namespace


def full_disk(world: World, chance: random.Random) -> int:
    """Fill the disk of the storage at a random moment."""
    disk = _mounted(world, "size=4m")

    def fill() -> None:
        with suppress(OSError), open(disk / "filler", "ab", buffering=0) as file:
            while True:
                file.write(b"x" * 512)

    return _broken_disk(world, chance, disk, fill, lambda: (disk / "filler").unlink(missing_ok=True))


def no_inodes(world: World, chance: random.Random) -> int:
    """Let the disk of the storage run out of inodes at a random moment."""
    disk = _mounted(world, "size=40m,nr_inodes=400")
    (disk / "filler").mkdir()

    def fill() -> None:
        with suppress(OSError):
            for number in range(1000):
                (disk / "filler" / f"{time.monotonic_ns()}-{number}").touch()

    return _broken_disk(world, chance, disk, fill, lambda: shutil.rmtree(disk / "filler", ignore_errors=True))


def read_only(world: World, chance: random.Random) -> int:
    """Make the disk of the storage read-only at a random moment."""
    disk = _mounted(world, "size=40m")

    def remount(mode: str) -> None:
        for _ in range(1000):  # it is busy while a file is open for writing
            if subprocess.run(["mount", "-o", f"remount,{mode}", str(disk)], capture_output=True).returncode == 0:
                return
            time.sleep(0.002)
        raise Failed(f"{disk} cannot be remounted")

    return _broken_disk(world, chance, disk, lambda: remount("ro"), lambda: remount("rw"))


def _mounted(world: World, options: str) -> Path:
    disk = world.directory / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(disk)], check=True)
    return disk


def _broken_disk(
    world: World, chance: random.Random, disk: Path, break_it: Callable[[], None], mend: Callable[[], None]
) -> int:
    url = str(disk / "stored")
    process = world.start(url, chance.choice(["local", "processes:2"]))
    if is_broken := until(process, chance.uniform(0, 1.2 * world.duration)):
        break_it()
        if chance.random() < 0.3:  # it is available again in time
            until(process, chance.uniform(0, 0.5 * world.duration))
            mend()
    text = ended(process)
    mend()
    for place in world.temporary.iterdir():
        if any(place.iterdir()):
            command = [sys.executable, "-m", "machinable", "rescue", str(place), "--storage", url]
            environment = {**os.environ, "PYTHONPATH": str(ROOT / "engine")}
            rescued = subprocess.run(command, cwd=world.project, env=environment, capture_output=True, text=True)
            if rescued.returncode:
                raise Failed(f"rescue: {rescued.stdout}{rescued.stderr}\nafter: {text}")
            shutil.rmtree(place, ignore_errors=True)
    world.compare(url, name_in(text) if process.returncode == 0 else world.finish(url))
    return int(is_broken)


KINDS: dict[str, Callable[[World, random.Random], int]] = {
    "kill": kill,
    "kill-on-s3": kill_on_s3,
    "s3": s3,
    "redis": redis,
    "clock": clock,
    "pause": pause,
    "together": together,
    "full-disk": full_disk,
    "no-inodes": no_inodes,
    "read-only": read_only,
}
INSIDE = "FAULTS_IN_A_MOUNT_NAMESPACE"
NEED_MOUNTS = frozenset({"full-disk", "no-inodes", "read-only"})


def run(kind: str, seed: int, *, size: float = 1.0) -> int:
    """Break one execution, and return how often; `size` scales the number of executions that start together.

    Raises:
        Failed: Something was lost.
    """
    with tempfile.TemporaryDirectory(prefix="faults-") as directory:
        try:
            return KINDS[kind](World(Path(directory), size), random.Random(f"{kind} {seed}"))
        finally:
            if (disk := Path(directory) / "disk").is_mount():
                subprocess.run(["umount", "--lazy", str(disk)], check=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the faults, print a table, and return 1 if one of them lost something."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("kinds", nargs="*", default=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("--runs", type=int, default=10, help="of each kind (default 10)")
    parser.add_argument("--seed", type=int, default=1, help="of the first run; the moments follow from it")
    given = parser.parse_args(arguments)
    if NEED_MOUNTS & set(given.kinds) and INSIDE not in os.environ:
        command = ["unshare", "--map-root-user", "--mount", sys.executable, "-m", "benchmarks.faults"]
        arguments = sys.argv[1:] if arguments is None else arguments
        return subprocess.run([*command, *arguments], env={**os.environ, INSIDE: "1"}, cwd=ROOT).returncode
    lost = Counter[str]()
    print(f"{'kind':12}{'runs':>6}{'faults':>8}{'lost':>6}")
    for kind in given.kinds:
        faults = 0
        for seed in range(given.seed, given.seed + given.runs):
            try:
                faults += run(kind, seed)
            except Failed as problem:
                lost[kind] += 1
                print(f"{kind} --seed {seed}: {problem}", file=sys.stderr)
        print(f"{kind:12}{given.runs:>6}{faults:>8}{lost[kind]:>6}", flush=True)
    return 1 if lost else 0


if __name__ == "__main__":
    sys.exit(main())
