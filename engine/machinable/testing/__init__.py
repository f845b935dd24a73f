"""Fixtures for tests of components, and conformance tests for implementations of our base classes. They need pytest."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from machinable.testing.engine import EngineConformance
    from machinable.testing.fixtures import run_trial, temporary_project
    from machinable.testing.sampler import SamplerConformance

__all__ = ["EngineConformance", "SamplerConformance", "run_trial", "temporary_project"]

_MODULES = {
    "EngineConformance": "engine",
    "SamplerConformance": "sampler",
    "run_trial": "fixtures",
    "temporary_project": "fixtures",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:  # late: tests of components need no conformance tests
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
