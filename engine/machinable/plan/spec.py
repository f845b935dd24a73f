"""Trials and their outcomes as frozen plain data, which is sent to workers and written to files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, Literal, TypeAlias

from msgspec import Struct
from msgspec.structs import asdict

from machinable.serialization import Plain, without_hidden

__all__ = [
    "CheckpointPolicy",
    "ComponentSpec",
    "MixinSpec",
    "Outcome",
    "Places",
    "Requirement",
    "Retries",
    "State",
    "Target",
    "TrialSpec",
    "members_of",
    "spec_from_data",
]

State: TypeAlias = Literal[
    "pending", "running", "finished", "failed", "interrupted", "reused", "blocked", "skipped", "unneeded", "pruned"
]


class MixinSpec(Struct, frozen=True):
    """A mixin of a component: reached as `attribute`, imported from `module` on first access."""

    attribute: str
    module: str
    class_name: str | None = None
    content: str = ""  # its identity, see `mixin_content`. Never stored


class Target(Struct, frozen=True):
    """Where the code of a component is: an import path, and the name of a class or function in it.

    `kind` is "component" (the one class of the module, or the one called `name`), "class" or "function" (exactly the
    object called `name`, dots for nesting).
    """

    module: str
    name: str | None = None
    kind: Literal["component", "class", "function"] = "component"


class Retries(Struct, frozen=True):
    """Further attempts of a failed trial: how many, after how many seconds, and for which errors (none: for all).

    They continue from the last checkpoint, unless they `restart`.
    """

    count: int = 0
    delay: float = 0.0
    on: tuple[str, ...] = ()
    restart: bool = False


class CheckpointPolicy(Struct, frozen=True):
    """How many checkpoints a trial keeps (None: all), and after how many iterations it saves one (None: never)."""

    keep: int | None = 3
    every: int | None = None


class ComponentSpec(Struct, frozen=True):
    """A configured component: a child, or the part that all trials of one listed component share."""

    component: str  # canonical name
    module: str  # import path
    version: Plain  # the versions, as in the key of a trial
    # Resolved configuration with hidden keys; calls of config methods as text. May hold secrets
    config: Mapping[str, Plain]
    target: Target  # where the code is
    flags: Mapping[str, Plain] = {}  # flags that do not depend on the trial
    stored: Mapping[str, Plain] = {}  # the part of the configuration that may be stored
    # Where keys were set, by dotted path; a key without an entry was set where its parent was
    origins: Mapping[str, str] = {}
    evaluate: bool = True  # whether calls of config methods are evaluated on access
    mixins: tuple[MixinSpec, ...] = ()
    mixin_only: frozenset[str] = frozenset()  # top-level keys that only mixins set
    children: tuple[ComponentSpec, ...] = ()
    resources: Mapping[str, float] = {}  # the resources that a trial occupies, by name
    default_threads: int = 1  # number of threads for a trial that requests no `cpus`
    retries: Retries | None = None  # further attempts; None leaves them to the execution
    checkpoints: CheckpointPolicy = CheckpointPolicy()
    environment: Mapping[str, str] = {}  # variables that are set while a trial runs. Never stored; may hold secrets
    results: tuple[str, ...] = ()  # artifacts that a trial promises to write
    seeding: tuple[str, ...] | None = None  # dotted names of the functions that seed; None for the default ones
    change_directory: bool = False  # whether a trial runs in its local directory
    tags: Mapping[str, Plain] = {}
    content: str = ""  # the identity without the seed. Never stored
    called: str = ""  # of a child: its name among the children, if it has one
    # Of a requirement that is a stored trial: where that is, with the URL of its storage if it is another one
    stored_at: str = ""
    is_requirement: bool = False  # whether it is not listed in the task but required by a component that is
    former: tuple[str, str] | None = None  # with `_identity_`: the component and the module that it counts as

    @property
    def counts_as(self) -> tuple[str, str]:
        """The component and the module that count for shared and cached data: those before a rename (`_identity_`)."""
        return self.former or (self.component, self.module)

    @property
    def threads(self) -> int:
        """Number of threads of a trial: as many as it requests cpus, and at least one; without cpus the default."""
        return max(1, int(self.resources.get("cpus", self.default_threads)))

    def __repr__(self) -> str:  # without configuration and environment, which may hold secrets
        return f"<ComponentSpec {self.component} {self.version!r}>"

    def as_data(self) -> dict[str, Plain]:
        """Return the component as it is stored among the children of a trial in plan.jsonl."""
        named: dict[str, Plain] = {"name": self.called} if self.called else {}
        return named | {
            "component": self.component,
            "module": self.module,
            "version": self.version,
            "config": self.stored,
            "flags": without_hidden(dict(self.flags)),
        }


class Requirement(Struct, frozen=True):
    """Another trial of the plan whose outputs a trial reads."""

    component: str
    uid: str
    identity: str
    artifact: str | None = None  # the only artifact that is read; None for all
    place: str | None = None  # where its result is in the storage, as `OY1p1o/9c2EapVGXnPH`; None until that is known
    spec: TrialSpec | None = None  # its trial, for a live instance of it. Never stored
    # Digests of its artifacts when it finished, by name; none if its status.json has them. Never stored
    digests: Mapping[str, str] = {}

    def as_data(self) -> dict[str, Plain]:
        """Return the requirement as it is stored in plan.jsonl and trial.json."""
        return {name: getattr(self, name) for name in _STORED}


def members_of(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the members of the requirements that share a name, as `folds.0` and `folds.1` share `folds`."""
    found: dict[str, list[str]] = {}
    for name in names:
        shared, dot, number = name.rpartition(".")
        if dot and number == str(len(found.get(shared, ()))):
            found.setdefault(shared, []).append(name)
    return found


