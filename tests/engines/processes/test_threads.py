"""Limits on the number of threads, and their end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import machinable as ml
from machinable import events
from machinable.engines.processes.threads import VARIABLES, ThreadLimit, ThreadsNotSet, idle_notice
from machinable.errors import MalformedText

World = Callable[..., Path]


def pools() -> list[int]:
    np.dot(np.ones((2, 2)), np.ones((2, 2)))
    return [pool["num_threads"] for pool in threadpool_info()]


def test_loaded_libraries_use_the_limit_and_are_restored() -> None:
    before, environment = pools(), dict(os.environ)
    limit = ThreadLimit()

    limit.hold(1)
    one = set(pools()), {os.environ[name] for name in VARIABLES}
    limit.hold(2)
    two = set(pools()), {os.environ[name] for name in VARIABLES}
    limit.close()

    assert (one, two) == (({1}, {"1"}), ({2}, {"2"}))
    assert (pools(), dict(os.environ)) == (before, environment)


def test_closing_an_unused_limit_changes_nothing() -> None:
    environment = dict(os.environ)

    ThreadLimit().close()

    assert dict(os.environ) == environment


def test_libraries_loaded_under_a_limit_are_not_limited_afterwards() -> None:
    program = (
        "import os, sys\n"
        "from machinable.engines.processes.threads import ThreadLimit\n"
        "os.environ['OMP_NUM_THREADS'] = '3'\n"
        "limit = ThreadLimit(); limit.hold(1); assert 'numpy' not in sys.modules\n"
        "import numpy; from threadpoolctl import threadpool_info\n"
        "held = [pool['num_threads'] for pool in threadpool_info()]\n"
        "limit.close(); print(held, [pool['num_threads'] for pool in threadpool_info()])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "[1] [3]\n"


def test_without_threadpoolctl_a_warning_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    limit = ThreadLimit()

    with pytest.warns(ThreadsNotSet, match="pip install threadpoolctl"):
        limit.hold(1)
    with pytest.warns(ThreadsNotSet):
        limit.close()


ASKS = """
import os
import numpy as np
from threadpoolctl import threadpool_info
from machinable import Component


class Asks(Component):
    def on_execute(self):
        np.dot(np.ones((2, 2)), np.ones((2, 2)))
        return [os.environ["OMP_NUM_THREADS"], *{pool["num_threads"] for pool in threadpool_info()}]
"""


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_a_trial_computes_with_as_many_threads_as_it_has_cpus(engine: str, project: World, tmp_path: Path) -> None:
    project(
        "execution: {resources: {cpus: 8}}\n"
        "components:\n  - asks: {~two: {_resources_: {cpus: 2}}, ~half: {_resources_: {cpus: 0.5}}}\n",
        asks=ASKS,
    )
    before = pools()

    execution = ml.execute(ml.Task().component("asks", [None, "~two", "~half"]), None, 1, engine)

    assert [trial.result for trial in execution.trials] == [["1", 1], ["2", 2], ["1", 1]]
    assert [trial.threads for trial in execution.trials] == [1, 2, 1]
    assert pools() == before


@pytest.mark.parametrize("engine", ["local", "processes:1"])
def test_the_project_sets_the_threads_of_trials_without_cpus(engine: str, project: World) -> None:
    project(
        "execution: {threads: 2, resources: {cpus: 8}}\ncomponents:\n  - asks: {~one: {_resources_: {cpus: 1}}}\n",
        asks=ASKS,
    )

    execution = ml.execute(ml.Task().component("asks", [None, "~one"]), None, 1, engine)

    assert [trial.result for trial in execution.trials] == [["2", 2], ["1", 1]]


@pytest.mark.parametrize("given", ["0", "many", "1.5", "true"])
def test_an_invalid_number_of_threads_is_an_error_with_its_place(given: str, project: World) -> None:
    project(f"execution: {{threads: {given}}}\ncomponents: [asks: ]\n", asks=ASKS)

    with pytest.raises(MalformedText, match=r"machinable.yaml:1:13: `threads` is (?s:.*)whole number of at least 1"):
        ml.Task("asks").plan()


@pytest.mark.parametrize(
    ("slots", "threads", "there", "notice"),
    [
        (1, 1, 1, None),
        (4, 1, 4, None),
        (4, 2, 4, None),
        (
            1,
            1,
            8,
            "7 of 8 cores stay idle (1 trial at a time with 1 thread): `--engine processes` runs more trials at "
            "a time, `_resources_: {cpus: 8}` or `execution: {threads: 8}` gives each more threads",
        ),
        (
            2,
            2,
            8,
            "4 of 8 cores stay idle (2 trials at a time with 2 threads): "
            "`_resources_: {cpus: 4}` or `execution: {threads: 4}` gives each more threads",
        ),
    ],
)
def test_the_notice_of_idle_cores_says_how_to_use_them(
    slots: int, threads: int, there: int, notice: str | None
) -> None:
    assert idle_notice(slots, threads, there) == notice


def test_listeners_receive_advice_about_idle_cores(project: World, monkeypatch: pytest.MonkeyPatch) -> None:
    project("components: [asks: ]\n", asks=ASKS)
    monkeypatch.setattr("machinable.execution.run.cores", lambda: 3)
    notices: list[str] = []

    class Listener(events.Listener):
        def on_advice(self, text: str) -> None:
            notices.append(text)

    ml.execute("asks", None, 1, listeners=[Listener()])

    assert [text.partition(" (")[0] for text in notices] == ["2 of 3 cores stay idle"]
