"""The classes that users derive from: `Component`, with its events and the attributes of `self`, and `Mixin`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic

from msgspec import Struct

from machinable.errors import InvalidType, NotAvailable, near_names
from machinable.former_names import COMPONENT, find_former_name
from machinable.serialization import Plain

if TYPE_CHECKING:
    import logging
    from collections.abc import Sequence
    from typing import Protocol

    from typing_extensions import TypeVar

    from machinable.component.record import Record
    from machinable.component.shared import SharedData
    from machinable.component.store import Store
    from machinable.config.config import Config
    from machinable.plan.spec import ComponentSpec, Requirement, Target, TrialSpec

    ConfigT = TypeVar("ConfigT", default=Any)  # Python has defaults of type variables from 3.13 on
else:
    from typing import TypeVar

    ConfigT = TypeVar("ConfigT")

__all__ = [
    "Component",
    "ComponentState",
    "Context",
    "Mixin",
    "Submission",
    "event_with_other_parameters",
    "misspelt_events",
    "overrides",
    "saver_of",
    "state_of",
]


class Submission(Struct):
    """What `on_submit` can change about the trials of a component before they run.

    Attributes:
        environment: Variables that are set while a trial runs; None removes a declared one.
        resources: The resources that each trial occupies, as in `_resources_`.
        component: The canonical name. Read-only.
        config: The configuration, with calls of config methods as text. A copy.
    """

    environment: dict[str, Any]
    resources: dict[str, Any]
    component: str
    config: dict[str, Plain]


if TYPE_CHECKING:

    class RequiredResult(Protocol):
        """One requirement, as `requirements.Required` provides it."""

        @property
        def result(self) -> Any: ...
        @property
        def config(self) -> Any: ...
        @property
        def records(self) -> Any: ...
        @property
        def trial(self) -> Any: ...
        @property
        def component(self) -> Any: ...

        def names(self) -> list[str]: ...
        def read(self, name: str | None = None, *, load: Callable[[str], Any] | None = None) -> Any: ...
        def path(self, name: str | None = None) -> str: ...
        def frame(self, name: str | None = None, columns: Sequence[str] | None = None) -> Any: ...

        # of several that have one name
        def __getitem__(self, number: int) -> RequiredResult: ...
        def __iter__(self) -> Iterator[RequiredResult]: ...
        def __len__(self) -> int: ...

    class Requirements(Mapping[str, RequiredResult]):
        """All requirements, as `requirements.Requires` provides them."""

        def __getitem__(self, name: str | int) -> RequiredResult: ...
        def __getattr__(self, name: str) -> RequiredResult: ...


class Context:
    """What the trial provides to a component in `self`.

    Each attribute is made when a component first uses it.
    """

    trust = True  # whether pickles of required results may be read: an execution trusts its storage

    if TYPE_CHECKING:

        @property
        def log(self) -> logging.Logger: ...  # noqa: D102
        @property
        def record(self) -> Record: ...  # noqa: D102
        @property
        def store(self) -> Store: ...  # noqa: D102
        @property
        def requires(self) -> Mapping[str, Any]: ...  # noqa: D102
        @property
        def directory(self) -> str: ...  # noqa: D102
        @property
        def shared_data(self) -> SharedData: ...  # noqa: D102
        @property
        def remaining(self) -> float | None: ...  # noqa: D102

        spec: TrialSpec
        project: str | None

        def load(self, target: Target) -> Any: ...  # noqa: D102
        def create(self, component: Component) -> None: ...  # noqa: D102
        def set_seed(self, seed: int | None) -> None: ...  # noqa: D102
        def report_progress(self, i: int, total: int | None) -> None: ...  # noqa: D102
        def save_checkpoint(self, component: Component, path: str | None, timestep: int | None) -> Any: ...  # noqa: D102
        def stored_trial(self, place: str) -> Any: ...  # noqa: D102
        def required_component(self, required: Any) -> Component: ...  # noqa: D102
        def inputs_of(self, name: str, requirement: Requirement) -> dict[str, str]: ...  # noqa: D102

    def last_checkpoint(self) -> str | None:
        """Return the path of the last checkpoint of a trial that has finished."""
        raise NotAvailable(
            "on_load is for components that another one requires",
            todo="In the trial itself, use restore_checkpoint(path).",
        )


class ComponentState:
    """The state of a component in its trial.

    Attributes:
        context: The trial.
        spec: The specification of the component.
        index: The position of a child among the children, otherwise None.
        mixins: Functions that make the binding of each mixin, by attribute.
        is_started: Whether `self` provides the attributes of the trial.
        is_created: Whether its create phase has ended.
        saves: The number of checkpoints that it has saved.
    """

    __slots__ = ("context", "index", "is_created", "is_started", "mixins", "saves", "spec")

    def __init__(self, context: Context, spec: ComponentSpec, index: int | None) -> None:
        self.context = context
        self.spec = spec
        self.index = index
        self.mixins: Mapping[str, Callable[[Component], Any]] = {}
        self.is_started = index is not None  # children are constructed after the start of the trial
        self.is_created = False
        self.saves = 0


_FROM_CONTEXT = frozenset({"log", "record", "store", "requires", "directory"})
_AVAILABLE_FROM = {
    "config": "on_after_init",
    "flags": "on_after_init",
    "tags": "on_after_init",
    "node": "on_after_init",
    "children": "on_init_child",
} | dict.fromkeys(_FROM_CONTEXT, "on_start")


class Component(Generic[ConfigT]):
    """A unit of work: override the events that you need. One run of it is a trial.

    `class Train(Component[Settings])` has the class `Settings` as its `class Config`.

    Attributes:
        config: The configuration, a mapping with attribute access.
        flags: The position of this trial in the plan, and other facts about it.
        log: A logger, which writes `log.txt`.
        record: The current row of measurements.
        store: Artifacts by name.
        directory: A local directory whose files are stored as artifacts.
        requires: The results that this trial requires.
        children: The components inside this one; None if `on_init_children` returned False.
        node: The component around this one, or None.
        tags: Notes of the task.
    """

    config: ConfigT
    flags: Config
    log: logging.Logger
    record: Record
    store: Store
    requires: Requirements
    directory: str
    children: Any
    node: Component | None
    tags: Mapping[str, Any]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        for base in vars(cls).get("__orig_bases__", ()):
            if not isinstance(base, type) and issubclass(getattr(base, "__origin__", object), Component):
                _take_config(cls, *base.__args__)

    def __getattr__(self, name: str) -> Any:
        state: ComponentState | None = self.__dict__.get("__machinable__")
        if state is not None:
            if name in _FROM_CONTEXT and state.is_started:
                value = self.__dict__[name] = getattr(state.context, name)
                return value
            if name in state.mixins:
                value = self.__dict__[name] = state.mixins[name](self)
                return value
        if name in _AVAILABLE_FROM:
            if state is None:
                raise NotAvailable(
                    f"self.{name} exists only while a trial runs", given=name, todo="Execute the component in a task."
                )
            raise NotAvailable(
                f"self.{name} does not exist yet",
                given=name,
                todo=f"It is available from {_AVAILABLE_FROM[name]} on.",
            )
        if name == "__mixin__":
            raise NotAvailable("self.__mixin__ exists only while a method of a mixin runs", given=name)
        return find_former_name(self, name, COMPONENT)

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *_AVAILABLE_FROM]  # Python suggests them for misspelled names

    # methods

    def create(self) -> None:
        """Create this child now, if `on_create` received it under a name with a leading underscore."""
        state: ComponentState | None = self.__dict__.get("__machinable__")
        if state is None or state.index is None:
            raise NotAvailable("create() is for children", todo="The component itself is created by its trial.")
        state.context.create(self)

    def set_seed(self, seed: int | None = None) -> None:
        """Seed the random number generators again, by default with the trial's seed."""
        self._context("set_seed").set_seed(seed)

    def progress(self, i: int, total: int | None = None) -> None:
        """Report the progress of this trial.

        Args:
            i: The number of completed steps.
            total: The total number of steps, if known.
        """
        self._context("progress").report_progress(i, total)

    @property
    def remaining(self) -> float | None:
        """The seconds until the time limit of this attempt, 0 after it; None without one."""
        return self._context("remaining").remaining

    def save_checkpoint(self, path: str | None = None, timestep: int | None = None) -> Any:
        """Let `on_save` store the state.

        Args:
            path: The target; default: a local directory whose content becomes a checkpoint of the trial.
            timestep: A number for `on_save`; default: the number of checkpoints that this component has saved.

        Returns:
            The name of the checkpoint, or False if nothing was saved.
        """
        return self._context("save_checkpoint").save_checkpoint(self, path, timestep)

    def restore_checkpoint(self, path: str) -> None:
        """Let `on_restore` read the state that is stored at a path."""
        context = self._context("restore_checkpoint")
        self.on_restore(path)
        context.log.info("restored from the checkpoint %s", path)

    def _context(self, name: str) -> Context:
        state: ComponentState | None = self.__dict__.get("__machinable__")
        if state is None or not state.is_started:
            raise NotAvailable(f"self.{name}() can be used from on_start on", given=name)
        return state.context

    # events, in order

    def on_before_init(self, config: dict[str, Any], flags: dict[str, Any], node: Component | None) -> None:
        """Run before the component has any attributes."""

    def on_init(self, config: dict[str, Any], flags: dict[str, Any], node: Component | None) -> None:
        """Construct the component. `config` and `flags` are copies; `node` is the parent of a child, or None."""

    def on_after_init(self) -> None:
        """Run when `self.config`, `self.flags` and the mixins are available."""

    def on_start(self) -> None:
        """Run when the trial starts: `self.log`, `self.record`, `self.store` and `self.requires` are available."""

    def on_init_children(self, specs: list[Any]) -> Any:
        """Run before children are constructed. Return False for no children."""

    def on_init_child(self, spec: Any, index: int) -> Any:
        """Run before a child is constructed. Return False to leave it out."""

    def on_after_init_child(self, child: Any, index: int) -> None:
        """Run after a child is constructed."""

    def on_after_init_children(self, children: list[Any]) -> None:
        """Run after all children are constructed."""

    def on_seeding(self) -> Any:
        """Run before random number generators are seeded. Return False if you seed them yourself."""

    def on_before_create(self) -> None:
        """Run before the component and its children are created; generators are seeded."""

    def on_create(self, *children: Any, **more: Any) -> None:
        """Create what the component needs.

        Override it with parameters to receive children by name, or else by position: `on_create(self, encoder,
        _decoder)`. A first parameter `node` receives the parent. A child under a name with a leading underscore is not
        created yet.
        """

    def on_restore(self, path: str) -> None:
        """Read the state that `on_save` stored."""

    def on_after_create(self) -> None:
        """Run after the component is created."""

    def on_before_execute(self) -> None:
        """Run before the work."""

    def on_execute(self) -> Any:
        """Do the work. The return value is the result of the trial."""

    def on_before_execute_iteration(self, iteration: int) -> None:
        """Run before an iteration."""

    def on_execute_iteration(self, iteration: int) -> Any:
        """Do one step, counted from 0, until StopIteration is returned or raised. Only called if overridden."""

    def on_after_execute_iteration(self, iteration: int) -> Any:
        """Run after an iteration; then the row is saved, unless this returns False."""

    def on_after_execute(self) -> None:
        """Run after the work."""

    def on_save(self, path: str, timestep: int) -> Any:
        """Store the state; return the name of the checkpoint, None for `path`, or False if nothing was saved."""
        return False

    def on_load(self, into: Any = None) -> Any:
        """Load the state of the finished trial for another trial that requires this component.

        The component is created with the same configuration; `self.store` reads what its trial wrote. By default its
        last checkpoint is restored.

        Args:
            into: An object to load the state into instead of this one.
        """
        if into is not None:
            raise NotAvailable(
                f"{type(self).__name__} does not define how to load its state into another object",
                given=into,
                todo="Override on_load(self, into=None) in it.",
            )
        path = self._context("on_load").last_checkpoint()
        if path is not None:
            self.restore_checkpoint(path)

    @classmethod
    def on_submit(cls, submission: Submission) -> None:
        """Change the environment or the resources of trials of this component before they are submitted."""

    def on_before_destroy(self) -> None:
        """Run before the component and its children are destroyed."""

    def on_destroy(self) -> None:
        """Release what `on_create` created."""

    def on_after_destroy(self) -> None:
        """Run after the component is destroyed."""

    def on_success(self, result: Any) -> None:
        """Run after success."""

    def on_failure(self, exception: BaseException) -> None:
        """Run after a failure; only `on_finish` follows."""

    def on_finish(self, result: Any, success: bool) -> None:
        """Run last, after success and failure: release resources here."""


