"""Plain data in JSON, and the configuration as a component reads it."""

from __future__ import annotations

import ast
import datetime
import json
import operator
import re
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from typing import Any

__all__ = ["Config", "MissingKey", "Scope", "decode", "encode", "is_call", "plain"]


def plain(value: Any) -> Any:
    """The value as numbers, text, dates, lists, tuples and mappings; numpy's scalars and arrays become such."""
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(plain, value))
    if isinstance(value, list):
        return list(map(plain, value))
    if type(value).__module__.partition(".")[0] == "numpy" and hasattr(value, "tolist"):
        return plain(value.tolist())
    for kind in (str, bool, int, float):
        if isinstance(value, kind):
            return kind(value)
    if value is None or isinstance(value, (datetime.date, datetime.time)):
        return value
    raise TypeError(f"{value!r} is not plain data")


_MARKS = ("__tuple__", "__date__", "__map__")


def encode(value: Any) -> Any:
    """What `json` can write: tuples, dates and mappings with odd keys are marked."""
    if isinstance(value, dict):
        if all(type(key) is str for key in value) and not (len(value) == 1 and next(iter(value)) in _MARKS):
            return {key: encode(item) for key, item in value.items()}
        pairs = [[encode(key), encode(item)] for key, item in value.items()]
        return {"__map__": sorted(pairs, key=lambda pair: json.dumps(pair[0], sort_keys=True, separators=(",", ":")))}
    if isinstance(value, tuple):
        return {"__tuple__": list(map(encode, value))}
    if isinstance(value, list):
        return list(map(encode, value))
    return {"__date__": value.isoformat()} if isinstance(value, (datetime.date, datetime.time)) else value


def decode(value: Any) -> Any:
    """The inverse of `encode`."""
    if isinstance(value, dict):
        mark = next(iter(value)) if len(value) == 1 else ""
        inside: Any = value.get(mark)
        if mark == "__tuple__":
            return tuple(map(decode, inside))
        if mark == "__map__":
            return {decode(key): decode(item) for key, item in inside}
        if mark == "__date__":
            kind: Any = (
                datetime.date if ":" not in inside else datetime.datetime if "-" in inside[:8] else datetime.time
            )
            return kind.fromisoformat(inside)
        return {key: decode(item) for key, item in value.items()}
    return list(map(decode, value)) if isinstance(value, list) else value


class MissingKey(KeyError, AttributeError):
    """A key that a configuration or a row does not have."""

    def __str__(self) -> str:
        return str(self.args[0])


_FORM = re.compile(r"(\w+) ?\((.*)\)", re.DOTALL)
_QUOTED_OR_BRACKET = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[()]", re.DOTALL)


def is_call(text: Any) -> bool:
    """True for a text that is entirely `name(…)`: its last character closes the parenthesis after the name."""
    found = _FORM.fullmatch(text) if isinstance(text, str) else None
    depth = 0
    for token in _QUOTED_OR_BRACKET.finditer(found[2]) if found else ():
        depth += (token[0] == "(") - (token[0] == ")")
        if depth < 0:
            return False
    return found is not None and depth == 0


class Scope:
    """What all parts of one configuration share: how calls of config methods are made.

    Args:
        method: gives a method by its name. flags: what `flags` means in arguments.
        evaluate: False: an access gives a function to call in place of the value.
    """

    def __init__(self, evaluate: bool, method: Callable[[str], Any], flags: Any) -> None:
        self.evaluate = evaluate
        self.flags = flags
        self.root: Any = None
        self._method = method
        self._depth = 0

    def read(self, value: Any) -> Any:
        """A kept value as an access gives it."""
        if is_call(value):
            return self.call(value) if self.evaluate or self._depth else lambda: self.call(value)
        return list(map(self.read, value)) if isinstance(value, list) and _has_call(value) else value

    def call(self, text: str) -> Any:
        """What the call gives; a text in it that looks like a call is none."""
        found = re.match(r"(\w+) ?", text)
        assert found is not None
        call: Any = ast.parse("_" + text[found.end() :], mode="eval").body
        names = {"config": self.root, "flags": self.flags}
        self._depth += 1
        try:
            arguments = [_argument(node, names) for node in call.args]
            keywords = {keyword.arg: _argument(keyword.value, names) for keyword in call.keywords}
            value = self._method(f"config_{found[1]}")(*arguments, **keywords)
        finally:
            self._depth -= 1
        return _own(value, None) if isinstance(value, list) or type(value) is dict else value


