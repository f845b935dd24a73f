"""Pickles, for any object."""

from __future__ import annotations

from typing import Any

from machinable.storage.formats.base import Format, UnsupportedData, type_name

__all__ = ["PICKLE"]


def _dump_pickle(data: Any) -> bytes:
    import pickle

    try:
        return pickle.dumps(data, protocol=5)
    except Exception as error:  # objects may raise anything
        raise UnsupportedData(f"{type_name(data)}: {error}") from error


def _load_pickle(data: bytes) -> Any:
    import pickle

    return pickle.loads(data)  # noqa: S301 - `load` checks that the author is trusted


PICKLE = Format("what can be pickled", _dump_pickle, _load_pickle, runs_code=True)
