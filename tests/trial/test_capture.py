"""Where a trial's output goes, and that it comes back."""

from __future__ import annotations

import io
import os
import subprocess
import sys

import pytest

from machinable.component.base import Component
from machinable.trial.capture import Capture
from tests.component.worlds import World


class Sink:
    def __init__(self) -> None:
        self.writes: list[str] = []
        self.is_closed = False

    def write(self, text: str) -> None:
        assert not self.is_closed
        self.writes.append(text)

    def close(self) -> None:
        self.is_closed = True


Streams = tuple[io.StringIO, io.StringIO]


def replaced(monkeypatch: pytest.MonkeyPatch) -> Streams:
    """Streams to look into; not in a fixture, since pytest has its own ones put back before the test."""
    out, err = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    return out, err


def test_whole_lines_go_to_both_places_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = replaced(monkeypatch)
    sink = Sink()
    with Capture(sink, passes=True):
        print("a", end="")
        print("warning", file=sys.stderr)
        print("b\nc")
        sys.stdout.writelines(["d\n", "e"])

    assert sink.writes == ["warning\n", "ab\n", "c\n", "d\n", "e"]
    assert (streams[0].getvalue(), streams[1].getvalue(), sink.is_closed) == ("ab\nc\nd\ne", "warning\n", True)


def test_a_flush_does_not_wait_for_the_end_of_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch)
    sink = Sink()
    with Capture(sink, passes=True):
        print("10%", end="\r", flush=True)
        assert sink.writes == ["10%\r"]


def test_output_that_is_only_captured_is_not_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    streams = replaced(monkeypatch)
    sink = Sink()
    with Capture(sink, passes=False):
        print("x")

    assert (sink.writes, streams[0].getvalue()) == (["x\n"], "")


class Left(io.StringIO):
    """A pipe whose reader has left."""

    buffer = io.BytesIO()

    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


def test_a_reader_that_has_left_is_no_reason_to_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    replaced(monkeypatch)
    monkeypatch.setattr(sys, "stdout", Left())
    sink = Sink()
    with Capture(sink, passes=True):
        print("a", flush=True)
        sys.stdout.buffer.write(b"b\n")
        print("c")
        held = sys.stdout

    assert sink.writes == ["a\n", "b\n", "c\n"]
    with pytest.raises(BrokenPipeError):
        held.write("after the trial it is only another name of the pipe")


@pytest.mark.parametrize("ends_badly", [False, True])
def test_the_streams_come_back_whatever_happens(ends_badly: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = replaced(monkeypatch)
    sink = Sink()
    try:
        with Capture(sink, passes=True):
            tee = sys.stdout
            sys.stdout = io.StringIO()  # the component puts its own there
            if ends_badly:
                raise SystemExit
    except SystemExit:
        pass

    assert (sys.stdout, sys.stderr) == streams
    tee.write("late\n")  # somebody has kept the stream
    tee.flush()
    assert (streams[0].getvalue(), sink.writes) == ("late\n", [])


def test_output_is_captured_without_streams_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    sink = Sink()
    with Capture(sink, passes=True):
        print("x", flush=True)

    assert sink.writes == ["x\n"] and sys.stdout is None


def test_bytes_and_other_attributes_work_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8"))
    sink = Sink()
    with Capture(sink, passes=True):
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
