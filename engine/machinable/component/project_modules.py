"""Import the modules of a project from their sources as they were when an execution began.

Within `importing`, a finder at the head of `sys.meta_path` serves the modules whose files are in the project. Each file
is read once for an execution, so what is imported is what is stored, even if a file is edited at that moment. What has
changed since an earlier execution of the same process is imported again, as in a new process.

Modules that the caller has imported from elsewhere under a name that the project uses are set aside within `importing`,
and are back afterwards.
"""

from __future__ import annotations

import importlib
import importlib.util
import linecache
import marshal
import os
import sys
import threading
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from hashlib import sha256
from importlib.machinery import EXTENSION_SUFFIXES, ModuleSpec, SourceFileLoader
from types import CodeType, FrameType, FunctionType, ModuleType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from machinable.component.import_times import imported_at, importer_of, importing_frame, show_lines, was_noted
from machinable.component.source_files import INSTALLED, OWN_PACKAGE, Sources
from machinable.errors import warn

__all__ = [
    "begin_project",
    "changed_since_import",
    "imported_files",
    "importing",
    "is_library",
    "is_same_file",
    "load_file",
    "note_libraries",
    "show_loaded_lines",
    "sources_of",
]

NO_PROJECT = frozenset({"__main__", "__mp_main__", OWN_PACKAGE})  # modules that are never imported again
STANDARD_LIBRARY = os.path.join(os.path.dirname(os.path.realpath(os.__file__)), "")
EXTENSIONS = tuple(EXTENSION_SUFFIXES)  # of modules that a process imports only once
RIVAL_NOTICE = 10.0  # seconds
CLOCK_STEP = 2.0  # seconds; two changes within one step of a file system's clock leave the same time


class _Loaded(NamedTuple):
    """A module of a project.

    That is its file, the digest of its source, the state of the file when it was loaded, and the file of the project
    that imported it.
    """

    module: Any  # what sys.modules has; a module can put something else there
    file: str
    digest: str
    state: tuple[int, ...] | None
    time: float  # of the import; it changes when the module is reloaded
    importer: str | None


class _Missed(NamedTuple):
    """A module that could not be imported: the file that imports it, and its own path and digest, if it has a file."""

    importer: str
    path: str
    digest: str


class _Finder:
    """Find modules as Python does, and load those of a project from its sources.

    Attributes:
        active: The sources of the projects whose code is being imported, innermost last, with the thread.
    """

    def __init__(self) -> None:
        self.active: list[tuple[Sources, int]] = []
        self._searched: set[tuple[int, str]] = set()

    def runs(self, real: str) -> bool:
        """Return whether code of a project is being imported or running."""
        return bool(self.active) and any(one.real == real for one, _ in self.active)

    def rival(self, sources: Sources) -> Sources | None:
        """Return the sources of another project with modules of equal names whose code another thread runs."""
        for one, thread in self.active:
            if thread != threading.get_ident() and one.real != sources.real and not one.names.isdisjoint(sources.names):
                return one
        return None

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """Return the spec of a module, or None, as the other finders do."""
        search = threading.get_ident(), name
        if search in self._searched:  # by a finder that calls all others
            return None
        self._searched.add(search)
        try:
            return self._find(name, path, target)
        finally:
            self._searched.discard(search)

    def _find(self, name: str, path: Any, target: ModuleType | None) -> ModuleSpec | None:
        for finder in sys.meta_path[sys.meta_path.index(self) + 1 :]:
            if (spec := finder.find_spec(name, path, target)) is not None:
                if name.partition(".")[0] != OWN_PACKAGE:
                    spec = self._preferred(name, spec)
                    self._take(name, spec)
                return spec
        spec = self._find_deleted(name)
        if spec is None:
            self._note_missed(name)
        return spec

    def _preferred(self, name: str, spec: ModuleSpec) -> ModuleSpec:
        """Return the spec of the project's module, even if another one comes first in `sys.path`, except Python's."""
        for sources, _ in reversed(self.active):
            if name in sources.names:
                if spec.origin is None or sources.path_of(spec.origin) is not None or _is_standard(spec.origin):
                    return spec
                own = [os.path.join(sources.project, path) for module, path in sources.files_of(name) if module == name]
                found = [importlib.util.spec_from_file_location(name, file) for file in own]
                return next((one for one in found if one is not None), spec)
        return spec

    def _take(self, name: str, spec: ModuleSpec) -> None:
        """Load a module of a project from its sources; of another kind of module, record its file."""
        for sources, _ in reversed(self.active):
            path = sources.path_of(spec.origin)
            if path is not None and type(spec.loader) is SourceFileLoader:
                spec.loader = _Loader(name, str(spec.origin), sources)
                return
            file = None if path is None else sources.file_of(path)
            if file is not None:
                _compiled[name] = os.path.join(sources.project, file)
                _note_import(name, file, sources)
                return

    def _find_deleted(self, name: str) -> ModuleSpec | None:
        """Return the spec of a module whose file was read, and has been deleted since."""
        for sources, _ in reversed(self.active):
            for module, path in sources.files_of(name) if name.partition(".")[0] in sources.names else ():
                if module == name and path in sources.files:
                    file = os.path.join(sources.project, path)
                    return importlib.util.spec_from_file_location(name, file, loader=_Loader(name, file, sources))
        return None

    def _note_missed(self, name: str) -> None:
        frame = importing_frame(sys._getframe(3))
        for sources, _ in reversed(self.active):
            importer = None if frame is None else sources.path_of(frame.f_code.co_filename)
            if importer is not None:
                _missed.setdefault(sources.real, {})[name] = _Missed(importer, f"{name.replace('.', '/')}.py", "")


