"""A process that has ended is recognized, and a later one with the same id is not mistaken for it."""

from __future__ import annotations

import ast
import os
import signal
import subprocess
import sys

import pytest

from machinable.storage import process_info
from machinable.storage.process_info import cores, is_gone, is_running, is_stopped, memory, this_process


def test_this_process_is_not_gone() -> None:
    me = this_process()
    assert not is_gone(me)
    assert is_gone(me | {"born": "12"})
    assert not is_gone(me | {"born": ""})
    assert not is_gone({})
    assert not is_gone(me | {"pid": "1"})
    assert is_gone(me | {"pid": 2**22 + 1})  # Linux has no more
    assert is_gone(me | {"pid": 2**200})


def test_a_process_that_is_stopped_is_still_running() -> None:
    me = this_process()
    assert is_running(me) and not is_stopped(me)
    code = "from machinable.storage.process_info import this_process; print(this_process(), flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        facts = ast.literal_eval(process.stdout.readline().decode())
        assert is_running(facts) and not is_stopped(facts)
        os.kill(process.pid, signal.SIGSTOP)
        os.waitpid(process.pid, os.WUNTRACED)
        assert is_running(facts) and is_stopped(facts) and not is_gone(facts)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(facts) and not is_running(facts) and not is_stopped(facts)
    for other in ({"host": "elsewhere"}, {"boot": "before"}):
        assert not is_running(me | other) and not is_gone(me | other)


def test_a_process_of_another_user_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    assert not is_gone(this_process())


def test_psutil_finds_start_times_where_there_is_no_proc() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        born = process_info._start_by_psutil(process.pid)
        assert born and born == process_info._start_by_psutil(process.pid)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert process_info._start_by_psutil(process.pid) is None


def test_start_times_may_differ_by_as_much_as_a_clock_is_corrected(monkeypatch: pytest.MonkeyPatch) -> None:
    me = this_process()
    monkeypatch.setattr(process_info, "_start", lambda pid: "1000.5")
    assert not is_gone(me | {"born": "1030.25"})
    assert is_gone(me | {"born": "1100.25"})


def test_the_cores_and_memory_of_this_host_are_counted() -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
    assert memory() > 2**28
