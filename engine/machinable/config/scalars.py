"""The meaning of scalars: numbers, booleans, dates and null in YAML 1.1, with exponents as in `1e-3`."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

import yaml
from yaml import nodes
from yaml.constructor import SafeConstructor

__all__ = ["TAG", "InvalidScalar", "construct", "plain_value"]

TAG = "tag:yaml.org,2002:"
_EXPONENT = re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+")
_RESOLVERS = yaml.SafeLoader.yaml_implicit_resolvers
_CONSTRUCTOR = SafeConstructor()


class InvalidScalar:
    """A scalar that looks like a number or a date but is not a valid one."""

    __slots__ = ("kind", "reason", "text")

    def __init__(self, kind: str, text: str, reason: str) -> None:
        self.kind = kind
        self.text = text
        self.reason = reason

    def message(self, written: str) -> str:
        """Return what is wrong with it, without text that comes from the environment."""
        shown = repr(written if len(written) < 60 else written[:57] + "...")
        return f"{shown} is not a valid {self.kind}" + (f": {self.reason}" if written == self.text else "")


@lru_cache(maxsize=65536)
def plain_value(text: str) -> Any:
    """Return the value of a scalar without quotes and tag. Values are immutable, so they can be cached."""
    for tag, expression in _RESOLVERS.get(text[:1], ()):
        if expression.match(text):
            kind = tag.removeprefix(TAG)
            return construct(kind, text) if kind not in ("merge", "value") else text
    if _EXPONENT.fullmatch(text):
        return construct("float", text)
    return text


def construct(kind: str, text: str) -> Any:
    """Return the value of a scalar of a kind such as `int` or `timestamp`, or an `InvalidScalar`."""
    try:
        if kind == "float" and _EXPONENT.fullmatch(text):
            return float(text.replace("_", ""))
        return getattr(_CONSTRUCTOR, f"construct_yaml_{kind}")(nodes.ScalarNode(TAG + kind, text))
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        name = {"int": "integer", "timestamp": "date"}.get(kind, kind)
        return InvalidScalar(name, text, str(error))
