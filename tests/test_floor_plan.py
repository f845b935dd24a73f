"""The layers: imports point strictly downward, and each heavy library is imported in one module, late."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import machinable

SOURCE = Path(__file__).parents[1] / "engine" / "machinable"

FLOORS = (
    ("errors", "former_names"),
    ("serialization", "units", "factories", "named_values"),
    ("ids", "settings", "events"),
    ("config", "storage"),
    ("project", "search"),
    ("plan",),
    ("engines",),
    ("component",),
    ("results",),
    ("trial",),
    ("display", "listeners", "callbacks"),
    ("execution", "ui"),
    ("replay",),
    ("cli", "testing"),
)
FLOOR_OF = {part: floor for floor, parts in enumerate(FLOORS) for part in parts}
# The entry points: they may import everything, and nothing may import them.
FRONT_DOORS = {"machinable", "machinable.__main__"}
ONLY_IMPORTERS = {
    "optuna": ["machinable.search.optuna"],
    "fs": ["machinable.storage.pyfilesystem"],
    "fs_s3fs": ["machinable.storage.pyfilesystem"],
    "matplotlib": ["machinable.results.figure"],
    "ray": ["machinable.engines.ray.engine", "machinable.engines.ray.launcher"],
    "submitit": ["machinable.engines.slurm.options"],
    "uvicorn": ["machinable.ui.server"],
}
# Modules that parse JSON; `machinable.storage.documents` alone that of a storage.
JSON_PARSERS = {
    "machinable.serialization",
    "machinable.storage.documents",
    "machinable.storage.formats.text",  # data of users
    "machinable.storage.pyfilesystem",  # the key of a service account
    "machinable.config.reader",  # project files
    "machinable.engines.processes.pool",  # messages of its own workers
    "machinable.engines.slurm.connections",  # messages of its own workers
    "machinable.listeners.tool",  # messages of the executing process
    "machinable.results.cache",  # what it has written on this host
    "machinable.replay.exported",  # the directory of an export, whose code runs
    "machinable.replay.rerun",  # what its own process has answered
    "machinable.testing.engine",  # what it has just written
    "machinable.testing.sampler",  # what it has just written
}
HEAVY = (
    "boto3",
    "click",
    "fs",
    "git",
    "jinja2",
    "matplotlib",
    "numpy",
    "optuna",
    "pandas",
    "pydantic",
    "ray",
    "redis",
    "rich",
    "submitit",
)


class Import(NamedTuple):
    """One import of one module: `importer` at `line` imports `imported`."""

    importer: str
    line: int
    imported: str

    def __str__(self) -> str:
        return f"{self.importer} (line {self.line}) imports {self.imported}"


def read_modules(source: Path) -> dict[str, str]:
    """Return the text of every module, by its dotted name."""
    texts = {}
    for file in sorted(source.rglob("*.py")):
        parts = file.relative_to(source.parent).with_suffix("").parts
        texts[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file.read_text(encoding="utf-8")
    return texts


def imports_of(module: str, text: str, modules: frozenset[str] | set[str], *, is_package: bool) -> Iterator[Import]:
    """Yield every import of a module: at its top, in functions, for type checkers, and by literal name."""
    for node in ast.walk(ast.parse(text, filename=module)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(module, node.lineno, alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*package, base] if base else package)
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield Import(module, node.lineno, inner if inner in modules else base)
        elif isinstance(node, ast.Call) and node.args and _name(node.func) in ("import_module", "__import__"):
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                yield Import(module, node.lineno, argument.value)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def all_imports(texts: dict[str, str]) -> list[Import]:
    packages = {name.rpartition(".")[0] for name in texts}
    return [
        found
        for module, text in texts.items()
        for found in imports_of(module, text, set(texts), is_package=module in packages)
    ]


def faults(texts: dict[str, str]) -> list[str]:
    """Return a sentence for each import that does not point downward."""
    sentences = []
    for found in all_imports(texts):
        if found.imported.partition(".")[0] != "machinable" or found.importer in FRONT_DOORS:
            continue
        if found.imported in FRONT_DOORS:
            sentences.append(f"{found}, a front door: import the name from the module that defines it")
            continue
        own, other = found.importer.split(".")[1], found.imported.split(".")[1]
        unknown = [part for part in (own, other) if part not in FLOOR_OF]
        if unknown:
            sentences.append(f"{found}, but {unknown[0]!r} is on no floor: give it one in FLOORS")
        elif own != other and FLOOR_OF[other] >= FLOOR_OF[own]:
            where = "beside" if FLOOR_OF[other] == FLOOR_OF[own] else "above"
            sentences.append(f"{found}, but {other!r} is {where} {own!r}: what both need belongs on a floor below")
    return sentences


def cycle(texts: dict[str, str]) -> list[str]:
    """Return modules that import each other in a cycle, the first one again at the end; empty if there is none."""
    below: dict[str, list[str]] = {module: [] for module in texts}
    for found in all_imports(texts):
        if found.imported in below and found.importer not in FRONT_DOORS:
            below[found.importer].append(found.imported)
    done: set[str] = set()

    def follow(module: str, path: list[str]) -> list[str]:
        if module in path:
            return [*path[path.index(module) :], module]
        if module in done:
            return []
        for imported in below[module]:
            if found := follow(imported, [*path, module]):
                return found
        done.add(module)
        return []

    return next(filter(None, (follow(module, []) for module in texts)), [])


def misplaced(texts: dict[str, str]) -> list[str]:
    """Return a sentence for each import of a library outside of the module that may import it."""
    return [
        f"{found}, which only {' and '.join(only)} may"
        for found in all_imports(texts)
        if (only := ONLY_IMPORTERS.get(found.imported.partition(".")[0])) and found.importer not in only
    ]


@pytest.fixture(scope="module")
def texts() -> dict[str, str]:
    return read_modules(SOURCE)


def test_every_module_stands_on_a_floor(texts: dict[str, str]) -> None:
    parts = {module.split(".")[1] for module in texts if module not in FRONT_DOORS}

    assert parts - set(FLOOR_OF) == set()


def test_every_import_points_strictly_down(texts: dict[str, str]) -> None:
    found = faults(texts)

    assert not found, "\n".join(found)


def test_modules_do_not_import_each_other_in_a_cycle(texts: dict[str, str]) -> None:
    found = cycle(texts)

    assert not found, " → ".join(found)


def test_libraries_are_imported_where_they_may_be(texts: dict[str, str]) -> None:
    found = misplaced(texts)

    assert not found, "\n".join(found)


def parsers(texts: dict[str, str]) -> set[str]:
    """Return the modules that call a function which parses JSON."""
    found = set()
    for module, text in texts.items():
        tree = ast.parse(text)
        names = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in ("json", "machinable.serialization")
            for alias in node.names
            if alias.name in ("loads", "load", "parse")
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {*names, "json.loads", "json.load"}:
                found.add(module)
    return found


def test_one_module_parses_the_json_of_a_storage(texts: dict[str, str]) -> None:
    assert parsers(texts) == JSON_PARSERS


@pytest.mark.parametrize(
    "statement",
    ["import json\njson.load(file)", "from json import loads as read\nread(text)"],
)
def test_a_module_that_parses_json_is_found(statement: str) -> None:
    assert parsers({"machinable.results.trial": statement, "machinable.ids": "import json\njson.dumps(1)"}) == {
        "machinable.results.trial"
    }


@pytest.mark.parametrize(
    "statement",
    [
        "import machinable.results.storage",
        "from machinable.results import storage",
        "from machinable import results",
        "from ..results import storage",
        "def late():\n    import machinable.results",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from machinable.results import Storage",
        "import importlib\nimportlib.import_module('machinable.results.storage')",
    ],
)
def test_an_import_from_above_is_found_in_every_form(statement: str) -> None:
    texts = {"machinable.plan.task": statement, "machinable.results": "", "machinable.results.storage": ""}

    (sentence,) = faults(texts)

    assert sentence.startswith("machinable.plan.task (line ")
    assert sentence.endswith("but 'results' is above 'plan': what both need belongs on a floor below")


@pytest.mark.parametrize(
    ("statement", "sentence"),
    [
        (
            "from machinable.storage import files",
            "machinable.config.reader (line 1) imports machinable.storage, but 'storage' is beside 'config': "
            "what both need belongs on a floor below",
        ),
        (
            "from machinable import Task",
            "machinable.config.reader (line 1) imports machinable, a front door: "
            "import the name from the module that defines it",
        ),
        (
            "import machinable.attic",
            "machinable.config.reader (line 1) imports machinable.attic, but 'attic' is on no floor: "
            "give it one in FLOORS",
        ),
    ],
)
def test_other_wrong_imports_are_reported_in_a_sentence(statement: str, sentence: str) -> None:
    assert faults({"machinable.config.reader": statement}) == [sentence]


@pytest.mark.parametrize(
    "statement",
    [
        "from machinable import errors",
        "from machinable.errors import UnknownName",
        "from machinable.config.merge import merge",
        "from .merge import merge",
        "import json, yaml",
    ],
)
def test_imports_from_below_and_of_the_same_package_are_allowed(statement: str) -> None:
    texts = {"machinable.config.reader": statement, "machinable.config.merge": "", "machinable.errors": ""}

    assert faults(texts) == []


def test_a_cycle_through_a_late_import_is_found() -> None:
    texts = {
        "machinable.plan.task": "from machinable.plan.spec import TrialSpec",
        "machinable.plan.spec": "from machinable.plan import planner",
        "machinable.plan.planner": "def late():\n    from machinable.plan.task import Task",
    }

    assert cycle(texts) == [
        "machinable.plan.task",
        "machinable.plan.spec",
        "machinable.plan.planner",
        "machinable.plan.task",
    ]


def test_a_library_in_the_wrong_module_is_found() -> None:
    texts = {
        "machinable.storage.files": "def late():\n    import fs.errors",
        "machinable.engines.ray.engine": "import ray",
    }

    assert misplaced(texts) == [
        "machinable.storage.files (line 2) imports fs.errors, which only machinable.storage.pyfilesystem may"
    ]


@pytest.fixture(scope="module")
def loaded_by_import() -> set[str]:
    """Return the top-level modules loaded by `import machinable`, in a process where warnings are errors."""
    program = "import machinable, sys; print(*sorted(sys.modules))"
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        cwd=Path(machinable.__file__).parents[1],
    )
    assert (result.returncode, result.stderr) == (0, "")
    return {name.partition(".")[0] for name in result.stdout.split()}


@pytest.mark.parametrize("library", HEAVY)
def test_importing_machinable_does_not_import(library: str, loaded_by_import: set[str]) -> None:
    assert "machinable" in loaded_by_import
    assert library not in loaded_by_import
