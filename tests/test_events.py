"""Listeners are checked at the door."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from machinable.errors import InvalidType
from machinable.events import FunctionListener, Listener, checked_listeners


class Called:
    def __call__(self, event: object) -> None:
        raise NotImplementedError


class Awaited:
    async def __call__(self, event: object) -> None:
        raise NotImplementedError


@pytest.mark.parametrize(
    "listener", [print, lambda event: None, lambda *events: None, lambda event, more=1: None, Called(), [].append]
)
def test_what_can_be_called_with_one_event_is_a_listener(listener: Any) -> None:
    (checked,) = checked_listeners([listener])

    assert isinstance(checked, FunctionListener)
    assert checked.function is listener
    assert not checked.hears(Listener.on_notice)


def test_a_listener_object_is_taken_as_it_is_and_says_what_it_hears() -> None:
    class Notices(Listener):
        def on_notice(self, text: str) -> None: ...

    listener = Notices()

    assert checked_listeners([listener]) == (listener,)
    assert [listener.hears(method) for method in (Listener.on_notice, Listener.on_event)] == [True, False]


@pytest.mark.parametrize(
    ("listeners", "words"),
    [
        (print, "not a list"),
        ("print", "not a list"),
        ([3], "cannot be called"),
        ([lambda: None], "cannot take one event"),
        ([lambda event, other: None], "cannot take one event"),
        ([asyncio.sleep], "the listener sleep is a coroutine"),
        ([Awaited()], "is a coroutine"),
    ],
)
def test_others_are_refused_by_name(listeners: Any, words: str) -> None:
    with pytest.raises(InvalidType, match=words):
        checked_listeners(listeners)
