"""Random number generators as they are at one moment: kept with a checkpoint, put back when a trial goes on from it."""

from __future__ import annotations

import base64
import importlib
import sys
from array import array
from collections.abc import Mapping
from typing import Any

from machinable.plain import Plain

__all__ = ["put_back", "states"]


_NUMPY_LIMIT = 2**32  # numpy takes no seed beyond


def states(seed: int) -> dict[str, Plain]:
    """The states of the generators of `random` and, if they are imported, of numpy and torch, as plain data.

    Args:
        seed: that of the trial. numpy is left out as long as it is as this seed has left it: whether somebody else has
            imported it must not show in what a trial stores.
    """
    import random

    version, numbers, gauss = random.getstate()
    found: dict[str, Plain] = {"random": [version, _text(numbers), gauss]}
    numpy, torch = _imported("numpy.random", "get_state"), _imported("torch", "get_rng_state")
    if numpy is not None:
        state = numpy.get_state(legacy=False)
        if state["bit_generator"] == "MT19937":  # nobody has put another one in its place
            said = _of_numpy(state)
            if said != _of_numpy(numpy.RandomState(seed % _NUMPY_LIMIT).get_state(legacy=False)):
                found["numpy.random"] = said
    if torch is not None:
        found["torch"] = base64.b64encode(bytes(torch.get_rng_state().tolist())).decode("ascii")
    return found


def put_back(found: Mapping[str, Plain], seed: int) -> None:
    """Set the generators to the states that `states` gave, with the same seed."""
    import random

    version, numbers, gauss = found["random"]
    random.setstate((version, tuple(_numbers(numbers)), gauss))
    if "numpy.random" in found:
        import numpy

        words, position, has_gauss, gauss = found["numpy.random"]
        numpy.random.set_state(("MT19937", numpy.array(_numbers(words), "uint32"), position, has_gauss, gauss))
    elif (imported := _imported("numpy.random", "seed")) is not None:
        imported.seed(seed % _NUMPY_LIMIT)
    if "torch" in found:
        torch: Any = importlib.import_module("torch")  # which need not be installed where this is checked
        state = list(base64.b64decode(found["torch"]))
        torch.set_rng_state(torch.tensor(state, dtype=torch.uint8))


def _of_numpy(state: Mapping[str, Any]) -> list[Plain]:
    words, position = state["state"]["key"].tolist(), int(state["state"]["pos"])
    return [_text(words), position, int(state["has_gauss"]), float(state["gauss"])]


def _imported(name: str, function: str) -> Any:
    module = sys.modules.get(name)
    return module if callable(getattr(module, function, None)) else None


def _text(numbers: Any) -> str:
    return base64.b64encode(array("I", numbers).tobytes()).decode("ascii")


def _numbers(text: str) -> list[int]:
    return array("I", base64.b64decode(text)).tolist()
