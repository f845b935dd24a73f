"""Import the code of components: with the project first in `sys.path`, and without writing into the project.

The module of a project may have the name of a module that Python or a library has loaded, such as `numbers` or `yaml`.
Both stay usable: the project's module then has another name in `sys.modules`.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from machinable.component.base import Component, Mixin
from machinable.errors import ImportFailed, InvalidType, MalformedText, MissingMember, did_you_mean, near_names
from machinable.plan.spec import MixinSpec, Target
from machinable.storage.hashing import file_digest

__all__ = ["Code", "import_module", "importing", "load_component", "load_mixin", "source_digest"]

Code: TypeAlias = type[Component] | Callable[..., Any]

_lock = threading.Lock()
_depth = 0  # of blocks of `importing`
_bytecode_before = False
_projects: list[str] = []  # whose modules may be imported, the current one last
_digests: WeakKeyDictionary[ModuleType, str | None] = WeakKeyDictionary()


@contextmanager
def importing(project: str | None) -> Iterator[None]:
    """Let imports within the block look into the project directory first, and write no bytecode."""
    global _depth, _bytecode_before
    with _lock:
        if _depth == 0:
            _bytecode_before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        _depth += 1
        if project is not None:
            if project not in _projects[-1:]:
                _switch_to(project)
            sys.path.insert(0, project)
    try:
        yield
    finally:
        with _lock:
            if project is not None and project in sys.path:
                sys.path.remove(project)
            _depth -= 1
            if _depth == 0:
                sys.dont_write_bytecode = _bytecode_before


def _switch_to(project: str) -> None:
    """Let modules of other projects make way for those of this one, and prepare those with the names of Python's."""
    if project in _projects:
        _projects.remove(project)
    if _projects:
        importlib.invalidate_caches()  # imports much, so not for the first project
    try:
        names = [entry.removesuffix(".py") for entry in os.listdir(project)]
    except OSError:
        names = []
    for name in names:
        if name in sys.modules and _directory(sys.modules[name]) in _projects:
            for inner in [one for one in sys.modules if f"{one}.".startswith(f"{name}.")]:
                del sys.modules[inner]
        if name in sys.stdlib_module_names and name not in sys.modules:
            try:
                with open(os.path.join(project, f"{name}.py"), "rb") as source:
                    is_component = b"machinable" in source.read()
            except OSError:
                continue
            if is_component:  # a module of another kind may be there to replace Python's
                _import_standard_module(name, project)
    _projects.append(project)


def _directory(module: ModuleType) -> str | None:
    """Return the directory in which a top-level module was found; None for one that is not from a file."""
    path = getattr(module, "__path__", None)
    place = getattr(module, "__file__", None) if path is None else next(iter(path), None)
    return place and os.path.dirname(place)


def _import_standard_module(name: str, project: str) -> None:
    """Import a module of Python: libraries need it, and would find the project's, whose directory is first."""
    before = sys.path[:]
    sys.path[:] = [place for place in before if os.path.abspath(place) != project]
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # this Python comes without it
    finally:
        sys.path[:] = before


def import_module(name: str, project: str | None = None) -> ModuleType:
    """Import a module of the project, or of the environment.

    Raises:
        ImportFailed: It does not import; the original error is its cause.
    """
    try:
        with importing(project):
            file = _shadowed_file(name, project)
            return importlib.import_module(name) if file is None else _import_shadowed(name, file)
    except (Exception, SystemExit) as error:
        todo = None
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            todo = f"Expected {name.replace('.', '/')}.py in {project or 'one of the directories of sys.path'}."
        elif isinstance(error, ModuleNotFoundError) and error.name:
            todo = (
                f"Install {error.name!r} wherever trials run, or put it into the project, where git does not ignore it."
            )
        raise ImportFailed(
            f"the module {name!r} does not import: {type(error).__name__}: {error}", given=name, todo=todo
        ) from error


def _shadowed_file(name: str, project: str | None) -> str | None:
    """Return the project's file of a module if its name belongs to a module of Python, or to one loaded elsewhere."""
    if project is None or "." in name or name == "__main__":
        return None
    module = sys.modules.get(name)
    directory = None if module is None else _directory(module)
    file = os.path.join(project, f"{name}.py")
    if directory == project or (directory is None and name not in sys.stdlib_module_names) or not os.path.isfile(file):
        return None
    loaded = getattr(module, "__file__", None)
    is_linked = loaded is not None and os.path.exists(loaded) and os.path.samefile(loaded, file)
    return None if is_linked else file


