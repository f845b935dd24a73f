"""Pictures: bytes, and figures with a `savefig` such as those of matplotlib."""

from __future__ import annotations

from typing import Any

from machinable.storage.formats.base import Format, UnsupportedData, type_name

__all__ = ["PDF", "PICTURE", "PNG", "SVG"]

# A figure would also write the time, so that files of the same picture would differ.
_WITHOUT_TIME: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def _dump_bytes(data: Any) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise UnsupportedData(type_name(data))
    return bytes(data)


def _drawn(data: Any, extension: str) -> bytes:
    if not callable(getattr(data, "savefig", None)) or isinstance(data, type):
        return _dump_bytes(data)
    from io import BytesIO

    buffer = BytesIO()
    if not any(kind.__module__.startswith("matplotlib.") for kind in type(data).__mro__):
        data.savefig(buffer, format=extension)
        return buffer.getvalue()
    from importlib import import_module

    # Without it the ids in a drawing are random.
    with import_module("matplotlib").rc_context({"svg.hashsalt": "machinable"}):
        data.savefig(buffer, format=extension, metadata=_WITHOUT_TIME[extension])
    return buffer.getvalue()


def _figure(extension: str) -> Format:
    return Format("bytes or a figure of matplotlib", lambda data: _drawn(data, extension), bytes)


PICTURE = Format("bytes", _dump_bytes, bytes)
PNG, PDF, SVG = _figure("png"), _figure("pdf"), _figure("svg")
