"""Random number generators are seeded, and their states saved and restored."""

from __future__ import annotations

import importlib
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from typing import Any

import numpy
import pytest

from machinable.component.base import Component
from machinable.errors import ImportFailed, InvalidType, SeveralErrors, UnknownName
from machinable.trial import seeding
from machinable.trial.seeding import Seeding, check_seeding, restore, states
from tests.component.worlds import World, spec

DEFAULT_NAMES = ["random.seed", "numpy.random.seed", "torch.manual_seed", "tensorflow.random.set_seed"]
SEED = 1884819273
LIBRARY = "SEEDS = []\n\n\ndef {name}(seed):\n    SEEDS.append(seed)\n"


@pytest.fixture
def libraries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Small libraries with the names of large ones; none of them is imported yet."""
    (tmp_path / "torch.py").write_text(LIBRARY.format(name="manual_seed"))
    (tmp_path / "tensorflow.py").write_text("class random:\n    SEEDS = []\n    set_seed = SEEDS.append\n")
    (tmp_path / "mylib").mkdir()
    (tmp_path / "mylib" / "__init__.py").write_text("")
    (tmp_path / "mylib" / "rng.py").write_text(LIBRARY.format(name="seed_everything") + "NUMBER = 1\n")
    (tmp_path / "broken.py").write_text("import no_such_module_here\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("torch", "tensorflow", "mylib", "mylib.rng", "broken")
    for name in names:
        monkeypatch.delitem(sys.modules, name, raising=False)
    finders = list(sys.meta_path)
    yield tmp_path
    for name in names:
        sys.modules.pop(name, None)
    assert sys.meta_path == finders


class Draws(Component):
    def on_create(self) -> None:
        self.first = random.random()

    def on_execute(self) -> object:
        return self.first


def test_the_first_number_of_a_seed_is_always_the_same() -> None:
    assert World(Draws).ended.result == 0.5384493253233003


def test_imported_libraries_are_seeded_immediately_and_no_others_are_imported(libraries: Path) -> None:
    import torch  # type: ignore[import-not-found,unused-ignore]

    seeds = Seeding(None, SEED)
    assert (seeds.predicted(), seeds.applied) == (DEFAULT_NAMES, [])
    seeds.apply()
    seeds.close()

    assert (torch.SEEDS, "tensorflow" in sys.modules) == ([SEED], False)
    assert seeds.applied == DEFAULT_NAMES  # what is imported here or not is not noted: it is another story elsewhere


def test_a_library_is_seeded_right_after_its_first_import(libraries: Path) -> None:
    seen: list[Any] = []

    class Imports(Component):
        def on_execute(self) -> None:
            import tensorflow  # type: ignore[import-not-found,import-untyped,unused-ignore]
            import torch

            importlib.import_module("torch")
            seen.extend([list(torch.SEEDS), list(tensorflow.random.SEEDS)])
            seen.append((type(torch.__loader__), type(torch.__spec__.loader)))
            self.set_seed(5)
            seen.append(torch.SEEDS)
            raise ValueError

    world = World(Imports)

    assert seen == [[SEED], [SEED], (SourceFileLoader, SourceFileLoader), [SEED, 5]]
    assert world.json("trial.json")["seeding"] == DEFAULT_NAMES


def test_libraries_that_are_imported_after_the_trial_are_not_seeded(libraries: Path) -> None:
    World(Component)
    import torch

    assert torch.SEEDS == []


def test_numpy_is_seeded_with_a_large_seed_reduced_to_32_bits() -> None:
    numpy = pytest.importorskip("numpy")
    importlib.import_module("numpy.random")

    class Numbers(Component):
        def on_execute(self) -> object:
            return float(numpy.random.random())

    assert World(Numbers).ended.result == numpy.random.RandomState(SEED).random_sample()
    seeds = Seeding(None, 2**32 + 7)
    seeds.apply()
    seeds.close()
    assert numpy.random.random() == numpy.random.RandomState(7).random_sample()


def test_a_seeding_list_replaces_the_default(libraries: Path) -> None:
    import torch

    names = ("mylib.rng.seed_everything", "absent.seed?", "mylib.nothing?", "random.seed?")
    world = World(Draws, spec(seeding=names))
    rng = importlib.import_module("mylib.rng")

    assert (rng.SEEDS, torch.SEEDS, world.ended.result) == ([SEED], [], 0.5384493253233003)
    assert world.json("trial.json")["seeding"] == ["mylib.rng.seed_everything", "random.seed"]


def test_on_seeding_can_replace_seeding(libraries: Path) -> None:
    class Own(Component):
        def on_seeding(self) -> bool:
            random.seed(1)
            return False

        def on_execute(self) -> object:
            return random.random()

    world = World(Own)

    assert (world.ended.result, world.json("trial.json")["seeding"]) == (random.Random(1).random(), [])


def test_set_seed_applies_a_seed_again() -> None:
    class Again(Component):
        def on_execute(self) -> object:
            random.random()
            self.set_seed()
            first = random.random()
            self.set_seed(57)
            return [first, random.random()]

    assert World(Again).ended.result == [0.5384493253233003, random.Random(57).random()]


def test_another_module_of_the_same_name_is_not_seeded(libraries: Path) -> None:
    (libraries / "torch.py").write_text("WHAT = 'a lamp'\n")

    class Imports(Component):
        def on_execute(self) -> object:
            import torch

            return torch.WHAT

    assert World(Imports).ended.result == "a lamp"


def test_a_name_that_cannot_be_called_is_found_before_the_start(libraries: Path) -> None:
    check_seeding(["random.seed", "mylib.rng.seed_everything", "nowhere.seed?", "mylib.rng.SEEDS.append"])
    with pytest.raises(UnknownName, match=r"Did you mean 'mylib\.rng\.seed_everything'"):
        check_seeding(["mylib.rng.seed_everythin"])
    with pytest.raises(InvalidType, match="is not a function but of type int"):
        check_seeding(["mylib.rng.NUMBER"])
    with pytest.raises(InvalidType, match="of type module"):
        check_seeding(["mylib.rng"])
    with pytest.raises(ImportFailed, match="No module named 'no_such_module_here'"):
        check_seeding(["broken.seed"])
    with pytest.raises(SeveralErrors) as caught:
        check_seeding(["nowhere.seed", "seed"])
    assert [type(error) for error in caught.value.errors] == [ImportFailed, ImportFailed]
    assert "write it as optional: 'nowhere.seed?'" in str(caught.value)


def test_a_trial_does_not_import_numpy_for_its_seed() -> None:
    import subprocess

    program = (
        "import sys; from machinable.trial.seeding import Seeding\n"
        "seeds = Seeding(None, 5); seeds.apply()\n"
        "assert not {'numpy', 'torch', 'tensorflow'} & set(sys.modules)\n"
        "import numpy.random\n"
        "print(numpy.random.random() == numpy.random.RandomState(5).random_sample())\n"
        "seeds.close(); print(any(type(f).__module__ == 'machinable.trial.seeding' for f in sys.meta_path))"
    )
    source = str(Path(seeding.__file__).parents[2])
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env={"PYTHONPATH": source}, check=False
    )

    assert (result.stdout, result.stderr) == ("True\nFalse\n", "")


def draws() -> list[float]:
    return [random.random(), random.gauss(0, 1), float(numpy.random.rand()), float(numpy.random.randn())]


def test_generators_continue_from_their_restored_states() -> None:
    random.gauss(0, 1)  # keeps a second number for later, and so does numpy
    numpy.random.randn()
    stored = json.loads(json.dumps(states(57)))
    first = draws()
    draws()
    restore(stored, 57)
    assert draws() == first


def test_states_that_are_unused_since_seeding_are_not_stored() -> None:
    random.seed(57)
    numpy.random.seed(57)
    stored = states(57)
    first = draws()
    assert list(stored) == ["random"]
    assert list(states(57)) == ["random", "numpy.random"]
    restore(stored, 57)
    assert draws() == first


def test_a_replaced_generator_of_numpy_is_not_stored() -> None:
    before = numpy.random.get_bit_generator()
    numpy.random.set_bit_generator(numpy.random.PCG64(1))
    try:
        assert list(states(57)) == ["random"]
    finally:
        numpy.random.set_bit_generator(before)


def test_states_are_read_without_imports() -> None:
    script = (
        "import sys; from machinable.trial.seeding import restore, states\n"
        "found = states(57); restore(found, 57)\n"
        "print(list(found), 'numpy' in sys.modules, 'torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert printed.stdout == "['random'] False False\n"
