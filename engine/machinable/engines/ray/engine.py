"""Run trials on a Ray cluster: a running one, or a temporary one."""

from __future__ import annotations

import gc
import hashlib
import importlib
import math
import os
import re
import sys
import time
import warnings
from collections.abc import Hashable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from inspect import signature
from typing import Any, NamedTuple

from machinable.engines.base import Engine, Reach, Work
from machinable.engines.ray.actor import OtherVersion, Setup, TrialActor
from machinable.engines.ray.addresses import check_address, has_token, is_here, probe, unreachable
from machinable.engines.ray.dispatcher import Dispatcher, TrialFuture
from machinable.errors import ImportFailed, InvalidValue, Refused, did_you_mean, near_names
from machinable.plan.spec import Outcome, TrialSpec

__all__ = ["RayEngine", "shut_down"]

OLDEST = (2, 60)
FRESH = 5.0  # seconds after which the hosts of a cluster are counted again


class Needs(NamedTuple):
    """What a trial occupies, by Ray's names; `code` counts the shipped projects."""

    cpus: float
    gpus: float
    memory: int
    others: tuple[tuple[str, float], ...]
    code: int

    @classmethod
    def of(cls, resources: Mapping[str, float], code: int) -> Needs:
        """Return those of a trial, by default one core. Ray has no 2.5 cores: these are 3."""
        whole = {name: amount if amount <= 1 else float(math.ceil(amount)) for name, amount in resources.items()}
        memory = math.ceil(whole.pop("memory", 0))
        cpus, gpus = whole.pop("cpus", 1.0), whole.pop("gpus", 0.0)
        return cls(cpus, gpus, memory, tuple(sorted(whole.items())), code)

    def wanted(self) -> dict[str, float]:
        """Return them by the names that hosts use."""
        found = {"cpus": self.cpus, "gpus": self.gpus, "memory": float(self.memory), **dict(self.others)}
        return {name: amount for name, amount in found.items() if amount}

    def options(self) -> dict[str, Any]:
        """Return them as options of an actor."""
        options: dict[str, Any] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        if self.memory:
            options["memory"] = self.memory
        if self.others:
            options["resources"] = dict(self.others)
        return options


