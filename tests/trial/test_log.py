"""A trial's log."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from machinable.component.base import Component
from machinable.trial import log
from machinable.trial.log import make_logger
from tests.component.worlds import World


class Sink:
    def __init__(self) -> None:
        self.text = ""
        self.is_closed = False

    def write(self, text: str) -> None:
        self.text += text

    def close(self) -> None:
        self.is_closed = True


@pytest.fixture
def far_from_greenwich() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", "America/New_York")
        getattr(time, "tzset", int)()
        yield
    getattr(time, "tzset", int)()


@pytest.mark.usefixtures("far_from_greenwich")
def test_a_line_has_time_level_and_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1769850902_120_000_000)
    monkeypatch.setattr(time, "time", lambda: 1769850902.12)
    sink = Sink()
    logger = make_logger("x", sink)
    logger.info("text %d", 1)
    logger.debug("not this")
    logger.warning("two\nlines")

    assert sink.text == "2026-01-31 09:15:02 INFO text 1\n2026-01-31 09:15:02 WARNING two\nlines\n"


def test_a_logger_is_not_registered_and_does_not_propagate(caplog: pytest.LogCaptureFixture) -> None:
    logger = make_logger("machinable.only-here", Sink())
    logger.error("x")

    assert (caplog.records, logger.propagate, logger.level) == ([], False, logging.INFO)
    assert "machinable.only-here" not in logging.Logger.manager.loggerDict


def test_components_and_mixins_log_into_the_folder_of_the_trial() -> None:
    class Logs(Component):
        def on_start(self) -> None:
            self.log.info("started")

        def on_execute(self) -> None:
            try:
                raise ValueError("no")
            except ValueError:
                self.log.exception("caught")

    text = World(Logs).text("log.txt")

    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d INFO started", text.splitlines()[0])
    assert text.splitlines()[1].endswith(" ERROR caught") and text.endswith("ValueError: no\n")
    assert "log.txt" not in World(Component).names()


def test_closing_the_handler_closes_the_file() -> None:
    sink = Sink()
    logger: Any = make_logger("x", sink)
    logger.handlers[0].close()

    assert sink.is_closed and isinstance(logger.handlers[0], log.LogHandler)