class _Loader(SourceFileLoader):
    """Load a module from the sources of an execution."""

    def __init__(self, name: str, file: str, sources: Sources) -> None:
        super().__init__(name, file)
        self._sources = sources

    def get_data(self, path: str) -> bytes:
        inside = self._sources.path_of(path)
        return super().get_data(path) if inside is None or path != self.path else self._sources.read(inside)

    def get_code(self, fullname: str) -> CodeType:
        data = self.get_data(self.path)
        return _cached_code(self.path, data) or self.source_to_code(data, self.path)

    def exec_module(self, module: ModuleType) -> None:
        name, importer, path = module.__name__, None, self._sources.path_of(self.path)
        state = _state(self.path)  # before the file is read, so that a change in between is noticed
        data = self.get_data(self.path)
        digest = sha256(data).hexdigest()
        if path is not None:
            importer = _note_import(name, path, self._sources)
        with suppress(SyntaxError, UnicodeDecodeError):  # its execution says in which file
            show_lines(name, self.path, importlib.util.decode_source(data))
        missed = _missed.setdefault(self._sources.real, {})
        if path is not None and importer is not None:
            missed[name] = _Missed(importer, path, digest)
        super().exec_module(module)
        missed.pop(name, None)
        _loaded[name] = _Loaded(sys.modules.get(name, module), self.path, digest, state, imported_at(name), importer)


def _note_import(name: str, path: str, sources: Sources) -> str | None:
    """Record the import of a file; return the file of the project whose code imports it, perhaps through a library."""
    with suppress(OSError):
        _imported.setdefault(sources.real, {})[path] = sha256(sources.read(path)).hexdigest()
    frame: FrameType | None = sys._getframe(1)
    importer = None
    while frame is not None and importer is None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] != OWN_PACKAGE:
            importer = sources.path_of(frame.f_code.co_filename)
        frame = frame.f_back
    sources.note_import(importer, name, path)
    return importer


_lock = threading.RLock()
_left = threading.Condition(_lock)  # notified when a thread leaves a project
_finder = _Finder()
_depth = 0
_bytecode_before = False
_sources: dict[str, Sources] = {}  # of each project
_loaded: dict[str, _Loaded] = {}
_compiled: dict[str, str] = {}  # the files of modules without source, or the archives that they are in
_missed: dict[str, dict[str, _Missed]] = {}  # by project, as its real path, and by name
_imported: dict[str, dict[str, str]] = {}  # by project, as its real path: see `imported_files`
# Modules, classes and functions that are not what their files say: the digests of the files that changed, as imported
_outdated: WeakKeyDictionary[Any, dict[str, str]] = WeakKeyDictionary()
_last: str | None = None  # the project that was entered last
# By the real path of the project:
_foreign: dict[str, list[str]] = {}  # top-level names that a project uses, and modules from elsewhere have
_aside: dict[str, dict[str, ModuleType]] = {}  # while its code is imported: the modules from elsewhere
_own: dict[str, dict[str, ModuleType]] = {}  # otherwise: the project's modules of these names


