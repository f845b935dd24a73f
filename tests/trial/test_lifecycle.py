"""Processes that a trial forks end where its code ends, on every engine alike."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

World = Callable[..., Path]

FORKS = """
import os
import sys
from machinable import Component


class Forks(Component):
    def on_execute(self):
        if self.config.where == "execute":
            return self.forked()

    def on_execute_iteration(self, iteration):
        if self.config.where == "iteration" and iteration < 2:
            self.record["code"] = self.forked()
            return
        return StopIteration

    def on_success(self, result):
        if self.config.where == "success" and (code := self.forked()) is not None:
            self.log.info("code %s", code)

    def forked(self):
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        print("in the child")
        if self.config.how == "raises":
            raise ValueError("of the child")
        if self.config.how == "exits":
            sys.exit(3)
        if self.config.how == "says":
            sys.exit("no way")


def function(component):
    return Forks.forked(component)
"""

SCRIPT = """
import sys
import forks
import machinable as ml

if __name__ == "__main__":
    task = ml.Task().component("forks", [{"where": where} for where in ("execute", "iteration", "success")])
    task = task.component("forks", [{"how": how} for how in ("raises", "exits", "says")])
    task = task.component(forks.function, {"how": "exits"})
    execution = ml.execute(task, {"storage": "stored", "code_backup": False}, engine=sys.argv[1])
    with open("seen.txt", "a") as file:
        for trial in execution.trials:
            codes = [row["code"] for row in trial.records]
            said = [line for line in trial.output.splitlines() if not line.startswith((" ", "Traceback"))]
            print(trial.status, trial.result, codes, trial.log.partition("code ")[2].strip(), said, file=file)
"""


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_a_process_that_a_trial_forks_does_not_go_on_with_the_trial(engine: str, project: World) -> None:
    directory = project("components:\n  - forks: {where: execute, how: returns}\n", forks=FORKS)
    (directory / "script.py").write_text(SCRIPT)

    done = subprocess.run([sys.executable, "script.py", engine], cwd=directory, capture_output=True, timeout=60)

    assert done.returncode == 0, done.stderr
    assert (directory / "seen.txt").read_text().splitlines() == [
        "finished 0 []  ['in the child']",
        "finished None [0, 0]  ['in the child', 'in the child']",
        "finished None [] 0 ['in the child']",
        "finished 1 []  ['in the child', 'ValueError: of the child']",
        "finished 3 []  ['in the child']",
        "finished 1 []  ['in the child', 'no way']",
        "finished 3 []  ['in the child']",
    ]
