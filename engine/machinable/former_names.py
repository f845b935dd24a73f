"""Names of earlier versions of machinable, for the error about one that is used."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["COMPONENT", "EXECUTION", "MODULE", "STORAGE", "STORE", "TASK", "find_former_name", "no_attribute"]

MODULE = {
    "Experiment": "ml.Task().component(…) and ml.execute(task)",
    "Group": "ml.Task(name=…)",
    "Index": "ml.Storage(url)",
    "Interface": "ml.Component",
    "Observation": "ml.Storage(url)[id].trials",
    "Observations": "ml.Storage(url).trials",
    "Repository": "ml.Storage(url)",
    "Schedule": "ml.Engine",
    "get": "ml.Storage(url)[id], and reuse='all' of ml.execute for results that exist",
}
COMPONENT = {
    "experiment": "self.flags and self.tags",
    "execution": "self.flags.EXECUTION",
    "load_data": "self.store.read(name)",
    "load_file": "self.store.read(name)",
    "local_directory": "self.directory",
    "observer": "self.record, self.store and self.log",
    "save_data": "self.store.write(name, data)",
    "save_file": "self.store.write(name, data)",
    "seed": "self.flags.SEED",
    "storage": "self.store",
    "uses": "self.requires",
}
STORE = {
    "load_data": "self.store.read(name)",
    "load_file": "self.store.read(name)",
    "local_directory": "self.directory",
    "log": "self.log",
    "save_data": "self.store.write(name, data)",
    "save_file": "self.store.write(name, data)",
    "statistics": "self.record",
}
TASK = {
    "execute": "ml.execute(task)",
    "launch": "ml.execute(task)",
    "name": "task.named(text)",
}
STORAGE = {
    "experiments": "storage.executions",
    "find_many": "storage.executions",
    "latest": "storage.executions[0]",
    "observations": "storage.trials",
}
EXECUTION = {
    "experiments": "execution.trials",
    "observations": "execution.trials",
    "components": "execution.trials",
    "timestamp": "execution.started",
}


def no_attribute(owner: str, name: str, former: Mapping[str, str]) -> AttributeError:
    """Return the error about a name that does not exist, with what replaces it if it is a former one."""
    instead = f" any more; use {former[name]}" if name in former else ""
    return AttributeError(f"{owner} has no attribute {name!r}{instead}", name=name)


def find_former_name(owner: object, name: str, former: Mapping[str, str]) -> Any:
    """Raise the error about a missing attribute, for `__getattr__`; see `no_attribute`."""
    if name in former and not hasattr(type(owner), name):
        raise no_attribute(type(owner).__name__, name, former)
    return object.__getattribute__(owner, name)  # raises the usual error, or that of a property that has failed