def _after_fork() -> None:
    """Discard the state of the parent's other threads in a forked process."""
    global _lock, _left
    _lock = threading.RLock()
    _left = threading.Condition(_lock)
    _finder.active[:] = [entry for entry in _finder.active if entry[1] == threading.get_ident()]


os.register_at_fork(after_in_child=_after_fork)


class importing:  # noqa: N801  # it reads like a function; a generator takes twice the time, four times a trial
    """Let imports within the block find the modules of a project first, and write no bytecode.

    Args:
        project: The project's directory; None for no project.
    """

    __slots__ = ("_project", "_sources")

    def __init__(self, project: str | None) -> None:
        self._project = project
        self._sources: Sources | None = None

    def __enter__(self) -> None:
        global _depth, _bytecode_before, _last
        project = self._project
        with _lock:
            sources = self._sources = None if project is None else _sources.get(project) or sources_of(project)
            if _finder.active and sources is not None:
                _wait_for_rivals(sources)
            if _depth == 0:
                _bytecode_before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
                sys.meta_path.insert(0, _finder)
            _depth += 1
            if sources is not None:
                if not _finder.runs(sources.real):
                    if _last != sources.real:  # whose modules may have equal names
                        _last = sources.real
                        _note_foreign(sources)
                    if _foreign[sources.real]:
                        _exchange(sources.real, _own, _aside)
                _finder.active.append((sources, threading.get_ident()))
                sys.path.insert(0, sources.project)

    def __exit__(self, *error: object) -> None:
        global _depth
        sources = self._sources
        with _lock:
            if sources is not None:
                if sources.project in sys.path:
                    sys.path.remove(sources.project)
                _finder.active.remove((sources, threading.get_ident()))
                if not _finder.runs(sources.real):
                    if sources.real in _aside:
                        _exchange(sources.real, _aside, _own)
                    _left.notify_all()
            _depth -= 1
            if _depth == 0:
                sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not _finder]
                sys.dont_write_bytecode = _bytecode_before


def sources_of(project: str) -> Sources:
    """Return the sources from which the modules of a project are imported."""
    with _lock:
        if project not in _sources:
            begin_project(project)
        return _sources[project]


def begin_project(project: str, files: Mapping[str, bytes] | None = None, keep: Iterable[str] = ()) -> None:
    """Let the modules of a project be imported as its files are now.

    Loaded modules whose files have changed, and those that import them, are dropped, so that they are imported again.
    While code of the project runs in this process, nothing changes.

    Args:
        project: The project's directory.
        files: Their sources, by the path relative to the project, if they have been read elsewhere.
        keep: Modules that stay until the next time, because the caller has passed objects of theirs.
    """
    with _lock:
        if _finder.runs(os.path.realpath(project)):
            return
        for folder, finder in list(sys.path_importer_cache.items()):
            if os.path.join(folder, "").startswith(os.path.join(project, "")):
                invalidate = getattr(finder, "invalidate_caches", None)
                if invalidate is not None:  # it may not have noticed a new file
                    invalidate()
        sources = _sources[project] = Sources(project, files)
        for name in sources.names:
            if sys.modules.get(name, name) is None:  # code has blocked it
                del sys.modules[name]
        modules = _modules_of(sources)
        changes = {name: change for name, path in modules.items() if (change := _changes(sources, name, path))}
        _add_missed(changes, modules, sources)
        if changes:
            imports = _imports_of(modules, sources)
            dynamic = _dynamic_imports(modules, imports)
            importers: dict[str, list[str]] = {}
            for name, imported in [*imports.items(), *dynamic.items()]:
                for one in imported:
                    importers.setdefault(one, []).append(name)
            # What it imports by a computed name is not imported again unless it is forgotten, too.
            for name, imported in dynamic.items():
                importers.setdefault(name, []).extend(imported)
                imports[name] |= imported
            stays = set(keep)
            for name in _reachable(changes, importers):
                _note_outdated(name, sources, [changes.get(one, {}) for one in _reachable([name], imports)])
                if modules[name].endswith(EXTENSIONS):
                    sources.stuck += [path for path in changes.get(name, ()) if path == modules[name]]
                elif name not in stays:
                    _forget(name, sources)
        for name, path in modules.items():
            known = _loaded.get(name)
            if known is not None or name in sys.modules:
                importer = sources.path_of(importer_of(name)) if known is None else known.importer
                sources.note_import(importer, name, path)
        _note_foreign(sources)
        _import_standard_modules(sources)


