"""Signs of life."""

from __future__ import annotations

import os
import threading

import pytest

from machinable.trial.status import Heartbeat


def test_functions_are_called_again_and_again_from_one_thread() -> None:
    heartbeat = Heartbeat(interval=0.01)
    threads, enough = set(), threading.Semaphore(0)

    def first() -> None:
        threads.add(threading.current_thread())
        enough.release()

    def second() -> None:
        threads.add(threading.current_thread())
        enough.release()

    heartbeat.add(first)
    heartbeat.add(second)
    for _ in range(6):
        assert enough.acquire(timeout=10)
    heartbeat.remove(first)
    heartbeat.remove(second)
    heartbeat.remove(second)

    (thread,) = threads
    assert (thread.daemon, thread.name) == (True, "machinable-heartbeat")


def test_no_thread_starts_before_somebody_needs_it() -> None:
    before = threading.active_count()
    heartbeat = Heartbeat(interval=60)
    assert threading.active_count() == before
    heartbeat.add(lambda: None)
    heartbeat.add(lambda: None)
    assert threading.active_count() == before + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # a fork with threads, which is the point
def test_a_forked_process_has_a_timer_of_its_own() -> None:
    heartbeat = Heartbeat(interval=0.01)
    heartbeat.add(lambda: None)
    child = os.fork()
    if child == 0:
        called = threading.Event()
        heartbeat.add(called.set)
        os._exit(0 if called.wait(10) else 1)

    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
