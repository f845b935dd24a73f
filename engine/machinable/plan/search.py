"""The search that a task requests, frozen."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from machinable.errors import InvalidType, InvalidValue, MachinableError
from machinable.serialization import Plain

if TYPE_CHECKING:
    from machinable.search.sample import Mode

__all__ = ["SearchRequest", "former_arguments", "search_from_data", "search_request"]

_LEFT_OUT = "…"  # in a stored search: an object that is not stored


class SearchRequest(Struct, frozen=True):
    """A search over a space of configurations.

    Attributes:
        space: What is searched, as plain data: a domain by the path of each key, or "~" for a version.
        metric: The field of a trial that is searched for, such as `records.loss.last`.
        mode: "min" or "max".
        samples: The number of samples; None: as many as the sampler has, or until `stop` or `timeout`.
        sampler: The name of a sampler, or an object that is one.
        prune: The name of a pruner, an object that is one, or None.
        stop: After which sample none follows: a mapping of fields to values, a condition, or a function of a trial.
        timeout: The seconds after which no sample follows.
    """

    space: Mapping[str, Plain]
    metric: str
    mode: Mode
    samples: int | None = None
    sampler: Any = "random"
    prune: Any = None
    stop: Any = None
    timeout: float | None = None

    def as_data(self) -> dict[str, Plain]:
        """Return the search as it is stored in execution.json: objects by the names of their classes."""
        stop: Plain = self.stop
        if callable(stop):
            stop = {_LEFT_OUT: f"{stop.__module__}:{getattr(stop, '__qualname__', type(stop).__qualname__)}"}
        return {
            "space": dict(self.space),
            "metric": self.metric,
            "mode": self.mode,
            "samples": self.samples,
            "sampler": _object_as_data(self.sampler),
            "prune": _object_as_data(self.prune),
            "stop": stop,
            "timeout": self.timeout,
        }


def _object_as_data(given: Any) -> Plain:
    if given is None or isinstance(given, (str, Mapping)):
        return given
    return {_LEFT_OUT: f"{type(given).__module__}:{type(given).__qualname__}"}


def search_from_data(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of `Task.tune` for a stored search.

    Raises:
        InvalidValue: Its sampler, its pruner or its function is an object that is not stored.
    """
    given = {name: data.get(name) for name in SearchRequest.__struct_fields__}
    for name in ("sampler", "prune", "stop"):
        stored = given[name]
        if isinstance(stored, Mapping) and _LEFT_OUT in stored:
            found = _imported(stored[_LEFT_OUT]) if name == "stop" else None
            if found is None:
                raise InvalidValue(
                    f"the {name} of the search is {stored[_LEFT_OUT]}, an object that is not stored",
                    given=stored[_LEFT_OUT],
                    todo="Give the task again: execute(task, resume=ID).",
                )
            given[name] = found
    return given


def _imported(text: str) -> Any:
    module, _, path = text.partition(":")
    try:
        return attrgetter(path)(importlib.import_module(module))
    except (Exception, SystemExit):
        return None


