"""The kit for engines, held against Ray."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from machinable.engines.base import Engine
from machinable.engines.ray.engine import RayEngine
from machinable.testing.engine import EngineConformance


@pytest.fixture(scope="module")
def shared(ray_cluster: None) -> Iterator[RayEngine]:
    """Workers take a second to start, so all tests have the same ones."""
    engine = RayEngine()
    yield engine
    engine.close()


class TestRay(EngineConformance):
    @pytest.fixture
    def engine(self, shared: RayEngine) -> Engine:
        return shared
