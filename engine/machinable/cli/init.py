"""`machinable init`: a small project that works."""

from __future__ import annotations

import os

import click

from machinable.cli.output import tell

__all__ = ["command"]

PROJECT = """\
# What runs here. Try
#   machinable config pi @precise
#   machinable execute pi --repeat 3
#   machinable list
components:
  - pi:                       # the code is the class in pi.py
      points: 10000

      # A key with ~ is a version: what it changes when it is asked for.
      ~precise:
        points: 1000000

execution:
  storage: results            # where executions are kept; relative to this file
"""

COMPONENT = '''\
"""Estimates pi by throwing points at a square."""

import random

from machinable import Component


class Pi(Component):
    def on_execute(self):
        inside = 0
        for _ in range(self.config.points):
            inside += random.random() ** 2 + random.random() ** 2 < 1
        self.record["pi"] = 4 * inside / self.config.points
        self.record.save()
'''

IGNORED = "results/\n__pycache__/\n"


@click.command("init")
@click.argument("directory", default=".", metavar="[DIR]")
def command(directory: str) -> None:
    """Begin a project in DIR (default: here). Nothing that is there is overwritten."""
    from machinable.errors import InvalidValue

    try:
        os.makedirs(directory, exist_ok=True)
    except OSError as error:
        raise InvalidValue(
            f"{directory!r} cannot be made: {error.strerror}", given=directory, todo="Give the name of a directory."
        ) from None
    files = {"machinable.yaml": PROJECT, "pi.py": COMPONENT}
    for name in files:
        if os.path.lexists(os.path.join(directory, name)):
            raise InvalidValue(
                f"{os.path.join(directory, name)} is there already",
                given=directory,
                todo="Nothing was written. Begin in another directory: machinable init DIR",
            )
    for name, text in files.items():
        _write(os.path.join(directory, name), text)
    ignored = os.path.join(directory, ".gitignore")
    if not os.path.lexists(ignored):
        _write(ignored, IGNORED)
    else:
        tell(f"{ignored} is left as it is; results/ belongs into it")
    where = [] if directory == "." else [f"cd {directory}"]
    tell("next: " + " && ".join([*where, "machinable execute pi --repeat 3"]))


def _write(path: str, text: str) -> None:
    with open(path, "x", encoding="utf-8", newline="\n") as file:
        file.write(text)
    tell(f"wrote {path}")
