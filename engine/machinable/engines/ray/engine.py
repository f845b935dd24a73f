"""Run trials on a Ray cluster: a running one, or a temporary one."""

from __future__ import annotations

import gc
import hashlib
import importlib
import math
import os
import pickle
import re
import sys
import time
import warnings
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from inspect import signature
from typing import Any, NamedTuple

from machinable.engines.cluster.actor import Setup, version_here
from machinable.engines.cluster.dispatcher import Dispatcher
from machinable.engines.cluster.engine import ClusterEngine
from machinable.engines.ray import launcher
from machinable.engines.ray.addresses import (
    address_towards,
    check_address,
    has_token,
    is_here,
    no_node,
    probe,
    running_address,
    unreachable,
)
from machinable.errors import ImportFailed, InvalidValue, Refused, did_you_mean, near_names
from machinable.plan.spec import TrialSpec

__all__ = ["RayEngine", "shut_down"]

OLDEST = (2, 60)
ANSWER_TIMEOUT = 5.0  # seconds for a cluster to list its hosts
FRESH = 1.0  # seconds after which the hosts of a cluster are counted again

# Seconds that Ray tries to reach a cluster; its defaults add up to more than a minute.
_TIME_LIMITS = {"RAY_gcs_rpc_server_connect_timeout_s": "1", "RAY_py_gcs_connect_timeout_s": "3"}


class Needs(NamedTuple):
    """The resources that a trial occupies, by the names of `_resources_`, and the digest of its code."""

    resources: tuple[tuple[str, float], ...]
    code: bytes

    @classmethod
    def of(cls, resources: Mapping[str, float], code: bytes) -> Needs:
        """Return the needs of a trial, by default one core. Ray does not support 2.5 cores, so these are 3."""
        whole = {name: amount if amount <= 1 else math.ceil(amount) for name, amount in resources.items()}
        return cls(tuple(sorted({"cpus": 1, **whole}.items())), code)

    def options(self) -> dict[str, Any]:
        """Return the needs as options of an actor."""
        return _as_options({"gpus": 0, **dict(self.resources)}, memory="memory")


