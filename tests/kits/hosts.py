"""Isolated hosts on one machine: each has its own network, host name, processes and /tmp.

Their files in /tmp are the only difference in their file systems, so a project and a storage below /tmp are local to
one host. The tests see them through `Host.tmp`.
"""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from pathlib import Path

import machinable as ml

__all__ = ["Host", "Network", "isolated_hosts", "pipe", "read_pipe", "why_not", "write_pipe"]

NEEDED = [sys.prefix, sys.base_prefix, str(Path(ml.__file__).parents[1]), str(Path(__file__).parents[2])]
NOWHERE = "02:00:00:00:00:01"  # the hardware address of no host

# Mount its own /tmp with the directories that Python needs, then wait until the test ends: $1 is its name.
BEGIN = """
set -e
first='import signal, sys; signal.signal(signal.SIGCHLD, signal.SIG_IGN); sys.stdin.read()'  # reaps orphans
hostname "$1"
mount -t tmpfs tmpfs /dev/shm
tmp=$2
python=$3
shift 3
for needed; do
    mkdir -p "$tmp${needed#/tmp}"
    mount --rbind "$needed" "$tmp${needed#/tmp}"
done
mount --rbind "$tmp" /tmp
echo ready
exec "$python" -c "$first"
"""


def _tool(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


@cache
def why_not() -> str:
    """Return why no hosts can be made here; "" if they can."""
    missing = [tool for tool in ("ip", "unshare", "nsenter", "mount") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} not found"
    tried = _tool(
        *("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--mount-proc"),
        *("sh", "-c", "ip link add name bridge type bridge && mount -t tmpfs tmpfs /tmp"),
    )
    return "" if tried.returncode == 0 else f"namespaces are not permitted: {tried.stderr.strip()}"


class Host:
    """A host.

    Attributes:
        name: Its host name.
        address: Its IP address.
        tmp: Its /tmp, as this process sees it.
    """

    def __init__(self, name: str, address: str, tmp: Path, environment: dict[str, str]) -> None:
        self.name = name
        self.address = address
        self.tmp = tmp
        (tmp / "home").mkdir(parents=True)
        self._environment = {
            "HOME": "/tmp/home",
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(Path(ml.__file__).parents[1]),
            "PYTHONDONTWRITEBYTECODE": "1",
            **environment,
        }
        bound = [path for path in dict.fromkeys(NEEDED) if path.startswith("/tmp/")]
        self._unshare = subprocess.Popen(
            [
                *("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc"),
                *("sh", "-c", BEGIN, "sh", name, str(tmp), sys.executable, *bound),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started: list[subprocess.Popen[str]] = []
        assert self._unshare.stdout is not None
        assert self._unshare.stdout.readline() == "ready\n"
        pid = self._unshare.pid
        self.first = int(Path(f"/proc/{pid}/task/{pid}/children").read_text())
        self.ip("link", "set", "lo", "up")

    def ip(self, *arguments: str) -> None:
        """Configure its network."""
        done = _tool("nsenter", f"--net=/proc/{self.first}/ns/net", "ip", *arguments)
        assert done.returncode == 0, done.stderr

    def command(self, *command: str, directory: str = "/tmp", **environment: str) -> list[str]:
        """Return the command that runs a command on this host."""
        variables = [f"{name}={value}" for name, value in {**self._environment, **environment}.items()]
        return [
            *("nsenter", "--target", str(self.first), "--net", "--mount", "--uts", "--pid", "env", "-i", *variables),
            *("sh", "-c", 'cd "$0" && exec "$@"', directory, *command),
        ]

    def run(
        self, *command: str, directory: str = "/tmp", timeout: float = 120, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*command, directory=directory, **environment),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def start(self, *command: str, directory: str = "/tmp", **environment: str) -> subprocess.Popen[str]:
        """Start a command, which ends with this host."""
        started = subprocess.Popen(
            self.command(*command, directory=directory, **environment),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._started.append(started)
        return started

    def lose(self) -> None:
        """Kill all its processes, as a power failure does."""
        self._unshare.kill()
        for process in (self._unshare, *self._started):
            process.wait()
            for stream in (process.stdin, process.stdout):
                if stream is not None:
                    stream.close()


def pipe(host: Host, name: str) -> Path:
    """Make a named pipe in the /tmp of a host."""
    path = host.tmp / name
    os.mkfifo(path)
    return path


def read_pipe(path: Path, seconds: float = 120.0) -> str:
    """Return what one writer writes to a pipe; fail if none does in time."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        end = time.monotonic() + seconds
        text = b""
        while not text:
            assert time.monotonic() < end, f"nothing was written to {path}"
            time.sleep(0.05)
            with suppress(BlockingIOError):  # a writer that has not written yet
                text = os.read(file, 1000)
        return text.decode()
    finally:
        os.close(file)


def write_pipe(path: Path, text: str, seconds: float = 120.0) -> None:
    """Write to a pipe that somebody reads; fail if nobody does in time."""
    end = time.monotonic() + seconds
    file = None
    while file is None:
        try:
            file = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            assert time.monotonic() < end, f"nobody reads {path}"
            time.sleep(0.05)
    try:
        os.write(file, text.encode())
    finally:
        os.close(file)


class Network:
    """Hosts that reach each other. The first one has the switch, so it must not be lost before the others.

    Args:
        directory: For their files.
        environment: Variables of all commands on the hosts.
    """

    def __init__(self, directory: Path, **environment: str) -> None:
        self._directory = directory
        self._environment = environment
        self.hosts: list[Host] = []

    def add(self, name: str) -> Host:
        """Add a host."""
        number = len(self.hosts) + 1
        host = Host(name, f"10.0.0.{number}", self._directory / f"{number}-{name}", self._environment)
        self.hosts.append(host)
        first = self.hosts[0]
        if host is first:
            host.ip("link", "add", "name", "eth0", "type", "bridge")
        else:
            link = ["link", "add", "name", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns"]
            first.ip(*link, str(host.first))
            first.ip("link", "set", f"to{number}", "master", "eth0", "up")
        host.ip("address", "add", f"{host.address}/24", "dev", "eth0")
        host.ip("link", "set", "eth0", "up")
        host.ip("route", "add", "default", "dev", "eth0")  # by which programs find out their address
        return host

    def cut(self, one: Host, other: Host) -> None:
        """Let all packets between two hosts get lost; both still reach the others."""
        for here, there in ((one, other), (other, one)):
            here.ip("neighbour", "replace", there.address, "lladdr", NOWHERE, "dev", "eth0", "nud", "permanent")

    def mend(self, one: Host, other: Host) -> None:
        """Let two hosts reach each other again."""
        for here, there in ((one, other), (other, one)):
            here.ip("neighbour", "delete", there.address, "dev", "eth0")

    def close(self) -> None:
        """End all hosts."""
        for host in reversed(self.hosts):
            host.lose()


@contextmanager
def isolated_hosts(directory: Path, *names: str, **environment: str) -> Iterator[Network]:
    """Make hosts; they end with the block, or with this process."""
    with ExitStack() as made:
        network = Network(directory, **environment)
        made.callback(network.close)
        for name in names:
            network.add(name)
        yield network
