"""Addresses of Ray clusters are checked before Ray tries them for minutes."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from machinable.engines.ray import addresses
from machinable.engines.ray.addresses import address_towards, check_address, has_token, is_here, probe, running_address
from machinable.errors import InvalidValue, Refused


def test_an_address_that_accepts_connections_passes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        probe(address)
        probe(f"ray://{address}")

    with pytest.raises(Refused, match=f"cannot reach a Ray cluster at {address}: .*Connection refused"):
        probe(address)


@pytest.mark.parametrize(
    "address", ["", "nowhere", "10.0.0.1", "10.0.0.1:", ":6379", "host:0", "host:70000", "ray://", "http://host:1"]
)
def test_other_texts_are_not_addresses(address: str) -> None:
    with pytest.raises(InvalidValue, match="is not the address of a Ray cluster\n  Write host:port, such as"):
        check_address(address)


@pytest.mark.parametrize("address", ["auto", "local", "host:6379", "[::1]:6379", "ray://head.example:10001"])
def test_addresses_are_valid(address: str) -> None:
    check_address(address)


def test_addresses_of_this_host_are_recognized() -> None:
    assert is_here("127.0.0.1:1")
    assert is_here("ray://localhost:1")
    assert not is_here("192.0.2.254:1")  # reserved for documentation


def test_a_token_is_read_from_a_variable_or_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not has_token()

    monkeypatch.setenv("RAY_AUTH_TOKEN", "x")
    assert has_token()


def test_a_running_cluster_of_this_host_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    found = [running_address()]
    (tmp_path / "ray").mkdir()
    file = tmp_path / "ray" / "ray_current_cluster"  # as Ray writes it
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        for text in ("", "nonsense", address):
            file.write_text(text)
            found.append(running_address())
    found.append(running_address())  # it was killed

    assert found == [None, None, None, address, None]


START = "Start one with `ray start --head`, or omit the address to start a temporary cluster."


@pytest.mark.parametrize(
    ("message", "reason", "todo"),
    [
        ("Failed to connect\nand more", "Failed to connect", START),
        ("", "RuntimeError", START),
        ("Timed out while waiting for GCS to become available.", "the server there is not a Ray cluster", START),
        (
            "Version mismatch: The cluster has:\n    Python: 3.13.0\nThis process has:\n    Python: 3.10.1\n",
            "Version mismatch: The cluster has: Python: 3.13.0 This process has: Python: 3.10.1",
            "Use the same versions as the cluster.",
        ),
        (
            "Ray Client requires pip package `ray[client]`.",
            "Ray Client requires pip package `ray[client]`.",
            "Install it: pip install 'ray[client]'; or give the address without ray://.",
        ),
    ],
)
def test_errors_of_ray_are_reported_with_what_to_do(message: str, reason: str, todo: str) -> None:
    message_shown = str(addresses.unreachable("host:1", RuntimeError(message)))

    assert message_shown == f"cannot reach a Ray cluster at host:1: {reason}\n  {todo}"


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_the_address_towards_a_host_is_one_of_this_host(host: str) -> None:
    assert address_towards(host) == host
