"""A sample of a search as Ray Tune sees it: an actor with a worker, whose trial is led iteration by iteration."""

from __future__ import annotations

import asyncio
import pickle
import shutil
import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any, NamedTuple, NoReturn

import ray
from ray import tune
from ray.exceptions import RayError
from ray.tune.result import DONE, RESULT_DUPLICATE

from machinable.engines.processes.pool import Scratch, read_outcome
from machinable.engines.ray.actor import Agent, Reply, Setup, TrialRequest
from machinable.plan.spec import TrialSpec

__all__ = ["Desk", "Party", "Sample", "SampleFailed", "problem_of"]


class Party(NamedTuple):
    """What samples need from the process that searches.

    `desk` is where they leave word, `columns` are those that rows must have; the rest is as for `Agent`.
    """

    desk: Any
    setup: Setup
    code: Any
    work: bytes
    columns: Sequence[str] = ()


class Desk:
    """A Ray actor where samples and the process that searches leave word for each other."""

    def __init__(self) -> None:
        self._told: list[tuple[str, Reply]] = []
        self._ends: dict[str, str] = {}
        self._default: str | None = None
        self._changed = asyncio.Condition()

    async def tell(self, attempt: str, reply: Reply) -> None:
        """An attempt has something to say."""
        self._told.append((attempt, reply))

    async def collect(self) -> list[tuple[str, Reply]]:
        """What attempts have said since."""
        told, self._told = self._told, []
        return told

    async def end(self, attempt: str | None, how: str) -> None:
        """Decide how an attempt ends that Ray Tune stops, None for all: it is "over", or set "aside"."""
        async with self._changed:
            if attempt is None:
                self._default = how
            else:
                self._ends[attempt] = how
            self._changed.notify_all()

    async def how(self, attempt: str) -> str:
        """Wait for that decision."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._default or attempt in self._ends)
            return self._ends.pop(attempt, "") or self._default or "aside"

    async def alarm(self) -> None:
        """Wait until everything is to end."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._default)


class SampleFailed(RuntimeError):
    """What Ray Tune is told about a sample that has failed; what is stored says more."""


class Sample(tune.Trainable):  # type: ignore[misc]
    """What Ray Tune takes for the sample: it has the worker in which the trial runs."""

    def setup(self, config: dict[str, Any], party: Party | None = None) -> None:
        """Get ready for trials."""
        assert party is not None
        self._party = party
        self._agent = Agent(party.setup, None if party.code is None else ray.get(party.code))
        self._reaches = self._agent.look(0, party.work)
        self._replies: deque[Reply] = deque()  # that were not heard yet
        self._waiting: tuple[TrialSpec, str, Sequence[bytes]] | None = None
        self._attempt = ""
        self._number = 0
        self._is_running = False
        self._former: Scratch | None = None
        self._reason = ""  # why it was ended, if it cannot say so itself
        threading.Thread(target=self._watch, name="machinable-alarm", daemon=True).start()

    def _watch(self) -> None:
        with suppress(RayError):
            ray.get(self._party.desk.alarm.remote())
            self._agent.interrupt()

    # called by the process that searches

    def reaches_storage(self) -> bool:
        """Whether the storage is reached from here."""
        return self._reaches

    def take(self, attempt: str, spec: TrialSpec, home: str, luggage: Sequence[bytes]) -> None:
        """The next step begins that trial."""
        self._attempt, self._waiting = attempt, (spec, home, luggage)

    def finish(self, attempt: str, how: str) -> None:
        """End that attempt, if it is here: it is "over", or else set aside."""
        if attempt != self._attempt:
            return
        self._waiting = None
        if not self._is_running:
            return
        if how == "over":
            self._agent.order(self._number, "end")
        else:
            self._agent.interrupt()
        with suppress(SampleFailed):
            while self._is_running:
                self._heard()

    # called by Ray Tune

    def step(self) -> dict[str, Any]:
        """One iteration; its result is the row."""
        if self._waiting is not None:
            self._begin(*self._waiting)
        elif not self._is_running:  # no further one is wanted: that holds its place until the others have ended
            ray.get(self._party.desk.alarm.remote())
            return {RESULT_DUPLICATE: True, DONE: True}
        else:
            self._agent.order(self._number, "go")
        reply = self._heard()
        if reply.step is None:
            return {RESULT_DUPLICATE: True, DONE: True}
        row, is_last = reply.step["row"], bool(reply.step["is_last"])
        missing = [name for name in self._party.columns if row is not None and name not in row]
        if missing:
            self._give_up(
                f"the row of an iteration has no column {missing[0]!r}, which Task.tune looks at; it has "
                + ", ".join(name for name in row if not name.startswith("_"))
            )
        if row is None:
            return {RESULT_DUPLICATE: True, DONE: True} if is_last else {}
        return {**row, DONE: True} if is_last else dict(row)

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Let the component save its state, with all that it needs to go on elsewhere."""
        self._agent.order(self._number, "save", checkpoint_dir)
        reply = self._heard() if self._is_running else None
        if reply is None or reply.step is None or not reply.step.get("is_saved"):
            self._give_up(
                "the component has saved nothing: a search that takes checkpoints or pauses samples needs components "
                "with on_save and on_restore"
            )

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Begin the next trial where that was saved."""
        self._forget()
        self._former = Scratch()
        shutil.copytree(checkpoint, self._former.path, dirs_exist_ok=True)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Become another sample."""
        self._end()
        self._forget()
        return True

    def cleanup(self) -> None:
        """End what runs, and leave nothing behind."""
        try:
            self._end()
        finally:
            self._forget()
            self._agent.close()

    def _end(self) -> None:
        if self._is_running:
            self.finish(self._attempt, ray.get(self._party.desk.how.remote(self._attempt)))

    def _forget(self) -> None:
        if self._former is not None:
            self._former.close()
        self._former = None

    # the trial

    def _give_up(self, reason: str) -> NoReturn:
        """End a trial that cannot do what is wanted of it."""
        self._reason = reason
        self.finish(self._attempt, "aside")
        raise SampleFailed(reason)

    def _begin(self, spec: TrialSpec, home: str, luggage: Sequence[bytes]) -> None:
        self._waiting, self._reason = None, ""
        self._replies.clear()
        if self._former is not None:
            spec = replace(spec, resume_from=self._former.path)
        self._number += 1
        self._is_running = True
        self._agent.exchange([TrialRequest(self._number, pickle.dumps(spec), spec.threads, home)], 0, 0.0, 0, *luggage)

    def _heard(self) -> Reply:
        """The next that the trial says about a step, or its end."""
        while True:
            self._replies = self._replies or deque(self._agent.exchange([], 1, 0.0))
            reply = self._replies.popleft()
            if reply.kind == "step":
                return reply
            if reply.kind == "interrupted" and self._reason:
                reply = reply._replace(kind="error", text=self._reason)
            told = self._party.desk.tell.remote(self._attempt, reply)
            if reply.kind == "progress":
                continue
            self._is_running = False
            ray.get(told)  # this process may end before it is sent otherwise
            problem = problem_of(reply)
            if problem is not None:
                raise SampleFailed(problem)
            return reply


def problem_of(reply: Reply) -> str | None:
    """What went wrong, for Ray Tune; None if nothing did."""
    if reply.kind == "outcome":
        error = read_outcome(reply.outcome).error
        return f"{error['type']}: {error['message']}" if error else None
    return reply.text or reply.kind
