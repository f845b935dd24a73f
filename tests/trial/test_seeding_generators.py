"""Random numbers that go on where they were."""

from __future__ import annotations

import json
import random
import subprocess
import sys

import numpy

from machinable.trial.seeding import put_back, states


def draws() -> list[float]:
    return [random.random(), random.gauss(0, 1), float(numpy.random.rand()), float(numpy.random.randn())]


def test_generators_go_on_where_they_were() -> None:
    random.gauss(0, 1)  # keeps a second number for later, and so does numpy
    numpy.random.randn()
    stored = json.loads(json.dumps(states(57)))
    first = draws()
    draws()
    put_back(stored, 57)
    assert draws() == first


def test_what_nobody_has_used_since_it_was_seeded_is_not_kept() -> None:
    random.seed(57)
    numpy.random.seed(57)
    stored = states(57)
    first = draws()
    assert list(stored) == ["random"]
    assert list(states(57)) == ["random", "numpy.random"]
    put_back(stored, 57)
    assert draws() == first


def test_another_generator_of_numpy_is_left_alone() -> None:
    before = numpy.random.get_bit_generator()
    numpy.random.set_bit_generator(numpy.random.PCG64(1))
    try:
        assert list(states(57)) == ["random"]
    finally:
        numpy.random.set_bit_generator(before)


def test_nothing_is_imported_for_it() -> None:
    script = (
        "import sys; from machinable.trial.seeding import put_back, states\n"
        "found = states(57); put_back(found, 57)\n"
        "print(list(found), 'numpy' in sys.modules, 'torch' in sys.modules)"
    )
    printed = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert printed.stdout == "['random'] False False\n"
