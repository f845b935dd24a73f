"""What the code of exported trials finds as `machinable`: components and mixins, and nothing that plans or stores.

The files of this package are copied into exported folders, so they import nothing but each other.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import errors  # noqa: TID252 - the package has another name there
from .components import Component, Mixin, cached  # noqa: TID252
from .values import Config  # noqa: TID252

__all__ = ["Component", "Config", "Mixin", "cached", "errors", "execute"]

__version__ = "exported"


def execute(task: Any = None, *arguments: Any, **options: Any) -> Callable[..., Any]:
    """As a decorator it leaves the function as it is; nothing else can be executed here."""
    if callable(task) and not isinstance(task, type) and not arguments and not options:
        return task  # type: ignore[no-any-return]
    raise RuntimeError("this is an exported folder: python run.py repeats its trials, all else needs machinable")


class _Absent:
    """A name that modules may import, and that cannot be used here."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        raise RuntimeError(f"{type(self).__name__} is not in an exported folder: it needs machinable")


Task = type("Task", (_Absent,), {})
Storage = type("Storage", (_Absent,), {})
Project = type("Project", (_Absent,), {})
Plan = type("Plan", (_Absent,), {})
Execution = type("Execution", (_Absent,), {})
Engine = type("Engine", (_Absent,), {})
