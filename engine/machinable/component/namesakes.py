"""Modules of a project that are called like modules of Python, such as `numbers`: neither stands in for the other."""

from __future__ import annotations

import importlib
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

__all__ = ["alias_of", "file_of", "import_namesake", "shield"]


def file_of(name: str, project: str | None) -> str | None:
    """The file of the project that is called like a module of Python; None for all other names."""
    if project is None or name not in sys.stdlib_module_names:
        return None
    file = os.path.join(project, f"{name}.py")
    return file if os.path.isfile(file) else None


def alias_of(name: str) -> str:
    """What the project's module is called in `sys.modules`."""
    return f"project_{name}"


def shield(project: str) -> None:
    """Import the modules of Python after which components of the project are called.

    Other libraries need those, and would find the project's when they look into its directory first.
    """
    try:
        names = [entry[:-3] for entry in os.listdir(project) if entry.endswith(".py")]
    except OSError:
        return
    for name in names:
        file = file_of(name, project)
        if file is not None and name not in sys.modules:
            with open(file, "rb") as source:
                is_ours = b"machinable" in source.read()
            if is_ours:  # a module of another kind may be meant to be found first
                _import_pythons(name, project)


def _import_pythons(name: str, project: str) -> None:
    before = sys.path[:]
    sys.path[:] = [place for place in before if os.path.abspath(place) != project]
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # this Python comes without it
    finally:
        sys.path[:] = before


def import_namesake(name: str, file: str) -> ModuleType:
    """The module of the project, which goes by another name in `sys.modules`."""
    alias = alias_of(name)
    module = sys.modules.get(alias)
    if module is not None and module.__file__ == file:
        return module
    if name not in sys.modules:
        _import_pythons(name, os.path.dirname(file))
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