def _has_call(value: list[Any]) -> bool:
    return any(_has_call(item) if isinstance(item, list) else is_call(item) for item in value)


def _own(value: Any, scope: Scope | None) -> Any:
    """The value as a configuration keeps it: mappings as parts of it, lists copied."""
    if isinstance(value, Mapping):
        return Config(value._data if isinstance(value, Config) else value, scope)
    return [_own(item, scope) for item in value] if isinstance(value, list) else value


class Config(MutableMapping[str, Any]):
    """A mapping with attribute access; texts that are calls of config methods are evaluated on access."""

    _data: dict[str, Any]
    _scope: Scope | None

    def __init__(self, data: Mapping[str, Any] | None = None, scope: Scope | None = None) -> None:
        object.__setattr__(self, "_scope", scope)
        object.__setattr__(self, "_data", {key: _own(value, scope) for key, value in (data or {}).items()})

    def __getitem__(self, key: str) -> Any:
        if key not in self._data:
            raise MissingKey(f"there is no key {key!r}; there are: {', '.join(map(str, self._data)) or 'none'}")
        value = self._data[key]
        return value if self._scope is None else self._scope.read(value)

    def __setitem__(self, key: str, value: Any) -> None:
        self._data[key] = _own(value, self._scope)

    def __delitem__(self, key: str) -> None:
        if key not in self._data:
            raise MissingKey(f"there is no key {key!r}")
        del self._data[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def __len__(self) -> int:
        return len(self._data)

    def __contains__(self, key: object) -> bool:
        return key in self._data

    def get(self, key: str, default: Any = None) -> Any:
        """The value, or the default if there is no such key."""
        return self[key] if key in self._data else default

    def __getattr__(self, name: str) -> Any:
        return self[name]

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def to_dict(self, evaluate: bool = True, hidden: bool = True) -> dict[str, Any]:
        """Plain dicts, with calls evaluated or as text."""

        def whole(value: Any) -> Any:
            if evaluate and self._scope is not None and is_call(value):
                value = self._scope.call(value)
            if isinstance(value, Config):
                return value.to_dict(evaluate, hidden)
            return list(map(whole, value)) if isinstance(value, list) else value

        shown = {
            key: value for key, value in self._data.items() if hidden or str(key)[:1] != "_" or str(key)[-1:] == "_"
        }
        return {key: whole(value) for key, value in shown.items()}

    toDict = to_dict  # noqa: N815 - the other spelling that people know

    def copy(self) -> Config:
        """An independent copy."""
        return Config(self._data, self._scope)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Config:
        return self.copy()

    def __repr__(self) -> str:
        return repr(self.to_dict(evaluate=False, hidden=False))


_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


def _argument(node: Any, names: Mapping[str, Any]) -> Any:
    """The value of an argument: literals, arithmetic, and keys of `config` and `flags`."""
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_argument(item, names) for item in node.elts]
        return items if isinstance(node, ast.List) else tuple(items)
    if isinstance(node, ast.Dict):
        return {_argument(k, names): _argument(v, names) for k, v in zip(node.keys, node.values, strict=True)}
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_number(_argument(node.operand, names)))
    if isinstance(node, ast.BinOp):
        return _OPERATORS[type(node.op)](_number(_argument(node.left, names)), _number(_argument(node.right, names)))
    if isinstance(node, ast.Attribute):
        return _argument(node.value, names)[node.attr]
    if isinstance(node, ast.Subscript):
        return _argument(node.value, names)[_argument(node.slice, names)]
    return names[node.id]


def _number(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value
