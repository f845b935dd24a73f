"""Create the components of finished trials again, in a trial that requires them: they read what their trial wrote."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from machinable.component.base import Component, Context, state_of
from machinable.component.requirements import Required, Requires
from machinable.errors import InvalidType, MissingArtifact, NotAvailable
from machinable.plan.spec import Requirement, Target, spec_from_data
from machinable.trial.children import construct, create

if TYPE_CHECKING:
    import logging

    from machinable.component.shared import SharedData

__all__ = ["load_required_component"]

_NOTHING: Any = object()


def load_required_component(required: Required, context: Context) -> Component:
    """Construct and create the component of a requirement as its trial did; `on_load` is not called yet.

    Args:
        required: the requirement.
        context: the trial that requires it.

    Raises:
        InvalidType: it is a function.
    """
    spec = required.requirement.spec or spec_from_data(required.description)
    code = context.load(spec.target)
    if not isinstance(code, type):
        raise InvalidType(
            f"{spec.component} is a function, so there is no component",
            given=spec.component,
            todo="Read what it wrote, or make it a class.",
        )
    flags = {**spec.flags, "ATTEMPT": required.status["attempt"]}
    component = construct(code, FinishedTrialContext(required, context), spec.definition, flags, tags=spec.tags)
    component.children = []  # requirements have none
    state_of(component).is_started = True
    create(component)
    return component


class FinishedTrialContext(Context):
    """What the component of a finished trial finds in `self`: what its trial wrote, and the log of the current trial.

    Args:
        required: the finished trial.
        outer: the trial that requires it.
    """

    def __init__(self, required: Required, outer: Context) -> None:
        self.project = outer.project
        self._required = required
        self._outer = outer

    @property
    def log(self) -> logging.Logger:
        """The logger of the current trial."""
        return self._outer.log

    @property
    def shared_data(self) -> SharedData:
        """The data that the current trial shares with others."""
        return self._outer.shared_data

    @cached_property
    def store(self) -> Any:
        """The artifacts of the finished trial."""
        return _FinishedStore(self._required)

    @cached_property
    def requires(self) -> Mapping[str, Any]:
        """The results that the finished trial required."""
        needs = self._required.description["requires"]
        found = {name: Requirement(**needed) for name, needed in needs.items()}
        return Requires(found, self._required.files, self)

    @property
    def record(self) -> Any:
        """Refused: the rows of a finished trial do not change."""
        raise _refused("self.record")

    @property
    def directory(self) -> str:
        """Refused: the artifacts of a finished trial do not change."""
        raise _refused("self.directory")

    def load(self, target: Target) -> Any:
        """Return the class or function of a component."""
        return self._outer.load(target)

    def create(self, component: Component) -> None:
        """Create a child."""
        create(component)

    def set_seed(self, seed: int | None) -> None:
        """Seed the random number generators of the current trial."""
        self._outer.set_seed(seed)

    def report_progress(self, i: int, total: int | None) -> None:
        """Report progress as that of the current trial."""
        self._outer.report_progress(i, total)

    def save_checkpoint(self, component: Component, path: str | None, timestep: int | None) -> Any:
        """Refuse: the checkpoints of a finished trial do not change."""
        raise _refused("self.save_checkpoint()")

    def last_checkpoint(self) -> str | None:
        """Return the path of the last checkpoint of the finished trial."""
        path = self._required.last_checkpoint()
        if path is None:
            self.log.warning("%s has saved no checkpoint: it is as on_create left it", self._required.label)
        return path

    def stored_trial(self, place: str) -> Any:
        """Return the finished trial at a place in the storage."""
        return self._outer.stored_trial(place)

    def required_component(self, required: Required) -> Component:
        """Return the component of a requirement of the finished trial."""
        return self._outer.required_component(required)


class _FinishedStore:
    """The artifacts of a finished trial: those methods of `Store` that read."""

    def __init__(self, required: Required) -> None:
        self._required = required

    def read(self, name: str, default: Any = _NOTHING, *, load: Callable[[str], Any] | None = None) -> Any:
        try:
            return self._required.read(name, load=load)
        except MissingArtifact:
            if default is _NOTHING:
                raise
            return default

    def path(self, name: str) -> str:
        return self._required.path(name)

    def has(self, name: str) -> bool:
        names = self._required.names()
        return any(one.startswith(name) for one in names) if name.endswith("/") else name in names

    def __getattr__(self, name: str) -> Any:
        raise _refused(f"self.store.{name}")


def _refused(what: str) -> NotAvailable:
    return NotAvailable(
        f"{what} is not available in a component whose trial has finished",
        given=what,
        todo="What it wrote can be read: self.store.read(name), .path(name), .has(name).",
    )
