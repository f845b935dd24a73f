"""Sizes and durations are formatted for people, and parsed."""

from __future__ import annotations

import time
from datetime import datetime, timezone

import pytest

from machinable.units import format_duration, format_size, format_time, parse_duration, parse_size, utc_now


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (812, "812 bytes"), (1331, "1.3 KiB"), (2**30 * 1.3, "1.3 GiB"), (2**40, "1.0 TiB")],
)
def test_sizes_are_for_people(size: float, text: str) -> None:
    assert format_size(size) == text


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("4GiB", 2**32), (" 1.5 k ", 1500), ("500MB", 5e8), ("2 ki", 2048), ("big", None), ("-1", None)],
)
def test_sizes_are_read_as_people_write_them(text: str, size: float | None) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0.0 ms"),
        (0.0022, "2.2 ms"),
        (0.25, "250 ms"),
        (0.9999, "1.00 s"),
        (9.999, "10.0 s"),
        (59.99, "1 min 0 s"),
        (250, "4 min 10 s"),
        (12_000, "3 h 20 min"),
    ],
)
def test_durations_are_for_people(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1s", 1),
        ("500ms", 0.5),
        ("1.5 min", 90),
        ("30m", 1800),
        (" 2h ", 7200),
        ("1d", 86_400),
        ("1w", 604_800),
        ("5", None),
        ("2 hours", None),
        ("-1s", None),
        ("", None),
    ],
)
def test_durations_are_read_as_people_write_them(text: str, seconds: float | None) -> None:
    assert parse_duration(text) == seconds


def test_the_time_is_that_of_the_clock_as_it_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    for nanoseconds in (0, 1_769_850_902_000_000_999, 1_769_850_902_120_000_000, 1_769_850_903_999_999_999):
        monkeypatch.setattr(time, "time_ns", lambda nanoseconds=nanoseconds: nanoseconds)
        at = datetime.fromtimestamp(nanoseconds // 10**9, timezone.utc).replace(microsecond=nanoseconds // 1000 % 10**6)
        assert utc_now() == at.isoformat(timespec="microseconds")


def test_a_time_is_shown_in_the_local_zone(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
        time.tzset()
        shown = [format_time(f"2026-0{month}-31T23:15:02.120000+00:00") for month in (1, 7)]
    time.tzset()

    assert shown == ["2026-02-01 00:15:02 CET", "2026-08-01 01:15:02 CEST"]
