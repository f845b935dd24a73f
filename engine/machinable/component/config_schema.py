"""Typed configurations: a nested `class Config` checks, completes and converts the configuration of a component.

Pydantic checks the values, of dataclasses too. Imported only for components that have a `class Config`.
"""

from __future__ import annotations

import dataclasses
import enum
import inspect
import operator
import os
import re
import types
import typing
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping
from decimal import Decimal
from functools import lru_cache, partial
from pathlib import PurePath
from typing import Any

import pydantic
import pydantic.dataclasses
import pydantic.errors
import pydantic.warnings
import typing_extensions  # pydantic depends on it; `typing.is_typeddict` does not know its TypedDict
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, to_jsonable_python

from machinable.component.base import Component
from machinable.component.config_methods import has_calls, is_method_call
from machinable.config.secrets import mask_of, secret_texts
from machinable.errors import (
    InvalidType,
    MachinableError,
    MalformedText,
    MissingKey,
    Place,
    SeveralErrors,
    UnknownName,
    WrongType,
)
from machinable.serialization import Plain, as_plain, is_hidden

__all__ = ["declared_values", "plain_form", "takes_text", "typed_config"]

_CONFIG = pydantic.ConfigDict(arbitrary_types_allowed=True)
# and those that end with _type or _parsing
_WRONG_TYPES = {"missing", "enum", "literal_error", "none_required", "is_instance_of", "int_from_float"}
_RAISED = ("value_error", "assertion_error")  # by a validator
_SECRETS = (pydantic.SecretStr, pydantic.SecretBytes, pydantic.Secret)
_UNUSABLE = (pydantic.errors.PydanticUserError, pydantic.warnings.ArbitraryTypeWarning)  # an annotation

_MAX_MEMBERS = 12  # of an enum, to list in a message

Keys: typing.TypeAlias = tuple["str | int", ...]


def typed_config(
    cls: type[Component],
    config: Mapping[str, Plain],
    stored: Mapping[str, Plain] | None = None,
    mixin_only: Collection[str] = (),
) -> tuple[dict[str, Plain], dict[str, Plain]]:
    """Return the configuration as the nested `class Config` of a component declares it, and the part to store.

    Values are coerced and defaults filled in; the result is plain data. Hidden keys need no declaration, and calls of
    config methods are not checked: they have no value yet.

    Args:
        cls: the component.
        config: its configuration.
        stored: the part of the configuration that may be stored and shown; default: all of it.
        mixin_only: keys that only mixins set; those that `Config` does not declare are left out.

    Raises:
        UnknownName: `Config` does not declare a key.
        MissingKey: a key without default has no value.
        WrongType: a value or a default has another type.
        MalformedText: a value violates a constraint or is rejected by a validator.
        InvalidType: `Config` is neither a dataclass nor a pydantic model, or an annotation is not a type.
        SeveralErrors: several of these.
    """
    stored = config if stored is None else stored
    schema: Any = getattr(cls, "Config", None)
    label = f"{cls.__module__}.{cls.__qualname__}.Config"
    if not _is_schema(schema):
        raise InvalidType(
            f"{label} is neither a dataclass nor a pydantic model", given=label, todo="Put @dataclass above it."
        )
    check = _Check(cls, label, config, stored, coerces_bool=_is_model(schema))
    with warnings.catch_warnings():
        warnings.simplefilter("error", pydantic.warnings.ArbitraryTypeWarning)
        try:
            declared = _declared(schema)
            given = {key: value for key, value in config.items() if key in declared or key not in mixin_only}
            values = check.declared_only(schema, given, ())
            result = check.partly(schema, values, ())
        except (*_UNUSABLE, TypeError) as error:  # pydantic's TypeError, of a text that is not a type, in Python 3.10
            unusable = _unusable_annotation(schema, label, error)
            if isinstance(error, TypeError) and unusable.path is None:
                raise
            raise unusable from None
    SeveralErrors.raise_any(check.errors)
    typed = _with_hidden(_plain(result, reveal=True), config)
    given_first = [*(key for key in config if key in typed), *(key for key in typed if key not in config)]
    typed = {key: typed[key] for key in given_first}
    return typed, _stored_part(stored, config, typed, _with_hidden(_plain(result), config))


def _stored_part(stored: Any, before: Any, after: Any, masked: Any) -> Any:
    """Return the part of a coerced value that may be stored: masked values and secrets stay masked."""
    if isinstance(after, dict):
        return {
            key: _stored_part(
                stored.get(key, after[key]) if isinstance(stored, Mapping) else after[key],
                before.get(key) if isinstance(before, Mapping) else None,
                after[key],
                masked[key],
            )
            for key in after
            if not is_hidden(key)
        }
    return masked if stored == before or before is None else stored


