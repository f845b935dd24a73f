"""Check the options with which a class or a function is called, before it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import signature
from typing import Any

from machinable.errors import InvalidValue, did_you_mean, near_names

__all__ = ["check_options"]


def check_options(
    factory: Callable[..., Any], what: str, options: Mapping[str, Any], arguments: Sequence[Any] = ()
) -> None:
    """Check that a class or a function can be called with options.

    Args:
        factory: The class or function.
        what: What it makes, in messages: "the engine 'ray'".
        options: The options by name.
        arguments: Those without a name.

    Raises:
        InvalidValue: It cannot; the message suggests near names.
    """
    parameters = signature(factory)
    try:
        parameters.bind(*arguments, **options)
    except TypeError as error:
        known = list(parameters.parameters)
        near = [n for option in options if option not in known for n in near_names(option, known)]
        given = ", ".join([*map(repr, arguments), *map(str, options)])
        raise InvalidValue(
            f"{what} takes no {given}" if given else f"{what} needs options: {error}",
            given=given,
            known=known,
            todo=did_you_mean(near) if near else f"It takes: {', '.join(known) or 'nothing'}.",
        ) from None
