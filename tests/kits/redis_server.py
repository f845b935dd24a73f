"""A Redis server for tests, in a separate process and without persistence."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

__all__ = ["PASSWORD", "RedisServer", "is_installed", "redis_server"]

PASSWORD = "canary-of-the-tests"


class RedisServer(NamedTuple):
    """A running server."""

    port: int
    process: subprocess.Popen[str]

    @property
    def url(self) -> str:
        return f"redis://:{PASSWORD}@127.0.0.1:{self.port}/0"


def is_installed() -> bool:
    return shutil.which("redis-server") is not None


@contextmanager
def redis_server(directory: Path) -> Iterator[RedisServer]:
    """Start an empty server; it stops with the block."""
    for _ in range(20):  # another program may take the port first
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        options = {
            "port": str(port),
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "no",
            "dir": str(directory),
            "requirepass": PASSWORD,
            "daemonize": "no",
        }
        command = ["redis-server", *(text for name, value in options.items() for text in (f"--{name}", value))]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        with subprocess.Popen(command, text=True, **pipes) as server:  # type: ignore[call-overload]
            assert server.stdout is not None
            if any("Ready to accept connections" in line for line in server.stdout):
                try:
                    yield RedisServer(port, server)
                finally:
                    server.kill()
                return
    raise RuntimeError("redis-server does not start")
