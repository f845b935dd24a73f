"""Apply `on_submit` of components and mixins, before trials run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from machinable.component.base import Component, Mixin, Submission
from machinable.component.imports import Code, load_mixin
from machinable.errors import (
    ImportFailed,
    InvalidType,
    InvalidValue,
    MachinableError,
    MalformedText,
    MissingMember,
)
from machinable.plan.reserved_keys import parse_environment, parse_resources
from machinable.plan.spec import ComponentSpec
from machinable.serialization import Plain, as_plain

__all__ = ["apply_on_submit"]


def apply_on_submit(
    spec: ComponentSpec, config: Mapping[str, Plain], cls: type[Component], children: Sequence[Code], project: str
) -> dict[str, Any]:
    """Return the environment and the resources that `on_submit` hooks set; an empty mapping without hooks.

    The hooks of the children are called first, then those of the mixins, and the component's last. A hook that several
    of them share is called once. A mixin that cannot be loaded is skipped, because using it raises the error.

    Raises:
        InvalidType: An `on_submit` is not a class method.
        InvalidValue: An `on_submit` raised an exception.
        WrongType: It set something that is not an environment or resources.
        MalformedText: It set an invalid resource.
    """
    parts: list[type[Any]] = [cls]
    for mixin in spec.mixins:
        with suppress(ImportFailed, MissingMember, MalformedText):
            parts.append(load_mixin(mixin, project))
    hooks: dict[Any, type[Any]] = {}
    parts += [child for child in children if isinstance(child, type)]
    for part in parts:
        bound: Any = part.on_submit
        if getattr(bound, "__self__", None) is not part:
            raise InvalidType(
                f"on_submit of {part.__qualname__} is not a class method",
                given=part.__qualname__,
                todo="Write @classmethod above it.",
            )
        if bound.__func__ not in _DEFAULTS:
            hooks.setdefault(bound.__func__, part)
    if not hooks:
        return {}
    submission = Submission(dict(spec.environment), dict(spec.resources), spec.component, as_plain(config))
    for part in reversed(hooks.values()):
        try:
            part.on_submit(submission)
        except MachinableError:
            raise
        except Exception as error:
            raise InvalidValue(
                f"on_submit of {part.__qualname__} raised {type(error).__name__}: {error}", path=spec.component
            ) from error
    place = f"{spec.component}: submission"
    return {
        "environment": parse_environment(submission.environment, f"{place}.environment"),
        "resources": parse_resources(submission.resources, f"{place}.resources"),
    }


_DEFAULTS = frozenset({Component.on_submit.__func__, Mixin.on_submit.__func__})  # type: ignore[attr-defined]
