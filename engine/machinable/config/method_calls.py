"""Parse calls of config methods, such as `rate(config.base * 2)`. They are never evaluated as Python code.

Text in the form of a call is one if the component has the method; `time (s)` is text for all others.
"""

from __future__ import annotations

import ast
import math
import operator
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Any, TypeAlias

from msgspec import Struct

from machinable.errors import (
    ArithmeticTypeError,
    MachinableError,
    MalformedText,
    MissingAttribute,
    MissingIndex,
    NumberTooLarge,
    UndefinedName,
    WrongType,
)

__all__ = [
    "AS_TEXT",
    "MethodCall",
    "argument_problem",
    "called_name",
    "calls_in",
    "hidden_problem",
    "is_call",
    "parse",
]

AS_TEXT = "If it is text, add a character after the last parenthesis."

_FORM = re.compile(r"(\w+) ?\((.*)\)", re.DOTALL)
_QUOTED_OR_BRACKET = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[()]", re.DOTALL)
_MAX_EXPONENT = 308.0  # of ten, in the result of a power

Namespace: TypeAlias = Mapping[str, Any]  # the values of `config` and `flags`
Argument: TypeAlias = Callable[[Namespace], Any]


def called_name(text: str) -> str | None:
    """Return the name in a text of the form `name(…)`, whose last character closes the parenthesis after the name."""
    if text[-1:] != ")":
        return None
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    depth = 0
    for token in _QUOTED_OR_BRACKET.finditer(match[2]):
        depth += (token[0] == "(") - (token[0] == ")")
        if depth < 0:
            return None
    return None if depth else match[1]


def is_call(text: str) -> bool:
    """Return whether a text has the form of a call."""
    return called_name(text) is not None


class MethodCall(Struct, frozen=True):
    """A call of the method `config_<name>`. Its arguments are computed on each evaluation."""

    text: str
    name: str
    arguments: tuple[Argument, ...]
    keywords: tuple[tuple[str, Argument], ...]

    def evaluate(self, config: Any, flags: Any) -> tuple[list[Any], dict[str, Any]]:
        """Return positional and keyword arguments, computed from the current values of `config` and `flags`.

        Raises:
            AccessError: Arithmetic with a value that is not a number, a power that is too large, or a missing key.
            ZeroDivisionError: A division by zero.
            Exception: An error of another config method that the arguments use.
        """
        scope = {"config": config, "flags": flags}
        return [make(scope) for make in self.arguments], {name: make(scope) for name, make in self.keywords}


