"""A worker process, seen from inside."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import BinaryIO

import pytest

from machinable.engines.processes.worker import PRUNE, _Worker, write_message


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, int]]:
    """Return both ends of a pipe for commands."""
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as commands:
        yield commands, writing
    os.close(writing)


def test_a_trial_is_pruned_also_if_the_message_comes_before_it(pipe: tuple[BinaryIO, int]) -> None:
    commands, writing = pipe
    worker = _Worker(writing, os.getpid())

    worker.take_prune(PRUNE + b"0:worse than 3")

    assert worker.pruned(commands, "a") == "worse than 3"


def test_only_the_trial_is_pruned_that_a_message_is_for(pipe: tuple[BinaryIO, int]) -> None:
    commands, writing = pipe
    worker = _Worker(writing, os.getpid())
    write_message(writing, PRUNE + b"1:worse than 3")
    assert worker.pruned(commands, "a") == ""
    write_message(writing, PRUNE + b"0:worse than 4")
    assert worker.pruned(commands, "a") == "worse than 4"

    worker.end_trial()

    assert worker.pruned(commands, "b") == ""
