"""Seeds random number generators: those of a list, or those that are imported, now or while the trial runs.

Random number generators as they are at one moment: kept with a checkpoint, put back when a trial goes on from it.
"""

from __future__ import annotations

import base64
import importlib
import sys
from array import array
from collections.abc import Callable, Mapping, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from machinable.errors import ImportFailed, InvalidType, MachinableError, SeveralErrors, UnknownName
from machinable.serialization import Plain

__all__ = ["DEFAULT", "Seeding", "check_seeding", "put_back", "states"]

# By module; jax has no generator of its own that could be seeded: its keys are made from flags.SEED.
DEFAULT = {
    "random": "seed",
    "numpy.random": "seed",
    "torch": "manual_seed",
    "tensorflow": "random.set_seed",
}
_NUMPY_LIMIT = 2**32  # numpy takes no seed beyond; a chosen seed may be larger


def check_seeding(names: Sequence[str]) -> None:
    """See that every dotted name of a `_seeding_` list can be called; a trailing `?` makes it optional.

    Raises:
        UnknownName, ImportFailed, InvalidType: one cannot; several are reported together.
    """
    errors: list[MachinableError] = []
    for name in names:
        try:
            _function(name)
        except MachinableError as error:
            errors.append(error)
    SeveralErrors.raise_any(errors)


def _function(name: str) -> Callable[[int], Any] | None:
    """What a dotted name means; None for an optional one that is not there."""
    try:
        found = _resolve(name.removesuffix("?"))
    except MachinableError:
        if name.endswith("?"):
            return None
        raise
    if not callable(found):
        raise InvalidType(
            f"{name!r} in the list of seeding is a {type(found).__name__} and cannot be called",
            given=name,
            todo="Name a function of one argument, such as random.seed.",
        )
    return found  # type: ignore[no-any-return]


def _resolve(name: str) -> Any:
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = ".".join(parts[:length])
        try:
            found: Any = importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name is not None and f"{module}.".startswith(f"{error.name}."):
                continue
            raise _failed(name, error) from error
        except (Exception, SystemExit) as error:
            raise _failed(name, error) from error
        for part in parts[length:]:
            if not hasattr(found, part):
                known = [f"{module}.{n}" for n in dir(found) if n[:1] != "_"]
                raise UnknownName("function for seeding", name, known if length == len(parts) - 1 else ())
            found = getattr(found, part)
        return found
    raise ImportFailed(
        f"{name!r} in the list of seeding cannot be imported",
        given=name,
        todo="Install it, or write it as optional: " + repr(f"{name}?"),
    )


def _failed(name: str, error: BaseException) -> ImportFailed:
    return ImportFailed(f"{name!r} in the list of seeding does not import: {type(error).__name__}: {error}", given=name)


class Seeding:
    """Seeds generators during one trial.

    Args:
        names: dotted callables; None: those of `DEFAULT`, of which none is imported for that.
        seed: the trial's seed.

    Attributes:
        applied: the dotted names of what has got the seed, or gets it as soon as it is imported. It does not depend on
            what else this process has imported, so it is the same wherever the trial runs.
    """

    def __init__(self, names: Sequence[str] | None, seed: int) -> None:
        self._names = names
        self._seed = self._current = seed
        self._watcher: _Watcher | None = None
        self.applied: list[str] = []

    def predicted(self) -> list[str]:
        """What will be applied, if nobody refuses."""
        if self._names is not None:
            return [name.removesuffix("?") for name in self._names if _function(name) is not None]
        return [f"{module}.{function}" for module, function in DEFAULT.items()]

    def apply(self, seed: int | None = None) -> None:
        """Seed now, by default with the trial's seed; what is imported later gets the seed used last."""
        self._current = self._seed if seed is None else seed
        self.applied = self.predicted()
        if self._names is not None:
            for name in self._names:
                function = _function(name)
                if function is not None:
                    function(self._current)
            return
        missing = []
        for module in DEFAULT:
            if module == "random":
                import random

                random.seed(self._current)
            elif module in sys.modules:
                self._seed_module(module)
            else:
                missing.append(module)
        if missing and self._watcher is None:
            self._watcher = _Watcher(missing, self._seed_module)
            sys.meta_path.insert(0, self._watcher)

    def _seed_module(self, name: str) -> None:
        found: Any = sys.modules.get(name)
        for part in DEFAULT[name].split("."):
            found = getattr(found, part, None)
        if callable(found):  # something else may bear that name
            found(self._current % _NUMPY_LIMIT if name == "numpy.random" else self._current)

    def close(self) -> None:
        """Do not watch imports any longer."""
        if self._watcher is not None and self._watcher in sys.meta_path:
            sys.meta_path.remove(self._watcher)
        self._watcher = None


