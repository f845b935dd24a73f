"""Read the test vectors of `tests/golden` and build the projects that they describe."""

from __future__ import annotations

import datetime
import importlib
import json
from pathlib import Path
from typing import Any

DIRECTORY = Path(__file__).parent / "golden"


def load(name: str) -> dict[str, Any]:
    return json.loads((DIRECTORY / f"{name}.json").read_text(encoding="utf-8"))


def write(directory: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def decode(value: Any) -> Any:
    """Return the value that an encoded value of a vector stands for."""
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"__tuple__"}:
        return tuple(decode(value["__tuple__"]))
    if set(value) == {"__date__"}:
        return datetime.date.fromisoformat(value["__date__"])
    if set(value) == {"__map__"}:
        return {decode(key): decode(item) for key, item in value["__map__"]}
    if set(value) == {"__python__"}:
        module, _, name = value["__python__"].partition(":")
        return getattr(importlib.import_module(module), name)
    return {key: decode(item) for key, item in value.items()}


def typed(value: Any) -> Any:
    """Return the value with the type of every scalar, so that 1, 1.0 and True differ."""
    if isinstance(value, dict):
        return {(type(key).__name__, key): typed(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [typed(item) for item in value]
    return type(value).__name__, repr(value)
