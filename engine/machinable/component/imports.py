"""Import the code of components: with the project first in `sys.path`, and without writing into the project.

The module of a project may have the name of a module that Python or a library has loaded, such as `numbers` or `yaml`.
Both stay usable: the project's module then has another name in `sys.modules`.
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any, TypeAlias

from machinable.component.base import Component, Mixin
from machinable.config.method_calls import calls_in, parse
from machinable.errors import (
    ImportFailed,
    InvalidType,
    MachinableError,
    MalformedText,
    MissingMember,
    SeveralErrors,
    did_you_mean,
    near_names,
)
from machinable.plan.spec import MixinSpec, Target

__all__ = [
    "Code",
    "check_calls",
    "import_module",
    "importing",
    "load_component",
    "load_mixin",
    "source_digest",
]

Code: TypeAlias = type[Component] | Callable[..., Any]

_found: dict[tuple[str, str | None, str], tuple[ModuleType, Any]] = {}
_digests: dict[str, tuple[ModuleType, str | None]] = {}
_lock = threading.Lock()
_depth = 0
_bytecode_before = False
_last_project: str | None = None
_projects: set[str] = set()


@contextmanager
def importing(project: str | None) -> Iterator[None]:
    """Let imports within the block look into the project directory first, and write no bytecode."""
    global _depth, _bytecode_before, _last_project
    with _lock:
        if _depth == 0:
            _bytecode_before, sys.dont_write_bytecode = sys.dont_write_bytecode, True
        _depth += 1
        if project is not None:
            if _last_project != project:
                _forget_modules(_projects - {project}, project)
                _projects.add(project)
                _last_project = project
                _import_standard_modules(project)
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


def _forget_modules(former: set[str], project: str) -> None:
    """Remove the modules of other projects from `sys.modules` whose names this project uses."""
    if not former:
        return
    from importlib.machinery import PathFinder

    importlib.invalidate_caches()
    taken = set()
    for name, module in list(sys.modules.items()):
        root = name.partition(".")[0]
        if root in taken:
            continue
        places = [getattr(module, "__file__", None) or "", *(getattr(module, "__path__", None) or ())]
        if any(place.startswith(tuple(one + os.sep for one in former)) for place in places) and not any(
            place.startswith(project + os.sep) for place in places
        ):
            spec = PathFinder.find_spec(root, [project])
            if spec is not None:
                taken.add(root)
    for name in [name for name in sys.modules if name.partition(".")[0] in taken]:
        del sys.modules[name]


def import_module(name: str, project: str | None = None) -> ModuleType:
    """Import a module of the project, or of the environment.

    Args:
        name: its import path.
        project: the project directory.

    Raises:
        ImportFailed: it does not import; the original error is its cause.
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


def load_component(target: Target, project: str | None) -> Code:
    """Return the class or function of a component.

    Args:
        target: where it is defined.
        project: the project directory.

    Raises:
        ImportFailed: its module does not import.
        MissingMember: there is no such class or function in it.
        MalformedText: several classes match.
        InvalidType: what has that name is neither a component nor a function.
    """
    with importing(project):
        found = _remembered(target.module, target.name, target.kind, project)
        if found is None:
            module = import_module(target.module, project)
            if target.kind == "component":
                found = _class_of(module, target.name, Component)
            else:
                found = _object_of(module, target.name or "")
                if target.kind == "class" and not (isinstance(found, type) and issubclass(found, Component)):
                    raise InvalidType(
                        f"{target.module}:{target.name} is not a subclass of Component", given=target.name
                    )
                if target.kind == "function" and not callable(found):
                    raise InvalidType(f"{target.module}:{target.name} cannot be called", given=target.name)
            _found[target.module, target.name, target.kind] = module, found
        return found  # type: ignore[no-any-return]


def load_mixin(mixin: MixinSpec, project: str | None) -> type[Mixin]:
    """Return the class of a mixin; raise errors as `load_component` does."""
    with importing(project):
        found = _remembered(mixin.module, mixin.class_name, "mixin", project)
        if found is None:
            module = import_module(mixin.module, project)
            found = _class_of(module, mixin.class_name, Mixin)
            _found[mixin.module, mixin.class_name, "mixin"] = module, found
        return found  # type: ignore[no-any-return]


def source_digest(target: Target, project: str | None, *, as_loaded: bool = False) -> str | None:
    """Return the digest of the source file of a component's module, `sha256:…`; None if there is none.

    A module that is not imported yet is found without importing it; the packages around it are imported.

    Args:
        target: where the component is defined.
        project: the project directory.
        as_loaded: return the digest of the first call since the module was imported: an edit changes nothing in a
            process that has imported it.
    """
    from hashlib import sha256
    from importlib.util import find_spec

    file = _shadowed_file(target.module, project)
    module = sys.modules.get(target.module if file is None else _alias(target.module))
    known, found = _digests.get(target.module, (None, None))
    if as_loaded and known is module and module is not None:
        return found
    if file is None:
        with importing(project):
            try:
                spec = module.__spec__ if module is not None else find_spec(target.module)
            except (ImportError, ValueError):  # a package above it is not there
                return None
        file = getattr(module, "__file__", None) or (spec.origin if spec is not None and spec.has_location else None)
    try:
        with open(file or "", "rb") as source:
            digest = f"sha256:{sha256(source.read()).hexdigest()}"
    except OSError:
        digest = None
    if module is not None and known is not module:
        _digests[target.module] = module, digest
    return digest


