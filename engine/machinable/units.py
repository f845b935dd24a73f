"""Numbers of bytes for people."""

from __future__ import annotations

__all__ = ["shown_size"]


def shown_size(size: float) -> str:
    """`812 bytes`, `1.3 GiB`."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} {unit}" if unit == "bytes" or size >= 100 else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
