"""Conformance of the engine `ray`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from machinable.engines.base import Engine
from machinable.engines.ray.engine import RayEngine
from machinable.testing.engine import EngineConformance


@pytest.fixture(scope="module")
def shared(ray_cluster: None) -> Iterator[RayEngine]:
    """Return one engine for all tests, because workers take a second to start."""
    engine = RayEngine()
    yield engine
    engine.close()


class TestRay(EngineConformance):
    @pytest.fixture
    def engine(self, shared: RayEngine) -> Engine:
        return shared
