"""Who may see the page: programs on this machine that know the token, and no page of another site."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Awaitable, Callable, MutableMapping
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

__all__ = ["ARTIFACT_POLICY", "TOKEN", "Access"]

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

TOKEN = "token"  # noqa: S105 - the name of the parameter
LOOPBACK = ("127.0.0.1", "localhost", "::1")

# The framework compiles templates in the browser and has inline scripts. What users wrote never becomes HTML there.
_PAGE_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-src 'self'; frame-ancestors 'none'"
)
# An artifact runs no script and asks for nothing, even where it is opened alone.
ARTIFACT_POLICY = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'"

_REFUSED = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>machinable: no access</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:36em;margin:15vh auto;padding:0 1em}</style></head>
<body><h1>No access</h1><p>%s</p></body></html>"""
_UNKNOWN = (
    "This page needs the URL that <code>machinable ui</code> printed when it started, with <code>?token=…</code> at "
    "its end. Copy it from that terminal. Each start of the command has its own token."
)
_WRONG_HOST = "This page answers only at 127.0.0.1 or localhost. For another machine, use <code>ssh -L</code>."
_WRONG_ORIGIN = "The request came from a page of another site."


class Access:
    """Let in requests with the token, or with the cookie that the token was exchanged for.

    Both are compared in constant time. The host must be a name of this machine, so that a site whose name resolves to
    it learns nothing, and what is more than a request of a page must come from this page itself.

    Args:
        app: The application behind it.
        token: The secret in the URL.
        name: The name of the cookie. Cookies are sent to all ports of a host, so each server has its own name.
    """

    def __init__(self, app: App, token: str, name: str) -> None:
        self._app = app
        self._token = token
        self._name = name
        self._session = secrets.token_urlsafe(32)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request, or leave it to the application."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = [(name.decode("latin-1").lower(), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == "host"]
        origins = [value for name, value in headers if name == "origin"]
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == TOKEN]
        is_read = scope["type"] == "http" and scope["method"] in ("GET", "HEAD")
        if len(hosts) != 1 or _hostname(hosts[0]) not in LOOPBACK:
            await _refuse(scope, send, _WRONG_HOST)
        elif not is_read and any(urlsplit(origin).netloc != hosts[0] for origin in origins or [""]):
            await _refuse(scope, send, _WRONG_ORIGIN)
        elif given:
            if is_read and len(given) == 1 and _is_equal(given[0], self._token):
                rest = urlencode([(name, value) for name, value in query if name != TOKEN])
                await self._exchange(scope, send, rest)
            else:
                await _refuse(scope, send, _UNKNOWN)
        elif any(_is_equal(value, self._session) for value in self._cookies(headers)):
            await self._app(scope, receive, _with_headers(send, hosts[0]))
        else:
            await _refuse(scope, send, _UNKNOWN)

    def _cookies(self, headers: list[tuple[str, str]]) -> list[str]:
        found = []
        for name, value in headers:
            if name == "cookie":
                try:
                    cookie = SimpleCookie(value).get(self._name)
                except CookieError:
                    continue
                if cookie is not None:
                    found.append(cookie.value)
        return found

    async def _exchange(self, scope: Message, send: Send, query: str) -> None:
        """Give the cookie, and send the browser to the same page without the token, which stays out of its history."""
        path = "/" + scope["path"].lstrip("/\\")  # `//other.host` would be another site
        place = urlencode({"": path}, safe="/")[1:] + (f"?{query}" if query else "")
        cookie = f"{self._name}={self._session}; Path=/; HttpOnly; SameSite=Lax"
        headers = [("location", place), ("set-cookie", cookie), ("cache-control", "no-store")]
        await _answer(send, 303, headers, b"")


def _hostname(host: str) -> str | None:
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _is_equal(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "surrogatepass"), secret.encode())


async def _refuse(scope: Message, send: Send, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    headers = [("content-type", "text/html; charset=utf-8"), ("cache-control", "no-store")]
    await _answer(send, 403, headers, (_REFUSED % why).encode())


async def _answer(send: Send, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
    encoded = [(name.encode(), value.encode("latin-1")) for name, value in [*headers, *_HEADERS]]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})


_HEADERS = [
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
]


def _with_headers(send: Send, host: str) -> Send:
    """Return `send` with the headers that each answer has."""
    policy = _PAGE_POLICY.replace("connect-src 'self'", f"connect-src 'self' ws://{host}")

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = list(message.get("headers", ()))
            added = list(_HEADERS)
            if not any(name.lower() == b"content-security-policy" for name, _ in headers):
                added.append(("content-security-policy", policy))
            message = {**message, "headers": headers + [(name.encode(), value.encode()) for name, value in added]}
        await send(message)

    return sending
