"""Two executions, or two trials, side by side."""

from __future__ import annotations

from nicegui import ui

from machinable.ui.catalog import Catalog
from machinable.ui.comparison import compare_sides, side
from machinable.ui.html import render
from machinable.ui.selection import address
from machinable.ui.site import PATIENCE, Site, parameters

__all__ = ["add"]


def add(site: Site) -> None:
    """Add the page."""

    async def comparison() -> None:
        given = parameters()
        names = given.get("one", ""), given.get("other", "")

        def build(catalog: Catalog) -> str:
            if not any(names):
                return render("nothing_compared")
            one, other = side(catalog, names[0]), side(catalog, names[1])
            return render("comparison", one=str(one), other=str(other), found=compare_sides(one, other))

        async def content() -> None:
            with ui.element("section").classes("card"), ui.element("div").classes("controls"):
                inputs = [
                    ui.input(label, value=name, placeholder="ID, ID/UID or last").props("outlined dense")
                    for label, name in zip(("one", "the other"), names, strict=True)
                ]

                def go() -> None:
                    one, other = (field.value or "" for field in inputs)
                    ui.navigate.to(address("compare", one=one, other=other))

                for field in inputs:
                    field.on("keydown.enter", go)
                ui.button("Compare", on_click=go).props("outline no-caps").classes("narrow")
            await site.live(build)

        await site.page("Compare", "Compare", content)

    ui.page("/compare", response_timeout=PATIENCE)(comparison)
