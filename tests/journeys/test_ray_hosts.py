"""Executions on a Ray cluster whose hosts share no directory: lost hosts and connections, and late ones."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import machinable as ml
from tests.kits.hosts import Host, isolated_hosts, pipe, read_pipe, why_not
from tests.kits.ray_hosts import EXECUTE, RayHosts, ray_hosts

pytestmark = [pytest.mark.xdist_group("ray hosts"), pytest.mark.skipif(bool(why_not()), reason=why_not())]

TIMEOUT = 240.0  # Ray takes long to start and stop on a busy machine


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayHosts]:
    with ray_hosts(tmp_path_factory.mktemp("hosts")) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def worker(cluster: RayHosts) -> Host:
    """Return a host of one core, which stays."""
    return cluster.join("worker")


@pytest.fixture
def project(cluster: RayHosts) -> Path:
    """Return a project on the head, with a component that does nothing."""
    directory = cluster.head.tmp / "project"
    cluster.head.run("sh", "-c", "rm -rf /tmp/project/*")
    (directory / "machinable.yaml").write_text("components: [nothing: ]\n")
    (directory / "nothing.py").write_text("from machinable import Component\n\n\nclass Nothing(Component):\n    pass\n")
    return directory


def until(condition: Callable[[], bool]) -> None:
    """Wait for something on other hosts."""
    end = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)


WAITS = """
import os
import signal
import time
from machinable import Component


class Waits(Component):
    def on_execute(self):
        host = os.uname().nodename
        if host == "lost":
            with open("/tmp/here", "w") as pipe:
                pipe.write("running")
            signal.pause()
        while not os.path.exists("/tmp/go"):  # otherwise it could run both trials
            time.sleep(0.05)
        self.record["host"] = host
        self.record.save()
        return host
"""


def test_a_trial_of_a_lost_host_runs_on_another_one(cluster: RayHosts, worker: Host, project: Path) -> None:
    (project / "machinable.yaml").write_text("components: [waits: ]\n")
    (project / "waits.py").write_text(WAITS)
    lost = cluster.join("lost")
    here = pipe(lost, "here")
    driver = cluster.script(EXECUTE.format(task='ml.Task("waits").repeat(2)', options=""))
    assert read_pipe(here) == "running"
    (worker.tmp / "go").touch()
    lost.lose()

    output, _ = driver.communicate(timeout=TIMEOUT)

    ended = sorted(trial.attempt for trial in cluster.stored.trials)
    assert ended == [1, 2], output
    assert [row["host"] for trial in cluster.stored.trials for row in trial.records] == ["worker"] * 2
    (status,) = project.glob("stored/OY1p1o/trials/*/attempts/1/status.json")
    message = json.loads(status.read_text())["error"]["message"]
    assert message.startswith("the worker on lost was lost: "), message
    assert len(message) < 120, message


# addresses

TELL = """
import machinable as ml
from machinable.engines.ray.engine import RayEngine
from machinable.errors import Refused

engine = RayEngine({address})
engine.on_notice = print
try:
    print(sorted(host["cpus"] for host in engine.hosts({{}})))
    print(ml.execute("nothing", None, "OY1p1o", engine, progress=False).status)
except Refused as error:
    print(error)