def _alias(name: str) -> str:
    return f"project_{name}"


def _import_shadowed(name: str, file: str) -> ModuleType:
    """Import the project's module under its alias."""
    alias = _alias(name)
    module = sys.modules.get(alias)
    if module is not None and module.__file__ == file:
        return module
    if name not in sys.modules:
        _import_standard_module(name, os.path.dirname(file))
    spec = spec_from_file_location(alias, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[alias] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[alias]
        raise
    return module


def load_component(target: Target, project: str | None) -> Code:
    """Return the class or function of a component.

    Raises:
        ImportFailed: Its module does not import.
        MissingMember: There is no such class or function in it.
        MalformedText: Several classes match.
        InvalidType: What has that name is neither a component nor a function.
    """
    module = import_module(target.module, project)
    if target.kind == "component":
        return _class_of(module, target.name, Component)
    found: Any = module
    for name in (target.name or "").split("."):
        if not hasattr(found, name):
            known = [each for each in dir(found) if each[:1] != "_"]
            raise _missing(module, f"nothing called {target.name!r}", name, known)
        found = getattr(found, name)
    if target.kind == "class" and not (isinstance(found, type) and issubclass(found, Component)):
        raise InvalidType(f"{target.module}:{target.name} is not a subclass of Component", given=target.name)
    if target.kind == "function" and not callable(found):
        raise InvalidType(f"{target.module}:{target.name} cannot be called", given=target.name)
    return found  # type: ignore[no-any-return]


def load_mixin(mixin: MixinSpec, project: str | None) -> type[Mixin]:
    """Return the class of a mixin; raise errors as `load_component` does."""
    return _class_of(import_module(mixin.module, project), mixin.class_name, Mixin)


@lru_cache(maxsize=512)
def _class_of(module: ModuleType, name: str | None, base: type) -> type[Any]:
    classes = {
        key: member
        for key, member in vars(module).items()
        if isinstance(member, type) and issubclass(member, base) and member is not base
    }
    if name is not None:
        if name not in classes:
            raise _missing(module, f"no subclass of {base.__name__} called {name!r}", name, classes)
        return classes[name]
    own = {cls for cls in classes.values() if cls.__module__ == module.__name__}
    found = [cls for cls in own if not any(other is not cls and issubclass(other, cls) for other in own)]
    if not found:
        raise _missing(module, f"no subclass of {base.__name__}", None, ())
    if len(found) > 1:
        names = sorted(cls.__qualname__ for cls in found)
        raise MalformedText(
            f"the module {module.__name__!r} has several subclasses of {base.__name__}: {', '.join(names)}",
            given=module.__name__,
            known=names,
            todo=f"Name one: _class_: {names[0]}",
        )
    return found[0]


def _missing(module: ModuleType, what: str, given: str | None, known: Any) -> MissingMember:
    near = near_names(given, known) if given is not None else []
    place = getattr(module, "__file__", None)
    todo = did_you_mean(near) if near else f"Define it in {place}." if place else None
    return MissingMember(f"the module {module.__name__!r} has {what}", given=given, known=known, todo=todo)


def source_digest(target: Target, project: str | None, *, as_loaded: bool = False) -> str | None:
    """Return the digest of the source file of a component's module, `sha256:…`; None if there is none.

    A module that is not imported yet is found without importing it; the packages around it are imported. With
    `as_loaded` it is the digest of the first call since the module was imported, because an edit changes nothing in a
    process that has imported it.
    """
    file = _shadowed_file(target.module, project)
    module = sys.modules.get(target.module if file is None else _alias(target.module))
    if as_loaded and module is not None and module in _digests:
        return _digests[module]
    if file is None:
        with importing(project):
            try:
                spec = module.__spec__ if module is not None else find_spec(target.module)
            except (ImportError, ValueError):  # a package above it is not there
                return None
        file = getattr(module, "__file__", None) or (spec.origin if spec is not None and spec.has_location else None)
    try:
        digest = file and file_digest(file)
    except OSError:
        digest = None
    if module is not None:
        _digests.setdefault(module, digest)
    return digest
