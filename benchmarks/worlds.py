"""Write the projects that are measured."""

from __future__ import annotations

from pathlib import Path

EMPTY = """from machinable import Component


class Empty(Component):
    pass
"""

ENTRY = """  - c{i}{parent}:
      learning_rate: 0.1
      batch: 32
      data: {{name: mnist, size: 10, path: /data/x}}
      test: $self.batch
      s: $.shared
      layers: [1, 2, 3]
      opt:
        name: adam
        beta: 0.9
        eps: 1e-8
      ~large: {{batch: 512}}
      ~small: {{batch: 5, data: {{name: tiny}}}}
      ~deep:
        layers: [1, 2, 3, 4]
        opt: {{name: sgd}}
"""


def with_components(directory: Path, count: int) -> str:
    """Write a project of `count` components with parents, versions and references, and return its text."""
    entries = (ENTRY.format(i=i, parent=f"^c{i - 1}" if i % 5 else "") for i in range(count))
    text = "shared: {x: 1}\ncomponents:\n" + "".join(entries)
    (directory / "machinable.yaml").write_text(text)
    return text


def with_an_empty_component(directory: Path) -> None:
    """Write a project with one component that does nothing."""
    (directory / "machinable.yaml").write_text("components:\n  - empty: {a: 1, b: {c: 2}}\n")
    (directory / "empty.py").write_text(EMPTY)


def with_a_rate(directory: Path) -> None:
    """Write a project with one component that saves one row."""
    (directory / "machinable.yaml").write_text(
        "components:\n  - rated: {rate: 0.1, layers: [64, 64], data: {name: mnist, size: 10}}\n"
    )
    (directory / "rated.py").write_text(
        "from machinable import Component\n\n\nclass Rated(Component):\n    def on_execute(self):\n"
        "        self.record['loss'] = self.flags.REPEAT_NUMBER / 7\n        self.record['accuracy'] = 0.5\n"
        "        self.record.save()\n"
    )


def with_requirements(directory: Path) -> None:
    """Write a project with a component that writes one artifact, and an empty one that can require it."""
    (directory / "machinable.yaml").write_text("components:\n  - part: {number: 0}\n  - whole: {}\n")
    (directory / "part.py").write_text(
        "from machinable import Component\n\n\nclass Part(Component):\n    def on_execute(self):\n"
        "        self.store.write('number.json', self.config.number)\n"
    )
    (directory / "whole.py").write_text(EMPTY.replace("Empty", "Whole"))
