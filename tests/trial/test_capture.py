"""What a trial prints, logs and raises, as text."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from machinable.component.base import Component
from machinable.config.config import Config
from machinable.trial.capture import captured, error_data, make_logger
from tests.component.worlds import World


class Sink:
    def __init__(self) -> None:
        self.writes: list[str] = []
        self.is_closed = False

    @property
    def text(self) -> str:
        return "".join(self.writes)

    def write(self, text: str) -> None:
        assert not self.is_closed
        self.writes.append(text)

    def close(self) -> None:
        self.is_closed = True


Streams = tuple[io.StringIO, io.StringIO]


def replaced(monkeypatch: pytest.MonkeyPatch) -> Streams:
    """Return readable streams; not a fixture, because pytest restores its own streams before the test."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return out, err


def test_whole_lines_go_to_both_places_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = replaced(monkeypatch)
    sink = Sink()
    with captured(sink, passes=True):
        print("a", end="")
        print("warning", file=sys.stderr)
        print("b\nc")
        sys.stdout.writelines(["d\n", "e"])

    assert sink.writes == ["warning\n", "ab\n", "c\n", "d\n", "e"]
    assert (streams[0].getvalue(), streams[1].getvalue(), sink.is_closed) == ("ab\nc\nd\ne", "warning\n", True)


def test_a_flush_does_not_wait_for_the_end_of_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch)
    sink = Sink()
    with captured(sink, passes=True):
        print("10%", end="\r", flush=True)
        assert sink.writes == ["10%\r"]


def test_output_that_is_only_captured_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = replaced(monkeypatch)
    sink = Sink()
    with captured(sink, passes=False):
        print("x")

    assert (sink.writes, streams[0].getvalue()) == (["x\n"], "")


class BrokenPipe(io.StringIO):
    """A pipe without a reader."""

    buffer = io.BytesIO()

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_broken_pipe_does_not_fail_the_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch)
    monkeypatch.setattr(sys, "stdout", BrokenPipe())
    sink = Sink()
    with captured(sink, passes=True):
        print("a", flush=True)
        sys.stdout.buffer.write(b"b\n")
        print("c")
        held = sys.stdout

    assert sink.writes == ["a\n", "b\n", "c\n"]
    with pytest.raises(BrokenPipeError):
        held.write("after the trial it is only another name of the pipe")


