"""A sample of a search, and whether less or more is better."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from msgspec import Struct

from machinable.errors import InvalidValue

__all__ = ["Mode", "Sample", "check_mode"]

Mode: TypeAlias = Literal["min", "max"]

_MODES = {"min": "min", "max": "max", "minimize": "min", "maximize": "max"}


class Sample(Struct, frozen=True):
    """One choice of a sampler.

    Attributes:
        number: Its number in the search, from 0.
        values: The value of each key of the space.
    """

    number: int
    values: dict[str, Any]


def check_mode(mode: Any) -> Mode:
    """Return the direction of a search.

    Raises:
        InvalidValue: It is neither "min" nor "max".
    """
    if isinstance(mode, str) and mode in _MODES:
        return _MODES[mode]  # type: ignore[return-value]
    todo = 'Write mode="min" if less is better, mode="max" if more is.'
    raise InvalidValue(f"{mode!r} is not a direction of a search", given=mode, known=["min", "max"], todo=todo)
