"""Bind mixins to components: `self._name_` calls the methods of a mixin class with the component as `self`."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import wraps
from types import FunctionType, GeneratorType
from typing import TYPE_CHECKING, Any

from machinable.component.base import Component, Mixin

if TYPE_CHECKING:
    from machinable.plan.spec import MixinSpec

__all__ = ["Binding", "mixin_of"]

_NOTHING: Any = object()


class Binding:
    """A mixin class bound to a component.

    Methods and properties get the component as `self`, class methods the mixin class; other members are returned
    unchanged. Assignments set attributes of the component.
    """

    __slots__ = ("__class", "__component", "__spec")
    __class: type[Mixin]
    __component: Component
    __spec: MixinSpec | None

    def __init__(self, mixin: type[Mixin], component: Component, spec: MixinSpec | None = None) -> None:
        object.__setattr__(self, "_Binding__class", mixin)
        object.__setattr__(self, "_Binding__component", component)
        object.__setattr__(self, "_Binding__spec", spec)

    def __getattr__(self, name: str) -> Any:
        mixin, component = self.__class, self.__component
        member = _member(mixin, name)
        if member is _NOTHING:
            raise AttributeError(f"the mixin {mixin.__qualname__} has no member {name!r}", name=name, obj=self)
        if isinstance(member, FunctionType):
            return _called(member.__get__(component), self, component)
        if isinstance(member, classmethod):
            return member.__get__(None, mixin)
        if isinstance(member, staticmethod):
            return member.__func__
        if isinstance(member, type) or not hasattr(type(member), "__get__"):
            return member
        # A property, a cached property, a partial, a cached method and so on work as if they were the component's.
        with _active(self, component):
            value = member.__get__(component, type(component))
        return _called(value, self, component) if getattr(value, "__self__", None) is component else value

    def __setattr__(self, name: str, value: Any) -> None:
        member = _member(self.__class, name)
        if isinstance(member, property):
            with _active(self, self.__component):
                member.__set__(self.__component, value)
        else:
            setattr(self.__component, name, value)

    def __dir__(self) -> list[str]:
        return [name for name in dir(self.__class) if not name.startswith("__")]

    def __repr__(self) -> str:
        return f"<mixin {self.__class.__qualname__} of {type(self.__component).__qualname__}>"


def mixin_of(component: Component, module: str, class_name: str) -> MixinSpec | None:
    """Return the mixin of a component that runs now, if its class or a base of it has this module and name."""
    binding = component.__dict__.get("__mixin__")
    if binding is None:
        return None
    bases: tuple[type, ...] = binding._Binding__class.__mro__
    is_owner = any((cls.__module__, cls.__qualname__) == (module, class_name) for cls in bases)
    return binding._Binding__spec if is_owner else None


def _member(mixin: type, name: str) -> Any:
    for cls in mixin.__mro__[:-1]:
        if name in cls.__dict__:
            return cls.__dict__[name]
    return _NOTHING


@contextmanager
def _active(binding: Binding, component: Component) -> Iterator[None]:
    """Set `component.__mixin__` to the binding within the block."""
    before = component.__dict__.get("__mixin__", _NOTHING)
    component.__dict__["__mixin__"] = binding
    try:
        yield
    finally:
        if before is _NOTHING:
            component.__dict__.pop("__mixin__", None)
        else:
            component.__dict__["__mixin__"] = before


def _called(call: Callable[..., Any], binding: Binding, component: Component) -> Callable[..., Any]:
    """Return a callable during whose calls the mixin is active."""

    @wraps(call)
    def method(*args: Any, **kwargs: Any) -> Any:
        with _active(binding, component):
            result = call(*args, **kwargs)
        return _driven(result, binding, component) if isinstance(result, GeneratorType) else result

    return method


def _driven(generator: Generator[Any, Any, Any], binding: Binding, component: Component) -> Generator[Any, Any, Any]:
    """Drive a generator, with the mixin active only while its code runs."""
    step, value = generator.send, None
    try:
        while True:
            try:
                with _active(binding, component):
                    item = step(value)
            except StopIteration as stop:
                return stop.value
            try:
                step, value = generator.send, (yield item)
            except GeneratorExit:
                raise
            except BaseException as error:  # thrown in by the consumer, for the generator to handle
                step, value = generator.throw, error
    finally:
        with _active(binding, component):
            generator.close()
