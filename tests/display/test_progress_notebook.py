"""In a notebook one line shows progress, without being asked for; a real kernel says so."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jupyter_client.manager import KernelManager

CELL = """
import machinable as ml


def work(component):
    for step in range(3):
        component.progress(step + 1, 3)


execution = ml.execute(ml.Task(work).repeat(2), seed="OY1p1o")
plan = ml.Task(work).plan(seed="OY1p1o")
execution
"""


@pytest.fixture
def messages(tmp_path: Path) -> Iterator[list[dict[str, Any]]]:
    """What a kernel sends while it runs the cell."""
    manager = KernelManager(kernel_cmd=[sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"])
    manager.start_kernel(cwd=str(tmp_path))
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=60)
        found: list[dict[str, Any]] = []
        client.execute_interactive(CELL, timeout=60, output_hook=found.append)
        yield found
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)


# The kernel's own libraries leave sockets to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_execution_in_a_notebook_updates_one_line(messages: list[dict[str, Any]]) -> None:
    assert [message["content"] for message in messages if message["msg_type"] == "error"] == []
    shown = [message["content"]["data"]["text/html"] for message in messages if message["msg_type"] == "display_data"]
    updates = [
        message["content"]["data"]["text/html"] for message in messages if message["msg_type"] == "update_display_data"
    ]
    assert shown == ["<code>OY1p1o: 2 trials, in memory</code>"]
    assert updates[-1].startswith("<code>OY1p1o: finished after")
    assert any("running" in text or "done" in text for text in updates[:-1])
    (result,) = [message["content"]["data"] for message in messages if message["msg_type"] == "execute_result"]
    assert "OY1p1o" in result["text/html"]


def test_outside_notebooks_nothing_is_shown_or_imported() -> None:
    from machinable.display.progress import notebook_listeners

    assert notebook_listeners() == []