class RayEngine(ClusterEngine):
    """Run trials on the hosts of a Ray cluster, each in a worker process as with `processes`.

    If this process is already connected to a cluster, that one is used and stays connected. Otherwise, it is the one at
    the address, or at the environment variable RAY_ADDRESS, or the one that `ray start` has started on this host.
    Without any, a temporary one is started, without a dashboard; it ends when the engine is closed.

    Args:
        address: `host:port`, `auto` for one on this host, `local` for a temporary one in any case.
        options: Options of `ray.init`, such as `num_cpus`.
    """

    name = "ray"
    unstored = frozenset({"runtime_env"})
    idle_seconds: float | None = None
    is_single_use = False

    def __init__(self, address: str | None = None, **options: Any) -> None:
        self.address = address
        self._options = options
        self._ray: Any = None
        self._declared: Mapping[str, float] = {}
        self._counted: tuple[float, dict[str, dict[str, float]]] = (0.0, {})
        self._room: dict[Needs, dict[str, int]] = {}
        self._project = os.getcwd()
        self._archive: Any = None  # of the project, in the object store
        self._digest = b""
        self._actors: Any = None  # the class of actors, which Ray takes a while to inspect

    # what the scheduler knows

    @property
    def slots(self) -> int:  # type: ignore[override]
        """The number of trials that may be submitted: the cores of the cluster, and more while trials are short.

        Reading it does not connect to the cluster; before that, it is one.
        """
        return 1 if self._ray is None else self._started().slots

    def hosts(self, declared: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """Return the resources of each host of the cluster.

        Args:
            declared: The resources of a temporary cluster, instead of those that Ray detects.

        Raises:
            Refused: No cluster answers at the address, or it rejects this process.
            ImportFailed: Ray is not installed, or too old.
            InvalidValue: An option is unknown to Ray.
        """
        self._declared = declared
        self._connect()
        return list(self._hosts().values())

    @property
    def may_grow(self) -> bool:
        """Whether hosts may join: not if this process has started the cluster."""
        return not _is_started_here(self._ray)

    def _needs(self, spec: TrialSpec) -> Needs:
        wanted = {name: amount for name, amount in spec.resources.items() if name not in self.counted}
        return Needs.of(wanted, self._digest)

    def ship(self, project: str, code: bytes) -> None:
        """Take the archive of the project that workers import from."""
        self._connect()
        digest = hashlib.sha256(os.fsencode(project) + code).digest()
        if self._archive is None or digest != self._digest:  # otherwise workers that have it stay
            self._project, self._archive, self._digest = project, self._ray.put(code), digest

    def address_for_workers(self) -> str:
        """Return the address of this host in the network of the cluster."""
        self._connect()
        if _is_started_here(self._ray):
            return "127.0.0.1"
        return address_towards(next(node["NodeManagerAddress"] for node in self._ray.nodes() if node["Alive"]))

    def close(self) -> None:
        """Release all workers, and end the cluster if it is temporary. A later `submit` starts a new one."""
        super().close()
        if self in _users:
            _users.remove(self)
            if not _users:
                _connection.close()
        self._ray = self._actors = self._archive = None
        self._counted = (0.0, {})

    # what the dispatcher knows

    def start(self, needs: Hashable, without: Collection[str]) -> Any:
        """Start an actor that holds these resources of another host than these. Ray decides where and when."""
        assert isinstance(needs, Needs)
        if self._actors is None:
            self._ray.cloudpickle.register_pickle_by_value(launcher)
            self._actors = self._ray.remote(launcher.Launcher)
        setup = pickle.dumps(Setup.here(self._project, self.on_progress is not None))
        # Threads: one method waits for replies while others are called.
        options = {**needs.options(), "max_concurrency": 4, "max_restarts": 0, "max_task_retries": 0}
        if without:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(sorted(without))})"}
        return self._actors.options(**options).remote(version_here(), setup, self._archive)

    def call(self, handle: Any, method: str, *arguments: Any) -> Future[Any]:
        """Call a method of an actor."""
        call = handle.prepare.remote if method == "prepare" else handle.call.remote
        future: Future[Any] = call(*(() if method == "prepare" else (method,)), *arguments).future()
        return future

    def kill(self, handle: Any) -> None:
        """End an actor immediately."""
        with suppress(Exception):  # the actor or the whole cluster is gone
            self._ray.kill(handle)

    def room(self, needs: Hashable) -> Mapping[str, int]:
        """Return how many such trials fit on each host at a time; hosts without room are left out."""
        assert isinstance(needs, Needs)
        hosts = self._hosts()
        if needs not in self._room:
            wanted = [(name, amount) for name, amount in needs.resources if amount] or [("cpus", 1)]
            fits = {
                key: min(int(host.get(name, 0) // amount) for name, amount in wanted) for key, host in hosts.items()
            }
            self._room[needs] = {key: count for key, count in fits.items() if count}
        return self._room[needs]

    def reason_of_loss(self, error: BaseException) -> str | None:
        """Return how an actor was lost; None if the error has another cause."""
        of = self._ray.exceptions
        lost = (of.RayActorError, of.WorkerCrashedError, of.NodeDiedError, of.ObjectLostError, of.OutOfMemoryError)
        if not isinstance(error, lost):
            return None
        if isinstance(error, of.ActorUnavailableError):
            return "the connection to its host broke"
        reason = str(error).strip().rpartition("The actor is dead because ")[2]
        return re.split(r" Some common causes include|\n", reason)[0].strip() or type(error).__name__

    def shortage(self, needs: Hashable) -> str:
        """Return what workers for such trials are waiting for."""
        assert isinstance(needs, Needs)
        free, all_ = _as_host(self._ray.available_resources()), _as_host(self._ray.cluster_resources())
        lacks = [
            f"{name}: {amount:g} (free: {free.get(name, 0):g} of {all_.get(name, 0):g})"
            for name, amount in needs.resources
            if amount
        ]
        return f"waiting for workers: the Ray cluster has provided none yet for {', '.join(lacks) or 'trials'}"

    # the cluster

    def _started(self) -> Dispatcher:
        self._connect()
        if self._dispatcher is None:
            self._dispatcher = Dispatcher(self, max(1, sum(int(host["cpus"]) for host in self._hosts().values())))
        return self._dispatcher

    def _hosts(self) -> dict[str, dict[str, float]]:
        """Return the resources of each host by its id."""
        when, hosts = self._counted
        if not hosts or time.monotonic() - when > FRESH:
            hosts = {node["NodeID"]: _as_host(node["Resources"]) for node in self._ray.nodes() if node["Alive"]}
            self._counted = time.monotonic(), hosts
            self._room.clear()
        return hosts

    def _connect(self) -> None:
        if self._ray is not None:
            return
        if self.address is not None:
            check_address(self.address)
        given = self.address or os.environ.get("RAY_ADDRESS")
        found = None if given else running_address()
        address = given or found or "local"
        if "ray" not in sys.modules and not found:  # importing and starting it takes seconds
            self._notice("starting Ray…" if address == "local" else f"connecting to the Ray cluster at {address}…")
        ray = _import_ray()
        known = [name for name in signature(ray.init).parameters if name != "kwargs"]
        for name in self._options:
            if name not in known and not name.startswith("_"):  # those are private
                near = near_names(name, known)
                raise InvalidValue(
                    f"the engine 'ray' takes no {name}",
                    given=name,
                    known=known,
                    todo=did_you_mean(near) if near else "It takes the options of ray.init.",
                )
        if not ray.is_initialized():
            _users.clear()  # of a cluster that was shut down
            _connection.close()
            if found:
                separate = "for a separate one, use engine='ray:local'"
                self._notice(f"connecting to the Ray cluster at {found}, which runs on this host; {separate}")
            _connection.enter_context(self._connected(ray, address))
            _users.append(self)
        else:
            if not any((user.address, user._options) == (self.address, self._options) for user in _users):
                self._check_connected(ray)
            if _users:
                _users.append(self)
        self._ray = ray

    def _notice(self, text: str) -> None:
        if self.on_notice is not None:
            self.on_notice(text)

    def _check_connected(self, ray: Any) -> None:
        """Check that the engine requests the cluster that this process is connected to."""
        current = ray.get_runtime_context().gcs_address
        if self._options or self.address not in (None, "auto", "local" if _is_started_here(ray) else None, current):
            given = next(iter(self._options), self.address)
            raise Refused(
                f"this process is connected to the Ray cluster at {current}, so the engine cannot use {given!r}",
                given=given,
                todo="Call ray.shutdown() first, or use engine='ray' for the connected cluster.",
            )

    @contextmanager
    def _connected(self, ray: Any, address: str) -> Iterator[None]:
        """Connect within a block. Then restore the authentication settings of this process, which Ray changes."""
        before = os.environ.get("RAY_AUTH_MODE")
        try:
            self._begin(ray, address)
            yield
            shut_down(ray)
        finally:
            if os.environ.get("RAY_AUTH_MODE") != before:
                os.environ.pop("RAY_AUTH_MODE", None)
                os.environ.update({} if before is None else {"RAY_AUTH_MODE": before})
                _read_configuration(ray)

    def _begin(self, ray: Any, address: str) -> None:
        """Connect to a cluster, or start one."""
        options = {"logging_level": "error", "log_to_driver": False, **self._options, "address": address}
        if address == "local":
            options = {"include_dashboard": False, **_as_options(self._declared, memory="_memory"), **options}
        else:
            place = _place_of(address)
            probe(place)
            if "RAY_AUTH_MODE" not in os.environ and is_here(place) and has_token() and _requires_token(ray, place):
                os.environ["RAY_AUTH_MODE"] = "token"
                _read_configuration(ray)
            if not place.startswith("ray://"):
                _check_cluster(ray, place)
        try:
            ray.init(**options)
        except (AssertionError, TypeError, ValueError, RuntimeError) as error:
            if not isinstance(error, RuntimeError) and (self._options or address == "local"):
                reason = str(error).strip().partition("\n")[0]
                raise InvalidValue(
                    f"Ray does not accept its options: {reason}",
                    given={**self._declared, **self._options},
                    todo="See the options of the engine, and `execution: {resources: …}`.",
                ) from error
            raise unreachable(address, error) from error
        except (OSError, ImportError, ray.exceptions.RayError, SystemExit) as error:
            raise unreachable(address, error) from error


_users: list[RayEngine] = []  # of the cluster that an engine of this process has connected to
_connection = ExitStack()  # ends with the last of them


def _is_started_here(ray: Any) -> bool:
    """Return whether this process has started the cluster, which is on this host only and ends with it."""
    node = getattr(ray._private.worker, "_global_node", None)
    return node is not None and bool(node.is_head())


def shut_down(ray: Any) -> None:
    """Disconnect, and end the cluster if this process has started it."""
    ray.shutdown()
    with warnings.catch_warnings():
        # Ray does not wait for the processes that it ends; Python warns about that when it collects them.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


def _import_ray() -> Any:
    """Import Ray, if it is installed and new enough."""
    todo = f"Install it: pip install 'ray>={'.'.join(map(str, OLDEST))}'"
    # Under `uv run`, Ray would also start its workers with `uv run`, in a copy of the working directory.
    with _environment({"RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}):
        try:
            ray = importlib.import_module("ray")
            importlib.import_module("ray.exceptions")
        except ImportError as error:
            raise ImportFailed(
                f"the engine 'ray' needs Ray, which cannot be imported: {error}", given="ray", todo=todo
            ) from error
    version = tuple(int(part) for part in re.findall(r"\d+", ray.__version__)[:2])
    if version < OLDEST:
        raise ImportFailed(
            f"the engine 'ray' needs a newer Ray than {ray.__version__}", given=ray.__version__, todo=todo
        )
    return ray


@contextmanager
def _environment(defaults: Mapping[str, str]) -> Iterator[None]:
    """Set variables in a block, unless they are set already."""
    unset = [name for name in defaults if name not in os.environ]
    os.environ.update({name: defaults[name] for name in unset})
    try:
        yield
    finally:
        for name in unset:
            del os.environ[name]


def _as_options(resources: Mapping[str, float], memory: str) -> dict[str, Any]:
    """Return resources as options of an actor or of a temporary cluster, which name memory differently."""
    names = {"cpus": "num_cpus", "gpus": "num_gpus", "memory": memory}
    others = {name: amount for name, amount in resources.items() if name not in names}
    options: dict[str, Any] = {"resources": others} if others else {}
    for name in resources.keys() - others.keys():
        amount = resources[name]
        options[names[name]] = int(amount) if amount == int(amount) else amount
    return options


def _as_host(resources: Mapping[str, float]) -> dict[str, float]:
    """Return the resources of a node by the names of `_resources_`."""
    names = {"CPU": "cpus", "GPU": "gpus"}
    named = {names.get(name, name): amount for name, amount in resources.items()}
    found = {name: amount for name, amount in named.items() if not name.startswith(("node:", "object_store"))}
    return {"cpus": 0.0, "gpus": 0.0, "memory": 0.0, **found}


def _place_of(address: str) -> str:
    """Return the address of a cluster, which Ray finds for "auto".

    Raises:
        Refused: No cluster runs on this host.
    """
    if address != "auto":
        return address
    services = importlib.import_module("ray._private.services")
    try:
        found: str | None = services.canonicalize_bootstrap_address(address)
    except (OSError, ValueError, RuntimeError) as error:
        raise unreachable(address, error) from error
    if found is None:
        raise unreachable(address, ConnectionError("none runs on this host"))
    return found


def _read_configuration(ray: Any) -> None:
    """Let Ray read variables such as RAY_AUTH_MODE again, which it reads only when it is imported."""
    ray._raylet.Config.initialize("")


def _requires_token(ray: Any, place: str) -> bool:
    """Return whether a cluster on this host requires a token. Actors of one that does not are lost if it gets one."""
    if place.startswith("ray://"):  # there, its server has the actors
        return True
    try:
        with _without_stderr():
            ray._raylet.GcsClient(address=place)
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:
        return "InvalidAuthToken" in str(error)
    return False


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard what C++ code logs in a block."""
    stderr, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(nowhere)


def _check_cluster(ray: Any, place: str) -> None:
    """Check within seconds that a cluster answers and accepts this process, and that this host is a node of it.

    Raises:
        Refused: It does not, with Ray's reason, or it is not.
    """
    try:
        with _environment(_TIME_LIMITS):
            _read_configuration(ray)
            # Ray's driver needs a node on its host, and waits for one for a minute.
            nodes = ray._raylet.GcsClient(address=place).get_all_node_info(timeout=ANSWER_TIMEOUT).values()
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:
        raise unreachable(place, error) from error
    finally:
        _read_configuration(ray)
    if not any(is_here(f"{node.node_manager_address}:{node.node_manager_port}") for node in nodes):
        raise no_node(place)
