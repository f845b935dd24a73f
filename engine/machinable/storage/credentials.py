"""What of a URL is a secret, and errors that do not tell it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from machinable.errors import StorageUnavailable

__all__ = ["cut_user", "harmless", "secrets_of", "unavailable", "without_credentials"]

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
_PATHS = frozenset({"file", "osfs"})
_SECRET = re.compile(r"(?i)secret|passw|token|credential|signature|key")


def without_credentials(url: str) -> str:
    """The URL without user, password and secret parameters, as it may be shown and stored."""
    found = _URL.match(url)
    if not found or found[1].lower() in _PATHS:
        return url
    _, rest = cut_user(found[2])
    resource, question, query = rest.replace("@", "%40").partition("?")  # what stays is no user to the next reader
    parameters = [_shown_parameter(p) for p in query.split("&") if not _SECRET.search(p.partition("=")[0])]
    return f"{found[1]}://{resource}" + (question + "&".join(parameters) if any(parameters) else "")


def _shown_parameter(parameter: str) -> str:
    from urllib.parse import quote, unquote

    name, equals, value = parameter.partition("=")
    plain = unquote(value)
    shown = without_credentials(plain)
    return parameter if shown == plain else f"{name}{equals}{quote(shown, safe='')}"


def cut_user(rest: str) -> tuple[str, str]:
    """What stands before the first `@`, which is where PyFilesystem cuts, and what follows.

    A password with an `@` that should have been quoted is cut off whole.
    """
    user, at, resource = rest.partition("@")
    if not at:
        return "", rest
    host, slash, path = resource.partition("/")
    more, _, host = host.rpartition("@")
    return (f"{user}@{more}" if more else user), host + slash + path


def secrets_of(url: str) -> list[str]:
    """What of the URL must not be shown, as written and as meant, the longest first."""
    from urllib.parse import parse_qsl, unquote

    found = _URL.match(url)
    user, rest = cut_user(found[2] if found else "")
    texts = [user, *user.split(":")]
    for name, value in parse_qsl(rest.partition("?")[2]):
        texts += [value] if _SECRET.search(name) else secrets_of(value)
    return sorted({t for text in texts for t in (text, unquote(text)) if len(t) > 2}, key=len, reverse=True)


def unavailable(
    shown: str,
    failure: Exception,
    secrets: Iterable[str],
    reason: str | None = None,
    todo: str = "Check the URL, the network and the credentials.",
) -> StorageUnavailable:
    """What a library's error comes to.

    Args:
        shown: the URL without credentials. secrets: what must not be told. reason: by default what the error says.
    """
    told = " ".join((reason or str(failure) or type(failure).__name__).split())
    for secret in secrets:
        told = told.replace(secret, "…")
    return StorageUnavailable(f"the storage {shown!r} cannot be used: {told}", given=shown, todo=todo)


def harmless(failure: Exception, secrets: Iterable[str]) -> Exception | None:
    """The error as a cause, unless its text, or that of one behind it, tells a secret."""
    behind: BaseException | None = failure
    while behind is not None:
        if any(secret in str(behind) or secret in repr(behind) for secret in secrets):
            return None
        behind = behind.__cause__ or behind.__context__
    return failure
