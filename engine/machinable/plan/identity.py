"""What makes two computations the same: one hash over everything that decides a result, and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any

from machinable.config.resolve import Resolved
from machinable.config.source import Section
from machinable.plain import Plain, canonical

__all__ = ["Effective", "content", "identity"]


def content(
    component: str,
    module: str,
    configuration: Plain,
    *,
    children: Sequence[Plain],
    flags: Mapping[str, Plain],
    checkpoint: str | None,
    requirements: Mapping[str, str],
) -> str:
    """What a computation is, but for its seed: 32 hexadecimal digits.

    Args:
        component, module: canonical name and import path: equal class names in two modules are different things.
        configuration: the effective one, from `Effective`.
        children: `[component, module, effective configuration]` of each, in order.
        flags: those of the user. checkpoint: its text. requirements: name → identity.
    """
    return _digest({
        "kind": "content", "component": component, "module": module, "config": configuration,
        "children": list(children), "flags": dict(flags), "checkpoint": checkpoint, "requires": dict(requirements),
    })  # fmt: skip


def identity(content: str, seed: int | None) -> str:
    """The identity of a computation: its content and the seed of a listed trial, or one that was chosen."""
    return _digest({"kind": "trial", "content": content, "seed": seed})


def _digest(parts: Plain) -> str:
    return blake2b(canonical(parts).encode("ascii"), digest_size=16).hexdigest()


class Effective:
    """Knows what a component declares, and so which part of a configuration decides a result.

    Args:
        declared: the component without a version.
    """

    def __init__(self, declared: Resolved) -> None:
        self._default = declared.stored
        self._optional: set[tuple[str, ...]] = set()
        for values in declared.bodies():
            _collect_optional(values, (), self._optional)

    def of(self, resolved: Resolved) -> Plain:
        """The effective configuration of one use.

        Hidden keys are left out, and keys declared as `name?` that have their declared value; a whole number is a
        float where the declared default is one; a secret stands as it was written. So two spellings are equal.
        """
        return _effective(resolved.stored, self._default, self._optional, ())


def _collect_optional(values: Any, path: tuple[str, ...], found: set[tuple[str, ...]]) -> None:
    if isinstance(values, Section):
        found.update((*path, name) for name in values.optional)
        for key, value in values.items():
            if type(value) is Section:
                _collect_optional(value, (*path, key), found)


_ABSENT = object()


def _effective(value: Any, default: Any, optional: set[tuple[str, ...]], path: tuple[str, ...]) -> Any:
    if type(value) is dict:
        if value is default and not optional:
            return value
        result = {}
        known = default if type(default) is dict else {}
        for key, item in value.items():
            below = known.get(key, _ABSENT)
            kind = type(item)
            if kind is dict:
                item = _effective(item, below, optional, (*path, key))
            elif kind is int and type(below) is float:
                item = float(item)
            if optional and (*path, key) in optional and type(item) is type(below) and item == below:
                continue
            result[key] = item
        return result
    return value