def _remembered(module: str, name: str | None, kind: str, project: str | None) -> Any:
    known, found = _found.get((module, name, kind), (None, None))
    if known is None or sys.modules.get(known.__name__) is not known:
        return None
    return found if known.__name__ == module or known.__file__ == _shadowed_file(module, project) else None


def _class_of(module: ModuleType, name: str | None, base: type) -> type:
    members = vars(module)
    if name is not None:
        found = members.get(name)
        if isinstance(found, type) and issubclass(found, base) and found is not base:
            return found
        known = [n for n, member in members.items() if isinstance(member, type) and issubclass(member, base)]
        raise _missing(module, f"no subclass of {base.__name__} called {name!r}", name, known)
    own = {
        member
        for member in members.values()
        if isinstance(member, type) and issubclass(member, base) and member.__module__ == module.__name__
    }
    candidates = sorted(
        (cls for cls in own if not any(other is not cls and issubclass(other, cls) for other in own)),
        key=lambda cls: cls.__qualname__,
    )
    if not candidates:
        raise _missing(module, f"no subclass of {base.__name__}", None, ())
    if len(candidates) > 1:
        names = ", ".join(cls.__qualname__ for cls in candidates)
        raise MalformedText(
            f"the module {module.__name__!r} has several subclasses of {base.__name__}: {names}",
            given=module.__name__,
            known=[cls.__qualname__ for cls in candidates],
            todo=f"Name one: _class_: {candidates[0].__qualname__}",
        )
    return candidates[0]


def _object_of(module: ModuleType, path: str) -> Any:
    found: Any = module
    for name in path.split("."):
        if not hasattr(found, name):
            raise _missing(module, f"nothing called {path!r}", name, [n for n in dir(found) if n[:1] != "_"])
        found = getattr(found, name)
    return found


def _missing(module: ModuleType, what: str, given: str | None, known: Any) -> MissingMember:
    near = near_names(given, known) if given is not None else []
    place = getattr(module, "__file__", None)
    todo = did_you_mean(near) if near else f"Define it in {place}." if place else None
    return MissingMember(f"the module {module.__name__!r} has {what}", given=given, known=known, todo=todo)


def check_calls(cls: type[Component], config: Mapping[str, Any]) -> None:
    """Check that a class has every config method that a configuration calls.

    Args:
        cls: the component.
        config: its configuration.

    Raises:
        MissingMember: it lacks one; several are reported together.
    """
    errors: list[MachinableError] = []
    for path, text in calls_in(config):
        method = f"config_{parse(text).name}"
        if not callable(getattr(cls, method, None)):
            known = [name for name in dir(cls) if name.startswith("config_")]
            near = near_names(method, known)
            what = f"{cls.__module__}.{cls.__qualname__} has no method {method}, which {text!r} calls"
            todo = f"Did you mean {near[0].removeprefix('config_')}(…)?" if near else f"Define {method} in the class."
            errors.append(MissingMember(what, path=path, given=method, known=known, todo=todo))
    SeveralErrors.raise_any(errors)


def _shadowed_file(name: str, project: str | None) -> str | None:
    """Return the project's file of a module whose name belongs to another module; None for all other names.

    That is a module of Python, or one that was loaded from elsewhere.
    """
    if project is None or "." in name or name == "__main__":
        return None
    file = os.path.join(project, f"{name}.py")
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded in (file, os.path.join(project, name, "__init__.py")):
        return None
    if loaded is None and name not in sys.stdlib_module_names:
        return None
    if not os.path.isfile(file) or (loaded is not None and _is_same_file(loaded, file)):
        return None
    return file


def _is_same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


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


def _import_standard_modules(project: str) -> None:
    """Import the modules of Python that have the name of a component of the project.

    Libraries need them, and would find the project's when they look into its directory first.
    """
    try:
        names = [entry[:-3] for entry in os.listdir(project) if entry.endswith(".py")]
    except OSError:
        return
    for name in names:
        if name in sys.stdlib_module_names and name not in sys.modules:
            with open(os.path.join(project, f"{name}.py"), "rb") as source:
                is_component = b"machinable" in source.read()
            if is_component:  # a module of another kind may be there to replace Python's
                _import_standard_module(name, project)


def _import_standard_module(name: str, project: str) -> None:
    before = sys.path[:]
    sys.path[:] = [place for place in before if os.path.abspath(place) != project]
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # this Python comes without it
    finally:
        sys.path[:] = before
