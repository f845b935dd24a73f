"""Alternatives as the product of values, such as `grid(rate=[0.1, 0.01], hidden=[[32], [64]])`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, overload

from machinable.config.versions import MAX_ALTERNATIVES
from machinable.errors import InvalidType, InvalidValue, MachinableError
from machinable.serialization import Plain, as_plain, equal_pair, is_hidden

if TYPE_CHECKING:
    from machinable.search.domains import Choice

__all__ = ["check_axes", "combinations", "grid", "shown_value"]


@overload
def grid(values: Mapping[str, Iterable[Any]] | None = None, /, **more: Iterable[Any]) -> list[dict[str, Plain]]: ...


@overload
def grid(values: Sequence[Any], /) -> Choice: ...


def grid(values: Any = None, /, **more: Iterable[Any]) -> list[dict[str, Plain]] | Choice:
    """Return a version for each combination of values; those of the last key vary fastest.

    A list of versions goes wherever a version goes: `.component("train", ("~deep", grid(rate=[0.1, 0.01])))`.
    In the space of a search, `grid([0.1, 0.01])` is a domain whose values are tried in turn.

    Args:
        values: A list of values for each key; here, keys may have dots: `{"data.name": ["a", "b"]}`. For the domain of
            a search, a list of values.
        more: A list of values for each key, after those of `values`.

    Raises:
        InvalidType, InvalidValue: A value is not a list, a list is empty or has equal values, keys contradict each
            other, or there are more combinations than a plan can have.
        WrongType: A value is not plain data.
    """
    if isinstance(values, (list, tuple, range)) and not more:
        from machinable.search.domains import grid as in_turn  # most tasks search nothing

        return in_turn(values)
    if values is not None and not isinstance(values, Mapping):
        raise InvalidType(
            f"grid takes a mapping from keys to lists of values, not {values!r}",
            given=values,
            todo='Write grid(rate=[0.1, 0.01]), or grid({"data.name": ["a", "b"]}) for keys with dots.',
        )
    both = set(values or ()) & set(more)
    if both:
        key = sorted(both)[0]
        raise InvalidValue(f"{key!r} is given twice to grid", given=key, todo="Keep one of its lists.")
    axes = {key: _listed(key, items) for key, items in {**(values or {}), **more}.items()}
    for problem in check_axes(axes):
        raise problem
    return list(combinations(axes))


def _listed(key: Any, values: Any) -> list[Plain]:
    if not isinstance(key, str):
        raise InvalidType(f"the keys of a grid are text, not {key!r}", given=key)
    if isinstance(values, (str, bytes, Mapping, set, frozenset)) or not isinstance(values, Iterable):
        raise InvalidType(
            f"the values of {key!r} are not a list but {shown_value(key, values)}",
            path=key,
            given=None if _is_hidden(key) else values,
            todo="Write the values in order in a list, also a single one; for a mapping, write its keys with dots.",
        )
    return as_plain(list(values), key)  # type: ignore[no-any-return]


def shown_value(key: str, value: Any) -> str:
    """Return a value for messages, which do not show those of hidden keys."""
    return "…" if _is_hidden(key) else repr(value)


def _is_hidden(key: str) -> bool:
    return any(map(is_hidden, key.split(".")))


def check_axes(axes: Mapping[str, Sequence[Plain]]) -> Iterator[MachinableError]:
    """Yield what is wrong with the keys and values of a grid; `path` is the key, `given` the value."""
    for key, values in axes.items():
        if not all(part.strip() for part in key.split(".")):
            yield InvalidValue(f"{key!r} is not a key", path=key, given=key, todo="Write the names of keys, with dots.")
        if not values:
            yield InvalidValue(
                f"{key!r} has no values: its list is empty",
                path=key,
                given=values,
                todo="Write at least one value, or remove the key.",
            )
        if (pair := equal_pair(values)) is not None:
            yield InvalidValue(
                f"{key!r} has the value {shown_value(key, values[pair[1]])} twice",
                path=key,
                given=None if _is_hidden(key) else values[pair[1]],
                todo="Keep one of them; `repeat` runs a configuration several times.",
            )
        outer = next((other for other in axes if key.startswith(f"{other}.")), None)
        if outer is not None:
            yield InvalidValue(
                f"{key!r} is part of {outer!r}, which has values, too",
                path=key,
                given=key,
                todo=f"Write it within the values of {outer!r}, or give only keys below {outer!r} a list.",
            )
    if prod(map(len, axes.values())) > MAX_ALTERNATIVES:
        lengths = " x ".join(f"{len(values):,}" for values in axes.values())
        yield InvalidValue(
            f"the grid has more than {MAX_ALTERNATIVES:,} combinations: {lengths}",
            todo="Give fewer values, or split the grid into several executions.",
        )


def combinations(axes: Mapping[str, Sequence[Plain]]) -> Iterator[dict[str, Plain]]:
    """Yield a mapping for each combination of values; those of the last key vary fastest."""
    keys = tuple(axes)
    return (dict(zip(keys, values, strict=True)) for values in product(*axes.values()))