class _Watcher:
    """Finds modules as all others do, and tells when one of some names has been imported."""

    def __init__(self, names: Sequence[str], imported: Callable[[str], None]) -> None:
        self._names = frozenset(names)
        self._imported = imported

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> ModuleSpec | None:
        if name not in self._names:
            return None
        for finder in sys.meta_path:
            if finder is not self and hasattr(finder, "find_spec"):
                spec = finder.find_spec(name, path, target)
                if spec is not None:
                    if hasattr(spec.loader, "exec_module"):
                        spec.loader = _Loader(spec.loader, self._imported)  # type: ignore[assignment]
                    return spec
        return None


class _Loader:
    """The loader of a module, which steps aside before the module runs and tells when it has."""

    def __init__(self, loader: Any, imported: Callable[[str], None]) -> None:
        self._loader = loader
        self._imported = imported

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)  # type: ignore[no-any-return]

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._imported(module.__name__)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)


def states(seed: int) -> dict[str, Plain]:
    """The states of the generators of `random` and, if they are imported, of numpy and torch, as plain data.

    Args:
        seed: that of the trial. numpy is left out as long as it is as this seed has left it: whether somebody else has
            imported it must not show in what a trial stores.
    """
    import random

    version, numbers, gauss = random.getstate()
    found: dict[str, Plain] = {"random": [version, _text(numbers), gauss]}
    numpy, torch = _imported("numpy.random", "get_state"), _imported("torch", "get_rng_state")
    if numpy is not None:
        state = numpy.get_state(legacy=False)
        if state["bit_generator"] == "MT19937":  # nobody has put another one in its place
            said = _of_numpy(state)
            if said != _of_numpy(numpy.RandomState(seed % _NUMPY_LIMIT).get_state(legacy=False)):
                found["numpy.random"] = said
    if torch is not None:
        found["torch"] = base64.b64encode(bytes(torch.get_rng_state().tolist())).decode("ascii")
    return found


def put_back(found: Mapping[str, Plain], seed: int) -> None:
    """Set the generators to the states that `states` gave, with the same seed."""
    import random

    version, numbers, gauss = found["random"]
    random.setstate((version, tuple(_numbers(numbers)), gauss))
    if "numpy.random" in found:
        import numpy

        words, position, has_gauss, gauss = found["numpy.random"]
        numpy.random.set_state(("MT19937", numpy.array(_numbers(words), "uint32"), position, has_gauss, gauss))
    elif (imported := _imported("numpy.random", "seed")) is not None:
        imported.seed(seed % _NUMPY_LIMIT)
    if "torch" in found:
        torch: Any = importlib.import_module("torch")  # which need not be installed where this is checked
        state = list(base64.b64decode(found["torch"]))
        torch.set_rng_state(torch.tensor(state, dtype=torch.uint8))


def _of_numpy(state: Mapping[str, Any]) -> list[Plain]:
    words, position = state["state"]["key"].tolist(), int(state["state"]["pos"])
    return [_text(words), position, int(state["has_gauss"]), float(state["gauss"])]


def _imported(name: str, function: str) -> Any:
    module = sys.modules.get(name)
    return module if callable(getattr(module, function, None)) else None


def _text(numbers: Any) -> str:
    return base64.b64encode(array("I", numbers).tobytes()).decode("ascii")


def _numbers(text: str) -> list[int]:
    return array("I", base64.b64decode(text)).tolist()
