"""The last word about trials before they run: `on_submit` of a component and of what it is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from machinable.component.base import Component, Mixin, Submission, Terms
from machinable.component.imports import Code, load_mixin
from machinable.errors import ImportFailed, InvalidType, InvalidValue, MachinableError, MalformedText, MissingMember
from machinable.plan.reserved_keys import parse_environment
from machinable.plan.resources import parse_resources
from machinable.plan.spec import MixinSpec
from machinable.serialization import Plain, as_plain

__all__ = ["parts_of", "submitted"]


def parts_of(code: Code, mixins: Sequence[MixinSpec], children: Sequence[Code], project: str | None) -> list[type[Any]]:
    """The classes whose `on_submit` counts: of the children, the mixins, and last the component.

    A mixin whose module has no class, or does not import, has none; whoever uses it is told.
    """
    found: list[type[Any]] = [part for part in (code, *children) if isinstance(part, type)][::-1]
    own = found.pop()
    for mixin in reversed(mixins):
        with suppress(ImportFailed, MissingMember, MalformedText):
            found.append(load_mixin(mixin, project))
    return [*found, own]


def submitted(terms: Terms, component: str, config: Mapping[str, Plain], parts: Sequence[type[Any]]) -> Terms:
    """What trials run with when everybody has said their word; one function that several parts share says it once.

    Args:
        terms: as they are declared. component, config: of the trials. parts: classes, of which the last has the last
            word.

    Raises:
        InvalidType, InvalidValue: an `on_submit` is no class method, or it raised something.
        WrongType, MalformedText: it left something that is no environment or no resources.
    """
    speakers: dict[Any, type[Any]] = {}
    for part in reversed(parts):  # whoever is nearest to the component speaks for all that share it
        bound: Any = part.on_submit
        function = getattr(bound, "__func__", None)
        if function is None or not _is_of(bound, part):
            raise InvalidType(
                f"on_submit of {part.__qualname__} is no class method",
                given=part.__qualname__,
                todo="Write @classmethod above it.",
            )
        if function not in _SILENT:
            speakers.setdefault(function, part)
    if not speakers:
        return terms
    submission = Submission(dict(terms.environment), dict(terms.resources), component, as_plain(config))
    for part in reversed(speakers.values()):
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


_SILENT = frozenset({Component.on_submit.__func__, Mixin.on_submit.__func__})  # type: ignore[attr-defined]
