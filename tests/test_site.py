"""The site builds without a warning, its links lead somewhere, and its lists are complete."""

from __future__ import annotations

import ast
import inspect
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import machinable as ml
from docs.__main__ import broken_links
from docs.recording import FILE, record, text_of
from machinable import errors, events, former_names, testing
from machinable.cli.commands import COMMANDS
from tests.test_documentation import DOCS, PAGES, ROOT, normalized, typed

REFERENCE = DOCS / "reference"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the built site."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-W", "ignore", "-m", "docs", str(directory)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"built {directory}/index.html\n", "")
    return directory


@pytest.mark.once
@pytest.mark.slow
@pytest.mark.xdist_group("site")
def test_the_site_builds_without_warnings_and_has_every_public_name_command_and_page(site: Path) -> None:
    public = [f"machinable.{name}" for name in ml.__all__ if name != "errors"]
    public += [f"{module.__name__}.{name}" for module in (errors, events, testing) for name in module.__all__]
    python = (site / "reference" / "python.html").read_text(encoding="utf-8")
    assert [name for name in public if f'id="{name}"' not in python] == []

    commands = (site / "reference" / "commands.html").read_text(encoding="utf-8")
    assert [name for name in COMMANDS if f'id="machinable-{name}"' not in commands] == []

    for file in site.rglob("*.html"):
        assert not re.search(r"<p>\.\. \w+::", file.read_text(encoding="utf-8")), (
            f"{file.name} shows a directive as text"
        )

    contents = (site / "llms.txt").read_text(encoding="utf-8")
    sources = re.findall(r"\]\((.+?)\): .", contents)
    pages = {page.relative_to(DOCS).with_suffix("").as_posix() for page in PAGES[1:]}
    filled_in = {page for page in pages if "{eval-rst}" in (DOCS / f"{page}.md").read_text(encoding="utf-8")}
    links = {f"_sources/{page}.md.txt" for page in pages - filled_in} | {f"{page}.html" for page in filled_in}
    assert sorted(sources) == sorted(links)
    assert [source for source in sources if not (site / source).exists()] == []
    assert "{include}" not in "".join((site / source).read_text(encoding="utf-8") for source in sources)

    assert (site / "searchindex.js").exists()
    assert (site / "machinable.schema.json").read_text() == (DOCS / "machinable.schema.json").read_text()


def test_links_that_lead_nowhere_are_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="top"><a href="#top"></a><a href="#lost"></a><a href="b.html"></a><a href="b.html#x"></a>'
        '<a href="b.html#y"></a><img src="c.svg"><a href="https://example.org/none"></a>'
    )
    (tmp_path / "b.html").write_text('<p id="x">')

    assert broken_links(tmp_path) == ["a.html: #lost", "a.html: b.html#y", "a.html: c.svg"]


# --- README


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) < 150


@pytest.mark.once
@pytest.mark.slow
def test_the_recording_shows_what_its_commands_print() -> None:
    assert normalized(text_of(FILE.read_text(encoding="utf-8"))) == normalized(text_of(record())), (
        "record again: python -m docs.recording"
    )


# --- lists in which people look things up


def test_every_public_name_is_on_its_page() -> None:
    text = (REFERENCE / "python.md").read_text(encoding="utf-8")
    names = [name for name in (*ml.__all__, *testing.__all__) if not re.search(rf"[: .]{name}$", text, re.MULTILINE)]
    assert names == [], "add it to docs/reference/python.md"


def rows_of(page: Path) -> list[list[str]]:
    lines = page.read_text(encoding="utf-8").splitlines()
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| ")]


def variables_of(source: str) -> set[str]:
    """Return the environment variables that a module reads, or has constants for."""
    found = set(re.findall(r'"(_?MACHINABLE_[A-Z]+)"', source))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Subscript) and ast.unparse(node.value) in ("os.environ", "environment"):
            found |= {node.slice.value} if isinstance(node.slice, ast.Constant) else set()
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            if ast.unparse(node.func) in ("os.environ.get", "environment.get", "os.getenv"):
                found.add(node.args[0].value)
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "VARIABLES":
            found |= set(ast.literal_eval(node.value))
    return {name for name in found if name.isupper()}


def test_every_environment_variable_is_listed() -> None:
    text = (REFERENCE / "environment.md").read_text(encoding="utf-8")
    read = set()
    for file in sorted((ROOT / "engine").rglob("*.py")):
        read |= variables_of(file.read_text(encoding="utf-8"))

    assert {"MACHINABLE_STORAGE", "MACHINABLE_WEBHOOK", "RAY_ADDRESS", "OMP_NUM_THREADS"} <= read
    assert sorted(name for name in read if f"`{name}`" not in text) == []
    listed = set(re.findall(r"`(MACHINABLE_[A-Z]+)`", text))
    assert listed - read == set(), "no longer read"


def test_every_error_is_listed_with_its_bases_its_cause_and_what_to_do() -> None:
    expected = {}
    for name, error in vars(errors).items():
        if inspect.isclass(error) and issubclass(error, errors.MachinableError) and not error.__subclasses__():
            also = [base.__name__ for base in error.__bases__ if not issubclass(base, errors.MachinableError)]
            expected[name] = ", ".join(f"`{base}`" for base in also) or "none"
    listed = {row[0].strip("`"): row for row in rows_of(REFERENCE / "errors.md") if row[0].startswith("`")}

    assert {name: row[1] for name, row in listed.items()} == expected
    assert [name for name, row in listed.items() if len(row) < 4 or min(map(len, row[-2:])) < 10] == []


def test_every_exit_code_is_listed() -> None:
    listed = {row[0] for row in rows_of(REFERENCE / "errors.md") if row[0].isdigit()}
    codes = {error.exit_code for error in vars(errors).values() if hasattr(error, "exit_code")}
    ends = {128 + number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    assert listed == {str(code) for code in {0, *codes, *ends}}


def test_the_published_schema_is_that_of_a_project_without_components(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "machinable.yaml").write_text("{}\n")
    shown, code = typed(["schema"])

    assert code == 0
    published = (DOCS / "machinable.schema.json").read_text(encoding="utf-8")
    advice = f"run `machinable schema > {os.path.relpath(DOCS, ROOT)}/machinable.schema.json` next to an empty project"
    assert json.loads(shown) == json.loads(published), advice


def test_every_former_name_is_in_the_table_of_the_migration() -> None:
    owners = {
        "MODULE": "machinable.",
        "COMPONENT": "self.",
        "STORE": "self.store.",
        "TASK": "task.",
        "STORAGE": "storage.",
        "EXECUTION": "execution.",
    }
    assert {name for name in former_names.__all__ if name.isupper()} == owners.keys()
    expected = {
        f"`{owner}{name}`": now for key, owner in owners.items() for name, now in getattr(former_names, key).items()
    }
    rows = {row[0]: row[1].removesuffix(" |").strip("` |") for row in rows_of(DOCS / "migration" / "machinable.md")}
    assert {name: rows.get(name) for name in expected} == expected
