"""Kill a search, resume it, and compare what it has done with one that was not killed.

`python killed_search.py WORK STEP FIRST` kills it at each of its writes, and prints how many searches it has killed.
It runs in forked processes on `local`, where results arrive in one order only, so that the histories have to be equal,
line by line.

`python killed_search.py WORK random RUNS FIRST` kills searches with two workers at random moments. Their results arrive
in an order that differs each time: a sampler and a pruner that were not interrupted hear them in the stored order, and
have to answer as is stored.
"""

from __future__ import annotations

import math
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import machinable as ml
from machinable.ids import decode, level_seed
from machinable.results.search import SearchLog
from machinable.search.pruner import make_pruner
from machinable.search.sample import Sample
from machinable.search.sampler import make_sampler
from machinable.search.space import read_space

NAME = "OY1p1o"
SAMPLES, REPEATS, ITERATIONS = 7, 2, 9
SPACE = {"rate": ml.loguniform(1e-4, 1.0)}
SAMPLER = {"tpe": {"n_startup_trials": 2}}

YAML = "components:\n  - work: {rate: 0.1}\n"
WORK = """
import math
import os
import time
from pathlib import Path
from machinable import Component

class Work(Component):
    def on_create(self):
        self.best = 9.0

    def on_execute_iteration(self, iteration):
        loss = abs(math.log10(self.config.rate) + 2) + self.flags.SEED % 10 / 100 + 1 / (iteration + 1)
        self.best = min(self.best, loss)
        self.record["loss"] = self.best
        time.sleep(float(os.environ.get("SECONDS", 0)))
        if iteration == 8:
            return StopIteration

    def on_save(self, path, timestep):
        Path(path, "best").write_text(repr(self.best))
        return "best"

    def on_restore(self, checkpoint, timestep=None):
        self.best = float(Path(checkpoint).read_text())
"""


def task() -> ml.Task:
    """Return the search: what TPE asks for depends on what it has heard, and ASHA prunes more than half of it."""
    return ml.Task("work").tune(
        SPACE, "records.loss.last", "min", SAMPLES, repeats=REPEATS, sampler=SAMPLER, prune="asha"
    )


def start(storage: str, engine: str = "local") -> None:
    """Run the search."""
    ml.execute(task(), storage, NAME, engine, progress=False)


def resume(storage: str, engine: str = "local") -> None:
    """Continue the search, or begin it if it was killed before it was one."""
    if os.path.exists(os.path.join(storage, NAME, "execution.json")):
        ml.execute(resume=NAME, storage=storage, engine=engine, progress=False)
    else:
        shutil.rmtree(storage, ignore_errors=True)
        start(storage, engine)


