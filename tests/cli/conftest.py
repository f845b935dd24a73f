"""A project in its own directory, and the command line inside this process."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from machinable.cli import main


class Ran(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """What it wrote as one JSON document."""
        return json.loads(self.out)


Run = Callable[..., Ran]

YAML = """\
mixins:
  - loader: {data: {name: mnist, batch: 8}}
components:
  - base:
      _mixins_: loader
      rate: 0.1
      _token: ${TOKEN:-hush}
      ~fast:
        rate: 0.5
        ~big: {data: {batch: 512}}
  - train^base=tr:
      layers: [1, 2]
      half: $self.rate
      ~deep: {layers: [1, 2, 3]}
"""
TRAIN = """\
from machinable import Component


class Train(Component):
    def on_execute(self):
        print("training")
        self.log.info("rate %s", self.config.rate)
        self.record["loss"] = self.config.rate * 2
        self.record["note"] = "ok"
        self.record.save()
        self.store.write("model.json", {"rate": self.config.rate})
        if self.flags.get("REPEAT_NUMBER") in self.config.get("fails", []):
            raise ValueError("no good")
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a component, without user settings."""
    for name in list(os.environ):
        if name.startswith("MACHINABLE_"):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NO_COLOR", "1")
    directory = tmp_path / "project"
    directory.mkdir()
    (directory / "machinable.yaml").write_text(YAML)
    (directory / "train.py").write_text(TRAIN)
    (directory / "base.py").write_text(TRAIN.replace("Train", "Base"))
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def run(project: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs a command in this process."""

    def run(*words: str) -> Ran:
        capfd.readouterr()
        code = main(words)
        return Ran(code, *capfd.readouterr())

    return run
