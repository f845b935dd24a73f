"""A task as plain data, as it stands in execution.json."""

from __future__ import annotations

from typing import Any

from machinable.plan.identity import version_key
from machinable.plan.request import Named, TaskRequest
from machinable.serialization import Plain

__all__ = ["task_as_data"]


def task_as_data(wish: TaskRequest) -> dict[str, Plain]:
    """A task as plain data; hidden keys are left out."""
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
    }


def _as_text(name: Named) -> str:
    return name if isinstance(name, str) else f"{name.__module__}:{getattr(name, '__qualname__', name)}"


def _versions(version: Any) -> Plain:
    if isinstance(version, (list, tuple)):
        return type(version)(map(_versions, version))
    return version_key(version)
