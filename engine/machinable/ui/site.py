"""What all pages share: the stored content, the frame around a view, and views that stay up to date."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from nicegui import ui

from machinable.errors import MachinableError
from machinable.ui.catalog import PERIOD, Catalog
from machinable.ui.execution import RerunCommand
from machinable.ui.grid import field_choices
from machinable.ui.html import render

__all__ = ["PATIENCE", "Live", "Site", "parameters"]

_T = TypeVar("_T")

PATIENCE = 600  # seconds that a page may take, such as for sorting by a value in the files of 100,000 trials
VIEWS = {
    "Executions": "/",
    "Trials": "/trials",
    "Charts": "/charts",
    "Compare": "/compare",
    "Failures": "/failures",
}


class Site:
    """The pages of one server.

    Attributes:
        may_edit: Whether tags and notes can be added.
        rerun: Returns the command that runs a trial again.
    """

    def __init__(self, catalog: Catalog, *, may_edit: bool, rerun: RerunCommand) -> None:
        self._catalog = catalog
        self.may_edit = may_edit
        self.rerun = rerun
        # One thread: executions are read by one at a time, and the server still answers.
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="storage")

    async def ask(self, act: Callable[[Catalog], _T]) -> _T:
        """Return what a function of the up-to-date catalog returns, called in the thread that reads."""

        def asked() -> _T:
            self._catalog.update()
            return act(self._catalog)

        return await asyncio.get_running_loop().run_in_executor(self._pool, asked)

    def read_ahead(self) -> None:
        """Begin to read what the first views need, before a browser asks; they say what is wrong with it."""

        def read() -> None:
            self._catalog.update()
            field_choices(self._catalog.trials)

        self._pool.submit(read)

    def close(self) -> None:
        """Do not begin to read anything else."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def page(self, title: str, view: str, content: Callable[[], Awaitable[object]]) -> None:
        """Show a page.

        Args:
            title: The title of the page.
            view: The view that it belongs to.
            content: Adds what is below the title; not before everything was read once.
        """
        ui.page_title(f"{title} · machinable")
        place = self._catalog.storage.url
        ui.html(render("top", views=VIEWS, view=view, place=place), sanitize=True)
        with ui.element("div").classes("main"):
            ui.html(render("title", title=title), sanitize=True)
            if self._catalog.is_read:
                if self._catalog.is_remote:
                    ui.button("Read all again", on_click=self._reread).props("outline no-caps dense").classes("again")
                try:
                    await content()
                except MachinableError as error:  # what was built before stays
                    ui.html(render("error", error=error), sanitize=True)
                return
            ui.label(f"Reading {place} …").classes("empty")
            await ui.context.client.connected(timeout=60)
            await self.ask(lambda catalog: None)
            ui.navigate.reload()

    async def _reread(self) -> None:
        """Read everything again, also what has ended, which is not looked at again in a remote storage."""
        await self.ask(lambda catalog: catalog.update(everything=True))
        ui.navigate.reload()

    def repeat(self, act: Callable[[], Awaitable[object]]) -> None:
        """Call a function again and again while the page is open."""

        async def acted() -> None:
            with suppress(MachinableError):  # the part of the page that shows what is wrong is made again as well
                await act()

        ui.timer(PERIOD, acted, immediate=False)

    async def live(self, build: Callable[[Catalog], str], classes: str = "") -> Live:
        """Show HTML that is made from the catalog, and again whenever something has changed."""
        shown = Live(self, build, classes)
        await shown.show()
        return shown


class Live:
    """A part of a page that is made again whenever the storage has changed."""

    def __init__(self, site: Site, build: Callable[[Catalog], str], classes: str) -> None:
        self._site = site
        self._build = build
        self._changes = -1
        self.element = ui.html("", sanitize=True).classes(classes)
        site.repeat(self._look)

    async def _look(self) -> None:
        if await self._site.ask(lambda catalog: catalog.changes) != self._changes:
            await self.show()

    async def show(self) -> None:
        """Make it again now."""

        def built(catalog: Catalog) -> tuple[int, str]:
            fault = render("fault", fault=catalog.fault) if catalog.fault else ""
            try:
                return catalog.changes, fault + self._build(catalog)
            except MachinableError as error:
                return catalog.changes, fault + render("error", error=error)

        self._changes, html = await self._site.ask(built)
        self.element.set_content(html)


def parameters() -> dict[str, str]:
    """Return the parameters in the address of the page that is built; the first of equal ones counts."""
    given: Any = ui.context.client.request.query_params
    return dict(reversed(given.multi_items()))