_STORED = ("component", "uid", "identity", "artifact", "place")  # fields of a requirement


class Places(Mapping[str, str]):
    """The places of results that a trial may read indirectly; found on access, because chains may be long."""

    def __init__(self, find: Callable[[], dict[str, str]]) -> None:
        self._find = find

    @cached_property
    def _found(self) -> dict[str, str]:
        return self._find()

    def __getitem__(self, identity: str) -> str:
        return self._found[identity]

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (self._found,)


class TrialSpec(Struct, frozen=True):
    """One trial of a plan: everything that a worker needs to run it.

    The most used attributes of its component are also attributes of the trial.
    """

    index: int  # position in the plan
    uid: str
    seed: int  # seed of its random number generators
    flags: Mapping[str, Plain]
    definition: ComponentSpec  # shared with the other trials of its component
    requires: Mapping[str, Requirement] = {}  # the trials that it requires, by the names that it uses
    identity: str = ""  # hash of everything that determines its result
    attempt: int = 1  # number of the attempt, from 1
    token: int = 0  # the fencing token of the attempt; 0 for its number. Never stored with the trial
    # Directory of an earlier attempt whose last checkpoint it continues from: relative in the storage, or absolute on
    # this host. Known when it is submitted
    resume_from: str | None = None
    # Where the results of what its requirements require are, by identity: a required component may read them. Known
    # when it is submitted, and never stored
    indirect: Mapping[str, str] = {}
    # Whether a worker that cannot import the code returns the trial as "pending", because another host may run it.
    # Set by engines, and never stored
    may_move: bool = False
    # The GPUs of its attempt, as they are named in CUDA_VISIBLE_DEVICES. Known when it is submitted, and never stored
    # with the trial; none if the engine assigns them
    devices: tuple[str, ...] = ()
    # Seconds that the attempt may take; None for no limit. Known when it is submitted, and never stored
    timeout: float | None = None
    # The column of its rows whose values are sent to the executing process, which may prune it because of them; "" for
    # none. Known when it is submitted, and never stored
    judged: str = ""
    # The number of iterations after which it ends as pruned, and why, if it repeats one that was; never stored
    ends_after: tuple[int, str] | None = None

    @property
    def component(self) -> str:
        """Canonical name of its component."""
        return self.definition.component

    @property
    def module(self) -> str:
        """Import path of its component."""
        return self.definition.module

    @property
    def version(self) -> Plain:
        """The versions of its component."""
        return self.definition.version

    @property
    def config(self) -> Mapping[str, Plain]:
        """Resolved configuration, hidden keys included."""
        return self.definition.config

    @property
    def stored(self) -> Mapping[str, Plain]:
        """The part of the configuration that may be stored."""
        return self.definition.stored

    @property
    def children(self) -> tuple[ComponentSpec, ...]:
        """The components inside its component."""
        return self.definition.children

    @property
    def tags(self) -> Mapping[str, Plain]:
        """Notes of the task."""
        return self.definition.tags

    @property
    def resources(self) -> Mapping[str, float]:
        """What it occupies while it runs, by name."""
        return self.definition.resources

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpickled_trial, tuple(
            _pickled_definition(value) if name == "definition" else value for name, value in asdict(self).items()
        )

    def as_data(self) -> dict[str, Plain]:
        """Return the trial as it is stored in plan.jsonl."""
        return {
            "index": self.index,
            "uid": self.uid,
            "seed": self.seed,
            "component": self.component,
            "module": self.module,
            "version": self.version,
            "config": self.stored,
            "flags": without_hidden(dict(self.flags)),
            "children": [child.as_data() for child in self.children],
            "requires": {name: needed.as_data() for name, needed in self.requires.items()},
            "tags": without_hidden(dict(self.tags)),
            "identity": self.identity,
        }


