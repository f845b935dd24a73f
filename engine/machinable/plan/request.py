"""What a person asked for, frozen: calls of `component`, levels of `repeat` and `split`, versions for all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from machinable.serialization import Plain

__all__ = ["Call", "ChildCall", "Level", "Named", "RequirementCall", "TaskRequest"]

Named: TypeAlias = "str | type[Any] | Callable[..., Any]"  # how a component is given


@dataclass(frozen=True)
class ChildCall:
    """One child as it was asked for; `version` may hold lists."""

    name: Named
    version: Any = None
    checkpoint: str | None = None
    flags: Mapping[str, Plain] = field(default_factory=dict)


@dataclass(frozen=True)
class RequirementCall:
    """One requirement as it was asked for; `artifact` is the only one that is depended on, None for all of them."""

    name: Named
    version: Any = None
    artifact: str | None = None


@dataclass(frozen=True)
class Call:
    """One call of `Task.component`; `version` may hold lists. A requirement that is None takes back a declared one."""

    name: Named
    version: Any = None
    children: tuple[ChildCall, ...] = ()
    checkpoint: str | None = None
    flags: Mapping[str, Plain] = field(default_factory=dict)
    tags: Mapping[str, Plain] = field(default_factory=dict)
    resources: Mapping[str, Plain] = field(default_factory=dict)
    requires: Mapping[str, RequirementCall | None] = field(default_factory=dict)


@dataclass(frozen=True)
class Level:
    """One call of `repeat` or `split`: its label (`REPEAT`, then `REPEAT_1`, …), and how often."""

    name: str
    total: int
    number: int  # of the call, from 0

    @property
    def label(self) -> str:
        """The name with the number of the level, which the first one does not need."""
        return self.flag("")

    def flag(self, kind: str) -> str:
        """The name of a flag of this level, such as `REPEAT_SEED_1`."""
        return self.name + (f"_{kind}" if kind else "") + (f"_{self.number}" if self.number else "")


@dataclass(frozen=True)
class TaskRequest:
    """A task at one moment."""

    calls: tuple[Call, ...] = ()
    levels: tuple[Level, ...] = ()
    versions: tuple[Any, ...] = ()
    name: str | None = None

    def names(self) -> Iterator[Named]:
        """How each component, child and requirement was given."""
        for call in self.calls:
            yield call.name
            for child in call.children:
                yield child.name
            for need in call.requires.values():
                if need is not None:
                    yield need.name
