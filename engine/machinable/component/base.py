"""What users derive from: `Component`, with its events and what it finds in `self`, and `Mixin`.

What can be said about trials before they are handed to an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from machinable.errors import NotAvailable
from machinable.serialization import Plain

if TYPE_CHECKING:
    import logging

    from machinable.component.record import Record
    from machinable.component.shared import SharedData
    from machinable.component.store import Store
    from machinable.config.config import Config
    from machinable.plan.spec import ComponentSpec

__all__ = ["Component", "Mixin", "Part", "Submission", "Terms", "TrialContext", "overrides"]


@dataclass
class Submission:
    """What can be changed about the trials of a component before they run.

    Attributes:
        environment: variables that are set while one runs; None removes what is declared.
        resources: what each of them occupies, as `_resources_`.
        component: canonical name. config: the configuration, calls of config methods as text; changing it changes
            nothing.
    """

    environment: dict[str, Any]
    resources: dict[str, Any]
    component: str
    config: dict[str, Plain]


class Terms(NamedTuple):
    """What trials run with."""

    environment: Mapping[str, str]
    resources: Mapping[str, float]


class TrialContext(Protocol):
    """What a trial offers to its components."""

    @property
    def log(self) -> logging.Logger: ...
    @property
    def record(self) -> Record: ...
    @property
    def store(self) -> Store: ...
    @property
    def requires(self) -> Mapping[str, Any]: ...
    @property
    def directory(self) -> str: ...
    @property
    def commons(self) -> SharedData: ...

    def create(self, component: Component) -> None: ...
    def set_seed(self, seed: int | None) -> None: ...
    def progress(self, i: int, total: int | None) -> None: ...
    def save_checkpoint(self, component: Component, path: str | None, timestep: int | None) -> Any: ...
    def last_checkpoint(self) -> str | None: ...
    def stored_trial(self, place: str) -> Any: ...
    def required_component(self, required: Any) -> Component: ...


class Part:
    """A component's place in its trial.

    Attributes:
        spec: what the component was made from.
        mixins: makes the binding of each mixin, by attribute. is_started: whether the trial lends what it offers.
        is_created: whether its create phase is over. saves: how many checkpoints it has saved.
    """

    __slots__ = ("is_child", "is_created", "is_started", "mixins", "saves", "spec", "trial")

    def __init__(self, trial: TrialContext, spec: ComponentSpec, *, is_child: bool) -> None:
        self.trial = trial
        self.spec = spec
        self.is_child = is_child
        self.mixins: Mapping[str, Callable[[Component], Any]] = {}
        self.is_started = is_child  # children are constructed when the trial has started
        self.is_created = False
        self.saves = 0


_LENT = frozenset({"log", "record", "store", "requires", "directory"})
_FROM = {
    "config": "on_after_init",
    "flags": "on_after_init",
    "tags": "on_after_init",
    "node": "on_after_init",
    "children": "on_init_child",
} | dict.fromkeys(_LENT, "on_start")


class Component:
    """A unit of work: override the events that you need; one run of it is a trial.

    Attributes:
        config: the configuration, a mapping with attribute access. flags: how this trial stands in its plan.
        log: a logger. record: the row of measurements. store: what is kept by name. directory: a local directory whose
            files are kept. requires: the results that this trial needs.
        children: the components that live in this one, None if they were refused. node: the component this one lives
            in, or None. tags: notes of the task.
    """

    config: Config
    flags: Config
    log: logging.Logger
    record: Record
    store: Store
    requires: Mapping[str, Any]
    directory: str
    children: Any
    node: Component | None
    tags: Mapping[str, Any]

    def __getattr__(self, name: str) -> Any:
        part: Part | None = self.__dict__.get("__machinable__")
        if part is not None:
            if name in _LENT and part.is_started:
                value = self.__dict__[name] = getattr(part.trial, name)
                return value
            if name in part.mixins:
                value = self.__dict__[name] = part.mixins[name](self)
                return value
        if name in _FROM:
            raise NotAvailable(
                f"self.{name} is not there yet" if part else f"self.{name} is only there while a trial runs",
                given=name,
                todo=f"It can be used from {_FROM[name]} on." if part else "Execute the component in a task.",
            )
        if name == "__mixin__":
            raise NotAvailable("self.__mixin__ is only there while a method of a mixin runs", given=name)
        # The usual error; where a property has failed, its own.
        return object.__getattribute__(self, name)

    # what a component can do

    def create(self) -> None:
        """Create this child now: for a child that `on_create` got under a name with a leading underscore."""
        part: Part | None = self.__dict__.get("__machinable__")
        if part is None or not part.is_child:
            raise NotAvailable("create() is for children", todo="The component itself is created by its trial.")
        part.trial.create(self)

    def set_seed(self, seed: int | None = None) -> None:
        """Seed the random number generators again, by default with the trial's seed."""
        self._trial("set_seed").set_seed(seed)

    def progress(self, i: int, total: int | None = None) -> None:
        """Tell how far this trial is: `i` steps of `total`, if that is known."""
        self._trial("progress").progress(i, total)

    def save_checkpoint(self, path: str | None = None, timestep: int | None = None) -> Any:
        """Let `on_save` store the state.

        Args:
            path: where to; default: a local directory whose content becomes the trial's checkpoints.
            timestep: default: how many checkpoints this component has saved.

        Returns:
            The name of what was saved, or False for nothing saved.
        """
        return self._trial("save_checkpoint").save_checkpoint(self, path, timestep)

    def restore_checkpoint(self, path: str) -> None:
        """Let `on_restore` read the state that is stored there."""
        trial = self._trial("restore_checkpoint")
        self.on_restore(path)
        trial.log.info("restored from the checkpoint %s", path)

    def _trial(self, name: str) -> TrialContext:
        part: Part | None = self.__dict__.get("__machinable__")
        if part is None or not part.is_started:
            raise NotAvailable(f"self.{name}() can be used from on_start on", given=name)
        return part.trial

    # events, in order

    def on_before_init(self, config: dict[str, Any], flags: dict[str, Any], node: Component | None) -> None:
        """Before the component has anything."""

    def on_init(self, config: dict[str, Any], flags: dict[str, Any], node: Component | None) -> None:
        """The component is constructed. `config` and `flags` are copies; `node` is the parent of a child, or None."""

    def on_after_init(self) -> None:
        """`self.config`, `self.flags` and the mixins are there from now on."""

    def on_start(self) -> None:
        """The trial starts. `self.log`, `self.record`, `self.store` and `self.requires` are there from now on."""

    def on_init_children(self, specs: list[Any]) -> Any:
        """Before children are constructed. Return False to have none."""

    def on_init_child(self, spec: Any, index: int) -> Any:
        """Before a child is constructed. Return False to leave it out."""

    def on_after_init_child(self, child: Any, index: int) -> None:
        """A child is constructed."""

    def on_after_init_children(self, children: list[Any]) -> None:
        """All children are constructed."""

    def on_seeding(self) -> Any:
        """Before random number generators are seeded. Return False if you have done it yourself."""

    def on_before_create(self) -> None:
        """Before the component and its children are created; generators are seeded."""

    def on_create(self, *children: Any, **more: Any) -> None:
        """Build what the component needs.

        Override it with parameters to get children by position: `on_create(self, encoder, _decoder)`. A first one
        called `node` gets the parent, and a child under a name with a leading underscore is not created yet.
        """

    def on_restore(self, path: str) -> None:
        """Read the state that `on_save` has stored."""

    def on_after_create(self) -> None:
        """The component is created."""

    def on_before_execute(self) -> None:
        """Before the work."""

    def on_execute(self) -> Any:
        """The work. What it returns is the trial's result."""

    def on_before_execute_iteration(self, iteration: int) -> None:
        """Before an iteration."""

    def on_execute_iteration(self, iteration: int) -> Any:
        """One step of the work, from 0 on, until StopIteration is returned or raised. Only if overridden."""

    def on_after_execute_iteration(self, iteration: int) -> Any:
        """After an iteration; then the row is saved, unless this returns False."""

    def on_after_execute(self) -> None:
        """After the work."""

    def on_save(self, path: str, timestep: int) -> Any:
        """Store the state; return the name of what was saved, None for `path` or False for nothing saved."""
        return False

    def on_load(self, into: Any = None) -> Any:
        """Another trial requires this component and wants it as it was when its own trial had ended.

        It is created with the same configuration; `self.store` reads what its trial has written. By default its last
        checkpoint is restored.

        Args:
            into: an object to bring the state into, in place of this one.
        """
        if into is not None:
            raise NotAvailable(
                f"{type(self).__name__} does not say how its state gets into another object",
                given=into,
                todo="Override on_load(self, into=None) in it.",
            )
        path = self._trial("on_load").last_checkpoint()
        if path is not None:
            self.restore_checkpoint(path)

    @classmethod
    def on_submit(cls, submission: Submission) -> None:
        """A trial of this component is about to be handed to an engine: change its environment or its resources."""

    def on_before_destroy(self) -> None:
        """Before the component and its children are taken apart."""

    def on_destroy(self) -> None:
        """Take apart what `on_create` has built."""

    def on_after_destroy(self) -> None:
        """The component is taken apart."""

    def on_success(self, result: Any) -> None:
        """All went well."""

    def on_failure(self, exception: BaseException) -> None:
        """Something failed; nothing but `on_finish` follows."""

    def on_finish(self, result: Any, success: bool) -> None:
        """The last event, whatever happened: release what must be released."""


class Mixin:
    """Methods that a component borrows: in them, `self` is the component, and `self.__mixin__` the mixin."""

    @classmethod
    def on_submit(cls, submission: Submission) -> None:
        """As `Component.on_submit`, for trials of components that have this mixin."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def overrides(cls: type[Component], event: str) -> bool:
    """True if a class has an event of its own."""
    return getattr(cls, event) is not getattr(Component, event)
