"""Executions on Ray: transferred code and files, lost hosts, and clusters of other processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable import events
from machinable.engines import registry
from machinable.engines.ray.engine import RayEngine
from machinable.errors import ImportFailed, InvalidValue, Refused
from machinable.testing.engine import contents
from tests.execution.test_worker_task_folders import CHAIN, CHAINED
from tests.kits.modules import ENDLESS, INTERRUPTS

World = Callable[..., Path]
Pipes = Callable[[], str]


def run(task: Any, storage: Any = None, engine: Any = "ray", code_backup: bool = False, **options: Any) -> Any:
    where = None if storage is None else {"storage": str(storage), "code_backup": code_backup}
    return ml.execute(task, where, "OY1p1o", engine, **options)


@pytest.fixture
def pipe(tmp_path: Path) -> Pipes:
    """Return a function that creates named pipes."""
    names = iter(range(100))

    def make() -> str:
        path = str(tmp_path / f"pipe{next(names)}")
        os.mkfifo(path)
        return path

    return make


def read_from(pipe: str) -> str:
    """Return the text that is written into a pipe."""
    with open(pipe) as file:
        return file.read()


class InThread:
    """An execution in a thread, while the test does something else."""

    def __init__(self, action: Callable[[], Any]) -> None:
        self._outcome: list[Any] = []
        self._thread = threading.Thread(target=lambda: self._outcome.append(action()))
        self._thread.start()

    def result(self) -> Any:
        self._thread.join(60)
        return self._outcome[0]


# what is transferred

WATCHED = """
from machinable import Component


class Watched(Component):
    def on_execute(self):
        self.record["x"] = 1
        self.record.save()
        self.log.info("half of it")
        self.progress(1, 2)
        with open(self.config.here, "w") as pipe:
            pipe.write("half")
        with open(self.config.resume) as pipe:
            pipe.read()
        self.progress(2, 2)
"""


def test_rows_logs_and_progress_are_visible_while_a_trial_runs(
    project: World, ray_cluster: None, tmp_path: Path, pipe: Pipes
) -> None:
    here, resume = pipe(), pipe()
    project(f"components:\n  - watched: {{here: {here}, resume: {resume}}}\n", watched=WATCHED)
    steps: list[Any] = []

    class Listener(events.Listener):
        def on_event(self, event: object) -> None: ...

        def on_progress(self, uid: str, i: int, total: int | None) -> None:
            steps.append((i, total))

    running = InThread(lambda: run("watched", tmp_path / "stored", listeners=[Listener()]))
    assert read_from(here) == "half"
    (trial,) = ml.Storage(str(tmp_path / "stored"))["OY1p1o"].trials
    seen = trial.status, [row["x"] for row in trial.records], trial.log[20:]
    with open(resume, "w") as file:
        file.write("continue")

    assert running.result().status == "finished"
    assert seen == ("running", [1], "INFO half of it\n")
    assert steps[-1] == (2, 2)


READS = """
from machinable import Component
import helper


class Reads(Component):
    def on_execute(self):
        if self.flags.REPEAT_NUMBER == 0:
            with open(self.config.here, "w") as pipe:
                pipe.write("running")
            with open(self.config.resume) as pipe:
                pipe.read()
        import late
        return [helper.VALUE, late.VALUE, open(helper.__file__.replace("helper.py", "data.txt")).read()]
"""


@pytest.mark.parametrize("code_backup", [True, False])
def test_trials_run_the_code_of_the_start(
    code_backup: bool, project: World, ray_cluster: None, tmp_path: Path, pipe: Pipes
) -> None:
    here, resume = pipe(), pipe()
    directory = project(
        f"components:\n  - reads: {{here: {here}, resume: {resume}}}\n",
        reads=READS,
        helper="VALUE = 'before'\n",
        late="VALUE = 'before'\n",
    )
    (directory / "data.txt").write_text("before")

    running = InThread(lambda: run(ml.Task("reads").repeat(3), tmp_path / "stored", code_backup=code_backup))
    assert read_from(here) == "running"
    for name in ("helper.py", "late.py"):
        (directory / name).write_text("VALUE = 'edited'\n")
    (directory / "data.txt").write_text("edited")
    with open(resume, "w") as file:
        file.write("continue")

    execution = running.result()
    assert [trial.result for trial in execution.trials] == [["before"] * 3] * 3
    assert (tmp_path / "stored" / str(execution) / "code.zip").exists() == code_backup


def test_a_missing_module_is_reported_by_name(project: World, ray_cluster: None, tmp_path: Path) -> None:
    directory = project("components: [reads: ]\n", reads="import left_out\n" + READS, left_out="", helper="", late="")
    (directory / ".gitignore").write_text("left_out.py\n")

    execution = run("reads", tmp_path / "stored", on_failure="continue")

    (trial,) = execution.trials
    assert trial.error["type"] == "ImportFailed"
    assert "No module named 'left_out'" in trial.error["message"]


WRITES = """
import random
from machinable import Component