@pytest.mark.parametrize("ends_badly", [False, True])
def test_the_streams_are_restored_after_success_and_failure(ends_badly: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = replaced(monkeypatch)
    sink = Sink()
    try:
        with captured(sink, passes=True):
            tee = sys.stdout
            sys.stdout = io.StringIO()
            if ends_badly:
                raise SystemExit
    except SystemExit:
        pass

    assert (sys.stdout, sys.stderr) == streams
    tee.write("late\n")  # other code has kept the stream
    tee.flush()
    assert (streams[0].getvalue(), sink.writes) == ("late\n", [])


def test_output_is_captured_even_without_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    sink = Sink()
    with captured(sink, passes=True):
        print("x", flush=True)

    assert sink.writes == ["x\n"] and sys.stdout is None


def test_bytes_and_other_attributes_work_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    sink = Sink()
    with captured(sink, passes=True):
        print("ä")
        sys.stdout.buffer.write(b"b\xff\n")
        sys.stdout.buffer.flush()
        assert (sys.stdout.encoding, sys.stdout.isatty(), sys.stdout.buffer.readable()) == ("utf-8", False, True)
        with pytest.raises(TypeError, match="must be str, not bytes"):
            sys.stdout.write(b"x")  # type: ignore[arg-type]

    assert (sink.writes, raw.getvalue()) == (["ä\n", "b\\xff\n"], "ä\n".encode() + b"b\xff\n")


def test_output_of_a_trial_is_in_its_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = replaced(monkeypatch)

    class Prints(Component):
        def on_execute(self) -> None:
            print("out \udc80")
            print("err", file=sys.stderr, end="")
            sys.stdout = None
            raise ValueError

        def on_failure(self, exception: BaseException) -> None:
            print("failed", file=sys.stderr)

    world = World(Prints, capture="tee")

    assert world.text("output.log") == "out \\udc80\nerrfailed\n"
    assert (streams[1].getvalue(), sys.stdout, sys.stderr) == ("errfailed\n", *streams)
    assert "output.log" not in World(Component, capture="tee").names()


def test_a_program_that_a_component_starts_writes_to_the_original_stream(capfd: pytest.CaptureFixture[str]) -> None:
    class Starts(Component):
        def on_execute(self) -> None:
            subprocess.run([sys.executable, "-c", "print('from below')"], stdout=sys.stdout, check=True)

    stream = os.fdopen(os.dup(1), "w")
    before, sys.stdout = sys.stdout, stream
    try:
        world = World(Starts, capture="tee")
    finally:
        sys.stdout = before
        stream.close()

    assert world.ended.error is None
    assert capfd.readouterr().out == "from below\n"


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
    logger = make_logger("x", sink, str)
    logger.info("text %d", 1)
    logger.debug("not this")
    logger.warning("two\nlines")

    assert sink.text == "2026-01-31 09:15:02 INFO text 1\n2026-01-31 09:15:02 WARNING two\nlines\n"


def test_a_logger_is_not_registered_and_does_not_propagate(caplog: pytest.LogCaptureFixture) -> None:
    logger = make_logger("machinable.only-here", Sink(), str)
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


def raised(make: object) -> BaseException:
    try:
        make()  # type: ignore[operator]
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_an_error_is_its_type_message_and_traceback() -> None:
    def fails() -> None:
        raise ValueError("no\nreally")

    data = error_data(raised(fails))

    assert (data["type"], data["message"], set(data)) == ("ValueError", "no\nreally", {"type", "message", "traceback"})
    assert data["traceback"].startswith("Traceback (most recent call last):\n")
    assert data["traceback"].endswith('    raise ValueError("no\\nreally")\nValueError: no\nreally\n')


def test_the_middle_of_a_huge_error_is_left_out_with_its_length() -> None:
    data = error_data(ValueError("a" * 50_000_000 + "z"))

    assert data["message"] == f"{'a' * 50_000} … 49,900,001 characters … {'a' * 49_999}z"
    assert len(data["traceback"]) < 200_100 and data["traceback"].endswith("az\n")


class NoText(Exception):
    def __str__(self) -> str:
        raise SystemExit("worse")


class NoArguments(Exception):
    def __init__(self, one: int, two: int) -> None:
        self.text = f"{one} {two}"


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (NoText(), "<no message: its __str__ raised SystemExit>"),
        (NoArguments(1, 2), "(1, 2)"),
        (KeyError("x"), "'x'"),
        (RuntimeError("\udc80"), "\udc80"),
        (SystemExit(), ""),
    ],
)
def test_unusual_errors_are_described(error: BaseException, message: str) -> None:
    data = error_data(error)

    assert (data["type"], data["message"]) == (type(error).__name__, message)
    assert type(error).__name__ in data["traceback"]


def test_frames_of_this_package_are_left_out() -> None:
    class Methods:
        def rate(self) -> int:
            raise ValueError("inside the method")

    config = Config({"x": "rate()"}, methods=lambda name: getattr(Methods(), name))

    def reads() -> None:
        config.x  # noqa: B018

    trace = error_data(raised(reads))["traceback"]
    assert "in reads" in trace and "in rate" in trace
    assert "config.py" not in trace and "method_calls.py" not in trace


def test_causes_are_described_with_their_frames() -> None:
    def first() -> None:
        Config({})["missing"]

    def second() -> None:
        try:
            first()
        except KeyError as error:
            raise RuntimeError("second") from error

    trace = error_data(raised(second))["traceback"]
    assert (
        "in first" in trace and "direct cause" in trace and "RuntimeError: second" in trace and "config.py" not in trace
    )


def test_a_failed_trial_shows_the_frames_of_its_component_only() -> None:
    class Fails(Component):
        def on_execute(self) -> None:
            self.store.write("a.unknown", 1)

    error = World(Fails).ended.error

    assert error is not None and error["type"] == "BadName"
    assert error["traceback"].count("  File ") == 1 and "in on_execute" in error["traceback"]


def test_a_deep_recursion_is_described_briefly() -> None:
    class Deep(Component):
        def on_execute(self) -> object:
            return self.on_execute()

    error = World(Deep).ended.error

    assert error is not None and error["type"] == "RecursionError"
    assert "more times" in error["traceback"] and len(error["traceback"]) < 5000
