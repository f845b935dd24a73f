"""Typed configurations: a nested `class Config` checks and completes the configuration before anything runs."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import os
import pathlib
import sys
import types
import typing
from collections.abc import Collection, Mapping, Sequence, Set
from typing import Any

from machinable.component.base import Component
from machinable.config.method_calls import calls_in, is_call
from machinable.errors import (
    InvalidType,
    MachinableError,
    MalformedText,
    MissingKey,
    SeveralErrors,
    UnknownName,
    WrongType,
)
from machinable.serialization import Plain, as_plain, is_hidden

__all__ = ["typed_config"]

_DATES = (datetime.datetime, datetime.date, datetime.time)


def typed_config(
    cls: type[Component],
    config: Mapping[str, Plain],
    mixin_only: Collection[str] = (),
    shown: Mapping[str, Plain] | None = None,
) -> dict[str, Plain]:
    """The configuration as the nested `class Config` of a component wants it; without one, as it is.

    Values are coerced and defaults filled in. Hidden keys need no declaration, and calls of config methods are not
    checked: they have no value yet.

    Args:
        cls: the component. config: its configuration.
        mixin_only: keys that nothing but mixins brings; those that `Config` does not declare are left out.
        shown: what messages may show of the configuration; default: all of it.

    Raises:
        UnknownName: a key that `Config` does not declare. MissingKey: one that it needs. WrongType, MalformedText: a
            value that it refuses. Several are reported together.
    """
    schema = getattr(cls, "Config", None)
    if schema is None:
        return dict(config)
    check = _Check(f"{cls.__module__}.{cls.__qualname__}.Config", config if shown is None else shown)
    declared = _declared(schema)
    if declared is None:
        raise InvalidType(
            f"{check.label} is neither a dataclass nor a pydantic model",
            given=check.label,
            todo="Put @dataclass above it.",
        )
    values = {
        key: value for key, value in config.items() if key in declared or not (key in mixin_only or is_hidden(key))
    }
    check.names(schema, values, ())
    typed = check.model(schema, values) if _is_model(schema) else check.dataclass(schema, values, ())
    SeveralErrors.raise_any(check.errors)
    result: dict[str, Plain] = _with_hidden(_plain(typed), config)
    return {key: result[key] for key in [*(k for k in config if k in result), *(k for k in result if k not in config)]}


class _Check:
    """Collects what is wrong with one configuration."""

    def __init__(self, label: str, shown: Mapping[str, Plain]) -> None:
        self.label = label
        self.errors: list[MachinableError] = []
        self._shown = shown

    def refuse(self, kind: type[MachinableError], keys: tuple[str | int, ...], what: str) -> None:
        given: Any = self._shown
        for key in keys:
            try:
                given = given[key]
            except (LookupError, TypeError):  # hidden
                given = "…"
                break
        path = ".".join(map(str, keys))
        self.errors.append(kind(f"{path} is {given!r}, but {what}", path=path, details=[f"says {self.label}"]))

    def names(self, kind: Any, value: Any, keys: tuple[str | int, ...]) -> None:
        """Note the keys that are not declared, at any depth."""
        schema = _schema_of(kind)
        if schema is not None and isinstance(value, Mapping):
            declared = _declared(schema) or {}
            for key, item in value.items():
                if key in declared:
                    self.names(declared[key], item, (*keys, key))
                elif not (is_hidden(key) or _takes_others(schema)):
                    path = ".".join(map(str, (*keys, key)))
                    self.errors.append(UnknownName("key", key, declared, path=path, details=[f"says {self.label}"]))
            return
        arguments = typing.get_args(kind)
        if isinstance(value, list) and arguments:
            for index, item in enumerate(value):
                self.names(arguments[0], item, (*keys, index))
        elif isinstance(value, Mapping) and len(arguments) == 2:
            for key, item in value.items():
                self.names(arguments[1], item, (*keys, key))

    def missing(self, keys: tuple[str | int, ...]) -> None:
        path = ".".join(map(str, keys))
        self.errors.append(MissingKey(f"{path} has no value, and {self.label} needs one", path=path, given=path))

    # pydantic

    def model(self, schema: Any, values: Mapping[str, Plain]) -> dict[str, Any]:
        pydantic: Any = sys.modules["pydantic"]
        called = {key for key, value in values.items() if next(calls_in(value), None) is not None}
        try:
            if not called:
                return _dumped(schema.model_validate(dict(values)))
        except pydantic.ValidationError as error:
            self._model_errors(error, ())
            return {}
        # Without the values that methods will give there is no model yet: each field is checked for itself.
        result: dict[str, Any] = {}
        for name, field in schema.model_fields.items():
            given = [key for key in (name, field.alias) if key in values]
            if not given:
                if field.is_required():
                    self.missing((name,))
                else:
                    result[name] = field.get_default(call_default_factory=True)
            elif given[0] in called:
                result[name] = values[given[0]]
            else:
                try:
                    adapter = pydantic.TypeAdapter(typing.Annotated[(field.annotation, field)])
                    result[name] = adapter.dump_python(adapter.validate_python(values[given[0]]))
                except pydantic.ValidationError as error:
                    self._model_errors(error, (name,))
        return result

    def _model_errors(self, error: Any, keys: tuple[str | int, ...]) -> None:
        for one in error.errors(include_url=False, include_context=False, include_input=False):
            place = (*keys, *one["loc"])
            if one["type"] == "missing":
                self.missing(place)
            else:
                wrong_type = one["type"].endswith(("_type", "_parsing", "_from_float"))
                self.refuse(WrongType if wrong_type else MalformedText, place, one["msg"])

    # dataclasses

    def dataclass(self, schema: Any, values: Mapping[str, Plain], keys: tuple[str | int, ...]) -> Any:
        """An instance; a dict if something is wrong, or calls are among the values."""
        kinds = _declared(schema) or {}
        arguments: dict[str, Any] = {}
        faults = len(self.errors)
        for field in dataclasses.fields(schema):
            if not field.init:
                continue
            if field.name in values:
                arguments[field.name] = self.value(kinds[field.name], values[field.name], (*keys, field.name))
            elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
                self.missing((*keys, field.name))
        if len(self.errors) > faults:
            return arguments
        if next(calls_in(values), None) is not None:
            for field in dataclasses.fields(schema):
                if field.name not in arguments and field.default is not dataclasses.MISSING:
                    arguments[field.name] = field.default
                elif field.name not in arguments and field.default_factory is not dataclasses.MISSING:
                    arguments[field.name] = field.default_factory()
            return arguments
        try:
            return schema(**arguments)
        except Exception as error:  # __post_init__ says no with whatever it likes
            place = ".".join(map(str, keys))
            self.errors.append(
                MalformedText(f"{self.label} refuses {place or 'the configuration'}: {error}", path=place or None)
            )
            return arguments

    def value(self, kind: Any, value: Any, keys: tuple[str | int, ...]) -> Any:
        """The value as that kind."""
        if isinstance(value, str) and is_call(value):
            return value
        if kind is Any or kind is object or isinstance(kind, typing.TypeVar):
            return value
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Annotated:
            return self.value(arguments[0], value, keys)
        if origin in (typing.Union, types.UnionType):
            return self._union(kind, arguments, value, keys)
        if origin is typing.Literal:
            if any(type(value) is type(choice) and value == choice for choice in arguments):
                return value
            self.refuse(WrongType, keys, f"it must be {' or '.join(map(repr, arguments))}")
            return value
        if _is_class(kind) and dataclasses.is_dataclass(kind):
            if isinstance(value, Mapping):
                return self.dataclass(kind, value, keys)
        elif origin is tuple or kind is tuple:
            if isinstance(value, list):
                kinds = arguments or (Any, ...)
                if len(kinds) == 2 and kinds[1] is ...:
                    kinds = (kinds[0],) * len(value)
                if len(kinds) == len(value):
                    return tuple(
                        self.value(k, v, (*keys, i)) for i, (k, v) in enumerate(zip(kinds, value, strict=True))
                    )
        elif (origin or kind) in (list, Sequence, set, frozenset, Set):
            if isinstance(value, list):
                inner = arguments[0] if arguments else Any
                items = [self.value(inner, item, (*keys, index)) for index, item in enumerate(value)]
                return items if (origin or kind) in (list, Sequence) else (origin or kind)(items)
        elif (origin or kind) in (dict, Mapping):
            if isinstance(value, Mapping):
                key_kind, inner = arguments or (Any, Any)
                return {
                    self.value(key_kind, key, (*keys, key)): self.value(inner, item, (*keys, key))
                    for key, item in value.items()
                }
        else:
            return self._single(kind, value, keys)
        self.refuse(WrongType, keys, f"it must be {_a(kind)}")
        return value

    def _union(self, kind: Any, kinds: tuple[Any, ...], value: Any, keys: tuple[str | int, ...]) -> Any:
        # What is of one of the kinds already is not made another: 1 stays 1 in float | int.
        for one in sorted(kinds, key=lambda k: type(value) is not k):
            attempt = _Check(self.label, self._shown)
            result = attempt.value(one, value, keys)
            if not attempt.errors:
                return result
        self.refuse(WrongType, keys, f"it must be {' or '.join(_name(one) for one in kinds)}")
        return value

    def _single(self, kind: Any, value: Any, keys: tuple[str | int, ...]) -> Any:
        if kind is None or kind is type(None):
            if value is None:
                return None
            kind = None
        elif _is_class(kind):
            try:
                return _coerced(kind, value)
            except (ValueError, TypeError, KeyError):
                pass
        self.refuse(WrongType, keys, f"it must be {'null' if kind is None else _a(kind)}")
        return value


def _coerced(kind: type, value: Any) -> Any:
    """The value as an instance of that class; ValueError, TypeError or KeyError if it cannot be one."""
    if issubclass(kind, enum.Enum):
        try:
            return kind(value)
        except ValueError:
            return kind[value]
    if issubclass(kind, os.PathLike):
        return pathlib.Path(value) if kind is os.PathLike else kind(value)  # type: ignore[call-arg]
    if isinstance(value, kind) and (not isinstance(value, bool) or kind in (bool, object)):
        return value
    if kind in (int, float) and isinstance(value, (int, float, str)) and not isinstance(value, bool):
        number = kind(value)
        if isinstance(value, float) and number != value and value == value:
            raise ValueError
        return number
    if kind in _DATES and isinstance(value, str):
        return kind.fromisoformat(value)
    raise TypeError


def _is_class(kind: Any) -> bool:
    return isinstance(kind, type) and typing.get_origin(kind) is None  # Python 3.10 takes list[int] for a class


def _name(kind: Any) -> str:
    return "null" if kind in (None, type(None)) else kind.__name__ if _is_class(kind) else str(kind)


def _a(kind: Any) -> str:
    name = _name(kind)
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def _is_model(schema: Any) -> bool:
    pydantic: Any = sys.modules.get("pydantic")  # who has not imported it has no model of it
    return pydantic is not None and _is_class(schema) and issubclass(schema, pydantic.BaseModel)


def _takes_others(schema: Any) -> bool:
    return _is_model(schema) and schema.model_config.get("extra") == "allow"


def _declared(schema: Any) -> dict[str, Any] | None:
    """The kinds of the keys that a schema declares; None for what is no schema."""
    if _is_model(schema):
        fields = schema.model_fields
        named = {field.alias: field.annotation for field in fields.values() if field.alias is not None}
        return {name: field.annotation for name, field in fields.items()} | named
    if _is_class(schema) and dataclasses.is_dataclass(schema):
        hints = typing.get_type_hints(schema, localns=dict(vars(schema)), include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(schema) if field.init}
    return None


def _schema_of(kind: Any) -> Any:
    """The one schema in `X`, `X | None` or `Annotated[X, …]`."""
    if typing.get_origin(kind) in (typing.Union, types.UnionType, typing.Annotated):
        found = [one for one in map(_schema_of, typing.get_args(kind)) if one is not None]
        return found[0] if len(found) == 1 else None
    return kind if _is_class(kind) and (_is_model(kind) or dataclasses.is_dataclass(kind)) else None


def _dumped(model: Any) -> dict[str, Any]:
    """The fields of a model; what has no plain form in Python has one in JSON."""
    result = dict(model.model_dump())
    for name, value in result.items():
        try:
            _plain(value)
        except WrongType:
            result[name] = model.model_dump(mode="json", include={name})[name]
    return result


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (set, frozenset)):
        return sorted((_plain(item) for item in value), key=repr)
    return as_plain(value)


def _with_hidden(result: Any, given: Any) -> Any:
    """The result with the hidden keys that were given and not declared, at any depth."""
    if not (isinstance(result, dict) and isinstance(given, Mapping)):
        return result
    merged = {key: _with_hidden(value, given[key]) if key in given else value for key, value in result.items()}
    return merged | {key: value for key, value in given.items() if is_hidden(key) and key not in merged}
