"""Declare components in machinable.yaml, compose them into tasks, execute them anywhere, read everything back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import machinable.component.import_times  # noqa: F401  # before users import modules that they edit later

if TYPE_CHECKING:
    from machinable import errors
    from machinable.component.base import Component, Mixin
    from machinable.component.cached import cached
    from machinable.engines.base import Engine
    from machinable.execution.execute import execute
    from machinable.plan.declared import Project
    from machinable.plan.grid import grid
    from machinable.plan.plan import Plan
    from machinable.plan.task import Task
    from machinable.results.execution import Execution
    from machinable.results.storage import Storage
    from machinable.search.domains import choice, lograndint, loguniform, quniform, randint, uniform

__version__ = "0.1.0"
__all__ = [
    "Component",
    "Engine",
    "Execution",
    "Mixin",
    "Plan",
    "Project",
    "Storage",
    "Task",
    "__version__",
    "cached",
    "choice",
    "errors",
    "execute",
    "grid",
    "lograndint",
    "loguniform",
    "quniform",
    "randint",
    "uniform",
]

# Imported on first use: a command that shows its help needs none of them.
_MODULES = {
    "Component": "machinable.component.base",
    "Engine": "machinable.engines.base",
    "Execution": "machinable.results.execution",
    "Mixin": "machinable.component.base",
    "Plan": "machinable.plan.plan",
    "Project": "machinable.plan.declared",
    "Storage": "machinable.results.storage",
    "Task": "machinable.plan.task",
    "cached": "machinable.component.cached",
    "choice": "machinable.search.domains",
    "execute": "machinable.execution.execute",
    "grid": "machinable.plan.grid",
    "lograndint": "machinable.search.domains",
    "loguniform": "machinable.search.domains",
    "quniform": "machinable.search.domains",
    "randint": "machinable.search.domains",
    "uniform": "machinable.search.domains",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "errors":
        return import_module("machinable.errors")
    if name not in _MODULES:
        from machinable.former_names import MODULE, no_attribute

        raise no_attribute("module 'machinable'", name, MODULE)
    from machinable.serialization import without_collections

    with without_collections():  # what is imported stays
        value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
