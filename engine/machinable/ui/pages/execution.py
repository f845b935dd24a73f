"""One execution: facts, graph of requirements, trials and environment."""

from __future__ import annotations

from nicegui import ui

from machinable.ui.execution import execution_view
from machinable.ui.graph import Graph, graph, graph_options
from machinable.ui.html import render
from machinable.ui.pages.edit import edit_fields
from machinable.ui.pages.trials import trials_view
from machinable.ui.selection import Selection
from machinable.ui.site import PATIENCE, Site, parameters

__all__ = ["add"]


def add(site: Site) -> None:
    """Add the page."""

    async def execution(name: str) -> None:
        selection = Selection.read(parameters())._replace(execution=name)

        async def content() -> None:
            await site.live(
                lambda catalog: render("execution", execution=name, view=execution_view(catalog.execution(name)))
            )
            if await site.ask(lambda catalog: name in catalog.storage):
                edit_fields(site, name)
                await _graph(site, name)
                await trials_view(site, selection)
                await site.live(
                    lambda catalog: render("environment", view=execution_view(catalog.execution(name))), "card"
                )

        await site.page(name, "Executions", content)

    ui.page("/execution/{name}", response_timeout=PATIENCE)(execution)


async def _graph(site: Site, name: str) -> None:
    """Show the graph of requirements, if there are any, and update its states."""
    found = await site.ask(lambda catalog: graph(catalog.execution(name)))
    if found is None:
        return
    shown: list[Graph] = [found]
    with ui.element("section").classes("card"):
        ui.html(render("heading", text="Requirements"), sanitize=True)
        rows, columns = (max(getattr(node, name) for node in found.nodes) + 1 for name in ("row", "level"))
        with ui.element("div").classes("scroll"):
            chart = ui.echart(graph_options(found), on_point_click=lambda event: _open(shown[0], event.name))
            chart.style(f"height: {20 + 50 * rows}px; min-width: {170 * columns}px").classes("chart")

    async def again() -> None:
        new = await site.ask(lambda catalog: graph(catalog.execution(name)))
        if new is not None and new != shown[0]:
            shown[0] = new
            chart.options.update(graph_options(new))
            chart.update()

    site.repeat(again)


def _open(found: Graph, number: str) -> None:
    if number.isdecimal() and int(number) < len(found.nodes):
        ui.navigate.to(found.nodes[int(number)].href)
