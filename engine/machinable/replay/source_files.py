"""Find the files of a project that modules need, by reading what they import and name, never by running them."""

from __future__ import annotations

import ast
import os
import posixpath
from collections.abc import Iterable, Iterator

import msgspec

__all__ = ["SourceFiles", "find_source_files"]


class SourceFiles(msgspec.Struct, frozen=True):
    """What modules need.

    Attributes:
        files: Paths relative to the project, with `/`, sorted.
        others: Top-level names of imported modules outside the project, sorted.
        missing: Modules that were asked for and are not in the project.
        unread: Files that do not parse.
    """

    files: list[str]
    others: list[str]
    missing: list[str]
    unread: list[str]


def find_source_files(project: str, modules: Iterable[str]) -> SourceFiles:
    """Return the files of modules, of the packages that they are in, and of all that they import from the project.

    Imports count wherever they stand, also `import_module` with a literal name. A data file counts if a text in the
    code is its path, relative to the module's folder or to the project.
    """
    roots = list(dict.fromkeys(modules))
    files: dict[str, None] = {}
    others: set[str] = set()
    unread: list[str] = []
    seen: set[str] = set()
    waiting = list(roots)
    while waiting:
        module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        found = list(_files(project, module))
        if not found:
            others.add(module.partition(".")[0])
        for name, file in found:
            if file in files:
                continue
            files[file] = None
            try:
                with open(os.path.join(project, *file.split("/")), "rb") as source:
                    tree = ast.parse(source.read())
            except (SyntaxError, ValueError):
                unread.append(file)
                continue
            waiting += _imports(tree, name, is_package=file.endswith("__init__.py"))
            files |= dict.fromkeys(_data(project, file, tree))
    inside = {file.split("/")[0].removesuffix(".py") for file in files}
    missing = [module for module in roots if not any(name == module for name, _ in _files(project, module))]
    return SourceFiles(sorted(files), sorted(others - inside), missing, sorted(unread))


def _files(project: str, module: str) -> Iterator[tuple[str, str]]:
    """Yield module and file, of the packages above a module and of itself, if they are in the project."""
    parts = module.split(".")
    for number in range(1, len(parts) + 1):
        path = "/".join(parts[:number])
        place = os.path.join(project, *parts[:number])
        if os.path.isfile(os.path.join(place, "__init__.py")):
            yield ".".join(parts[:number]), f"{path}/__init__.py"
        elif os.path.isfile(f"{place}.py"):
            yield ".".join(parts[:number]), f"{path}.py"
            break  # what follows are its attributes
        elif not os.path.isdir(place):
            break


def _imports(tree: ast.AST, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield the modules that a module may import: of `from a import b` both `a` and `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module.split(".")[: len(module.split(".")) - node.level + is_package]
                base = ".".join([*package, base] if base else package)
            if base:
                yield base
            yield from (f"{base}.{alias.name}" if base else alias.name for alias in node.names if alias.name != "*")
        elif isinstance(node, ast.Call) and node.args and _called(node.func) in ("import_module", "__import__"):
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value[:1] != ".":
                yield argument.value


def _data(project: str, file: str, tree: ast.AST) -> Iterator[str]:
    """Yield the files other than modules that a module names."""
    for node in ast.walk(tree):
        text = node.value if isinstance(node, ast.Constant) else None
        if not isinstance(text, str) or not 0 < len(text) < 256 or text.endswith(".py") or not text.isprintable():
            continue
        for folder in {posixpath.dirname(file), ""}:
            path = posixpath.normpath(posixpath.join(folder, text))
            if not path.startswith(("../", "/")) and os.path.isfile(os.path.join(project, *path.split("/"))):
                yield path


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
