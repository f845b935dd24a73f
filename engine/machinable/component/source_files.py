"""Find the files of a project that modules need, by reading what they import and name, never by running them."""

from __future__ import annotations

import ast
import os
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec

import msgspec

from machinable.plan.spec import ComponentSpec

__all__ = [
    "INSTALLED",
    "OWN_PACKAGE",
    "SourceFiles",
    "Sources",
    "code_digest",
    "code_of",
    "find_source_files",
    "imported_modules",
    "modules_of",
]

OWN_PACKAGE = __name__.partition(".")[0]  # never part of a project, not even where it is developed
INSTALLED = frozenset({"site-packages", "dist-packages"})  # folders of packages, also within a project


class Sources:
    """The source files of a project, each as it is when it is first read.

    Attributes:
        project: The project's directory.
        files: What has been read, by the path relative to the project.
    """

    def __init__(self, project: str, files: Mapping[str, bytes] | None = None, paths: Sequence[str] = ()) -> None:
        """Begin with files that were read before, as a worker does.

        Args:
            project: The project's directory.
            files: Their contents, by the path relative to the project.
            paths: Directories of the project in which modules are found, as well as in those of `sys.path`.
        """
        self._paths = [f"{path}/" for path in paths]
        self.project = project
        self.files = dict(files or {})
        self._packages: dict[str, list[str]] = {}
        self._prefixes = tuple({os.path.join(root, "") for root in (project, os.path.realpath(project))})

    def path_of(self, file: str | None) -> str | None:
        """Return the path of a file relative to the project, with `/`; None if it is not of the project's code."""
        for prefix in self._prefixes:
            if file and file.startswith(prefix):
                path = file[len(prefix) :].replace(os.sep, "/")
                return None if INSTALLED.intersection(path.split("/")) else path
        return None

    def read(self, path: str) -> bytes:
        """Return a file by its path relative to the project.

        Raises:
            OSError: It cannot be read.
        """
        data = self.files.get(path)
        if data is None:
            with open(os.path.join(self.project, path), "rb") as file:
                data = self.files[path] = file.read()
        return data

    def exists(self, path: str) -> bool:
        """Return whether there is a file, by its path relative to the project."""
        return path in self.files or os.path.isfile(os.path.join(self.project, path))

    def roots(self) -> list[str]:
        """Return where Python looks for modules within the project: "" and, in a src layout, `src/`."""
        inside = [self.path_of(os.path.join(entry, "")) for entry in sys.path]
        return list(dict.fromkeys(["", *self._paths, *filter(None, inside)]))

    def files_of(self, module: str) -> Iterator[tuple[str, str]]:
        """Yield module and file, of the packages above a module and of itself, if they are in the project."""
        if module == "__main__":
            script = self.path_of(getattr(sys.modules[module], "__file__", None))
            if script is not None:
                yield module, script
            return
        parts = module.split(".")
        if parts[0] == OWN_PACKAGE:
            return
        for root in dict.fromkeys([*self.roots(), *self._root_of_package(parts[0])]):
            found = []
            for number in range(1, len(parts) + 1):
                path, name = root + "/".join(parts[:number]), ".".join(parts[:number])
                if self.exists(f"{path}/__init__.py"):
                    found.append((name, f"{path}/__init__.py"))
                elif self.exists(f"{path}.py"):
                    found.append((name, f"{path}.py"))
                    break  # what follows are its attributes
                elif not os.path.isdir(os.path.join(self.project, path)):
                    break
            if found:
                yield from found
                return

    def _root_of_package(self, name: str) -> list[str]:
        """Return where in the project a package is that `sys.path` does not lead to, as in editable installs."""
        if name not in self._packages:
            self._packages[name] = self._search(name)
        return self._packages[name]

    def _search(self, name: str) -> list[str]:
        try:
            spec = getattr(sys.modules.get(name), "__spec__", None) or find_spec(name)
        except (ImportError, ValueError):
            return []
        path = self.path_of(spec.origin) if spec is not None and spec.has_location else None
        if path is None or not path.endswith(f"{name}/__init__.py"):
            return []
        return [path.removesuffix(f"{name}/__init__.py")]


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


