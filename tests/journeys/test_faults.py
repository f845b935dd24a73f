"""An execution that is broken in one of many ways and resumed has the results of an uninterrupted one.

`python -m benchmarks.faults` does the same more often.
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks import faults
from tests.kits.redis_server import is_installed


@pytest.mark.parametrize("kind", [kind for kind in faults.KINDS if kind not in faults.NEED_MOUNTS])
def test_nothing_is_lost(kind: str) -> None:
    if "s3" in kind:
        pytest.importorskip("boto3")
        pytest.importorskip("moto")
    if kind == "redis" and not (is_installed() and pytest.importorskip("redis")):
        pytest.skip("redis-server is not installed")
    if kind == "pause":
        _skip_without_namespaces("--uts", "--pid", "--fork")
    faults.run(kind, seed=1, size=0.3)


def _skip_without_namespaces(*options: str) -> None:
    command = ["unshare", "--map-root-user", *options, "true"]
    if sys.platform != "linux" or subprocess.run(command, check=False, capture_output=True).returncode:
        pytest.skip("no namespaces can be made here")


def test_nothing_is_lost_when_a_disk_fails() -> None:
    _skip_without_namespaces("--mount")
    command = [sys.executable, "-m", "benchmarks.faults", *sorted(faults.NEED_MOUNTS), "--runs", "1"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, cwd=faults.ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1 + len(faults.NEED_MOUNTS)