def declared_values(cls: type[Component], config: Mapping[str, Plain]) -> dict[str, Any]:
    """Return a configuration from `typed_config` with the values that the nested `class Config` declares.

    Text becomes a `Path`, a member of an enum, a `SecretStr`; a list becomes a tuple or a set. Mappings stay mappings,
    so that hidden keys and calls of config methods have a place in them. Validators do not run again.

    Args:
        cls: the component.
        config: the configuration, as it is stored.
    """
    schema: Any = getattr(cls, "Config", None)
    result: dict[str, Any] = _as_declared(schema, config, cls)
    return result


def takes_text(cls: type[Component], keys: Collection[str]) -> bool | None:
    """Return whether the `class Config` of a component declares a key as text only, None if it does not declare it.

    Text are also paths, secrets, exact numbers, and members of enums whose values are texts.
    """
    kind: Any = getattr(cls, "Config", None)
    for key in keys:
        schema, kind_of = _inside(kind, {key: None})
        if schema is None or key not in _declared(schema):
            return None
        kind = kind_of(key)
    types = [one for one in _alternatives(kind) if one is not type(None) and one is not None]
    return bool(types) and all(map(_is_text, types))


def _is_text(kind: Any) -> bool:
    if typing.get_origin(kind) is typing.Literal:
        return all(isinstance(value, str) for value in typing.get_args(kind))
    if not _is_class(kind):
        return False
    if issubclass(kind, enum.Enum):
        return all(isinstance(member.value, str) for member in kind)
    return issubclass(kind, (str, PurePath, Decimal, pydantic.SecretStr))


def _as_declared(kind: Any, value: Any, cls: type[Component]) -> Any:
    if isinstance(value, str) and is_method_call(cls, value):
        return value
    alternatives = tuple(_alternatives(kind))
    for one in alternatives:
        if one is type(value):
            if one is not dict and one is not list:
                return value
        elif _is_class(one) and issubclass(one, enum.Enum):
            for member in one:
                if (plain := _plain(member)) == value and type(plain) is type(value):
                    return member
    if isinstance(value, Mapping):
        schema, kind_of = _inside(kind, value)
        items_of = [typing.get_args(one) for one in alternatives if len(typing.get_args(one)) == 2]
        kind_of_key = items_of[0][0] if schema is None and items_of else Any
        return {
            key if is_hidden(key) else _as_declared(kind_of_key, key, cls): _as_declared(kind_of(key), item, cls)
            for key, item in value.items()
        }
    if isinstance(value, list) and not any(_is_class(one) and hasattr(one, "_make") for one in alternatives):
        _, kind_of = _inside(kind, value)
        items = [_as_declared(kind_of(index), item, cls) for index, item in enumerate(value)]
        origins = [typing.get_origin(one) or one for one in alternatives]
        collection = next((one for one in origins if one in (tuple, set, frozenset)), list)
        return items if collection is not tuple and has_calls(cls, value) else collection(items)
    try:
        return _adapter(operator.getitem(typing.Union, alternatives)).validate_python([value])[0]
    except pydantic.ValidationError:
        return value  # it has a plain form that the type does not accept