class Writes(Component):
    def on_execute(self):
        self.record["draw"] = random.random()
        self.record.save()
        self.store.write("a.json", [random.random(), self.config.rate])
        self.store.write("deep/large.bin", b"x" * 3_000_000)
        self.save_checkpoint()
        print("done", self.config.rate)
        if self.flags.REPEAT_NUMBER == 1:
            raise ValueError("one fails")
        return self.config.rate

    def on_save(self, path, timestep):
        with open(f"{path}/state.txt", "w") as file:
            file.write("state")
        return "state.txt"
"""


@pytest.fixture
def unreached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the storage look like another one of the same name to workers, as on another host."""
    monkeypatch.setattr("machinable.execution.run.digest", lambda data: "that of another execution")


def test_a_storage_that_workers_do_not_reach_has_the_same_content(
    project: World, ray_cluster: None, tmp_path: Path, unreached: None
) -> None:
    project("components:\n  - writes: {rate: 0.1, ~fast: {rate: 1}}\n", writes=WRITES)
    task = ml.Task().component("writes", [None, "~fast"]).repeat(2)

    run(task, tmp_path / "local", "local", on_failure="continue")
    execution = run(task, tmp_path / "ray", on_failure="continue")

    assert [trial.status for trial in execution.trials] == ["finished", "finished", "failed", "failed"]
    assert contents(tmp_path / "ray") == contents(tmp_path / "local")


NEEDS = """
from machinable import Component


class Needs(Component):
    def on_execute(self):
        return self.requires.data.read("a.json")
"""


