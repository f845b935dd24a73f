"""Checkpoints: `on_save` stores a component's state, into the trial's folder unless it is told where."""

from __future__ import annotations

import os
from typing import Any

from machinable.component.base import Component, Part
from machinable.component.folder import LocalFolder
from machinable.errors import InvalidType
from machinable.storage.layout import CHECKPOINTS, join

__all__ = ["save"]


def save(component: Component, path: str | None, timestep: int | None, folder: LocalFolder) -> tuple[Any, str | None]:
    """Let the component save its state.

    Args:
        path: where to; None: the folder of checkpoints. timestep: None: the number of successful saves so far.

    Returns:
        The name of what was saved or False, and the name to be stored: relative to the trial if it lies in it.
    """
    part: Part = component.__dict__["__machinable__"]
    place = folder.open() if path is None else os.fspath(path)
    saved = component.on_save(place, part.saves if timestep is None else timestep)
    if saved is False:
        return False, None
    if saved is None:
        saved = place
    if not isinstance(saved, (str, os.PathLike)):
        raise InvalidType(
            f"on_save returned {saved!r}", given=saved,
            todo="It returns the name of what was saved, None for the path that it got, or False for nothing saved.",
        )  # fmt: skip
    part.saves += 1
    folder.sync()
    name = os.fspath(saved)
    if path is not None:
        return saved, name
    relative = os.path.relpath(os.path.join(place, name), place)
    if relative.split(os.sep)[0] == os.pardir:
        return saved, name
    return saved, join(CHECKPOINTS, "" if relative == os.curdir else relative.replace(os.sep, "/"))