MAX_PICKLED = 64  # definitions whose trials may take turns
_pickled: dict[int, tuple[ComponentSpec, bytes]] = {}  # by id; the definition is kept in it, so its id is not reused


def _pickled_definition(definition: ComponentSpec) -> bytes:
    """Pickle the shared definition once: with 400 keys this takes 40 ms, mostly for their origins."""
    import pickle  # 2 ms, and only for engines with workers

    known = _pickled.get(id(definition))
    if known is None:
        if len(_pickled) >= MAX_PICKLED:
            _pickled.pop(next(iter(_pickled)), None)
        known = _pickled[id(definition)] = definition, pickle.dumps(definition)
    return known[1]


def _unpickled_trial(index: int, uid: str, seed: int, flags: Any, definition: bytes, *rest: Any) -> TrialSpec:
    # Each trial gets a copy of the definition, so its changes never affect another trial.
    import pickle

    return TrialSpec(index, uid, seed, flags, pickle.loads(definition), *rest)  # noqa: S301  # made above


class Outcome(Struct, frozen=True):
    """How one attempt of a trial ended, as plain data: it may come from another machine.

    Attributes:
        uid: Uid of the trial.
        state: How it ended; "pruned" if the execution has ended it between two iterations; "pending" if its worker
            cannot start it, and another host may (see `TrialSpec.may_move`).
        attempt: Number of the attempt.
        seconds: Its duration.
        record: The last row of the default scope.
        result: What the component returned.
        error: `type`, `message` and `traceback` of its error.
        artifacts: Digests of the artifacts that it wrote, by name.
        inputs: Digests of the artifacts that it read, by requirement and name.
        indirect: `identity` and `place` of those of these requirements that are not its own, such as `model.data`.
        imported: Digests of the source files of the project that were imported while it ran, by path in the project.
        dropped: What the component made and does not exist any more, such as rows that it did not save.
        because: Why it was pruned.
    """

    uid: str
    state: State
    attempt: int
    seconds: float
    record: dict[str, Plain] | None = None
    result: Plain = None
    error: dict[str, str] | None = None
    artifacts: Mapping[str, str] = {}
    inputs: Mapping[str, Mapping[str, str]] = {}
    indirect: Mapping[str, Mapping[str, str]] = {}
    imported: Mapping[str, str] = {}
    dropped: Sequence[str] = ()
    because: str = ""


def requirement_from_data(row: Mapping[str, Plain]) -> Requirement:
    """Return a requirement of a line of plan.jsonl, which may have further fields."""
    fields: dict[str, Any] = {name: row.get(name) for name in _STORED}
    return Requirement(**fields)


def spec_from_data(row: Mapping[str, Plain]) -> TrialSpec:
    """Return the trial of a line of plan.jsonl: the inverse of `TrialSpec.as_data`.

    Fields that such a line lacks have their defaults: no hidden keys, mixins, origins, resources or seeding.
    """
    children = tuple(
        _component(child, flags=child["flags"], called=child.get("name", "")) for child in row.get("children", ())
    )
    definition = _component(row, children=children, tags=row.get("tags", {}))
    requires = {name: requirement_from_data(needed) for name, needed in row.get("requires", {}).items()}
    return TrialSpec(row["index"], row["uid"], row["seed"], row["flags"], definition, requires, row.get("identity", ""))


def _component(row: Mapping[str, Plain], **more: Any) -> ComponentSpec:
    name, module, config = row["component"], row["module"], row["config"]
    path, colon, qualname = name.partition(":")
    # Whether it is a class or a function is only known after the import: both are callable.
    target = Target(path, qualname, "function") if colon else Target(module)
    return ComponentSpec(name, module, row.get("version"), config, target, stored=config, **more)
