"""GPUs of this host: those that this process sees, which running trials have, and the variables that select them.

Libraries number the devices that `CUDA_VISIBLE_DEVICES` (NVIDIA) or `HIP_VISIBLE_DEVICES` (AMD) lists from 0, so code
that uses device 0 uses the first one of its trial.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress

from machinable.plan.spec import TrialSpec

__all__ = ["VARIABLES", "Devices", "device_variables", "devices_of", "visible_devices"]

VARIABLES = ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
_NVIDIA = "/proc/driver/nvidia/gpus"
_AMD = "/sys/class/kfd/kfd/topology/nodes"
_DIGITS = 9  # of fractions, whose sums are not exact


def device_variables(devices: Sequence[str]) -> dict[str, str]:
    """Return the variables that let a process see only these devices."""
    return dict.fromkeys(VARIABLES, ",".join(devices))


def visible_devices(environment: Mapping[str, str]) -> tuple[str, ...] | None:
    """Return the devices that a process may use according to its environment; None if that does not say."""
    for name in VARIABLES:
        if name in environment:
            return _listed(environment[name])
    if "ROCR_VISIBLE_DEVICES" in environment:  # the other variables number what this one leaves
        return tuple(map(str, range(len(_listed(environment["ROCR_VISIBLE_DEVICES"])))))
    return None


def _listed(text: str) -> tuple[str, ...]:
    """Return the devices in a variable: numbers or ids. As in CUDA, the first invalid one ends the list."""
    found: list[str] = []
    for device in map(str.strip, text.split(",")):
        if not device or device.startswith("-") or device == "NoDevFiles":
            break
        found.append(device)
    return tuple(found)


def devices_of(spec: TrialSpec) -> tuple[str, ...]:
    """Return the devices of a trial that runs in this process: assigned by the scheduler, or by the engine."""
    if spec.devices or not spec.resources.get("gpus"):
        return spec.devices
    return visible_devices(os.environ) or ()


class Devices:
    """The devices that this process hands out: what it sees, or as many of them as the project declares.

    A declaration without a variable is trusted, because not every driver lists its devices.

    Args:
        environment: The environment of this process.
        declared: The number in `execution: {resources: {gpus: …}}`.
    """

    def __init__(self, environment: Mapping[str, str], declared: int | None = None) -> None:
        visible = visible_devices(environment)
        if visible is None:
            visible = tuple(map(str, range(_count() if declared is None else declared)))
        self.names = visible if declared is None else visible[:declared]
        self._free = dict.fromkeys(self.names, 1.0)

    def find(self, amount: float) -> tuple[str, ...] | None:
        """Return free devices: whole ones, or the fullest one that has room for a fraction; None if there are none."""
        if amount >= 1:
            whole = [name for name, free in self._free.items() if free == 1]
            return tuple(whole[: int(amount)]) if len(whole) >= amount else None
        room = [(free, position) for position, free in enumerate(self._free.values()) if free >= amount]
        return (self.names[min(room)[1]],) if room else None

    def take(self, amount: float) -> tuple[str, ...]:
        """Occupy devices that are free and return them."""
        found = self.find(amount) if amount else ()
        assert found is not None
        self._change(found, -amount)
        return found

    def give_back(self, devices: Sequence[str], amount: float) -> None:
        """Free the devices of a trial."""
        self._change(devices, amount)

    def _change(self, devices: Sequence[str], amount: float) -> None:
        for name in devices:
            self._free[name] = round(self._free[name] + max(-1.0, min(amount, 1.0)), _DIGITS)


def _count() -> int:
    """Return the number of devices of this host; 0 if their drivers list none."""
    with suppress(OSError):
        return len(os.listdir(_NVIDIA))
    found = 0
    with suppress(OSError):
        for node in os.listdir(_AMD):
            with open(os.path.join(_AMD, node, "gpu_id"), encoding="ascii") as file:
                found += file.read().strip() != "0"  # processors have nodes, too
    return found
