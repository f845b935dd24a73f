"""One trial: facts, settings, rows as curves, log and output, artifacts."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from machinable.errors import MachinableError
from machinable.results.chart import Point, thinned
from machinable.results.query import is_number
from machinable.results.trial import Trial
from machinable.ui.artifacts import show_artifacts
from machinable.ui.catalog import Catalog
from machinable.ui.html import render
from machinable.ui.pages.edit import edit_fields
from machinable.ui.plots import line_options
from machinable.ui.site import PATIENCE, Site
from machinable.ui.trial import Texts, trial_view

__all__ = ["add"]

MAX_CHARTS = 24


def add(site: Site) -> None:
    """Add the page."""

    async def trial(name: str, uid: str) -> None:
        def facts(catalog: Catalog) -> str:
            found = catalog.trial(name, uid)
            command = site.rerun(catalog.execution(name), found) if found.status == "failed" else None
            return render(
                "trial", view=trial_view(found, catalog.execution(name)), execution=name, uid=uid, command=command
            )

        async def content() -> None:
            await site.live(facts)
            edit_fields(site, name, uid)
            try:
                texts = await site.ask(lambda catalog: Texts(catalog.trial(name, uid)))
            except MachinableError:
                return  # the page says so
            await _charts(site, name, uid)
            with ui.element("section").classes("card"):
                ui.html(render("heading", text="Log and output"), sanitize=True)
                await site.live(lambda catalog: _lines(texts, catalog.trial(name, uid)))
            with ui.element("section").classes("card"):
                ui.html(render("heading", text="Artifacts"), sanitize=True)
                await site.live(lambda catalog: render("artifacts", artifacts=show_artifacts(catalog.trial(name, uid))))

        await site.page(f"{name}/{uid}", "Trials", content)

    ui.page("/trial/{name}/{uid}", response_timeout=PATIENCE)(trial)


def _lines(texts: Texts, trial: Trial) -> str:
    texts.update(is_running=trial.status == "running")
    return render("lines", log=texts.log, output=texts.output)


def _columns(trial: Trial) -> dict[str, list[tuple[float, float]]]:
    """Return the points of each column of numbers with several rows, by scope and column."""
    found: dict[str, list[tuple[float, float]]] = {}
    for scope in trial.records.scopes if trial.has_begun else ():
        rows = trial.records(scope).rows
        for column in dict.fromkeys(name for row in rows for name in row if not name.startswith("_")):
            points = [Point(number, row[column]) for number, row in enumerate(rows) if is_number(row.get(column))]
            if len(points) > 1:
                name = column if scope == "default" else f"{scope}.{column}"
                found[name] = [(point.x, point.y) for point in thinned(points)]
    return dict(list(found.items())[:MAX_CHARTS])


async def _charts(site: Site, name: str, uid: str) -> None:
    """Show a small chart for each column of the rows; they grow while the trial runs."""
    with ui.element("section").classes("card") as card:
        ui.html(render("heading", text="Records"), sanitize=True)
        faults = ui.html("", sanitize=True)
        grid = ui.element("div").classes("charts")
    charts: dict[str, Any] = {}
    shown: dict[str, Any] = {}

    async def again() -> None:
        try:
            columns = await site.ask(lambda catalog: _columns(catalog.trial(name, uid)))
        except MachinableError as error:
            faults.set_content(render("error", error=error))
            card.set_visibility(True)
            return
        faults.set_content("")
        card.set_visibility(bool(columns))
        for column, points in columns.items():
            if shown.get(column) == points:
                continue
            shown[column] = points
            if column in charts:
                charts[column].options.update(line_options(column, points))
                charts[column].update()
                continue
            with grid, ui.element("figure"):
                ui.html(render("caption", text=column), sanitize=True)
                charts[column] = ui.echart(line_options(column, points)).classes("chart small")

    await again()
    site.repeat(again)
