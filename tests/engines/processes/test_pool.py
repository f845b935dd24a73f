"""How worker processes start, run trials, are lost and exit, and what they restore."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from pathlib import Path

import pytest

from machinable.engines.base import WorkerError, WorkerLost
from machinable.engines.processes.pool import ProcessesEngine
from machinable.engines.processes.threads import VARIABLES
from machinable.errors import InvalidType, InvalidValue
from machinable.testing.engine import failed
from tests.engines import works
from tests.engines.works import trial

RESULT_TIMEOUT = 60.0


@pytest.fixture
def engine() -> Iterator[ProcessesEngine]:
    engine = ProcessesEngine(1)
    yield engine
    engine.close()


@pytest.fixture
def two() -> Iterator[ProcessesEngine]:
    engine = ProcessesEngine(2)
    yield engine
    engine.close()


@pytest.fixture
def pipe(tmp_path: Path) -> Callable[[], str]:
    """Return a function that creates named pipes."""
    names = iter(range(100))

    def make() -> str:
        path = str(tmp_path / f"pipe{next(names)}")
        os.mkfifo(path)
        return path

    return make


Pipes = Callable[[], str]


def read(pipe: str) -> int:
    """Return the process id that is written into a pipe."""
    with open(pipe) as file:
        return int(file.readline())


def test_by_default_there_is_a_worker_for_each_usable_core() -> None:
    assert ProcessesEngine().slots == len(os.sched_getaffinity(0))
    assert ProcessesEngine("3").slots == 3


def test_trials_are_prefetched_while_they_are_short(two: ProcessesEngine) -> None:
    ahead = [two.prefetch]
    for work in (works.pid, failed, works.pid):  # the second reports half a second
        two.submit(work, trial()).result(RESULT_TIMEOUT)
        ahead.append(two.prefetch)

    assert ahead == [0, 2, 0, 2]


@pytest.mark.parametrize("option", ["slots", "recycle"])
@pytest.mark.parametrize(
    ("given", "kind"),
    [
        (0, InvalidValue),
        (-1, InvalidValue),
        ("x", InvalidValue),
        ("", InvalidValue),
        (1.5, InvalidType),
        (True, InvalidType),
    ],
)
def test_options_are_whole_numbers_of_at_least_one(option: str, given: object, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=f"{option} of the engine 'processes' is {given!r}"):
        ProcessesEngine(**{option: given})


def test_no_worker_is_started_before_the_first_trial(engine: ProcessesEngine) -> None:
    assert engine._workers == []


def test_a_worker_is_reused_for_the_next_trial(engine: ProcessesEngine) -> None:
    pids = {engine.submit(works.pid, trial(n)).result(RESULT_TIMEOUT).result for n in range(3)}

    assert len(pids) == 1


def test_trials_run_at_the_same_time(two: ProcessesEngine, pipe: Pipes) -> None:
    path = pipe()
    futures = [two.submit(works.meet, trial(n, pipe=path, first=not n)) for n in range(2)]

    assert [future.result(RESULT_TIMEOUT).result for future in futures] == ["said", "hello"]


def test_trials_beyond_the_slots_wait_in_order(two: ProcessesEngine) -> None:
    futures = [two.submit(works.pid, trial(n)) for n in range(20)]

    outcomes = [future.result(RESULT_TIMEOUT) for future in futures]
    assert [outcome.uid for outcome in outcomes] == [f"{n:012d}" for n in range(20)]
    assert len({outcome.result for outcome in outcomes}) <= 2


def test_recycle_replaces_a_worker_after_that_many_trials() -> None:
    engine = ProcessesEngine(1, recycle=2)
    pids = [engine.submit(works.pid, trial(n)).result(RESULT_TIMEOUT).result for n in range(5)]
    engine.close()

    assert [pids[0] == pids[1], pids[1] == pids[2], pids[2] == pids[3], pids[3] == pids[4]] == [
        True,
        False,
        True,
        False,
    ]


def test_a_worker_computes_with_as_many_threads_as_its_trial_has_cpus(engine: ProcessesEngine) -> None:
    def ask(cpus: float | None) -> list[str]:
        return engine.submit(works.threads, trial(cpus=cpus, names=list(VARIABLES))).result(RESULT_TIMEOUT).result

    default, two, more, half = ask(None), ask(2), ask(2.5), ask(0.5)

    assert [set(found[1:]) for found in (default, two, more, half)] == [{"1"}, {"2"}, {"2"}, {"1"}]
    assert [default[0] == two[0], two[0] == more[0], more[0] == half[0]] == [False, True, False]
    assert len(engine._workers) == 1


def test_a_killed_worker_loses_one_trial(two: ProcessesEngine, pipe: Pipes) -> None:
    first, second = pipe(), pipe()
    killed = two.submit(works.endless, trial(0, pipe=first))
    other = two.submit(works.endless, trial(1, pipe=second))
    with open(first) as held:
        pid = int(held.readline())
        survivor = read(second)
        os.kill(pid, signal.SIGKILL)
        problem = killed.exception(RESULT_TIMEOUT)
        assert held.read() == ""

    assert isinstance(problem, WorkerLost)
    assert str(problem) == f"the worker process {pid} was lost: it was killed by SIGKILL (out of memory?)"
    assert not other.done()
    assert two.submit(works.pid, trial(2)).result(RESULT_TIMEOUT).result not in (pid, survivor)


@pytest.mark.parametrize(
    ("work", "how"),
    [
        (works.exits, "it exited with code 3"),
        (works.ends_itself, "it has ended itself: the executing process cannot be reached"),
        (works.crashes, "it was killed by SIGSEGV (its output tells where)"),
        (works.forks_and_exits, "it exited with code 4"),
        (works.closes_everything, "it has closed its connection"),
    ],
)
def test_the_error_says_how_a_worker_was_lost(engine: ProcessesEngine, work: Callable[..., object], how: str) -> None:
    future = engine.submit(work, trial())  # type: ignore[arg-type]
    following = engine.submit(works.pid, trial(1))
    problem = future.exception(RESULT_TIMEOUT)

    assert isinstance(problem, WorkerLost)
    assert str(problem).endswith(f" was lost: {how}")
    assert following.result(RESULT_TIMEOUT).uid == "000000000001"


def test_the_error_says_why_a_worker_cannot_start(engine: ProcessesEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")

    problem = engine.submit(works.pid, trial()).exception(RESULT_TIMEOUT)

    assert isinstance(problem, WorkerLost)
    assert "it exited with code 1" in str(problem)
    assert "encodings" in str(problem)  # the message of Python


def test_a_trial_begins_when_its_worker_is_ready(
    engine: ProcessesEngine, pipe: Pipes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts, first, second = pipe(), pipe(), pipe()
    (tmp_path / "sitecustomize.py").write_text(f"open({starts!r}).read()\n")  # waits until it is opened here
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))

    future = engine.submit(works.endless, trial(pipe=first))
    waiting = engine.submit(works.endless, trial(pipe=second))
    before = engine.began(future), engine.began(waiting)
    open(starts, "w").close()
    read(first)
    during = engine.began(future)

    assert before == (None, None)
    assert during is not None and during <= time.monotonic()
    assert engine.began(waiting) is None


def test_without_an_interpreter_the_trial_is_lost_and_no_worker_is_counted(
    engine: ProcessesEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/nowhere/python")

    problem = engine.submit(works.pid, trial()).exception(RESULT_TIMEOUT)

    assert isinstance(problem, WorkerLost)
    assert "no worker process could be started" in str(problem)
    assert engine._workers == []


def test_work_that_cannot_be_pickled_is_an_error_and_the_next_trial_runs(engine: ProcessesEngine) -> None:
    problem = engine.submit(lambda spec: works.pid(spec), trial()).exception(RESULT_TIMEOUT)

    assert isinstance(problem, (pickle.PicklingError, AttributeError))
    assert engine.submit(works.pid, trial()).result(RESULT_TIMEOUT)


def test_work_without_an_outcome_is_an_error(engine: ProcessesEngine) -> None:
    problem = engine.submit(works.no_outcome, trial()).exception(RESULT_TIMEOUT)

    assert isinstance(problem, WorkerError)
    assert "TypeError: the work on a trial returned None instead of an Outcome" in str(problem)


def test_workers_have_separate_sessions_so_that_ctrl_c_reaches_only_the_parent(engine: ProcessesEngine) -> None:
    assert engine.submit(works.session, trial()).result(RESULT_TIMEOUT).result is True


def test_an_interrupt_reaches_running_and_waiting_trials_and_keeps_the_worker(
    engine: ProcessesEngine, pipe: Pipes
) -> None:
    path = pipe()
    running = engine.submit(works.endless, trial(0, pipe=path))
    waiting = engine.submit(works.pid, trial(1))
    pid = read(path)

    engine.interrupt()

    assert [type(f.exception(RESULT_TIMEOUT)) for f in (running, waiting)] == [KeyboardInterrupt] * 2
    assert engine.submit(works.pid, trial(2)).result(RESULT_TIMEOUT).result == pid


def test_an_interrupt_of_an_idle_worker_does_nothing(engine: ProcessesEngine) -> None:
    pid = engine.submit(works.pid, trial()).result(RESULT_TIMEOUT).result
    engine.interrupt()
    os.kill(pid, signal.SIGINT)

    assert engine.submit(works.pid, trial()).result(RESULT_TIMEOUT).result == pid


def test_ending_a_trial_kills_its_worker_and_the_programs_that_it_started(two: ProcessesEngine, pipe: Pipes) -> None:
    first, second = pipe(), pipe()
    ended = two.submit(works.starts_a_program, trial(0, pipe=first))
    other = two.submit(works.endless, trial(1, pipe=second))
    with open(first) as held:
        assert int(held.readline())
        read(second)
        two.end(ended)
        assert held.read() == ""  # no process has it open

    assert ended.done()
    assert str(ended.exception()).endswith(" was lost: its trial was ended")
    assert not other.done()


def test_a_waiting_trial_can_be_ended(engine: ProcessesEngine, pipe: Pipes) -> None:
    path = pipe()
    running = engine.submit(works.endless, trial(0, pipe=path))
    waiting = engine.submit(works.pid, trial(1))
    read(path)
    engine.end(waiting)

    assert isinstance(waiting.exception(0), WorkerLost)
    assert not running.done()


def test_closing_ends_idle_workers_and_kills_busy_ones(two: ProcessesEngine, pipe: Pipes) -> None:
    first, second = pipe(), pipe()
    with_idle = two.submit(works.announced, trial(0, pipe=first))
    with open(first) as idle:
        with_idle_pid = int(idle.readline())
        assert with_idle.result(RESULT_TIMEOUT).result == with_idle_pid
        busy = two.submit(works.endless, trial(1, pipe=second))
        other = two.submit(works.endless, trial(2, pipe=second))
        with open(second) as running:
            running.readline()
            running.readline()
            waiting = two.submit(works.pid, trial(3))
            two.close()
            assert (idle.read(), running.read()) == ("", "")

    assert [str(f.exception(0)).partition(": ")[2] for f in (busy, other)] == ["the engine was closed"] * 2
    assert str(waiting.exception(0)) == "the engine was closed before the trial began"
    assert two._workers == []
    assert two.submit(works.pid, trial()).result(RESULT_TIMEOUT)  # and it can be used again


def test_a_replaced_worker_that_does_not_exit_is_killed(pipe: Pipes) -> None:
    engine = ProcessesEngine(1, recycle=1)
    path = pipe()
    engine.submit(works.never_exits, trial(pipe=path))
    with open(path) as held:
        held.readline()
        engine.submit(works.pid, trial(1)).result(RESULT_TIMEOUT)
        engine.close()
        assert held.read() == ""


SCRIPT = """
import sys
from machinable.engines.processes.pool import ProcessesEngine
from tests.engines import works
engine = ProcessesEngine(2)
idle = engine.submit(works.announced, works.trial(0, pipe=sys.argv[1]))
busy = engine.submit(works.endless, works.trial(1, pipe=sys.argv[2]))
idle.result()
busy.result()
"""


def test_workers_exit_when_their_parent_is_killed(pipe: Pipes) -> None:
    first, second = pipe(), pipe()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", SCRIPT, first, second], env=environment)
    with parent, open(first) as idle, open(second) as busy:
        idle.readline()
        busy.readline()
        parent.kill()
        assert (idle.read(), busy.read()) == ("", "")  # both have ended


ORPHANED = """
import sys
from machinable.engines.processes.pool import ProcessesEngine
from tests.engines import works
ProcessesEngine(1).submit(works.Orphaned(sys.argv[1]), works.trial()).result()
"""


def test_a_worker_does_not_begin_a_trial_after_its_parent_was_killed(pipe: Pipes) -> None:
    path = pipe()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", ORPHANED, path], env=environment) as parent, open(path) as output:
        assert output.read() == ""  # the worker has exited
        assert parent.wait() == -signal.SIGKILL


def test_nothing_leaks_from_a_trial_into_the_next(
    engine: ProcessesEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KEPT", "kept")
    before = engine.submit(works.process_state, trial()).result(RESULT_TIMEOUT).result
    engine.submit(works.change_everything, trial(directory=str(tmp_path))).result(RESULT_TIMEOUT)
    after = engine.submit(works.process_state, trial()).result(RESULT_TIMEOUT).result

    before["loggers"]["new"][2] = ["NullHandler"]  # which libraries add to their loggers when they are imported
    assert after == before


@pytest.mark.parametrize("is_loaded", [False, True], ids=["loaded by the trial", "loaded before"])
def test_settings_of_python_and_libraries_are_restored(is_loaded: bool, engine: ProcessesEngine) -> None:
    other = ProcessesEngine(1)
    try:
        fresh = other.submit(works.settings, trial()).result(RESULT_TIMEOUT).result
    finally:
        other.close()
    if is_loaded:
        engine.submit(works.settings, trial()).result(RESULT_TIMEOUT)

    engine.submit(works.change_settings, trial()).result(RESULT_TIMEOUT)

    assert engine.submit(works.settings, trial()).result(RESULT_TIMEOUT).result == fresh


def test_all_futures_end_when_workers_are_lost_one_after_the_other(two: ProcessesEngine) -> None:
    futures = [two.submit(works.exits if n % 3 == 0 else works.pid, trial(n)) for n in range(12)]
    wait(futures, timeout=RESULT_TIMEOUT)

    assert [type(f.exception(0)) for f in futures] == [WorkerLost if n % 3 == 0 else type(None) for n in range(12)]
