"""What can be heard while an execution runs: frozen events, handed to the listeners in the executing process."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

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
    "TrialReused",
    "TrialSkipped",
    "TrialStarted",
    "check_callback",
    "checked_listeners",
    "name_of",
]


@dataclass(frozen=True)
class Event:
    """Something that happened: in which execution (its folder's name), and when (ISO-8601, UTC)."""

    execution: str
    time: str


@dataclass(frozen=True)
class ExecutionStarted(Event):
    """The first event. `storage` is the URL without credentials, `total` the number of trials, `kept` how many of
    them had finished before, when an execution goes on."""

    seed: int
    storage: str
    total: int
    kept: int = 0


@dataclass(frozen=True)
class TrialEvent(Event):
    """Something that happened to one attempt of a trial."""

    uid: str
    index: int
    component: str
    attempt: int


@dataclass(frozen=True)
class TrialStarted(TrialEvent):
    """A trial was handed to a worker."""


@dataclass(frozen=True)
class TrialFinished(TrialEvent):
    """A trial has ended well; `record` is the last row of its default scope, `seconds` how long it took."""

    seconds: float
    record: dict[str, Any] | None


@dataclass(frozen=True)
class TrialFailed(TrialEvent):
    """A trial has ended with an error: a mapping with `type`, `message` and `traceback`."""

    seconds: float
    error: dict[str, Any]
    will_retry: bool


@dataclass(frozen=True)
class TrialReused(TrialEvent):
    """A trial did not run, for its result is there: `source` is where, as `OY1p1o/9c2EapVGXnPH`."""

    source: str


@dataclass(frozen=True)
class TrialBlocked(TrialEvent):
    """A trial did not run, for what it needs has failed: `because` names the culprit."""

    because: str


@dataclass(frozen=True)
class TrialSkipped(TrialEvent):
    """A trial did not run, for somebody else computes it at the moment: `because` says who."""

    because: str


@dataclass(frozen=True)
class TrialInterrupted(TrialEvent):
    """A trial was ended from outside before it was done."""

    because: str


@dataclass(frozen=True)
class ExecutionFinished(Event):
    """The last event: `status` of the execution, `seconds` from start to end, and numbers of trials: `finished` with
    those that were reused, `failed` with those that were blocked."""

    status: str
    finished: int
    failed: int
    seconds: float


class Listener:
    """Receives what happens in an execution, in the executing process. Every method does nothing by default."""

    def on_event(self, event: Event) -> None:
        """Receive an event, after the change is stored."""

    def on_progress(self, uid: str, i: int, total: int | None) -> None:
        """Receive how many steps a running trial has completed, and of how many if that is known."""

    def on_record(self, uid: str, row: dict[str, Any]) -> None:
        """Receive the row that a running trial has saved last."""

    def on_notice(self, text: str) -> None:
        """Receive a message that the user should read at once, such as that trials wait for workers."""

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
    """Return listeners, with functions wrapped, each known to take one event.

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
    """Return how messages name a callback or a listener."""
    if isinstance(function, FunctionListener):
        function = function.function
    return str(getattr(function, "__qualname__", repr(function)))


def check_callback(function: Callable[..., Any], kind: str, argument: str) -> None:
    """See that a function can be called with one argument.

    Args:
        kind: what it is called in messages: "listener". argument: what it is called with: "event".

    Raises:
        InvalidType: it cannot; the message names it.
    """
    name = name_of(function)
    if not callable(function):
        raise InvalidType(f"the {kind} {name} cannot be called", todo=f"A {kind} is a function of one {argument}.")
    if inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__):
        raise InvalidType(
            f"the {kind} {name} is a coroutine, which nobody would wait for",
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
        return  # a builtin without a signature, such as print of old Pythons: only calling it can tell
