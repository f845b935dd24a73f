"""The documentation is correct: its code runs and prints what it shows, its links work, its tables are complete.

How a page is read:

* A block directly below a line that begins with a file's name in backticks and ends with a colon is that file.
* Python blocks of one page share names. `expression  # → text`, also with the comment in a line below, shows its
  repr.
* A text block directly below a Python block is what it prints, and at its end the error that it raises, if it does.
* In a console block, lines that begin with `$ ` are commands and the lines below them what they show; without any
  such line all lines are commands. Each ends with exit code 0 unless `$ echo $?` shows another one.
* Commands in a bash block need several hosts; those that can be run are in tests/journeys/test_ray_hosts.py.
* A block in braces, such as `{toctree}`, is a directive of the site, which tests/test_site.py builds.
* A picture of `_static/` that a command of the page writes, too, is compared with what it has written.
* `…` in what is expected stands for anything within a line, alone on a line for any lines. Times, durations, the
  working directory and the widths of columns may differ.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import json
import logging
import os
import re
import shlex
import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import machinable as ml
from machinable.errors import MachinableError
from machinable.results.annotations import annotate
from machinable.storage import layout
from machinable.storage.locks import open_locks
from machinable.storage.open import open_files
from tests.test_floor_plan import FLOORS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(page for page in DOCS.rglob("*.md") if "_build" not in page.parts)]
SERVER = "http://127.0.0.1:9000"  # of object storage, in examples
INSTALLS = "python3 -m venv"  # such commands, and those below them, are compared, not run


class Block(NamedTuple):
    """A fenced block: first line, language, text, the text line above it, or the language of a block above it."""

    line: int
    language: str
    text: str
    above: str
    follows: str


def blocks_of(text: str) -> list[Block]:
    blocks: list[Block] = []
    lines = text.splitlines()
    start, above, follows = None, "", ""
    for number, line in enumerate(lines):
        if start is None and line.startswith("```"):
            start = number
        elif start is not None and line == "```":
            body = "\n".join(lines[start + 1 : number]) + "\n"
            blocks.append(Block(start + 1, lines[start][3:].strip(), body, above, follows))
            above, follows, start = "", blocks[-1].language, None
        elif start is None and line.strip():
            above, follows = line, ""
    assert start is None, f"the block in line {start} is not closed"
    return blocks


FILE = re.compile(r"`([^`\s]+\.(?:json|py|toml|yaml))`.*:")


def file_of(block: Block) -> str | None:
    match = FILE.fullmatch(block.above)
    return match[1] if match else None


def is_as_expected(shown: str, expected: str) -> bool:
    pattern = ""
    for line in expected.rstrip("\n").split("\n"):
        if line.strip() == "…":
            pattern += r"(?:[^\n]*\n)*?"
        else:
            pattern += ".*?".join(re.escape(part) for part in line.rstrip().split("…")) + r"[ ]*\n"
    return re.fullmatch(pattern, shown.rstrip("\n") + "\n") is not None


def normalized(text: str) -> str:
    """Return the text with one directory, one time, one duration, and columns separated by two spaces."""
    text = text.replace(os.getcwd(), "/home/ada/demo")
    text = re.sub(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}", "2026-01-31 09:15:02", text)
    text = re.sub(r"\b[0-9]+(\.[0-9]+)? (µs|ms|s)\b", "1 ms", text)
    return re.sub(r"(?<=\S) {2,}", "  ", text)


def compare(shown: str, expected: str, place: str) -> None:
    shown, expected = normalized(shown), normalized(expected)
    if not is_as_expected(shown, expected):
        assert shown == expected, f"{place} shows something else"
        pytest.fail(f"{place} shows something else")


class Reader:
    """Run a page like a reader who types all of it."""

    def __init__(self, page: Path, directory: Path) -> None:
        self.page = page
        self.directory = directory
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.exit_code = 0
        self.server = SERVER  # what answers in its place

    def read(self) -> None:
        blocks = blocks_of(self.page.read_text(encoding="utf-8").replace(SERVER, self.server))
        for block, following in zip(blocks, [*blocks[1:], None], strict=False):
            output = following.text if following and following.language == "text" and following.follows else None
            place = f"{self.page.name}:{block.line}"
            name = file_of(block)
            if name is not None:
                self.write(name, block.text)
            elif block.language == "python":
                self.run(block, output, place)
            elif block.language == "console":
                self.type(block, place)
            elif block.language == "json":
                json.loads(block.text)
            elif block.language == "bash" or block.language.startswith("{"):
                pass
            else:
                assert block.language == "text", f"{place}: {block.language} without a file name"
                assert block.follows or self.page.stem in ("storage-format", "architecture"), f"{place}: not checked"

    def write(self, name: str, text: str) -> None:
        file = self.directory / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        if name.endswith(".py"):  # commands of a reader run in new processes
            sys.modules.pop(file.stem, None)

    def run(self, block: Block, output: str | None, place: str) -> None:
        shown = io.StringIO()
        tree = ast.parse("\n" * block.line + block.text, str(self.page))
        lines = ("\n" * block.line + block.text).split("\n")
        with contextlib.redirect_stdout(shown):
            try:
                for statement in tree.body:
                    self.step(statement, lines, place)
            except MachinableError as error:
                if output is None:
                    raise
                print(f"{type(error).__name__}: {error}")
        if output is not None:
            compare(shown.getvalue(), output, place)

    def step(self, statement: ast.stmt, lines: list[str], place: str) -> None:
        assert statement.end_lineno is not None
        last, below = [*lines, ""][statement.end_lineno - 1 : statement.end_lineno + 1]
        _, arrow, expected = (below if below.startswith("# → ") else last).partition("# → ")
        if arrow and isinstance(statement, ast.Expr):
            value = eval(compile(ast.Expression(statement.value), place, "eval"), self.names)  # noqa: S307
            compare(repr(value), expected, f"{self.page.name}:{statement.lineno}")
        else:
            exec(compile(ast.Module([statement], []), str(self.page), "exec"), self.names)

    def type(self, block: Block, place: str) -> None:
        lines = block.text.splitlines()
        has_prompts = any(line.startswith("$ ") for line in lines)
        commands: list[tuple[str, list[str]]] = []
        for line in lines:
            if line.startswith("$ ") or not has_prompts:
                commands.append((line.removeprefix("$ "), []))
            else:
                commands[-1][1].append(line)
        for index, (command, expected) in enumerate(commands):
            if command == "echo $?":
                assert expected == [str(self.exit_code)], f"{place}: `{commands[index - 1][0]}`"
                continue
            if command.startswith(INSTALLS):
                break
            shown = self.command(command, place)
            if has_prompts:
                compare(shown, "\n".join(expected) + "\n", f"{place}: `{command}`")
            if index + 1 == len(commands) or commands[index + 1][0] != "echo $?":
                assert self.exit_code == 0, f"{place}: `{command}` ends with {self.exit_code}\n{shown}"

    def command(self, command: str, place: str) -> str:
        words = shlex.split(command)
        if words[0] == "export":
            os.environ.update(word.split("=", 1) for word in words[1:])
            return ""
        if words[0] == "machinable":
            shown, self.exit_code = typed(words[1:])
            return shown
        assert words[0] in ("python", "cat", "ls", "mkdir"), f"{place}: the command {words[0]} is not supported"
        program = [sys.executable] if words[0] == "python" else [words[0]]
        done = subprocess.run([*program, *words[1:]], capture_output=True, text=True, check=False, cwd=self.directory)
        self.exit_code = done.returncode
        return done.stdout + done.stderr


def typed(arguments: list[str]) -> tuple[str, int]:
    """Return what a command shows on both streams, and its exit code."""
    from machinable.cli import main

    shown = io.StringIO()
    before = sys.argv
    sys.argv = ["machinable", *arguments]
    try:
        with contextlib.redirect_stdout(shown), contextlib.redirect_stderr(shown), warnings.catch_warnings():
            warnings.simplefilter("default")  # they are shown, and so compared
            code = main()
    except SystemExit as end:
        code = end.code
    finally:
        sys.argv = before
    assert code is None or isinstance(code, int), code
    return shown.getvalue(), code or 0


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Make an empty working directory and a home directory without settings."""
    directory = tmp_path / "demo"
    directory.mkdir()
    (tmp_path / "home").mkdir()
    for name in [name for name in os.environ if name.startswith("MACHINABLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LOGNAME", "ada")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "engine"), str(directory)]))
    monkeypatch.chdir(directory)
    known, variables = set(sys.modules), dict(os.environ)
    yield directory
    for name in set(os.environ) - set(variables):  # of `export`
        del os.environ[name]
    for name in set(sys.modules) - known:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def drawn(figure: Path) -> tuple[list[str], list[float]]:
    """Return the texts and the coordinates of a figure of matplotlib."""
    svg = figure.read_text(encoding="utf-8")
    lines = re.findall(r'<path d="([^"]+)" clip-path', svg)
    numbers = [float(number) for line in lines for number in re.findall(r"-?[0-9.]+", line)]
    return re.findall(r"<!-- (.+?) -->", svg), numbers


