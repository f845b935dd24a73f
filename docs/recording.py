"""Make the terminal recording of the README: `python -m docs.recording` runs its commands and writes the SVG.

The files are those of the README, and the output is that of a real run.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FILE = ROOT / "docs" / "_static" / "recording.svg"
COMMANDS = (
    "machinable execute descent @fast --repeat 5 --storage ./results --seed OY1p1o",
    "machinable trials OY1p1o --storage ./results --by config.rate",
    "machinable reproduce OY1p1o --storage ./results --quiet",
)
WIDTH = 92


def files_of_readme() -> dict[str, str]:
    """Return the files that the README shows, by name."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return dict(re.findall(r"^`([\w.]+)`[^\n]*:\n\n```\w+\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE))


def record() -> str:
    """Run the commands in a new project and return the SVG."""
    from rich.console import Console
    from rich.text import Text

    console = Console(record=True, width=WIDTH, file=io.StringIO())
    with tempfile.TemporaryDirectory() as directory:
        for name, text in files_of_readme().items():
            Path(directory, name).write_text(text, encoding="utf-8")
        kept = {name: value for name, value in os.environ.items() if not name.startswith("MACHINABLE_")}
        environment = {**kept, "FORCE_COLOR": "1", "COLUMNS": str(WIDTH), "PYTHONPATH": str(ROOT / "engine")}
        for command in COMMANDS:
            console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
            words = [sys.executable, "-m", *command.split()]
            done = subprocess.run(
                words, cwd=directory, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True
            )
            shown = done.stdout.decode().replace(os.path.realpath(directory), "/home/ada/demo").rstrip("\n")
            console.print(Text.from_ansi(shown), end="\n\n" if command is not COMMANDS[-1] else "\n")
    svg = console.export_svg(title="machinable", unique_id="recording")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)  # no requests to other sites
    svg = svg.replace("Fira Code, monospace", "ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace")
    return "\n".join(line.rstrip() for line in svg.splitlines()) + "\n"


def text_of(svg: str) -> str:
    """Return the words of a recording in the order in which they are drawn."""
    return " ".join(re.findall(r"<text [^>]*>([^<]*)</text>", svg)).replace("&#160;", " ")


if __name__ == "__main__":
    FILE.write_text(record(), encoding="utf-8")
    print(f"wrote {FILE.relative_to(ROOT)}")
