"""Count the resources that there are for trials, and those that running trials occupy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from machinable.engines.base import Engine
from machinable.errors import MachinableError, Refused, SeveralErrors, did_you_mean, near_names
from machinable.plan.plan import Plan
from machinable.plan.resources import parse_resources
from machinable.storage.process_info import cores, memory

__all__ = ["Capacity", "capacity_of", "host_capacity"]


def host_capacity(declared: Mapping[str, object] | None) -> dict[str, float]:
    """Return the cores, GPUs and bytes of memory of this host, with what the project declares instead.

    Args:
        declared: `execution: {resources: …}`.
    """
    present = {"cpus": float(cores()), "gpus": float(_gpus()), "memory": float(memory())}
    return present | parse_resources(declared, "execution.resources")


def _gpus() -> int:
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0


class Capacity:
    """The resources of this host, and how much of them is free.

    Args:
        total: The amounts that there are, by name.
    """

    def __init__(self, total: Mapping[str, float]) -> None:
        self._total = dict(total)
        self._free = dict(total)

    def check(self, plan: Plan) -> None:
        """Check that every trial could run alone.

        Raises:
            Refused: One requests more than there is, or a resource that does not exist.
        """
        errors: dict[str, MachinableError] = {}
        for use in plan.uses:
            for name, amount in use.definition.resources.items():
                if name not in self._total:
                    near = near_names(name, self._total)
                    error = Refused(
                        f"{use.component} requests {_text(name, amount)}, but there is no resource {name!r}",
                        at=use.at,
                        given=name,
                        known=self._total,
                        todo=did_you_mean(near) if near else self.undeclared(name, amount),
                    )
                elif amount > self._total[name]:
                    error = Refused(
                        f"{use.component} requests {_text(name, amount)}, "
                        f"but there is only {_text(name, self._total[name])}",
                        at=use.at,
                        given=amount,
                        todo="Request less, or run it where there is more.",
                    )
                else:
                    continue
                errors.setdefault(str(error), error)
        SeveralErrors.raise_any(list(errors.values()))

    def undeclared(self, name: str, amount: float) -> str:
        """Return what to do about a resource that does not exist."""
        return f"Declare how much there is: `execution: {{resources: {{{name}: {_number(amount)}}}}}`."

    def fits(self, wanted: Mapping[str, float]) -> bool:
        """Return whether enough is free at the moment."""
        return all(self._free[name] >= amount for name, amount in wanted.items())

    def take(self, wanted: Mapping[str, float]) -> None:
        """Occupy resources."""
        for name, amount in wanted.items():
            self._free[name] -= amount

    def give_back(self, wanted: Mapping[str, float]) -> None:
        """Free resources."""
        for name, amount in wanted.items():
            self._free[name] += amount


class ClusterResources(Capacity):
    """The resources of the hosts of an engine that assigns them itself; here they are only checked.

    Args:
        hosts: The amounts of each host, by name.
    """

    def __init__(self, hosts: Sequence[Mapping[str, float]]) -> None:
        names = {name for host in hosts for name in host}
        super().__init__({name: max(host.get(name, 0.0) for host in hosts) for name in names})
        self._hosts = hosts

    def check(self, plan: Plan) -> None:
        """Check that every trial could run alone on one host."""
        super().check(plan)
        for use in plan.uses:
            if "cpus" not in use.definition.resources and all(host.get("cpus", 1.0) < 1 for host in self._hosts):
                raise Refused(
                    f"{use.component} needs 1 cpu, the default, but no host has one",
                    at=use.at,
                    given=dict(use.definition.resources),
                    todo="Add a host with cpus, or request none: `_resources_: {cpus: 0}`.",
                )
            wanted = use.definition.resources.items()
            if not any(all(host.get(name, 0.0) >= amount for name, amount in wanted) for host in self._hosts):
                raise Refused(
                    f"{use.component} requests {' and '.join(_text(name, amount) for name, amount in wanted)}, "
                    "but no host has all of it",
                    at=use.at,
                    given=dict(wanted),
                    todo="Request less, or add a host that has it.",
                )

    def undeclared(self, name: str, amount: float) -> str:
        """Return what to do: resources are declared only for hosts that the engine starts itself."""
        there = ", ".join(sorted(self._total))
        return f"The hosts have: {there}. For hosts that the engine starts itself: {super().undeclared(name, amount)}"

    def fits(self, wanted: Mapping[str, float]) -> bool:
        """Return True: the engine decides."""
        return True

    def take(self, wanted: Mapping[str, float]) -> None:
        """Do nothing: the engine counts."""

    def give_back(self, wanted: Mapping[str, float]) -> None:
        """Do nothing: the engine counts."""


def capacity_of(engine: Engine, declared: Mapping[str, object] | None) -> Capacity:
    """Return the resources for the trials of an engine.

    Args:
        engine: The engine.
        declared: `execution: {resources: …}`.

    Raises:
        Refused: The engine's hosts cannot be reached.
    """
    hosts = engine.hosts(parse_resources(declared, "execution.resources"))
    return Capacity(host_capacity(declared)) if hosts is None else ClusterResources(hosts)


def _number(amount: float) -> str:
    return f"{amount:g}"


def _text(name: str, amount: float) -> str:
    return f"{amount / 1024**3:.3g} GiB of memory" if name == "memory" else f"{_number(amount)} {name}"
