"""A task as plain data, as it stands in execution.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from machinable.errors import WrongType
from machinable.plan.identity import version_key, visible_elements
from machinable.plan.request import Named, TaskRequest, Tuning
from machinable.serialization import Plain, as_plain

__all__ = ["task_as_data"]


def task_as_data(wish: TaskRequest) -> dict[str, Plain]:
    """A task as plain data; hidden keys are left out, and of `tune` what is not plain."""
    return {
        "components": [
            {
                "component": _as_text(call.name),
                "version": _versions(call.version),
                "children": [
                    {
                        "component": _as_text(child.name),
                        "version": _versions(child.version),
                        "checkpoint": child.checkpoint,
                        "flags": dict(child.flags),
                    }
                    for child in call.children
                ],
                "requires": {
                    name: need
                    and {
                        "component": _as_text(need.name),
                        "version": _versions(need.version),
                        "artifact": need.artifact,
                    }
                    for name, need in call.requires.items()
                },
                "flags": dict(call.flags),
                "checkpoint": call.checkpoint,
                "tags": dict(call.tags),
                "resources": dict(call.resources),
            }
            for call in wish.calls
        ],
        "levels": [[level.name, level.total] for level in wish.levels],
        "versions": [_versions(version) for version in wish.versions],
        "tune": wish.tuning and _tuning_as_data(wish.tuning),
    }


def _as_text(name: Named) -> str:
    return name if isinstance(name, str) else f"{name.__module__}:{getattr(name, '__qualname__', name)}"


def _versions(version: Any) -> Plain:
    if isinstance(version, (list, tuple)):
        return type(version)(map(_versions, version))
    return version_key(version)


def _tuning_as_data(tuning: Tuning) -> dict[str, Plain]:
    """What was asked for, and under `lost` the paths of what has no plain form, such as a distribution of Ray Tune."""
    lost: list[str] = []

    def kept(value: Any, path: str) -> Plain:
        if isinstance(value, Mapping):
            return {str(key): kept(item, f"{path}.{key}") for key, item in value.items()}
        try:
            return as_plain(value, path, tuples=True)
        except WrongType:
            lost.append(path)
            return None

    return {
        "stop": kept(tuning.stop, "stop"),
        "config": visible_elements([kept(tuning.config, "config")]) or {},
        "num_samples": tuning.num_samples,
        "options": kept(tuning.options, "options"),
        "lost": lost,
    }