class _Check:
    """Collects the errors of one configuration.

    Args:
        cls: the component.
        label: the name of the schema in messages.
        config: the configuration; messages of validators do not show its hidden values.
        shown: the part of the configuration that messages may show.
        coerces_bool: whether true and false count as numbers, as they do for pydantic.
    """

    def __init__(
        self,
        cls: type[Component],
        label: str,
        config: Mapping[str, Plain],
        shown: Mapping[str, Plain],
        *,
        coerces_bool: bool,
    ) -> None:
        self._cls = cls
        self._config = config
        self.label = label
        self.errors: list[MachinableError] = []
        self._shown = shown
        self._coerces_bool = coerces_bool

    def declared_only(self, kind: Any, value: Any, keys: Keys) -> Any:
        """Return the value without undeclared keys, at any depth; add errors for those that are not hidden."""
        if isinstance(value, Mapping):
            schema, kind_of = _inside(kind, value)
            result = {}
            for key, item in value.items():
                if schema is None or key in _declared(schema):
                    taken = key if schema is None else _key_of(schema, key)
                    result[taken] = self.declared_only(kind_of(key), item, (*keys, key))
                elif _is_model(schema) and schema.model_config.get("extra") == "allow":
                    result[key] = item
                elif not is_hidden(key):
                    path = _path((*keys, key))
                    known = _declared(schema)
                    self.errors.append(UnknownName("key", key, known, path=path, details=[f"checked by {self.label}"]))
            if _is_schema(schema):
                self.check_defaults(schema, value, keys)
            return result
        if isinstance(value, list):
            _, kind_of = _inside(kind, value)
            return [self.declared_only(kind_of(i), item, (*keys, i)) for i, item in enumerate(value)]
        if isinstance(value, bool) and not self._coerces_bool:
            alternatives = set(_alternatives(kind))
            if alternatives & {int, float} and not alternatives & {bool, Any, object}:
                self._refuse(WrongType, keys, f"it must be {_expected(kind)}")
                return int(value)  # reported once
        if isinstance(value, str):
            return _enum_member(kind, value)
        return value

    def check_defaults(self, schema: Any, given: Collection[str], keys: Keys) -> None:
        """Add errors for defaults of fields without a value that are not of the declared type."""
        for name, field in _fields(schema).items():
            if name in given or any(alias in given for alias in _aliases(field)):
                continue
            if _is_schema(field.default_factory):
                self.check_defaults(field.default_factory, (), (*keys, name))
            elif not field.is_required() and field.default_factory is None:
                self._check_default(schema, name, field.default, (*keys, name))

    def _check_default(self, schema: Any, name: str, default: Any, keys: Keys) -> None:
        nested: Any = type(default)
        if _is_schema(nested):
            for inner in _fields(nested):
                self._check_default(nested, inner, getattr(default, inner), (*keys, inner))
            return
        if isinstance(default, str) and is_method_call(self._cls, default):
            return
        kind = _declared(schema)[name]
        try:
            _adapter(kind).validate_python([default])
        except pydantic.ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            if first["type"] in _RAISED:
                return  # of a validator, which expects the value as it is given
            path = _path(keys)
            refused, reason = _reason(kind, first)
            what = f"the default of {path} is {default!r}, but {reason}"
            self.errors.append(
                refused(what, at=_place_of(schema, name), path=path, details=[f"checked by {self.label}"])
            )
        except _UNUSABLE:
            raise
        except Exception:  # as above
            return

    def validate(self, kind: Any, value: Any, keys: Keys) -> Any:
        """Return the value as the declared type, or add its errors."""
        try:
            return _adapter(kind).validate_python([value])[0]
        except pydantic.ValidationError as error:
            found: dict[Keys, list[ErrorDetails]] = {}
            for one in error.errors(include_url=False, include_input=False):
                location = _location(value, one["loc"][1:], one["type"] == "missing")
                if one["type"] == "missing" and location and isinstance(location[-1], int):
                    location = location[:-1]  # an item of a tuple
                found.setdefault(location, []).append(one)
            for location, errors in found.items():
                if not any(other != location and other[: len(location)] == location for other in found):
                    self._note(kind, value, keys, location, errors)
        except _UNUSABLE:
            raise
        except Exception as error:  # __post_init__ may raise anything
            self._refused(keys, error)
        return value

    def partly(self, kind: Any, value: Any, keys: Keys) -> Any:
        """Validate a value; if it contains calls, whose values are not known yet, validate each part separately."""
        if isinstance(value, str) and is_method_call(self._cls, value):
            return value
        if not has_calls(self._cls, value):
            return self.validate(kind, value, keys)
        schema, kind_of = _inside(kind, value)
        if isinstance(value, list):
            return [self.partly(kind_of(i), item, (*keys, i)) for i, item in enumerate(value)]
        if schema is None or typing_extensions.is_typeddict(schema):
            return {key: self.partly(kind_of(key), item, (*keys, key)) for key, item in value.items()}
        result: dict[str, Any] = {}
        for name, field in _fields(schema).items():
            given = [key for key in (name, *_aliases(field)) if key in value]
            if given:
                result[name] = self.partly(kind_of(given[0]), value[given[0]], (*keys, given[0]))
            elif field.is_required():
                self._missing((*keys, name))
            else:
                result[name] = field.get_default(call_default_factory=True)
        return result

    def _note(self, kind: Any, value: Any, keys: Keys, location: Keys, errors: list[ErrorDetails]) -> None:
        place = (*keys, *location)
        first = errors[0]
        if first["type"] == "missing" and (not location or not isinstance(first["loc"][-1], int)):
            self._missing(place)
            return
        if first["loc"][-1] == "[key]" and location:
            self._refuse_key(kind, value, place, location)
            return
        declared = kind
        for key in location:
            declared = _inside(declared, value)[1](key)
            value = value[key] if isinstance(value, Mapping) and key in value else _item(value, key)
        if first["type"] not in _RAISED or len(errors) > 1:
            refused, reason = _reason(declared, first, several=len(errors) > 1)
            self._refuse(refused, place, reason, declared)
        elif not location or isinstance(value, Mapping):
            self._refused(place, first["ctx"]["error"])
        else:
            self._refuse(MalformedText, place, self._mask(str(first["ctx"]["error"])), declared)

    def _refuse_key(self, kind: Any, value: Any, place: Keys, location: Keys) -> None:
        for key in location[:-1]:
            kind, value = _inside(kind, value)[1](key), _item(value, key) if isinstance(value, list) else value[key]
        pairs = [found for found in map(typing.get_args, _alternatives(kind)) if len(found) == 2]
        whose = f"{_path(place[:-1])} has the key" if place[1:] else "there is the key"
        what = f"{whose} {place[-1]!r}, but a key of it must be {_expected(pairs[0][0] if pairs else Any)}"
        self.errors.append(WrongType(what, path=_path(place), details=[f"checked by {self.label}"]))

    def _refuse(self, error: type[MachinableError], keys: Keys, reason: str, declared: Any = None) -> None:
        given: Any = self._shown
        for key in keys:
            try:
                given = given[key]
            except (LookupError, TypeError):  # hidden
                given = "…"
                break
        if any(_is_class(one) and issubclass(one, _SECRETS) for one in _alternatives(declared)):
            given = "…"
        path = _path(keys)
        self.errors.append(error(f"{path} is {given!r}, but {reason}", path=path, details=[f"checked by {self.label}"]))

    def _mask(self, text: str) -> str:
        """Return a text of a validator without hidden values, which it may show with the whole configuration."""
        return mask_of(secret_texts(dict(self._config), self._shown))(text)

    def _refused(self, keys: Keys, error: object) -> None:
        place = _path(keys)
        what = f"{self.label} rejects {place or 'the configuration'}: {self._mask(str(error))}"
        self.errors.append(MalformedText(what, path=place or None))

    def _missing(self, keys: Keys) -> None:
        path = _path(keys)
        self.errors.append(MissingKey(f"{path} has no value, and {self.label} needs one", path=path, given=path))