def changed_since_import(code: Any, project: str) -> list[str]:
    """Return the files of a project that differ from those that a class or a function was imported with."""
    with _lock:
        return sorted(_differing(_outdated_by(code), sources_of(project)))


def show_loaded_lines(file: str) -> None:
    """Let the next traceback show the lines of a file as it was imported, in case it has been edited since."""
    for sources, _ in reversed(_finder.active):
        data = sources.files.get(sources.path_of(file) or "")
        if data is not None:
            lines = importlib.util.decode_source(data).splitlines(keepends=True)
            linecache.cache[file] = len(data), 0.0, lines, file  # with this time it is read again afterwards
            return


def imported_files(project: str) -> dict[str, str]:
    """Return the digests of the source files that were imported since this was last called, by path."""
    if not _imported:  # most trials import nothing
        return {}
    with _lock:
        return {path: f"sha256:{digest}" for path, digest in _imported.pop(sources_of(project).real, {}).items()}


def load_file(name: str, file: str, project: str) -> ModuleType:
    """Import a file of the project as a module of another name, within `importing`."""
    spec = importlib.util.spec_from_loader(name, _Loader(name, file, sources_of(project)), origin=file)
    assert spec is not None
    assert spec.loader is not None
    spec.has_location = True
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def is_library(file: str | None) -> bool:
    """Return whether a module with this file belongs to Python or to an installed package."""
    return file is None or _is_standard(file) or not INSTALLED.isdisjoint(os.path.realpath(file).split(os.sep))


def _is_standard(origin: str) -> bool:
    if origin in ("built-in", "frozen"):
        return True
    real = os.path.realpath(origin)
    return real.startswith(STANDARD_LIBRARY) and INSTALLED.isdisjoint(real.split(os.sep))


def note_libraries(project: str) -> dict[str, str]:
    """Record which modules of a project are not imported by their names, because Python or a library has them.

    Returns:
        Where these are, by name.
    """
    with _lock:
        sources = sources_of(project)
        found = {}
        for name in sources.names - NO_PROJECT - set(_foreign.get(sources.real, ())):
            module = sys.modules.get(name)
            file = None if module is None else _file_of(name, module)
            if module is not None and sources.path_of(file) is None:
                found[name] = file if isinstance(file, str) else "part of Python"
        sources.elsewhere = frozenset(found)
        return found


# --- loaded modules


def _module(name: str, sources: Sources) -> Any:
    """Return the module of a project with this name, even if it is set aside."""
    return _own.get(sources.real, {}).get(name) or sys.modules.get(name)


def _modules_of(sources: Sources) -> dict[str, str]:
    """Return the loaded modules of a project, with the paths of their source files."""
    found = {}
    for name, module in [*sys.modules.items(), *_own.get(sources.real, {}).items()]:
        file = _file_of(name, module)
        if isinstance(file, str) and name.partition(".")[0] not in NO_PROJECT:
            path = sources.path_of(file)
            if path is not None:
                found[name] = path
    return found


def _file_of(name: str, module: Any) -> Any:
    known = _loaded.get(name)
    if known is not None and known.module is module:
        return known.file
    return _compiled.get(name) or _attribute(module, "__file__")


def _attribute(module: Any, name: str) -> Any:
    """Return an attribute of an object in sys.modules without calling its code, which may import the module."""
    return _members(module).get(name)


def _members(module: Any) -> Mapping[str, Any]:
    try:
        return object.__getattribute__(module, "__dict__")  # type: ignore[no-any-return]
    except AttributeError:
        return {}


def _changes(sources: Sources, name: str, path: str) -> dict[str, str]:
    """Return the files that have changed since a module was loaded, each with its digest then, "" if it is unknown.

    These are its own file and, if it was kept before, those that it imports. Note the state of the file if that is not
    known yet.
    """
    module = _module(name, sources)
    changes = _differing(_outdated_by(module), sources)
    file = os.path.join(sources.project, path)
    state = _state(file)
    known = _loaded.get(name)
    if known is not None and known.module is module and known.time == imported_at(name):
        if path not in sources.files and state is not None and state == known.state:
            return changes
        if _digest(sources, path) != known.digest:
            return {**changes, path: known.digest}
        _loaded[name] = known._replace(state=state)
        return changes
    digest = _digest(sources, path)
    if digest is None or _is_newer(file, name, module):
        return {**changes, path: ""}
    importer = sources.path_of(importer_of(name))
    _loaded[name] = _Loaded(module, _file_of(name, module), digest, state, imported_at(name), importer)
    return changes


