"""Text for people never controls the terminal."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import machinable
from machinable.display.terminal import echo, escaped

ENGINE = Path(machinable.__file__).parent


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("ünï — 漢字 🙂\ttab\nline\n", "ünï — 漢字 🙂\ttab\nline\n"),
        ("a\u00a0b", "a\u00a0b"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("\x1b[2J\x1b[H", "\\x1b[2J\\x1b[H"),
        ("\x1b[31mred\x1b[0m \x1b[38;2;1;2;3mblue\x1b[m", "red blue"),
        ("\x1b[8mconcealed", "concealed"),
        ("\x9b31m\x9d0;t\x9c\x85", "\\x9b31m\\x9d0;t\\x9c\\x85"),
        ("\x1bP1$r\x1b\\", "\\x1bP1$r\\x1b\\"),
        ("10%\r20%\r\n", "10%\n20%\n"),
        ("a\x08\x08\x7f\0", "a\\x08\\x08\\x7f\\x00"),
        ("abc\u202edcb\u2066\u200f", "abc\\u202edcb\\u2066\\u200f"),
        ("zero\u200bwidth\ufeff", "zero\\u200bwidth\\ufeff"),
        ("line\u2028end", "line\\u2028end"),
        ("\udc9b", "\\udc9b"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_what_a_terminal_would_interpret_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


def test_a_text_is_written_with_what_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    echo("a\x1bc")
    echo()
    echo("b", end="")
    assert capsys.readouterr().out == "a\\x1bc\n\nb"


# Where plain writes remain: of help and versions, whose texts are ours, of escaped cells, JSON and scripts.
ALLOWED = {
    "cli/main.py": 3,
    "cli/output.py": 1,
    "cli/background.py": 1,  # a JSON document
    "cli/completion.py": 1,
    "cli/schema.py": 1,
    "display/terminal.py": 1,
}


@pytest.mark.parametrize("package", ["cli", "display", "execution", "replay", "results"])
def test_everything_for_people_is_written_by_one_function(package: str) -> None:
    found: dict[str, int] = {}
    for file in sorted((ENGINE / package).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "print",
                "sys.stdout.write",
                "sys.stderr.write",
                "click.echo",
            ):
                name = file.relative_to(ENGINE).as_posix()
                found[name] = found.get(name, 0) + 1
    assert found == {name: number for name, number in ALLOWED.items() if name.startswith(f"{package}/")}
