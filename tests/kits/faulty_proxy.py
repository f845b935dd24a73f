"""A proxy for tests between a client and an HTTP server, which breaks some of the requests."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

__all__ = ["FAULTS", "FaultyProxy", "at_random", "faulty_proxy"]

FAULTS = (
    "refused",  # the server never receives the request; the answer is an error
    "lost",  # the server handles the request, but the answer is an error
    "cut",  # the server handles the request, and the connection breaks in the middle of the answer
)


class FaultyProxy:
    """A running proxy.

    Attributes:
        url: Its address, to use in place of the server's.
        choose: Returns the fault of a request by its method and path, or None.
        seen: The faults so far.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.choose: Callable[[str, str], str | None] = lambda method, path: None
        self.seen: list[str] = []


def at_random(rate: float, seed: int, *methods: str, faults: tuple[str, ...] = FAULTS) -> Any:
    """Return a function for `choose`: a share of the requests with these methods is broken."""
    generator = random.Random(seed)

    def choose(method: str, path: str) -> str | None:
        return generator.choice(faults) if method in methods and generator.random() < rate else None

    return choose


@contextmanager
def faulty_proxy(server: str) -> Iterator[FaultyProxy]:
    """Start a proxy before a server with this URL; it stops with the block."""
    target = urlsplit(server).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def handle_one_request(self) -> None:
            try:
                super().handle_one_request()
            except (ConnectionError, TimeoutError):  # the client was killed
                self.close_connection = True

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = proxy.choose(self.command, self.path)
            if fault is not None:
                proxy.seen.append(fault)
            if fault == "refused":
                self._answer(500, [], b"")
                return
            connection = HTTPConnection(target, timeout=60)
            try:
                headers = {name: text for name, text in self.headers.items() if name.lower() != "expect"}
                connection.request(self.command, self.path, body, headers)
                response = connection.getresponse()
                content = response.read()
            finally:
                connection.close()
            if fault == "lost":
                self._answer(500, [], b"")
            else:
                self._answer(response.status, response.getheaders(), content, is_cut=fault == "cut")

        def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes, *, is_cut: bool = False) -> None:
            self.send_response_only(status)
            length = str(len(body))
            for name, text in headers:
                if name.lower() == "content-length":
                    length = text  # of a HEAD request, whose answer has no body
                elif name.lower() not in ("transfer-encoding", "connection"):
                    self.send_header(name, text)
            self.send_header("Content-Length", length)
            if is_cut:
                self.close_connection = True
                if body:
                    self.end_headers()
                    self.wfile.write(body[: len(body) // 2])
                return
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _handle  # noqa: N815 - named by the library

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        proxy = FaultyProxy(f"http://127.0.0.1:{running.server_address[1]}")
        thread = Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            running.shutdown()
            thread.join()
