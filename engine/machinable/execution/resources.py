"""Count the resources that are available to trials, and those that running trials occupy."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence

from machinable.engines.base import Engine
from machinable.errors import MachinableError, Refused, SeveralErrors, did_you_mean, near_names
from machinable.plan.plan import Plan, Use
from machinable.plan.reserved_keys import parse_resources
from machinable.storage.process_info import cores, memory

__all__ = ["Capacity", "capacity_of"]


class Capacity:
    """The total and free resources of hosts; if the engine assigns them, they are only checked here."""

    def __init__(self, hosts: Sequence[Mapping[str, float]], *, is_assigned: bool = False) -> None:
        self._hosts = hosts
        self._is_assigned = is_assigned
        self._total = {name: max(host.get(name, 0.0) for host in hosts) for one in hosts for name in one}
        self._free = dict(self._total)

    def check(self, plan: Plan, notice: Callable[[str], None] | None = None) -> None:
        """Check that every trial could run alone.

        Args:
            plan: The plan.
            notice: Receives the errors instead if hosts may join that have the resources.

        Raises:
            Refused: One requests more than any host has, or a resource that does not exist.
        """
        errors: dict[str, MachinableError] = {}

        def add(use: Use, text: str, given: object, todo: str, known: Iterable[str] = ()) -> None:
            error = Refused(f"{use.component} {text}", at=use.at, given=given, known=known, todo=todo)
            errors.setdefault(str(error), error)

        for use in plan.uses:
            wanted = use.definition.resources
            exceeds = False
            for name, amount in wanted.items():
                total = self._total.get(name)
                exceeds = exceeds or total is None or amount > total
                if total is None:
                    near = near_names(name, self._total)
                    todo = did_you_mean(near) if near else self._undeclared(name, amount)
                    text = f"requests {_text(name, amount)}, but there is no resource {name!r}"
                    add(use, text, name, todo, self._total)
                elif amount > total:
                    text = f"requests {_text(name, amount)}, but there is only {_text(name, total)}"
                    add(use, text, amount, "Request less, or run it where there is more.")
            if not exceeds and not any(_fits(wanted, host) for host in self._hosts):
                text = f"requests {' and '.join(_text(*one) for one in wanted.items())}, but no host has all of it"
                add(use, text, dict(wanted), "Request less, or add a host that has it.")
            if self._is_assigned and "cpus" not in wanted and all(host.get("cpus", 1.0) < 1 for host in self._hosts):
                todo = "Add a host with cpus, or request none: `_resources_: {cpus: 0}`."
                add(use, "needs 1 cpu, the default, but no host has one", dict(wanted), todo)
        if notice is not None:
            for error in errors.values():
                notice(f"{error.message}: it waits for a host that joins")
        else:
            SeveralErrors.raise_any(list(errors.values()))

    def _undeclared(self, name: str, amount: float) -> str:
        declare = f"Declare how much there is: `execution: {{resources: {{{name}: {amount:g}}}}}`."
        if not self._is_assigned:
            return declare
        return f"The hosts have: {', '.join(sorted(self._total))}. For hosts that the engine starts itself: {declare}"

    def fits(self, wanted: Mapping[str, float]) -> bool:
        """Return whether enough is currently free; True if the engine decides that."""
        return self._is_assigned or _fits(wanted, self._free)

    def take(self, wanted: Mapping[str, float]) -> None:
        """Occupy resources."""
        for name, amount in wanted.items() if not self._is_assigned else ():
            self._free[name] -= amount

    def give_back(self, wanted: Mapping[str, float]) -> None:
        """Free resources."""
        for name, amount in wanted.items() if not self._is_assigned else ():
            self._free[name] += amount


def capacity_of(engine: Engine, declared: Mapping[str, object] | None) -> Capacity:
    """Return the resources for trials of an engine: those of its hosts, or those of this host or declared for it.

    Raises:
        Refused: The engine's hosts cannot be reached.
    """
    amounts = parse_resources(declared, "execution.resources")
    hosts = engine.hosts(amounts)
    if hosts is not None:
        return Capacity(hosts, is_assigned=True)
    nvidia = "/proc/driver/nvidia/gpus"
    gpus = len(os.listdir(nvidia)) if os.path.isdir(nvidia) else 0
    return Capacity([{"cpus": float(cores()), "gpus": float(gpus), "memory": float(memory()), **amounts}])


def _fits(wanted: Mapping[str, float], there: Mapping[str, float]) -> bool:
    return all(there.get(name, 0.0) >= amount for name, amount in wanted.items())


def _text(name: str, amount: float) -> str:
    return f"{amount / 1024**3:.3g} GiB of memory" if name == "memory" else f"{amount:g} {name}"
