"""Sizes, durations and long texts for people."""

from __future__ import annotations

import math
import re
import time
from datetime import datetime, timezone

__all__ = ["format_duration", "format_size", "format_time", "parse_duration", "parse_size", "shortened", "utc_now"]

_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGT]i?)?B?", re.IGNORECASE)
_FACTORS = {
    "": 1,
    **{f"{c}i": 1024 ** (i + 1) for i, c in enumerate("kmgt")},
    **{c: 1000 ** (i + 1) for i, c in enumerate("kmgt")},
}

_second = -1, ""  # the last one that was asked for, and its text

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|min|m|h|d|w)")
_SECONDS = {"ms": 0.001, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 604_800.0}


def format_size(size: float) -> str:
    """Return a number of bytes as text: `812 bytes`, `1.3 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"


def parse_size(text: str) -> float | None:
    """Return the bytes of a size such as `4GiB` or `500MB`; None for other texts."""
    match = _SIZE.fullmatch(text.strip())
    return float(match[1]) * _FACTORS[(match[2] or "").lower()] if match else None


def parse_duration(text: str) -> float | None:
    """Return the seconds of a duration with a unit, such as `500ms`, `1.5 s` or `2h`; None for other texts."""
    match = _DURATION.fullmatch(text.strip())
    return float(match[1]) * _SECONDS[match[2]] if match else None


def format_duration(seconds: float) -> str:
    """Return a duration as text: `40 ms`, `2.35 s`, `12.3 s`, `4 min 10 s`, `3 h 20 min`."""
    if not math.isfinite(seconds):  # from a damaged file
        return f"{seconds} s"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms" if seconds >= 0.00995 else f"{seconds * 1000:.1f} ms"
    if seconds < 9.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def format_time(time: str) -> str:
    """Return a stored time in the local zone: `2026-01-31 10:15:02 CET`."""
    return datetime.fromisoformat(time).astimezone().strftime("%Y-%m-%d %H:%M:%S %Z")


def shortened(text: str, most: int) -> str:
    """Return the beginning and the end of a text up to a length, and the number of omitted characters."""
    if len(text) <= most:
        return text
    return f"{text[: most // 2]} … {len(text) - 2 * (most // 2):,} characters … {text[len(text) - most // 2 :]}"


def utc_now() -> str:
    """Return the time in ISO-8601, UTC, with microseconds."""
    global _second
    second, rest = divmod(time.time_ns(), 10**9)
    known, text = _second
    if second != known:
        text = datetime.fromtimestamp(second, timezone.utc).replace(tzinfo=None).isoformat()
        _second = second, text
    return f"{text}.{rest // 1000:06d}+00:00"
