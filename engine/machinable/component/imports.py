"""Import the code of components with the project first in `sys.path`, without writing into the project.

The module of a project may have the name of a module that Python or a library has loaded, such as `numbers` or `yaml`.
Both stay usable: the project's module then has another name in `sys.modules`.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from functools import lru_cache
from types import ModuleType
from typing import Any, TypeAlias

from machinable.component.base import Component, Mixin
from machinable.component.project_modules import importing, is_same_file, load_file
from machinable.errors import ImportFailed, InvalidType, MalformedText, MissingMember, suggestion
from machinable.plan.spec import MixinSpec, Target

__all__ = ["Code", "import_module", "importing", "load_component", "load_mixin"]

Code: TypeAlias = type[Component] | Callable[..., Any]

_imported: dict[tuple[str | None, str], ModuleType] = {}  # by project and name: finding it again costs 10 µs a trial


def import_module(name: str, project: str | None = None) -> ModuleType:
    """Import a module of the project, or of the environment.

    Raises:
        ImportFailed: It cannot be imported; the original error is the cause.
    """
    known = _imported.get((project, name))
    if known is not None and sys.modules.get(known.__name__) is known:
        return known
    try:
        with importing(project):
            file = _shadowed_file(name, project)
            if file is None or project is None:
                module = importlib.import_module(name)
            else:
                module = _import_shadowed(name, file, project)
    except (Exception, SystemExit) as error:
        todo = None
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            todo = f"Expected {name.replace('.', '/')}.py in {project or 'one of the directories of sys.path'}."
        elif isinstance(error, ModuleNotFoundError) and error.name:
            todo = (
                f"Install {error.name!r} wherever trials run, or put it into the project, where git does not ignore it."
            )
        raise ImportFailed(
            f"the module {name!r} cannot be imported: {type(error).__name__}: {error}", given=name, todo=todo
        ) from error
    if not isinstance(module, ModuleType):
        raise ImportFailed(
            f"the module {name!r} cannot be imported: it has put {module!r} in its place in sys.modules",
            given=name,
            todo="Keep the module, and put the object into it.",
        )
    _imported[project, name] = module
    return module


def _shadowed_file(name: str, project: str | None) -> str | None:
    """Return the project's file of a module whose name is also that of a module of Python or of a library."""
    if project is None or "." in name or name == "__main__":
        return None
    file = os.path.join(project, f"{name}.py")
    loaded = getattr(sys.modules.get(name), "__file__", None)
    if loaded == file or (loaded is None and name not in sys.stdlib_module_names) or not os.path.isfile(file):
        return None
    return None if loaded is not None and is_same_file(loaded, file) else file


def _import_shadowed(name: str, file: str, project: str) -> ModuleType:
    """Import the project's module under another name."""
    alias = f"project_{name}"
    module = sys.modules.get(alias)
    return module if module is not None and module.__file__ == file else load_file(alias, file, project)


def load_component(target: Target, project: str | None) -> Code:
    """Return the class or function of a component.

    Raises:
        ImportFailed: Its module cannot be imported.
        MissingMember: The module has no such class or function.
        MalformedText: Several classes match.
        InvalidType: The object of that name is neither a component nor a function.
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


def _class_of(module: ModuleType, name: str | None, base: type) -> type[Any]:
    found, members = _found_class(module, name, base), vars(module)
    if members.get(found.__name__) is not found and found not in members.values():  # the module was reloaded
        _found_class.cache_clear()
        found = _found_class(module, name, base)
    return found


@lru_cache(maxsize=512)
def _found_class(module: ModuleType, name: str | None, base: type) -> type[Any]:
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
    place = getattr(module, "__file__", None)
    todo = suggestion(given, known, f"Define it in {place}." if place else None)
    return MissingMember(f"the module {module.__name__!r} has {what}", given=given, known=known, todo=todo)
