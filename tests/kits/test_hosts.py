"""The isolated hosts of the tests are as separate as real ones."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.kits.hosts import Host, Network, isolated_hosts, why_not

pytestmark = pytest.mark.skipif(bool(why_not()), reason=why_not())


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    with isolated_hosts(tmp_path_factory.mktemp("hosts"), "one", "two", "three") as network:
        yield network


CONNECT = """
import socket
import sys

try:
    socket.create_connection((sys.argv[1], 80), 1)
except OSError as error:
    print(type(error).__name__)
"""


def answer(one: Host, other: Host) -> str:
    """Return how one host answers another; no host has a server."""
    return other.run("python", "-c", CONNECT, one.address).stdout.strip()


def test_hosts_have_their_own_names_files_and_processes(network: Network) -> None:
    seen = []
    for host in network.hosts:
        (host.tmp / "name").write_text(host.name)
        seen.append(host.run("sh", "-c", "hostname; cat /tmp/name; echo; echo $$ >/tmp/pid; ls /proc").stdout.split())

    assert [words[:2] for words in seen] == [[name, name] for name in ("one", "two", "three")]
    assert all(len([word for word in words if word.isdigit()]) < 10 for words in seen)


def test_hosts_run_the_same_python(network: Network) -> None:
    program = "import sys, machinable; print(sys.prefix)"

    assert {host.run("python", "-c", program).stdout.strip() for host in network.hosts} == {sys.prefix}


def test_hosts_reach_each_other_unless_they_are_cut(network: Network) -> None:
    one, two, three = network.hosts
    assert [answer(one, two), answer(two, three), answer(three, one)] == ["ConnectionRefusedError"] * 3

    network.cut(one, two)
    during = [answer(one, two), answer(two, one), answer(one, three), answer(two, three)]
    network.mend(one, two)

    assert during == ["TimeoutError"] * 2 + ["ConnectionRefusedError"] * 2
    assert answer(one, two) == "ConnectionRefusedError"


def test_a_lost_host_takes_its_processes_with_it(network: Network) -> None:
    host = network.add("four")
    process = host.start("sleep", "1000")
    host.lose()

    assert process.returncode is not None
