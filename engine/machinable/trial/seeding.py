"""Seed random number generators, those of a list or all known ones; save and restore their states.

Libraries that are imported while the trial runs are seeded right after that. States are stored with checkpoints.
"""

from __future__ import annotations

import base64
import importlib
import random
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from machinable.errors import ImportFailed, InvalidType, MachinableError, SeveralErrors, UnknownName
from machinable.serialization import Plain

__all__ = ["DEFAULT", "Seeding", "check_seeding", "restore", "states"]

# By module. jax has no global generator: its keys are made from flags.SEED.
DEFAULT = {
    "random": "seed",
    "numpy.random": "seed",
    "torch": "manual_seed",
    "tensorflow": "random.set_seed",
}
_NUMPY_LIMIT = 2**32  # numpy takes no seed beyond; a chosen seed may be larger


def check_seeding(names: Sequence[str]) -> None:
    """Check that every name of a `_seeding_` list is a function; a trailing `?` makes it optional.

    Raises:
        UnknownName: A module has no such function.
        ImportFailed: A module cannot be imported.
        InvalidType: The name is not that of a function.
        SeveralErrors: Several of these.
    """
    errors: list[MachinableError] = []
    for name in names:
        try:
            _function(name)
        except MachinableError as error:
            errors.append(error)
    SeveralErrors.raise_any(errors)


def _function(name: str) -> Callable[[int], Any] | None:
    """Return the function with a dotted name; None for an optional one that does not exist."""
    try:
        found = _resolve(name.removesuffix("?"))
    except MachinableError:
        if name.endswith("?"):
            return None
        raise
    if not callable(found):
        raise InvalidType(
            f"{name!r} in the list of seeding is not a function but of type {type(found).__name__}",
            given=name,
            todo="Name a function of one argument, such as random.seed.",
        )
    return found  # type: ignore[no-any-return]


def _resolve(name: str) -> Any:
    module, _, path = name.rpartition(".")
    while module:
        try:
            found: Any = importlib.import_module(module)
        except (Exception, SystemExit) as error:
            if isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}."):
                module, _, inner = module.rpartition(".")
                path = f"{inner}.{path}"
                continue
            what = f"{name!r} in the list of seeding cannot be imported: {type(error).__name__}: {error}"
            raise ImportFailed(what, given=name) from error
        for part in path.split("."):
            if not hasattr(found, part):
                known = () if "." in path else [f"{module}.{each}" for each in dir(found) if each[:1] != "_"]
                raise UnknownName("function for seeding", name, known)
            found = getattr(found, part)
        return found
    raise ImportFailed(
        f"{name!r} in the list of seeding cannot be imported",
        given=name,
        todo=f"Install it, or write it as optional: {name + '?'!r}",
    )


class Seeding:
    """Seed random number generators during one trial, including those of libraries that it imports later.

    Args:
        names: Dotted names of functions; None: those of `DEFAULT`, whose modules are not imported for it.
        seed: The trial's seed.

    Attributes:
        applied: Dotted names of the functions that were called with the seed, or will be when their module is imported.
            Independent of the imports of this process, so that it is the same on every machine.
    """

    def __init__(self, names: Sequence[str] | None, seed: int) -> None:
        self._names = names
        self._seed = self._current = seed
        self._missing: set[str] = set()  # modules to seed when they are imported
        self.applied: list[str] = []

    def predicted(self) -> list[str]:
        """Return the names that `apply` will seed."""
        if self._names is not None:
            return [name.removesuffix("?") for name in self._names if _function(name) is not None]
        return [f"{module}.{function}" for module, function in DEFAULT.items()]

    def apply(self, seed: int | None = None) -> None:
        """Seed now, by default with the trial's seed; modules that are imported later use the last seed."""
        self._current = self._seed if seed is None else seed
        self.applied = self.predicted()
        if self._names is not None:
            for name in self.applied:
                _resolve(name)(self._current)
            return
        for module in DEFAULT:
            if module in sys.modules:
                self._seed_module(module)
            else:
                self._missing.add(module)
        if self._missing and self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def _seed_module(self, name: str) -> None:
        found: Any = sys.modules.get(name)
        for part in DEFAULT[name].split("."):
            found = getattr(found, part, None)
        if callable(found):  # another module may have that name
            found(self._current % _NUMPY_LIMIT if name == "numpy.random" else self._current)

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        """Find a module as the other finders do, and let its loader seed it when it is imported."""
        if name not in self._missing:
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = _Loader(spec.loader, self._seed_module)  # type: ignore[assignment]
                    return spec
        return None

    def close(self) -> None:
        """Stop watching imports."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)


class _Loader:
    """Load a module with its own loader, then call a function with its name."""

    def __init__(self, loader: Any, imported: Callable[[str], None]) -> None:
        self._loader = loader
        self._imported = imported

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._imported(module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def states(seed: int) -> dict[str, Plain]:
    """Return the states of the generators of `random` and, if imported, of numpy and torch, as plain data.

    The state of numpy right after seeding with the trial's seed is left out: what a trial stores does not depend on
    whether another one has imported numpy.
    """
    version, numbers, gauss = random.getstate()
    found: dict[str, Plain] = {"random": [version, _text(numbers), gauss]}
    numpy, torch = _imported("numpy.random", "get_state"), _imported("torch", "get_rng_state")
    if numpy is not None and numpy.get_state(legacy=False)["bit_generator"] == "MT19937":  # it was not replaced
        state = _state_of(numpy)
        if state != _state_of(numpy.RandomState(seed % _NUMPY_LIMIT)):
            found["numpy.random"] = state
    if torch is not None:
        found["torch"] = base64.b64encode(bytes(torch.get_rng_state().tolist())).decode("ascii")
    return found


def restore(found: Mapping[str, Plain], seed: int) -> None:
    """Set the generators to the states that `states` returned for the same seed."""
    version, numbers, gauss = found["random"]
    random.setstate((version, tuple(_numbers(numbers)), gauss))
    if "numpy.random" in found:
        import numpy

        words, position, has_gauss, gauss = found["numpy.random"]
        numpy.random.set_state(("MT19937", numpy.array(_numbers(words), "uint32"), position, has_gauss, gauss))
    elif (imported := _imported("numpy.random", "seed")) is not None:
        imported.seed(seed % _NUMPY_LIMIT)
    if "torch" in found:
        torch: Any = importlib.import_module("torch")  # not installed where types are checked
        state = list(base64.b64decode(found["torch"]))
        torch.set_rng_state(torch.tensor(state, dtype=torch.uint8))


def _state_of(generator: Any) -> list[Plain]:
    _, words, position, has_gauss, gauss = generator.get_state()
    return [_text(words.tolist()), int(position), int(has_gauss), float(gauss)]


def _imported(name: str, function: str) -> Any:
    module = sys.modules.get(name)
    return module if callable(getattr(module, function, None)) else None


def _text(numbers: Any) -> str:
    return base64.b64encode(array("I", numbers).tobytes()).decode("ascii")


def _numbers(text: str) -> list[int]:
    return array("I", base64.b64decode(text)).tolist()
