"""What can be said about trials before they are handed to an engine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from machinable.plain import Plain

__all__ = ["Submission", "Terms"]


@dataclass
class Submission:
    """What can be changed about the trials of a component before they run.

    Attributes:
        environment: variables that are set while one runs; None removes what is declared.
        resources: what each of them occupies, as `_resources_`.
        component: canonical name. config: the configuration, calls of config methods as text; changing it changes
            nothing.
    """

    environment: dict[str, Any]
    resources: dict[str, Any]
    component: str
    config: dict[str, Plain]


class Terms(NamedTuple):
    """What trials run with."""

    environment: Mapping[str, str]
    resources: Mapping[str, float]
