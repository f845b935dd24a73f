"""Which trials a view shows, and how: what the address of the page says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple
from urllib.parse import quote, urlencode

from machinable.results.trials import Trials

__all__ = ["Selection", "address"]


class Selection(NamedTuple):
    """The choice of trials in an address, such as `/trials?where=status%3Dfailed&sort=seconds`.

    Attributes:
        where: Conditions, as `machinable trials --where` takes them.
        execution: The name of one execution, or nothing for all.
        sort: A field.
        descending: Whether the largest is first.
        columns: Fields, separated by commas; nothing for those in which trials differ.
        by: Fields that make groups, separated by commas.
        page: The page, from 1.
    """

    where: str = ""
    execution: str = ""
    sort: str = ""
    descending: bool = False
    columns: str = ""
    by: str = ""
    page: int = 1

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Selection:
        """Return the selection in the parameters of an address; others are left for the view."""
        number = given.get("page", "1")
        return cls(
            given.get("where", ""),
            given.get("execution", ""),
            given.get("sort", ""),
            given.get("descending", "") == "1",
            given.get("columns", ""),
            given.get("by", ""),
            max(1, int(number)) if number.isdecimal() and len(number) < 10 else 1,
        )

    def parameters(self) -> dict[str, str]:
        """Return the parameters of the address, without those that have their default."""
        found = self._asdict() | {"page": "" if self.page == 1 else str(self.page)}
        found["descending"] = "1" if self.descending else ""
        return {name: value for name, value in found.items() if value}

    @property
    def fields(self) -> list[str]:
        """The fields of the columns."""
        return _listed(self.columns)

    @property
    def groups(self) -> list[str]:
        """The fields that make groups."""
        return _listed(self.by)

    def of(self, trials: Trials) -> Trials:
        """Return the trials that are selected, in their order.

        Raises:
            MachinableError: A condition does not parse, or no trial has a field.
        """
        if self.execution:
            trials = trials.where(execution=self.execution)
        if self.where.strip():
            trials = trials.where(self.where)
        return trials.sort(self.sort, self.descending) if self.sort else trials


def _listed(text: str) -> list[str]:
    return list(dict.fromkeys(name for name in map(str.strip, text.split(",")) if name))


def address(*parts: str, **parameters: str) -> str:
    """Return an address on the page, such as `address("trial", "OY1p1o", "9c2E")`; names are quoted."""
    path = "/" + "/".join(quote(part, safe="") for part in parts)
    given = {name: value for name, value in parameters.items() if value}
    return f"{path}?{urlencode(given)}" if given else path
