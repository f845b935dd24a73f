"""Measure everything and print a table: `python -m benchmarks`, or only some rows: `python -m benchmarks trial`.

Each row compares the best of several runs with the best of as many runs of its baseline (`floor`). The runs alternate,
because the speed of a machine varies over time.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import engines, worlds


class Row(NamedTuple):
    """One line of the table, with times in seconds."""

    what: str
    floor: float
    ours: float
    budget: str


def best_in_turns(rounds: int, *actions: Callable[[], Any]) -> list[float]:
    """Return the shortest time of each action in seconds."""
    best = [float("inf")] * len(actions)
    for _ in range(rounds):
        for index, action in enumerate(actions):
            began = time.perf_counter()
            action()
            best[index] = min(best[index], time.perf_counter() - began)
    return best


def process(directory: Path, *arguments: str) -> Callable[[], Any]:
    """Return a function that runs Python with these arguments in a directory."""
    environment = {**os.environ, "HOME": str(directory)}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # as for users, modules are already compiled after the first run
    return lambda: subprocess.run(
        [sys.executable, *arguments], cwd=directory, env=environment, check=True, capture_output=True
    )


def start(directory: Path) -> Iterator[Row]:
    """Measure whole processes."""
    worlds.with_an_empty_component(directory)
    python = process(directory, "-c", "import json")
    command = ("-m", "machinable")
    floor, helped = best_in_turns(15, python, process(directory, *command, "--help"))
    yield Row("machinable --help", floor, helped, "0.08 s")
    storage = '{"storage": "stored", "code_backup": False}'
    script = f"import machinable as ml; ml.execute('empty', {storage}, progress=False)"
    floor, one = best_in_turns(15, python, process(directory, "-c", script))
    yield Row("one empty trial stored, in Python", floor, one, "0.15 s")
    executed = process(directory, *command, "execute", "empty", "--storage", "stored", "--quiet")
    floor, executed_once = best_in_turns(15, python, executed)
    yield Row("machinable execute, with its code backup", floor, executed_once, "3.5 × floor")
    began = "import time; began = time.perf_counter(); import machinable as ml; "
    timed = f"{began}ml.execute('empty', {storage}, progress=False); print(time.perf_counter() - began)"
    first = min(float(process(directory, "-c", timed)().stdout) for _ in range(15))
    yield Row("the first execute of a process; floor: Python", floor, first, "0.045 s")


def files(directory: Path, count: int, number: int = 6) -> Callable[[], None]:
    """Return a function that writes `number` small files in each of `count` folders by renaming temporary files."""
    payload = json.dumps({"a": list(range(30))}).encode()

    def write() -> None:
        target = Path(tempfile.mkdtemp(dir=directory))
        for trial in range(count):
            folder = target / str(trial)
            folder.mkdir()
            for name in range(number):
                beside = f"{folder}/.{name}"
                file = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
                os.write(file, payload)
                os.close(file)
                os.replace(beside, f"{folder}/{name}")

    return write


def trial(directory: Path) -> Iterator[Row]:
    """Measure empty trials in a directory."""
    import machinable as ml

    worlds.with_an_empty_component(directory)

    def trials(count: int) -> Callable[[], None]:
        storage = {"storage": str(directory / "stored"), "code_backup": False}
        return lambda: ml.execute(ml.Task("empty").repeat(count), storage, project=directory, progress=False)

    for count in (10, 1_000, 100_000):
        floor, ours = best_in_turns(3 if count < 10_000 else 1, files(directory, count), trials(count))
        yield Row(f"an empty trial, of {count:,}", floor / count, ours / count, "2 × floor")


def sweep(directory: Path) -> Iterator[Row]:
    """Measure trials of different configurations that save one row, and reuse them."""
    import machinable as ml

    worlds.with_a_rate(directory)

    def different(count: int, **options: Any) -> Callable[[], None]:
        storage = {"storage": str(directory / f"stored-{len(options)}"), "code_backup": False}
        versions = [{"rate": number / count} for number in range(count)]
        return lambda: ml.execute(
            ml.Task().component("rated", versions).repeat(1), storage, project=directory, progress=False, **options
        )

    for count in (1_000, 10_000):
        floor, ours = best_in_turns(3, files(directory, count), different(count))
        yield Row(f"a trial of a sweep, of {count:,}", floor / count, ours / count, "2 × floor")
    search = ml.Task("rated").repeat(1).tune({"rate": ml.uniform(0, 1)}, "records.loss.last", "min", 10_000)
    store = {"storage": str(directory / "searched"), "code_backup": False}
    floor, ours = best_in_turns(
        1, different(10_000), lambda: ml.execute(search, store, project=directory, progress=False)
    )
    yield Row("a sample of a random search, of 10,000", floor / 10_000, ours / 10_000, "1.5 × floor")
    again = different(1_000, reuse="all", seed="OY1p1o")
    again()
    floor, ours = best_in_turns(5, reading(directory, 1_000), again)
    yield Row("a trial of a sweep, reused, of 1,000", floor / 1_000, ours / 1_000, "5 × floor")


def reading(directory: Path, count: int) -> Callable[[], None]:
    """Return a function that reads a small file as often."""
    (directory / "pointer").write_bytes(json.dumps({"a": list(range(30))}).encode())

    def act() -> None:
        for _ in range(count):
            with open(directory / "pointer", "rb") as file:
                json.loads(file.read())

    return act


def requirement(directory: Path) -> Iterator[Row]:
    """Measure requirements: computed, reused, and only looked up."""
    import machinable as ml
    from machinable.results.pointers import find_pointer
    from machinable.storage.open import open_files

    worlds.with_requirements(directory)

    def task(count: int) -> ml.Task:
        return ml.Task().component("whole", requires={f"r{i}": ("part", {"number": i}) for i in range(count)})

    def needing(count: int, storage: Path) -> Callable[[], Any]:
        return lambda: ml.execute(
            task(count), {"storage": str(storage), "code_backup": False}, project=directory, progress=False
        )

    def looking(count: int, storage: Path) -> Callable[[], None]:
        stored = open_files(str(storage), create=False)
        identities = [spec.identity for spec in task(count).plan(directory) if spec.definition.is_requirement]

        def act() -> None:
            for identity in identities:
                assert find_pointer(stored, identity) is not None

        return act

    needing(1, directory / "stored")()  # imports
    for count in (1, 100, 5_000):
        turns = []
        for turn in range({1: 50, 100: 5, 5_000: 2}[count]):
            storage = directory / f"stored-{count}-{turn}"
            times = best_in_turns(
                1,
                files(directory, count, 7),
                reading(directory, count),
                needing(0, storage),
                needing(count, storage),
                needing(count, storage),
            )
            turns.append([*times, *best_in_turns(1, looking(count, storage))])
        seven, one, alone, cold, warm, look = (min(times) / count for times in zip(*turns, strict=True))
        # Subtract the time of the execution itself.
        yield Row(f"a requirement, computed, of {count:,}", seven, cold - alone, "2 × floor")
        yield Row(f"a requirement, reused, of {count:,}", one, warm - alone, "")
        yield Row(f"a lookup of a requirement, of {count:,}", one, look, "2 × floor")


def resolve(directory: Path) -> Iterator[Row]:
    """Measure resolving every component of a project once, including reading the file."""
    import yaml

    import machinable as ml

    for count in (10, 100, 1_000, 10_000):
        worlds.with_components(directory, count)

        def floor() -> None:
            with open(directory / "machinable.yaml") as file:
                yaml.load(file, yaml.CSafeLoader)

        def ours(count: int = count) -> None:
            project = ml.Project(directory)
            for number in range(count):
                project.resolve(f"c{number}", ("~large", {"batch": 7}))

        yield Row(
            f"resolving {count:,} components", *best_in_turns(3 if count < 10_000 else 1, floor, ours), "2 × floor"
        )


def plan(directory: Path) -> Iterator[Row]:
    """Measure a plan of 10,000 trials of 100 components."""
    import machinable as ml

    worlds.with_components(directory, 100)

    def ours() -> None:
        task = ml.Task()
        for number in range(100):
            task.component(f"c{number}", [{"batch": value} for value in range(100)])
        for spec in task.plan(directory):
            assert spec.uid

    (seconds,) = best_in_turns(3, ours)
    yield Row("a plan of 10,000 trials", 1.0, seconds, "1 s")


def record(directory: Path) -> Iterator[Row]:
    """Measure saving rows of five columns."""
    import machinable as ml

    (directory / "machinable.yaml").write_text("components:\n  - rows: {n: 10000}\n")
    (directory / "rows.py").write_text(
        "import time\nfrom machinable import Component\n\n\nclass Rows(Component):\n    def on_execute(self):\n"
        "        began = time.perf_counter()\n        for i in range(self.config.n):\n"
        "            self.record.update({'loss': 0.1 * i, 'accuracy': 0.9, 'epoch': i, 'rate': 1e-3, 'name': 'x'})\n"
        "            self.record.save()\n        return time.perf_counter() - began\n"
    )
    best = [float("inf")] * 3
    storage = {"storage": str(directory / "stored"), "code_backup": False}
    for _ in range(5):
        began = time.perf_counter()
        execution = ml.execute("rows", storage, project=directory, progress=False)
        best[2] = min(best[2], time.perf_counter() - began)
        best[1] = min(best[1], execution.trials[0].result)
        rows = list(execution.trials[0].records)
        with open(directory / "floor", "wb", buffering=0) as file:
            began = time.perf_counter()
            for row in rows:
                file.write(json.dumps(row).encode() + b"\n")
            best[0] = min(best[0], time.perf_counter() - began)
    yield Row("record.save() of 5 columns", best[0] / 10_000, best[1] / 10_000, "1.5 × floor")
    yield Row("the same of 10,000 rows, with execute", best[0] / 10_000, best[2] / 10_000, "2 × floor")


READ = """
import json, pandas, sys, time
began = time.perf_counter()
BODY
assert len(frame) == 700, len(frame)
print(time.perf_counter() - began)
"""
SCAN = """
from glob import glob
rows = []
for path in glob("FOLDER/trials/*/trial.json"):
    with open(path) as file:
        rate = json.load(file)["config"]["rate"]
    with open(path.removesuffix("trial.json") + "status.json") as file:
        state = json.load(file)["state"]
    with open(path.removesuffix("trial.json") + "records/default.jsonl") as file:
        loss = json.loads(file.readlines()[-1])["loss"]
    if state == "finished" and rate == 0.3 and loss < 100:
        rows.append({"rate": rate, "loss": loss})
