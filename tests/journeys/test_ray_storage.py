"""A storage that only the host of the executing process reaches, used by workers on other hosts of a Ray cluster."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kits.hosts import pipe, read_pipe, why_not, write_pipe
from tests.kits.ray_hosts import EXECUTE, RayHosts, ray_hosts
from tests.kits.s3_server import PROGRAM

pytestmark = [pytest.mark.xdist_group("ray hosts"), pytest.mark.skipif(bool(why_not()), reason=why_not())]

TIMEOUT = 120.0


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


LIVE = """
from machinable import Component


class Live(Component):
    def on_execute(self):
        self.store.write("before.json", [1])
        self.log.info("half of it")
        for number in range(3):
            self.record["x"] = number
            self.record.save()
        with open("/tmp/here", "w") as pipe:
            pipe.write("half")
        with open("/tmp/resume") as pipe:
            pipe.read()
        self.record["x"] = 3
        self.record.save()
        return self.store.read("before.json")
"""


def test_rows_logs_and_artifacts_are_stored_while_a_trial_runs_on_another_host(
    cluster: RayHosts, project: Path
) -> None:
    (project / "machinable.yaml").write_text("components: [live: {_resources_: {live: 1}}]\n")
    (project / "live.py").write_text(LIVE)
    host = cluster.join("live", resources={"live": 1})
    here, resume = pipe(host, "here"), pipe(host, "resume")
    driver = cluster.script(EXECUTE.format(task="'live'", options=""))
    assert read_pipe(here) == "half"

    (trial,) = cluster.stored.trials
    seen = trial.status, [row["x"] for row in trial.records], trial.log[20:], trial.read("before.json")
    write_pipe(resume, "continue")
    output, _ = driver.communicate(timeout=TIMEOUT)

    assert seen == ("running", [0, 1, 2], "INFO half of it\n", [1])
    assert output.splitlines()[-1:] == ["[('finished', 1, [1])]"], output
    assert [row["x"] for row in cluster.stored.trials[0].records] == [0, 1, 2, 3]


SHARES = """
import os
from machinable import Component, cached


class Shares(Component):
    @cached("value.json", keys=["data"])
    def value(self, of):
        print("computed on", os.uname().nodename)
        return {"of": of, "on": os.uname().nodename}

    def on_execute(self):
        data = self.store.shared("data/", keys=["data"])
        count = len(os.listdir(data))
        with open(os.path.join(data, str(count)), "w") as file:
            file.write(os.uname().nodename)
        return [self.value("x")["of"], count, os.uname().nodename]
"""


def test_shared_directories_and_cached_values_are_shared_by_hosts(cluster: RayHosts, project: Path) -> None:
    (project / "machinable.yaml").write_text(
        "components:\n"
        "  - shares:\n"
        "      data: 1\n"
        "      ~left: {_resources_: {left: 1}}\n"
        "      ~right: {_resources_: {right: 1}}\n"
    )
    (project / "shares.py").write_text(SHARES)
    for name in ("left", "right"):
        cluster.join(name, resources={name: 1})
    script = """
import machinable as ml

task = ml.Task()
for side in ("left", "right"):
    task.component("shares", "~" + side)
execution = ml.execute(task.repeat(3), "stored", "OY1p1o", "ray:10.0.0.1:6379")
print(sorted(trial.result for trial in execution.trials))
print(sorted(line for trial in execution.trials for line in trial.output.splitlines()))
"""
    output, _ = cluster.script(script).communicate(timeout=TIMEOUT)

    assert output.count("[") > 1, output
    results, computed = map(eval, output.splitlines()[-2:])
    assert sorted(count for _, count, _ in results) == list(range(6)), output
    assert {host for _, _, host in results} == {"left", "right"}
    assert len(computed) == 1


SAVES = """
import json
import os
import signal
from machinable import Component


class Saves(Component):
    def on_execute_iteration(self, iteration):
        self.record["i"] = iteration
        self.record["host"] = os.uname().nodename
        if iteration == 5 and os.uname().nodename == "doomed":
            with open("/tmp/here", "w") as pipe:
                pipe.write("running")
            signal.pause()
        self.save_checkpoint()
        return StopIteration if iteration == 7 else None

    def on_save(self, path, timestep):
        name = os.path.join(path, "state.json")
        with open(name, "w") as file:
            json.dump(timestep, file)
        return name

    def on_restore(self, path):
        with open(path) as file:
            self.log.info("restored %s", json.load(file))
