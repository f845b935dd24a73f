"""Executions on a Ray cluster whose hosts share no directory: lost hosts and connections, and late ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

import machinable as ml
from tests.kits.hosts import Host, why_not
from tests.kits.ray_hosts import RayHosts, ray_hosts

pytestmark = [pytest.mark.xdist_group("ray hosts"), pytest.mark.skipif(bool(why_not()), reason=why_not())]

TIMEOUT = 120.0

EXECUTE = """
import machinable as ml

execution = ml.execute({task}, "stored", "OY1p1o", "ray:10.77.0.1:6379"{options})
print([(trial.status, trial.attempt, trial.result) for trial in execution.trials])
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHosts]:
    with ray_hosts(tmp_path_factory.mktemp("hosts")) as cluster:
        yield cluster


@pytest.fixture
def project(cluster: RayHosts) -> Path:
    """Return an empty project on the head."""
    directory = cluster.head.tmp / "project"
    cluster.head.run("sh", "-c", "rm -rf /tmp/project/*")
    return directory


def pipe(host: Host, name: str) -> Path:
    """Make a named pipe in the /tmp of a host."""
    path = host.tmp / name
    os.mkfifo(path)
    return path


def stored(cluster: RayHosts) -> ml.Execution:
    return ml.Storage(str(cluster.head.tmp / "project" / "stored"))["OY1p1o"]


WAITS = """
import os
import signal
from machinable import Component


class Waits(Component):
    def on_execute(self):
        host = os.uname().nodename
        if host == "lost":
            with open("/tmp/here", "w") as pipe:
                pipe.write("running")
            signal.pause()
        self.record["host"] = host
        self.record.save()
        return host
"""


def test_a_trial_of_a_lost_host_runs_on_another_one(cluster: RayHosts, project: Path) -> None:
    (project / "machinable.yaml").write_text("components: [waits: ]\n")
    (project / "waits.py").write_text(WAITS)
    lost = cluster.join("lost")
    here = pipe(lost, "here")
    driver = cluster.script(EXECUTE.format(task="'waits'", options=""))
    assert here.read_text() == "running"
    cluster.join("other")
    lost.lose()

    output, _ = driver.communicate(timeout=TIMEOUT)

    assert output.splitlines()[-1:] == ["[('finished', 2, 'other')]"], output
    assert [row["host"] for row in stored(cluster).trials[0].records] == ["other"]