def _add_missed(changes: dict[str, dict[str, str]], modules: Mapping[str, str], sources: Sources) -> None:
    """Add modules that could not import another one, such as an optional one, if its file has changed since."""
    missed = _missed.get(sources.real, {})
    waiting = []
    for name, one in missed.items():
        path = next((file for module, file in sources.files_of(name) if module == name), one.path)
        if (_digest(sources, path) or "") != one.digest:
            waiting.append((name, path, one.digest))
    while waiting:
        name, path, digest = waiting.pop()
        if name in missed:
            importer = missed.pop(name).importer
            for module in [module for module, file in modules.items() if file == importer]:
                changes[module] = {**changes.get(module, {}), path: digest}
            waiting += [(other, path, digest) for other, one in missed.items() if one.path == importer]


def _digest(sources: Sources, path: str) -> str | None:
    try:
        return sha256(sources.read(path)).hexdigest()
    except OSError:
        return None


def _is_newer(file: str, name: str, module: Any) -> bool:
    """Return whether a file has changed since a module was imported without this package."""
    if os.stat(file).st_mtime > imported_at(name):
        return True
    if was_noted(name) or sys.dont_write_bytecode or type(_attribute(module, "__loader__")) is not SourceFileLoader:
        return False
    header = _bytecode_header(file)  # written when it was imported
    return header is not None and header != _expected_header(os.stat(file))


def _outdated_by(code: Any) -> dict[str, str]:
    try:
        return _outdated.get(code, {})
    except TypeError:  # it has no weak references, or no hash
        return {}


def _differing(imported: Mapping[str, str], sources: Sources) -> dict[str, str]:
    return {path: digest for path, digest in imported.items() if _digest(sources, path) != digest}


def _note_outdated(name: str, sources: Sources, changes: Iterable[Mapping[str, str]]) -> None:
    """Record the files that have changed since a module, its classes and functions were imported."""
    module = _module(name, sources)
    found = {path: digest for change in changes for path, digest in change.items()}
    members = _members(module)
    for code in (module, *members.values()):
        is_own = isinstance(code, (type, FunctionType)) and code.__module__ == name
        if is_own or (code is module and isinstance(code, ModuleType)):
            _outdated[code] = {**found, **_outdated.get(code, {})}  # what it was imported with stays


def _imports_of(modules: Mapping[str, str], sources: Sources) -> dict[str, set[str]]:
    """Return the loaded modules of the project that each of them imports."""
    found = {}
    for name, path in modules.items():
        try:
            imported = set(sources.imported_by(name, path))
        except (OSError, SyntaxError, ValueError):
            imported = set()
        imported.add(name.rpartition(".")[0])  # a package that is imported again lacks its old submodules
        found[name] = imported & modules.keys()
    return found


def _dynamic_imports(modules: Mapping[str, str], imports: Mapping[str, Iterable[str]]) -> dict[str, set[str]]:
    """Return the loaded modules that each of them has imported, but by a name that its source does not contain."""
    named: dict[str, list[str]] = {}
    for name, path in modules.items():
        named.setdefault(path, []).append(name)
    found: dict[str, set[str]] = {}
    for name in modules:
        importer = _loaded[name].importer if name in _loaded else None
        for one in named.get(importer or "", ()):
            if name not in imports[one]:
                found.setdefault(one, set()).add(name)
    return found


def _reachable(start: Iterable[str], graph: Mapping[str, Iterable[str]]) -> set[str]:
    found = set(start)
    waiting = list(found)
    while waiting:
        more = set(graph.get(waiting.pop(), ())) - found
        found |= more
        waiting += more
    return found


def _forget(name: str, sources: Sources) -> None:
    for modules in (sys.modules, _own.get(sources.real, {})):
        module = modules.get(name)
        if module is not None and sources.path_of(_file_of(name, module)) is not None:
            del modules[name]
            package, _, last = name.rpartition(".")
            parent = modules.get(package)
            if parent is not None and getattr(parent, last, None) is module:
                delattr(parent, last)  # otherwise `from package import last` finds it there
    _loaded.pop(name, None)
    _compiled.pop(name, None)