def _reason(kind: Any, error: ErrorDetails, *, several: bool = False) -> tuple[type[MachinableError], str]:
    """Return the error of a value that pydantic rejects, and what the value must be."""
    if error["type"] == "union_tag_invalid":
        context = error["ctx"]
        return MalformedText, f"its {context['discriminator'].strip(chr(39))} must be one of {context['expected_tags']}"
    is_type = several or error["type"] in _WRONG_TYPES or error["type"].endswith(("_type", "_parsing"))
    if is_type and kind is not Any and not isinstance(kind, typing.TypeVar):  # those only pydantic knows
        return WrongType, f"it must be {_expected(kind)}"
    if error["type"] in ("extra_forbidden", "unexpected_keyword_argument"):  # of a named tuple
        return MalformedText, "there is no such key"
    return WrongType if is_type else MalformedText, re.sub(r"^\w+ should ", "it must ", error["msg"])


def _unusable_annotation(schema: Any, label: str, error: Exception) -> InvalidType:
    """Return the error of a schema that pydantic cannot use: an annotation is not defined, or is not a type."""
    facts: dict[str, Any] = {"given": label, "todo": "Import or define the type in the module of the component."}
    reason = str(error).partition("\n")[0]
    for name, annotation in inspect.get_annotations(schema).items():
        holder = types.SimpleNamespace(__annotations__={name: annotation})
        try:
            hints = typing.get_type_hints(
                holder, vars(inspect.getmodule(schema) or types), vars(schema), include_extras=True
            )
            _adapter(hints[name])
            continue
        except NameError as undefined:
            reason = str(undefined)
        except Exception:  # pydantic's, or Python's of a text that is not a type
            reason = f"{annotation} is not a type"
            facts["todo"] = f"Annotate it with a type, such as `{name}: float`, and write a default after `=`."
        facts |= {"path": name, "at": _place_of(schema, name)}
        break
    return InvalidType(f"{label} has an annotation that cannot be used: {reason}", **facts)