engine.close()
"""


def tell(cluster: RayHosts, address: str = "", on: Host | None = None, **environment: str) -> str:
    done = cluster.script(TELL.format(address=address), on=on, **environment)
    return done.communicate(timeout=TIMEOUT)[0]


def test_the_cluster_of_this_host_is_used_and_named(cluster: RayHosts, worker: Host, project: Path) -> None:
    lines = tell(cluster).splitlines()

    assert lines[0] == (
        f"connecting to the Ray cluster at {cluster.address}, which runs on this host; for a separate one, use "
        "engine='ray:local'"
    )
    assert not {"[0.0, 1.0]", "[0.0, 1.0, 1.0]"}.isdisjoint(lines)  # Ray counts a lost host for some time
    assert "finished" in lines


def test_a_host_that_is_no_node_is_told_what_to_use(cluster: RayHosts, worker: Host, project: Path) -> None:
    outside = cluster.network.add("outside")

    said = tell(cluster, repr(cluster.address), on=outside)
    outside.lose()

    assert said.splitlines() == [
        f"connecting to the Ray cluster at {cluster.address}…",
        f"cannot use the Ray cluster at {cluster.address} from this host, which is not a node of it",
        f"  Use its client server, engine='ray:ray://{cluster.head.address}:10001'; or let this host join: ray start "
        f"--address={cluster.address} --num-cpus=0.",
    ]


def test_a_cluster_without_a_token_is_used_after_a_temporary_one_has_left_a_token(
    cluster: RayHosts, worker: Host, project: Path
) -> None:
    own = cluster.head.run("python", "-c", "import ray; ray.init(address='local', num_cpus=1); ray.shutdown()")

    said = tell(cluster, repr(cluster.address))

    assert own.returncode == 0, own.stderr
    assert (cluster.head.tmp / "home" / ".ray" / "auth_token").exists()
    assert "finished" in said.splitlines(), said


# hosts that join, and hosts that cannot run trials

EVERYWHERE = """
import os
import re
import time
from pathlib import Path
from machinable import Component

{imported}


class Everywhere(Component):
    def on_execute(self):
        self.record["host"] = os.uname().nodename
        self.record.save()
        while not Path("/tmp/enough").exists():
            time.sleep(0.05)
"""

NOTICES = """
from machinable import events


class Notices(events.Listener):
    def on_event(self, event): ...

    def on_notice(self, text):
        print(text, flush=True)