def needs_ray(page: Path) -> bool:
    return re.search(r"^\$ .* --engine ray ", page.read_text(encoding="utf-8"), re.MULTILINE) is not None


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=[pytest.mark.xdist_group("ray")] if needs_ray(page) else []) for page in PAGES],
    ids=lambda page: page.relative_to(ROOT).with_suffix("").as_posix(),
)
def test_a_reader_who_types_a_page_gets_what_it_shows(
    page: Path, desk: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    reader = Reader(page, desk)
    if SERVER in page.read_text(encoding="utf-8"):
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "x")
        reader.server = request.getfixturevalue("bucket_server")
    if needs_ray(page):
        request.getfixturevalue("ray_cluster")
    reader.read()
    for name in re.findall(r"\]\(_static/(.+?\.svg)\)", page.read_text(encoding="utf-8")):
        if (desk / name).exists():  # a command of the page writes it
            texts, numbers = drawn(DOCS / "_static" / name)
            expected = texts, pytest.approx(numbers, abs=1)  # releases of matplotlib differ by less
            assert drawn(desk / name) == expected, f"copy {desk / name} to docs/_static"


@pytest.fixture
def bucket_server() -> Iterator[str]:
    """Start a server of object storage with the bucket `results`, and return its URL."""
    import boto3
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it would write a line for each request
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    url = "http://{}:{}".format(*server.get_host_and_port())
    boto3.client("s3", endpoint_url=url, region_name="us-east-1").create_bucket(Bucket="results")
    yield url
    server.stop()


