"""Let libraries draw random numbers from another generator than the one that is seeded for a trial."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from functools import cache
from types import FunctionType, ModuleType
from typing import Any

__all__ = ["CLIENTS", "use_private_random"]

# The clients of the storages and lock servers, and what they are built on. Some draw when they repeat a request, others
# with each upload.
CLIENTS = ("boto3", "botocore", "s3transfer", "urllib3", "requests", "google", "fs", "fs_s3fs", "fs_gcsfs", "redis")


def use_private_random(*packages: str) -> None:
    """Replace Python's global generator by another one in all loaded modules of some packages.

    The generator belongs to the process, so what these libraries draw would change the numbers of the trial that runs,
    at moments that depend on the network. To restore its state after each request would repeat what other threads of
    the trial have drawn in the meantime.
    """
    own = _private_functions()

    def replaced(value: Any) -> Any:
        return own.get(id(value), value)

    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in packages and any(id(value) in own for value in vars(module).values()):
            for holder in (module, *_classes(module)):
                for key, value in list(vars(holder).items()):
                    if id(value) in own:
                        setattr(holder, key, replaced(value))
                    elif isinstance(value, FunctionType) and value.__defaults__:
                        value.__defaults__ = tuple(map(replaced, value.__defaults__))


def _classes(module: ModuleType) -> Iterator[type]:
    return (
        value
        for value in list(vars(module).values())
        if isinstance(value, type) and value.__module__ == module.__name__
    )


@cache
def _private_functions() -> dict[int, Any]:
    """Return a second instance of the module `random` and its functions, by the ids of the first ones."""
    private = ModuleType(random.__name__)
    loader: Any = random.__loader__
    loader.exec_module(private)
    generator = random.seed.__self__  # type: ignore[attr-defined]
    functions = {
        id(function): getattr(private, name)
        for name, function in vars(random).items()
        if getattr(function, "__self__", None) is generator
    }
    return {id(random): private, **functions}
