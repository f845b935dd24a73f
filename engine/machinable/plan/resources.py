"""What a trial occupies while it runs: `cpus`, `gpus`, `memory`, and other names that a project defines."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from machinable.errors import MalformedText, WrongType
from machinable.units import parse_size

__all__ = ["parse_resources", "threads_of"]


def parse_resources(value: Any, path: str) -> dict[str, float]:
    """Return resources by name, `memory` in bytes, from numbers or texts such as `4GiB` and `500MB`.

    Args:
        value: None or a mapping.
        path: Where it is, for messages.

    Raises:
        WrongType: It is not a mapping, or an amount is not a number.
        MalformedText: An amount is below zero, or a size cannot be parsed.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise WrongType(f"resources are a mapping, not {value!r}", path=path, given=value, todo="Write {cpus: 2}.")
    result = {}
    for name, amount in value.items():
        if name == "memory" and isinstance(amount, str):
            size = parse_size(amount)
            if size is None:
                raise MalformedText(
                    f"{amount!r} is not a size of memory",
                    path=f"{path}.{name}",
                    given=amount,
                    todo="Write bytes or a size such as 4GiB or 500MB.",
                )
            amount = size
        if isinstance(amount, bool) or not isinstance(amount, (int, float)):
            raise WrongType(f"an amount of {name} is a number, not {amount!r}", path=f"{path}.{name}", given=amount)
        if not 0 <= amount < float("inf"):
            raise MalformedText(
                f"an amount of {name} cannot be negative or infinite: {amount!r}", path=f"{path}.{name}", given=amount
            )
        if amount:
            result[str(name)] = amount
    return result


def threads_of(resources: Mapping[str, float], default: int) -> int:
    """Return the number of threads of a trial: as many as it has cpus, and at least one; without cpus the default."""
    return max(1, int(resources.get("cpus", default)))
