"""The events of a running execution, and the listeners that receive them in the executing process."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from msgspec import Struct

from machinable.errors import InvalidType

__all__ = [
    "Event",
    "ExecutionFinished",
    "ExecutionStarted",
    "FunctionListener",
    "Listener",
    "TrialBlocked",
    "TrialEvent",
    "TrialFailed",
    "TrialFinished",
    "TrialInterrupted",
    "TrialPruned",
    "TrialReused",
    "TrialSkipped",
    "TrialStarted",
    "TrialUnneeded",
    "TrialWaiting",
    "check_callback",
    "checked_listeners",
    "name_of",
]


class Event(Struct, frozen=True):
    """Something that happened in an execution.

    Attributes:
        execution: Name of the execution's folder.
        time: When it happened: ISO-8601, UTC.
    """

    execution: str
    time: str


class ExecutionStarted(Event, frozen=True):
    """The first event.

    Attributes:
        seed: Seed of the execution.
        storage: URL of the storage, without credentials.
        total: Number of trials.
        kept: Number of trials that had finished before an execution was resumed.
    """

    seed: int
    storage: str
    total: int
    kept: int = 0


class TrialEvent(Event, frozen=True):
    """Something that happened to one attempt of a trial.

    Attributes:
        uid: Uid of the trial.
        index: Its position in the plan.
        component: Canonical name of its component.
        attempt: Number of the attempt, from 1.
    """

    uid: str
    index: int
    component: str
    attempt: int


class TrialStarted(TrialEvent, frozen=True):
    """A trial was submitted to a worker."""


class TrialFinished(TrialEvent, frozen=True):
    """A trial has finished.

    Attributes:
        seconds: How long it took.
        record: The last row of its default scope.
    """

    seconds: float
    record: dict[str, Any] | None


class TrialFailed(TrialEvent, frozen=True):
    """A trial has failed.

    Attributes:
        seconds: How long it took.
        error: `type`, `message` and `traceback`.
        will_retry: Whether another attempt follows.
    """

    seconds: float
    error: dict[str, Any]
    will_retry: bool


class TrialReused(TrialEvent, frozen=True):
    """A trial did not run because its result exists.

    Attributes:
        source: Where its result is, as `OY1p1o/9c2EapVGXnPH`.
    """

    source: str


class TrialBlocked(TrialEvent, frozen=True):
    """A trial did not run because a trial that it requires has failed.

    Attributes:
        because: The trial that failed.
    """

    because: str


class TrialSkipped(TrialEvent, frozen=True):
    """A trial did not run because another execution is computing it.

    Attributes:
        because: The execution that computes it.
    """

    because: str


class TrialUnneeded(TrialEvent, frozen=True):
    """A trial without a result did not run because the results of all trials that require it exist."""


class TrialPruned(TrialEvent, frozen=True):
    """A trial of a search was ended between two iterations, or did not start, because its sample is not promising.

    Attributes:
        seconds: Its duration.
        because: Why.
    """

    seconds: float
    because: str


class TrialWaiting(TrialEvent, frozen=True):
    """A trial that could run waits for another execution.

    Attributes:
        because: The execution that is computing its result, or a limit that executions share, and who uses it.
    """

    because: str


class TrialInterrupted(TrialEvent, frozen=True):
    """A trial was ended from outside before it finished.

    Attributes:
        because: Why it was ended.
    """

    because: str


class ExecutionFinished(Event, frozen=True):
    """The last event.

    Attributes:
        status: Status of the execution.
        finished: Number of trials that finished, reused ones included.
        failed: Number of trials that failed, blocked ones included.
        seconds: Duration of the execution.
    """

    status: str
    finished: int
    failed: int
    seconds: float


class Listener:
    """Receives what happens in an execution, in the executing process. Every method does nothing by default."""

    def on_event(self, event: Event) -> None:
        """Receive an event, after the change is stored."""

    def on_trial(self, trial: Any) -> None:
        """Receive a trial, from which everything that is stored of it can be read: when it starts, and when it ends.

        It comes after the event. A trial that is retried has not ended; one that does not run is not received.

        Args:
            trial: A `machinable.results.trial.Trial`.
        """

    def on_progress(self, uid: str, i: int, total: int | None) -> None:
        """Receive how many steps a running trial has completed, and of how many if that is known."""

    def on_record(self, uid: str, row: dict[str, Any]) -> None:
        """Receive the row that a running trial has saved last."""

    def on_notice(self, text: str) -> None:
        """Receive a message that the user should see immediately, such as that trials wait for workers."""

    def on_advice(self, text: str) -> None:
        """Receive advice on how to run faster."""

    def hears(self, method: Callable[..., None]) -> bool:
        """Return whether a method of this class, such as `Listener.on_notice`, is overridden."""
        return getattr(type(self), method.__name__) is not method


class FunctionListener(Listener):
    """A function that receives events."""

    def __init__(self, function: Callable[[Event], None]) -> None:
        self.function = function

    def on_event(self, event: Event) -> None:
        """Call the function."""
        self.function(event)


def checked_listeners(listeners: Iterable[Listener | Callable[[Event], None]]) -> tuple[Listener, ...]:
    """Return listeners, with functions wrapped, after checking that each takes one event.

    Args:
        listeners: Listeners and functions of one event.

    Raises:
        InvalidType: One cannot be called with one argument; the message names it.
    """
    if isinstance(listeners, (str, bytes, Listener)) or not isinstance(listeners, Iterable):
        raise InvalidType(f"{listeners!r} is not a list of listeners", todo="Give a list: listeners=[f].")
    checked: list[Listener] = []
    for listener in listeners:
        if not isinstance(listener, Listener):
            check_callback(listener, "listener", "event")
            listener = FunctionListener(listener)
        checked.append(listener)
    return tuple(checked)


def name_of(function: Any) -> str:
    """Return the name of a callback or a listener in messages."""
    if isinstance(function, FunctionListener):
        function = function.function
    return str(getattr(function, "__qualname__", repr(function)))


def check_callback(function: Callable[..., Any], kind: str, argument: str) -> None:
    """Check that a function can be called with one argument.

    Args:
        function: The function.
        kind: Its name in messages: "listener".
        argument: The name of its argument in messages: "event".

    Raises:
        InvalidType: It cannot; the message names it.
    """
    name = name_of(function)
    if not callable(function):
        raise InvalidType(f"the {kind} {name} cannot be called", todo=f"A {kind} is a function of one {argument}.")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise InvalidType(
            f"the {kind} {name} is a coroutine function, which is never awaited",
            todo=f"A {kind} is a function of one {argument}, without async.",
        )
    try:
        inspect.signature(function).bind(None)
    except TypeError as error:
        raise InvalidType(
            f"the {kind} {name}{inspect.signature(function)} cannot take one {argument}: {error}",
            todo=f"A {kind} is called as {kind}({argument}).",
        ) from None
    except ValueError:
        return  # a builtin without a signature, such as print of old Pythons: only a call would show it
