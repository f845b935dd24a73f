"""Limits that executions share: units, turns, and what becomes of them when a process is killed."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import machinable as ml
from machinable import events
from machinable.errors import MalformedText, Refused, UnknownName, WrongType
from machinable.execution.limits import SharedLimits
from machinable.plan.spec import TrialSpec
from machinable.storage import layout
from machinable.storage.files import Files
from machinable.storage.locks import open_locks
from machinable.storage.open import open_files
from tests.conftest import World

Open = Callable[[str], SharedLimits]


@pytest.fixture(params=["directory", "s3"])
def files(request: pytest.FixtureRequest, new_files: Callable[[str], Files]) -> Files:
    return new_files(request.param)


@pytest.fixture
def opened(files: Files) -> Iterator[Open]:
    """Return a function that returns the limits of another execution."""
    with ExitStack() as stack:

        def open_limits(folder: str) -> SharedLimits:
            locks = open_locks(files)
            stack.callback(locks.close)
            return SharedLimits(locks, folder, {"license": 2, "seat": 1})

        yield open_limits


@pytest.fixture
def trials(project: World) -> Callable[..., list[TrialSpec]]:
    """Return a function that returns trials with these resources."""
    project("components:\n  - train:\n")

    def make(**resources: int) -> list[TrialSpec]:
        return list(ml.Task().component("train", resources=resources).repeat(4).plan(seed=1))

    return make


def test_units_are_shared_by_executions(opened: Open, trials: Callable[..., list[TrialSpec]]) -> None:
    first, second = opened("OY1p1o"), opened("1234ab")
    one, two, three, _ = trials(license=1)

    assert [first.take(one), second.take(two)] == [None, None]
    assert first.take(three) == "license"
    assert str(first.other()).startswith("1234ab on ")
    assert not first.may_fit({"license": 1})
    assert first.may_fit({"cpus": 1})

    second.give_back(two)

    assert first.take(three) is None
    assert first.next_due is None


def test_who_waits_is_served_before_who_has_just_had_a_turn(
    opened: Open, trials: Callable[..., list[TrialSpec]]
) -> None:
    first, second = opened("OY1p1o"), opened("1234ab")
    one, two, three, four = trials(license=1)
    (all_, *_) = trials(license=2)
    assert [first.take(one), first.take(two)] == [None, None]
    assert [first.take(three), second.take(all_)] == ["license", "license"]

    first.give_back(one)

    assert first.take(three) is None  # it had the turn
    assert first.take(four) == "license"  # the other one is next
    assert second.take(all_) == "license"
    first.give_back(two)
    assert first.take(four) == "license"  # although a unit is free, which the other one keeps
    assert second.take(all_) == "license"
    first.give_back(three)
    assert second.take(all_) is None
    second.give_back(all_)
    assert first.take(four) is None


def test_a_trial_that_cannot_start_for_other_reasons_leaves_the_line(
    opened: Open, trials: Callable[..., list[TrialSpec]]
) -> None:
    first, second = opened("OY1p1o"), opened("1234ab")
    one, two, three, _ = trials(license=1, seat=1)
    assert first.take(one) is None
    assert first.take(two) == "seat"  # it keeps a license meanwhile
    assert first.waiting is two

    first.withdraw()
    first.give_back(one)

    assert second.take(three) is None
    assert first.waiting is None


def test_several_limits_are_taken_in_one_order(opened: Open, trials: Callable[..., list[TrialSpec]]) -> None:
    limits = opened("OY1p1o")
    both, other, *_ = trials(license=2, seat=1)
    assert limits.take(both) is None
    assert limits.take(other) == "license"
    assert limits.take(trials(cpus=1)[2]) is None

    limits.close()

    assert opened("1234ab").take(other) is None


def test_units_of_a_killed_process_are_free_again(new_files: Callable[[str], Files], project: World) -> None:
    files = new_files("directory")
    project("components:\n  - train:\n")
    trial, other = ml.Task().component("train", resources={"license": 2}).repeat(2).plan(seed=1)
    locks = open_locks(files)
    limits = SharedLimits(locks, "OY1p1o", {"license": 2})
    child = os.fork()
    if child == 0:
        SharedLimits(open_locks(files), "1234ab", {"license": 2}).take(other)
        os._exit(0)  # without releasing anything, as after kill -9
    os.waitpid(child, 0)
    assert files.exists(layout.limit_lease("license", "1"))

    assert limits.take(trial) is None

    locks.close()


LICENSED = """
execution: {resources: {license: {total: 1, shared: true}, tokens: {total: 2}}}
components:
  - train: {_resources_: {license: 1, tokens: 1}}