def _place_of(schema: Any, name: str) -> Place | None:
    """Return where a field is declared in its file."""
    try:
        lines, start = inspect.getsourcelines(schema)
        file = os.path.relpath(inspect.getsourcefile(schema) or "")
    except (OSError, TypeError, ValueError):  # a class from a notebook
        return None
    for number, line in enumerate(lines, start):
        if match := re.match(rf"\s*(?={re.escape(name)}\s*:)", line):
            return Place(os.path.abspath(file) if file.startswith("..") else file, number, match.end() + 1, line)
    return None


# types


@lru_cache(maxsize=256)
def _list_adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    # In a list, because a schema takes no configuration from outside and what holds it does.
    return pydantic.TypeAdapter(list[kind], config=_CONFIG)


def _adapter(kind: Any) -> pydantic.TypeAdapter[Any]:
    try:
        return _list_adapter(kind)
    except TypeError:  # metadata of `Annotated` need not be hashable
        return _list_adapter.__wrapped__(kind)


def _is_class(kind: Any) -> bool:
    return isinstance(kind, type) and typing.get_origin(kind) is None  # Python 3.10 takes list[int] for a class


def _is_model(kind: Any) -> bool:
    return _is_class(kind) and issubclass(kind, pydantic.BaseModel)


def _is_schema(kind: Any) -> bool:
    return _is_class(kind) and (issubclass(kind, pydantic.BaseModel) or dataclasses.is_dataclass(kind))


@lru_cache(maxsize=256)
def _fields(schema: Any) -> dict[str, FieldInfo]:
    if not _is_model(schema) and not pydantic.dataclasses.is_pydantic_dataclass(schema):
        schema = pydantic.dataclasses.dataclass(schema, config=_CONFIG)
    fields: dict[str, FieldInfo] = schema.__pydantic_fields__
    return {name: field for name, field in fields.items() if field.init is not False}


@lru_cache(maxsize=256)
def _declared(schema: Any) -> dict[str, Any]:
    """Return the types of the keys that a schema declares, by name and alias."""
    if typing_extensions.is_typeddict(schema):
        hints = typing_extensions.get_type_hints(schema, include_extras=True)
        wrappers: tuple[Any, ...] = (typing_extensions.Required, typing_extensions.NotRequired)
        return {
            key: typing.get_args(one)[0] if typing.get_origin(one) in wrappers else one for key, one in hints.items()
        }
    declared = {}
    for name, field in _fields(schema).items():
        kind: Any = field.annotation
        constrained = (kind, *field.metadata)
        declared[name] = operator.getitem(typing.Annotated, constrained) if field.metadata else kind
        for alias in _aliases(field):
            declared[alias] = declared[name]
    return declared


def _aliases(field: FieldInfo) -> list[str]:
    """Return the keys other than its name under which a value is given to a field."""
    alias = field.validation_alias
    choices = alias.choices if isinstance(alias, pydantic.AliasChoices) else [alias]
    return [one for one in choices if isinstance(one, str)]


def _key_of(schema: Any, key: str) -> str:
    """Return the key under which pydantic takes a value that is given by the name of its field."""
    field = None if typing_extensions.is_typeddict(schema) else _fields(schema).get(key)
    return next(iter(_aliases(field)), key) if field is not None else key


def _alternatives(kind: Any) -> Iterator[Any]:
    """Yield the types of a union, without annotations and aliases."""
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        for one in typing.get_args(kind):
            yield from _alternatives(one)
    elif origin is typing.Annotated:
        yield from _alternatives(typing.get_args(kind)[0])
    elif isinstance(kind, typing.NewType):
        yield from _alternatives(kind.__supertype__)
    elif type(kind).__name__ == "TypeAliasType":
        yield from _alternatives(kind.__value__)
    elif type(origin).__name__ == "TypeAliasType":  # with arguments
        yield from _alternatives(operator.getitem(origin.__value__, typing.get_args(kind)))
    else:
        yield kind


def _inside(kind: Any, value: Any) -> tuple[Any, Callable[[Any], Any]]:
    """Return the schema of a mapping, or None, and a function that returns the type of an item by its key or index.

    Of several schemas it is the one that declares most of the keys, as for pydantic.
    """
    alternatives = list(_alternatives(kind))
    generic = [
        typing.get_origin(one) if dataclasses.is_dataclass(typing.get_origin(one)) else one for one in alternatives
    ]
    schemas = [one for one in generic if _is_schema(one) or typing_extensions.is_typeddict(one)]
    if isinstance(value, Mapping) and schemas and Any not in alternatives:
        schema = max(schemas, key=lambda one: (_fits(one, value), sum(key in _declared(one) for key in value)))
        return schema, lambda key: _declared(schema).get(key, Any)
    for one in alternatives:
        arguments = typing.get_args(one)
        if isinstance(value, Mapping) and len(arguments) == 2:
            return None, partial(_argument, arguments[1:])
        if isinstance(value, list) and typing.get_origin(one) is not typing.Literal and arguments:
            return None, partial(_argument, arguments)
    return None, partial(_argument, (Any,))


