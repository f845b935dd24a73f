"""Measure trials in worker processes and on Ray, compared with plain pools of both."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

WORKERS = 2
NAP = 0.05

NAPS = f"""import time
from machinable import Component


class Naps(Component):
    def on_execute(self):
        time.sleep({NAP})
"""


def nap(number: int) -> int:
    """Do what a trial of 50 ms does."""
    time.sleep(NAP)
    return number


BURNS = f"""import time
from machinable import Component


class Burns(Component):
    def on_execute(self):
        end = time.process_time() + {NAP}
        while time.process_time() < end:
            pass
"""


def burn(number: int) -> int:
    """Do what a trial of 50 ms of computing does."""
    end = time.process_time() + NAP
    while time.process_time() < end:
        pass
    return number


def nothing(number: int) -> int:
    """Do what an empty trial does."""
    return number


def _pool(function: Callable[[int], int], count: int) -> float:
    """Return the seconds that the standard library's pool takes, including its start."""
    began = time.perf_counter()
    with ProcessPoolExecutor(WORKERS, get_context("spawn")) as pool:
        for future in [pool.submit(function, number) for number in range(count)]:
            future.result()
    return time.perf_counter() - began


def _executed(component: str, count: int, directory: Path, engine: Any) -> float:
    import machinable as ml

    storage = {"storage": str(directory / "stored"), "code_backup": False}
    began = time.perf_counter()
    ml.execute(ml.Task(component).repeat(count), storage, project=directory, engine=engine, progress=False)
    return time.perf_counter() - began


def _prepare(directory: Path) -> None:
    from benchmarks import worlds

    worlds.with_an_empty_component(directory)
    with open(directory / "machinable.yaml", "a") as file:
        file.write("  - naps: {a: 1}\n  - burns: {a: 1}\n")
    (directory / "burns.py").write_text(BURNS)
    (directory / "naps.py").write_text(NAPS)


def processes(directory: Path) -> Iterator[tuple[str, float, float, str]]:
    """Measure worker processes: trials of 50 ms, compared with workers that only sleep, and empty trials."""
    _prepare(directory)
    _executed("empty", 2, directory, f"processes:{WORKERS}")  # imports
    ideal = 200 * NAP / WORKERS
    ours, pool = (
        min(times)
        for times in zip(
            *((_executed("naps", 200, directory, f"processes:{WORKERS}"), _pool(nap, 200)) for _ in range(3)),
            strict=True,
        )
    )
    yield "200 trials of 50 ms on 2 workers", ideal, ours, "1.053 × floor"
    yield "the same as tasks of ProcessPoolExecutor", ideal, pool, "for comparison"
    plain, burned = (
        min(times)
        for times in zip(
            *((_pool(burn, 200), _executed("burns", 200, directory, f"processes:{WORKERS}")) for _ in range(3)),
            strict=True,
        )
    )
    yield "200 × 50 ms of computing; floor: ProcessPoolExecutor", plain, burned, "1.03 × floor"
    bare, empty = (
        min(times)
        for times in zip(
            *((_pool(nothing, 1000), _executed("empty", 1000, directory, f"processes:{WORKERS}")) for _ in range(3)),
            strict=True,
        )
    )
    yield "an empty trial, of 1,000; floor: bare tasks", bare / 1000, empty / 1000, "for comparison"


def on_ray(directory: Path) -> Iterator[tuple[str, float, float, str]]:
    """Measure trials on Ray with running workers: empty ones, compared with plain tasks, and trials of 50 ms."""
    import ray

    from machinable.engines.ray.engine import RayEngine

    class _OpenEngine(RayEngine):
        def close(self) -> None:
            """Keep the workers for the next execution."""

    _prepare(directory)
    os.environ["HOME"] = str(directory)  # Ray writes a token there
    ray.init(address="local", num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="error")
    raw = ray.remote(nothing)
    floor = ours = naps = float("inf")
    for _ in range(3):
        ray.get([raw.remote(number) for number in range(100)])
        for _ in range(3):
            began = time.perf_counter()
            ray.get([raw.remote(number) for number in range(1000)])
            floor = min(floor, time.perf_counter() - began)
        engine = _OpenEngine()  # its workers hold the cores until it is closed
        _executed("empty", 100, directory, engine)
        for _ in range(3):
            ours = min(ours, _executed("empty", 1000, directory, engine))
        naps = min(naps, _executed("naps", 200, directory, engine))
        RayEngine.close(engine)
    ray.shutdown()
    yield "an empty trial on Ray, of 1,000; floor: raw tasks", floor / 1000, ours / 1000, "1 × floor"
    yield f"200 trials of 50 ms on Ray with {WORKERS} workers", 200 * NAP / WORKERS, naps, "for comparison"
