"""What is told of the address of a Ray cluster before Ray tries it, and takes its time."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from machinable.engines.ray import addresses
from machinable.engines.ray.addresses import check_address, has_token, is_here, probe
from machinable.errors import InvalidValue, Refused

# frames of HTTP/2 as gRPC servers send them
SETTINGS = b"\0\0\0\x04\0\0\0\0\0"
OK, NOT_FOUND = b"\x88", b"\x8d"


def headers(status: bytes, *fields: tuple[bytes, bytes]) -> bytes:
    text = status + b"".join(b"\0" + bytes([len(x)]) + x + bytes([len(y)]) + y for x, y in fields)
    return len(text).to_bytes(3, "big") + b"\x01\x05\0\0\0\x01" + text


def answers(status: bytes) -> Callable[[bytes], bytes]:
    return lambda question: SETTINGS + headers(OK, (b"grpc-status", status))


class Server:
    """Something that listens, and what it was asked."""

    def __init__(self, answer: Callable[[bytes], bytes] | None, stays: bool = False) -> None:
        self.asked: list[bytes] = []
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._answer = answer
        self._stays = stays
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            with connection:
                question = connection.recv(2**16)
                if question == b"stop":
                    return
                self.asked.append(question)
                if self._answer is not None:
                    connection.sendall(self._answer(question))
                if self._stays:
                    connection.recv(1)  # until the other side has had enough

    def close(self) -> None:
        host, _, port = self.address.partition(":")
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(b"stop")
        self._thread.join()
        self._socket.close()


Serve = Callable[..., Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    with ExitStack() as servers:

        def make(answer: Callable[[bytes], bytes] | None, stays: bool = False) -> Server:
            server = Server(answer, stays)
            servers.callback(server.close)
            return server

        yield make


def reason(address: str, authorization: str | None = None) -> str:
    with pytest.raises(Refused) as caught:
        probe(address, authorization)
    return str(caught.value).replace(address, "ADDRESS")


def test_a_cluster_that_answers_is_let_pass(serve: Serve) -> None:
    probe(serve(answers(b"0")).address)
    probe("ray://" + serve(answers(b"5")).address)


def test_a_cluster_that_says_nothing_yet_is_let_pass(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "PATIENCE", 0.1)

    probe(serve(lambda question: SETTINGS, stays=True).address)


def test_a_token_that_is_missing_or_wrong_is_told(serve: Serve) -> None:
    todo = "\n  Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token to the token of the cluster."
    server = serve(answers(b"16"))

    assert reason(server.address) == (
        f"no Ray cluster is reached at ADDRESS: it asks for a token, and this process shows none{todo}"
    )
    assert reason(server.address, "Bearer secret") == (
        f"no Ray cluster is reached at ADDRESS: it asks for a token, which is not the one of this process{todo}"
    )


@pytest.mark.parametrize("length", [1, 119, 120, 300])
def test_the_token_is_shown_as_it_is(length: int, serve: Serve) -> None:
    server = serve(answers(b"0"))

    probe(server.address, "Bearer " + "x" * length)

    (asked,) = server.asked
    start = asked.index(b"authorization") + len(b"authorization")
    value, at, shift = asked[start], start + 1, 0  # an integer with a prefix of seven bits
    if value == 127:
        while True:
            value += (asked[at] & 127) << shift
            at, shift, more = at + 1, shift + 7, asked[at] & 128
            if not more:
                break
    assert asked[at : at + value] == b"Bearer " + b"x" * length


@pytest.mark.parametrize(
    ("answer", "stays"),
    [
        (lambda question: b"HTTP/1.1 400 Bad Request\r\n\r\n", True),
        (lambda question: SETTINGS + headers(NOT_FOUND), True),
        (lambda question: b"", False),
    ],
)
def test_what_is_no_ray_at_all_is_told(answer: Callable[[bytes], bytes], stays: bool, serve: Serve) -> None:
    assert "ADDRESS: what answers there does not speak Ray's language\n" in reason(serve(answer, stays).address)


def test_what_says_nothing_at_all_is_told(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(addresses, "PATIENCE", 0.1)

    assert "ADDRESS: timed out\n" in reason(serve(None, stays=True).address)


def test_the_two_kinds_of_servers_are_told_apart(serve: Serve) -> None:
    head = serve(lambda question: answers(b"0" if b"GetClusterId" in question else b"12")(question)).address
    client = serve(lambda question: answers(b"0" if b"ClusterInfo" in question else b"12")(question)).address

    assert reason(f"ray://{head}") == f"no Ray cluster is reached at ADDRESS: {head} is one\n  Give 'ray:{head}'."
    assert reason(client) == "no Ray cluster is reached at ADDRESS: ray://ADDRESS is one\n  Give 'ray:ray://ADDRESS'."


def test_a_question_that_no_server_knows_is_not_held_against_it(serve: Serve) -> None:
    probe(serve(answers(b"12")).address)


@pytest.mark.parametrize(
    "address", ["", "nowhere", "10.0.0.1", "10.0.0.1:", ":6379", "host:0", "host:70000", "ray://", "http://host:1"]
)
def test_what_is_no_address_is_told(address: str) -> None:
    with pytest.raises(InvalidValue, match="is no address of a Ray cluster\n  Write host:port, such as"):
        check_address(address)


@pytest.mark.parametrize("address", ["auto", "local", "host:6379", "[::1]:6379", "ray://head.example:10001"])
def test_addresses_are(address: str) -> None:
    check_address(address)


def test_this_host_is_known(serve: Serve) -> None:
    assert is_here("127.0.0.1:1")
    assert is_here("ray://localhost:1")
    assert not is_here("192.0.2.254:1")  # an address of nobody


def test_a_token_comes_from_a_variable_or_from_home(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_token()

    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    assert has_token()


START = "Start one with `ray start --head`, or leave out the address for a cluster of its own."


@pytest.mark.parametrize(
    ("message", "reason", "todo"),
    [
        ("Failed to connect\nand more", "Failed to connect", START),
        ("", "RuntimeError", START),
        (
            "Version mismatch: The cluster has:\n    Python: 3.13.0\nThis process has:\n    Python: 3.10.1\n",
            "Version mismatch: The cluster has: Python: 3.13.0 This process has: Python: 3.10.1",
            "Use the versions of the cluster.",
        ),
        (
            "Ray Client requires pip package `ray[client]`.",
            "Ray Client requires pip package `ray[client]`.",
            "Install it: pip install 'ray[client]'; or give the address without ray://.",
        ),
    ],
)
def test_what_ray_says_is_told_with_what_to_do(message: str, reason: str, todo: str) -> None:
    told = str(addresses.unreachable("host:1", RuntimeError(message)))

    assert told == f"no Ray cluster is reached at host:1: {reason}\n  {todo}"


def test_no_secret_is_told(serve: Serve) -> None:
    with pytest.raises(Refused) as caught:
        probe(serve(answers(b"16")).address, "Bearer secret")

    assert "secret" not in repr(vars(caught.value)) + str(caught.value)
