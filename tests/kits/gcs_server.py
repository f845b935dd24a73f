"""A server for tests with the API of Google Cloud Storage, in a separate process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["gcs_server"]

_PROGRAM = """
import logging, sys
logging.disable()
from gcp_storage_emulator.server import create_server

server = create_server("127.0.0.1", 0, in_memory=True, default_bucket=sys.argv[1])
server.start()
print(server._api._httpd.server_address[1], flush=True)
sys.stdin.read()  # until the test process closes the pipe
server.stop()
"""


@contextmanager
def gcs_server(bucket: str) -> Iterator[str]:
    """Start a server with one empty bucket, and return its URL; the server stops with the block."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", _PROGRAM, bucket], text=True, **pipes) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()