def _fits(schema: Any, value: Mapping[str, Any]) -> bool:
    """Return whether values for keys that a schema declares as literals, such as `kind`, are among these."""
    for key, kind in _declared(schema).items():
        literals = [one for one in _alternatives(kind) if typing.get_origin(one) is typing.Literal]
        if key in value and literals and value[key] not in [item for one in literals for item in typing.get_args(one)]:
            return False
    return True


def _argument(arguments: tuple[Any, ...], key: Any) -> Any:
    if len(arguments) == 1 or arguments[-1] is ...:
        return arguments[0]
    return arguments[key] if key < len(arguments) else Any  # of a tuple


def _enum_member(kind: Any, text: str) -> Any:
    """Return the member of an enum with that name; pydantic knows them by value only."""
    alternatives = list(_alternatives(kind))
    for one in () if str in alternatives else alternatives:
        if _is_class(one) and issubclass(one, enum.Enum) and text in one.__members__:
            return text if any(member.value == text for member in one) else one[text]
    return text


# messages


def _path(keys: Keys) -> str:
    return ".".join(map(str, keys))


def _item(value: Any, key: Any) -> Any:
    return value[key] if isinstance(value, list) and isinstance(key, int) and key < len(value) else None


def _location(value: Any, location: tuple[str | int, ...], is_missing: bool) -> Keys:
    """Return the location of a pydantic error in the value, without the names of alternatives of a union."""
    keys: list[str | int] = []
    for index, key in enumerate(location):
        if (isinstance(value, Mapping) and key in value) or _item(value, key) is not None:
            keys.append(key)
            value = value[key]
        elif is_missing and index == len(location) - 1 and isinstance(value, (Mapping, list)):
            keys.append(key)
    return tuple(keys)


def _name(kind: Any) -> str:
    alternatives = list(_alternatives(kind))
    if len(alternatives) > 1:
        return " or ".join(map(_name, alternatives))
    (kind,) = alternatives
    if kind is type(None):
        return "null"
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return " or ".join(map(repr, arguments))
    if _is_class(kind) and issubclass(kind, enum.Enum) and 0 < len(kind) <= _MAX_MEMBERS:
        return " or ".join(repr(plain_form(member)) for member in kind)
    if origin is None:
        return "..." if kind is ... else getattr(kind, "__name__", str(kind))
    return f"{getattr(origin, '__name__', origin)}[{', '.join(map(_name, arguments))}]"


def _expected(kind: Any) -> str:
    name = _name(kind)
    if " or " in name or name == "null" or not name[:1].isalpha():  # a union, or a single literal
        return name
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


# plain values


def plain_form(value: Any) -> Any:
    """Return the plain form in which a value is stored; secrets are masked."""
    return _plain(value)


def _plain(value: Any, *, reveal: bool = False) -> Any:
    plain = partial(_plain, reveal=reveal)
    if isinstance(value, _SECRETS):
        return plain(value.get_secret_value()) if reveal else str(value)
    if isinstance(value, pydantic.BaseModel):
        return {name: plain(item) for name, item in value.model_dump(warnings=False).items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, enum.Enum):
        return plain(value.value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {plain(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return list(map(plain, value))
    if isinstance(value, (set, frozenset)):
        return sorted(map(plain, value), key=repr)
    try:
        return as_plain(value)
    except WrongType:  # a value without a plain form in Python, such as a Decimal, has one in JSON
        return as_plain(to_jsonable_python(value, fallback=lambda one: one))


def _with_hidden(result: Any, given: Any) -> Any:
    """Return the result with the given hidden keys that are not declared, at any depth."""
    if isinstance(result, list) and isinstance(given, list) and len(result) == len(given):
        return [_with_hidden(one, other) for one, other in zip(result, given, strict=True)]
    if not (isinstance(result, dict) and isinstance(given, Mapping)):
        return result
    merged = {key: _with_hidden(value, given[key]) if key in given else value for key, value in result.items()}
    return merged | {key: value for key, value in given.items() if is_hidden(key) and key not in merged}
