"""Merge an entry with its mixins, the entry that it imports, and its parents."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from machinable.config.declaration import EMPTY, Body, block_values, reserved_form_problem
from machinable.config.interpolation import Resolver
from machinable.config.mixins import MixinUse, read_list
from machinable.config.nodes import DIRECTIVES, Reference, unwrapped
from machinable.config.registry import Entry
from machinable.errors import SeveralErrors

if TYPE_CHECKING:
    from machinable.config.loader import Workspace

__all__ = ["Base", "ancestry", "base_of", "class_of", "keys_of", "with_mixins"]


_APPLIED = ("_mixins_", "_class_", "_identity_")  # children and versions must not see them


class Base(Struct, frozen=True):
    """An entry without versions: its merged body, its mixins, and its class.

    `shared` caches copies of values in which nothing has to be resolved; the first use fills it.
    """

    body: Body
    mixins: tuple[MixinUse, ...]
    class_name: str | None
    shared: dict[int, tuple[Any, Any]]


def ancestry(entry: Entry) -> list[Entry]:
    """Return the entries whose bodies this one consists of, lowest layer first, each once at its highest position.

    Raises:
        ConfigurationError: One of them has wrong reserved keys; several errors are raised as one.
    """
    result: list[Entry] = []
    seen: set[int] = set()
    waiting = [entry]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen.add(id(current))
        result.append(current)
        waiting += [other for other in (current.imported, current.parent) if other is not None]
    result.reverse()
    SeveralErrors.raise_any([copy(error) for one in result for error in one.errors])  # who catches it may add details
    return result


def base_of(workspace: Workspace, entry: Entry) -> Base:
    """Return the entry merged with everything it inherits.

    Raises:
        ConfigurationError: A mixin list or a reserved key has errors.
    """
    if entry.base is None:
        entry.base = _base(workspace, entry)
    assert isinstance(entry.base, Base)
    return entry.base


def _base(workspace: Workspace, entry: Entry) -> Base:
    class_name = class_of(entry)
    if entry.parent is not None and entry.imported is None and "_mixins_" not in entry.body.reserved:
        parent = base_of(workspace, entry.parent)
        return Base(entry.body.over(parent.body).without(*_APPLIED), parent.mixins, class_name, {})
    mixins: list[MixinUse] = []
    for one in ancestry(entry):
        if "_mixins_" in one.body.reserved:
            mixins = read_list(
                workspace, one.project, one.body.reserved["_mixins_"], mixins, one.body.place("_mixins_"), one.name
            )
    return Base(with_mixins(entry, mixins), tuple(mixins), class_name, {})


def class_of(entry: Entry) -> str | None:
    """Return the class that `_class_` names, in the entry or in parents with the same module."""
    for one in reversed(ancestry(entry)):
        value = one.body.reserved.get("_class_")
        if value is None or one.import_path != entry.import_path:
            continue
        if not isinstance(value, Reference):
            return str(value)  # validated by the loader
        name = unwrapped(Resolver({}, one.name).container(value))
        problem = reserved_form_problem("_class_", name, value)
        if problem is None:
            return str(name)
        problem.path = f"{one.name}._class_"
        raise problem
    return None


def with_mixins(entry: Entry, mixins: Sequence[MixinUse]) -> Body:
    """Return the entry's merged body over these mixins, the first listed highest."""
    body = EMPTY
    for use in reversed(mixins):
        for one in ancestry(use.entry):
            body = one.body.over(body)
    for one in ancestry(entry):
        body = one.body.over(body)
    return body.without(*_APPLIED)


def keys_of(entry: Entry) -> frozenset[str]:
    """Return the top-level keys that an entry sets, also those of its versions."""
    bodies = [one.body for one in ancestry(entry)]
    values = [body.values for body in bodies]
    return frozenset().union(*values, *(block for body in bodies for block in block_values(body.blocks))) - DIRECTIVES
