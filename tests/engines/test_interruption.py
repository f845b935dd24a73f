"""Interrupts that wait until the code of a component runs."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

import pytest

from machinable.engines import interruption as module
from machinable.engines.interruption import Interruption
from machinable.errors import LeaseLost


@pytest.fixture
def interruption() -> Interruption:
    return Interruption()


@pytest.fixture
def interrupt(interruption: Interruption) -> Callable[[], None]:
    return lambda: interruption.receive(signal.SIGINT, KeyboardInterrupt())


def test_an_interrupt_waits_for_the_code_of_a_component(
    interruption: Interruption, interrupt: Callable[[], None]
) -> None:
    with interruption.held():
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interruption.release()
        with pytest.raises(KeyboardInterrupt):
            interrupt()
        interruption.hold()
    with pytest.raises(KeyboardInterrupt):
        interrupt()


def test_an_interrupt_is_raised_at_the_end_of_all_blocks_even_after_an_error(
    interruption: Interruption, interrupt: Callable[[], None]
) -> None:
    reached = []

    def run() -> None:
        with interruption.held():
            with interruption.held():
                interrupt()
            reached.append("the end of the inner block")
            raise OSError

    with pytest.raises(KeyboardInterrupt) as raised:
        run()
    assert reached and isinstance(raised.value.__context__, OSError)
    assert not interruption.is_pending and not interruption.is_held


def test_an_interrupt_because_a_trial_was_lost_is_not_raised_again(
    interruption: Interruption, interrupt: Callable[[], None]
) -> None:
    def run() -> None:
        with interruption.held():
            interrupt()
            raise LeaseLost("lost")

    with pytest.raises(LeaseLost):
        run()
    assert not interruption.is_pending


def test_an_interrupt_that_insists_is_raised_anywhere(
    interruption: Interruption, interrupt: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    with interruption.held():
        interrupt()
        interrupt()
        monkeypatch.setattr(module, "INSIST_AFTER", -1.0)
        with pytest.raises(KeyboardInterrupt):
            interrupt()


def test_other_threads_hold_nothing(interruption: Interruption) -> None:
    held = []

    def run() -> None:
        with interruption.held():
            held.append(interruption.is_held)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert held == [False]
