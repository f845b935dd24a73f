"""Find the files of a project that modules need, by parsing their imports and file names, never by running them."""

from __future__ import annotations

import ast
import os
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache
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
    "modules_of",
    "replaced_modules",
    "statements",
]

OWN_PACKAGE = __name__.partition(".")[0]  # never part of a project, not even where it is developed
INSTALLED = frozenset({"site-packages", "dist-packages"})  # folders of packages, also within a project


_prefixes: dict[str, tuple[str, ...]] = {}  # of each project, by its real path: paths by which it has been opened


class Sources:
    """The source files of a project, each as it is when it is first read.

    Attributes:
        project: The project's directory.
        real: The same without symbolic links.
        files: What has been read, by the path relative to the project.
        elsewhere: Names at the top of the project under which its code imports modules of Python or of a library.
        stuck: Extension modules that have changed since this process imported them, and cannot be imported again.
    """

    def __init__(self, project: str, files: Mapping[str, bytes] | None = None, paths: Sequence[str] = ()) -> None:
        """Begin with files that have already been read, as a worker does.

        Args:
            project: The project's directory.
            files: Their contents, by the path relative to the project.
            paths: Directories of the project in which modules are found, as well as in those of `sys.path`.
        """
        self._paths = [f"{path}/" for path in paths]
        self.project = project
        self.files = dict(files or {})
        self.elsewhere: frozenset[str] = frozenset()
        self.stuck: list[str] = []
        self._packages: dict[str, list[str]] = {}
        self._folders: dict[str, dict[str, bool]] = {}
        self._roots: tuple[list[str], list[str]] = [], []
        self._imported: dict[str, tuple[str, ...]] = {}
        self._noted: dict[str, dict[str, str]] = {}  # modules and their files, by the file that imports them
        self.real = os.path.realpath(project)
        own = {os.path.join(root, "") for root in (project, self.real)}
        self._prefixes = _prefixes[self.real] = tuple(own.union(_prefixes.get(self.real, ())))

    def path_of(self, file: str | None) -> str | None:
        """Return the path of a file relative to the project, with `/`; None if it is not of the project's code."""
        if file and f"{os.sep}..{os.sep}" in file:  # a script that was started by such a path
            file = os.path.normpath(file)
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
        return path in self.files or self._is_folder(path) is False

    def file_of(self, path: str) -> str | None:
        """Return a file, or the archive that the path leads into; None if there is neither."""
        while path and not os.path.isfile(os.path.join(self.project, path)):
            path = posixpath.dirname(path)
        return path or None

    @cached_property
    def names(self) -> frozenset[str]:
        """The names of the modules and packages at the top of the project."""
        found = set()
        for root in self.roots():
            for name, is_folder in self._entries(root.rstrip("/")).items():
                if self.exists(f"{root}{name}/__init__.py") if is_folder else name.endswith(".py"):
                    found.add(name.removesuffix(".py"))
        return frozenset(found)

    def _is_folder(self, path: str) -> bool | None:
        """Return whether a path is a folder; None if it does not exist."""
        folder, _, name = path.rpartition("/")
        return self._entries(folder).get(name)

    def _entries(self, folder: str) -> Mapping[str, bool]:
        """Return the names in a folder, and whether they are folders. Each folder is listed once."""
        if folder not in self._folders:
            names = self._folders[folder] = dict[str, bool]()
            if not folder or self._is_folder(folder):
                with suppress(OSError), os.scandir(os.path.join(self.project, folder)) as found:
                    names.update((entry.name, entry.is_dir()) for entry in found if entry.is_dir() or entry.is_file())
        return self._folders[folder]

    def roots(self) -> list[str]:
        """Return where Python finds modules within the project: "" and, in a src layout, `src/`."""
        if self._roots[0] != sys.path:
            inside = [self.path_of(os.path.join(entry, "")) for entry in sys.path]
            self._roots = sys.path[:], list(dict.fromkeys(["", *self._paths, *filter(None, inside)]))
        return self._roots[1]

    def note_import(self, importer: str | None, module: str, file: str) -> None:
        """Record that a file has imported a module, whose name may be in no source file, and the module's file."""
        if importer is not None:
            self._noted.setdefault(importer, {})[module] = file

    def noted_imports(self, importer: str) -> Mapping[str, str]:
        """Return the modules that a file is known to have imported, with their files."""
        return self._noted.get(importer, {})

    def imported_by(self, module: str, file: str) -> tuple[str, ...]:
        """Return the modules that a module may import: of `from a import b` both `a` and `a.b`.

        Raises:
            OSError: Its file cannot be read.
            SyntaxError: It cannot be parsed.
        """
        found = self._imported.get(module)
        if found is None:
            imports = _imports(self.read(file))
            is_package = file.endswith("/__init__.py")
            found = self._imported[module] = tuple(dict.fromkeys(_absolute(imports, module, is_package=is_package)))
        return found

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
                    break  # the rest are its attributes
                elif not self._is_folder(path):
                    break
            if found:
                yield from found
                return

    def module_of(self, path: str) -> str | None:
        """Return the module that a file of the project is imported as; None if there is no such file or module."""
        if not self.exists(path) or not path.endswith(".py"):
            return None
        root = max((root for root in self.roots() if path.startswith(root)), key=len)
        name = path[len(root) :].removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        return name if any(file == path for _, file in self.files_of(name)) else None

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
        missing: Requested modules that are not in the project.
        unread: Files that cannot be parsed.
    """

    files: list[str]
    others: list[str]
    missing: list[str]
    unread: list[str]


def find_source_files(sources: Sources, modules: Iterable[str]) -> SourceFiles:
    """Return the files of modules, of the packages that they are in, and of all that they import from the project.

    Imports count wherever they are, including `import_module` with a literal name. A data file counts if a text in the
    code is its path, relative to the module's folder or to the project.
    """
    roots = list(dict.fromkeys(modules))
    code = _Code(sources, roots)
    files = set(code.files)
    for file in code.files:
        if file not in code.unread and file.endswith(".py"):
            files.update(_data(sources, file, _texts(sources.read(file))))
    inside = {file.split("/")[0].split(".")[0] for file in files}
    missing = [module for module in roots if not any(name == module for name, _ in sources.files_of(module))]
    return SourceFiles(sorted(files), sorted(code.others - inside), missing, sorted(code.unread))


class _Code:
    """The source files of modules and of all that they import, recursively.

    Attributes:
        files: Their paths relative to the project.
        others: The top-level names of modules outside the project.
        replaced: Those of them that the project has a module for.
        unread: Files that do not parse.
    """

    def __init__(self, sources: Sources, modules: Iterable[str]) -> None:
        self.files: dict[str, None] = {}
        self.others: set[str] = set()
        self.replaced: set[str] = set()
        self.unread: list[str] = []
        waiting = list(modules)
        roots = frozenset(waiting)
        seen = set(waiting)
        while waiting:
            module = waiting.pop()
            top = module.partition(".")[0]
            if top in sources.elsewhere and module not in roots:
                self.others.add(top)
                self.replaced.add(top)
                continue
            is_outside = True
            for name, file in sources.files_of(module):
                is_outside = False
                if file in self.files:
                    continue
                self.files[file] = None
                try:
                    noted = sources.noted_imports(file)
                    self.files.update((path, None) for path in noted.values() if not path.endswith(".py"))
                    imported = {*sources.imported_by(name, file), *noted}
                except (SyntaxError, ValueError):
                    self.unread.append(file)
                    continue
                waiting += imported - seen
                seen |= imported
            if is_outside:
                self.others.add(top)


def modules_of(definition: ComponentSpec) -> tuple[str, ...]:
    """Return the modules of a component, its mixins and its children."""
    found = [definition.target.module, *(mixin.module for mixin in definition.mixins)]
    for child in definition.children:
        found += modules_of(child)
    return tuple(dict.fromkeys(found))


def code_of(sources: Sources, modules: Iterable[str]) -> dict[str, bytes]:
    """Return the source files of modules and of all modules of the project that they import, by their paths in it."""
    return {file: sources.read(file) for file in sorted(_Code(sources, modules).files)}


def replaced_modules(sources: Sources, modules: Iterable[str]) -> list[str]:
    """Return the imported names of which the project has a module, but that of Python or of a library is used."""
    return sorted(_Code(sources, modules).replaced) if sources.elsewhere else []


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
    # Versions of Python differ in the empty fields that a node has and prints.
    text = re.sub(r"(?:, )?\b\w+=(?:\[\]|None)", "", ast.dump(tree)).replace("(, ", "(")
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


class _Import(msgspec.Struct, frozen=True):
    """One import: `level` dots, then `base`, and the names that are imported `from` it."""

    base: str
    level: int = 0
    names: tuple[str, ...] = ()


@lru_cache(maxsize=4096)
def _imports(data: bytes) -> tuple[_Import, ...]:
    """Return all imports of a source file.

    Raises:
        SyntaxError, ValueError: It does not parse.
    """
    tree = ast.parse(data)
    # Imports are statements, and most nodes are expressions.
    has_calls = b"import_module" in data or b"__import__" in data
    found: list[_Import] = []
    for node in ast.walk(tree) if has_calls else statements(tree):
        if isinstance(node, ast.Import):
            found += [_Import(alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names if alias.name != "*")
            found.append(_Import(node.module or "", node.level, names))
        elif isinstance(node, ast.Call) and node.args and _called(node.func) in ("import_module", "__import__"):
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and isinstance(argument.value, str) and argument.value[:1] != ".":
                found.append(_Import(argument.value))
    return tuple(found)


def statements(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield all statements of a module, a class or a function, also those within others."""
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        yield node
        for name in ("body", "handlers", "orelse", "finalbody", "cases"):
            waiting += getattr(node, name, ())


def _texts(data: bytes) -> list[str]:
    """Return the texts in a source file that may be paths of data files."""
    texts = [node.value for node in ast.walk(ast.parse(data)) if isinstance(node, ast.Constant)]
    return [
        text
        for text in texts
        if isinstance(text, str) and 0 < len(text) < 256 and not text.endswith(".py") and text.isprintable()
    ]


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
