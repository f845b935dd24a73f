"""Create the components of finished trials again, in a trial that requires them, to read their results."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from msgspec.structs import replace

from machinable.component.base import Component, Context, saver_of, state_of
from machinable.component.children import construct, create, make_children
from machinable.component.requirements import Required, Requires
from machinable.errors import InvalidType, MissingArtifact, NotAvailable
from machinable.plan.spec import requirement_from_data, spec_from_data
from machinable.storage.artifacts import NOTHING

__all__ = ["load_required_component"]


def load_required_component(required: Required, context: Context) -> Component:
    """Construct and create the component of a requirement as its trial did, without calling `on_load`.

    Raises:
        InvalidType: It is a function.
    """
    finished = FinishedTrialContext(required, context)
    code = context.load(finished.spec.definition.target)
    if not isinstance(code, type):
        raise InvalidType(
            f"{finished.spec.component} is a function, so there is no component",
            given=finished.spec.component,
            todo="Read its results, or make it a class.",
        )
    component = construct(code, finished)
    state_of(component).is_started = True
    make_children(component, finished)
    create(component)
    return component


class FinishedTrialContext(Context):
    """The attributes in `self` of a required component: results of its trial, otherwise those of the current one."""

    def __init__(self, required: Required, outer: Context) -> None:
        spec = required.requirement.spec or spec_from_data(required.description)
        self.spec = replace(spec, attempt=required.status["attempt"], indirect=outer.spec.indirect)
        self._required = required
        self._outer = outer
        self.trust = outer.trust

    def __getattr__(self, name: str) -> Any:
        if name in ("record", "directory"):  # rows and artifacts of a finished trial do not change
            raise _refused(f"self.{name}")
        return getattr(self._outer, name)

    @cached_property
    def store(self) -> Any:
        """The artifacts of the finished trial."""
        return _FinishedStore(self._required)

    @cached_property
    def requires(self) -> Mapping[str, Any]:
        """The current results of the finished trial's requirements; those that it read may be older."""
        places = self.spec.indirect
        found = {
            name: requirement_from_data({**needed, "place": places.get(needed["identity"])})
            for name, needed in self._required.description["requires"].items()
        }
        return Requires(found, self.files, self, f"{self._required.name}.")

    def resume_component(self, component: Component) -> None:
        """Let a child restore the last checkpoint that it saved, when it is created."""
        path = self._required.last_checkpoint(saver_of(component))
        if path is not None:
            component.flags["CHECKPOINT"] = path

    def save_checkpoint(self, component: Component, path: str | None, timestep: int | None) -> Any:
        """Raise an error: the checkpoints of a finished trial do not change."""
        raise _refused("self.save_checkpoint()")

    def last_checkpoint(self) -> str | None:
        """Return the path of the last checkpoint of the finished trial."""
        path = self._required.last_checkpoint()
        if path is None:
            self.log.warning("%s has saved no checkpoint: it is as on_create left it", self._required.label)
        return path


class _FinishedStore:
    """The artifacts of a finished trial, with the reading methods of `Store`."""

    def __init__(self, required: Required) -> None:
        self._required = required
        self.path = required.path

    def read(self, name: str, default: Any = NOTHING, *, load: Callable[[str], Any] | None = None) -> Any:
        try:
            return self._required.read(name, load=load)
        except MissingArtifact:
            if default is NOTHING:
                raise
            return default

    def has(self, name: str) -> bool:
        names = self._required.files
        return any(one.startswith(name) for one in names) if name.endswith("/") else name in names

    def __getattr__(self, name: str) -> Any:
        raise _refused(f"self.store.{name}")


def _refused(what: str) -> NotAvailable:
    return NotAvailable(
        f"{what} is not available in a component whose trial has finished",
        given=what,
        todo="What it wrote can be read: self.store.read(name), .path(name), .has(name).",
    )