def search_request(
    space: Any,
    metric: Any,
    mode: Any,
    samples: Any,
    sampler: Any,
    prune: Any,
    stop: Any,
    timeout: Any,
) -> SearchRequest:
    """Return a search as `Task.tune` takes it, after checking all that needs no project.

    Raises:
        InvalidType, InvalidValue: An argument is wrong.
        UnknownName: There is no such sampler or pruner.
    """
    from machinable.search.pruner import make_pruner  # with numpy and msgspec, which other tasks do without
    from machinable.search.sample import check_mode
    from machinable.search.sampler import make_sampler
    from machinable.search.space import read_space

    if space is None:
        raise InvalidValue("a search needs a space", todo="Give one: .tune(space={'rate': ml.loguniform(1e-4, 1e-1)}).")
    read = read_space(space)
    if not read.paths:
        raise InvalidValue("the space of the search is empty", given=space, todo="Give one domain at least.")
    with _about("metric"):
        if not isinstance(metric, str) or not metric:
            raise (InvalidValue if metric in (None, "") else InvalidType)(
                "a search needs a metric"
                if metric in (None, "")
                else f"the metric of a search is text, not {metric!r}",
                given=metric,
                todo="Give a field of trials: metric='records.loss.last', or metric='result'.",
            )
    with _about("mode"):
        if mode is None:
            raise InvalidValue("a search needs a mode", todo="Give mode='min' or mode='max'.")
        mode = check_mode(mode)
    with _about("samples"):
        _check_samples(samples)
    with _about("timeout"):
        if isinstance(timeout, bool) or not (timeout is None or isinstance(timeout, (int, float))):
            raise InvalidType(f"the timeout of a search is a number of seconds, not {timeout!r}", given=timeout)
        if timeout is not None and not timeout > 0:
            raise InvalidValue(f"the timeout of a search is more than 0 seconds, not {timeout!r}", given=timeout)
    with _about("stop"):
        if isinstance(stop, (Mapping, str)) and not stop:
            raise InvalidValue("`stop` is empty, so the first sample would end the search", todo="Leave it out.")
        if isinstance(stop, Mapping):
            for field, value in stop.items():
                if not isinstance(field, str) or isinstance(value, bool) or not isinstance(value, (int, float)):
                    raise InvalidType(
                        f"`stop` maps fields to numbers, and not {field!r} to {value!r}",
                        given=stop,
                        todo="Write {'records.accuracy.last': 0.99}, a condition as text, or a function of a trial.",
                    )
            stop = {field: float(value) for field, value in stop.items()}
        elif stop is not None and not isinstance(stop, str) and not callable(stop):
            raise InvalidType(
                f"`stop` is {stop!r}",
                given=stop,
                todo="Give a mapping {'records.accuracy.last': 0.99}, a condition as text, or a function of a trial.",
            )
    with _about("samples"):
        if samples is None and stop is None and timeout is None and sampler != "grid":
            raise InvalidValue("the search would never end", todo="Give the number of samples: samples=50.")
    with _about("sampler"):
        make_sampler(sampler, read, mode, 0, samples)
    with _about("prune"):
        if prune is not None:
            make_pruner(prune, mode)
            if not metric.startswith("records."):
                raise InvalidValue(
                    f"trials are pruned by their rows, and the metric {metric} is not one of them",
                    given=metric,
                    todo="Give a column of the rows, such as metric='records.loss.last', or leave out prune.",
                )
    return SearchRequest(read.plain(), metric, mode, samples, sampler, prune, stop, timeout)


@contextmanager
def _about(argument: str) -> Iterator[None]:
    """Let errors name the argument that they are about."""
    try:
        yield
    except MachinableError as error:
        for one in error.parts:
            one.path = one.path or argument
        raise


def former_arguments(
    space: Any, config: Any, samples: Any, num_samples: Any, sampler: Any, repeats: Any
) -> tuple[Any, Any, Any, Any]:
    """Return space, samples, sampler and repeats, some of which may be given by their former names.

    In a former configuration, `{"grid_search": […]}` is a grid, which `num_samples` repeats, and other values are
    constants.

    Raises:
        InvalidType: The configuration is not a mapping.
        InvalidValue: One is given by both names.
    """
    pairs = (("space", space, "config", config), ("samples", samples, "num_samples", num_samples))
    for name, value, former, other in pairs:
        if value is not None and other is not None:
            raise InvalidValue(f"the search has both {name} and {former}", given=other, todo=f"Keep {name}.")
    samples = num_samples if samples is None else samples
    if config is None:
        return space, samples, sampler, repeats
    if not isinstance(config, Mapping):
        raise InvalidType(f"the configuration of a search is a mapping, not {config!r}", given=config)
    grids = [key for key, value in config.items() if isinstance(value, Mapping) and set(value) == {"grid_search"}]
    constant = (str, bytes, int, float, list, tuple, type(None))
    space = {key: {"choice": [value]} if isinstance(value, constant) else value for key, value in config.items()}
    if grids and sampler == "random":
        sampler = "grid"
        if num_samples is not None and repeats == 1:
            samples, repeats = None, num_samples
    return space, samples, sampler, repeats


def _check_samples(samples: Any) -> None:
    if isinstance(samples, bool) or not (samples is None or isinstance(samples, int)):
        raise InvalidType(f"`samples` is a whole number, not {samples!r}", given=samples)
    if samples is not None and samples < 1:
        raise InvalidValue(f"`samples` is at least 1, not {samples}", given=samples)
