"""What this host has to give to trials, and what is taken from it at the moment."""

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
    """What there is: cores, GPUs and bytes of memory of this host, with what the project declares laid over.

    Args:
        declared: `execution: {resources: …}`.
    """
    there = {"cpus": float(cores()), "gpus": float(_gpus()), "memory": float(memory())}
    return there | parse_resources(declared, "execution.resources")


def _gpus() -> int:
    try:
        return len(os.listdir("/proc/driver/nvidia/gpus"))
    except OSError:
        return 0


class Capacity:
    """Keeps account of what running trials take.

    Args:
        total: what there is, by name.
    """

    def __init__(self, total: Mapping[str, float]) -> None:
        self._total = dict(total)
        self._free = dict(total)

    def refuse(self, plan: Plan) -> None:
        """See that every trial could run alone.

        Raises:
            Refused: one asks for more than there is, or for something that is not there at all.
        """
        errors: dict[str, MachinableError] = {}
        for use in plan.uses:
            for name, amount in use.definition.resources.items():
                if name not in self._total:
                    near = near_names(name, self._total)
                    error = Refused(
                        f"{use.component} asks for {_shown(name, amount)}, and nothing here is called {name!r}",
                        at=use.at,
                        given=name,
                        known=self._total,
                        todo=did_you_mean(near) if near else self.undeclared(name, amount),
                    )
                elif amount > self._total[name]:
                    error = Refused(
                        f"{use.component} asks for {_shown(name, amount)}, there is {_shown(name, self._total[name])}",
                        at=use.at,
                        given=amount,
                        todo="Ask for less, or run it where there is more.",
                    )
                else:
                    continue
                errors.setdefault(str(error), error)
        SeveralErrors.raise_any(list(errors.values()))

    def undeclared(self, name: str, amount: float) -> str:
        """What to do about a name that nothing has."""
        return f"Declare how much there is: `execution: {{resources: {{{name}: {_number(amount)}}}}}`."

    def fits(self, wanted: Mapping[str, float]) -> bool:
        """Whether there is enough free at the moment."""
        return all(self._free[name] >= amount for name, amount in wanted.items())

    def take(self, wanted: Mapping[str, float]) -> None:
        """Count something as taken."""
        for name, amount in wanted.items():
            self._free[name] -= amount

    def give_back(self, wanted: Mapping[str, float]) -> None:
        """Count something as free again."""
        for name, amount in wanted.items():
            self._free[name] += amount


class ClusterResources(Capacity):
    """What the hosts of an engine have that keeps account of it by itself. What fits on none of them is refused.

    Args:
        hosts: what each of them has, by name.
    """

    def __init__(self, hosts: Sequence[Mapping[str, float]]) -> None:
        names = {name for host in hosts for name in host}
        super().__init__({name: max(host.get(name, 0.0) for host in hosts) for name in names})
        self._hosts = hosts

    def refuse(self, plan: Plan) -> None:
        """See that every trial could run alone on one host."""
        super().refuse(plan)
        for use in plan.uses:
            if "cpus" not in use.definition.resources and all(host.get("cpus", 1.0) < 1 for host in self._hosts):
                raise Refused(
                    f"{use.component} takes 1 cpu, for it does not say how many, and no host has one",
                    at=use.at,
                    given=dict(use.definition.resources),
                    todo="Give a host cpus, or say that none is needed: `_resources_: {cpus: 0}`.",
                )
            wanted = use.definition.resources.items()
            if not any(all(host.get(name, 0.0) >= amount for name, amount in wanted) for host in self._hosts):
                raise Refused(
                    f"{use.component} asks for {' and '.join(_shown(name, amount) for name, amount in wanted)}, "
                    "and no host has all of it",
                    at=use.at,
                    given=dict(wanted),
                    todo="Ask for less, or add a host that has it.",
                )

    def undeclared(self, name: str, amount: float) -> str:
        """Hosts have what they were started with; declared is what those have that the engine starts by itself."""
        there = ", ".join(sorted(self._total))
        return f"The hosts have: {there}. Where the engine starts its own: {super().undeclared(name, amount)}"

    def fits(self, wanted: Mapping[str, float]) -> bool:
        """Others decide."""
        return True

    def take(self, wanted: Mapping[str, float]) -> None:
        """Others keep account."""

    def give_back(self, wanted: Mapping[str, float]) -> None:
        """Others keep account."""


def capacity_of(engine: Engine, declared: Mapping[str, object] | None) -> Capacity:
    """What there is for the trials of an engine.

    Args:
        declared: `execution: {resources: …}`.

    Raises:
        Refused: the hosts of the engine cannot be reached.
    """
    hosts = engine.hosts(parse_resources(declared, "execution.resources"))
    return Capacity(host_capacity(declared)) if hosts is None else ClusterResources(hosts)


def _number(amount: float) -> str:
    return f"{amount:g}"


def _shown(name: str, amount: float) -> str:
    return f"{amount / 1024**3:.3g} GiB of memory" if name == "memory" else f"{_number(amount)} {name}"
