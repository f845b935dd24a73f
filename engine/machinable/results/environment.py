"""What two executions ran in: versions of Python and packages, host, platform, engine and the state of the code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from machinable.plain import Plain

__all__ = ["Change", "code_facts_changes", "environment_changes", "package_changes"]


class Change(NamedTuple):
    """A fact that differs; None where one side does not have it."""

    name: str
    before: Plain
    after: Plain

    def as_data(self) -> dict[str, Plain]:
        """The change for programs."""
        return self._asdict()


_FACTS = (
    ("python", ("python",)),
    ("platform", ("platform",)),
    ("machine", ("machine",)),
    ("engine", ("engine", "type")),
    ("host", ("host", "name")),
    ("user", ("host", "user")),
)
_CODE = (
    ("commit", ("code", "commit")),
    ("branch", ("code", "branch")),
    ("uncommitted changes", ("code", "dirty")),
    ("backup", ("code", "backup")),
)


def environment_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What differs around the code of two executions, by their execution.json; packages apart."""
    return _changes(_FACTS, before, after)


def code_facts_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What differs in what is known about the code of two executions: commit, branch, digest of the backup."""
    return _changes(_CODE, before, after)


def _changes(
    facts: tuple[tuple[str, tuple[str, ...]], ...], before: Mapping[str, Any], after: Mapping[str, Any]
) -> list[Change]:
    found = [Change(name, _at(before, keys), _at(after, keys)) for name, keys in facts]
    return [change for change in found if change.before != change.after]


def _at(data: Mapping[str, Any], keys: tuple[str, ...]) -> Plain:
    value: Any = data
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def package_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Packages with another version, those that are missing, and new ones, by the execution.json of two executions."""
    one, other = (data.get("packages") or {} for data in (before, after))
    names = sorted({*one, *other})
    return [Change(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]
