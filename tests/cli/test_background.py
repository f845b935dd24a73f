"""`--detach` and `machinable stop`: executions in the background."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

import machinable as ml
from tests.cli.conftest import Run

LONG = """
import time
from machinable import Component

class Train(Component):
    def on_execute(self):
        print("working", flush=True)
        while True:
            time.sleep(0.01)
"""


@pytest.fixture(autouse=True)
def _output_below_the_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(Path(ml.__file__).parents[1]))
    monkeypatch.setattr("tempfile.tempdir", None)


def test_an_execution_in_the_background_outlives_its_terminal_and_is_stopped(
    run: Run, project: Path, tmp_path: Path
) -> None:
    (project / "train.py").write_text(LONG)
    words = ["execute", "train", "--storage", "results", "--seed", "OY1p1o", "--detach", "--json"]
    # The leader of a session with a terminal; when it exits, the terminal hangs up.
    program = f"import pty, sys; sys.exit(pty.spawn([sys.executable, '-m', 'machinable', *{words!r}]) >> 8)"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    execution = ml.Storage("results")["OY1p1o"]
    assert done.returncode == 0, done.stdout
    begun = json.loads(done.stdout)
    try:
        assert begun["execution"] == "OY1p1o"
        assert execution.status == "running"
        assert os.getsid(begun["pid"]) == begun["pid"]
        assert begun["output"].startswith(str(tmp_path))
        assert run("stop", "OY1p1o", "--storage", "results", "--json").data == {
            "execution": "OY1p1o",
            "status": "interrupted",
        }
        again = run("stop", "OY1p1o", "--storage", "results")
        assert (again.code, again.err.splitlines()[0]) == (3, "OY1p1o is not running: it is interrupted")
    finally:
        with suppress(ProcessLookupError):  # it has stopped
            os.kill(begun["pid"], signal.SIGKILL)


def test_what_ends_before_the_beginning_is_shown_at_once(run: Run, project: Path, tmp_path: Path) -> None:
    unknown = run("execute", "trian", "--storage", "results", "--detach")
    refused = run(
        "execute", "train", "--storage", "results", "--seed", "OY1p1o", "--engine", "ry", "--detach", "--json"
    )

    assert (unknown.code, unknown.out) == (2, "")
    assert "no component named 'trian'" in unknown.err
    assert "Did you mean 'train'?" in unknown.err
    assert (refused.code, refused.data["error"]["type"]) == (2, "UnknownName")
    assert list(tmp_path.glob("machinable-*.log")) == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dry", "--storage", "results"], "--dry runs nothing, and so nothing in the background"),
        (["--storage", "mem://"], "results in memory are lost when the background process ends"),
        ([], "no storage is given"),
    ],
)
def test_what_cannot_run_in_the_background_is_refused(run: Run, options: list[str], message: str) -> None:
    ran = run("execute", "train", "--detach", *options)

    assert (ran.code, ran.err.splitlines()[0]) == (2, message)


def test_a_finished_execution_is_not_stopped(run: Run) -> None:
    run("execute", "train", "--storage", "results", "--seed", "OY1p1o")

    ran = run("stop", "OY1p1o", "--storage", "results", "--json")
    unknown = run("stop", "OY1p1x", "--storage", "results")

    assert (ran.code, json.loads(ran.out)["error"]["message"]) == (3, "OY1p1o is not running: it is finished")
    assert (unknown.code, "Did you mean 'OY1p1o'?" in unknown.err) == (3, True)
