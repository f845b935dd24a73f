from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from machinable.ui.access import Access

HOME = {"host": "127.0.0.1:8080"}
TOKEN = "the-token"


class Answer:
    def __init__(self, messages: list[dict[str, Any]]) -> None:
        self.first = messages[0]
        self.status = messages[0].get("status", messages[0]["type"])
        self.headers = {name.decode(): value.decode() for name, value in messages[0].get("headers", ())}
        self.body = b"".join(message.get("body", b"") for message in messages).decode()


async def application(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["path"].encode())]})
    await send({"type": "http.response.body", "body": b"inside"})


@pytest.fixture
def access() -> Access:
    return Access(application, TOKEN, "machinable_8080")


def ask(
    access: Access,
    query: str = "",
    headers: dict[str, str] = HOME,
    *,
    path: str = "/",
    method: str = "GET",
    kind: str = "http",
) -> Answer:
    messages: list[dict[str, Any]] = []

    async def send(message: Any) -> None:
        messages.append(message)

    async def receive() -> dict[str, Any]:
        return {"type": f"{kind}.request"}

    scope = {"type": kind, "method": method, "path": path, "query_string": query.encode()}
    scope["headers"] = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    asyncio.run(access(scope, receive, send))
    return Answer(messages)


@pytest.fixture
def cookie(access: Access) -> dict[str, str]:
    """The headers of a browser that has exchanged the token."""
    given = ask(access, f"token={TOKEN}").headers["set-cookie"]
    return {**HOME, "cookie": f"theme=dark; {given.partition(';')[0]}"}


def test_the_token_is_exchanged_for_a_cookie_and_leaves_the_address(access: Access) -> None:
    answer = ask(access, f"where=a%3D1+b&token={TOKEN}&sort=x", path="/trials")

    assert answer.status == 303 and answer.headers["location"] == "/trials?where=a%3D1+b&sort=x"
    assert re.fullmatch(r"machinable_8080=[\w-]{43}; Path=/; HttpOnly; SameSite=Lax", answer.headers["set-cookie"])
    assert TOKEN not in answer.headers["set-cookie"]


def test_who_has_the_cookie_is_let_in(access: Access, cookie: dict[str, str]) -> None:
    answer = ask(access, headers=cookie, path="/trials")

    assert (answer.status, answer.body, answer.headers["x-path"]) == (200, "inside", "/trials")
    assert ask(access, headers={**cookie, "host": "localhost:9999"}).status == 200  # through a tunnel
    assert ask(access, headers={**cookie, "host": "[::1]:8080"}).status == 200


@pytest.mark.parametrize(
    ("query", "headers"),
    [
        ("", {}),
        ("token=", {}),
        ("token=the-toke", {}),
        ("token=the-tokén", {}),
        ("token=%ff%00", {}),
        (f"token={TOKEN}&token=x", {}),
        ("TOKEN=the-token", {}),
        ("", {"cookie": "machinable_8080="}),
        ("", {"cookie": "machinable_8080=the-token"}),
        ("", {"cookie": "other=x; machinable_8080"}),
        ("", {"cookie": 'é="; machinable_8080=x; a[b]=c'}),
    ],
)
def test_without_it_a_page_says_where_to_find_the_url(access: Access, query: str, headers: dict[str, str]) -> None:
    answer = ask(access, query, {**HOME, **headers})

    assert answer.status == 403 and "the URL that <code>machinable ui</code> printed" in answer.body
    assert "set-cookie" not in answer.headers and "inside" not in answer.body


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "127.0.0.1.evil.example", "127.0.0.2", "", "a@127.0.0.1.b", "[::"]
)
def test_a_name_that_only_resolves_to_this_machine_is_refused(
    access: Access, cookie: dict[str, str], host: str
) -> None:
    answer = ask(access, f"token={TOKEN}", {**cookie, "host": host})

    assert answer.status == 403 and "answers only at 127.0.0.1 or localhost" in answer.body
    assert "set-cookie" not in answer.headers


def test_what_can_change_something_must_come_from_the_page_itself(access: Access, cookie: dict[str, str]) -> None:
    own, other = {"origin": "http://127.0.0.1:8080"}, {"origin": "http://127.0.0.1:9000"}

    assert ask(access, headers={**cookie, **own}, method="POST").status == 200
    assert ask(access, headers={**cookie, **other}, method="POST").status == 403
    assert ask(access, headers=cookie, method="POST").status == 403
    assert ask(access, f"token={TOKEN}", headers={**HOME, **own}, method="POST").status == 403
    assert ask(access, headers={**cookie, **own}, kind="websocket").status == "websocket.accept"
    for headers in ({**cookie, **other}, cookie, {**HOME, **own}):
        assert ask(access, headers=headers, kind="websocket").first == {"type": "websocket.close", "code": 1008}


def test_an_answer_loads_nothing_from_elsewhere_and_tells_nobody_where_it_was(
    access: Access, cookie: dict[str, str]
) -> None:
    headers = ask(access, headers=cookie).headers
    policy = headers["content-security-policy"]

    assert "default-src 'self'" in policy and "connect-src 'self' ws://127.0.0.1:8080;" in policy
    assert "http" not in policy and "frame-ancestors 'none'" in policy
    assert headers["referrer-policy"] == "no-referrer" and headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["//evil.example/x", "/\\evil.example/x", "///evil.example"])
def test_the_exchange_never_leads_to_another_site(access: Access, path: str) -> None:
    location = ask(access, f"token={TOKEN}", path=path).headers["location"]

    assert re.match(r"/evil\.example", location)


def test_a_path_with_odd_characters_stays_one_header(access: Access) -> None:
    location = ask(access, f"token={TOKEN}", path="/a b\r\nset-cookie: x=1é").headers["location"]

    assert location == "/a+b%0D%0Aset-cookie%3A+x%3D1%C3%A9"
