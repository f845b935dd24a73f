"""The first page: all executions."""

from __future__ import annotations

from nicegui import ui

from machinable.ui.catalog import Catalog
from machinable.ui.executions import PAGE, list_executions
from machinable.ui.html import render
from machinable.ui.selection import Selection, address
from machinable.ui.site import PATIENCE, Site, parameters

__all__ = ["add"]


def add(site: Site) -> None:
    """Add the page."""

    async def executions() -> None:
        page = Selection.read(parameters()).page

        def build(catalog: Catalog) -> str:
            pages = max(1, -(-len(catalog.executions) // PAGE))
            return render(
                "executions",
                executions=list_executions(catalog.executions, min(page, pages)),
                left_out=catalog.left_out,
                hint=catalog.storage.hint() if not catalog.executions else None,
                page=min(page, pages),
                pages=pages,
                link=lambda number: address(page=str(number)),
            )

        async def content() -> None:
            with ui.element("section").classes("card"):
                await site.live(build, "scroll")

        await site.page("Executions", "Executions", content)

    ui.page("/", response_timeout=PATIENCE)(executions)