def _take_config(cls: type[Component], schema: Any, *others: Any) -> None:
    """Let what is in brackets, as in `Component[Settings]`, be the `class Config` of a component."""
    if "Config" in vars(cls) or isinstance(schema, TypeVar) or schema is Any:
        return
    if not isinstance(schema, type) or others:
        raise InvalidType(
            f"{cls.__name__} takes its configuration from {schema!r}, which is not a class",
            given=schema,
            todo="Write a class in the brackets, Component[Settings], or a `class Config` into the component.",
        )
    cls.Config = schema  # type: ignore[attr-defined]


class Mixin:
    """Methods for components. In them, `self` is the component and `self.__mixin__` the mixin."""

    @classmethod
    def on_submit(cls, submission: Submission) -> None:
        """Change trials of components that have this mixin, as `Component.on_submit` does."""

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any: ...


def state_of(component: Component) -> ComponentState:
    """Return the state of a component in its trial."""
    state: ComponentState = component.__dict__["__machinable__"]
    return state


def overrides(cls: type[Component], event: str) -> bool:
    """Return whether a class overrides an event."""
    return getattr(cls, event) is not getattr(Component, event)


def hidden_attributes(cls: type[Component]) -> list[str]:
    """Return the attributes of a component that values of its class hide, such as `requires`."""
    defined: dict[str, Any] = {}
    for one in reversed(cls.__mro__):
        defined |= {} if one is Component else vars(one)
    return [name for name in _AVAILABLE_FROM if name in defined and not hasattr(defined[name], "__get__")]