def _state(file: str) -> tuple[int, ...] | None:
    """Return a value that changes with a file; None if it is unreliable because the file has just changed."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    if time.time() - max(found.st_mtime, found.st_ctime) < CLOCK_STEP:
        return None
    return found.st_mtime_ns, found.st_ctime_ns, found.st_size, found.st_ino  # the second cannot be set back


def _cached_code(file: str, data: bytes) -> CodeType | None:
    """Return the bytecode that Python has cached for a file, if it certainly belongs to this source.

    Python compares the time of the last change in whole seconds. So the bytecode must have been written after the
    second of that change.
    """
    try:
        cached = importlib.util.cache_from_source(file)
        written, source = os.stat(cached).st_mtime, os.stat(file)
        with open(cached, "rb") as bytecode:
            content = bytecode.read()
    except (OSError, NotImplementedError):
        return None
    if content[:16] != _expected_header(source) or source.st_size != len(data) or written < int(source.st_mtime) + 1:
        return None
    try:
        code = marshal.loads(content[16:])
    except (ValueError, EOFError, TypeError):
        return None
    # Bytecode that was copied together with its source names the file that it was compiled from.
    return code if isinstance(code, CodeType) and code.co_filename == file else None


def _expected_header(source: os.stat_result) -> bytes:
    """Return the header of bytecode for the current source file."""
    numbers = 0, int(source.st_mtime), source.st_size
    return importlib.util.MAGIC_NUMBER + b"".join((number & 0xFFFFFFFF).to_bytes(4, "little") for number in numbers)


def _bytecode_header(file: str) -> bytes | None:
    try:
        with open(importlib.util.cache_from_source(file), "rb") as bytecode:
            return bytecode.read(16)
    except (OSError, NotImplementedError):
        return None


# --- modules from elsewhere


def _wait_for_rivals(sources: Sources) -> None:
    """Wait until no other thread runs code of another project that has modules of the same names."""
    while (rival := _finder.rival(sources)) is not None:
        if not _left.wait(RIVAL_NOTICE):
            names = ", ".join(sorted(rival.names & sources.names))
            warn(
                f"{sources.project} waits for another thread, which runs code of {rival.project}: both have modules "
                f"called {names}. Worker processes do not wait: engine='processes'."
            )


def _note_foreign(sources: Sources) -> None:
    """Record which modules from elsewhere have names of the project, and restore those that no longer do."""
    found = {name for name in sources.names - NO_PROJECT if _is_foreign(name, sources)}
    _foreign[sources.real] = sorted(found)
    own = _own.get(sources.real, {})
    for name in [name for name in own if name.partition(".")[0] not in found]:
        sys.modules.setdefault(name, own.pop(name))


def _import_standard_modules(sources: Sources) -> None:
    """Import the modules of Python that have the name of a component of the project.

    Libraries need them, and would find the project's if they looked into its directory first. A module of another kind
    may be there to replace Python's.
    """
    for name in sources.names & sys.stdlib_module_names - sys.modules.keys():
        if sources.exists(f"{name}.py") and b"machinable" in sources.read(f"{name}.py"):
            before = sys.path[:]
            sys.path[:] = [entry for entry in before if os.path.abspath(entry) != sources.project]
            try:
                importlib.import_module(name)
            except ImportError:
                pass  # this Python comes without it
            finally:
                sys.path[:] = before


def _is_foreign(name: str, sources: Sources) -> bool:
    module = sys.modules.get(name)
    if module is None:
        return False
    file = _file_of(name, module)
    if not isinstance(file, str):  # made by code, or built in
        return name not in sys.stdlib_module_names
    if sources.path_of(file) is not None or is_library(file):
        return False
    return not any(is_same_file(file, os.path.join(sources.project, path)) for _, path in sources.files_of(name))


def is_same_file(one: str, other: str) -> bool:
    """Return whether two paths lead to one file; False if one does not exist."""
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def _exchange(project: str, coming: dict[str, dict[str, ModuleType]], going: dict[str, dict[str, ModuleType]]) -> None:
    """Replace the modules of the names that a project shares with modules from elsewhere."""
    roots = _foreign[project]
    going[project] = {}
    for name in [name for name in list(sys.modules) if name.partition(".")[0] in roots]:
        going[project][name] = sys.modules.pop(name)
    sys.modules.update(coming.pop(project, {}))
