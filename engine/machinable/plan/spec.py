"""What shall run, frozen: plain data that travels to a worker or into a file, and what comes back from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from machinable.plan.resources import threads_of
from machinable.serialization import Plain

__all__ = [
    "ChildSpec",
    "MixinSpec",
    "Outcome",
    "Requirement",
    "Retries",
    "State",
    "Target",
    "TrialSpec",
    "spec_from_data",
]

State: TypeAlias = Literal["pending", "running", "finished", "failed", "interrupted", "reused", "blocked", "skipped"]


@dataclass(frozen=True)
class MixinSpec:
    """A mixin whose methods a component borrows: reached as `attribute`, imported from `module` on first access."""

    attribute: str
    module: str
    class_name: str | None = None


@dataclass(frozen=True)
class Target:
    """Where the code of a component is: an import path, and the name of a class or function in it.

    `kind` is "component" (find the one class of the module, or the one called `name`), "class" or "function" (exactly
    the object called `name`, dots for nesting).
    """

    module: str
    name: str | None = None
    kind: Literal["component", "class", "function"] = "component"


@dataclass(frozen=True)
class Retries:
    """Further attempts of a failed trial: how many, after how many seconds, and for which errors (none: for all)."""

    count: int = 0
    delay: float = 0.0
    on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Requirement:
    """Another trial of the plan, whose finished outputs a trial reads.

    Attributes:
        component: its canonical name. uid, identity: of its trial. artifact: the only one that is depended on.
        place: where its result lies in the storage, as `OY1p1o/9c2EapVGXnPH`; None until that is known.
        spec: its trial, as far as a live instance of it needs that; never stored.
    """

    component: str
    uid: str
    identity: str
    artifact: str | None = None
    place: str | None = None
    spec: TrialSpec | None = field(default=None, repr=False)

    def as_data(self) -> dict[str, Plain]:
        """The requirement as it stands in plan.jsonl and trial.json."""
        return {
            "component": self.component,
            "uid": self.uid,
            "identity": self.identity,
            "artifact": self.artifact,
            "place": self.place,
        }


@dataclass(frozen=True)
class ChildSpec:
    """A component that lives inside another one.

    Attributes:
        component: canonical name. module: import path. version: as in the key of a trial.
        config: resolved configuration, hidden keys included, calls of config methods as text.
        flags: its own flags.
        stored: what may be stored of the configuration.
        origins: where keys were set, by dotted path; a key without an entry was set where the key above it was.
        evaluate: whether calls of config methods are evaluated on access.
    """

    component: str
    module: str
    version: Plain
    config: Mapping[str, Plain] = field(repr=False)  # it may hold secrets
    flags: Mapping[str, Plain]
    target: Target
    mixins: tuple[MixinSpec, ...] = ()
    evaluate: bool = True
    stored: Mapping[str, Plain] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    mixin_only: frozenset[str] = frozenset()  # top-level keys that only mixins set

    def as_data(self) -> dict[str, Plain]:
        """The child as it stands in plan.jsonl."""
        return {
            "component": self.component,
            "module": self.module,
            "version": self.version,
            "config": self.stored,
            "flags": dict(self.flags),
        }


@dataclass(frozen=True)
class TrialSpec:
    """One trial of a plan: everything that a worker needs to run it, as plain data."""

    index: int
    uid: str
    seed: int
    component: str
    module: str
    version: Plain
    config: Mapping[str, Plain] = field(repr=False)  # it may hold secrets
    flags: Mapping[str, Plain]
    target: Target
    children: tuple[ChildSpec, ...] = ()
    mixins: tuple[MixinSpec, ...] = ()
    evaluate: bool = True
    stored: Mapping[str, Plain] = field(default_factory=dict)
    origins: Mapping[str, str] = field(default_factory=dict)
    resources: Mapping[str, float] = field(default_factory=dict)
    checkpoint: str | None = None
    tags: Mapping[str, Plain] = field(default_factory=dict)
    requires: Mapping[str, Requirement] = field(default_factory=dict)
    is_requirement: bool = False  # not listed in the task, but needed by another trial
    seeding: tuple[str, ...] | None = None  # dotted callables; None is the default list
    change_directory: bool = False
    mixin_only: frozenset[str] = frozenset()  # top-level keys that only mixins set
    identity: str = ""
    content: str = ""  # the identity but for the seed; never stored
    retries: Retries | None = None  # None leaves it to the execution
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)  # set while the trial runs; never stored
    results: tuple[str, ...] = ()  # artifacts that it promises
    default_threads: int = 1  # with how many it computes if it does not say how many cpus it takes
    attempt: int = 1
    resume_from: str | None = None  # the folder of a former attempt, whose last checkpoint it continues from

    @property
    def threads(self) -> int:
        """With how many threads it computes: as many as it has cpus, and at least one."""
        return threads_of(self.resources, self.default_threads)

    def like(self, own: Mapping[str, Any]) -> TrialSpec:
        """The same trial but for these fields. As `dataclasses.replace`, in a tenth of the time: plans are long."""
        other = object.__new__(TrialSpec)
        vars(other).update(vars(self))
        vars(other).update(own)
        return other

    def as_data(self) -> dict[str, Plain]:
        """The trial as it stands in plan.jsonl."""
        return {
            "index": self.index,
            "uid": self.uid,
            "seed": self.seed,
            "component": self.component,
            "module": self.module,
            "version": self.version,
            "config": self.stored,
            "flags": dict(self.flags),
            "children": [child.as_data() for child in self.children],
            "requires": {name: needed.as_data() for name, needed in self.requires.items()},
            "tags": dict(self.tags),
            "identity": self.identity,
        }


@dataclass(frozen=True)
class Outcome:
    """How one attempt of a trial ended, as plain data: it may come from another machine.

    `error` has `type`, `message` and `traceback`; `record` is the last row of the default scope. `artifacts` are the
    digests of what it wrote, by name; `inputs` those of what it read, by requirement and name.
    """

    uid: str
    state: State
    attempt: int
    seconds: float
    record: dict[str, Plain] | None = None
    result: Plain = None
    error: dict[str, str] | None = None
    artifacts: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


def spec_from_data(row: Mapping[str, Plain]) -> TrialSpec:
    """The trial of a line of plan.jsonl: the inverse of `TrialSpec.as_data`.

    What such a line does not have is as if nothing had been said: no hidden keys in the configuration, no mixins,
    origins, resources and seeding.
    """
    return TrialSpec(
        index=row["index"],
        uid=row["uid"],
        seed=row["seed"],
        component=row["component"],
        module=row["module"],
        version=row.get("version"),
        config=row["config"],
        stored=row["config"],
        flags=row["flags"],
        target=_target(row),
        children=tuple(map(_child_from_data, row.get("children", ()))),
        checkpoint=row["flags"].get("CHECKPOINT"),
        tags=row.get("tags", {}),
        requires={name: Requirement(**needed) for name, needed in row.get("requires", {}).items()},
        identity=row.get("identity", ""),
    )


def _child_from_data(row: Mapping[str, Plain]) -> ChildSpec:
    return ChildSpec(
        component=row["component"],
        module=row["module"],
        version=row.get("version"),
        config=row["config"],
        stored=row["config"],
        flags=row["flags"],
        target=_target(row),
    )


def _target(row: Mapping[str, Plain]) -> Target:
    module, colon, name = row["component"].partition(":")
    # A class is callable, too, and is told from a function when it is there.
    return Target(module, name, "function") if colon else Target(row["module"])
