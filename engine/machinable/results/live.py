"""Components of stored trials, live in this process: `trial.live()` in a notebook."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
from functools import cached_property, partial
from typing import Any

from msgspec.structs import replace

from machinable.component.base import Component, Context
from machinable.component.children import create
from machinable.component.imports import Code, importing, load_component
from machinable.component.required_component import load_required_component
from machinable.component.requirements import Required
from machinable.errors import NotAvailable
from machinable.plan.planner import definition_of_stored
from machinable.plan.spec import Places, Requirement, Target, TrialSpec, spec_from_data
from machinable.project import Project
from machinable.storage import layout
from machinable.storage.documents import TRIAL, read_document
from machinable.storage.files import Files

__all__ = ["live_component"]


def live_component(
    description: Mapping[str, Any],
    place: str,
    files: Files,
    trial_at: Callable[[str], Any],
    *,
    trust: bool,
    project: str | os.PathLike[str] | None,
) -> Component:
    """Return the component of a finished trial, created in this process, after `on_load()`; see `Trial.live`.

    Args:
        description: The content of its trial.json.
        place: Where its files are: `OY1p1o/9c2EapVGXnPH`.
        files: The storage.
        trial_at: Returns the stored trial at a place.
        trust: Whether its pickles may be read.
        project: The directory with the code.
    """
    where = Project(project)
    spec = spec_from_data(description)
    with importing(where.path):
        spec = replace(spec, definition=definition_of_stored(description, where))
        requirement = Requirement(spec.component, spec.uid, spec.identity, place=place, spec=spec)
        context = LiveContext(
            replace(spec, indirect=Places(partial(_places_behind, files, place))), files, where.path, trial_at, trust
        )
        return Required(place, requirement, files, context, {}).component  # type: ignore[no-any-return]


class LiveContext(Context):
    """What a live component finds in `self` outside of a trial: only what a finished trial has."""

    def __init__(
        self, spec: TrialSpec, files: Files, project: str, trial_at: Callable[[str], Any], trust: bool
    ) -> None:
        self.spec = spec
        self.files = files
        self.project = project
        self._trial_at = trial_at
        self.trust = trust

    @cached_property
    def log(self) -> logging.Logger:
        """The logger of the package: there is no log file."""
        return logging.getLogger("machinable.live")

    def load(self, target: Target) -> Code:
        """Return the class or function of a component."""
        return load_component(target, self.project)

    def create(self, component: Component) -> None:
        """Create a child."""
        create(component)

    def inputs_of(self, name: str, requirement: Requirement) -> dict[str, str]:
        """Return a mapping for the digests of what is read, which no trial records."""
        return {}

    def stored_trial(self, place: str) -> Any:
        """Return a stored trial of the same storage."""
        return self._trial_at(place)

    def required_component(self, required: Required) -> Component:
        """Return the component of a requirement, created in this process."""
        return load_required_component(required, self)

    def __getattr__(self, name: str) -> Any:
        raise NotAvailable(
            f"self.{name} exists only while a trial runs",
            given=name,
            todo="The component of a stored trial was loaded to be looked at: execute it in a task to run it.",
        )


def _places_behind(files: Files, place: str) -> dict[str, str]:
    """Return where the results are that a trial required, directly and indirectly, by identity."""
    found: dict[str, str] = {}
    waiting = [place]
    while waiting:
        folder = layout.folder_of(waiting.pop())
        facts = read_document(files, layout.join(folder, layout.TRIAL), TRIAL) or {}
        for needed in (facts.get("requires") or {}).values():
            if needed.get("place") and needed["identity"] not in found:
                found[needed["identity"]] = needed["place"]
                waiting.append(needed["place"])
    return found
