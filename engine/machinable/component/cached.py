"""Compute methods once: `@ml.cached("terms.npy")`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import wraps
from inspect import Signature, isgeneratorfunction, signature
from typing import Any, ParamSpec, TypeVar

from machinable.component.base import Component, state_of
from machinable.component.mixins import mixin_of
from machinable.component.shared import check_keys, values_of
from machinable.errors import InvalidType, MachinableError, NotAvailable, WrongKind, WrongType
from machinable.serialization import Plain, as_plain
from machinable.storage.formats.registry import check_name, dump

__all__ = ["cached"]

_P = ParamSpec("_P")
_R = TypeVar("_R")


def cached(
    name: str,
    *,
    keys: Sequence[str] | None = None,
    save: Callable[[Any, str], Any] | None = None,
    load: Callable[[str], Any] | None = None,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Run a method of a component or mixin once and store its return value.

    Every later call, in any trial, process or execution of that storage, returns the stored value if the arguments
    and the owner of the method are the same. The owner is the component with its whole identity except the seed; for a
    child or a mixin it is the child or the mixin with its own configuration, wherever it is used. A call waits while
    another trial computes the value. The code of the method is not compared: rename the method when it changes.

    Args:
        name: The name of the stored value; its extension is the format, see `Store.write`.
        keys: The keys of the configuration that the value depends on, dotted; by default all those of the owner.
        save: Writes a model, as in `Store.write`.
        load: Reads a model, as in `Store.write`.

    Raises:
        BadName: The name has no known extension or leaves its folder.
    """
    if not isinstance(name, str):
        raise InvalidType("cached needs the name of an artifact", given=name, todo='Write @cached("terms.npy").')
    check_name(name)
    if keys is not None:
        check_keys(keys)

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
                    f"{label} is cached, so it can only be used "
                    + ("from on_start on" if state else "while a trial runs"),
                    given=label,
                    todo=None if state else "Execute the component in a task.",
                )
            arguments = _arguments(parameters, label, args, kwargs)
            owner = owner_of(component, method.__module__, label.rpartition(".")[0], keys)
            key = [owner, f"{method.__module__}:{label}", name, arguments]

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


def owner_of(component: Component, module: str, class_name: str, keys: Sequence[str] | None) -> Plain:
    """Return what the value of a method depends on in addition to its arguments.

    Args:
        component: The component that runs, also for a method of a mixin.
        module: The module of the class that defines the method.
        class_name: Its name, dotted if it is nested.
        keys: The keys of the configuration that count, None for all.
    """
    spec = state_of(component).spec
    mixin = mixin_of(component, module, class_name)
    if keys is not None:
        of = ["mixin", mixin.module] if mixin is not None else spec.counts_as
        return [*of, values_of(spec.stored, keys)]
    if mixin is not None and mixin.content:
        return mixin.content
    return spec.content or [*spec.counts_as, spec.stored]


def _arguments(parameters: Signature, label: str, args: Any, kwargs: Any) -> Plain:
    """Return the arguments by name, with defaults, so that different spellings of a call are equal."""
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
