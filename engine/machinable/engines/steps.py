"""How a trial in a worker is led from outside: it says what it has done, and is told what to do next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from machinable.plain import Plain, dumps, loads

__all__ = ["ORDER", "Steps", "order_from", "order_message", "steps"]

# What was done → what comes next.
Ask: TypeAlias = Callable[[Mapping[str, Plain]], "list[str]"]

ORDER = b'{"order": '  # orders begin with it, and trials with a pickle's first byte


class Steps:
    """The way from a trial to whoever leads it: `ask` is set in workers, and waits for the answer."""

    def __init__(self) -> None:
        self.ask: Ask | None = None


steps = Steps()  # those of this worker


def order_message(order: list[str]) -> bytes:
    """An order on its way to a worker."""
    return dumps({"order": order}).encode("ascii")


def order_from(message: bytes) -> list[str]:
    """What such a message says."""
    return loads(message)["order"]  # type: ignore[no-any-return]
