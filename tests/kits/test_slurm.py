"""Conformance of the engine `slurm`, with jobs that are processes of this host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from machinable.engines.base import Engine
from machinable.engines.slurm.engine import SlurmEngine
from machinable.testing.engine import EngineConformance


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmEngine]:
    """Return one engine for all tests, because jobs take a second to start."""
    engine = SlurmEngine(cluster="local", slots=2, folder=str(tmp_path_factory.mktemp("jobs")))
    yield engine
    engine.close()


class TestSlurm(EngineConformance):
    @pytest.fixture
    def engine(self, shared: SlurmEngine) -> Engine:
        return shared
