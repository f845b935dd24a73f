"""Components that live on in a trial that requires them: they read what their own trial has left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from machinable.component.base import Component, Part, TrialContext
from machinable.component.imports import Code, load_mixin
from machinable.component.requirements import Required, Requires
from machinable.errors import InvalidType, MissingArtifact, NotAvailable
from machinable.plan.spec import Requirement, Target, spec_from_data
from machinable.trial.children import construct, create

if TYPE_CHECKING:
    import logging

    from machinable.component.shared import SharedData

__all__ = ["load_instance"]

_NOTHING: Any = object()


def load_instance(
    required: Required, outer: TrialContext, around: TrialContext, find: Callable[[Target], Code], project: str | None
) -> Component:
    """The component of a requirement, constructed and created as its trial did it; `on_load` is not called yet.

    Args:
        outer: the trial that requires it. around: what that trial lends to requirements. find: finds code.
        project: the project's directory.

    Raises:
        InvalidType: it is a function.
    """
    spec = required.requirement.spec or spec_from_data(required.description)
    code = find(spec.target)
    if not isinstance(code, type):
        raise InvalidType(
            f"{spec.component} is a function, which does not live on",
            given=spec.component,
            todo="Read what it has written, or make it a class.",
        )
    part = Part(FinishedTrialContext(required, outer, around), spec.definition, is_child=False)
    flags = {**spec.flags, "ATTEMPT": required.status["attempt"], "TUNING": False, "CHILD_ALIAS": {}}
    mixins = {mixin.attribute: (lambda mixin=mixin: load_mixin(mixin, project)) for mixin in spec.definition.mixins}
    component = construct(code, part, spec.definition, flags, None, mixins=mixins, tags=spec.tags)
    component.children = []  # requirements have none
    part.is_started = True
    create(component)
    return component


class FinishedTrialContext:
    """What such a component finds in `self`: what its trial has left, and the log of the one that requires it."""

    def __init__(self, required: Required, outer: TrialContext, around: TrialContext) -> None:
        self._required = required
        self._outer = outer
        self._around = around

    @property
    def log(self) -> logging.Logger:
        return self._outer.log

    @property
    def commons(self) -> SharedData:
        return self._outer.commons

    @cached_property
    def store(self) -> Any:
        return _RequiredContext(self._required)

    @cached_property
    def requires(self) -> Mapping[str, Any]:
        needs = self._required.description["requires"]
        found = {name: Requirement(**needed) for name, needed in needs.items()}
        return Requires(found, self._required.files, self._around)

    @property
    def record(self) -> Any:
        raise _refused("self.record")

    @property
    def directory(self) -> str:
        raise _refused("self.directory")

    def create(self, component: Component) -> None:
        create(component)

    def set_seed(self, seed: int | None) -> None:
        self._outer.set_seed(seed)

    def progress(self, i: int, total: int | None) -> None:
        self._outer.progress(i, total)

    def save_checkpoint(self, component: Component, path: str | None, timestep: int | None) -> Any:
        raise _refused("self.save_checkpoint()")

    def stored_trial(self, place: str) -> Any:
        return self._around.stored_trial(place)

    def required_component(self, required: Any) -> Component:
        return self._around.required_component(required)

    def last_checkpoint(self) -> str | None:
        path = self._required.last_checkpoint()
        if path is None:
            self.log.warning("%s has saved no checkpoint: it is as on_create left it", self._required.label)
        return path


class _RequiredContext:
    """The artifacts of a trial that is over."""

    def __init__(self, required: Required) -> None:
        self._required = required

    def read(self, name: str, default: Any = _NOTHING, *, load: Callable[[str], Any] | None = None) -> Any:
        """As `Store.read`."""
        try:
            return self._required.read(name, load=load)
        except MissingArtifact:
            if default is _NOTHING:
                raise
            return default

    def path(self, name: str) -> str:
        """As `Store.path`, of what is there."""
        return self._required.path(name)

    def has(self, name: str) -> bool:
        """As `Store.has`."""
        names = self._required.names()
        return any(one.startswith(name) for one in names) if name.endswith("/") else name in names

    def __getattr__(self, name: str) -> Any:
        raise _refused(f"self.store.{name}")


def _refused(what: str) -> NotAvailable:
    return NotAvailable(
        f"{what} is not there for a component whose trial is over",
        given=what,
        todo="What it has written can be read: self.store.read(name), .path(name), .has(name).",
    )