@pytest.mark.parametrize(
    "lie",
    [
        "```python\n1 + 1  # → 3\n```",
        "```python\n1 + 1\n# → 3\n```",
        "```python\nprint(1)\n```\n\n```text\n2\n```",
        "```console\n$ machinable --version\nmachinable 999\n```",
        "```console\n$ machinable nonsense\n…\n```",
        "```console\nmachinable nonsense\n```",
        "```console\n$ machinable --version\n…\n$ echo $?\n1\n```",
        "```yaml\na: 1\n```",
        "```text\nthis is not printed\n```",
        '```json\n{"a": }\n```',
    ],
)
def test_a_page_with_errors_is_found(lie: str, desk: Path) -> None:
    page = desk / "page.md"
    page.write_text(lie + "\n", encoding="utf-8")
    with pytest.raises((AssertionError, pytest.fail.Exception, json.JSONDecodeError)):
        Reader(page, desk).read()


# --- links and commands


def anchors_of(page: Path) -> set[str]:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).strip().lower().replace(" ", "-") for heading in headings}


def test_links_lead_to_files_and_headings_that_are_there() -> None:
    broken = []
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "AGENTS.md"]:
        text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            if "://" in link:
                continue
            path, _, anchor = link.partition("#")
            target = page if not path else (page.parent / path).resolve()
            if not target.exists() or (anchor and anchor not in anchors_of(target)):
                broken.append(f"{page.name}: {link}")
    assert broken == []


def test_every_page_is_in_the_navigation() -> None:
    sphinx = {DOCS / f"{name}.md" for name in ("genindex", "py-modindex", "search")}
    assert sphinx & set(PAGES) == set(), "the site has another page of this name"
    listed = {DOCS / "index.md"}
    for page in PAGES[1:]:
        for block in blocks_of(page.read_text(encoding="utf-8")):
            if block.language == "{toctree}":
                names = [line for line in block.text.split() if not line.startswith(":")]
                listed |= {(page.parent / f"{name}.md").resolve() for name in names}
    assert sorted(set(PAGES[1:]) - listed) == [], "list it in a toctree: of docs/guide.md, docs/how-to/index.md, …"


