"""Check the options of the engine before any job is submitted, and turn resources into those of Slurm."""

from __future__ import annotations

import math
import os
import re
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from typing import Any

from machinable.errors import ImportFailed, InvalidType, InvalidValue, Refused, UnknownName, did_you_mean, near_names
from machinable.units import parse_duration

__all__ = [
    "OWN",
    "answer",
    "check_partition",
    "check_submission",
    "checked_options",
    "final_state",
    "import_submitit",
    "minutes",
    "parameters",
    "queued_jobs",
]

OWN = ("partition", "time", "slots", "job_per_trial", "folder", "address", "cluster")
# Options of submitit that others of this engine and resources set
SET = frozenset(
    {"job_name", "cpus_per_task", "gpus_per_node", "num_gpus", "mem", "nodes", "ntasks_per_node", "use_srun"}
)
ANSWER_TIMEOUT = 20.0  # seconds for a command of Slurm
_CLOCK = re.compile(r"(?:(\d+)-)?(\d+):(\d\d)(?::(\d\d))?")


def import_submitit() -> Any:
    """Import submitit.

    Raises:
        ImportFailed: It is not installed.
    """
    try:
        import submitit
        import submitit.local.local
        import submitit.slurm.slurm
    except ImportError as error:
        raise ImportFailed(
            f"the engine 'slurm' needs submitit, which cannot be imported: {error}",
            given="slurm",
            todo="Install it: pip install 'machinable-engine[slurm]'",
        ) from error
    return submitit


def minutes(given: Any) -> int:
    """Return the minutes of a time limit: `90m`, `4h`, or as Slurm writes it, `1-12:00:00`.

    Raises:
        InvalidType, InvalidValue: It is something else, such as a number, which is ambiguous.
    """
    if isinstance(given, str):
        seconds = parse_duration(given)
        clock = _CLOCK.fullmatch(given.strip())
        if seconds is None and clock is not None:
            days, hours, mins, secs = (int(part or 0) for part in clock.groups())
            seconds = ((days * 24 + hours) * 60 + mins) * 60 + secs
        if seconds is not None and seconds > 0 and math.isfinite(seconds):
            return math.ceil(seconds / 60)
    kind = InvalidValue if isinstance(given, str) else InvalidType
    raise kind(
        f"time of the engine 'slurm' is {given!r}", given=given, todo="Write a time with a unit, such as 90m, 4h or 2d."
    )


def checked_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return further options of jobs, which are those of submitit.

    Raises:
        InvalidValue: One is unknown, or is set by resources.
        InvalidType: One has a value that cannot be an option.
    """
    defaults = import_submitit().slurm.slurm._get_default_parameters()
    known = [*OWN, *sorted(defaults.keys() - SET - {"time", "partition"})]
    for name, value in given.items():
        if name in SET:
            raise InvalidValue(
                f"the engine 'slurm' takes no {name}",
                given=name,
                todo="What a trial needs is in its component: _resources_: {cpus: 4, gpus: 1, memory: 16GiB}.",
            )
        if name not in known:
            near = near_names(name, known)
            raise InvalidValue(
                f"the engine 'slurm' takes no {name}",
                given=name,
                known=known,
                todo=did_you_mean(near)
                if near
                else f"It takes {', '.join(known)}; other options of sbatch in additional_parameters.",
            )
        _check_value(name, value)
    return dict(given)


def _check_value(name: str, value: Any) -> None:
    lists = {"setup", "teardown", "srun_args"}
    numbers = {"signal_delay_s", "array_parallelism", "cpus_per_gpu", "gpus_per_task"}
    if name in lists:
        is_right, expected = isinstance(value, list) and all(isinstance(one, str) for one in value), "a list of texts"
    elif name == "additional_parameters":
        is_right, expected = isinstance(value, dict), "a mapping of options of sbatch"
    elif name in numbers:
        is_right, expected = type(value) is int and value >= 1, "a whole number of at least 1"
    else:
        is_right, expected = isinstance(value, (str, int)), "a text"
        if isinstance(value, str) and "\n" in value:
            is_right, expected = False, "a text of one line"
    if not is_right:
        raise InvalidType(f"{name} of the engine 'slurm' is {value!r}", given=value, todo=f"It must be {expected}.")


def check_submission() -> None:
    """Check that jobs can be submitted from this host.

    Raises:
        Refused: A command of Slurm is missing.
    """
    missing = [name for name in ("sbatch", "srun", "squeue", "scancel") if shutil.which(name) is None]
    if missing:
        raise Refused(
            f"the engine 'slurm' needs the commands of Slurm, and {', '.join(missing)} cannot be found",
            given=missing[0],
            todo="Execute on a host that submits jobs, or try it on this host: {type: slurm, cluster: local}.",
        )


def check_partition(given: str | None) -> None:
    """Check that a partition exists, if Slurm lists its partitions.

    Raises:
        UnknownName: It does not.
    """
    known = (answer(["sinfo", "--noheader", "--format=%R"]) or "").split()
    if given is not None and known:
        for name in given.split(","):
            if name not in known:
                raise UnknownName("partition of Slurm", name, dict.fromkeys(known))


def answer(command: list[str]) -> str | None:
    """Return what a command of Slurm prints; None if it is missing, fails or does not answer."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_TIMEOUT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def queued_jobs() -> dict[str, str] | None:
    """Return the states of this user's jobs in the queue, by their ids; None if Slurm does not answer."""
    found = answer(["squeue", "--noheader", "--array", "--user", str(os.getuid()), "--format=%i %T"])
    return None if found is None else dict(line.split(maxsplit=1) for line in found.splitlines() if line.strip())


def final_state(job: str) -> str:
    """Return how a job has ended, such as `CANCELLED by 1000`; nothing if Slurm does not say."""
    found = answer(["sacct", "--noheader", "--allocations", "--parsable2", "--format=State", "--jobs", job]) or ""
    return (found.splitlines() or [""])[-1].strip()


def parameters(
    resources: Mapping[str, float], partition: str | None, time: int, options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the parameters of submitit for a job with these resources; those that Slurm does not have are licenses."""
    found: dict[str, Any] = {"timeout_min": time, **{f"slurm_{name}": value for name, value in options.items()}}
    if partition is not None:
        found["slurm_partition"] = partition
    found["cpus_per_task"] = max(1, math.ceil(resources.get("cpus", 1)))
    if resources.get("gpus"):
        found["gpus_per_node"] = math.ceil(resources["gpus"])
    if resources.get("memory"):
        found["mem_gb"] = math.ceil(resources["memory"] / 2**20) / 1024
    # A job that is lost is replaced by another one, so Slurm must not start it again as well.
    more = {"no-requeue": True, **(options.get("additional_parameters") or {})}
    if licenses := ",".join(_licenses(resources.items())):
        more["licenses"] = licenses
    return {**found, "slurm_additional_parameters": more}


def _licenses(resources: Iterable[tuple[str, float]]) -> Iterable[str]:
    return (
        f"{name}:{math.ceil(amount)}" for name, amount in resources if name not in ("cpus", "gpus", "memory") and amount
    )