"""
TRAIN = "from machinable import Component\n\nclass Train(Component):\n    pass\n"


@pytest.mark.parametrize("engine", ["local", "processes:2"])
def test_an_execution_waits_for_the_limit_says_so_and_goes_on(
    project: World, s3_folder: Callable[[], str], engine: str, capsys: pytest.CaptureFixture[str]
) -> None:
    project(LICENSED, train=TRAIN)
    storage = s3_folder()
    locks = open_locks(open_files(storage, create=True))
    lease = locks.take(layout.limit_lease("license", "0"), {"execution": "1234ab"})
    assert lease is not None
    heard: list[events.Event] = []
    shown: list[dict[str, str]] = []

    def listen(event: events.Event) -> None:
        heard.append(event)
        if isinstance(event, events.TrialWaiting):
            shown.append(ml.Storage(storage)[event.execution].waiting)
            lease.release()

    execution = ml.execute(ml.Task("train").repeat(3), storage=storage, engine=engine, listeners=[listen])

    waited = [event for event in heard if isinstance(event, events.TrialWaiting)]
    assert execution.status == "finished"
    assert [event.because.partition(" on ")[0] for event in waited] == ["license: 1234ab"]
    assert shown == [{waited[0].uid: waited[0].because}]
    assert "is waiting for license, which 1234ab on " in capsys.readouterr().err
    assert ml.Storage(storage)[str(execution)].waiting == {}
    assert locks.take(layout.limit_lease("license", "0")) is not None
    locks.close()


def test_executions_on_ray_share_a_limit(project: World, ray_cluster: None, tmp_path: Path) -> None:
    project(
        LICENSED.replace(", tokens: {total: 2}", "").replace(", tokens: 1", ""),
        train=f"""
import os
from machinable import Component


class Train(Component):
    def on_execute(self):
        os.mkdir({str(tmp_path / "used")!r})  # fails if another trial has it
        os.rmdir({str(tmp_path / "used")!r})
""",
    )
    executions = []

    def run() -> None:
        executions.append(ml.execute(ml.Task("train").repeat(4), tmp_path / "out", engine="ray", progress=False))

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert [execution.status for execution in executions] == ["finished", "finished"]


def test_a_limit_in_memory_counts_only_here_which_is_said(project: World, capsys: pytest.CaptureFixture[str]) -> None:
    project(LICENSED, train=TRAIN)

    assert ml.execute(ml.Task("train").repeat(2)).status == "finished"
    assert "license is not shared: other executions do not see one" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("declared", "error", "message"),
    [
        ("license: {total: 3, share: true}", UnknownName, "Did you mean 'shared'?"),
        ("license: {shared: true}", MalformedText, "license has no `total`"),
        ("license: {total: 3, shared: 1}", WrongType, "`shared` is true or false"),
        ("license: {total: 0, shared: true}", MalformedText, "1 to 10000 units, not 0"),
        ("license: {total: 1.5, shared: true}", WrongType, "is a whole number, not 1.5"),
        ("license: {total: many, shared: true}", WrongType, "is a whole number, not 'many'"),
        ("gpus: {total: 3, shared: true}", MalformedText, "gpus belong to a host"),
        ("a/b: {total: 3, shared: true}", MalformedText, "'a/b' cannot be the name of a shared limit"),
        ("license: {total: -1}", MalformedText, "cannot be negative"),
        ("license: 3", Refused, "train requests 0.5 tokens, but there is no resource 'tokens'"),
        ("tokens: {total: 3, shared: true}", Refused, "requests 0.5 tokens, but shared limits have whole units"),
    ],
)
def test_wrong_limits_are_one_error_before_anything_runs(
    project: World, declared: str, error: type[Exception], message: str
) -> None:
    component = "components:\n  - train: {_resources_: {tokens: 0.5}}\n"
    world: Path = project(f"execution: {{resources: {{{declared}}}}}\n{component}", train=TRAIN)

    with pytest.raises(error) as raised:
        ml.execute("train", storage=world / "results")

    assert message in str(raised.value)
    assert not (world / "results").exists()