frame = pandas.DataFrame(rows)
"""
SQLITE = """
import sqlite3
frame = pandas.read_sql_query(
    "select json_extract(config, '$.rate') rate, json_extract(record, '$.loss') loss from trials "
    "where state = 'finished' and rate = 0.3 and loss < 100", sqlite3.connect("STORAGE.db"))
"""
OURS = """
import machinable as ml
trials = ml.Storage("STORAGE").trials
trials = trials.where(status="finished", **{"config.rate": 0.3, "records.loss.last": lambda loss: loss < 100})
frame = trials.columns("config.rate", "records.loss.last").frame()
"""


def read(directory: Path) -> Iterator[Row]:
    """Measure reading 10,000 trials in a new process: open, filter by configuration and metric, make a DataFrame."""
    import machinable as ml
    from machinable.results.cache import SETTLED

    worlds.with_a_rate(directory)
    storage = directory / "stored"
    task = ml.Task().component("rated", [{"rate": number / 10} for number in range(10)]).repeat(1_000)
    execution = ml.execute(task, {"storage": str(storage), "code_backup": False}, project=directory, progress=False)
    with contextlib.closing(sqlite3.connect(f"{storage}.db")) as database, database:
        database.execute("create table trials (uid text, config text, state text, record text)")
        database.executemany(
            "insert into trials values (?, ?, ?, ?)",
            (
                (trial.uid, json.dumps(trial.config.to_dict()), trial.status, json.dumps(trial.last_row))
                for trial in execution.trials
            ),
        )
    time.sleep(SETTLED)  # files that have just been written are not cached
    best = [float("inf")] * 4
    for turn in range(7):
        for index, body in enumerate((SCAN, SQLITE, OURS, OURS)):  # our first run finds no cache
            script = READ.replace("BODY", body).replace("FOLDER", f"{storage}/{execution}")
            command = [sys.executable, "-c", script.replace("STORAGE", str(storage))]
            environment = {**os.environ, "XDG_CACHE_HOME": str(directory / f"cache-{turn}")}
            environment.pop("PYTHONDONTWRITEBYTECODE", None)
            printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
            best[index] = min(best[index], float(printed.stdout))
    scan, sqlite, cold, warm = best
    yield Row("10,000 trials read first; floor: scan of files", scan, cold, "1.5 × floor")
    yield Row("10,000 trials read again; floor: SQLite", sqlite, warm, "3 × floor")


def memory(directory: Path) -> Iterator[Row]:
    """Measure the peak memory of an execution in a separate process, in MiB instead of seconds."""
    worlds.with_an_empty_component(directory)
    script = (
        "import resource, machinable as ml\n"
        f"storage = {{'storage': {str(directory / 'stored')!r}, 'code_backup': False}}\n"
        "ml.execute(ml.Task('empty').repeat(COUNT), storage, progress=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    peaks = []
    for count in (10, 100_000):
        printed = subprocess.run(
            [sys.executable, "-c", script.replace("COUNT", str(count))],
            cwd=directory,
            check=True,
            capture_output=True,
            text=True,
        )
        peaks.append(float(printed.stdout))
    yield Row("peak memory in MiB, 100,000 trials (floor: 10)", *peaks, "300")


ALL = {
    "start": start,
    "trial": trial,
    "sweep": sweep,
    "requirement": requirement,
    "resolve": resolve,
    "plan": plan,
    "record": record,
    "read": read,
    "memory": memory,
    "processes": lambda directory: (Row(*row) for row in engines.processes(directory)),
    "ray": lambda directory: (Row(*row) for row in engines.on_ray(directory)),
}


def main(names: list[str]) -> None:
    """Measure the named benchmarks, or all of them."""
    unknown = [name for name in names if name not in ALL]
    if unknown:
        sys.exit(f"no benchmark named {unknown[0]!r}; use one of {', '.join(ALL)}")
    print(f"{'what':<48}{'floor':>12}{'ours':>12}{'ratio':>8}  budget")
    for name in names or ALL:
        with tempfile.TemporaryDirectory() as temporary:
            for row in ALL[name](Path(temporary)):
                print(
                    f"{row.what:<48}{_shown(row.floor, name):>12}{_shown(row.ours, name):>12}"
                    f"{row.ours / row.floor:>8.2f}  {row.budget}",
                    flush=True,
                )


def _shown(value: float, name: str) -> str:
    if name == "memory":
        return f"{value:.0f} MiB"
    if value < 1e-3:
        return f"{value * 1e6:.1f} µs"
    return f"{value * 1e3:.2f} ms" if value < 1 else f"{value:.2f} s"


if __name__ == "__main__":
    main(sys.argv[1:])
