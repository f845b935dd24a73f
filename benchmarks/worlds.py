"""Projects of the sizes that are measured."""

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
    """A project of so many components: chains of five, three versions each, two references. Gives its text."""
    entries = (ENTRY.format(i=i, parent=f"^c{i - 1}" if i % 5 else "") for i in range(count))
    text = "shared: {x: 1}\ncomponents:\n" + "".join(entries)
    (directory / "machinable.yaml").write_text(text)
    return text


def with_an_empty_component(directory: Path) -> None:
    """A project whose one component does nothing."""
    (directory / "machinable.yaml").write_text("components:\n  - empty: {a: 1, b: {c: 2}}\n")
    (directory / "empty.py").write_text(EMPTY)
