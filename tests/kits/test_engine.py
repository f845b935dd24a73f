"""Conformance of the engines `local` and `processes`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from machinable.engines.base import Engine
from machinable.engines.local import LocalEngine
from machinable.engines.processes.pool import ProcessesEngine
from machinable.testing.engine import EngineConformance


class TestLocal(EngineConformance):
    @pytest.fixture
    def engine(self) -> Engine:
        return LocalEngine()


class TestProcesses(EngineConformance):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        engine = ProcessesEngine(2)
        yield engine
        engine.close()


class TestOneProcessForEachTrial(EngineConformance):
    @pytest.fixture
    def engine(self) -> Iterator[Engine]:
        engine = ProcessesEngine(1, recycle=1)
        yield engine
        engine.close()