"""


def test_a_trial_of_a_lost_host_continues_from_its_last_checkpoint(cluster: RayHosts, project: Path) -> None:
    (project / "machinable.yaml").write_text("components: [saves: {_resources_: {saves: 1}}]\n")
    (project / "saves.py").write_text(SAVES)
    doomed = cluster.join("doomed", resources={"saves": 1})
    here = pipe(doomed, "here")
    driver = cluster.script(EXECUTE.format(task="'saves'", options=""))
    assert read_pipe(here) == "running"
    cluster.join("rescue", resources={"saves": 1})
    doomed.lose()
    output, _ = driver.communicate(timeout=TIMEOUT)

    (trial,) = cluster.stored.trials
    assert (trial.status, trial.attempt) == ("finished", 2), output
    rows = [(row["i"], row["host"]) for row in trial.records]
    assert rows == [*((i, "doomed") for i in range(5)), *((i, "rescue") for i in range(5, 8))]
    assert "restored 4" in trial.log


def test_a_storage_in_memory_is_reached_from_every_host(cluster: RayHosts, project: Path) -> None:
    (project / "machinable.yaml").write_text("components: [names: {_resources_: {names: 1}}]\n")
    (project / "names.py").write_text(
        "import os\nfrom machinable import Component\n\n\nclass Names(Component):\n    def on_execute(self):\n"
        "        self.store.write('host.json', os.uname().nodename)\n"
    )
    cluster.join("memory", resources={"names": 1})
    script = """
import machinable as ml

execution = ml.execute(ml.Task("names").repeat(3), None, "OY1p1o", "ray:10.0.0.1:6379")
print([trial.read("host.json") for trial in execution.trials])
"""
    output, _ = cluster.script(script).communicate(timeout=TIMEOUT)

    assert output.splitlines()[-1:] == ["['memory', 'memory', 'memory']"], output


PARTITIONED = """
import os
import time
from machinable import Component


class Writes(Component):
    def on_execute(self):
        host = os.uname().nodename
        if host == "cut":
            with open("/tmp/here", "w") as pipe:
                pipe.write("running")
        for number in range(2**62 if host == "cut" else 100):
            self.record["x"] = number
            self.record["host"] = host
            self.record.save()
            time.sleep(0.01)
"""


def test_a_host_that_is_cut_off_writes_nothing_once_its_trial_runs_elsewhere(cluster: RayHosts, project: Path) -> None:
    (project / "machinable.yaml").write_text("components: [writes: {_resources_: {writes: 1}}]\n")
    (project / "writes.py").write_text(PARTITIONED)
    cut = cluster.join("cut", resources={"writes": 1})
    here = pipe(cut, "here")
    driver = cluster.script(EXECUTE.format(task="'writes'", options=""))
    assert read_pipe(here) == "running"
    cluster.network.cut(cluster.head, cut)
    cluster.join("whole", resources={"writes": 1})
    output, _ = driver.communicate(timeout=TIMEOUT)
    cluster.network.mend(cluster.head, cut)

    (trial,) = cluster.stored.trials
    assert (trial.status, trial.attempt) == ("finished", 2), output
    assert {row["host"] for row in trial.records} == {"whole"}
    assert [row["x"] for row in trial.records] == list(range(100))


def test_workers_on_other_hosts_end_when_the_executing_process_is_killed(cluster: RayHosts, project: Path) -> None:
    (project / "machinable.yaml").write_text("components: [writes: {_resources_: {orphan: 1}}]\n")
    (project / "writes.py").write_text(PARTITIONED.replace("'cut'", "'orphan'").replace('"cut"', '"orphan"'))
    orphan = cluster.join("orphan", resources={"orphan": 1})
    here = pipe(orphan, "here")
    driver = cluster.script("import os; print(os.getpid(), flush=True)\n" + EXECUTE.format(task="'writes'", options=""))
    assert read_pipe(here) == "running"
    assert driver.stdout is not None
    cluster.head.run("kill", "-9", driver.stdout.readline().strip())
    driver.wait()
    while orphan.run("pgrep", "-f", "machinable.engines.processes.worker").returncode == 0:
        pass
    rows = [row["x"] for row in cluster.stored.trials[0].records]

    assert rows == list(range(len(rows)))


# an object store

CREDENTIALS = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
ON_S3 = """
import os
from machinable import Component


class OnS3(Component):
    def on_execute(self):
        self.record["x"] = 1
        self.record.save()
        self.store.write("host.json", os.uname().nodename)
        return [os.environ.get("AWS_ACCESS_KEY_ID"), os.environ.get("MACHINABLE_MINE")]
