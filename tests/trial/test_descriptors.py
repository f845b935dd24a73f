"""Output that does not come from Python's streams is captured in this process, too."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.component.base import Component
from machinable.trial.capture import captured
from tests.component.worlds import World as TrialWorld
from tests.conftest import World

LOUD = """
import ctypes
import logging
import os
import subprocess
import sys
import warnings
from machinable import Component

logging.basicConfig(level="INFO")
libc = ctypes.CDLL(None)


class Loud(Component):
    def on_execute(self):
        print("printed")
        logging.getLogger("log").info("logged")
        subprocess.run(["echo", "subprocess"], check=True)
        libc.puts(b"from C")
        libc.fflush(None)
        print("error", file=sys.stderr)
        os.write(2, "descriptor \\u00e9\\n".encode())
        warnings.warn("careful", stacklevel=1)
        print("unfinished ", end="", flush=True)
        os.system("printf 'line\\n'")
        print("original", file=sys.__stdout__, flush=True)
        libc.printf(b"buffered")
"""
EXPECTED = """printed
INFO:log:logged
subprocess
from C
error
descriptor é
loud.py:23: UserWarning: careful
  warnings.warn("careful", stacklevel=1)
unfinished line
original
buffered"""
RUNS = """
import sys
import machinable as ml
ml.execute(ml.Task("loud").repeat(2), sys.argv[1], "OY1p1o", engine=sys.argv[2], progress=False)
"""


def run(directory: Path, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1])}
    environment.pop("PYTHONUNBUFFERED", None)
    return subprocess.run(
        [sys.executable, *command], cwd=directory, env=environment, text=True, check=True, timeout=120, **options
    )


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_all_output_is_stored_in_order_on_every_engine(project: World, tmp_path: Path, engine: str) -> None:
    here = project("components: [loud: ]\n", loud=LOUD)
    shown = run(here, "-c", RUNS, str(tmp_path / "s"), engine, stdout=subprocess.PIPE, stderr=subprocess.STDOUT).stdout
    stored = [trial.output.replace(f"{here}/", "") for trial in ml.Storage(str(tmp_path / "s"))["OY1p1o"].trials]
    assert stored == [EXPECTED] * 2
    expected = EXPECTED * 2 if engine == "local" else ""
    # Python buffers stdout and stderr differently when they are a pipe.
    assert sorted(shown.replace(f"{here}/", "")) == sorted(expected)


def test_each_stream_keeps_its_target(project: World, tmp_path: Path) -> None:
    here = project("components: [loud: ]\n", loud=LOUD)
    ran = run(here, "-c", RUNS, str(tmp_path / "s"), "local", capture_output=True)
    assert ran.stdout == "printed\nsubprocess\nfrom C\nunfinished line\noriginal\nbuffered" * 2
    assert [line for line in ran.stderr.splitlines() if "warn" not in line.lower()] == [
        "INFO:log:logged",
        "error",
        "descriptor é",
    ] * 2


def test_with_json_only_the_document_is_on_stdout(project: World) -> None:
    here = project("components: [loud: ]\n", loud=LOUD)
    ran = run(here, "-m", "machinable", "execute", "loud", "--json", capture_output=True)
    assert json.loads(ran.stdout)["status"] == "finished"
    assert "subprocess\nfrom C\n" in ran.stderr


def test_a_logger_keeps_writing_to_a_stream_without_a_descriptor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as that of a notebook."""
    cell = io.StringIO()
    monkeypatch.setattr(sys, "stderr", cell)
    logger = logging.getLogger("machinable-test-of-a-notebook")
    handler = logging.StreamHandler(cell)
    logger.addHandler(handler)

    class Logs(Component):
        def on_execute(self) -> None:
            logger.warning("logged")

    try:
        world = TrialWorld(Logs, capture="tee")
        logger.warning("afterwards")
    finally:
        logger.removeHandler(handler)
    assert (world.text("output.log"), cell.getvalue()) == ("logged\n", "logged\nafterwards\n")


class Sink:
    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> None:
        self.text += text

    def close(self) -> None: ...


def test_output_of_a_c_library_that_holds_pythons_lock_is_captured() -> None:
    sink = Sink()
    writes = "import ctypes, os; ctypes.PyDLL(None).write(1, b'x' * 10**6, 10**6)"
    with captured(sink, passes=False):
        exec(writes)
    assert sink.text == "x" * 10**6


def test_a_forked_process_writes_once() -> None:
    sink = Sink()
    with captured(sink, passes=False):
        os.write(1, b"before\n")
        process = os.fork()
        if not process:
            os.write(1, b"in the child\n")
            os._exit(0)
        os.waitpid(process, 0)
        print("after")
    assert sink.text == "before\nin the child\nafter\n"


def test_only_one_of_two_captures_redirects_the_descriptors() -> None:
    targets = [os.fstat(descriptor) for descriptor in (1, 2)]
    one, other = Sink(), Sink()
    outer, inner = captured(one, passes=False), captured(other, passes=False)
    outer.__enter__()
    inner.__enter__()
    os.write(1, b"text\n")
    outer.__exit__(None, None, None)
    inner.__exit__(None, None, None)
    assert (one.text, other.text) == ("text\n", "")
    assert [os.fstat(descriptor) for descriptor in (1, 2)] == targets


def test_a_debugger_has_the_descriptors_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    targets = [os.fstat(descriptor).st_ino for descriptor in (1, 2)]
    found = []
    stdin = io.StringIO()
    monkeypatch.setattr(stdin, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stdin", stdin)
    debug = lambda: found.append([os.fstat(descriptor).st_ino for descriptor in (1, 2)])  # noqa: E731
    monkeypatch.setattr(sys, "breakpointhook", debug)
    with captured(Sink(), passes=False):
        found.append([os.fstat(descriptor).st_ino for descriptor in (1, 2)])
        breakpoint()
    assert found[0] != targets and found[1] == targets
    assert sys.breakpointhook is debug
