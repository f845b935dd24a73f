"""What modules may catch: each name is what Python itself raises here, all others are never raised."""

from __future__ import annotations

__all__ = ["MachinableError"]


class MachinableError(Exception):
    """An error that cannot happen in an exported folder."""


_RAISED: dict[str, type[Exception]] = {
    "AccessError": LookupError,
    "ArtifactExists": FileExistsError,
    "BadName": ValueError,
    "EndlessCall": RecursionError,
    "InvalidValue": ValueError,
    "MissingArtifact": FileNotFoundError,
    "MissingAttribute": KeyError,
    "NotAvailable": AttributeError,
    "WrongKind": TypeError,
    "WrongType": TypeError,
}


def __getattr__(name: str) -> type[Exception]:
    if name.startswith("_"):
        raise AttributeError(name)
    return _RAISED.get(name, MachinableError)
