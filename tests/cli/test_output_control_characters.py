"""Characters that control a terminal are in everything that is stored, and no command writes one."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest

from tests.cli.conftest import Run

# An escape sequence, one of 8 bits, and one that reverses the direction of text.
CONTROL = "\x1b]0;title\x07\x1b[2J\x9b5m\u202e\x7f"

PROJECT = {
    "machinable.yaml": json.dumps(
        {"components": [{"job": {"fails": False, f"key{CONTROL}": f"value{CONTROL}", "plain": 1}}]}
    ),
    "job.py": f"""
import warnings
from machinable import Component

CONTROL = {CONTROL!r}


class Job(Component):
    def on_execute(self):
        print("printed" + CONTROL)
        self.log.info("logged" + CONTROL)
        self.record["loss" + CONTROL] = "row" + CONTROL
        self.record.save()
        self.record.scope("scope")["x" + CONTROL] = 1
        self.record.scope("scope").save()
        self.store.write("name\\x1b[31m\\u202e.json", [CONTROL])
        if self.config.fails:
            raise ValueError("failed" + CONTROL)
        return {{"result" + CONTROL: CONTROL}}
""",
}


def check(text: str) -> None:
    for line in text.split("\n"):
        for character in line.replace("\t", ""):
            assert character.isprintable() or unicodedata.category(character) == "Zs", ascii(line)


@pytest.fixture
def stored(run: Run, project: Path) -> list[str]:
    for name, text in PROJECT.items():
        (project / name).write_text(text)
    check(run("execute", "job", "--name", f"n{CONTROL}", "--storage", "out", "--seed", "OY1p1o").err)
    failed = run("execute", "job", "fails=true", "plain=2", "--storage", "out", "--seed", "OY1p1p")
    assert failed.code == 1
    check((failed.out + failed.err).replace(f"printed{CONTROL}\n", ""))
    return [next((project / "out" / name / "trials").iterdir()).name for name in ("OY1p1o", "OY1p1p")]


def test_no_command_that_reads_a_storage_writes_control_characters(run: Run, project: Path, stored: list[str]) -> None:
    good, bad = (f"{name}/{uid}" for name, uid in zip(("OY1p1o", "OY1p1p"), stored, strict=True))
    for words in (
        ["list"],
        ["show", "OY1p1o"],
        ["show", "OY1p1p"],
        ["show", good],
        ["show", bad],
        ["show", good, "--log"],
        ["show", good, "--output"],
        ["tail", "OY1p1o"],
        ["tail", bad, "-n", "100"],
        ["compare", "OY1p1o", "OY1p1p"],
        ["compare", good, bad, "--wide"],
        ["diff", good, bad],
        ["diff", "OY1p1o", "OY1p1p"],
        ["verify"],
        ["report", "OY1p1o", "OY1p1p", "--to", "-"],
        ["reproduce", "OY1p1o"],
        ["export", "OY1p1o", "--to", "exported"],
        ["restore", "OY1p1o", "restored"],
        ["clean", "OY1p1o"],
        ["resume", "OY1p1p", "--dry"],
    ):
        ran = run(*words, "--storage", "out")
        assert ran.code in (0, 1), ran.err
        check(ran.out + ran.err)
        if words[0] not in ("restore", "resume", "export"):
            check(run(*words, "--storage", "out", "--json").out if "-" not in words else "")


def test_names_that_were_put_into_a_storage_control_nothing(run: Run, project: Path, stored: list[str]) -> None:
    folder = project / "out/OY1p1o"
    for file in (folder / "execution.json", folder / "plan.jsonl", folder / "ledger.jsonl"):
        text = file.read_text()
        for key in ("component", "module", "version", "status", "error", "python", "host", "commit", "id"):
            text = text.replace(f'"{key}": "', f'"{key}": "{json.dumps(CONTROL)[1:-1]}')
        file.write_text(text)
    (project / f"out/OY1p1o/trials/{CONTROL}").mkdir()
    (project / f"out/{CONTROL}").mkdir()
    (project / f"out/{CONTROL}/execution.json").write_text("{" + CONTROL)
    for words in (["list"], ["show", "OY1p1o"], ["tail", "OY1p1o"], ["verify"], ["diff", "OY1p1o", "OY1p1p"]):
        ran = run(*words, "--storage", "out")
        check(ran.out + ran.err)


def test_no_command_that_reads_a_project_writes_control_characters(run: Run, project: Path) -> None:
    for name, text in PROJECT.items():
        (project / name).write_text(text)
    for words in (
        ["config", "job"],
        ["config", "job", "--explain", f"key{CONTROL}"],
        ["config", "job", "x=1", "--diff", "x=2"],
        ["config", f"job{CONTROL}"],
        ["config", "job", f"@none{CONTROL}"],
        ["versions", "job"],
        ["check"],
        ["schema"],
        ["execute", "job", "--dry"],
        ["show", f"A{CONTROL}", "--storage", f"no{CONTROL}"],
    ):
        ran = run(*words)
        check(ran.out + ran.err)
    (project / "machinable.yaml").write_text(f"components: [{{job: {{a: '{CONTROL!a}'}}]\n{CONTROL}")
    check(run("check").out + run("config", "job").err)
