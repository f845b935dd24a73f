"""Apply `on_submit` of a component, its mixins and its children before its trials run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from machinable.component.base import Component, Mixin, Submission, Terms
from machinable.component.imports import Code, load_mixin
from machinable.errors import ImportFailed, InvalidType, InvalidValue, MachinableError, MalformedText, MissingMember
from machinable.plan.reserved_keys import parse_environment, parse_resources
from machinable.plan.spec import MixinSpec
from machinable.serialization import Plain, as_plain

__all__ = ["parts_of", "submitted"]


def parts_of(code: Code, mixins: Sequence[MixinSpec], children: Sequence[Code], project: str | None) -> list[type[Any]]:
    """Return the classes whose `on_submit` applies: those of the children, the mixins, and last the component.

    A mixin that does not load is skipped; using it raises the error.

    Args:
        code: the component.
        mixins: its mixins.
        children: the code of its children.
        project: the project directory.
    """
    found: list[type[Any]] = [part for part in (code, *children) if isinstance(part, type)][::-1]
    own = found.pop()
    for mixin in reversed(mixins):
        with suppress(ImportFailed, MissingMember, MalformedText):
            found.append(load_mixin(mixin, project))
    return [*found, own]


def submitted(terms: Terms, component: str, config: Mapping[str, Plain], parts: Sequence[type[Any]]) -> Terms:
    """Apply all `on_submit` hooks, the component's last; one hook that several classes share runs once.

    Args:
        terms: environment and resources as declared.
        component: the canonical name of the component.
        config: its configuration.
        parts: the classes, the component last.

    Returns:
        Environment and resources of the trials.

    Raises:
        InvalidType: an `on_submit` is not a class method.
        InvalidValue: an `on_submit` raised an exception.
        WrongType: it set something that is not an environment or not resources.
        MalformedText: it set a text that is not a valid resource.
    """
    hooks: dict[Any, type[Any]] = {}
    for part in reversed(parts):  # the class nearest to the component stands for all that share a hook
        bound: Any = part.on_submit
        function = getattr(bound, "__func__", None)
        if function is None or not _is_of(bound, part):
            raise InvalidType(
                f"on_submit of {part.__qualname__} is not a class method",
                given=part.__qualname__,
                todo="Write @classmethod above it.",
            )
        if function not in _DEFAULTS:
            hooks.setdefault(function, part)
    if not hooks:
        return terms
    submission = Submission(dict(terms.environment), dict(terms.resources), component, as_plain(config))
    for part in reversed(hooks.values()):
        try:
            part.on_submit(submission)
        except MachinableError:
            raise
        except Exception as error:
            raise InvalidValue(
                f"on_submit of {part.__qualname__} raised {type(error).__name__}: {error}", path=component
            ) from error
    return Terms(
        parse_environment(submission.environment, f"{component}: submission.environment"),
        parse_resources(submission.resources, f"{component}: submission.resources"),
    )


def _is_of(bound: Any, part: type[Any]) -> bool:
    return getattr(bound, "__self__", None) is part


_DEFAULTS = frozenset({Component.on_submit.__func__, Mixin.on_submit.__func__})  # type: ignore[attr-defined]