"""
EXECUTE_ON_S3 = """
import boto3
import machinable as ml

boto3.client("s3").create_bucket(Bucket="bucket")
execution = ml.execute(ml.Task("on_s3").repeat(2), "s3://bucket/stored", "OY1p1o", "ray:10.0.0.1:6379")
execution = ml.Storage("s3://bucket/stored")["OY1p1o"]
print([(trial.status, trial.result, trial.read("host.json"), len(trial.records)) for trial in execution.trials])
"""


@pytest.mark.parametrize(("listens_on", "name"), [("10.0.0.1", "reaches"), ("127.0.0.1", "does-not-reach")])
def test_credentials_of_the_executing_process_are_enough_for_an_object_store(
    listens_on: str, name: str, cluster: RayHosts, project: Path
) -> None:
    (project / "machinable.yaml").write_text(f"components: [on_s3: {{_resources_: {{{name}: 1}}}}]\n")
    (project / "on_s3.py").write_text(ON_S3)
    server = cluster.head.start("python", "-c", PROGRAM, listens_on)
    assert server.stdout is not None
    endpoint = f"http://{listens_on}:{server.stdout.readline().strip()}"
    cluster.join(name, resources={name: 1})
    script = cluster.script(EXECUTE_ON_S3, AWS_ENDPOINT_URL=endpoint, MACHINABLE_MINE="1", **CREDENTIALS)
    output, _ = script.communicate(timeout=TIMEOUT)

    assert output.splitlines()[-1:] == [str([("finished", ["key", "1"], name, 1)] * 2)], output


# the connection

RECONNECTS = """
from machinable import Component


class Reconnects(Component):
    def on_execute(self):
        for number in range(60):
            self.record["x"] = number
            self.record.save()
            self.store.write(f"{number}.json", number)
            if number == 20:
                with open("/tmp/here", "w") as pipe:
                    pipe.write("running")
                with open("/tmp/resume") as pipe:
                    pipe.read()
"""


def test_a_trial_continues_when_connections_are_made_again(cluster: RayHosts, project: Path) -> None:
    (project / "machinable.yaml").write_text("components: [reconnects: {_resources_: {reconnects: 1}}]\n")
    (project / "reconnects.py").write_text(RECONNECTS)
    host = cluster.join("reconnects", resources={"reconnects": 1})
    here, resume = pipe(host, "here"), pipe(host, "resume")
    script = """
import threading
import machinable as ml
from machinable.storage.served.server import FilesServer

begin = FilesServer._begin


def break_all(self, name, channel):
    threading.Timer(0.3, channel.close).start()
    return begin(self, name, channel)


FilesServer._begin = break_all
print(ml.execute("reconnects", "stored", "OY1p1o", "ray:10.0.0.1:6379").status)
"""
    driver = cluster.script(script)
    assert read_pipe(here) == "running"
    write_pipe(resume, "continue")
    output, _ = driver.communicate(timeout=TIMEOUT)

    (trial,) = cluster.stored.trials
    assert (trial.status, trial.attempt) == ("finished", 1), output
    assert [row["x"] for row in trial.records] == list(range(60))
    assert [trial.read(f"{number}.json") for number in range(60)] == list(range(60))


def test_an_execution_is_resumed_at_once_after_its_process_was_killed(cluster: RayHosts, project: Path) -> None:
    (project / "machinable.yaml").write_text("components: [saves: {_resources_: {again: 1}}]\n")
    (project / "saves.py").write_text(SAVES.replace('== "doomed"', '== "again" and self.flags.ATTEMPT == 1'))
    host = cluster.join("again", resources={"again": 1})
    here = pipe(host, "here")
    driver = cluster.script("import os; print(os.getpid(), flush=True)\n" + EXECUTE.format(task="'saves'", options=""))
    assert read_pipe(here) == "running"
    assert driver.stdout is not None
    cluster.head.run("kill", "-9", driver.stdout.readline().strip())
    driver.wait()
    resume = """
import machinable as ml

execution = ml.execute(resume="OY1p1o", storage="stored", engine="ray:10.0.0.1:6379")
print([(trial.status, trial.attempt, [row["i"] for row in trial.records]) for trial in execution.trials])
"""
    output, _ = cluster.script(resume).communicate(timeout=TIMEOUT)

    assert output.splitlines()[-1:] == [str([("finished", 2, list(range(8)))])], output
