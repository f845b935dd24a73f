"""Kill a search at each of its writes, resume it, and compare what it has done with one that was not killed.

`python killed_search.py WORK STEP FIRST` prints how many searches it has killed. The search runs in forked processes on
`local`, where results arrive in one order only, so that the histories have to be equal, line by line.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable
from typing import Any

import machinable as ml
from machinable.results.search import SearchLog

YAML = "components:\n  - work: {rate: 0.1}\n"
WORK = """
import math
from pathlib import Path
from machinable import Component

class Work(Component):
    def on_create(self):
        self.best = 9.0

    def on_execute_iteration(self, iteration):
        loss = abs(math.log10(self.config.rate) + 2) + self.flags.SEED % 10 / 100 + 1 / (iteration + 1)
        self.best = min(self.best, loss)
        self.record["loss"] = self.best
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
        {"rate": ml.loguniform(1e-4, 1.0)}, "records.loss.last", "min", 7, repeats=2, sampler="tpe", prune="asha"
    )


def start(storage: str) -> None:
    """Run the search."""
    ml.execute(task(), storage, "OY1p1o", progress=False)


def resume(storage: str) -> None:
    """Continue the search, or begin it if it was killed before it was one."""
    if os.path.exists(os.path.join(storage, "OY1p1o", "execution.json")):
        ml.execute(resume="OY1p1o", storage=storage, progress=False)
    else:
        shutil.rmtree(storage, ignore_errors=True)
        start(storage)


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


def forked(work: Callable[[str], None], storage: str, kill: int = 0) -> bool:
    """Do this in another process, and return whether it was killed."""
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
    _, status = os.waitpid(process, 0)
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0, f"killed at {kill}, it cannot be resumed"
    return False


def course(storage: str) -> list[dict[str, Any]]:
    """Return what the search in a storage has done, without times."""
    execution = ml.Storage(storage)["OY1p1o"]
    rows = SearchLog.read(execution.files, str(execution)).rows
    found = [{key: value for key, value in row.items() if key != "time"} for row in rows]
    return [*found, {trial.uid: [trial.index, trial.status, trial.seed] for trial in execution.trials}]


def main(directory: str, step: int, first: int) -> int:
    """Kill searches, and return how many."""
    os.chdir(directory)
    for name, text in (("machinable.yaml", YAML), ("work.py", WORK)):
        with open(name, "w", encoding="utf-8") as file:
            file.write(text)
    whole = os.path.join(directory, "whole")
    forked(start, whole)
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


if __name__ == "__main__":
    print(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
