"""The user's own settings: `~/.machinable/settings.yaml`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from machinable.config.references import Resolver
from machinable.config.source import Section, Source, read
from machinable.errors import MalformedText, UnknownName

__all__ = ["preferences"]

KEYS = ("imports", "storage", "engine")


def preferences(environment: Mapping[str, str], home: str = "~") -> dict[str, Any]:
    """The settings of the user; none if there is no file.

    Raises:
        MalformedText, UnknownName: the file is not YAML, no mapping, or has a key that means nothing.
    """
    path = os.path.join(os.path.expanduser(home), ".machinable", "settings.yaml")
    try:
        with open(path, encoding="utf-8") as file:
            text = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    tree = read(Source("~/.machinable/settings.yaml", text), environment=environment)
    if tree is None:
        return {}
    if not isinstance(tree, Section):
        raise MalformedText("~/.machinable/settings.yaml: the settings are a mapping", given=tree)
    for key in tree:
        if key not in KEYS:
            raise UnknownName("setting", key, KEYS, at=tree.place(key))
    return Resolver(tree, "settings").copy()