def test_the_commands_that_make_environments_are_those_that_are_checked() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    first, tests = [line for line in readme.splitlines() if line.startswith(INSTALLS)]
    assert first == "python3 -m venv .venv && source .venv/bin/activate && pip install -q ."
    assert f"    {tests}\n" in (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    command = "-m pytest -n auto --dist loadgroup"
    assert tests.split(" && ")[1:] == [".venv/bin/pip install -q -e '.[test]'", f".venv/bin/python {command}"]
    assert "pip\" install --quiet '.[test]'" in script
    assert f'/bin/python" {command}' in script


def test_the_first_command_of_the_readme_runs_here(monkeypatch: pytest.MonkeyPatch) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    install, _, rest = readme[readme.index(INSTALLS) :].partition("\n")
    assert install.split(" && ")[1] == "source .venv/bin/activate"
    words = shlex.split(rest.splitlines()[0])
    assert words[0] == "machinable"
    monkeypatch.chdir(ROOT)
    shown, code = typed([*words[1:], "--dry"])
    assert code == 0, shown
    assert ": 3 trials\n" in shown


# --- storage-format.md


class Field(NamedTuple):
    kinds: tuple[str, ...]
    example: Any
    events: tuple[str, ...]


def sections_of(page: Path) -> dict[str, dict[str, Field]]:
    """Return the tables of fields, by the heading above them."""
    result: dict[str, dict[str, Field]] = {}
    heading = ""
    columns: list[str] = []
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            heading, columns = line.lstrip("# ").strip("`"), []
        elif line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            if not columns:
                columns = cells
            elif columns[:3] == ["field", "type", "example"] and not line.startswith("|---"):
                row = dict(zip(columns, cells, strict=True))
                events = tuple(row.get("in", "").split(", "))
                example = json.loads(row["example"].strip("`"))
                field = Field(tuple(row["type"].split(" or ")), example, events)
                result.setdefault(heading, {})[row["field"].strip("`")] = field
        else:
            columns = []
    return result


_KINDS: dict[str, tuple[type, ...]] = {
    "text": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
    "list": (list,),
    "list of objects": (list,),
    "mapping": (dict,),
    "object": (dict,),
}


def fits(value: Any, field: Field) -> bool:
    if isinstance(value, bool) and field.kinds != ("any",):
        return "boolean" in field.kinds
    return any(kind == "any" or isinstance(value, _KINDS[kind]) for kind in field.kinds)


def check(data: dict[str, Any], fields: dict[str, Field], seen: set[str], where: str, above: str = "") -> None:
    """Check that every field of an object is documented with its type, and collect them in `seen`."""
    for name, value in data.items():
        path = above + name
        assert path in fields, f"{where} has the field {path}, which is not documented"
        assert fits(value, fields[path]), f"{where}: {path} is {value!r}, documented is {fields[path].kinds}"
        seen.add(path)
        if "object" in fields[path].kinds and value is not None:
            check(value, fields, seen, where, f"{path}.")
        elif "list of objects" in fields[path].kinds:
            for item in value:
                check(item, fields, seen, where, f"{path}[].")


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


MACHINABLE_YAML = """
execution: {resources: {gpus: 1, license: {total: 1, shared: true}}}
components:
  - node:
      rate: 0.1
      day: 2026-01-31
      ~bad: {rate: 2}
  - leaf: {x: 1}
  - data: {fails: false, ~bad: {fails: true}}
  - user: {_requires_: {data: data}, _children_: {leaf: leaf}}
  - last: {_requires_: {user: user}}
  - end: {_requires_: {user: user}, _resources_: {gpus: 0.5}}
"""
DATA = """
from machinable import Component

class Data(Component):
    def on_execute(self):
        if self.config.fails:
            raise ValueError("no data")
        self.store.write("x.json", [1])
"""
USER = """
from machinable import Component

class User(Component):
    def on_execute(self):
        return self.requires.data.read()
"""
LAST = """
from machinable import Component

class Last(Component):
    def on_execute(self):
        return self.requires.user.component.requires.data.read()
"""
NODE = """
import pathlib
from machinable import Component

class Node(Component):
    def on_execute(self):
        print("working")
        __import__("more" + "_code")
        self.log.info("working")
        self.record.scope("other")["x"] = float("nan")
        self.record.scope("other").save()
        self.save_checkpoint()
        self.store.write("a.json", [1])
        if self.flags.get("stop"):
            raise KeyboardInterrupt
        return {"rate": self.config.rate}

    def on_execute_iteration(self, iteration):
        self.record["loss"] = 1 / self.config.rate
        if self.config.rate > 1:
            __import__("failing" + "_code")
            raise ValueError("too fast")
        return StopIteration

    def on_save(self, path, timestep):
        pathlib.Path(path, "state.txt").write_text("x")
        return "state.txt"
"""


def release(event: ml.events.Event, lease: Any) -> None:
    if isinstance(event, ml.events.TrialWaiting):
        lease.release()


@pytest.fixture
def stored(desk: Path) -> list[Path]:
    """Return the folders of executions in which everything that is documented happens."""
    (desk / "machinable.yaml").write_text(MACHINABLE_YAML)
    (desk / "node.py").write_text(NODE)
    (desk / "leaf.py").write_text("from machinable import Component\n\nclass Leaf(Component):\n    pass\n")
    (desk / "end.py").write_text("from machinable import Component\n\nclass End(Component):\n    pass\n")
    for name in ("more_code", "failing_code"):
        (desk / f"{name}.py").write_text("")
    (desk / "data.py").write_text(DATA)
    (desk / "user.py").write_text(USER)
    (desk / "last.py").write_text(LAST)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "init.defaultBranch=main"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    (desk / "leaf.py").write_text("from machinable import Component\n\nclass Leaf(Component):\n    x = 1\n")
    importlib.invalidate_caches()
    task = ml.Task(name="all").component(
        "node", [None, "~bad"], children=[("leaf", {"x": 2})], flags={"stop": False}, tags={"t": 1}
    )
    task.repeat(2).version({"extra": 1})
    with contextlib.redirect_stdout(io.StringIO()):
        ml.execute(task, storage="results", seed="OY1p1o", on_failure="continue")
        with pytest.raises(KeyboardInterrupt):
            ml.execute(ml.Task().component("node", flags={"stop": True}), storage="results", seed="OY1p1o")
        ml.execute("user", storage="results", seed="OY1p1o")
        blocked = ml.Task("user").component("user", requires={"data": ("data", "~bad")})
        ml.execute(blocked, storage="results", seed="OY1p1o", on_failure="continue")
        ml.execute(storage="results", resume="OY1p1o-4", on_failure="continue")
        task = ml.Task().component("user", requires={"data": ("data", {"n": 2})})
        locks = open_locks(open_files("results", create=False))
        locks.take(layout.lease(task.plan()[0].identity))
        ml.execute(task, storage="results", seed="OY1p1o", on_busy="skip")
        lease = locks.take(layout.limit_lease("license", "0"))
        waits = ml.Task().component("leaf", resources={"license": 1})
        ml.execute(waits, storage="results", seed="OY1p1o", listeners=[lambda event: release(event, lease)])
        locks.close()
        done = ml.execute("last", storage="results", seed="OY1p1o")
        (desk / "results" / layout.pointer(done.trials[0].identity)).unlink()
        ml.execute("end", storage="results", seed="content:OY1p1o", engine="processes:1")
    uid = done.trials[0].uid
    added = {"tags": {"a": 1}, "removed": ["t"]}
    annotate(done.files, "OY1p1o", {"time": done.started, "user": "ada", "uid": uid, **added})
    annotate(done.files, "OY1p1o", {"time": done.started, "note": "text"})
    return [desk / "results" / name for name in ("OY1p1o", *(f"OY1p1o-{number}" for number in range(2, 9)))]


def test_the_storage_format_lists_every_field_that_is_written(stored: list[Path]) -> None:
    sections = sections_of(DOCS / "storage-format.md")
    sections["trial.json"] = sections["plan.jsonl"] | sections["trial.json"]
    seen: dict[str, set[str]] = {name: set() for name in sections}
    by_event: dict[str, set[str]] = {}
    for folder in stored:
        check(
            json.loads((folder / "execution.json").read_text()),
            sections["execution.json"],
            seen["execution.json"],
            "execution.json",
        )
        for line in lines_of(folder / "plan.jsonl"):
            check(line, sections["plan.jsonl"], seen["plan.jsonl"], "plan.jsonl")
        for line in lines_of(folder / "ledger.jsonl"):
            fields = by_event.setdefault(line["event"], set())
            check(line, sections["ledger.jsonl"], fields, "ledger.jsonl")
            seen["ledger.jsonl"] |= fields
        for path in folder.glob("annotations.jsonl"):
            for line in lines_of(path):
                check(line, sections["annotations.jsonl"], seen["annotations.jsonl"], "annotations.jsonl")
        for trial in (folder / "trials").glob("*"):
            for name in ("trial.json", "status.json"):
                check(json.loads((trial / name).read_text()), sections[name], seen[name], name)
            for records in (trial / "records").glob("*"):
                for row in lines_of(records):
                    own = {column: value for column, value in row.items() if column.startswith("_")}
                    check(own, sections["Records"], seen["Records"], "records")
    seen["execution.json"].add("code.cells")  # only of code in notebooks
    seen["execution.json"] |= {"engine.options", "engine.left_out"}  # only of engines that are given as mappings
    seen["status.json"].add("host.served")  # only on a cluster whose hosts do not reach the storage
    assert seen == {name: set(fields) for name, fields in sections.items()}
    events = {
        event: {path for path, field in sections["ledger.jsonl"].items() if {event, "all"} & set(field.events)}
        for event in (
            "started",
            "finished",
            "failed",
            "interrupted",
            "reused",
            "blocked",
            "skipped",
            "unneeded",
            "waiting",
            "resumed",
            "ended",
        )
    }
    assert by_event == events


def test_the_examples_of_the_storage_format_have_their_types() -> None:
    for section, fields in sections_of(DOCS / "storage-format.md").items():
        for path, field in fields.items():
            assert fits(field.example, field), f"{section}: {path}"


def test_the_storage_format_lists_every_file_that_is_written(stored: list[Path]) -> None:
    text = (DOCS / "storage-format.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^\| `([a-z][^`]*[./][^`]*)` \|", text.partition("## Atomicity")[0], re.MULTILINE))
    found = set()
    for folder in stored:
        for file in folder.rglob("*"):
            if file.is_file():
                name = file.relative_to(folder).as_posix()
                name = re.sub(r"^trials/[0-9A-Za-z]{12}/", "trials/<uid>/", name)
                name = re.sub(r"/attempts/[0-9]+/.+$", "/attempts/<n>/…", name)
                name = re.sub(r"/records/[^/]+\.jsonl$", "/records/<scope>.jsonl", name)
                found.add(re.sub(r"/(artifacts|checkpoints)/.+$", r"/\1/<name>", name))
    assert found == listed


