"""Conformance tests for implementations of our base classes. They need pytest."""

from machinable.testing.engine import EngineConformance

__all__ = ["EngineConformance"]
