"""Secrets in URLs, and errors that do not reveal them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from machinable.errors import StorageUnavailable

__all__ = [
    "PATHS",
    "URL",
    "censored",
    "cut_user",
    "harmless",
    "nothing_stored",
    "secrets_of",
    "unavailable",
    "without_credentials",
]

URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://(.*)", re.DOTALL)
PATHS = frozenset({"file", "osfs"})
_SECRET = re.compile(r"(?i)secret|passw|token|credential|signature|key")


def without_credentials(url: str) -> str:
    """Return the URL without user, password and secret parameters, for display and storage."""
    found = URL.match(url)
    if not found or found[1].lower() in PATHS:
        return url
    _, rest = cut_user(found[2])
    # An @ that stays must not be read as the end of a user.
    resource, question, query = rest.replace("@", "%40").partition("?")
    parameters = [_shown_parameter(p) for p in query.split("&") if not _SECRET.search(p.partition("=")[0])]
    return f"{found[1]}://{resource}" + (question + "&".join(parameters) if any(parameters) else "")


def _shown_parameter(parameter: str) -> str:
    from urllib.parse import quote, unquote

    name, equals, value = parameter.partition("=")
    plain = unquote(value)
    shown = without_credentials(plain)
    return parameter if shown == plain else f"{name}{equals}{quote(shown, safe='')}"


def cut_user(rest: str) -> tuple[str, str]:
    """Split a URL after its scheme into the user before the first `@`, as PyFilesystem does, and the rest.

    A password with an unquoted `@` belongs to the user as a whole.
    """
    user, at, resource = rest.partition("@")
    if not at:
        return "", rest
    host, slash, path = resource.partition("/")
    more, _, host = host.rpartition("@")
    return (f"{user}@{more}" if more else user), host + slash + path


def secrets_of(url: str) -> list[str]:
    """Return the secrets in a URL, quoted and unquoted, longest first."""
    from urllib.parse import parse_qsl, unquote

    found = URL.match(url)
    user, rest = cut_user(found[2] if found else "")
    texts = [user, *user.split(":")]
    for name, value in parse_qsl(rest.partition("?")[2]):
        texts += [value] if _SECRET.search(name) else secrets_of(value)
    return sorted({t for text in texts for t in (text, unquote(text)) if len(t) > 2}, key=len, reverse=True)


def censored(failure: Exception, secrets: Iterable[str], text: str | None = None) -> str:
    """Return the text of an error on one line, with secrets replaced by `…`; `text` replaces its own."""
    line = " ".join((text or str(failure) or type(failure).__name__).split())
    for secret in secrets:
        line = line.replace(secret, "…")
    return line


def unavailable(
    url: str,
    failure: Exception,
    reason: str | None = None,
    todo: str = "Check the URL, the network and the credentials.",
) -> StorageUnavailable:
    """Return the error of a storage for the error of a library, without the secrets in the URL."""
    shown, secrets = without_credentials(url), secrets_of(url)
    line = censored(failure, secrets, reason)
    error = StorageUnavailable(f"the storage {shown!r} cannot be used: {line}", given=shown, todo=todo)
    error.__cause__ = harmless(failure, secrets)
    return error


def nothing_stored(shown: str) -> StorageUnavailable:
    """Return the error for a location without a storage."""
    return StorageUnavailable(
        f"there is no storage at {shown!r}", given=shown, todo="Give the URL at which executions were stored."
    )


def harmless(failure: Exception, secrets: Iterable[str]) -> Exception | None:
    """Return the error as a cause, unless its text, or that of an error behind it, contains a secret."""
    behind: BaseException | None = failure
    while behind is not None:
        if any(secret in str(behind) or secret in repr(behind) for secret in secrets):
            return None
        behind = behind.__cause__ or behind.__context__
    return failure
