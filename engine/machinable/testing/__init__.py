"""Fixtures for tests of components, and conformance tests for implementations of our base classes. They need pytest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from machinable.testing.engine import EngineConformance

__all__ = ["EngineConformance"]


def __getattr__(name: str) -> Any:
    if name in __all__:  # late: pytest imports this package for its fixtures, also in tests that use nothing of it
        from machinable.testing import engine

        return getattr(engine, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
