"""Check the address of a Ray cluster before Ray tries it, because Ray retries for minutes."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

from machinable.errors import InvalidValue, Refused

__all__ = [
    "address_towards",
    "check_address",
    "has_token",
    "is_here",
    "no_node",
    "probe",
    "running_address",
    "unreachable",
]

CONNECT_TIMEOUT = 3.0  # seconds
CLIENT_PORT = 10001  # of Ray's client server, unless `ray start --ray-client-server-port` was given


def check_address(address: str) -> None:
    """Check that an address has the form of a cluster's address.

    Raises:
        InvalidValue: It has another form.
    """
    if address not in ("auto", "local"):
        _split(address)


def probe(address: str) -> None:
    """Check that something accepts connections at an address.

    Args:
        address: `host:port`, also after `ray://`.

    Raises:
        InvalidValue: It is not an address.
        Refused: Nothing accepts a connection in time.
    """
    try:
        socket.create_connection(_split(address), CONNECT_TIMEOUT).close()
    except OSError as error:
        raise unreachable(address, error) from error


def unreachable(address: str, error: BaseException) -> Refused:
    """Return the error for an address at which there is no cluster."""
    reason = str(error).strip().partition("\n")[0] or type(error).__name__
    if reason.endswith(":"):  # the following lines name the difference
        reason = " ".join(str(error).split())
    if address == "local":
        return Refused(f"Ray does not start: {reason}", todo="See the logs in /tmp/ray/session_latest/logs.")
    todo = "Start one with `ray start --head`, or omit the address to start a temporary cluster."
    if "Timed out while waiting for GCS" in reason:
        reason = "the server there is not a Ray cluster"
    if "InvalidAuthToken" in reason:
        has = "which is not the token of this process" if has_token() else "and this process has none"
        reason = f"it requires a token, {has}"
    if "oken" in reason:
        todo = "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token to the token of the cluster."
    if "ersion mismatch" in reason:
        todo = "Use the same versions as the cluster."
    if "ray[client]" in reason:
        todo = "Install it: pip install 'ray[client]'; or give the address without ray://."
    return Refused(f"cannot reach a Ray cluster at {address}: {reason}", given=address, todo=todo)


def no_node(address: str) -> Refused:
    """Return the error for a cluster that this host does not belong to."""
    host = _split(address)[0]
    return Refused(
        f"cannot use the Ray cluster at {address} from this host, which is not a node of it",
        given=address,
        todo=f"Use its client server, engine='ray:ray://{host}:{CLIENT_PORT}'; or let this host join: "
        f"ray start --address={address} --num-cpus=0.",
    )


def running_address() -> str | None:
    """Return the address of the cluster that `ray start` has started last on this host; None if it does not run.

    This is the rule of `ray.init`, which reads the same file.
    """
    temporary = os.environ.get("RAY_TMPDIR") or (sys.platform == "linux" and os.environ.get("TMPDIR")) or "/tmp"
    with suppress(OSError, InvalidValue, Refused):
        address = Path(temporary, "ray", "ray_current_cluster").read_text().strip()
        probe(address)
        return address
    return None


def is_here(address: str) -> bool:
    """Return whether an address is one of this host."""
    host = _split(address)[0]
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as tried:
            tried.bind((host, 0))
    except OSError:
        return False
    return True


def address_towards(host: str) -> str:
    """Return the address of this host in the network in which it reaches another one."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as asked:
        asked.connect((host, 9))  # this sends nothing
        return str(asked.getsockname()[0])


def has_token() -> bool:
    """Return whether this process has a token for a cluster."""
    return (
        any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"))
        or (Path.home() / ".ray" / "auth_token").is_file()
    )


def _split(address: str) -> tuple[str, int]:
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not host or "/" in host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise InvalidValue(
            f"{address!r} is not the address of a Ray cluster",
            given=address,
            todo="Write host:port, such as 10.0.0.1:6379.",
        )
    return host.strip("[]"), int(port)
