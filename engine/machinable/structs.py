"""Records: classes whose annotations are their fields.

A class takes 0.02 ms to create and this module 0.3 ms to import, of which every process pays some seventy: data classes
take 1.3 ms each, named tuples 0.3 ms each, and importing msgspec or attrs 20 ms.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform
else:

    def dataclass_transform(**_: object) -> Callable[[type], type]:
        return lambda kind: kind


__all__ = ["Struct", "asdict", "field", "replace"]

_MANY = 20  # instances, after which it pays to compile their `__init__`
_set: Any = object.__setattr__


class _Made:
    """A default that is made for each instance."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


def field(*, default_factory: Callable[[], Any]) -> Any:
    """Return a default that is made for each instance."""
    return _Made(default_factory)


@dataclass_transform(field_specifiers=(field,))
class StructType(type):
    """The class of `Struct` and of its subclasses."""

    struct_fields: tuple[str, ...] = ()
    struct_defaults: dict[str, Any]
    struct_count: int

    def __new__(
        cls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        frozen: bool = False,
        eq: bool = True,
        order: bool = False,
    ) -> StructType:
        """Create a class.

        Args:
            name: As for `type`.
            bases: As for `type`.
            namespace: As for `type`.
            frozen: Whether attributes cannot be set, which allows instances as keys.
            eq: Whether instances with equal fields are equal.
            order: Whether instances are ordered by their fields.
        """
        parents = [base for base in bases if isinstance(base, StructType)]
        inherited = parents[0].struct_fields if parents else ()
        defaults = dict(parents[0].struct_defaults) if parents else {}
        own = [each for each in namespace.get("__annotations__", ()) if each not in inherited] if parents else []
        for each in (*inherited, *own):
            if each in namespace:
                default = namespace.pop(each)
                # As msgspec does: an empty list or mapping is a new one for each instance.
                defaults[each] = _Made(type(default)) if type(default) in (list, dict, set) else default
        namespace["__slots__"] = tuple(own)
        namespace["__init__"] = _init
        if frozen:
            namespace |= {"__setattr__": _refuse, "__delattr__": _refuse, "__hash__": _hash}
        if not eq:
            namespace |= {"__eq__": object.__eq__, "__hash__": object.__hash__}
        if order:
            namespace["__lt__"] = _is_less
        made = super().__new__(cls, name, bases, namespace)
        made.struct_fields = made.__match_args__ = (*inherited, *own)  # type: ignore[attr-defined, misc]
        made.struct_defaults = defaults
        made.struct_count = 0
        return made


def _refuse(self: Struct, name: str, value: object = None) -> None:
    raise AttributeError(f"{type(self).__name__} cannot be changed: {name!r}", name=name, obj=self)


def _hash(self: Struct) -> int:
    return hash((type(self), *_values(self)))


def _is_less(self: Struct, other: object) -> bool:
    return _values(self) < _values(other) if type(other) is type(self) else NotImplemented


def _values(one: Any) -> tuple[Any, ...]:
    return tuple([getattr(one, name) for name in type(one).struct_fields])


def _init(self: Any, *args: Any, **given: Any) -> None:
    """Initialize any record."""
    kind: Any = type(self)
    fields = kind.struct_fields
    values = dict(zip(fields, args, strict=False))
    kind.struct_count += 1
    if kind.struct_count > _MANY or len(args) > len(fields) or not values.keys().isdisjoint(given):
        return _compile_init(kind)(self, *args, **given)
    values |= given
    defaults = kind.struct_defaults
    for name in fields:
        if name in values:
            _set(self, name, values.pop(name))
        elif name in defaults:
            default = defaults[name]
            _set(self, name, default.make() if type(default) is _Made else default)
        else:
            return _compile_init(kind)(self, *args, **given)  # which raises the error
    if values:
        return _compile_init(kind)(self, *args, **given)
    return None


class Struct(metaclass=StructType):
    """A record. Its fields are the annotations of its class, with their defaults."""

    def __eq__(self, other: object) -> bool:
        return _values(self) == _values(other) if type(other) is type(self) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in type(self).struct_fields)
        return f"{type(self).__name__}({fields})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), _values(self)


def _compile_init(kind: StructType) -> Callable[..., None]:
    """Return the `__init__` of a class made from code, which takes a fifth of the time, and use it from now on."""
    names: dict[str, Any] = {}
    parameters, lines = [], []
    for name in kind.struct_fields:
        if name in kind.struct_defaults:
            names[f"default_{name}"] = default = kind.struct_defaults[name]
            parameters.append(f"{name}=default_{name}")
            if type(default) is _Made:
                lines.append(f"if {name} is default_{name}: {name} = default_{name}.make()")
        else:
            parameters.append(name)
        if kind.__setattr__ is _set:
            lines.append(f"self.{name} = {name}")
        else:
            names[f"set_{name}"] = getattr(kind, name).__set__
            lines.append(f"set_{name}(self, {name})")
    text = "\n    ".join([f"def __init__({', '.join(['self', *parameters])}):", *(lines or ["pass"])])
    exec(text, names)  # noqa: S102  # as namedtuple does: all names are those of a class statement
    made: Any = names["__init__"]
    made.__qualname__ = f"{kind.__qualname__}.__init__"
    kind.__init__ = made  # type: ignore[misc]
    return made  # type: ignore[no-any-return]


One = TypeVar("One", bound=Struct)


def replace(one: One, /, **changes: Any) -> One:
    """Return a copy with some fields changed."""
    kind = type(one)
    values = dict.fromkeys(kind.struct_fields)
    for name in values:
        values[name] = getattr(one, name)
    return kind(**(values | changes))


def asdict(one: Struct) -> dict[str, Any]:
    """Return the fields with their values."""
    return {name: getattr(one, name) for name in type(one).struct_fields}
