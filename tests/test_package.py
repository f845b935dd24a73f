"""The project itself: public names, version, words that do not belong into files."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

import machinable

ROOT = Path(__file__).parents[1]
PUBLIC = {
    "Component",
    "Engine",
    "Execution",
    "Mixin",
    "Plan",
    "Project",
    "Storage",
    "Task",
    "__version__",
    "cached",
    "choice",
    "errors",
    "execute",
    "grid",
    "lograndint",
    "loguniform",
    "quniform",
    "randint",
    "uniform",
}
NOT_OURS = {
    ".git",
    ".hypothesis",
    ".mypy_cache",
    ".pytest_cache",
    ".ruff_cache",
    ".venv",
    "__pycache__",
    "build",
    "dist",
    "results",
    "_build",
    "venv",
}


def files() -> Iterator[tuple[str, str]]:
    """Name and text of every text file of the project."""
    for path in sorted(ROOT.rglob("*")):
        name = path.relative_to(ROOT)
        if path.is_file() and NOT_OURS.isdisjoint(name.parts):
            try:
                yield name.as_posix(), path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                assert path.suffix in {".npz", ".png"}, f"{name} is neither UTF-8 nor a known binary format"


def lines_with(pattern: str) -> list[str]:
    search = re.compile(pattern).search
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in files()
        for number, line in enumerate(text.splitlines(), 1)
        if search(line)
    ]


def version() -> str:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    (found,) = re.findall(r'^version = "(.+)"$', text, flags=re.MULTILINE)
    return found


def test_the_public_names_that_can_be_reached_are_those_that_are_listed() -> None:
    assert sorted(machinable.__all__) == sorted(name for name in PUBLIC if hasattr(machinable, name))


def test_the_package_and_the_distribution_have_the_same_version() -> None:
    assert machinable.__version__ == version()


def test_the_changelog_has_an_entry_for_the_current_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")

    assert re.search(rf"^## \[?{re.escape(version())}\b", changelog, flags=re.MULTILINE)


def test_every_module_has_a_docstring() -> None:
    silent = [
        name
        for name, text in files()
        if name.endswith(".py")
        and name.startswith(("engine/", "examples/"))
        and not (ast.get_docstring(ast.parse(text)) or "").strip()
    ]

    assert silent == []


def test_no_work_is_left_open_in_a_file() -> None:
    assert lines_with(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X)\b") == []


def test_no_file_knows_the_machine_it_was_written_on() -> None:
    homes = {ROOT, ROOT.parent, Path.home(), Path(sys.prefix)}
    # Folders that every machine has, and that documentation may well mention.
    own = {path.as_posix() for path in homes} - {"/", "/data", "/home", "/tmp", "/usr", "/usr/local"}
    pattern = r"(?<![\w.}\])/-])(" + "|".join(map(re.escape, sorted(own))) + ")/"

    assert lines_with(pattern) == []


USER = """\
from __future__ import annotations

from dataclasses import dataclass

import machinable as ml
from machinable import Component


class Work(Component):
    @dataclass
    class Config:
        rate: float = 0.1

    config: Config

    def on_execute(self) -> float:
        print(self.requires.data.read("x"), len(self.requires), self.requires["data"].path())
        self.record["loss"] = self.config.rate
        return self.config.rate


@dataclass
class Settings:
    depth: int = 3


class Bracketed(Component[Settings]):
    def on_create(self, encoder: Component, _decoder: Component) -> None:
        self.depth = [self.config.depth]

    def on_execute(self) -> int:
        return self.depth[0]


class Plain(Component):
    def on_execute(self) -> None:
        rate: float = self.config.rate
        print(rate, self.flags.SEED)


execution = ml.execute("work", "./results", seed=1, retries=3)
last: float = execution.trials[0].records.last["loss"]
print(execution.id, execution.trials[0].uid, last)
for one in ml.execute(["work", ml.Task("plain")]):
    print(one.id)
print(ml.execute("work", engine="dry")[0].seed, ml.execute(Bracketed).id)
print(ml.execute(ml.Task("work").plan()).id, ml.execute(("work", {"rate": 1})).id)


@ml.execute
def run(component: Component) -> None:
    print(component)


print(run("work").id, [one.id for one in run(["work"])])
"""


@pytest.mark.slow
def test_programs_of_users_are_checked_strictly(tmp_path: Path) -> None:
    (tmp_path / "user.py").write_text(USER)
    options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    ran = subprocess.run(
        [sys.executable, "-m", "mypy", *options, "user.py"],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT / "engine")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ran.stdout == "Success: no issues found in 1 source file\n", ran.stdout + ran.stderr


def test_the_citation_file_has_what_the_format_requires_and_our_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))

    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    assert (citation["version"], citation["license"]) == (version(), "MIT")


def test_the_hook_for_other_projects_is_a_command_that_exists() -> None:
    from machinable.cli.options import program

    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text(encoding="utf-8"))
    name, command, *options = hook["entry"].split()
    assert name == "machinable"
    assert set(options) <= {option for one in program.commands[command].params for option in one.opts}
    assert f"- id: {hook['id']}" in (ROOT / "docs" / "how-to" / "ci.md").read_text(encoding="utf-8")


def test_every_extra_is_explained() -> None:
    text = (ROOT / "docs" / "how-to" / "set-up.md").read_text(encoding="utf-8")
    section = (ROOT / "pyproject.toml").read_text(encoding="utf-8").partition("[project.optional-dependencies]")[2]
    extras = re.findall(r"^(\w+) = \[", section.partition("[project.scripts]")[0], flags=re.MULTILINE)
    assert [extra for extra in extras if f"`{extra}`" not in text] == []


def test_the_image_copies_everything_that_the_package_is_built_from() -> None:
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (.+) /source", image, flags=re.MULTILINE)
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    needed = [*re.findall(r'^readme = "(.+)"', project, re.MULTILINE), "LICENSE", "pyproject.toml", "engine"]
    assert sorted(" ".join(copied).split()) == sorted(needed)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [name for name in needed if f"!{name}" not in ignored] == []
