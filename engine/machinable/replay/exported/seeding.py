"""Seeds random number generators: at once those that are imported, the others as soon as they are."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["Seeding"]

_AWAITED = {"random.seed", "numpy.random.seed", "torch.manual_seed", "tensorflow.random.set_seed"}


class Seeding:
    """Gives one seed to a list of functions; names that are not in `_AWAITED` are imported for that."""

    def __init__(self, names: Sequence[str], seed: int) -> None:
        self._names = names
        self._seed = self._current = seed
        self._missing: dict[str, str] = {}

    def apply(self, seed: int | None) -> None:
        """Seed now, by default with the trial's seed."""
        self._current = self._seed if seed is None else seed
        self._missing = {}
        for name in self._names:
            module = name.rpartition(".")[0] if name != "tensorflow.random.set_seed" else "tensorflow"
            if name in _AWAITED and module != "random" and module not in sys.modules:
                self._missing[module] = name
            else:
                self._call(name)
        if self._missing and self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def _call(self, name: str) -> None:
        module, _, path = name.rpartition(".")
        while module not in sys.modules:  # its parent does not have it as an attribute while it is being imported
            try:
                importlib.import_module(module)
            except ModuleNotFoundError as error:
                if "." not in module or not f"{module}.".startswith(f"{error.name}."):
                    raise
                module, _, rest = module.rpartition(".")
                path = f"{rest}.{path}"
        found: Any = sys.modules[module]
        for part in path.split("."):
            found = getattr(found, part)
        found(self._current % 2**32 if name == "numpy.random.seed" else self._current)

    def close(self) -> None:
        """Wait for no further modules."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        """Finds a module as all others do, and seeds it when it has run."""
        if name not in self._missing:
            return None
        function = self._missing.pop(name)
        for finder in sys.meta_path:
            spec = None if finder is self else getattr(finder, "find_spec", _nothing)(name, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    spec.loader = _Loader(spec.loader, lambda: self._call(function))
                return spec
        return None


def _nothing(*_: Any) -> None:
    return None


class _Loader:
    """The loader of a module, which steps aside before the module runs and tells when it has."""

    def __init__(self, loader: Any, imported: Callable[[], None]) -> None:
        self._loader = loader
        self._imported = imported

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__loader__ = module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._imported()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
