"""Check the code, configurations and seeding of a plan before anything is written; report all errors together."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from msgspec import structs

from machinable.component.base import Component, Terms
from machinable.component.imports import check_calls, check_function, importing, load_component
from machinable.component.submit import parts_of, submitted
from machinable.errors import ImportFailed, InvalidType, MachinableError, Place, SeveralErrors
from machinable.plan.plan import Plan
from machinable.plan.spec import ComponentSpec, Target
from machinable.serialization import Plain, is_hidden
from machinable.trial.seeding import check_seeding

__all__ = ["preflight"]


def preflight(plan: Plan, live: Mapping[Target, Any], function: Callable[..., Any] | None = None) -> Plan:
    """Return the plan with typed configurations coerced and all `on_submit` hooks applied, if all of it can run.

    Args:
        plan: The plan.
        live: Classes and functions that need no import.
        function: Runs in place of every component, whose modules are not imported then.

    Raises:
        ConfigurationError: Something is wrong; several errors as one.
    """
    errors: dict[str, MachinableError] = {}

    def add(error: MachinableError, at: Place | None) -> None:
        for one in error.errors if isinstance(error, SeveralErrors) else (error,):
            one.at = one.at or at
            if isinstance(one, ImportFailed) and one.__cause__ is not None:
                one.details = (*one.details, *_failed_line(one.__cause__, plan.project))
            errors.setdefault(str(one), one)

    if function is not None:
        check_function(function)
    uses = []
    checked: set[tuple[str, ...]] = set()
    with importing(plan.project):
        for use in plan.uses:
            try:
                seeding = use.definition.seeding
                if seeding is not None and seeding not in checked:
                    checked.add(seeding)
                    check_seeding(seeding)
                if function is None:
                    definition = _checked(use.definition, plan.project, live)
                    use = use if definition is use.definition else structs.replace(use, definition=definition)
                uses.append(use)
            except MachinableError as error:
                add(error, use.at)
    SeveralErrors.raise_any(list(errors.values()))
    if all(new is old for new, old in zip(uses, plan.uses, strict=True)):
        return plan
    return replace(plan, uses=tuple(uses))


def _checked(use: ComponentSpec, project: str, live: Mapping[Target, Any]) -> ComponentSpec:
    code = _code(use.target, project, live)
    if not (isinstance(code, type) and issubclass(code, Component)):
        check_function(code)
        return use
    config, stored = _typed(code, use.config, use.stored, use.mixin_only)
    check_calls(code, config)
    children = tuple(_checked_child(child, project, live) for child in use.children)
    inside = [live.get(child.target) or load_component(child.target, project) for child in children]
    before = Terms(use.environment, use.resources)
    terms = submitted(before, use.component, config, parts_of(code, use.mixins, inside, project))
    if (
        terms is before
        and config is use.config
        and all(new is old for new, old in zip(children, use.children, strict=True))
    ):
        return use
    return structs.replace(use, config=config, stored=stored, children=children, **terms._asdict())


def _code(target: Target, project: str, live: Mapping[Target, Any]) -> Any:
    code = live.get(target) or load_component(target, project)
    if isinstance(code, type) and not issubclass(code, Component):
        raise InvalidType(
            f"the class {target.module}:{target.name} is not a subclass of Component",
            given=target.name,
            todo="Derive it from machinable.Component, or give a function.",
        )
    return code


def _checked_child(child: ComponentSpec, project: str, live: Mapping[Target, Any]) -> ComponentSpec:
    code = _code(child.target, project, live)
    config, stored = _typed(code, child.config, child.stored, child.mixin_only)
    check_calls(code, config)
    return child if config is child.config else structs.replace(child, config=config, stored=stored)


def _typed(
    code: type[Component], config: Mapping[str, Plain], stored: Mapping[str, Plain], mixin_only: frozenset[str]
) -> tuple[Mapping[str, Plain], Mapping[str, Plain]]:
    """Return the configuration and its part that may be stored, as the component's `Config` declares them."""
    if getattr(code, "Config", None) is None:
        return config, stored
    from machinable.component.config_schema import typed_config  # most classes have none

    typed = typed_config(code, config, mixin_only, shown=stored)
    return typed, _stored_part(stored, config, typed)


def _stored_part(stored: Any, before: Any, after: Any) -> Any:
    """Return the part of a coerced value that may be stored: what was masked stays masked."""
    if isinstance(after, dict):
        return {
            key: _stored_part(
                stored.get(key, after[key]) if isinstance(stored, Mapping) else after[key],
                before.get(key) if isinstance(before, Mapping) else None,
                after[key],
            )
            for key in after
            if not is_hidden(key)
        }
    return after if stored == before or before is None else stored


def _failed_line(error: BaseException, project: str) -> list[str]:
    """Return the line of the project in which an import failed."""
    frames = [(frame.filename, frame.lineno, frame.line) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno, error.text))
    own = [frame for frame in frames if frame[0].startswith(project + os.sep)]
    if not own:
        return []
    file, line, text = own[-1]
    return [f"{os.path.relpath(file, project)}:{line}: {(text or '').strip()}"]
