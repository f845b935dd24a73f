"""The request of a task, frozen: components and their requirements, levels of `repeat` and `split`, and versions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from msgspec import Struct
from msgspec.structs import asdict

from machinable.plan.identity import version_key
from machinable.plan.search import SearchRequest
from machinable.serialization import Plain, without_hidden

__all__ = [
    "ChildRequest",
    "ComponentRequest",
    "Level",
    "Named",
    "RequirementRequest",
    "RequirementRequests",
    "TaskRequest",
    "numbered",
]

Named: TypeAlias = "str | type[Any] | Callable[..., Any]"  # how a component is given


class _Request(Struct, frozen=True):
    name: Named
    version: Any = None

    def as_data(self) -> dict[str, Plain]:
        """Return the request as it is stored in execution.json."""
        data = asdict(self)
        data |= {name: without_hidden(data[name]) for name in ("flags", "tags") if name in data}
        return {"component": _name_as_data(data.pop("name")), **data, "version": _version_as_data(self.version)}


class ChildRequest(_Request, frozen=True):
    """One child; `version` may hold lists. Without a name it is the declared child with a further version."""

    checkpoint: str | None = None
    flags: Mapping[str, Plain] = {}


class RequirementRequest(_Request, frozen=True):
    """One requirement; `artifact` is the only one that is read, None for all of them."""

    artifact: str | None = None


# By name: one requirement, or several in order; None removes a declared one.
RequirementRequests: TypeAlias = "Mapping[str, RequirementRequest | tuple[RequirementRequest, ...] | None]"


class ComponentRequest(_Request, frozen=True):
    """One call of `Task.component`; `version` may hold lists.

    A list of children, also an empty one, replaces the declared ones, a mapping is laid over them, where None removes
    one; None keeps them.
    """

    children: tuple[ChildRequest, ...] | Mapping[str, ChildRequest | None] | None = None
    requires: RequirementRequests = {}
    flags: Mapping[str, Plain] = {}
    checkpoint: str | None = None
    tags: Mapping[str, Plain] = {}
    resources: Mapping[str, Plain] = {}

    def named_children(self) -> list[tuple[str, ChildRequest]]:
        """Return the children with their names, which are numbers in a list."""
        children = self.children
        pairs = children.items() if isinstance(children, Mapping) else enumerate(children or ())
        return [(str(name), child) for name, child in pairs if child is not None]

    def as_data(self) -> dict[str, Plain]:
        """Return the call as it is stored in execution.json."""
        children = self.children
        return _Request.as_data(self) | {
            "children": {name: child and child.as_data() for name, child in children.items()}
            if isinstance(children, Mapping)
            else None
            if children == ()
            else [child.as_data() for child in children or ()],
            "requires": {
                name: [one.as_data() for one in needed] if isinstance(needed, tuple) else needed and needed.as_data()
                for name, needed in self.requires.items()
            },
        }


def numbered(requests: RequirementRequests) -> Iterator[tuple[str, str, RequirementRequest]]:
    """Yield each requirement with its name and the name as written: several `folds` are `folds.0`, `folds.1`, …."""
    for name, needed in requests.items():
        if isinstance(needed, RequirementRequest):
            yield name, name, needed
        else:
            yield from ((f"{name}.{number}", name, one) for number, one in enumerate(needed or ()))


class Level(Struct, frozen=True):
    """One call of `repeat` or `split`."""

    name: str  # name of the flags, such as `REPEAT`
    total: int  # how often everything runs
    number: int  # number of the call, from 0

    @property
    def label(self) -> str:
        """The name with the number of the level, which the first one does not need."""
        return self.flag("")

    def flag(self, kind: str) -> str:
        """Return the name of a flag of this level, such as `REPEAT_SEED_1`."""
        return self.name + (f"_{kind}" if kind else "") + (f"_{self.number}" if self.number else "")


class TaskRequest(Struct, frozen=True):
    """Everything that a task requests."""

    components: tuple[ComponentRequest, ...] = ()
    levels: tuple[Level, ...] = ()
    versions: tuple[Any, ...] = ()
    versions_of: tuple[tuple[Named, Any], ...] = ()  # versions for one component each, over all others
    name: str | None = None
    settings: Mapping[str, Any] = {}  # of the section `execution` of a declared task; not stored
    search: SearchRequest | None = None  # of configurations of its component

    def names(self) -> Iterator[Named]:
        """Yield how each component, child, requirement and component of a version was given."""
        for name, _ in self.versions_of:
            yield name
        for component in self.components:
            yield component.name
            for _, child in component.named_children():
                yield child.name
            for _, _, needed in numbered(component.requires):
                yield needed.name

    def as_data(self) -> dict[str, Plain]:
        """Return the task as it is stored in execution.json, without hidden keys."""
        return {
            "components": [component.as_data() for component in self.components],
            "levels": [[level.name, level.total] for level in self.levels],
            "versions": [_version_as_data(version) for version in self.versions],
            "versions_of": [[_name_as_data(name), _version_as_data(version)] for name, version in self.versions_of],
            **({} if self.search is None else {"search": self.search.as_data()}),
        }


def _name_as_data(name: Named) -> str:
    return name if isinstance(name, str) else f"{name.__module__}:{getattr(name, '__qualname__', name)}"


def _version_as_data(version: Any) -> Plain:
    if isinstance(version, (list, tuple)):
        return type(version)(map(_version_as_data, version))
    return version_key(version, stored=True)
