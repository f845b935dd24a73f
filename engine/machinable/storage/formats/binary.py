"""Binary formats: numpy arrays, pictures, and pickles."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from io import BytesIO
from typing import Any

from machinable.storage.formats import Format, UnsupportedData, type_name

__all__ = ["ARRAY", "ARRAYS", "BYTES", "PDF", "PICKLE", "PNG", "SVG"]


def _dump_bytes(data: Any) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise UnsupportedData(type_name(data))
    return bytes(data)


def _dump_array(data: Any, place: str = "") -> bytes:
    numpy = sys.modules.get("numpy")  # imported if there is an array
    if numpy is None or not isinstance(data, numpy.ndarray):
        raise UnsupportedData(type_name(data) + place)
    if isinstance(data, numpy.ma.MaskedArray):
        raise UnsupportedData(f"a masked array{place}, whose mask would be lost")
    array = numpy.asarray(data)
    if array.dtype.hasobject:
        raise UnsupportedData(f"an array of Python objects{place}, which only a pickle can store")
    buffer = BytesIO()
    numpy.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _load_array(data: bytes) -> Any:
    import numpy

    return numpy.load(BytesIO(data), allow_pickle=False)


def _dump_arrays(data: Any) -> bytes:
    from zipfile import ZipFile, ZipInfo

    if not isinstance(data, Mapping):
        raise UnsupportedData(type_name(data))
    if unnamed := [key for key in data if not isinstance(key, str)]:
        raise UnsupportedData(f"a mapping with the key {unnamed[0]!r}")
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:  # numpy.savez cannot store an array called "file"
        for key, value in data.items():
            archive.writestr(ZipInfo(key + ".npy"), _dump_array(value, f" at {key}"))
    return buffer.getvalue()


def _load_arrays(data: bytes) -> dict[str, Any]:
    from zipfile import ZipFile

    with ZipFile(BytesIO(data)) as archive:
        return {name.removesuffix(".npy"): _load_array(archive.read(name)) for name in archive.namelist()}


# A figure would also write the time, so that files of the same picture would differ.
_WITHOUT_TIME: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}


def _figure(extension: str) -> Format:
    def dump(data: Any) -> bytes:
        if not callable(getattr(data, "savefig", None)) or isinstance(data, type):
            return _dump_bytes(data)
        buffer = BytesIO()
        if not any(kind.__module__.startswith("matplotlib.") for kind in type(data).__mro__):
            data.savefig(buffer, format=extension)
            return buffer.getvalue()
        # Without a salt the ids in a drawing are random.
        with sys.modules["matplotlib"].rc_context({"svg.hashsalt": "machinable"}):
            data.savefig(buffer, format=extension, metadata=_WITHOUT_TIME[extension])
        return buffer.getvalue()

    return Format("bytes or a matplotlib figure", dump, bytes)


BYTES = Format("bytes", _dump_bytes, bytes)
PNG, PDF, SVG = _figure("png"), _figure("pdf"), _figure("svg")
ARRAY = Format("a numpy array", _dump_array, _load_array)
ARRAYS = Format("a mapping of names to numpy arrays", _dump_arrays, _load_arrays)
PICKLE = Format("data that can be pickled", lambda data: pickle.dumps(data, protocol=5), pickle.loads, runs_code=True)