def find_source_files(sources: Sources, modules: Iterable[str]) -> SourceFiles:
    """Return the files of modules, of the packages that they are in, and of all that they import from the project.

    Imports count wherever they stand, also `import_module` with a literal name. A data file counts if a text in the
    code is its path, relative to the module's folder or to the project.
    """
    roots = list(dict.fromkeys(modules))
    files: dict[str, None] = {}
    others: set[str] = set()
    unread: list[str] = []
    waiting, seen = list(roots), set(roots)
    while waiting:
        module = waiting.pop()
        found = list(sources.files_of(module))
        if not found:
            others.add(module.partition(".")[0])
        for name, file in found:
            if file in files:
                continue
            files[file] = None
            parsed = _parsed(sources.read(file))
            if parsed is None:
                unread.append(file)
                continue
            imported = set(_absolute(parsed.imports, name, is_package=file.endswith("/__init__.py")))
            waiting += imported - seen
            seen |= imported
            files |= dict.fromkeys(_data(sources, file, parsed.texts))
    inside = {file.split("/")[0].removesuffix(".py") for file in files}
    missing = [module for module in roots if not any(name == module for name, _ in sources.files_of(module))]
    return SourceFiles(sorted(files), sorted(others - inside), missing, sorted(unread))


def modules_of(definition: ComponentSpec) -> tuple[str, ...]:
    """Return the modules of a component, its mixins and its children."""
    found = [definition.target.module, *(mixin.module for mixin in definition.mixins)]
    for child in definition.children:
        found += modules_of(child)
    return tuple(dict.fromkeys(found))


def code_of(sources: Sources, modules: Iterable[str]) -> dict[str, bytes]:
    """Return the source files of modules and of all modules of the project that they import, by their paths in it."""
    files = find_source_files(sources, modules).files
    return {file: sources.read(file) for file in files if file.endswith(".py")}


def imported_modules(data: bytes, module: str, *, is_package: bool) -> set[str]:
    """Return the modules that a source file may import: of `from a import b` both `a` and `a.b`.

    Args:
        data: The source.
        module: Its name, for relative imports.
        is_package: Whether it is the `__init__.py` of a package.
    """
    parsed = _parsed(data)
    return set() if parsed is None else set(_absolute(parsed.imports, module, is_package=is_package))


@lru_cache(maxsize=4096)
def code_digest(data: bytes) -> str:
    """Return a digest of a source file that comments, blank lines, layout and docstrings do not change."""
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return sha256(data).hexdigest()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and type(first.value.value) is str:
                del node.body[0]
    # Versions of Python differ in which empty fields a node has, and in which they print.
    text = re.sub(r"(?:, )?\b\w+=(?:\[\]|None)", "", ast.dump(tree)).replace("(, ", "(")
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class _Import(msgspec.Struct, frozen=True):
    """One import: `level` dots, then `base`, and what is taken `from` it."""

    base: str
    level: int = 0
    names: tuple[str, ...] = ()


class _Parsed(msgspec.Struct, frozen=True):
    imports: tuple[_Import, ...]
    texts: tuple[str, ...]  # that may be paths


@lru_cache(maxsize=4096)
def _parsed(data: bytes) -> _Parsed | None:
    try:
        tree = ast.parse(data)
    except (SyntaxError, ValueError):
        return None
    imports: list[_Import] = []
    texts: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imports += [_Import(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names if alias.name != "*")
            imports.append(_Import(node.module or "", node.level, names))
        elif isinstance(node, ast.Call) and node.args and _called(node.func) in ("import_module", "__import__"):
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value[:1] != ".":
                imports.append(_Import(argument.value))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            text = node.value
            if 0 < len(text) < 256 and not text.endswith(".py") and text.isprintable():
                texts.append(text)
    return _Parsed(tuple(imports), tuple(texts))


def _absolute(imports: Iterable[_Import], module: str, *, is_package: bool) -> Iterator[str]:
    for found in imports:
        base = found.base
        if found.level:
            package = module.split(".")[: len(module.split(".")) - found.level + is_package]
            base = ".".join([*package, base] if base else package)
        if base:
            yield base
        yield from (f"{base}.{name}" if base else name for name in found.names)


def _data(sources: Sources, file: str, texts: Iterable[str]) -> Iterator[str]:
    """Yield the files other than modules that a module names."""
    for text in texts:
        for folder in {posixpath.dirname(file), ""}:
            path = posixpath.normpath(posixpath.join(folder, text))
            if not path.startswith(("../", "/")) and sources.exists(path):
                yield path


def _called(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