def calls_in(config: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield key path and text of every text in plain data that has the form of a call."""
    if isinstance(config, str):
        if is_call(config):
            yield path, config
    elif isinstance(config, Mapping):
        for key, value in config.items():
            yield from calls_in(value, f"{path}.{key}" if path else str(key))
    elif isinstance(config, (list, tuple)):
        for index, value in enumerate(config):
            yield from calls_in(value, f"{path}[{index}]")


@lru_cache(maxsize=4096)
def parse(text: str) -> MethodCall:
    """Parse the text of a call.

    Raises:
        UndefinedName: The arguments use a name other than `config` and `flags`.
        MalformedText: The arguments use anything else that is not allowed.
    """
    match = _FORM.fullmatch(text)
    assert match is not None, text
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about invalid escapes in strings, which are harmless
        try:
            tree = ast.parse(f"_({match[2]})", mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise _malformed(text, f"does not parse: {getattr(error, 'msg', error)}") from None
    if not isinstance(tree, ast.Call) or not isinstance(tree.func, ast.Name):
        raise _malformed(text, "does not parse")
    try:
        arguments = tuple(_argument(node, text) for node in tree.args)
        keywords = tuple((_keyword(keyword, text), _argument(keyword.value, text)) for keyword in tree.keywords)
    except RecursionError:
        raise _malformed(text, "is nested too deeply") from None
    names = [name for name, _ in keywords]
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise _malformed(text, f"gives {repeated} twice")
    return MethodCall(text, match[1], arguments, keywords)


def argument_problem(text: str) -> MachinableError | None:
    """Return what is wrong with the arguments of a call, a new error each time; None if nothing is."""
    try:
        parse(text)
    except (UndefinedName, MalformedText) as error:
        return type(error)(error.message, given=text, known=error.known, details=error.details, todo=error.todo)
    return None


def hidden_problem(problem: MachinableError) -> MachinableError:
    """Return an error about a call for a place whose text must not be shown."""
    message = "this value calls a config method that does not exist, or with arguments that are not allowed"
    return type(problem)(message, todo=AS_TEXT)


def _malformed(text: str, what: str) -> MalformedText:
    return MalformedText(
        f"the call {text!r} {what}",
        given=text,
        todo="Arguments are numbers, strings, True, False, None, lists, tuples and dicts of these, arithmetic on"
        " numbers, config.a.b, config.a[0] and flags.A."
        f" {AS_TEXT}",
    )


def _keyword(keyword: ast.keyword, text: str) -> str:
    if keyword.arg is None:
        raise _malformed(text, "has ** in its arguments")
    return keyword.arg


def _argument(node: ast.expr, text: str) -> Argument:
    if isinstance(node, ast.Constant):
        value = node.value
        if value is not None and type(value) not in (bool, int, float, str):
            raise _malformed(text, f"has {value!r} in its arguments")
        return lambda scope: value
    if isinstance(node, (ast.List, ast.Tuple)):
        items = [_argument(item, text) for item in node.elts]
        make = list if isinstance(node, ast.List) else tuple
        return lambda scope: make(item(scope) for item in items)
    if isinstance(node, ast.Dict):
        pairs = [(_key(key, text), _argument(value, text)) for key, value in zip(node.keys, node.values, strict=True)]
        return lambda scope: {key(scope): value(scope) for key, value in pairs}
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        sign = _SIGNS[type(node.op)]
        operand = _argument(node.operand, text)
        return lambda scope: sign(_number(operand(scope), text))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        compute = _OPERATORS[type(node.op)]
        left, right = _argument(node.left, text), _argument(node.right, text)
        return lambda scope: _computed(compute, left(scope), right(scope), text)
    if isinstance(node, (ast.Attribute, ast.Subscript)):
        return _path(node, text)
    if isinstance(node, ast.Name):
        if node.id in ("config", "flags"):
            raise _malformed(text, f"has {node.id} as an argument, without a key")
        raise _undefined(node.id, text)
    raise _malformed(text, f"has {ast.unparse(node)!r} in its arguments")


def _key(node: ast.expr | None, text: str) -> Argument:
    if node is None:
        raise _malformed(text, "has ** in a dict")
    if isinstance(node, (ast.List, ast.Dict)):
        raise _malformed(text, f"has the key {ast.unparse(node)} in a dict")
    return _argument(node, text)


def _undefined(name: str, text: str) -> UndefinedName:
    return UndefinedName(
        f"the name {name!r} is not defined in the call {text!r}",
        given=name,
        known=("config", "flags"),
        todo=f"Use config or flags, such as config.{name}. Strings need quotes.",
    )


def _path(node: ast.Attribute | ast.Subscript, text: str) -> Argument:
    """Parse a path such as `config.a["b"][0]`: a name, then keys and indices. Attributes of objects cannot be read."""
    keys: list[Any] = []
    here: ast.expr = node
    while not isinstance(here, ast.Name):
        if isinstance(here, ast.Attribute):
            keys.append(here.attr)
        elif isinstance(here, ast.Subscript):
            keys.append(_index(here.slice, text))
        else:
            raise _malformed(text, f"has {ast.unparse(node)!r} in its arguments")
        here = here.value
    if here.id not in ("config", "flags"):
        raise _undefined(here.id, text)
    keys.reverse()
    root = here.id

    def value(scope: Namespace) -> Any:
        found, at = scope[root], root
        for key in keys:
            found = _below(found, key, at, text)
            at += f".{key}" if type(key) is str else f"[{key}]"
        return found

    return value


def _index(node: ast.expr, text: str) -> str | int:
    sign = 1
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        sign, node = -1, node.operand
    if isinstance(node, ast.Constant) and (type(node.value) is int or (type(node.value) is str and sign > 0)):
        return sign * node.value if type(node.value) is int else str(node.value)
    raise _malformed(text, f"has {ast.unparse(node)!r} as an index, which is a number or a string")


def _below(found: Any, key: str | int, at: str, text: str) -> Any:
    if isinstance(found, Mapping):
        if key not in found:
            raise MissingAttribute(
                f"{at} has no key {key!r}, which the call {text!r} uses",
                given=key,
                known=map(str, found),
                todo=f"Known: {', '.join(map(str, found)) or 'none'}",
            )
        return found[key]
    if isinstance(found, (list, tuple)) and type(key) is int:
        if not -len(found) <= key < len(found):
            raise MissingIndex(f"{at} has {len(found)} elements, but the call {text!r} uses index {key}", given=key)
        return found[key]
    # The value is not shown, because it may be a secret.
    raise WrongType(f"{at} is a {type(found).__name__}, in which the call {text!r} cannot look up {key!r}", given=key)


_SIGNS: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_OPERATORS: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


def _number(value: Any, text: str) -> Any:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return value
    if type(value).__module__.partition(".")[0] == "numpy" and getattr(value, "ndim", None) == 0:
        return _number(value.item(), text)
    raise ArithmeticTypeError(
        f"the call {text!r} computes with a {type(value).__name__}, which is not a number",
        todo="Compute with numbers only, or in the config method.",
    )


def _computed(compute: Callable[[Any, Any], Any], left: Any, right: Any, text: str) -> Any:
    left, right = _number(left, text), _number(right, text)
    try:
        # Estimate the size first: computing 9**9**9 would take hours.
        if compute is operator.pow and left and right * math.log10(abs(left)) > _MAX_EXPONENT:
            raise OverflowError
        result = compute(left, right)
    except OverflowError:
        raise NumberTooLarge(
            f"a number in the call {text!r} is beyond 1e308", todo="Compute with smaller numbers, or in the method."
        ) from None
    return _number(result, text)  # the root of a negative number is complex
