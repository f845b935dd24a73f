"""Failures by kind, with the commands that run them again."""

from __future__ import annotations

from nicegui import ui

from machinable.ui.catalog import Catalog
from machinable.ui.execution import failure_kinds
from machinable.ui.html import render
from machinable.ui.site import PATIENCE, Site, parameters

__all__ = ["add"]

MAX_EXECUTIONS = 20  # with failures, the newest ones


def add(site: Site) -> None:
    """Add the page."""

    async def failures() -> None:
        name = parameters().get("execution", "")

        def build(catalog: Catalog) -> str:
            chosen = [catalog.execution(name)] if name else catalog.executions
            failed = [execution for execution in chosen if len(execution.failures)]
            shown = failed[:MAX_EXECUTIONS]
            found = [(str(execution), failure_kinds(execution, site.rerun)) for execution in shown]
            more = (
                f"… and {len(failed) - len(shown)} older executions with failures" if len(failed) > len(shown) else ""
            )
            return render("failures", executions=found, left_out=more)

        await site.page(f"Failures of {name}" if name else "Failures", "Failures", lambda: site.live(build))

    ui.page("/failures", response_timeout=PATIENCE)(failures)
