"""Whether a Ray cluster answers at an address, and takes this process: Ray would try for long, and not say why."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path

from machinable.errors import InvalidValue, Refused

__all__ = ["check_address", "has_token", "is_here", "probe", "unreachable"]

PATIENCE = 3.0  # seconds that a cluster gets to answer

# HTTP/2, which is what Ray speaks
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS = 0, 1, 4
_END_STREAM, _END_HEADERS = 1, 4
_POST_OVER_HTTP = b"\x83\x86"  # two headers of the table that everybody has
_STATUS_200, _STATUS_500 = 0x88, 0x8E  # from the same table: the first and the last of `:status`

# what is asked: the head of a cluster, and the server for addresses with ray://
_CLIENT = "ray://"
_QUESTIONS = {"": "/ray.rpc.NodeInfoGcsService/GetClusterId", _CLIENT: "/ray.rpc.RayletDriver/ClusterInfo"}
_UNKNOWN_QUESTION, _UNAUTHENTICATED = 12, 16  # of gRPC
_STATUS = re.compile(rb"grpc-status(?:\x01([0-9])|\x02([0-9]{2}))")


def check_address(address: str) -> None:
    """See that something is written like an address of a cluster.

    Raises:
        InvalidValue: it is not.
    """
    if address not in ("auto", "local"):
        _split(address)


def probe(address: str, authorization: str | None = None) -> None:
    """See that something that could be Ray answers, and lets this process in.

    Args:
        address: `host:port`, also after `ray://`. authorization: the header that Ray would send; None for none.

    Raises:
        InvalidValue: it is no address. Refused: nobody answers, or somebody else, or the token is not the right one.
    """
    kind, other = (_CLIENT, "") if address.startswith(_CLIENT) else ("", _CLIENT)
    status = _status(address, kind, authorization)
    if status == _UNAUTHENTICATED:
        has = "which is not the one of this process" if authorization else "and this process shows none"
        raise unreachable(address, OSError(f"it asks for a token, {has}"))
    if status == _UNKNOWN_QUESTION and _status(address, other, authorization) not in (None, _UNKNOWN_QUESTION):
        right = other + address.removeprefix(_CLIENT)
        raise Refused(
            f"no Ray cluster is reached at {address}: {right} is one", given=address, todo=f"Give 'ray:{right}'."
        )


def unreachable(address: str, error: BaseException) -> Refused:
    """What to tell when there is no cluster."""
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    if reason.endswith(":"):  # the rest is what it is about
        reason = " ".join(str(error).split())
    if address == "local":
        return Refused(f"Ray cannot be started: {reason}", todo="Look into /tmp/ray/session_latest/logs.")
    todo = "Start one with `ray start --head`, or leave out the address for a cluster of its own."
    if "oken" in reason:
        todo = "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token to the token of the cluster."
    if "ersion mismatch" in reason:
        todo = "Use the versions of the cluster."
    if "ray[client]" in reason:
        todo = "Install it: pip install 'ray[client]'; or give the address without ray://."
    return Refused(f"no Ray cluster is reached at {address}: {reason}", given=address, todo=todo)


def is_here(address: str) -> bool:
    """Whether an address is one of this host."""
    host = _split(address)[0]
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
            tried.bind((host, 0))
    except OSError:
        return False
    return True


def has_token() -> bool:
    """Whether this process could show a token to a cluster."""
    return (
        any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
        or (Path.home() / ".ray" / "auth_token").is_file()
    )


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InvalidValue(
            f"{address!r} is no address of a Ray cluster", given=address, todo="Write host:port, such as 10.0.0.1:6379."
        )
    return host.strip("[]"), int(port)


def _status(address: str, kind: str, authorization: str | None) -> int | None:
    """What a server at an address says to a question; None if it speaks the language, and has said nothing.

    Raises:
        Refused: nobody answers, or somebody else.
    """
    host, port = _split(address)
    try:
        with socket.create_connection((host, port), PATIENCE) as connection:
            if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):
                return None
            answer = _answer(connection, host, _QUESTIONS[kind], authorization)
    except OSError as error:
        raise unreachable(address, error) from error
    if not _is_http2(answer) or _is_denied(answer):
        raise unreachable(address, OSError("what answers there does not speak Ray's language"))
    status = _STATUS.search(answer)
    return None if status is None else int(status[1] or status[2])


def _answer(connection: socket.socket, host: str, question: str, authorization: str | None) -> bytes:
    """What comes back until there is a status; without it if that takes too long."""
    headers = {":path": question, ":authority": host, "content-type": "application/grpc", "te": "trailers"}
    if authorization is not None:
        headers["authorization"] = authorization
    written = _POST_OVER_HTTP + b"".join(b"\0" + _text(name) + _text(value) for name, value in headers.items())
    nothing = b"\0" * 5  # an empty message: not compressed, and no bytes long
    connection.sendall(
        _GREETING
        + _frame(_SETTINGS, 0, 0, b"")
        + _frame(_HEADERS, _END_HEADERS, 1, written)
        + _frame(_DATA, _END_STREAM, 1, nothing)
    )
    answer = b""
    until = time.monotonic() + PATIENCE
    while _is_http2(answer) and not _is_denied(answer) and not _STATUS.search(answer):
        connection.settimeout(max(0.001, until - time.monotonic()))
        try:
            more = connection.recv(2**16)
        except TimeoutError:
            if not answer:
                raise
            break
        if not more:
            return answer or b"nothing at all"
        answer += more
    return answer


def _is_http2(answer: bytes) -> bool:
    """Whether what has come can be the beginning of HTTP/2: settings."""
    return len(answer) < 4 or answer[3] == _SETTINGS


def _is_denied(answer: bytes) -> bool:
    """Whether a server of another kind says that it has no such page: gRPC does that in another way."""
    while len(answer) > 9:
        length = int.from_bytes(answer[:3], "big")
        if answer[3] == _HEADERS:
            return _STATUS_200 < answer[9] <= _STATUS_500
        answer = answer[9 + length :]
    return False


def _frame(kind: int, flags: int, stream: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + body


def _text(text: str) -> bytes:
    """A text in a header: its length, of which seven bits fit into the first byte, and its bytes."""
    data = text.encode()
    if len(data) < 127:
        return bytes([len(data)]) + data
    rest, length = len(data) - 127, b"\x7f"
    while rest >= 128:
        length += bytes([rest % 128 + 128])
        rest //= 128
    return length + bytes([rest]) + data
