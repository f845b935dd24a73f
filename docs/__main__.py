"""Build the site and check it: `python -m docs [DIRECTORY]`, by default `docs/_build`. Warnings are errors.

Needs `pip install -e '.[docs]'`, and no network: links to other sites are not followed.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

DOCS = Path(__file__).parent


class Page(HTMLParser):
    """The links and the anchors of a page."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the link or the anchor of an element."""
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            elif name in ("href", "src") and value and tag != "link":
                self.links.append(value)


def broken_links(site: Path) -> list[str]:
    """Return the links within a site that lead to no file or to no anchor of it."""
    pages = {file.resolve(): Page(file) for file in sorted(site.rglob("*.html")) if "_static" not in file.parts}
    broken = []
    for file, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (file.parent / unquote(parts.path)).resolve() if parts.path else file
            known = pages[target].anchors if target in pages else {unquote(parts.fragment)}
            if not target.exists() or (
                unquote(parts.fragment) not in known and file.stem not in ("search", "genindex")
            ):
                broken.append(f"{file.relative_to(site.resolve())}: {link}")
    return broken


def main(directory: Path) -> int:
    """Build the site in a directory and check its links; return the exit code."""
    try:
        from sphinx.cmd.build import build_main  # a tool of the documentation, not of the package
    except ImportError as error:
        print(f"the site needs Sphinx: {error}\n  Install it: pip install -e '.[docs]'", file=sys.stderr)
        return 2

    code = build_main(["-W", "--keep-going", "-q", "-E", "-b", "html", str(DOCS), str(directory)])
    broken = broken_links(directory)
    for line in broken:
        print(f"broken link: {line}", file=sys.stderr)
    if code == 0 and not broken:
        print(f"built {directory}/index.html")
    return code or int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]) if len(sys.argv) > 1 else DOCS / "_build"))