@lru_cache(maxsize=512)  # trials of a task have the same class
def event_with_other_parameters(cls: type[Component]) -> tuple[str, str] | None:
    """Return an event of a class that cannot be called with its arguments, and how it is declared; None if all can."""
    from inspect import isfunction, signature  # which `import machinable` does not need

    for name in dir(Component):
        if not name.startswith("on_") or name in _FREE_SIGNATURES or not overrides(cls, name):
            continue
        method = getattr(cls, name)
        if isfunction(method):
            declared = signature(getattr(Component, name))
            try:
                signature(method).bind(*declared.parameters)
            except TypeError:
                return name, f"{name}({', '.join(declared.parameters)})"
    return None


_FREE_SIGNATURES = frozenset({"on_create", "on_load", "on_submit"})  # called according to their parameters


def misspelt_events(cls: type[Component]) -> dict[str, str]:
    """Return the methods of a class whose names resemble events that it does not override."""
    events = [name for name in dir(Component) if name.startswith("on_")]
    names = [name for name in dir(cls) if name.startswith("on_") and name not in events]
    free = [name for name in events if not overrides(cls, name)] if names else []
    near = {name: near_names(name, free, limit=1, cutoff=0.85) for name in names}
    return {name: found[0] for name, found in near.items() if found}


def saver_of(component: Component) -> str:
    """Return the name under which a component saves checkpoints: "node", or the index of a child."""
    index = state_of(component).index
    return "node" if index is None else str(index)
