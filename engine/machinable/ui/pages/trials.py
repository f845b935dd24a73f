"""Trials in a table: filter, sort, group, choose columns."""

from __future__ import annotations

from typing import Any

from nicegui import ui

from machinable.ui.catalog import Catalog
from machinable.ui.grid import field_choices, grid, group_tables
from machinable.ui.html import render
from machinable.ui.selection import Selection, address
from machinable.ui.site import PATIENCE, Site, parameters

__all__ = ["add", "trials_view"]


def add(site: Site) -> None:
    """Add the page."""

    async def trials() -> None:
        selection = Selection.read(parameters())
        await site.page("Trials", "Trials", lambda: trials_view(site, selection))

    ui.page("/trials", response_timeout=PATIENCE)(trials)


async def trials_view(site: Site, selection: Selection) -> None:
    """Show the trials that are selected, with controls that change the selection."""
    view = _View(site, selection)
    await view.show()


class _View:
    def __init__(self, site: Site, selection: Selection) -> None:
        self._site = site
        self._selection = selection
        self._chosen: dict[str, None] = {}  # `ID/UID` of trials that are ticked

    async def show(self) -> None:
        site, selection = self._site, self._selection
        fields = await site.ask(lambda catalog: field_choices(catalog.trials))
        offered = list(dict.fromkeys([*fields, *selection.fields, *selection.groups]))
        with ui.element("section").classes("card"):
            with ui.element("div").classes("controls"):
                where = ui.input("conditions", value=selection.where, placeholder="config.rate<0.3 and status=finished")
                where.props("outlined dense clearable autocomplete=off spellcheck=false").classes("wide")
                where.on("keydown.enter", lambda: self._change(where=where.value or ""))
                where.on("clear", lambda: self._change(where=""))
                for name, label, chosen in (
                    ("columns", "columns", selection.fields),
                    ("by", "group by", selection.groups),
                ):
                    choice = ui.select(offered, multiple=True, with_input=True, label=label, value=chosen)
                    choice.props("outlined dense use-chips")
                    choice.on_value_change(lambda event, name=name: self._change(**{name: ",".join(event.value)}))
            self._line = ui.html("", sanitize=True)
            self._table = await site.live(self._build, "scroll")
            self._table.element.on(
                "change", self._choose, js_handler="(event) => emit(event.target.value, event.target.checked)"
            )

    async def _change(self, **changes: Any) -> None:
        self._selection = self._selection._replace(page=1, **changes)
        ui.navigate.history.replace(self._link(self._selection))
        await self._table.show()

    def _choose(self, event: Any) -> None:
        key, is_chosen = event.args
        if is_chosen:
            self._chosen[str(key)] = None
        else:
            self._chosen.pop(str(key), None)
        self._line.set_content(render("chosen", chosen=list(self._chosen)) if self._chosen else "")

    def _build(self, catalog: Catalog) -> str:
        selection = self._selection
        if selection.groups:
            return render("groups", groups=group_tables(catalog.trials, selection))
        return render(
            "trials",
            grid=grid(catalog.trials, selection),
            selection=selection,
            chosen=self._chosen,
            sort_link=lambda field: self._link(_sorted(selection, field)),
            link=lambda page: self._link(selection._replace(page=page)),
        )

    def _link(self, selection: Selection) -> str:
        return address("trials", **selection.parameters())


def _sorted(selection: Selection, field: str) -> Selection:
    """Return the selection in the order of a field: first ascending, then descending, then as planned."""
    if selection.sort != field:
        return selection._replace(sort=field, descending=False, page=1)
    if not selection.descending:
        return selection._replace(descending=True, page=1)
    return selection._replace(sort="", descending=False, page=1)
