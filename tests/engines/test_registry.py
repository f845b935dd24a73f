"""Engines from names, mappings, classes and objects."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from machinable.engines import registry
from machinable.engines.local import DryEngine, LocalEngine
from machinable.engines.processes.pool import ProcessesEngine
from machinable.errors import ImportFailed, InvalidType, InvalidValue, UnknownName


@pytest.mark.parametrize(
    ("given", "kind", "slots"),
    [
        (None, LocalEngine, 1),
        ("local", LocalEngine, 1),
        ("dry", DryEngine, 0),
        ("processes:3", ProcessesEngine, 3),
        ({"type": "processes", "slots": 5}, ProcessesEngine, 5),
        ({"type": LocalEngine}, LocalEngine, 1),
        (LocalEngine, LocalEngine, 1),
    ],
)
def test_an_engine_is_made_from_a_name_a_mapping_or_a_class(given: object, kind: type, slots: int) -> None:
    engine = registry.make(given)

    assert (type(engine), engine.slots) == (kind, slots)


class Writing(LocalEngine):
    """An engine that takes a path."""

    paths = frozenset({"folder"})

    def __init__(self, folder: str | None = None, other: str = "x") -> None:
        self.folder, self.other = folder, other


@pytest.mark.parametrize(
    ("options", "folder"),
    [
        ({"folder": "../jobs"}, "/projects/jobs"),
        ({"folder": "/jobs"}, "/jobs"),
        ({"folder": "~/j"}, "HOME/j"),
        ({}, None),
    ],
)
def test_paths_of_an_engine_are_relative_to_the_project(
    options: dict[str, str], folder: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/home/ada")
    engine: Any = registry.make({"type": Writing, "other": "../x", **options}, "/projects/one")
    assert engine.folder == (folder.replace("HOME", "/home/ada") if folder else None)
    assert engine.other == "../x"


def test_an_engine_object_is_used_as_it_is() -> None:
    engine = LocalEngine()

    assert registry.make(engine) is engine


@pytest.mark.parametrize(
    ("given", "kind", "message"),
    [
        ("proceses", UnknownName, "no engine named 'proceses'\n  Did you mean 'processes'?"),
        ("local:2", InvalidValue, "the engine 'local' takes no '2'\n  It takes: nothing."),
        (
            {"type": "processes", "slot": 2},
            InvalidValue,
            "the engine 'processes' takes no slot\n  Did you mean 'slots'?",
        ),
        ({"type": "processes", "x": 2}, InvalidValue, "the engine 'processes' takes no x\n  It takes: slots, recycle."),
        ({"slots": 2}, InvalidValue, "the engine has no `type`\n  Write {'type': 'local'}."),
        (
            "processes:many",
            InvalidValue,
            "slots of the engine 'processes' is 'many'\n  Give a whole number of at least 1.",
        ),
        (
            3,
            InvalidType,
            "3 is not an engine\n  Give 'local', 'processes', 'ray', 'slurm', 'dry', a mapping with `type`, "
            "or an instance of a subclass of machinable.Engine.",
        ),
    ],
)
def test_invalid_engines_are_errors(given: object, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind) as caught:
        registry.make(given)

    assert str(caught.value) == message


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Install a package that adds engines."""
    information = tmp_path / "plug-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 1.0\n")
    (information / "entry_points.txt").write_text(
        "[machinable.engines]\nplugged = machinable_plug:Plugged\nbroken = machinable_plug_missing:X\n"
        "none = machinable_plug:function\nlocal = machinable_plug:Plugged\n"
    )
    (tmp_path / "machinable_plug.py").write_text(
        "from machinable.engines.local import LocalEngine\n\n\nclass Plugged(LocalEngine):\n"
        "    def __init__(self, slots=1):\n        self.slots = int(slots)\n\n\ndef function():\n    return 1\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return tmp_path


def test_packages_add_engines_but_do_not_replace_ours(package: Path) -> None:
    assert (type(registry.make("plugged:4")).__name__, registry.make("plugged:4").slots) == ("Plugged", 4)
    assert type(registry.make("local")) is LocalEngine


def test_engines_of_packages_are_listed_among_the_known_names(package: Path) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'plugged'"):
        registry.make("pluged")


def test_an_engine_of_a_package_that_does_not_import_is_an_error_with_its_place(package: Path) -> None:
    with pytest.raises(
        ImportFailed, match="the engine 'broken' cannot be imported from machinable_plug_missing:X: Module"
    ):
        registry.make("broken")


def test_an_engine_of_a_package_must_be_an_engine(package: Path) -> None:
    with pytest.raises(InvalidType, match="1 is not an engine"):
        registry.make("none")


def test_installed_packages_are_not_searched_for_known_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **group: pytest.fail("searched"))

    registry.make("processes:1")


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("slots", "2", "slots of the engine Wrong is '2'\n  It must be a whole number of at least 1."),
        ("slots", 0, "slots of the engine Wrong is 0\n  It must be a whole number of at least 1."),
        ("slots", True, "slots of the engine Wrong is True\n  It must be a whole number of at least 1."),
        ("reach", "moon", "reach of the engine Wrong is 'moon'\n  It must be one of 'process', 'host', 'anywhere'."),
        ("name", None, "name of the engine Wrong is None\n  It must be a text."),
    ],
)
def test_invalid_attributes_of_an_engine_are_errors(attribute: str, value: object, message: str) -> None:
    class Wrong(LocalEngine):
        pass

    setattr(Wrong, attribute, value)

    with pytest.raises(InvalidValue) as caught:
        registry.make(Wrong())
    assert str(caught.value) == message
