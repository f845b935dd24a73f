"""HTML of the views. Templates escape every value, because names, texts and errors come from users."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from machinable.ui.selection import address

if TYPE_CHECKING:
    import jinja2

__all__ = ["render", "style"]

TEMPLATES = Path(__file__).parent / "templates"


@cache
def _environment() -> jinja2.Environment:
    import jinja2  # only the page needs it

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["address"] = address
    return environment


def render(name: str, **values: Any) -> str:
    """Return the HTML of a template."""
    return _environment().get_template(f"{name}.html.jinja").render(values)


def style() -> str:
    """Return the style of the page."""
    return (TEMPLATES / "page.css").read_text(encoding="utf-8")