def killed_at(number: int) -> None:
    """Kill this process at a write, before it, after it, or in the middle of it."""
    count = 0

    def counting(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count != number:
                return call(*arguments, **options)
            if number % 3 == 0 and call is write:
                call(arguments[0], bytes(arguments[1])[: len(arguments[1]) // 2])
            elif number % 3 == 1:
                call(*arguments, **options)
            return os.kill(os.getpid(), signal.SIGKILL)

        return counted

    write = os.write
    os.write, os.replace = counting(os.write), counting(os.replace)  # type: ignore[assignment]


def forked(work: Callable[[str], None], storage: str, kill: int = 0, moment: tuple[int, float] | None = None) -> bool:
    """Do this in another process, and return whether it was killed: at a write, or at a moment.

    Args:
        work: What is done.
        storage: In which storage.
        kill: At which of its writes it is killed.
        moment: After how many further lines of the ledger it is killed, and how many seconds after them.
    """
    process = os.fork()
    if not process:
        code = 1
        try:
            if kill:
                killed_at(kill)
            work(storage)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    if moment is not None:
        _kill_at(process, Path(storage, NAME, "ledger.jsonl"), *moment)
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0, f"killed at {kill}, it cannot be resumed"
    return False


def _kill_at(process: int, ledger: Path, lines: int, seconds: float) -> None:
    """Kill a process unless it ends before."""
    end = _lines(ledger) + lines
    while _lines(ledger) < end:
        if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            return
        time.sleep(0.001)
    time.sleep(seconds)
    os.kill(process, signal.SIGKILL)


def _lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def course(storage: str) -> list[dict[str, Any]]:
    """Return what the search in a storage has done, without times."""
    execution = ml.Storage(storage)[NAME]
    rows = SearchLog.read(execution.files, str(execution)).rows
    found = [{key: value for key, value in row.items() if key != "time"} for row in rows]
    return [*found, {trial.uid: [trial.index, trial.status, trial.seed] for trial in execution.trials}]


def loss(rate: float, seed: int, iteration: int) -> float:
    """Return the metric of the component."""
    return abs(math.log10(rate) + 2) + seed % 10 / 100 + 1 / (iteration + 1)


def check(storage: str) -> None:
    """Check the lines of a search against a sampler and a pruner that hear its results in their order, once each."""
    execution = ml.Storage(storage)[NAME]
    rows = SearchLog.read(execution.files, str(execution)).rows
    sampler = make_sampler(SAMPLER, read_space(SPACE), "min", level_seed(decode(NAME), "SEARCH"), SAMPLES)
    pruner = make_pruner("asha", "min")
    assert pruner is not None
    asked: list[dict[str, Any]] = []
    at: dict[str, tuple[int, int, float]] = {}  # of each trial: its sample, its repetition, and its rate
    judged: dict[str, list[int]] = {}
    told: set[int] = set()
    pruned: set[int] = set()
    for row in rows:
        if row["event"] == "asked":
            assert row["sample"] == len(asked), row
            assert row["values"] == sampler.ask(row["sample"]), row
            asked.append(row["values"])
            at |= {uid: (row["sample"], number, row["values"]["rate"]) for number, uid in enumerate(row["uids"])}
        elif row["event"] == "judged":
            (sample, repeat, rate), iteration = at[row["uid"]], row["iteration"]
            assert iteration not in judged.setdefault(row["uid"], []), row
            judged[row["uid"]].append(iteration)
            assert row["value"] == loss(rate, execution[row["uid"]].seed, iteration - 1), row
            because = pruner.judge(sample, repeat, iteration, row["value"])
            assert row.get("because") == because, row
            if because:
                pruned.add(sample)
        elif row["event"] == "evaluated":
            number = row["sample"]
            assert number not in told, row
            told.add(number)
            uids = [uid for uid, place in at.items() if place[0] == number]
            assert row["state"] == ("pruned" if number in pruned else "finished"), row
            last = {uid: judged[uid][-1] for uid in uids if judged.get(uid)}
            if number not in pruned:
                last = dict.fromkeys(uids, ITERATIONS)
            losses = [loss(at[uid][2], execution[uid].seed, iteration - 1) for uid, iteration in last.items()]
            assert math.isclose(row["value"], fmean(losses)), row
            sampler.tell(Sample(number, asked[number]), row["value"])
            pruner.end(number, row["value"])
    assert told == set(range(SAMPLES)) and rows[-1]["event"] == "searched", rows[-1]
    assert sum(row["event"] == "searched" for row in rows) == 1
    for trial in execution.trials:
        assert trial.status in (("finished", "pruned") if at[trial.uid][0] in pruned else ("finished",)), trial
        rate, seed = trial.config.rate, trial.seed
        losses = [one["loss"] for one in trial.records]
        assert losses == [loss(rate, seed, number) for number in range(len(losses))], trial
        assert len(losses) == ITERATIONS or trial.status == "pruned", trial


def kill_at_random(directory: str, runs: int, first: int) -> int:
    """Kill searches with two workers at random moments, check them, and return how often they were killed."""
    kills, storage = 0, os.path.join(directory, "killed")
    os.environ["SECONDS"] = "0.004"  # of an iteration, so that trials run while others are judged
    for number in range(first, first + runs):
        chance = random.Random(number)
        shutil.rmtree(storage, ignore_errors=True)
        for _ in range(chance.randint(1, 3)):
            moment = chance.randrange(50), chance.uniform(0, 0.02)
            kills += forked(partial(resume, engine="processes:2"), storage, moment=moment)
        forked(partial(resume, engine="processes:2"), storage)
        try:
            check(storage)
        except AssertionError as problem:
            raise AssertionError(f"run {number}: {problem}") from problem
    return kills


def kill_at_writes(directory: str, step: int, first: int) -> int:
    """Kill searches at each of their writes, and return how many."""
    whole = os.path.join(directory, "whole")
    forked(start, whole)
    check(whole)
    expected, kills, number = course(whole), 0, first
    storage = os.path.join(directory, "killed")
    while True:
        shutil.rmtree(storage, ignore_errors=True)
        if not forked(start, storage, number):
            return kills
        kills += 1
        kills += forked(resume, storage, 7 + number % 40)  # and again while it is resumed
        forked(resume, storage)
        assert course(storage) == expected, f"killed at write {number}"
        number += step


def main(directory: str, step: str, *numbers: str) -> int:
    """Kill searches, and return how often."""
    os.chdir(directory)
    for name, text in (("machinable.yaml", YAML), ("work.py", WORK)):
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
    if step == "random":
        return kill_at_random(directory, *map(int, numbers))
    return kill_at_writes(directory, int(step), *map(int, numbers))


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
