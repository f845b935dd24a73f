"""Binary formats: numpy arrays, pictures, and pickles."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from typing import Any

from machinable.errors import NotAvailable
from machinable.storage.formats import Format, UnsupportedData, type_name

__all__ = ["ARRAY", "ARRAYS", "BYTES", "JPEG", "PDF", "PICKLE", "PNG", "SVG", "load_cloudpickle"]


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


_ONE = b"one array"  # the comment of an archive whose array is read as such


def _dump_arrays(data: Any) -> bytes:
    from zipfile import ZipFile, ZipInfo

    is_one = not isinstance(data, Mapping)
    if is_one:
        data = {"arr_0": data}  # as numpy names it
    if not isinstance(data, Mapping):
        raise UnsupportedData(type_name(data))
    if unnamed := [key for key in data if not isinstance(key, str)]:
        raise UnsupportedData(f"a mapping with the key {unnamed[0]!r}")
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:  # numpy.savez cannot store an array called "file"
        for key, value in data.items():
            archive.writestr(ZipInfo(key + ".npy"), _dump_array(value, "" if is_one else f" at {key}"))
        archive.comment = _ONE if is_one else b""
    return buffer.getvalue()


def _load_arrays(data: bytes) -> Any:
    from zipfile import ZipFile

    with ZipFile(BytesIO(data)) as archive:
        if archive.comment == _ONE:
            return _load_array(archive.read("arr_0.npy"))
        return {name.removesuffix(".npy"): _load_array(archive.read(name)) for name in archive.namelist()}


# A figure would also write the time, so that files of the same picture would differ.
_IMAGES = {"png": "PNG", "jpeg": "JPEG"}
_WITHOUT_TIME: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}, "jpeg": {}}


def _figure(extension: str) -> Format:
    def dump(data: Any) -> bytes:
        if extension in _IMAGES and (image := _image(data)) is not None:
            buffer = BytesIO()
            image.save(buffer, format=_IMAGES[extension])
            return buffer.getvalue()
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

    return Format(_PICTURES if extension in _IMAGES else "bytes or a matplotlib figure", dump, bytes)


_PICTURES = "bytes, a matplotlib figure, an image of Pillow or an array of its pixels"


def _image(data: Any) -> Any:
    """Return an image of Pillow, also for an array of pixels; None for other data."""
    if any(kind.__module__.startswith("PIL.") for kind in type(data).__mro__):
        return data
    numpy = sys.modules.get("numpy")
    if numpy is None or not isinstance(data, numpy.ndarray):
        return None
    try:
        from PIL import Image
    except ImportError as error:
        raise NotAvailable("an array becomes a picture by Pillow", todo="Install it: pip install pillow") from error
    return Image.fromarray(data)


def _dump_pickle(data: Any) -> bytes:
    try:
        return pickle.dumps(data, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError):
        cloudpickle = load_cloudpickle()
        if cloudpickle is None:
            raise
        content: bytes = cloudpickle.dumps(data, protocol=5)
        return content


def load_cloudpickle() -> Any:
    """Return the module that also pickles lambdas and local classes: that of Ray or cloudpickle; None without both."""
    import copyreg
    from dataclasses import MISSING

    # A copy of it in the fields of a dataclass would be taken for a default, among others by pydantic.
    copyreg.pickle(type(MISSING), lambda missing: "MISSING")
    loaded = sys.modules.get("ray.cloudpickle")  # which all hosts of a cluster have
    for name in () if loaded is not None else ("cloudpickle", "ray.cloudpickle"):
        with suppress(ImportError):
            return import_module(name)
    return loaded


BYTES = Format("bytes", _dump_bytes, bytes)
PNG, PDF, SVG, JPEG = _figure("png"), _figure("pdf"), _figure("svg"), _figure("jpeg")
ARRAY = Format("a numpy array", _dump_array, _load_array)
ARRAYS = Format("a numpy array or a mapping of names to some", _dump_arrays, _load_arrays)
PICKLE = Format("data that can be pickled", _dump_pickle, pickle.loads, runs_code=True)
