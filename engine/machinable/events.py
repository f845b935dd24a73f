"""What can be heard while an execution runs: frozen events, handed to the listeners in the executing process."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

from machinable.errors import InvalidType

__all__ = [
    "Event",
    "ExecutionFinished",
    "ExecutionStarted",
    "Listener",
    "TrialEvent",
    "TrialFailed",
    "TrialFinished",
    "TrialInterrupted",
    "TrialStarted",
    "checked_listeners",
]


@dataclass(frozen=True)
class Event:
    """Something that happened: in which execution (its folder's name), and when (ISO-8601, UTC)."""

    execution: str
    time: str


@dataclass(frozen=True)
class ExecutionStarted(Event):
    """The first event. `storage` is the URL without credentials, `total` the number of trials."""

    seed: int
    storage: str
    total: int


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
class TrialInterrupted(TrialEvent):
    """A trial was ended from outside before it was done."""

    because: str


@dataclass(frozen=True)
class ExecutionFinished(Event):
    """The last event: `status` of the execution, numbers of trials, `seconds` from start to end."""

    status: str
    finished: int
    failed: int
    seconds: float


Listener: TypeAlias = Callable[[Event], None]


def checked_listeners(listeners: Iterable[Listener]) -> tuple[Listener, ...]:
    """The listeners, each known to take one event.

    Raises:
        InvalidType: one is not callable or cannot be called with one argument; the message names it.
    """
    if callable(listeners) or isinstance(listeners, (str, bytes)) or not isinstance(listeners, Iterable):
        raise InvalidType(f"{listeners!r} is not a list of listeners", todo="Give a list: listeners=[f].")
    checked = tuple(listeners)
    for listener in checked:
        name = getattr(listener, "__qualname__", repr(listener))
        if not callable(listener):
            raise InvalidType(f"the listener {name} cannot be called", todo="A listener is a function of one event.")
        try:
            inspect.signature(listener).bind(None)
        except TypeError as error:
            raise InvalidType(
                f"the listener {name}{inspect.signature(listener)} cannot take one event: {error}",
                todo="A listener is called as listener(event).",
            ) from None
        except ValueError:
            continue  # a builtin without a signature, such as print of old Pythons: only calling it can tell
    return checked
