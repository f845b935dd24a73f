"""Count the resources that are available to trials, and those that running trials occupy."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType

from machinable.engines.base import Engine
from machinable.engines.devices import VARIABLES, Devices, visible_devices
from machinable.errors import MachinableError, MalformedText, Refused, SeveralErrors, did_you_mean, near_names
from machinable.plan.plan import Use
from machinable.plan.reserved_keys import PARTS, parse_declared_resources
from machinable.storage.process_info import cores, memory

__all__ = ["Capacity", "capacity_of"]

_DIGITS = 9  # of fractions, whose sums are not exact


class Capacity:
    """The total and free resources of hosts; if the engine assigns them, they are only checked here."""

    def __init__(
        self,
        hosts: Sequence[Mapping[str, float]],
        *,
        is_assigned: bool = False,
        devices: Devices | None = None,
        shared: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self.shared = shared  # limits across executions, see `SharedLimits`
        self._hosts = hosts
        self._is_assigned = is_assigned
        self._devices = devices or Devices({})
        self._total = {name: max(host.get(name, 0.0) for host in hosts) for one in hosts for name in one}
        self._free = dict(self._total)
        self._total |= shared

    def check(self, uses: Iterable[Use], notice: Callable[[str], None] | None = None) -> None:
        """Check that every trial could run alone.

        Args:
            uses: The uses of the plan.
            notice: Receives the errors instead if hosts may join that have the resources.

        Raises:
            Refused: One requests more than any host has, or a resource that does not exist.
        """
        errors: dict[str, MachinableError] = {}

        def add(
            use: Use, text: str, given: object, todo: str, known: Iterable[str] = (), name: str | None = None
        ) -> None:
            path = None
            if name is not None:
                path = f"{use.component}._resources_.{name}" if use.definition.is_requirement else f"_resources_.{name}"
            error = Refused(f"{use.component} {text}", at=use.at, path=path, given=given, known=known, todo=todo)
            errors.setdefault(str(error), error)

        for use in uses:
            wanted = use.definition.resources
            exceeds = False
            if wanted.get("gpus") and (
                chosen := next((name for name in VARIABLES if name in use.definition.environment), None)
            ):
                text = f"requests gpus and sets {chosen} in `_environment_`, but each trial gets its own devices there"
                add(use, text, chosen, f"Remove {chosen}. Set it for the whole execution to choose the devices.")
            for name, amount in wanted.items():
                total = self._total.get(name)
                exceeds = exceeds or total is None or amount > total
                if total is None:
                    near = () if name in PARTS["_resources_"] else near_names(name, self._total)
                    todo = did_you_mean(near) if near else self._undeclared(name, amount)
                    text = f"requests {_text(name, amount)}, but there is no resource {name!r}"
                    add(use, text, name, todo, self._total, name)
                elif amount > total:
                    text = f"requests {_text(name, amount)}, but {_available(name, total)}"
                    add(use, text, amount, self._too_few(name), name=name)
            for name in self.shared.keys() & wanted.keys():
                if wanted[name] != int(wanted[name]):
                    exceeds = True
                    text = f"requests {_text(name, wanted[name])}, but shared limits have whole units"
                    add(use, text, wanted[name], "Request 1.", name=name)
            of_host = {name: amount for name, amount in wanted.items() if name not in self.shared}
            if not exceeds and not any(_fits(of_host, host) for host in self._hosts):
                text = f"requests {' and '.join(_text(*one) for one in of_host.items())}, but no host has all of it"
                add(use, text, dict(wanted), "Request less, or add a host that has it.")
            if self._is_assigned and "cpus" not in wanted and all(host.get("cpus", 1.0) < 1 for host in self._hosts):
                todo = "Add a host with cpus, or request none: `_resources_: {cpus: 0}`."
                add(use, "needs 1 cpu, the default, but no host has one", dict(wanted), todo)
        if notice is not None:
            for error in errors.values():
                notice(f"{error.message}: it waits for a host that joins")
        else:
            SeveralErrors.raise_any(list(errors.values()))

    def _too_few(self, name: str) -> str:
        shown = visible_devices(os.environ) if name == "gpus" and not self._is_assigned else None
        if shown is not None:
            which = next((one for one in VARIABLES if one in os.environ), "ROCR_VISIBLE_DEVICES")
            return f"Request less, or let this process see more: {which} is {os.environ[which]!r}."
        return "Request less, or run it where there is more."

    def _undeclared(self, name: str, amount: float) -> str:
        declared = f"`execution: {{resources: {{{name}: {amount:g}}}}}`"
        if not self._is_assigned:
            return f"Declare how much there is: {declared}."
        todo = f"The hosts have: {', '.join(sorted(self._total))}. If the engine starts them, declare it: {declared}. "
        if name in PARTS["_resources_"]:
            return f"{todo}If not, add a host that has it."
        shared = f"`{name}: {{total: {max(1, math.ceil(amount))}, shared: true}}`"
        return f"{todo}If not, start one with it, or declare it as a limit that executions share: {shared}."

    def fits(self, wanted: Mapping[str, float]) -> bool:
        """Return whether enough is currently free; True if the engine decides that."""
        if self._is_assigned or not wanted:
            return True
        if any(self._free.get(name, amount) < amount for name, amount in wanted.items()):
            return False
        gpus = wanted.get("gpus")
        return not gpus or self._devices.find(gpus) is not None

    def take(self, wanted: Mapping[str, float]) -> tuple[str, ...]:
        """Occupy resources, and return the devices among them."""
        if self._is_assigned or not wanted:
            return ()
        self._change(wanted, -1)
        return self._devices.take(wanted.get("gpus", 0.0))

    def give_back(self, wanted: Mapping[str, float], devices: Sequence[str] = ()) -> None:
        """Free resources."""
        if self._is_assigned or not wanted:
            return
        self._change(wanted, 1)
        self._devices.give_back(devices, wanted.get("gpus", 0.0))

    def _change(self, amounts: Mapping[str, float], sign: int) -> None:
        for name, amount in amounts.items():
            if name in self._free:
                self._free[name] = round(self._free[name] + sign * amount, _DIGITS)


def capacity_of(engine: Engine, declared: Mapping[str, object] | None) -> Capacity:
    """Return the resources for trials of an engine: those of its hosts, or those of this host or declared for it.

    Raises:
        Refused: The engine's hosts cannot be reached.
    """
    amounts, shared = parse_declared_resources(declared, "execution.resources")
    engine.counted = frozenset(shared)
    hosts = engine.hosts(amounts)
    if hosts is not None:
        return Capacity(hosts, is_assigned=True, shared=shared)
    gpus = amounts.get("gpus")
    if gpus is not None and gpus != int(gpus):
        raise MalformedText(
            f"{gpus:g} gpus are no number of devices",
            path="execution.resources.gpus",
            given=gpus,
            todo="Write 1 or more.",
        )
    devices = Devices(os.environ, None if gpus is None else int(gpus))
    there = {"cpus": float(cores()), "memory": float(memory()), **amounts, "gpus": float(len(devices.names))}
    return Capacity([there], devices=devices, shared=shared)


def _fits(wanted: Mapping[str, float], there: Mapping[str, float]) -> bool:
    return all(there.get(name, 0.0) >= amount for name, amount in wanted.items())


def _text(name: str, amount: float) -> str:
    if name == "memory":
        return f"{amount / 1024**3:.3g} GiB of memory"
    return f"{amount:g} {_one(name) if amount == 1 else name}"


def _one(name: str) -> str:
    return name.removesuffix("s") if name in ("cpus", "gpus") else name


def _available(name: str, total: float) -> str:
    """Return how much there is as a clause: none, one or several units, or an amount of memory."""
    if not total:
        return f"there is no {_one(name)}"
    return f"there {'is' if total == 1 or name == 'memory' else 'are'} only {_text(name, total)}"
