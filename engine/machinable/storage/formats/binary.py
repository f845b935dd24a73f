"""Binary formats: numpy arrays, pictures, and pickles."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from io import BytesIO
from math import prod
from typing import Any

from machinable.errors import InvalidType, InvalidValue, NotAvailable
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
    from numpy.lib import format

    headers: Any = format  # only newer releases of numpy have types for its functions
    file = BytesIO(data)
    if headers.read_magic(file) == (1, 0):
        shape, _, dtype = headers.read_array_header_1_0(file)
    else:
        shape, _, dtype = headers.read_array_header_2_0(file)
    stated, there = prod(shape) * dtype.itemsize, len(data) - file.tell()
    if stated > there:  # numpy would take the memory first
        raise ValueError(f"{there} bytes follow its header, which states {stated}")
    return numpy.load(BytesIO(data), allow_pickle=False)


_ONE = b"one array"  # the comment of an archive whose array is read as such


def _dump_arrays(data: Any, compression: str | None = None) -> bytes:
    from zipfile import ZIP_BZIP2, ZIP_DEFLATED, ZIP_LZMA, ZIP_STORED, ZipFile, ZipInfo

    methods = {None: ZIP_STORED, "deflate": ZIP_DEFLATED, "bzip2": ZIP_BZIP2, "lzma": ZIP_LZMA}
    if compression not in methods:
        raise InvalidValue(
            f"compression is {compression!r}",
            given=compression,
            known=methods,
            todo="Give 'deflate', as numpy.savez_compressed does, 'bzip2', 'lzma' or None.",
        )
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
            content = _dump_array(value, "" if is_one else f" at {key}")
            archive.writestr(ZipInfo(key + ".npy"), content, methods[compression])
        archive.comment = _ONE if is_one else b""
    return buffer.getvalue()


def _load_arrays(data: bytes) -> Any:
    from zipfile import ZipFile

    with ZipFile(BytesIO(data)) as archive:
        if archive.comment == _ONE:
            return _load_array(archive.read("arr_0.npy"))
        return {name.removesuffix(".npy"): _load_array(archive.read(name)) for name in archive.namelist()}


def _size_of_arrays(data: bytes) -> int:
    from zipfile import ZipFile

    with ZipFile(BytesIO(data)) as archive:
        return sum(info.file_size for info in archive.infolist())


# A figure would also write the time, so that files of the same picture would differ.
_IMAGES = {"png": "PNG", "jpeg": "JPEG"}
_WITHOUT_TIME: dict[str, dict[str, Any]] = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}, "jpeg": {}}


def _figure(extension: str) -> Format:
    def dump(data: Any, **options: Any) -> bytes:
        if extension in _IMAGES and (image := _image(data)) is not None:
            _refuse_options("a picture", options, _OF_IMAGES[extension])
            buffer = BytesIO()
            image.save(buffer, format=_IMAGES[extension], **options)
            return buffer.getvalue()
        if not callable(getattr(data, "savefig", None)) or isinstance(data, type):
            content = _dump_bytes(data)
            _refuse_options("bytes", options, ())
            return content
        _refuse_options("a figure", options, _OF_FIGURES)
        buffer = BytesIO()
        if not any(kind.__module__.startswith("matplotlib.") for kind in type(data).__mro__):
            data.savefig(buffer, format=extension, **options)
            return buffer.getvalue()
        # Without a salt the ids in a drawing are random.
        with sys.modules["matplotlib"].rc_context({"svg.hashsalt": "machinable"}):
            data.savefig(buffer, format=extension, metadata=_WITHOUT_TIME[extension], **options)
        return buffer.getvalue()

    options = tuple(dict.fromkeys(_OF_FIGURES + _OF_IMAGES.get(extension, ())))
    return Format(_PICTURES if extension in _IMAGES else "bytes or a matplotlib figure", dump, bytes, options=options)


_OF_FIGURES = ("bbox_inches", "dpi", "edgecolor", "facecolor", "pad_inches", "transparent")
_OF_IMAGES = {
    "png": ("compress_level", "dpi", "optimize"),
    "jpeg": ("dpi", "optimize", "progressive", "quality", "subsampling"),
}


def _refuse_options(what: str, options: Mapping[str, Any], known: Sequence[str]) -> None:
    for option in options:
        if option not in known:
            todo = f"Its options are {', '.join(known)}." if known else "They are stored as they are."
            raise InvalidType(f"{what} has no option {option!r}", given=option, known=known, todo=todo)


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


def _dump_pickle(data: Any, protocol: int = 5) -> bytes:
    try:
        return pickle.dumps(data, protocol=protocol)
    except (pickle.PicklingError, AttributeError, TypeError):
        cloudpickle = load_cloudpickle()
        if cloudpickle is None:
            raise
        content: bytes = cloudpickle.dumps(data, protocol=protocol)
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
ARRAYS = Format(
    "a numpy array or a mapping of names to some",
    _dump_arrays,
    _load_arrays,
    options=("compression",),
    expanded=_size_of_arrays,
)
PICKLE = Format("data that can be pickled", _dump_pickle, pickle.loads, runs_code=True, options=("protocol",))
