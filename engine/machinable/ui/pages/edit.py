"""Fields that add tags and notes to an execution or a trial, where editing is allowed."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from typing import Any

from nicegui import ui

from machinable.errors import InvalidValue, MachinableError
from machinable.results.annotate import add, check_note, tag_values
from machinable.ui.catalog import Catalog
from machinable.ui.html import render
from machinable.ui.site import Site

__all__ = ["edit_fields"]


def edit_fields(site: Site, name: str, uid: str | None = None) -> None:
    """Show the fields for an execution, or for one of its trials; nothing unless editing is allowed."""
    if not site.may_edit:
        return
    with ui.element("section").classes("card"):
        ui.html(render("heading", text="Add"), sanitize=True)
        with ui.element("div").classes("controls"):
            tags = ui.input("tags", placeholder="study=ablation; -study removes it").props("outlined dense")
            note = ui.input("note").props("outlined dense autogrow").classes("wide")
        faults = ui.html("", sanitize=True)

    async def save(field: Any, facts: Callable[[str], dict[str, Any]]) -> None:
        text = field.value or ""
        if not text.strip():
            return

        def saved(catalog: Catalog) -> None:
            execution = catalog.execution(name)
            add(execution, None if uid is None else execution[uid], **facts(text))
            catalog.forget(name)

        try:
            await site.ask(saved)
        except MachinableError as error:
            faults.set_content(render("error", error=error))
            return
        faults.set_content("")
        field.set_value("")

    tags.on("keydown.enter", lambda: save(tags, _tags))
    note.on("keydown.enter", lambda: save(note, _note))


def _tags(text: str) -> dict[str, Any]:
    """Return what to add for words such as `study=ablation`, and what to remove for `-study`."""
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise InvalidValue(f"{text!r}: {error}", given=text, todo="Close the quotes.") from error
    removed = [word[1:] for word in words if word.startswith("-")]
    tags = tag_values([word for word in words if not word.startswith("-")], removed)
    if not all(removed):
        raise InvalidValue("- needs the name of a tag", given=text, todo="Write -NAME to remove a tag.")
    return {"tags": tags, "removed": removed}


def _note(text: str) -> dict[str, Any]:
    check_note(text)
    return {"note": text}