# --- architecture.md


def test_the_floors_are_those_of_the_package() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    (floors,) = re.findall(r"^```text\n(13 .*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    shown = [set(re.split(r" {4,}", line[3:])[0].split()) for line in reversed(floors.splitlines())]
    package = ROOT / "engine" / "machinable"
    there = {path.stem for path in package.glob("*.py")} | {path.parent.name for path in package.glob("*/__init__.py")}
    there -= {"__init__", "__main__"}
    assert set.union(*shown) == there
    assert shown == [floor for floor in (set(names) & there for names in FLOORS) if floor]


def test_the_modules_that_the_architecture_names_exist() -> None:
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_/]+\.py)`", text)) - {"run.py", "numbers.py"}
    missing = [
        name for name in sorted(named) if not ((ROOT / "engine/machinable" / name).exists() or (ROOT / name).exists())
    ]
    assert missing == []


# --- tables in which people look things up


def test_the_keystrokes_of_usual_jobs_are_counted() -> None:
    section = (ROOT / "docs" / "command-line.md").read_text().partition("### Usual jobs")[2].partition("###")[0]
    counted = re.findall(r"\| `([^`]+)` \| (\d+) ", section)

    assert len(counted) == 19  # ten jobs, one of which Hydra does not have
    assert [int(number) for _, number in counted] == [len(command) for command, _ in counted]


def test_every_command_has_its_section() -> None:
    from machinable.cli.commands import COMMANDS

    text = (DOCS / "command-line.md").read_text(encoding="utf-8")
    sections = [heading.split()[0] for heading in re.findall(r"^## (.+)$", text, flags=re.MULTILINE)]
    assert sorted(sections) == sorted(COMMANDS)


def test_every_event_of_a_component_is_listed() -> None:
    text = (DOCS / "components.md").read_text(encoding="utf-8")
    events = [name for name in vars(ml.Component) if name.startswith("on_")]
    assert [name for name in events if f"`{name}" not in text] == []


def test_every_format_of_artifacts_is_listed() -> None:
    from machinable.storage.formats.registry import known_extensions

    text = (DOCS / "components.md").read_text(encoding="utf-8")
    assert [extension for extension in known_extensions() if f"`{extension}`" not in text] == []
