"""A Ray cluster of isolated hosts, which share no directory."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import machinable as ml
from tests.kits.hosts import Host, Network, isolated_hosts

__all__ = ["EXECUTE", "RayHosts", "ray_hosts"]

PORT = 6379
# A script: `task` is an expression, `options` are further arguments.
EXECUTE = f"""
import machinable as ml

execution = ml.execute({{task}}, "stored", "OY1p1o", "ray:10.0.0.1:{PORT}", progress=False{{options}})
print([(trial.status, trial.attempt, trial.result) for trial in execution.trials])
"""
# To notice within seconds that a host is gone.
QUICK = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "500",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "2",
}
AUTOSCALING = {
    "cluster_name": "test",
    "provider": {"type": "fake_multinode", "disable_node_updaters": True, "disable_launch_config_check": True},
    "head_node_type": "ray.head.default",
    "max_workers": 8,
    "upscaling_speed": 1.0,
    "idle_timeout_minutes": 1.0,
    **{name: {} for name in ("auth", "file_mounts")},
    **{f"{part}_commands": [] for part in ("initialization", "setup", "head_setup", "worker_setup")},
    **{f"{part}_start_ray_commands": [] for part in ("head", "worker")},
    "cluster_synced_files": [],
    "file_mounts_sync_continuously": False,
}


class RayHosts:
    """A cluster, whose head is a host with the project; others join.

    Args:
        network: The network, which has one host.
        types: The types of nodes that an autoscaler starts; None for no autoscaler.

    Attributes:
        head: The host of the head, on which executions are started.
        network: The network of the hosts.
    """

    def __init__(self, network: Network, types: Mapping[str, Any] | None = None) -> None:
        self.network = network
        (self.head,) = network.hosts
        self.address = f"{self.head.address}:{PORT}"
        head = ["--head", f"--port={PORT}", "--include-dashboard=false"]
        variables = {}
        if types is not None:
            (self.head.tmp / "autoscaling.json").write_text(json.dumps({**AUTOSCALING, "available_node_types": types}))
            head.append("--autoscaling-config=/tmp/autoscaling.json")
            variables = {"AUTOSCALER_UPDATE_INTERVAL_S": "1", "RAY_FAKE_CLUSTER": "1"}
        (self.head.tmp / "project").mkdir()
        self._begin(self.head, 0, {}, *head, **variables)

    @property
    def stored(self) -> ml.Execution:
        """The execution of the script `EXECUTE`."""
        return ml.Storage(str(self.head.tmp / "project" / "stored"))["OY1p1o"]

    def join(self, name: str, cpus: int = 1, resources: Mapping[str, float] | None = None, **environment: str) -> Host:
        """Start a host and let it join the cluster.

        Args:
            name: Its host name.
            cpus: The number of its cores.
            resources: Its custom resources.
            environment: Variables of its workers.
        """
        host = self.network.add(name)
        self._begin(host, cpus, resources or {}, f"--address={self.address}", **environment)
        return host

    def _begin(self, host: Host, cpus: int, resources: Mapping[str, float], *options: str, **environment: str) -> None:
        node = host.start(
            *("ray", "start", *options, f"--node-ip-address={host.address}", f"--num-cpus={cpus}"),
            *(f"--resources={json.dumps(resources)}", "--object-store-memory=80000000"),
            *("--disable-usage-stats", "--block"),
            **QUICK,
            **environment,
        )
        assert node.stdout is not None
        said = []
        for line in node.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                return
        raise RuntimeError("".join(said))

    def script(self, text: str, *, on: Host | None = None, **environment: str) -> subprocess.Popen[str]:
        """Start a script in the project's directory, on the head or another host."""
        host = on or self.head
        (host.tmp / "project").mkdir(exist_ok=True)
        (host.tmp / "project" / "script.py").write_text(text)
        return host.start("python", "script.py", directory="/tmp/project", **environment)


@contextmanager
def ray_hosts(directory: Path) -> Iterator[RayHosts]:
    """Start a cluster that has no cores until other hosts join; it ends with the block."""
    with isolated_hosts(directory, "head") as network:
        yield RayHosts(network)
