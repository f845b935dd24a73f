"""Specifications on their way to workers. What all trials of one use share is pickled once, and travels as bytes."""

from __future__ import annotations

import pickle
from dataclasses import fields
from operator import is_, itemgetter
from typing import Any

from machinable.plan.spec import TrialSpec

__all__ = ["Packer"]

OWN = ("index", "uid", "seed", "flags", "requires", "identity", "attempt", "checkpoint", "resume_from")
SHARED = tuple(field.name for field in fields(TrialSpec) if field.name not in OWN)
_own, _shared = itemgetter(*OWN), itemgetter(*SHARED)
MOST = 64  # uses whose trials may take turns


class Packer:
    """Pickles specifications; whoever unpickles one gets it whole, and shares nothing with the next."""

    def __init__(self) -> None:
        self._packed: dict[int, tuple[tuple[Any, ...], bytes]] = {}  # by the place of the configuration in memory

    def pack(self, spec: TrialSpec) -> bytes:
        """The specification, pickled.

        Raises:
            Exception: as `pickle.dumps`.
        """
        values = vars(spec)
        shared = _shared(values)
        known, packed = self._packed.get(id(spec.config), ((), b""))
        if len(known) != len(shared) or not all(map(is_, known, shared)):
            packed = pickle.dumps(shared)
            if len(self._packed) >= MOST:
                del self._packed[next(iter(self._packed))]
            self._packed[id(spec.config)] = shared, packed  # it holds them, so that their places stay theirs
        return pickle.dumps(_Parcel(packed, _own(values)))


class _Parcel:
    def __init__(self, shared: bytes, own: tuple[Any, ...]) -> None:
        self._shared = shared
        self._own = own

    def __reduce__(self) -> tuple[Any, ...]:
        return _unpacked, (self._shared, self._own)


def _unpacked(shared: bytes, own: tuple[Any, ...]) -> TrialSpec:
    spec = object.__new__(TrialSpec)  # as `pickle` does it
    vars(spec).update(zip(SHARED + OWN, pickle.loads(shared) + own, strict=True))  # noqa: S301  # made by `pack`
    return spec
