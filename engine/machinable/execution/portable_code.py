"""Classes and functions of a task for workers: imported by name, or sent by value if no module has them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import Struct

from machinable.component.imports import Code
from machinable.component.project_modules import changed_since_import
from machinable.errors import ImportFailed, MachinableError, Refused, SeveralErrors
from machinable.plan.spec import Target

__all__ = ["PortableCode", "portable_code"]

_NO_FILE = "its module was not imported from a file"

_loaded: dict[bytes, dict[Target, Any]] = {}  # the last one that this worker has received


class PortableCode(Struct, frozen=True):
    """The code of a task that workers do not find by the names of its components.

    Attributes:
        function: Where the function is that runs instead of every component.
        wrappers: The number of wrappers around it there, 1 for a decorator.
        pickled: The classes and functions that are in no module, by their targets.
    """

    function: Target | None = None
    wrappers: int = 0
    pickled: bytes = b""

    def load(self) -> Mapping[Target, Code]:
        """Return the classes and functions that were sent by value, within `importing` of their project.

        Raises:
            ImportFailed: They need something that this process does not have.
        """
        if not self.pickled:
            return {}
        if self.pickled not in _loaded:
            import pickle  # 2 ms, and most executions need none

            _loaded.clear()
            try:
                code, names = pickle.loads(self.pickled)  # noqa: S301  # made by the executing process
            except Exception as error:
                raise ImportFailed(
                    f"code that is in no module cannot be loaded in a worker: {type(error).__name__}: {error}",
                    todo="Put it into a module of the project; or use engine='local'.",
                ) from error
            vars(sys.modules["__main__"]).update(names)
            _loaded[self.pickled] = code
        return _loaded[self.pickled]


def portable_code(live: Mapping[Target, Any], function: Callable[..., Any] | None, project: str) -> PortableCode:
    """Return what workers need in order to run the classes and functions of a task.

    Args:
        live: The classes and functions that the task was given.
        function: The function that runs instead of every component.
        project: The absolute path of the project.

    Raises:
        Refused: Some of them can neither be imported nor pickled; errors are reported together.
    """
    if function is not None:
        target = Target(function.__module__, getattr(function, "__qualname__", repr(function)), "function")
        why, wrappers = _obstacle(target, function)
        if why is None:
            return PortableCode(target, wrappers)
        return PortableCode(target, 0, _pickled({target: (function, why)}))
    by_value: dict[Target, tuple[Any, str]] = {}
    for target, code in live.items():
        if "<" not in str(target.name) and changed_since_import(code, project):  # it may have been imported again
            continue
        why, wrappers = _obstacle(target, code)
        if why is None and wrappers:
            why = "a decorator has replaced it there"
        if why is not None:
            by_value[target] = code, why
    return PortableCode(pickled=_pickled(by_value) if by_value else b"")


def _obstacle(target: Target, code: Any) -> tuple[str | None, int]:
    """Return why workers cannot import a class or a function, and the number of wrappers around it in its module."""
    module = sys.modules.get(target.module)
    found: Any = module
    for part in (target.name or "").split("."):
        found = getattr(found, part, None)
    wrappers = 0
    while found is not None and found is not code:
        found = getattr(found, "__wrapped__", None)
        wrappers += 1
    if target.module == "__main__":
        file = getattr(module, "__file__", None)
        where = os.path.basename(file) if file else "the interactive session"
        return f"it is defined in {where}, which runs as __main__", 0
    if found is None:
        return "that name refers to nothing or to something else", 0
    if getattr(module, "__spec__", None) is None:
        return _NO_FILE, 0
    return None, wrappers


def _pickled(by_value: Mapping[Target, tuple[Any, str]]) -> bytes:
    """Return classes and functions as bytes, with the reasons why workers cannot import them for errors."""
    from machinable.storage.formats.binary import load_cloudpickle  # most tasks need none of these

    cloudpickle = load_cloudpickle()
    errors: list[MachinableError] = []
    for target, (code, why) in by_value.items():
        name = f"{target.module}:{target.name}"
        where = "Move it into a module of the project, and import it from there"
        if why is _NO_FILE:  # pickles refer to what is in a module
            todo = "Put it into a module of the project; or use engine='local'."
            errors.append(Refused(f"workers cannot import {name}: {why}", given=name, todo=todo))
            continue
        if cloudpickle is None:
            todo = f"{where}; or install cloudpickle, which sends such code to workers; or use engine='local'."
            errors.append(Refused(f"workers cannot import {name}: {why}", given=name, todo=todo))
            continue
        try:
            cloudpickle.dumps(code)
        except Exception as error:
            message = f"{name} cannot be sent to workers: {type(error).__name__}: {error}"
            details = [f"workers cannot import it: {why}"]
            todo = f"Create in the component what it uses and cannot be pickled. {where}; or use engine='local'."
            errors.append(Refused(message, given=name, details=details, todo=todo))
    SeveralErrors.raise_any(errors)
    # All in one, because a class that several refer to must remain one.
    code = {target: one for target, (one, _) in by_value.items()}
    content: bytes = cloudpickle.dumps((code, _names_in_annotations(code.values())))
    return content


def _names_in_annotations(code: Iterable[Any]) -> dict[str, Any]:
    """Return what annotations of classes in `__main__` may refer to by name: workers evaluate those that are text."""
    from inspect import get_annotations

    main, found = vars(sys.modules["__main__"]), dict[str, Any]()
    waiting = [one for one in code if isinstance(one, type)]
    seen: set[type] = set()
    while waiting:
        cls = waiting.pop()
        if cls in seen or cls.__module__ != "__main__":
            continue
        seen.add(cls)
        waiting += [*cls.__bases__, *(member for member in vars(cls).values() if isinstance(member, type))]
        for annotation in get_annotations(cls).values():
            for name in re.findall(r"[^\W\d]\w*", annotation if isinstance(annotation, str) else repr(annotation)):
                if name in main:
                    found[name] = main[name]
                    waiting += [main[name]] if isinstance(main[name], type) else []
    return found
