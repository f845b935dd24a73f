"""Checks the keys that a version brings against those that a component knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from machinable.errors import MachinableError

__all__ = ["NewKey", "close_names", "new_keys"]


class NewKey(NamedTuple):
    """A key that was not there before: the keys above it, itself, and the names beside it."""

    above: tuple[str, ...]
    key: str
    siblings: tuple[str, ...]

    @property
    def path(self) -> str:
        """Its dotted path."""
        return ".".join([*self.above, self.key])

    def beside(self, name: str) -> str:
        """The dotted path of a name beside it."""
        return ".".join([*self.above, name])


def new_keys(
    over: Mapping[Any, Any],
    below: Mapping[Any, Any],
    blocks: Sequence[Mapping[Any, Any]],
    container: Callable[[Any], Any],
    above: tuple[str, ...] = (),
) -> list[NewKey]:
    """The keys of an override that neither the configuration below it nor any block has.

    Below a key that is new, null, a scalar, a list or an empty mapping anything goes.

    Args:
        over: the override. below: the configuration it is laid over. blocks: values that blocks set, at this path.
        container: follows references. above: the keys that led here.
    """

    def mapping(value: Any) -> Mapping[Any, Any] | None:
        try:
            value = container(value)
        except MachinableError:
            return None  # it matters only if it is still there in the end, and then it is told
        return value if isinstance(value, dict) and value else None

    result = []
    for key, value in over.items():
        in_blocks = [block[key] for block in blocks if key in block]
        if key not in below and not in_blocks:
            names = dict.fromkeys(str(name) for known in (below, *blocks) for name in known)
            result.append(NewKey(above, str(key), tuple(names)))
        elif isinstance(value, dict) and value:
            inner = [found for found in map(mapping, in_blocks) if found is not None]
            known = mapping(below[key]) if key in below else {} if inner else None
            if known is not None:
                result += new_keys(value, known, inner, container, (*above, str(key)))
    return result


def close_names(new: NewKey) -> list[str]:
    """Names beside a new key that it was probably meant to be."""
    from difflib import get_close_matches  # 4 ms, only for keys that nobody knows

    return get_close_matches(new.key, new.siblings, n=3, cutoff=0.75)
