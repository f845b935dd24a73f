"""Compute methods once: `@ml.cached("terms.npy")`."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import Signature, isgeneratorfunction, signature
from typing import Any, ParamSpec, TypeVar

from machinable.component.base import Component, state_of
from machinable.errors import InvalidType, MachinableError, NotAvailable, WrongKind, WrongType
from machinable.serialization import Plain, as_plain
from machinable.storage.formats.registry import check_name, dump

__all__ = ["cached"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def cached(
    name: str, *, save: Callable[[Any, str], Any] | None = None, load: Callable[[str], Any] | None = None
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Run a method of a component or mixin once and store what it returns.

    Every later call, in any trial, process or execution of that storage, returns the stored value if the arguments
    and the identity of the component except its seed are the same. A call waits while another trial computes the
    value. The code of the method is not compared: rename the method when it changes.

    Args:
        name: The name of the stored value; its extension is the format, see `Store.write`.
        save: Writes a model, as in `Store.write`.
        load: Reads a model, as in `Store.write`.

    Raises:
        BadName: The name has no known extension or leaves its folder.
    """
    if not isinstance(name, str):
        raise InvalidType("cached needs the name of an artifact", given=name, todo='Write @cached("terms.npy").')
    check_name(name)

    def decorate(method: Callable[_P, _R]) -> Callable[_P, _R]:
        if not callable(method) or isgeneratorfunction(method):
            raise InvalidType(
                f"cached is for methods that return a value, not for {method!r}",
                given=method,
                todo="Let it return a list." if callable(method) else "Put it below @property or @staticmethod.",
            )
        parameters = signature(method)
        label = getattr(method, "__qualname__", repr(method))

        @wraps(method)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            component: Any = args[0] if args else None
            state = component.__dict__.get("__machinable__") if isinstance(component, Component) else None
            if state is None or not state.is_started:
                raise NotAvailable(
                    f"{label} is cached, so it can be used " + ("from on_start on" if state else "while a trial runs"),
                    given=label,
                    todo=None if state else "Execute the component in a task.",
                )
            arguments = _arguments(parameters, label, args, kwargs)
            key = [content_of(component), f"{method.__module__}:{label}", name, arguments]

            def compute() -> bytes:
                value = method(*args, **kwargs)
                try:
                    return dump(name, value, save=save, load=load)
                except WrongKind as error:
                    what = f"what {label} returned cannot be cached: {error.message}"
                    raise WrongKind(what, given=error.given) from error

            value: _R = state.context.shared_data.value(key, name, f"what {label} returns", compute, load)
            return value

        return call

    return decorate


def content_of(component: Component) -> Plain:
    """Return the identity of a component without its seed; that of a child includes its node."""
    spec = state_of(component).spec
    if component.node is None:
        return spec.content or [spec.component, spec.module, spec.stored]
    return [content_of(component.node), spec.component, spec.module, spec.stored, dict(spec.flags)]


def _arguments(parameters: Signature, label: str, args: Any, kwargs: Any) -> Plain:
    """Return the arguments by name, with defaults, so that two ways to write one call are equal."""
    bound = parameters.bind(*args, **kwargs)
    bound.apply_defaults()
    _, *pairs = bound.arguments.items()
    try:
        return [[name, as_plain(value, name)] for name, value in pairs]
    except (WrongType, RecursionError) as error:
        place = error.path if isinstance(error, MachinableError) else "…"
        raise InvalidType(
            f"{label} is cached, and its argument {place} is not plain data",
            given=place,
            todo="Pass None, bool, numbers, text, dates, lists and mappings of these; what is in the configuration "
            "need not be passed.",
        ) from error
