"""Dicts whose errors about missing keys say what was asked for, and what there is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from machinable.errors import UnknownName

__all__ = ["NamedValues"]


class NamedValues(dict[str, Any]):
    """A dict of values of one kind, such as tags."""

    def __init__(self, kind: str, values: Mapping[str, Any]) -> None:
        super().__init__(values)
        self._kind = kind

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, (dict(self),)  # pickles and copies need nothing of this package

    def __missing__(self, key: str) -> NoReturn:
        raise UnknownName(self._kind, key, self)
