"""Kits of tests that say when an implementation of one of our protocols is done. They need pytest."""

from machinable.testing.engine import EngineConformance

__all__ = ["EngineConformance"]