@pytest.mark.parametrize("kind", ["reached", "unreached", "memory"])
@pytest.mark.parametrize("engine", ["processes:2", "ray"])
def test_requirements_are_available_wherever_a_trial_runs(
    engine: str, kind: str, project: World, ray_cluster: None, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if kind == "unreached":
        request.getfixturevalue("unreached")
    project(
        "components:\n  - writes: {rate: 0.1}\n  - needs: {_requires_: {data: writes}}\n",
        writes=WRITES.replace("self.flags.REPEAT_NUMBER == 1", "False"),
        needs=NEEDS,
    )

    execution = run(ml.Task("needs").repeat(2), None if kind == "memory" else tmp_path / "stored", engine)

    listed = [trial for trial in execution.trials if trial.component == "needs"]
    (required,) = [trial for trial in execution.trials if trial.component == "writes"]
    assert [trial.result for trial in listed] == [required.read("a.json")] * 2


def test_a_required_component_can_read_its_own_requirements(
    project: World, ray_cluster: None, tmp_path: Path, unreached: None
) -> None:
    project(CHAINED, **CHAIN)
    here = run("third", tmp_path / "stored", "local")

    there = run("third", tmp_path / "stored")

    assert [trial.status for trial in there.trials] == ["reused", "reused", "finished"]
    assert there.trials[-1].result == here.trials[-1].result == ([1, 2, 3], [6], "finished", 6, here.trials[1].uid)


# lost workers and hosts

DIES = """
import os
import signal
from machinable import Component


class Dies(Component):
    def on_execute(self):
        print("attempt", self.flags.ATTEMPT, flush=True)
        self.record["attempt"] = self.flags.ATTEMPT
        self.record.save()
        if self.flags.ATTEMPT <= self.config.times:
            os.kill(os.getpid() if self.config.who == "worker" else os.getppid(), signal.SIGKILL)
            signal.pause()
"""


@pytest.mark.parametrize("who", ["worker", "agent"])
def test_a_trial_is_retried_after_its_worker_was_lost(
    who: str, project: World, ray_cluster: None, tmp_path: Path
) -> None:
    project(f"components:\n  - dies: {{who: {who}, times: 1}}\n", dies=DIES)

    execution = run("dies", tmp_path / "stored")

    (trial,) = execution.trials
    assert (trial.status, trial.attempt, trial.output) == ("finished", 2, "attempt 2\n")
    assert [row["attempt"] for row in trial.records] == [2]
    former = tmp_path / "stored" / "OY1p1o" / "trials" / trial.uid / "attempts" / "1"
    assert (former / "output.log").read_text() == "attempt 1\n"
    assert '"type": "WorkerLost"' in (former / "status.json").read_text()
    ledger = (tmp_path / "stored" / "OY1p1o" / "ledger.jsonl").read_text()
    assert ledger.count('"will_retry":true') == 1


def test_a_trial_fails_if_its_workers_are_always_killed(project: World, ray_cluster: None) -> None:
    project("components:\n  - dies: {who: worker, times: 100}\n", dies=DIES)

    execution = run("dies", on_failure="continue")

    (trial,) = execution.trials
    assert (trial.status, trial.attempt, trial.error["type"]) == ("failed", 4, "WorkerLost")


NODES = """
import os
import sys
import threading

import ray
from ray.cluster_utils import Cluster

import machinable as ml

quick = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_timeout_ms": 2000,
         "health_check_failure_threshold": 2}  # to notice that a node is gone
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False,
                                                        "_system_config": quick})
nodes = [cluster.add_node(num_cpus=1, resources={"spot": 1}) for _ in range(2)]
ray.init(address=cluster.address, log_to_driver=False, logging_level="error")


def lose():
    with open("pipe") as pipe:
        raylet = int(pipe.read())
    (node,) = [node for node in nodes if node.all_processes["raylet"][0].process.pid == raylet]
    cluster.remove_node(node, allow_graceful=False)


threading.Thread(target=lose, daemon=True).start()
execution = ml.execute("waits", "stored", "OY1p1o", "ray")
(trial,) = execution.trials
print(trial.status, trial.attempt, ray.is_initialized())
ray.shutdown()
cluster.shutdown()
"""

WAITS = """
import os
import signal
from machinable import Component


class Waits(Component):
    def on_execute(self):
        if self.flags.ATTEMPT == 1:
            with open("pipe", "w") as pipe:
                pipe.write(os.environ["RAY_RAYLET_PID"])
            signal.pause()
"""


def script(
    directory: Path, text: str, *options: str, arguments: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Run a script in a new process, because this one is already connected to Ray."""
    (directory / "script.py").write_text(text)
    variables = {**os.environ, "PYTHONPATH": str(Path(ml.__file__).parents[1]), **environment}
    variables.pop("RAY_AUTH_MODE", None)
    return subprocess.run(
        [sys.executable, *options, "script.py", *arguments],
        cwd=directory,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_trial_is_retried_after_its_node_was_lost(project: World) -> None:
    directory = project("components:\n  - waits: {_resources_: {spot: 1}}\n", waits=WAITS)
    os.mkfifo(directory / "pipe")

    done = script(directory, NODES)

    assert "finished 2 True" in done.stdout.splitlines(), done.stdout + done.stderr
    assert done.returncode == 0


# ended trials


def test_a_trial_ends_at_its_timeout_and_others_continue(project: World, ray_cluster: None) -> None:
    project("components: [endless: ]\n", endless=ENDLESS)

    execution = run(ml.Task("endless").repeat(3), timeout=3.0, on_failure="continue")

    assert [trial.status for trial in execution.trials] == ["failed", "finished", "finished"]
    assert execution.trials[0].error["type"] == "TimeoutError"


def test_an_interrupt_ends_all_trials_and_is_recorded(
    project: World, ray_cluster: None, tmp_path: Path, pipe: Pipes
) -> None:
    project(f"components:\n  - interrupts: {{pipe: {pipe()}}}\n", interrupts=INTERRUPTS)

    with pytest.raises(KeyboardInterrupt):
        run(ml.Task("interrupts").repeat(5), tmp_path / "stored")

    execution = ml.Storage(str(tmp_path / "stored"))["OY1p1o"]
    assert [trial.status for trial in execution.trials] == ["interrupted"] * 2 + ["pending"] * 3
    assert [trial.log[20:] for trial in execution.trials[:2]] == ["INFO interrupted by KeyboardInterrupt\n"] * 2


# errors before the start

NOTHING = "from machinable import Component\n\n\nclass Nothing(Component):\n    pass\n"


@pytest.mark.parametrize(
    ("resources", "message"),
    [
        ("{cpus: 100}", "nothing requests 100 cpus, but there are only 2 cpus"),
        ("{license: 1}", "nothing requests 1 license, but there is no resource 'license'"),
        ("{memory: 1000TiB}", r"nothing requests 1.02e\+06 GiB of memory, but there is only .* GiB of memory"),
    ],
)
def test_resources_that_no_host_has_are_refused_before_anything_is_written(
    resources: str, message: str, project: World, ray_cluster: None, tmp_path: Path
) -> None:
    project(f"components:\n  - nothing: {{_resources_: {resources}}}\n", nothing=NOTHING)

    with pytest.raises(Refused, match=message):
        run("nothing", tmp_path / "stored")

    assert not (tmp_path / "stored").exists()


def test_waiting_for_an_occupied_cluster_is_reported(
    project: World, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    notices: list[str] = []

    class Frees(events.Listener):
        """A listener that frees the cluster when a notice arrives."""

        def on_notice(self, text: str) -> None:
            notices.append(text)
            ray.kill(occupant)

    monkeypatch.setattr("machinable.engines.cluster.dispatcher.NO_WORKER_NOTICE_AFTER", 0.5)
    project("components:\n  - nothing:\n", nothing=NOTHING)
    occupant = ray.remote(Occupant).options(num_cpus=2).remote()
    ray.get(occupant.is_there.remote())

    assert run("nothing", listeners=[Frees()]).status == "finished"

    assert notices == ["waiting for workers: the Ray cluster has provided none yet for cpus: 1 (free: 0 of 2)"]


class Occupant:
    def is_there(self) -> bool:
        return True


def test_other_clusters_and_options_are_refused_in_a_connected_process(ray_cluster: None) -> None:
    with pytest.raises(Refused, match=r"connected to the Ray cluster at .*, so the engine cannot use '10.0.0.1:6379'"):
        registry.make("ray:10.0.0.1:6379").hosts({})
    with pytest.raises(Refused, match="so the engine cannot use 'num_cpus'\n  Call ray"):
        registry.make({"type": "ray", "num_cpus": 3}).hosts({})
    with pytest.raises(InvalidValue, match="the engine 'ray' takes no num_cpu\n  Did you mean 'num_cpus'"):
        registry.make({"type": "ray", "num_cpu": 3}).hosts({})


def test_a_private_cluster_is_separate_from_running_ones(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.make("ray:local").hosts({})  # this process has

    monkeypatch.setattr("ray._private.worker._global_node", None)
    with pytest.raises(Refused, match=r"connected to the Ray cluster at .*, so the engine cannot use 'local'"):
        registry.make("ray:local").hosts({})


def test_an_empty_address_is_invalid(ray_cluster: None) -> None:
    with pytest.raises(InvalidValue, match="'' is not the address of a Ray cluster"):
        registry.make("ray:").hosts({})


@pytest.fixture
def unconnected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)


@pytest.fixture
def other_service() -> Iterator[str]:
    """Return the address of a service that is not Ray."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            with suppress(OSError):  # closed
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(100)
                        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
    thread.join()


def test_reading_the_attributes_of_an_engine_does_not_connect(unconnected: None) -> None:
    assert (registry.make("ray:127.0.0.1:1").slots, RayEngine("127.0.0.1:1").name) == (1, "ray")


def test_an_address_without_an_answer_is_reported_with_the_reason(unconnected: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"

    with pytest.raises(Refused) as caught:
        RayEngine(address).hosts({})

    assert str(caught.value) == (
        f"cannot reach a Ray cluster at {address}: [Errno 111] Connection refused\n"
        "  Start one with `ray start --head`, or omit the address to start a temporary cluster."
    )


def test_an_address_where_another_service_answers_is_reported(unconnected: None, other_service: str) -> None:
    with pytest.raises(Refused, match="the server there is not a Ray cluster"):
        RayEngine(other_service).hosts({})


def test_the_address_comes_from_the_environment_too(unconnected: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")

    with pytest.raises(InvalidValue, match="'nowhere' is not the address of a Ray cluster\n  Write host:port"):
        registry.make("ray").hosts({})


def test_without_ray_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)

    with pytest.raises(ImportFailed) as caught:
        RayEngine().hosts({})

    assert str(caught.value).splitlines()[0].startswith("the engine 'ray' needs Ray, which cannot be imported: ")
    assert str(caught.value).splitlines()[-1] == "  Install it: pip install 'ray>=2.60'"


def test_an_old_ray_version_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    old = types.ModuleType("ray")
    old.__version__ = "2.9.3"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "ray", old)
    monkeypatch.setitem(sys.modules, "ray.exceptions", types.ModuleType("ray.exceptions"))

    with pytest.raises(ImportFailed, match=r"needs a newer Ray than 2.9.3\n  Install it: pip install 'ray>=2.60'"):
        RayEngine().hosts({})


def test_hosts_with_another_version_are_reported(
    project: World, ray_cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    project("components:\n  - nothing:\n", nothing=NOTHING)
    version = ml.__version__
    monkeypatch.setattr("machinable.__version__", "0.0.1")  # hosts import their own

    (trial,) = run("nothing", on_failure="continue").trials

    assert (trial.status, trial.error["message"]) == (
        "failed",
        f"no worker could be started: {os.uname().nodename}: machinable {version} is installed there, and 0.0.1 here",
    )


# clusters of other processes

HOST = """
import ray

ray.init(
    address="local", num_cpus=2, object_store_memory=80 * 2**20, include_dashboard=False, log_to_driver=False,
    logging_level="error",
)
print(ray.get_runtime_context().gcs_address, flush=True)
input()
print([node["Alive"] for node in ray.nodes()], ray.get(ray.remote(lambda: 7).remote()))
ray.shutdown()
"""

GUEST = """
import os
import sys
import ray
import machinable as ml

storage = {"storage": "stored", "code_backup": False}
first = ml.execute("nothing", storage, 1, sys.argv[1], progress=False)
print(first.status, ray.is_initialized(), os.environ.get("RAY_AUTH_MODE"))
os.environ["RAY_ADDRESS"] = sys.argv[1].partition(":")[2]
print(ml.execute("nothing", storage, 2, {"type": "ray"}, progress=False).status, ray.is_initialized())
"""


REJECTED = """
import os
import sys
import machinable as ml
from machinable.errors import Refused

try:
    ml.execute("nothing", None, 1, sys.argv[1])
except Refused as error:
    print(error.message, os.environ.get("RAY_AUTH_MODE"))
"""


@pytest.fixture
def host(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process with a cluster. It prints the address and, after a line of input, the state of the cluster."""
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    with subprocess.Popen(
        [sys.executable, "-c", HOST],
        cwd=tmp_path,
        env={**environment, "HOME": str(tmp_path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()  # if it still runs; its cluster ends with it


def test_an_existing_cluster_is_used_with_its_token_and_left_running(
    project: World, host: subprocess.Popen[str], tmp_path: Path
) -> None:
    directory = project("components:\n  - nothing:\n", nothing=NOTHING)
    assert host.stdout is not None
    address = host.stdout.readline().strip()
    assert (tmp_path / ".ray" / "auth_token").is_file()

    done = script(directory, GUEST, arguments=[f"ray:{address}"], HOME=str(tmp_path))

    assert (done.stdout, done.stderr) == ("finished False None\nfinished False\n", "")
    for variables, why in [
        ({"HOME": str(directory)}, "and this process has none"),
        ({"HOME": str(tmp_path), "RAY_AUTH_TOKEN": "0" * 64}, "which is not the token of this process"),
    ]:
        rejected = script(directory, REJECTED, arguments=[f"ray:{address}"], **variables)
        expected = f"cannot reach a Ray cluster at {address}: it requires a token, {why} None\n"
        assert rejected.stdout == expected
        assert "Traceback" not in rejected.stderr  # only what Ray logs
    assert host.communicate("\n", timeout=60)[0] == "[True] 7\n"


# temporary clusters

TEMPORARY = """
import os
import ray
import machinable as ml
from machinable.engines.ray.engine import RayEngine
from machinable.errors import InvalidValue

storage = {"storage": "stored", "code_backup": False}
first, second = ml.execute([ml.Task("nothing").repeat(3), ml.Task("nothing")], storage, 1, "ray", progress=False)
print(first.status, second.status, first.data["engine"]["type"], ray.is_initialized(), os.environ.get("RAY_AUTH_MODE"))
for engine, declared in ((RayEngine(num_cpu=2), {}), (RayEngine(), {"CPU": 2})):
    try:
        engine.hosts(declared)
    except InvalidValue as error:
        print(str(error).partition(" cannot be a custom resource")[0])
"""


def test_a_temporary_cluster_ends_with_the_execution(project: World) -> None:
    directory = project(
        "execution: {resources: {cpus: 2, license: 3}}\ncomponents:\n  - nothing: {_resources_: {license: 2}}\n",
        nothing=NOTHING,
    )

    done = script(directory, TEMPORARY, "-W", "error")

    assert (done.stdout, done.stderr) == (
        "finished finished ray False None\n"
        "the engine 'ray' takes no num_cpu\n  Did you mean 'num_cpus' or 'num_gpus'?\n"
        "Ray does not accept its options: {'CPU': 2} -> `CPU`\n",
        "",
    )
