"""A page of HTML that stands alone: its style and a few lines of script are in it, and it asks for nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from html import escape

__all__ = ["details", "facts", "page", "preformatted", "section", "table"]

STYLE = """\
:root { color-scheme: light dark; --faint: color-mix(in srgb, currentColor 18%, transparent); }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 76rem; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.5rem; } h3 { font-size: 1rem; }
table { border-collapse: collapse; display: block; max-width: 100%; overflow-x: auto; }
th, td { border-bottom: 1px solid var(--faint); padding: .25rem .7rem; text-align: left; vertical-align: top; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; }
table.sortable th { cursor: pointer; } th[data-order="1"]::after { content: " ▲"; }
th[data-order="-1"]::after { content: " ▼"; }
code, pre, .mono { font-family: ui-monospace, monospace; font-size: .9em; }
pre { background: var(--faint); overflow-x: auto; padding: .7rem; }
.charts { display: grid; gap: 1rem; grid-template-columns: repeat(auto-fill, minmax(24rem, 1fr)); }
figure { margin: 0; } svg { height: auto; width: 100%; }
svg text { fill: currentColor; font-size: 12px; } svg .title { font-weight: 600; font-size: 13px; }
svg .grid { stroke: var(--faint); } svg .axis { fill: none; stroke: currentColor; }
svg .curve { fill: none; stroke-opacity: .8; stroke-width: 1.6; }
.legend { display: flex; flex-wrap: wrap; gap: .3rem 1.4rem; list-style: none; padding: 0; }
.legend svg { height: 10px; vertical-align: middle; width: 28px; }
.finished, .reused { color: #14833b; } .failed, .blocked { color: #c9302c; } .running { color: #0072b2; }
.interrupted, .pending, .skipped, .partial { color: #b36b00; }
"""

# A click on a heading sorts by its column, another one backwards; numbers as numbers, empty cells last.
SCRIPT = """\
document.querySelectorAll("table.sortable").forEach(table => {
  const body = table.tBodies[0];
  const key = (row, i) => row.cells[i].textContent;
  table.querySelectorAll("th").forEach((head, i) => head.addEventListener("click", () => {
    const order = head.dataset.order === "1" ? -1 : 1;
    table.querySelectorAll("th").forEach(other => delete other.dataset.order);
    head.dataset.order = order;
    const compare = (a, b) => {
      const x = key(a, i), y = key(b, i);
      if (!x || !y) return (x ? 0 : 1) - (y ? 0 : 1);
      const m = parseFloat(x), n = parseFloat(y);
      return order * (head.className === "number" && !isNaN(m - n) ? m - n : x.localeCompare(y));
    };
    [...body.rows].sort(compare).forEach(row => body.append(row));
  }));
});
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page. The parts are HTML; nothing but our own script can run in it.

    Args:
        title: text.
    """
    allowed = base64.b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{allowed}'"
    return "\n".join([
        "<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title>", f"<style>\n{STYLE}</style>", "</head>", "<body>",
        f"<h1>{escape(title)}</h1>", *parts, f"<script>{SCRIPT}</script>", "</body>", "</html>", "",
    ])  # fmt: skip


def section(heading: str, *parts: str) -> str:
    """A heading, which is text, and HTML below it."""
    return f"<section><h2>{escape(heading)}</h2>{''.join(parts)}</section>"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Sequence[bool], sortable: bool) -> str:
    """A table of texts.

    Args:
        numeric: which columns are numbers. sortable: whether a click on a heading sorts.
    """
    kinds = [' class="number"' if one else "" for one in numeric]
    head = "".join(f"<th{kind}>{escape(text)}</th>" for text, kind in zip(headings, kinds, strict=True))
    body = "".join(
        "<tr>" + "".join(_cell(text, kind) for text, kind in zip(row, kinds, strict=True)) + "</tr>\n" for row in rows
    )
    return (
        f"<table{' class=sortable' if sortable else ''}><thead><tr>{head}</tr></thead><tbody>\n{body}</tbody></table>"
    )


_STATES = frozenset(
    {"finished", "failed", "interrupted", "pending", "running", "reused", "blocked", "skipped", "partial"}
)


def _cell(text: str, kind: str) -> str:
    return f'<td class="{text}">{text}</td>' if text in _STATES else f"<td{kind}>{escape(text)}</td>"


def facts(pairs: Iterable[tuple[str, str]]) -> str:
    """Names and values, a line each; those without a value are left out."""
    rows = "".join(f"<tr><th>{escape(name)}</th>{_cell(value, '')}</tr>" for name, value in pairs if value)
    return f"<table><tbody>{rows}</tbody></table>"


def preformatted(text: str) -> str:
    """A text as it is."""
    return f"<pre>{escape(text)}</pre>"


def details(summary: str, inside: str) -> str:
    """HTML that is shown when somebody asks for it."""
    return f"<details><summary>{escape(summary)}</summary>{inside}</details>"
