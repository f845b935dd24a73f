"""An S3 server for tests: moto's, in a separate process, one request at a time.

moto checks whether an object exists and stores it in two steps, so several concurrent conditional requests may succeed.
S3 does this atomically; a lock around the server has the same effect.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any
from urllib.parse import quote

__all__ = ["PROGRAM", "s3_folders", "s3_server"]

PROGRAM = """
import sys
from threading import Lock, Thread
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

application, lock = DomainDispatcherApplication(create_backend_app), Lock()

def one_at_a_time(environ, start_response):
    with lock:
        answer = application(environ, start_response)
        try:
            return list(answer)
        finally:
            getattr(answer, "close", lambda: None)()

class Silent(WSGIRequestHandler):
    def log(self, *arguments):
        pass

server = make_server(*sys.argv[1:2] or ["127.0.0.1"], 0, one_at_a_time, threaded=True, request_handler=Silent)
Thread(target=server.serve_forever, daemon=True).start()
print(server.port, flush=True)
sys.stdin.read()  # until the test process closes the pipe
"""


@contextmanager
def s3_server() -> Iterator[str]:
    """Start an empty server, and return its URL; the server stops with the block."""
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", PROGRAM], text=True, **pipes) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.terminate()


@contextmanager
def s3_folders(bucket: str = "folders") -> Iterator[Callable[[], str]]:
    """Return a function that returns the URL of a new folder, on a server that stops with the block."""
    import boto3

    with s3_server() as endpoint:
        client = boto3.Session("key", "secret", region_name="us-east-1").client("s3", endpoint_url=endpoint)
        client.create_bucket(Bucket=bucket)
        client.close()
        numbers = count()
        yield lambda: f"s3://key:secret@{bucket}/{next(numbers)}?endpoint_url={quote(endpoint, safe='')}"
