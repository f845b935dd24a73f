"""Samplers, which choose the samples of a search: random, grid, those of Optuna, and those of users."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from inspect import isclass, signature
from typing import Any, Protocol

from machinable.errors import InvalidType, InvalidValue, MachinableError
from machinable.search.domains import Choice, Domain, Number
from machinable.search.sample import Mode, Sample, check_mode
from machinable.search.space import Space

__all__ = ["Sampler", "make_sampler", "name_and_options"]


class Sampler(Protocol):
    """What chooses samples. The scheduler asks for them in the order of their numbers.

    What a sampler answers depends only on its seed and on the calls before, so that the same calls in the same order
    restore its state. `tell` gets the stored sample, even if it answers something else when it is asked again.
    """

    def ask(self, number: int) -> dict[str, Any] | None:
        """Return the values of the sample with a number, None if there are no further ones."""
        ...

    def tell(self, sample: Sample, value: float | None) -> None:
        """Hear how good a sample is.

        Args:
            sample: The sample.
            value: Its value: None if it failed, NaN counts as the worst one.
        """
        ...


def make_sampler(sampler: Any, space: Space, mode: Mode, seed: int, samples: int | None = None) -> Sampler:
    """Return a sampler.

    Args:
        sampler: None or "random", "grid", the name of one of Optuna's ("tpe", "cmaes", "gp", "nsgaii", "qmc", …), a
            mapping from a name to options (`{"tpe": {"multivariate": True}}`), a sampler of Optuna, or an object with
            `ask` and `tell`.
        space: The space.
        mode: Whether less ("min") or more ("max") is better.
        seed: The seed of the search. An object, also one of Optuna, has its own.
        samples: The number of samples, None if it is not limited.

    Raises:
        InvalidType, InvalidValue, UnknownName: There is no such sampler, or it cannot search this space.
        ImportFailed: Optuna is not installed.
    """
    mode = check_mode(mode)
    if samples is not None and (isinstance(samples, bool) or not isinstance(samples, int) or samples < 1):
        todo = "Give a whole number from 1 on."
        raise InvalidValue(f"a search has a number of samples, not {samples!r}", given=samples, todo=todo)
    if sampler is None or isinstance(sampler, (str, Mapping)):
        name, options = name_and_options("sampler", "random" if sampler is None else sampler)
        if name in _OURS:
            if options:
                given = ", ".join(options)
                todo = f'Write sampler="{name}"; the seed is that of the execution.'
                raise InvalidValue(f"the sampler {name!r} takes no options: {given}", given=given, todo=todo)
            return _OURS[name](space, seed)
        from machinable.search.optuna import OptunaSampler, make

        return OptunaSampler(make("sampler", name, options, tuple(_OURS), seed), space, mode, name)
    from machinable.search.optuna import OptunaSampler, is_of_optuna

    if is_of_optuna("sampler", sampler):
        return OptunaSampler(sampler, space, mode, type(sampler).__name__)
    return ObjectSampler(sampler, space)


def name_and_options(kind: str, given: Any) -> tuple[str, dict[str, Any]]:
    """Return the name in lower case and the options of `"name"` or `{"name": {"option": value}}`.

    Raises:
        InvalidType, InvalidValue: It has another form.
    """
    todo = f'Write {kind}="name", or {{"name": {{"option": value}}}} with options.'
    options: Any = {}
    if isinstance(given, str):
        name = given
    elif isinstance(given, Mapping) and len(given) == 1:
        ((name, found),) = given.items()
        options = {} if found is None else found
    else:
        raise InvalidValue(f"the {kind} {given!r} is not a name with options", given=given, todo=todo)
    if (
        not isinstance(name, str)
        or not isinstance(options, Mapping)
        or not all(isinstance(key, str) for key in options)
    ):
        raise InvalidType(f"the {kind} {given!r} is not a name with options", given=given, todo=todo)
    return name.strip().lower(), dict(options)


class RandomSampler:
    """Draw each sample at random, independently of all others; the values of a `grid` are taken in turn.

    Sample n depends only on the seed and n, so a search goes on at any sample without drawing those before. If all
    domains are a `grid`, the samples end with the last combination.
    """

    def __init__(self, space: Space, seed: int) -> None:
        self._space = space
        self._seed = seed
        only_grids = all(isinstance(d, Choice) and d.kind == "grid" for d in space.settings.values())
        self._last = space.size if only_grids else None

    def ask(self, number: int) -> dict[str, Any] | None:
        """Return the values of the sample with a number, None if there are no further ones."""
        if self._last is not None and number >= self._last:
            return None
        from numpy.random import default_rng  # 60 ms, and only searches need it

        draw = default_rng([self._seed, number]).random
        point = self._space.grid_point(number)

        def pick(name: str, domain: Domain) -> Any:
            if name in point:
                return point[name]
            if isinstance(domain, Number):
                return domain.from_unit(draw())
            return int(draw() * len(domain.options))

        return self._space.draw(pick)

    def tell(self, sample: Sample, value: float | None) -> None:
        """Ignore results."""


class GridSampler:
    """Try each combination of the values of all domains, in order; those of the last key vary fastest."""

    def __init__(self, space: Space, seed: int) -> None:
        continuous = [
            f"{path}: {domain!r}"
            for path, domain in space.settings.items()
            if isinstance(domain, Number) and domain.count is None
        ]
        if space.size is None:
            raise InvalidValue(
                f"a grid has no values for continuous domains: {', '.join(continuous)}",
                given=continuous,
                todo='Write quniform(low, high, step) or grid([…]), or choose the sampler "random".',
            )
        self._space = space
        self._size = space.size

    def ask(self, number: int) -> dict[str, Any] | None:
        """Return the values of the sample with a number, None if there are no further ones."""
        return self._space.combination(number) if number < self._size else None

    def tell(self, sample: Sample, value: float | None) -> None:
        """Ignore results."""


_OURS: dict[str, Callable[..., Sampler]] = {"random": RandomSampler, "grid": GridSampler}


class ObjectSampler:
    """A sampler of a user, whose answers are checked."""

    def __init__(self, sampler: Any, space: Space) -> None:
        self._sampler = sampler
        self._space = space
        self._name = getattr(type(sampler), "__name__", str(sampler))
        if isclass(sampler):
            todo = f"Write {sampler.__name__}(…)."
            raise InvalidType(f"the sampler {sampler.__name__} is a class, not an object", given=sampler, todo=todo)
        missing = [name for name in ("ask", "tell") if not callable(getattr(sampler, name, None))]
        if missing:
            raise InvalidType(
                f"the sampler {sampler!r} has no {' and no '.join(missing)}",
                given=sampler,
                todo='Give a name, such as "tpe", or an object with ask(number) and tell(sample, value).',
            )
        self._numbered = _takes(sampler.ask, 0)
        if not self._numbered and not _takes(sampler.ask):
            todo = "Write def ask(self, number), or def ask(self)."
            raise InvalidType(f"ask of the sampler {self._name} takes other arguments", given=sampler, todo=todo)
        if not _takes(sampler.tell, None, None):
            todo = "Write def tell(self, sample, value)."
            raise InvalidType(f"tell of the sampler {self._name} takes other arguments", given=sampler, todo=todo)

    def ask(self, number: int) -> dict[str, Any] | None:
        """Return the values of the sample with a number, None if there are no further ones.

        Raises:
            InvalidValue: The sampler raises an error, or its answer is not in the space.
        """
        try:
            values = self._sampler.ask(number) if self._numbered else self._sampler.ask()
        except Exception as error:
            raise self._failed(f"asked for sample {number}", error) from error
        if values is None:
            return None
        try:
            return self._space.read(values)
        except MachinableError as error:
            raise InvalidValue(
                f"the sampler {self._name} answers {values!r} for sample {number}, which is not in the space",
                given=values,
                details=[line for part in error.parts for line in str(part).splitlines()],
                todo=f"ask returns a mapping with a value for {', '.join(self._space.paths)}, or None at the end.",
            ) from None

    def tell(self, sample: Sample, value: float | None) -> None:
        """Pass a result on.

        Raises:
            InvalidValue: The sampler raises an error.
        """
        try:
            self._sampler.tell(sample, value)
        except Exception as error:
            raise self._failed(f"given the result {value!r} of sample {sample.number}", error) from error

    def _failed(self, when: str, error: Exception) -> InvalidValue:
        return InvalidValue(
            f"the sampler {self._name} raises {type(error).__name__} when {when}: {error}",
            given=self._name,
            todo="ask returns a mapping or None, tell(sample, value) returns nothing; correct the sampler, and resume.",
        )


def _takes(function: Callable[..., Any], *arguments: Any) -> bool:
    try:
        signature(function).bind(*arguments)
    except TypeError:
        return False
    except ValueError:  # written in C, without signature
        return True
    return True