class RayEngine(Engine):
    """Run trials on the hosts of a Ray cluster, each in a worker process as on `processes`.

    A cluster that this process is connected to already is used, and stays connected. Else it is the one at the address,
    or at that of the environment variable RAY_ADDRESS. Without either it is a temporary one without a dashboard, which
    ends when the engine is closed.

    Args:
        address: `host:port`, `auto` for one on this host, `local` for a temporary one in any case.
        options: of `ray.init`, such as `num_cpus`.
    """

    name = "ray"
    reach: Reach = "anywhere"
    ships = True
    tells_progress = True
    queues = True

    def __init__(self, address: str | None = None, **options: Any) -> None:
        self.address = address
        self._options = options
        self._ray: Any = None
        self._connection: _Connection | None = None
        self._declared: Mapping[str, float] = {}
        self._dispatcher: Dispatcher | None = None
        self._counted: tuple[float, list[dict[str, float]]] = (0.0, [])
        self._shipped: tuple[str, Any] = (os.getcwd(), None)
        self._digest = b""
        self._code = 0
        self._setup: Setup | None = None
        self._actors: Any = None  # the class of actors, which Ray takes a while to inspect

    # what the scheduler knows

    @property
    def slots(self) -> int:  # type: ignore[override]
        """How many trials may be submitted: as many as the cluster has cores, and more while they are short.

        To look at it does not connect: before, it is one.
        """
        return 1 if self._ray is None else self._started().slots

    @property
    def prefetch(self) -> int:
        """How many more trials may wait for a worker: none while they are long."""
        return 0 if self._dispatcher is None else self._dispatcher.prefetch

    def hosts(self, declared: Mapping[str, float]) -> Sequence[Mapping[str, float]]:
        """Return the resources of each host of the cluster.

        Args:
            declared: What a temporary cluster has, in place of what Ray finds out.

        Raises:
            Refused: there is no cluster at that address, or it does not take this process.
            ImportFailed: Ray is not installed, or too old. InvalidValue: it does not know an option.
        """
        self._declared = declared
        self._connect()
        return self._places()

    def ship(self, project: str, code: bytes) -> None:
        """Take the archive of the project that workers import from."""
        self._connect()
        digest = hashlib.sha256(code).digest()
        if self._shipped[1] is not None and (project, digest) == (self._shipped[0], self._digest):
            return  # workers that have it stay
        self._shipped, self._digest = (project, self._ray.put(code)), digest
        self._code += 1
        self._setup = None
        if self._dispatcher is not None:
            self._dispatcher.dismiss()

    def submit(self, work: Work, spec: TrialSpec) -> Future[Outcome]:
        """Start a trial, or let it wait until there is room for it."""
        try:
            dispatcher = self._started()
            return dispatcher.submit(work, spec, Needs.of(spec.resources, self._code))
        except Exception as error:
            future: Future[Outcome] = Future()
            future.set_exception(error)
            return future

    def began(self, future: Future[Outcome]) -> float | None:
        """Return when a trial began, by `time.monotonic`; None while it waits for a worker."""
        return future.began if isinstance(future, TrialFuture) else None

    def interrupt(self) -> None:
        """Raise `KeyboardInterrupt` in all running trials; waiting ones do not begin."""
        if self._dispatcher is not None:
            self._dispatcher.interrupt()

    def end(self, future: Future[Outcome]) -> None:
        """End a trial of this engine by ending its worker. Afterwards the future is done."""
        if self._dispatcher is not None:
            self._dispatcher.end(future)

    def close(self) -> None:
        """Release all workers, and end the cluster if it is a temporary one. A later `submit` starts again."""
        if self._dispatcher is not None:
            self._dispatcher.close()
            self._dispatcher = None
        if self._connection is not None:
            self._connection.leave(self)
        self._connection = self._ray = self._actors = None
        self._shipped = (self._shipped[0], None)
        self._counted = (0.0, [])
        self._setup = None

    # what the dispatcher knows

    def hire(self, needs: Hashable) -> _Handle:
        """Start an actor that holds these resources of a host. Ray decides where and when."""
        assert isinstance(needs, Needs)
        if self._setup is None:
            self._setup = Setup.here(self._shipped[0], self.on_progress is not None)
        # Threads: one method waits for replies while others are called.
        options = {**needs.options(), "max_concurrency": 8, "max_restarts": 0, "max_task_retries": 0}
        if self._actors is None:
            self._actors = self._ray.remote(RayTrialActor)
        actor = self._actors.options(**options).remote(self._setup, self._shipped[1])
        return _Handle(self._ray, actor)

    def limit(self, needs: Hashable) -> int:
        """Return how many such trials fit into the cluster at a time; at least one."""
        assert isinstance(needs, Needs)
        wanted = needs.wanted()
        fitting = 0
        for place in self._places():
            fits = [int(place.get(name, 0.0) // amount) for name, amount in wanted.items()]
            fitting += min(fits) if fits else int(place.get("cpus", 0.0))
        return max(1, fitting)

    def why(self, error: BaseException) -> str | None:
        """Return how an actor was lost; None if it is there."""
        exceptions = self._ray.exceptions
        lost = (
            exceptions.RayActorError,
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.OutOfMemoryError,
        )
        if not isinstance(error, lost):
            return None
        text = str(error)
        _, found, reason = text.partition("The actor is dead because ")
        reason = re.split(r" Some common causes include|\n", reason if found else text.strip())[0].strip()
        _, other, version_error = text.rpartition(f"{OtherVersion.__name__}: ")
        if other:
            return version_error.strip()
        if "No module named 'machinable" in text:
            return "machinable is not installed there: every host of the cluster needs the same version of it"
        if "creation task" in text:
            return text.strip()
        return reason or type(error).__name__

    def shortage(self, needs: Hashable) -> str:
        """Return what workers for such trials wait for."""
        assert isinstance(needs, Needs)
        free, there = _as_place(self._ray.available_resources()), _as_place(self._ray.cluster_resources())
        lacks = [
            f"{name}: {amount:g} (free: {free.get(name, 0):g} of {there.get(name, 0):g})"
            for name, amount in needs.wanted().items()
        ]
        return f"waiting for workers: the Ray cluster has given none yet for {', '.join(lacks) or 'trials'}"

    def _notice(self, text: str) -> None:
        if self.on_notice is not None:
            self.on_notice(text)

    def keep(self, data: bytes) -> Any:
        """Put data into the object store, from which all hosts can fetch it."""
        return self._ray.put(data)

    def fetch(self, kept: Any) -> Future[bytes]:
        """Get what an actor has put into the object store."""
        future: Future[bytes] = kept.future()
        return future

    # the cluster

    def _started(self) -> Dispatcher:
        self._connect()
        if self._dispatcher is None:
            cores = sum(int(place.get("cpus", 0.0)) for place in self._places())
            self._dispatcher = Dispatcher(self, max(1, cores), lambda: self.on_progress, self._notice)
        self._dispatcher.transfer = self.transfer
        return self._dispatcher

    def _places(self) -> list[dict[str, float]]:
        when, places = self._counted
        if not places or time.monotonic() - when > FRESH:
            nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
            self._counted = time.monotonic(), [_as_place(resources) for resources in nodes]
        return self._counted[1]

    def _connect(self) -> None:
        if self._ray is not None:
            return
        if self.address is not None:
            check_address(self.address)
        address = self.address or os.environ.get("RAY_ADDRESS") or "local"
        if "ray" not in sys.modules:  # importing and starting it takes seconds
            self._notice("starting Ray…" if address == "local" else f"connecting to the Ray cluster at {address}…")
        ray = _import_ray()
        _check_options(ray, self._options)
        connection = _Connection.current
        if connection is None and ray.is_initialized():
            self._check_connected(ray)
        else:
            asked = (address, self._options, dict(self._declared))
            if connection is None or not ray.is_initialized():
                connection = _Connection(ray, asked, os.environ.get("RAY_AUTH_MODE"))
                try:
                    self._begin(ray, address)
                except BaseException:
                    connection.forget()
                    raise
                _Connection.current = connection
            elif connection.asked != asked:
                raise Refused(
                    "this process has another engine 'ray', with other options, which has not been closed",
                    given=address,
                    todo="Close it first, or give it to execute.",
                )
            connection.engines.append(self)
            self._connection = connection
        self._ray = ray

    def _check_connected(self, ray: Any) -> None:
        """Check that the engine asks for the cluster that this process is connected to."""
        current = ray.get_runtime_context().gcs_address
        if self.address == "local" and not _is_of_this_process(ray):
            raise Refused(
                f"this process is connected to the Ray cluster at {current}, but the engine starts a private cluster",
                given=self.address,
                todo="Call ray.shutdown() before, or use engine='ray' for the one that is there.",
            )
        if self.address is not None and self.address not in ("auto", "local", current):
            raise Refused(
                f"this process is connected to the Ray cluster at {current}, and the engine asks for {self.address}",
                given=self.address,
                todo="Call ray.shutdown() before, or leave out the address.",
            )
        if self._options:
            name = next(iter(self._options))
            raise Refused(
                f"this process is connected to a Ray cluster already, so {name} cannot be set any more",
                given=name,
                todo="Give it to ray.init, or call ray.shutdown() before.",
            )

    def _begin(self, ray: Any, address: str) -> None:
        """Connect to a cluster, or start one."""
        options = {"logging_level": "error", "log_to_driver": False, **self._options, "address": address}
        if address == "local":
            options = {"include_dashboard": False, **_own_resources(self._declared), **options}
        else:
            place = _place_of(address)
            if "RAY_AUTH_MODE" not in os.environ and is_here(place) and has_token():
                # Clusters of this host ask for the token that one of them has left; others take no notice of it.
                os.environ["RAY_AUTH_MODE"] = "token"
                _read_configuration(ray)
            probe(place)
            if not place.startswith("ray://"):
                _check_cluster(ray, place)
        try:
            ray.init(**options)
        except (AssertionError, RuntimeError, TypeError, ValueError) as error:
            unknown = re.search(r"Unknown keyword argument\(s\): (.*)", str(error))
            if unknown:
                raise _unknown_option(ray, unknown[1]) from None
            if not isinstance(error, RuntimeError) and (self._options or address == "local"):
                reason = str(error).strip().partition("\n")[0]
                raise InvalidValue(
                    f"Ray does not take what it is given: {reason}",
                    given={**self._declared, **self._options},
                    todo="See the options of the engine, and `execution: {resources: …}`.",
                ) from error
            raise unreachable(address, error) from error
        except (OSError, ImportError, ray.exceptions.RayError, SystemExit) as error:
            raise unreachable(address, error) from error


class _Connection:
    """A connection to a cluster that engines share: it ends with the last of them."""

    current: _Connection | None = None

    def __init__(self, ray: Any, asked: tuple[Any, ...], authentication: str | None) -> None:
        self.asked = asked
        self.engines: list[RayEngine] = []
        self._ray = ray
        self._authentication = authentication  # Ray changes it for the whole process

    def leave(self, engine: RayEngine) -> None:
        """Release it for one engine."""
        self.engines.remove(engine)
        if self.engines:
            return
        if _Connection.current is self:
            _Connection.current = None
            shut_down(self._ray)
        self.forget()

    def forget(self) -> None:
        """Let the process authenticate itself as it did before."""
        if os.environ.get("RAY_AUTH_MODE") == self._authentication:
            return
        if self._authentication is None:
            del os.environ["RAY_AUTH_MODE"]
        else:
            os.environ["RAY_AUTH_MODE"] = self._authentication
        _read_configuration(self._ray)


def shut_down(ray: Any) -> None:
    """Disconnect, and end what this process has started."""
    ray.shutdown()
    with warnings.catch_warnings():
        # Ray ends its processes and does not wait for them; Python says so when it forgets them, wherever that is.
        warnings.simplefilter("ignore", ResourceWarning)
        gc.collect()


class RayTrialActor(TrialActor):
    """The actor with the object store of Ray."""

    def keep(self, data: bytes) -> Any:
        """Put data into the object store."""
        import ray

        return ray.put(data)


class _Handle:
    """A Ray actor, as the dispatcher sees it."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self._actor = actor

    def call(self, method: str, *arguments: Any) -> Future[Any]:
        """Call a method of the actor."""
        future: Future[Any] = getattr(self._actor, method).remote(*arguments).future()
        return future

    def kill(self) -> None:
        """End it at once."""
        with suppress(Exception):  # it is gone, or the whole cluster is
            self._ray.kill(self._actor)


def _import_ray() -> Any:
    """Import Ray, if it is installed and new enough."""
    todo = f"Install it: pip install 'ray>={'.'.join(map(str, OLDEST))}'"
    # Under `uv run` Ray would start its workers by `uv run`, too, in a copy of the working directory.
    with _environment("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0"):
        try:
            ray = importlib.import_module("ray")
            importlib.import_module("ray.exceptions")
        except ImportError as error:
            raise ImportFailed(
                f"the engine 'ray' needs Ray, which does not import: {error}", given="ray", todo=todo
            ) from error
    version = tuple(int(part) for part in re.findall(r"\d+", ray.__version__)[:2])
    if version < OLDEST:
        raise ImportFailed(
            f"the engine 'ray' needs a newer Ray than {ray.__version__}", given=ray.__version__, todo=todo
        )
    return ray


@contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Set a variable in a block, unless it is set already."""
    before = os.environ.get(name)
    os.environ.setdefault(name, value)
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]


def _own_resources(declared: Mapping[str, float]) -> dict[str, Any]:
    """Return what the project declares, as options of a temporary cluster."""
    others = dict(declared)
    options: dict[str, Any] = {}
    for ours, theirs in (("cpus", "num_cpus"), ("gpus", "num_gpus"), ("memory", "_memory")):
        if ours in others:
            options[theirs] = int(others.pop(ours))
    return options | ({"resources": others} if others else {})


def _as_place(resources: Mapping[str, float]) -> dict[str, float]:
    """Return the resources of a node by the names of `_resources_`."""
    place = {
        "cpus": resources.get("CPU", 0.0),
        "gpus": resources.get("GPU", 0.0),
        "memory": resources.get("memory", 0.0),
    }
    others = {name: amount for name, amount in resources.items() if name not in ("CPU", "GPU", "memory")}
    return place | {name: amount for name, amount in others.items() if not name.startswith(("node:", "object_store"))}


def _check_options(ray: Any, options: Mapping[str, Any]) -> None:
    """Check that Ray knows the options; those that begin with `_` are private."""
    known = signature(ray.init).parameters
    for name in options:
        if name not in known and not name.startswith("_"):
            raise _unknown_option(ray, name)


def _unknown_option(ray: Any, name: str) -> InvalidValue:
    known = [known for known in signature(ray.init).parameters if known != "kwargs"]
    near = near_names(name, known)
    return InvalidValue(
        f"the engine 'ray' takes no {name}",
        given=name,
        known=known,
        todo=did_you_mean(near) if near else "It takes what ray.init takes.",
    )


def _is_of_this_process(ray: Any) -> bool:
    """Return whether this process has started the cluster that it is connected to."""
    node = getattr(ray._private.worker, "_global_node", None)
    return node is not None and bool(node.is_head())


def _place_of(address: str) -> str:
    """Return the address that Ray would take.

    Raises:
        Refused: there is none on this host.
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
    """Let Ray read variables such as RAY_AUTH_MODE again, which it does once when it is imported."""
    ray._raylet.Config.initialize("")


# Seconds that Ray tries to reach a cluster; its defaults add up to more than a minute.
_TIME_LIMITS = {"RAY_gcs_rpc_server_connect_timeout_s": "1", "RAY_py_gcs_connect_timeout_s": "3"}


def _check_cluster(ray: Any, place: str) -> None:
    """Check within seconds that a cluster answers and accepts this process.

    Raises:
        Refused: It does not, with Ray's reason.
    """
    before = {name: os.environ.get(name) for name in _TIME_LIMITS}
    os.environ.update({name: value for name, value in _TIME_LIMITS.items() if before[name] is None})
    try:
        _read_configuration(ray)
        ray._raylet.GcsClient(address=place)
    except (OSError, RuntimeError, ray.exceptions.RayError) as error:
        raise unreachable(place, error) from error
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
        _read_configuration(ray)
