"""Count the requests of executions to an S3 server, compared with plain fs-s3fs: `python -m benchmarks.s3`.

Both store the same trials of the same project with the same code; only the storage class differs. The server is moto's,
in a separate process. The numbers of requests are exact. Times mean little, because the server is local and slow.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from unittest.mock import patch
from urllib.parse import quote

COUNT = 20
SERVER = """
import sys
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""
SMALL = "from machinable import Component\n\n\nclass Small(Component):\n    pass\n"
FULL = """from machinable import Component


class Full(Component):
    def on_execute(self):
        for i in range(100):
            self.record["loss"] = i
            self.record.save()
        self.store.write("weights.json", [1, 2, 3])
"""
PART = """from machinable import Component


class Part(Component):
    def on_execute(self):
        self.store.write("number.json", self.config.number)
"""


class Cost(NamedTuple):
    """The cost of an action: requests and seconds."""

    requests: int
    seconds: float


@contextmanager
def served() -> Iterator[str]:
    """Run a server with a bucket `results` while the context is open."""
    import boto3

    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, "-c", SERVER], text=True, **pipes) as server:
        assert server.stdout is not None
        endpoint = f"http://127.0.0.1:{int(server.stdout.readline())}"
        session = boto3.Session("KEY", "SECRET", region_name="us-east-1")
        session.client("s3", endpoint_url=endpoint).create_bucket(Bucket="results")
        yield endpoint
        server.terminate()


def plain(url: str, *, create: bool) -> Any:
    """Open the same storage with fs-s3fs alone."""
    from machinable.storage.pyfilesystem import PyFilesystemFiles, import_fs

    fs = import_fs()
    root, _, query = url.partition("?")
    filesystem = fs.open_fs(f"{root.rpartition('/')[0]}?{query}")
    filesystem.makedirs(root.rpartition("/")[2], recreate=True)  # it finds nothing in a folder without a marker
    filesystem.close()
    return PyFilesystemFiles(fs.open_fs(url, create=create), url)


def main() -> None:
    """Measure and print a table."""
    import boto3

    import machinable as ml
    from machinable.storage.open import open_files

    requests: list[str] = []
    boto3.setup_default_session()
    boto3.DEFAULT_SESSION.events.register("before-send.s3", lambda request, **others: requests.append(request.url))

    def cost(act: Callable[[], Any]) -> Cost:
        requests.clear()
        began = time.perf_counter()
        act()
        return Cost(len(requests), time.perf_counter() - began)

    def costs(url: str, opening: Callable[..., Any]) -> list[Cost]:
        def run(name: str, count: int, seed: int) -> Callable[[], Any]:
            task = ml.Task(name).repeat(count)
            return lambda: ml.execute(task, {"storage": url, "code_backup": False}, seed=seed, progress=False)

        def need(count: int) -> Callable[[], Any]:
            needs = {f"r{number}": ("part", {"number": number}) for number in range(count)}
            task = ml.Task().component("small", requires=needs)
            return lambda: ml.execute(task, {"storage": url, "code_backup": False}, progress=False)

        def read() -> None:
            with ml.Storage(url) as storage:
                for execution in storage.executions:
                    for trial in execution.trials:
                        assert trial.status == "finished"

        with (
            patch("machinable.execution.run.open_files", opening),
            patch("machinable.results.storage.open_files", opening),
        ):
            run("small", 1, 0)()  # do what is done once for a storage
            one, small = cost(run("small", 1, 1)), cost(run("small", COUNT + 1, 2))
            full = cost(run("full", COUNT + 1, 3))
            per_small = Cost(round((small.requests - one.requests) / COUNT), (small.seconds - one.seconds) / COUNT)
            around = Cost(one.requests - per_small.requests, one.seconds - per_small.seconds)
            per_full = Cost(round((full.requests - around.requests) / (COUNT + 1)), full.seconds / (COUNT + 1))
            reading = cost(read)
            none, computed, there = cost(need(0)), cost(need(COUNT)), cost(need(COUNT))
            return [
                around,
                per_small,
                per_full,
                *(
                    Cost(round((some.requests - none.requests) / COUNT), (some.seconds - none.seconds) / COUNT)
                    for some in (computed, there)
                ),
                reading,
            ]

    with served() as endpoint, tempfile.TemporaryDirectory() as directory:
        os.chdir(directory)
        Path("machinable.yaml").write_text("components:\n  - small:\n  - full:\n  - part: {number: 0}\n")
        Path("small.py").write_text(SMALL)
        Path("full.py").write_text(FULL)
        Path("part.py").write_text(PART)

        def url(folder: str) -> str:
            return f"s3://KEY:SECRET@results/{folder}?endpoint_url={quote(endpoint, safe='')}"  # not a secret

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the baseline cannot lock, and warns about it
            floor = costs(url("plain"), plain)
        ours = costs(url("ours"), open_files)
        os.chdir("/")
    what = (
        "an execution, without its trials",
        "a small trial",
        "a trial with 100 rows and an artifact",
        "a requirement, computed",
        "a requirement that exists",
        f"reading four executions, {2 * COUNT + 4} trials",
    )
    budgets = ("", "2", "4", "", "1", "")
    print(f"{'requests':<48}{'fs-s3fs':>10}{'ours':>10}  budget {'fs-s3fs':>14}{'ours':>12}")
    for name, budget, theirs, own in zip(what, budgets, floor, ours, strict=True):
        print(
            f"{name:<48}{theirs.requests:>10}{own.requests:>10}  {budget:<7}"
            f"{theirs.seconds * 1e3:>11.1f} ms{own.seconds * 1e3:>9.1f} ms"
        )


if __name__ == "__main__":
    main()
