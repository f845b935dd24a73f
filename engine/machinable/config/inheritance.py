"""Where an entry comes from: its mixins, the entry it imports, its parents, itself; merged once and remembered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from machinable.config.declaration import EMPTY, Body, reserved_form_problem
from machinable.config.interpolation import Resolver
from machinable.config.mixins import MixinUse, read_list
from machinable.config.reader import Reference, unwrapped
from machinable.config.registry import Entry

if TYPE_CHECKING:
    from machinable.config.loader import Workspace

__all__ = ["Base", "ancestry", "base_of", "class_of", "with_mixins"]


class Base(NamedTuple):
    """An entry without versions: its merged body, its mixins, and the class that it names.

    `shared` has copies of those of its values in which nothing is to be resolved, `block_values` what any of its blocks
    sets; both are filled by the first use.
    """

    body: Body
    mixins: tuple[MixinUse, ...]
    class_name: str | None
    shared: dict[int, tuple[Any, Any]]
    block_values: list[Mapping[Any, Any]]


def ancestry(entry: Entry) -> list[Entry]:
    """The entries whose bodies make up this one, the lowest layer first; each once, where it stands highest."""
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
    return result


def base_of(workspace: Workspace, entry: Entry) -> Base:
    """The entry with everything below it merged.

    Raises:
        ConfigurationError: a mixin list that cannot be read.
    """
    if entry.base is None:
        pending = []
        current: Entry | None = entry
        while current is not None and current.base is None:
            pending.append(current)
            current = current.parent if _adds_to_parent(current) else None
        below = current.base if current is not None else None
        step = len(pending) // _REMEMBERED + 1
        for distance, one in reversed(list(enumerate(pending))):
            assert below is None or isinstance(below, Base)
            below = _base(workspace, one, below)
            if distance % step == 0:
                one.base = below
    assert isinstance(entry.base, Base)
    return entry.base


_REMEMBERED = 256  # of a long chain of parents; all of them would be as much as the square of its length


def _adds_to_parent(entry: Entry) -> bool:
    """Whether the entry is its parent with its own keys on top, and nothing else."""
    return entry.parent is not None and entry.imported is None and "_mixins_" not in entry.body.reserved


def _base(workspace: Workspace, entry: Entry, parent: Base | None) -> Base:
    if parent is not None and _adds_to_parent(entry):
        class_name = _own_class(entry)
        if class_name is None and entry.parent is not None and entry.parent.import_path == entry.import_path:
            class_name = parent.class_name
        return Base(entry.body.over(parent.body).without("_mixins_", "_class_"), parent.mixins, class_name, {}, [])
    mixins: list[MixinUse] = []
    for one in ancestry(entry):
        if "_mixins_" in one.body.reserved:
            mixins = read_list(
                workspace, one.project, one.body.reserved["_mixins_"], mixins, one.body.place("_mixins_"), one.name
            )
    return Base(with_mixins(entry, mixins), tuple(mixins), class_of(entry), {}, [])


def class_of(entry: Entry) -> str | None:
    """The class that an entry names with `_class_`, itself or by way of parents with the same module."""
    found: dict[int, str | None] = {}
    for one in ancestry(entry):
        name = _own_class(one)
        for other in (one.imported, one.parent):
            if name is None and other is not None and other.import_path == one.import_path:
                name = found.get(id(other))
        found[id(one)] = name
    return found[id(entry)]


def _own_class(entry: Entry) -> str | None:
    value = entry.body.reserved.get("_class_")
    if not isinstance(value, Reference):
        return value  # checked when it was read
    name = unwrapped(Resolver({}, entry.name).container(value))
    problem = reserved_form_problem("_class_", name, value)
    if problem is not None:
        problem.path = f"{entry.name}._class_"
        raise problem
    return str(name)


def with_mixins(entry: Entry, mixins: Sequence[MixinUse]) -> Body:
    """The entry's merged body over these mixins, the first listed highest."""
    body = EMPTY
    for use in reversed(mixins):
        for one in ancestry(use.entry):
            body = one.body.over(body)
    for one in ancestry(entry):
        body = one.body.over(body)
    return body.without("_mixins_", "_class_")  # read already; they must not reach a child's or a version's keys
