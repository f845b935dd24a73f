"""The task that stands in an execution.json, made again."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from machinable.errors import ImportFailed, InvalidValue, MissingMember
from machinable.plain import Plain
from machinable.plan.task import Task
from machinable.plan.wish import Named

__all__ = ["task_from_data"]


def task_from_data(data: Mapping[str, Plain]) -> Task:
    """The task that was stored as `data`, the value of `task` in execution.json.

    Classes and functions are imported now, from where `sys.path` says. What was left out is gone: hidden keys, which
    the project has again, and values of `tune`.

    Raises:
        ImportFailed, MissingMember: a class or a function cannot be found.
        InvalidValue: it was tuned with values that could not be stored.
    """
    task = Task()
    for call in data["components"]:
        task.component(
            _from_text(call["component"]),
            call["version"],
            children=[
                {"component": _from_text(child["component"]), "version": child["version"],
                 "checkpoint": child["checkpoint"], "flags": child["flags"]}
                for child in call["children"]
            ],
            requires={name: _requirement(need) for name, need in call.get("requires", {}).items()},
            flags=call["flags"], checkpoint=call["checkpoint"], tags=call["tags"], resources=call["resources"],
        )  # fmt: skip
    for name, total in data["levels"]:
        task.repeat(total, name)
    for version in data["versions"]:
        task.version(version)
    tuning = data.get("tune")
    if tuning is not None:
        if tuning["lost"]:
            raise InvalidValue(
                f"the task was tuned with values that could not be stored: {', '.join(tuning['lost'])}",
                given=tuning["lost"], todo="Give the task again.",
            )  # fmt: skip
        task.tune(tuning["stop"], tuning["config"], tuning["num_samples"], **tuning["options"])
    return task


def _requirement(need: Mapping[str, Plain] | None) -> Any:
    if need is None:
        return None
    name = _from_text(need["component"])
    if need["artifact"] is not None:
        name = f"{name}:{need['artifact']}"
    return (name, *(need["version"] if isinstance(need["version"], tuple) else (need["version"],)))


def _from_text(text: str) -> Named:
    """A declared name as it is; for `module:qualname` the class or function of that name."""
    module, colon, path = text.partition(":")
    if not colon:
        return text
    try:
        found: Any = importlib.import_module(module)
    except (Exception, SystemExit) as error:
        raise ImportFailed(
            f"{text} does not import: {type(error).__name__}: {error}", given=text,
            todo="The task was made with this class or function: restore its module, or give the task again.",
        ) from error  # fmt: skip
    for name in path.split("."):
        if not hasattr(found, name):
            raise MissingMember(
                f"there is no {path!r} in the module {module!r} any more", given=text, known=[],
                todo="The task was made with this class or function: restore it, or give the task again.",
            )  # fmt: skip
        found = getattr(found, name)
    return found  # type: ignore[no-any-return]