"""


def test_hosts_that_join_late_are_used(cluster: RayHosts, project: Path) -> None:
    (project / "machinable.yaml").write_text("components:\n  - everywhere: {_resources_: {late: 1}}\n")
    (project / "everywhere.py").write_text(EVERYWHERE.format(imported=""))
    task = 'ml.Task("everywhere").repeat(3)'
    driver = cluster.script(NOTICES + EXECUTE.format(task=task, options=", listeners=[Notices()]"))
    assert driver.stdout is not None
    said = [driver.stdout.readline() for _ in range(2)]
    hosts = [cluster.join(name, resources={"late": 1}) for name in ("late", "later", "latest")]

    def used() -> list[str]:
        return sorted({row["host"] for trial in cluster.stored.trials for row in trial.records})

    until(lambda: used() == ["late", "later", "latest"])
    for host in hosts:
        (host.tmp / "enough").touch()
    output, _ = driver.communicate(timeout=TIMEOUT)
    for host in hosts:
        host.lose()

    assert said[1] == ("everywhere requests 1 late, but there is no resource 'late': it waits for a host that joins\n")
    assert output.count("finished") == 3, output


def test_a_host_without_a_package_is_named_and_its_trials_run_elsewhere(
    cluster: RayHosts, worker: Host, project: Path
) -> None:
    (project / "machinable.yaml").write_text("components: [everywhere: ]\n")
    (project / "everywhere.py").write_text(EVERYWHERE.format(imported="import package"))
    for host in (cluster.head, worker):
        (host.tmp / "packages").mkdir()
        (host.tmp / "packages" / "package.py").touch()
    bad = cluster.join("bad", cpus=2)
    path = "import sys\nsys.path.append('/tmp/packages')\n"
    task = 'ml.Task("everywhere").repeat(6)'
    driver = cluster.script(NOTICES + path + EXECUTE.format(task=task, options=", listeners=[Notices()]"))
    assert driver.stdout is not None
    limit = threading.Timer(TIMEOUT, driver.kill)
    limit.start()
    said = []
    while not said or not said[-1].startswith("the host bad"):  # until then, the other host is busy with one trial
        said.append(driver.stdout.readline())
        assert said[-1], said
    limit.cancel()
    (worker.tmp / "enough").touch()
    output, _ = driver.communicate(timeout=TIMEOUT)
    bad.lose()

    assert output.count("finished") == 6, output
    assert {row["host"] for trial in cluster.stored.trials for row in trial.records} == {"worker"}
    excluded = [line for line in [*said, *output.splitlines()] if line.startswith("the host bad")]
    assert len(excluded) == 1, output
    assert "No module named 'package'" in excluded[0]


def test_an_autoscaler_starts_a_host_for_each_trial_that_waits(tmp_path: Path) -> None:
    """The cluster has Ray's own autoscaler; the hosts that it starts are further nodes on the host of the head."""
    types = {
        "ray.head.default": {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
        "worker": {
            "resources": {"CPU": 1, "object_store_memory": 80_000_000},
            "node_config": {},
            "min_workers": 0,
            "max_workers": 2,
        },
    }
    with isolated_hosts(tmp_path, "head") as network:
        cluster = RayHosts(network, types)
        (cluster.head.tmp / "project" / "machinable.yaml").write_text("components: [everywhere: ]\n")
        (cluster.head.tmp / "project" / "everywhere.py").write_text(
            EVERYWHERE.format(imported="").replace("os.uname().nodename", "os.environ['RAY_RAYLET_PID']")
        )
        task = 'ml.Task("everywhere").repeat(5)'
        driver = cluster.script(EXECUTE.format(task=task, options=""))
        (cluster.head.tmp / "project" / "stored").mkdir()
        storage = ml.Storage(str(cluster.head.tmp / "project" / "stored"))
        until(lambda: len({row["host"] for trial in storage.trials for row in trial.records}) == 2)
        (cluster.head.tmp / "enough").touch()
        output, _ = driver.communicate(timeout=TIMEOUT)

    assert output.count("finished") == 5, output


# what the documentation shows

PAGE = (Path(__file__).parents[2] / "docs" / "clusters.md").read_text(encoding="utf-8")


def section(heading: str) -> list[str]:
    """Return the commands of a section."""
    text = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [block.strip() for block in re.findall(r"^```bash\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)]


def write_example(host: Host) -> None:
    directory = host.tmp / "example"
    directory.mkdir()
    for name, text in re.findall(r"^`(\S+)`:\n\n```\w+\n(.*?)^```$", PAGE, flags=re.DOTALL | re.MULTILINE)[:3]:
        (directory / name).write_text(text)


def test_the_commands_for_plain_hosts_work(tmp_path: Path) -> None:
    head, join, run = section("Plain hosts")
    with isolated_hosts(tmp_path, "first", "second") as network:
        first, second = network.hosts
        write_example(first)
        started = [first.run("sh", "-c", head), second.run("sh", "-c", join)]
        done = first.run("sh", "-c", run, directory="/tmp/example")

    assert [one.returncode for one in started] == [0, 0], started
    assert done.stdout == "finished 8\n", done.stderr


def test_the_command_for_slurm_uses_all_hosts(tmp_path: Path) -> None:
    job, _ = section("Slurm")
    command = job.splitlines()[-1].removeprefix("srun ").replace("$head", "10.0.0.1").replace("cpus 8", "cpus 1")
    with isolated_hosts(tmp_path, "first", "second") as network:
        first, second = network.hosts
        write_example(first)
        (first.tmp / "example" / "train.py").write_text(EVERYWHERE.format(imported=""))
        (first.tmp / "example" / "stored").mkdir()
        (second.tmp / "example").mkdir()
        runs = [host.start("sh", "-c", command, directory="/tmp/example") for host in network.hosts]
        storage = ml.Storage(str(first.tmp / "example" / "stored"))

        def used() -> set[str]:
            return {row["host"] for trial in storage.trials for row in trial.records}

        until(lambda: used() == {"first", "second"})
        for host in network.hosts:
            (host.tmp / "enough").touch()
        output, _ = runs[0].communicate(timeout=TIMEOUT)

    assert "finished 8\n" in output, output
