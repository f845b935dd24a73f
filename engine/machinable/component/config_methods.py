"""Config methods of a component: `rate(0.5)` in its configuration calls its method `config_rate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from machinable.component.base import Component
from machinable.config.method_calls import AS_TEXT, argument_problem, called_name, calls_in, hidden_problem
from machinable.errors import MachinableError, MissingMember, SeveralErrors, near_names

__all__ = ["check_calls", "has_calls", "is_method_call", "missing_method"]

_PREFIX = "config_"
_SIMILAR = 0.75  # to a method: `rte(2)` is misspelt, and `ResNet(18)` is text


def is_method_call(cls: type[Component], text: str) -> bool:
    """Return whether a text of the configuration calls a method of the component."""
    name = called_name(text)
    return name is not None and callable(getattr(cls, _PREFIX + name, None))


def has_calls(cls: type[Component], value: Any) -> bool:
    """Return whether plain data contain a call of a method of the component."""
    return any(is_method_call(cls, text) for _, text in calls_in(value))


def check_calls(
    cls: type[Component], config: Mapping[str, Any], may_show: Callable[[str, str], bool] = lambda path, text: True
) -> None:
    """Check the calls of config methods. Text in the form of a call is text if no method has nearly this name.

    Args:
        cls: The component.
        config: Its configuration.
        may_show: Whether messages may show the text at a key path.

    Raises:
        MissingMember: A method has nearly the name that is called.
        UndefinedName, MalformedText: The arguments of a call are not allowed.
        SeveralErrors: Several of these.
    """
    errors: list[MachinableError] = []
    for path, text in calls_in(config):
        problem = _problem(cls, text)
        if problem is None:
            continue
        problem = problem if may_show(path, text) else hidden_problem(problem)
        problem.path = path
        errors.append(problem)
    SeveralErrors.raise_any(errors)


def missing_method(cls: type[Component], text: str) -> str | None:
    """Return the method that a text could be meant to call: its arguments are valid, and its name is in lower case."""
    name = called_name(text)
    if name is None or not name.islower() or f"{name}(" not in text or is_method_call(cls, text):
        return None
    return _PREFIX + name if argument_problem(text) is None else None


def _problem(cls: type[Component], text: str) -> MachinableError | None:
    if is_method_call(cls, text):
        return argument_problem(text)
    known = [name.removeprefix(_PREFIX) for name in dir(cls) if name.startswith(_PREFIX)]
    near = near_names(called_name(text), known, cutoff=_SIMILAR)
    if not near:
        return None
    method = f"{_PREFIX}{called_name(text)}"
    return MissingMember(
        f"{cls.__module__}.{cls.__qualname__} has no method {method}, which {text!r} calls",
        given=method,
        known=known,
        todo=f"Did you mean {near[0]}(…)? {AS_TEXT}",
    )
