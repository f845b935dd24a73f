"""Charts of trials: curves with bands, bars, scatter, heat maps and parallel coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nicegui import ui

from machinable.errors import MachinableError
from machinable.results.chart import AXES, BANDS, KINDS, RowReader, caption
from machinable.results.query import default_fields
from machinable.results.trials import Trials
from machinable.ui.catalog import Catalog
from machinable.ui.grid import field_choices, sample
from machinable.ui.html import render
from machinable.ui.plots import chart_options, check_number, parallel_options
from machinable.ui.selection import Selection, address
from machinable.ui.site import PATIENCE, Site, parameters

__all__ = ["add"]

PARALLEL = "parallel"
MAX_AXES = 8  # of parallel coordinates, by default


def add(site: Site) -> None:
    """Add the page."""

    async def charts() -> None:
        given = parameters()
        await site.page("Charts", "Charts", lambda: _Charts(site, given).show())

    ui.page("/charts", response_timeout=PATIENCE)(charts)


class _Charts:
    def __init__(self, site: Site, given: Mapping[str, str]) -> None:
        self._site = site
        names = ("where", "execution", "metric", "x", "by", "columns", "kind", "band", "smooth", "log")
        self._given = {name: given.get(name, "") for name in names}
        self._reader = RowReader()
        self._selects: dict[str, Any] = {}
        self._changes = -1

    async def show(self) -> None:
        """Show controls and the chart."""
        fields, metrics = await self._site.ask(_choices)
        if not self._given["metric"] and metrics:
            self._given["metric"] = metrics[0]
        with ui.element("section").classes("card"):
            with ui.element("div").classes("controls"):
                where = ui.input("conditions", value=self._given["where"], placeholder="config.rate<0.3")
                where.props("outlined dense clearable autocomplete=off spellcheck=false").classes("wide")
                where.on("keydown.enter", lambda: self._change("where", where.value or ""))
                where.on("clear", lambda: self._change("where", ""))
                self._select("kind", "kind", ["", *KINDS, PARALLEL])
                self._select("metric", "vertical axis", [*metrics, *fields])
                self._select("x", "horizontal axis", ["", *fields])
                self._select("by", "colours", fields, several=True)
                self._select("columns", "axes of parallel coordinates", fields, several=True)
                self._select("band", "band", ["", *BANDS])
                self._select("log", "logarithmic", list(AXES))
                self._select("smooth", "smoothing", ["", "0.5", "0.8", "0.9", "0.95", "0.99"])
            self._faults = ui.html("", sanitize=True)
            self._chart = ui.echart({}, on_point_click=self._open).classes("chart")
            self._notes = ui.html("", sanitize=True)
        await self._draw()
        self._site.repeat(self._again)

    def _select(self, name: str, label: str, offered: list[str], *, several: bool = False) -> None:
        given = self._given[name]
        chosen: Any = [one for one in given.split(",") if one] if several else given
        options = list(dict.fromkeys([*offered, *(chosen if several else [given])]))
        named = {one: one or "automatic" for one in options} if not several else options
        if name in ("log", "smooth"):
            named = {one: one or "none" for one in options}
        choice = ui.select(named, multiple=several, with_input=len(options) > 12, label=label, value=chosen)
        choice.props("outlined dense" + (" use-chips" if several else ""))
        self._selects[name] = choice
        choice.on_value_change(
            lambda event: self._change(name, ",".join(event.value) if several else event.value or "")
        )

    async def _change(self, name: str, value: str) -> None:
        self._given[name] = value
        ui.navigate.history.replace(address("charts", **self._given))
        await self._draw()

    async def _again(self) -> None:
        if await self._site.ask(lambda catalog: catalog.changes) != self._changes:
            self._reader = RowReader()
            await self._draw()

    async def _draw(self) -> None:
        def drawn(catalog: Catalog) -> tuple[int, dict[str, Any] | MachinableError, list[str]]:
            try:
                return catalog.changes, *_chart(catalog.trials, self._given, self._reader)
            except MachinableError as error:
                return catalog.changes, error, []

        is_parallel = self._given["kind"] == PARALLEL
        for name, choice in self._selects.items():
            choice.set_visibility(name == "kind" or (name == "columns") == is_parallel)
        self._changes, found, notes = await self._site.ask(drawn)
        is_fault = isinstance(found, MachinableError)
        self._faults.set_content(render("error", error=found) if is_fault else "")
        self._chart.set_visibility(not is_fault)
        self._notes.set_content(render("notes", notes=notes))
        if not is_fault and self._chart.options != found:
            self._chart.options.clear()
            self._chart.options.update(found)
            self._chart.update()

    def _open(self, event: Any) -> None:
        name, _, uid = str(event.name).partition("/")
        if uid:
            ui.navigate.to(address("trial", name, uid))


def _choices(catalog: Catalog) -> tuple[list[str], list[str]]:
    """Return all fields, and those with numbers in the last rows."""
    return field_choices(catalog.trials), sample(catalog.trials).metrics()


def _chart(trials: Trials, given: Mapping[str, str], reader: RowReader) -> tuple[dict[str, Any], list[str]]:
    """Return the options of the chart that is chosen, and what to say below it."""
    chosen = Selection.read(given)._replace(sort="").of(trials)
    if given["kind"] == PARALLEL:
        fields = [name for name in given["columns"].split(",") if name]
        if not fields:
            found = default_fields(sample(chosen))
            fields = [name for name in found if name.startswith(("config.", "tags.", "records."))][-MAX_AXES:]
        return parallel_options(chosen, fields), []
    check_number(chosen)
    chart = chosen.chart(
        given["metric"],
        given["x"] or None,
        [name for name in given["by"].split(",") if name],
        kind=given["kind"] or None,
        band=given["band"] or "95%",
        smooth=_number(given["smooth"]),
        log=given["log"],
        reader=reader,
    )
    return chart_options(chart), [caption(chart), *chart.notes]


def _number(text: str) -> Any:
    """Return a number, or the text, which the chart refuses."""
    try:
        return float(text or 0)
    except ValueError:
        return text
