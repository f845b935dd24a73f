"""Source and documentation use plain, standard English: words that only this project used do not come back."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WORDS = (
    "afterlife",
    "as far as",
    "at the door",
    "brings? home",
    "by way of",
    "comes? home",
    "errand",
    "everybody",
    "has the last word",
    "luggage",
    "meanwhile",
    "namesakes?",
    "nobody",
    "of (its|their) own",
    "parcel",
    "refuge",
    "shall",
    "somebody",
    "starved",
    "told",
    "travels? home",
    "whence",
    "whoever",
    "wish(es)?",
)
PATTERN = re.compile(rf"\b(?:{'|'.join(WORDS)})\b".replace(" ", r"\s+(?:#\s+)?"), re.IGNORECASE)
FILES = sorted(
    file
    for pattern in (
        "*.md",
        "*.yaml",
        ".ci/run",
        "benchmarks/**/*.*",
        "docs/**/*.*",
        "engine/**/*.py",
        "engine/**/*.html",
        "examples/**/*.*",
    )
    for file in ROOT.glob(pattern)
    if file.suffix in ("", ".html", ".md", ".py", ".yaml")
)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(ROOT).as_posix())
def test_words_are_plain_english(file: Path) -> None:
    text = file.read_text(encoding="utf-8")

    found = [f"line {text.count(chr(10), 0, match.start()) + 1}: {match[0]}" for match in PATTERN.finditer(text)]

    assert found == []


def test_words_are_found_across_lines_of_a_comment() -> None:
    assert [match[0] for match in PATTERN.finditer("# a directory of\n    # its own, as Told")] == [
        "of\n    # its own",
        "Told",
    ]
