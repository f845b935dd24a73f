"""The site: Sphinx reads the Markdown pages and the docstrings. `python -m docs` builds and checks it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "engine"))

import machinable  # noqa: E402

project = "machinable"
author = "The machinable developers"
release = version = machinable.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "sphinx_copybutton"]
exclude_patterns = ["_build"]
suppress_warnings = ["misc.highlighting_failure"]  # YAML with `~`, JSON with `…`
highlight_language = "none"
smartquotes = False  # `--option` in a help text is no dash

myst_heading_anchors = 4  # links to headings are those that GitHub understands
myst_enable_extensions = ["colon_fence"]

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

copybutton_prompt_text = "$ "

html_theme = "pydata_sphinx_theme"
html_title = "machinable"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_extra_path = ["machinable.schema.json"]
html_show_sourcelink = True
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc", "sourcelink"],
}
html_sidebars = {page: [] for page in ("index", "quickstart", "tutorial", "when-not", "faq")}  # alone in their section
html_context = {"default_mode": "auto"}
copyright = author


def write_llms_txt(app: Any, error: Exception | None) -> None:
    """Write llms.txt, the table of contents for language models: each page as Markdown with its first sentence."""
    if error is not None or app.builder.name != "html":
        return
    lines = ["# machinable", "", "> " + first_sentence((ROOT / "README.md").read_text(encoding="utf-8")), ""]
    contents = app.env.toctree_includes
    for section in ["index", *contents["index"]]:
        pages = [page for page in contents.get(section, []) if page not in contents] if section != "index" else []
        lines += [f"## {app.env.titles[section].astext()}", ""]
        for page in [section, *pages]:
            title, file = app.env.titles[page].astext(), f"_sources/{page}.md.txt"
            (Path(app.outdir) / file).write_text(source_of(page), encoding="utf-8")
            if "```{eval-rst}" in source_of(page):  # Sphinx fills it in
                file = f"{page}.html"
            lines.append(f"- [{title}]({file}): {first_sentence(source_of(page))}")
        lines.append("")
    (Path(app.outdir) / "llms.txt").write_text("\n".join(lines), encoding="utf-8")


def source_of(page: str) -> str:
    """Return the text of a page, or of the README that it includes."""
    file = ROOT / "docs" / f"{page}.md"
    text = file.read_text(encoding="utf-8")
    include = re.match(r"```\{include\} (\S+)", text)
    return (file.parent / include[1]).read_text(encoding="utf-8") if include else text


def first_sentence(text: str) -> str:
    """Return the first sentence of a page below its title, without its links."""
    for paragraph in re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE).split("\n\n"):
        if paragraph.strip() and not paragraph.lstrip("\n").startswith(("#", "|", "<", ":::", "(", "![", "    ")):
            plain = re.sub(r"\[([^\]]+)\]\([^)]+\)", r"\1", " ".join(paragraph.split()))
            return re.split(r"(?<=[.?!]) |:$", plain)[0]
    raise ValueError("a page has no sentence below its title")


def code_in_docstring(app: Any, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Turn `code` of Markdown into ``code`` of reStructuredText, before Google's sections are read."""
    text = re.sub(r"(?<!`)`([^`]+)`(\w?)(?!`)", r"``\1``\\ \2", "\n".join(lines))
    lines[:] = text.split("\n")


def link_to_included(app: Any, name: str, source: list[str]) -> None:
    """Let links to files that the site includes, outside of docs/, lead to their pages."""
    text = re.sub(r"\]\((?:\.\./)+examples/(\w+)/README\.md", r"](/examples/\1.md", source[0])
    source[0] = re.sub(r"\]\((?:\.\./)+([A-Z]+)\.md", lambda found: f"](/project/{found[1].lower()}.md", text)


def link_from_included(app: Any, path: Path, parent: str, content: list[str]) -> None:
    """Let links in a file outside of docs/ lead to pages, and to files beside it."""
    text = re.sub(r"\]\(docs/", "](/", content[0])
    text = re.sub(r"\]\(examples/(\w+)/README\.md", r"](/examples/\1.md", text)
    text = re.sub(r"\]\(([A-Z]+)\.md", lambda found: f"]({found[1].lower()}.md", text)
    text = re.sub(r"\]\(\.\./(\w+)/README\.md", r"](\1.md", text)
    content[0] = re.sub(r"\]\((\w+\.(?:py|ipynb))\)", rf"](../{path.parent.as_posix()}/\1)", text)


def setup(app: Any) -> None:
    """Register what this file adds to Sphinx."""
    app.connect("autodoc-process-docstring", code_in_docstring, priority=100)
    app.connect("source-read", link_to_included)
    app.connect("include-read", link_from_included)
    app.connect("build-finished", write_llms_txt)
