"""Arrays of numpy, single and by name. Nothing is unpickled."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from machinable.storage.formats.base import Format, UnsupportedData, type_name

__all__ = ["ARRAY", "ARRAYS"]


def _checked_array(data: Any, place: str = "") -> Any:
    numpy = sys.modules.get("numpy")  # imported if there is an array
    if numpy is None or not isinstance(data, numpy.ndarray):
        raise UnsupportedData(type_name(data) + place)
    if isinstance(data, numpy.ma.MaskedArray):
        raise UnsupportedData(f"a masked array{place}, whose mask would be lost")
    array = numpy.asarray(data)
    if array.dtype.hasobject:
        raise UnsupportedData(f"an array of Python objects{place}, which only a pickle can store")
    return array


def _dump_array(data: Any) -> bytes:
    from io import BytesIO

    array = _checked_array(data)
    import numpy

    buffer = BytesIO()
    try:
        numpy.save(buffer, array, allow_pickle=False)
    except ValueError as error:
        raise UnsupportedData(f"an array of {array.dtype}: {error}") from error
    return buffer.getvalue()


def _load_array(data: bytes) -> Any:
    from io import BytesIO

    import numpy

    return numpy.load(BytesIO(data), allow_pickle=False)


def _dump_arrays(data: Any) -> bytes:
    from io import BytesIO
    from zipfile import ZipFile, ZipInfo

    if not isinstance(data, Mapping):
        raise UnsupportedData(type_name(data))
    if unnamed := [key for key in data if not isinstance(key, str)]:
        raise UnsupportedData(f"a mapping with the key {unnamed[0]!r}")
    arrays = {key: _dump_array(_checked_array(value, f" at {key}")) for key, value in data.items()}
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:  # numpy.savez cannot store an array called "file"
        for key, content in arrays.items():
            archive.writestr(ZipInfo(key + ".npy"), content)
    return buffer.getvalue()


def _load_arrays(data: bytes) -> dict[str, Any]:
    from io import BytesIO
    from zipfile import ZipFile

    with ZipFile(BytesIO(data)) as archive:
        return {name.removesuffix(".npy"): _load_array(archive.read(name)) for name in archive.namelist()}


ARRAY = Format("an array of numpy", _dump_array, _load_array)
ARRAYS = Format("a mapping of names to arrays of numpy", _dump_arrays, _load_arrays)
