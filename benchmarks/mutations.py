"""Damage stored files in many ways, and run every command that reads them: `python -m benchmarks.mutations`.

`python -m benchmarks.mutations --count 2000 --seed 3` makes 2,000 damaged copies of one storage. No command may end in
a traceback or wait, no reading command may change the storage, and nothing may change anything outside of it.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import stat
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from machinable.cli import main
from machinable.errors import MachinableError, TrialsFailed
from machinable.results.storage import Storage
from machinable.serialization import dumps
from machinable.storage.process_info import this_process

PROGRESS = 50  # storages
TIMEOUT = 120  # seconds for one command, which takes 15 ms; of those that start processes, five times as long
WITH_PROCESSES = 12  # one of so many copies is also exported and reproduced, which starts processes

YAML = """components:
  - data: {size: 50, when: 2026-01-31, pair: [1, {3: x}]}
  - train: {rate: 0.1, half: half(), _requires_: {data: data}, ~wide: {rate: 0.2}}
  - breaks: {at: 1}
  - parent: {}
"""
CODE = {
    "data": """
import random
from machinable import Component


class Data(Component):
    def on_execute(self):
        self.store.write("x.bin", random.randbytes(self.config.size))
        self.store.write("deep/x.json", [random.random() for _ in range(20)])
        self.record["draw"] = random.random()
        self.record.save()
        return {"pair": (1, 2), "when": self.config.when}
""",
    "train": """
from machinable import Component, cached


class Train(Component):
    def config_half(self):
        return self.config.rate / 2

    @cached("terms.json")
    def terms(self):
        return [1, 2]

    def on_execute_iteration(self, i):
        self.record["terms"] = sum(self.terms())
        self.record["loss"] = self.config.rate * sum(self.requires.data.read("deep/x.json")) / (i + 1)
        self.record["odd"] = float("nan")
        self.log.info("iteration %d", i)
        print("iteration", i)
        self.save_checkpoint()
        if i == 3:
            return StopIteration

    def on_save(self, path, timestep):
        with open(f"{path}/{timestep}.txt", "w") as file:
            file.write(str(timestep))
        return f"{timestep}.txt"

    def on_restore(self, path):
        pass
""",
    "breaks": """
from machinable import Component


class Breaks(Component):
    def on_execute(self):
        self.record["x"] = 1
        self.record.save()
        self.record.scope("other")["y"] = 2
        self.record.scope("other").save()
        self.store.write("before.json", {"a": [1, None]})
        if self.flags.get("REPEAT_NUMBER") == self.config.at:
            raise ValueError("it breaks")
""",
    "parent": """
from machinable import Component


class Parent(Component):
    def on_execute(self):
        return 1
""",
}


def build(directory: Path) -> Path:
    """Execute tasks in a new project, and return the storage: with failures, reused results, and a resumption."""
    import machinable as ml

    project, storage = directory / "project", directory / "storage"
    project.mkdir()
    (project / "machinable.yaml").write_text(YAML)
    for name, text in CODE.items():
        (project / f"{name}.py").write_text(text)

    def run(task: Any, **options: Any) -> None:
        with contextlib.suppress(TrialsFailed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the code of a resumed execution has changed
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                ml.execute(task, str(storage), project=str(project), **options)

    run(ml.Task().component("train", ["~wide", ("~wide", {"rate": 0.3})]), seed="OY1p1o")
    run(ml.Task("train"), seed="OY1p1p")
    run(ml.Task("breaks").repeat(3), seed="OY1p1q")
    (project / "breaks.py").write_text(CODE["breaks"] + "\n# changed\n")
    run(ml.Task("breaks").repeat(3), resume="OY1p1q")
    run(ml.Task().component("parent", children=[("data", {"size": 5})]), seed="OY1p1r")
    # what killed processes leave
    lease = dumps({**this_process(), "pid": 2**22 - 1, "execution": "OY1p1o", "lease": 30.0, "token": "x"}).encode()
    pointer = next((storage / "by-content").glob("*/*.json"))
    for path in (storage / "OY1p1r/execution.lease", pointer.with_suffix(".lease")):
        path.write_bytes(lease)
    (storage / ".machinable-running-deadbeef-1-00-OY1p1p").write_bytes(b"")
    (storage / "OY1p1q/.machinable-writing-deadbeef-1-00-0123").write_bytes(b"{")
    return storage


# --- damage

VALUES: Sequence[Any] = (
    *(None, True, 0, -1, 2**70, 1e300, float("nan"), float("inf")),
    *("", "x", "2", "é\ud800", "x" * 5000, "../../outside/secret", "/etc/passwd", "OY1p1p", "OY1p1o/x"),
    *("2026-13-45T00:00:00+00:00", "0001-01-01T00:00:00+00:00"),
    *([], {}, ["failed"], [[[]]], {"a": 1}, json.loads("[" * 250 + "]" * 250)),
    *({"__map__": [[{}, 1]]}, {"__date__": "x"}, {"__tuple__": [1]}, {"__tuple__": 3}, {"__timedelta__": 10**30}),
)
BYTES: Sequence[bytes] = (
    *(b"", b"\0" * 100, b"{", b"[]", b"null\n", b"\xff\xfe", b"{}\n", b"\n\n", b"x" * 100_000),
    *(b'{"format": 9}', b"[" * 100_000, b"1" * 5000 + b"\n", b'{"event": ["failed"]}\n', b'{"a": NaN}'),
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values in lists and mappings."""
    for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
        yield (*path, key)
        if isinstance(inside, (dict, list)):
            yield from places(inside, (*path, key))


def changed_value(draw: random.Random, data: bytes) -> bytes:
    """Replace or remove one value in JSON, or in one of its lines."""
    lines = data.split(b"\n")
    number = draw.choice([number for number, line in enumerate(lines) if line.strip()] or [0])
    try:
        value = json.loads(lines[number])
        path = draw.choice(list(places(value)))
    except (ValueError, IndexError, AttributeError, TypeError):
        return draw.choice(BYTES)
    above = value
    for key in path[:-1]:
        above = above[key]
    if draw.random() < 0.2:
        del above[path[-1]]
    else:
        above[path[-1]] = draw.choice(VALUES)
    lines[number] = json.dumps(value).encode()
    return b"\n".join(lines)


def cut(draw: random.Random, data: bytes) -> bytes:
    """Leave out the end."""
    return data[: draw.randrange(len(data) + 1)]


def flipped(draw: random.Random, data: bytes) -> bytes:
    """Change one bit."""
    if not data:
        return b"\0"
    at = draw.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << draw.randrange(8))]) + data[at + 1 :]


def extended(draw: random.Random, data: bytes) -> bytes:
    """Append other data."""
    return data + draw.choice(BYTES)


def replaced(draw: random.Random, data: bytes) -> bytes:
    """Replace everything."""
    return draw.choice(BYTES)


CONTENTS: Sequence[Callable[[random.Random, bytes], bytes]] = (*[changed_value] * 4, cut, flipped, extended, replaced)
LINKS = ("loop", "dangling", "out", "within")
OTHERS = ("remove", "directory", "pipe", "socket", *LINKS, "swap", "forbid", "forbid folder", "move")


def damage(draw: random.Random, storage: Path, outside: Path) -> str:
    """Damage one file of a storage, and say how."""
    files = sorted(path for path in storage.rglob("*") if path.is_file() and not path.is_symlink())
    # Each kind of file is as likely as the others, however many there are of it.
    kinds = sorted({re.sub(r"[0-9A-Za-z]{12,}|OY1p1.", "*", str(path)) for path in files})
    kind = draw.choice(kinds)
    path = draw.choice([path for path in files if re.sub(r"[0-9A-Za-z]{12,}|OY1p1.", "*", str(path)) == kind])
    name = str(path.relative_to(storage))
    if draw.random() < 0.65:
        change = draw.choice(CONTENTS)
        path.write_bytes(change(draw, path.read_bytes()))
        return f"{name}: {change.__name__}"
    how = draw.choice(OTHERS)
    if how == "swap":
        other = draw.choice(files)
        data = path.read_bytes()
        path.write_bytes(other.read_bytes())
        other.write_bytes(data)
        return f"{name}: swapped with {other.relative_to(storage)}"
    if how == "forbid":
        path.chmod(0)
        return f"{name}: {how}"
    if how == "forbid folder":
        path.parent.chmod(draw.choice([0, 0o444, 0o111]))
        return f"{name}: {how}"
    if how == "move":
        path.rename(path.with_name(draw.choice(["x", "execution.json", "OY1p1o", "a.000001.jsonl", "x" * 200])))
        return f"{name}: moved"
    path.unlink()
    if how == "directory":
        path.mkdir()
        (path / "x").write_bytes(b"x")
    elif how == "pipe":
        os.mkfifo(path)
    elif how == "socket":
        here = os.getcwd()
        os.chdir(path.parent)  # the path of a socket has at most 107 bytes
        with contextlib.closing(socket.socket(socket.AF_UNIX)) as one:
            one.bind(path.name)
        os.chdir(here)
    elif how in LINKS:
        targets = (path.name, "nowhere", outside / "secret", draw.choice(files))
        path.symlink_to(targets[LINKS.index(how)])
    return f"{name}: {how}"


# --- reading


class Hangs(BaseException):
    """A command that takes too long."""


def commands(draw: random.Random, uids: dict[str, list[str]], target: Path) -> Iterator[list[str]]:
    """Yield the commands that read a storage, and change nothing in it."""
    yield ["list"]
    yield ["list", "--json"]
    for identifier, members in uids.items():
        uid = draw.choice(members)
        yield ["show", identifier]
        yield ["show", identifier, "--json"]
        yield ["show", f"{identifier}/{uid}"]
        yield ["show", f"{identifier}/{uid}", "--json"]
        yield ["show", identifier, "--log", "--output"]
        yield ["tail", identifier]
        yield ["tail", f"{identifier}/{uid}", "--json"]
        yield ["restore", identifier, str(target / f"restored-{identifier}")]
    names = list(uids)
    yield ["compare", *names]
    yield ["compare", names[0], names[1], "--json"]
    yield ["diff", names[0], names[1]]
    yield ["diff", names[2], names[0], "--json"]
    yield ["report", *names, "--to", str(target / "report.html")]
    yield ["report", names[2], "--json"]
    yield ["verify"]
    yield ["verify", "--json"]
    yield ["clean"]
    yield ["clean", "--older-than", "0s"]
    yield ["clean", "--failed", "--json"]
    for identifier in names:
        yield ["resume", identifier, "--dry"]


codes: Counter[int] = Counter()  # of the commands that ended


def run(words: Sequence[str], timeout: int = TIMEOUT) -> str | None:
    """Run a command in this process, and return what is wrong with how it ended."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()

    def hang(number: int, frame: FrameType | None) -> None:
        raise Hangs

    before = signal.signal(signal.SIGALRM, hang)
    signal.alarm(timeout)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(list(words))
            out.flush()
    except Hangs:
        return "it hangs: " + "".join(traceback.format_exc())
    except BaseException:
        return traceback.format_exc()
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    codes[code] += 1
    if "Traceback (most recent call last)" in err.getvalue():
        return err.getvalue()
    return None if code in (0, 1, 2, 3) else f"exit code {code}"


def read_in_python(storage: Path) -> str | None:
    """Read a storage with `Storage`, and return what is wrong with that."""
    try:
        with Storage(storage) as opened, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for execution in opened.executions:
                with contextlib.suppress(MachinableError):
                    _ = execution.status, execution.plan, execution.failures, repr(execution), execution._repr_html_()
            with contextlib.suppress(MachinableError):
                trials = opened.trials
                _ = trials.rows(), str(trials)
                trials.where(status="finished").columns("config.rate", "records.loss.min").rows()
            opened._repr_html_()
            for trial in trials:
                for name in ("config", "error", "log", "output", "result", "stale", "seconds", "description"):
                    with contextlib.suppress(MachinableError):
                        getattr(trial, name)
                with contextlib.suppress(MachinableError):
                    _ = [trial.content(name) for name in trial.files]
                    _ = [trial.records(scope).frame() for scope in trial.records.scopes]
    except MachinableError:
        return None
    except Exception:
        return traceback.format_exc()
    return None


def contents(directory: Path) -> dict[str, str]:
    """Return the type and the digest of everything in a directory and below."""
    found = {}
    for folder, names, files in os.walk(directory):
        for name in (*names, *files):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            kind = stat.filemode(mode)
            if stat.S_ISREG(mode):
                kind += hashlib.sha256(Path(path).read_bytes()).hexdigest()
            found[os.path.relpath(path, directory)] = kind
    return found


def check(directory: Path, storage: Path, uids: dict[str, list[str]], draw: random.Random, number: int) -> list[str]:
    """Damage a copy of a storage, read it in every way, and return what was wrong."""
    copy, outside, target = directory / "copy", directory / "outside", directory / "target"
    for path in (copy, outside, target):
        path.mkdir()
    (outside / "secret").write_text("secret")
    stored = copy / "storage"
    shutil.copytree(storage, stored, symlinks=True)
    how = [damage(draw, stored, outside) for _ in range(draw.choice([1, 1, 1, 2]))] if number >= 0 else []
    as_root = os.geteuid() == 0 and any("forbid" in one for one in how)
    if as_root:  # whom no file is forbidden
        for path in (copy, target):
            shutil.chown(path, OTHER_USER, OTHER_USER)
        for path in (target, *target.rglob("*")):
            shutil.chown(path, OTHER_USER, OTHER_USER)
        os.seteuid(OTHER_USER)
    found: list[str] = []

    def note(words: Sequence[str], wrong: str | None) -> None:
        if wrong is not None:
            found.append(f"{how} {' '.join(words)}\n{wrong}")

    try:
        place = ["--storage", str(stored)]
        before = None if as_root else contents(copy)
        note(["Storage"], read_in_python(stored))
        for words in commands(draw, uids, target):
            note(words, run([*words, *place]))
        if before is not None and contents(copy) != before:
            note(["reading"], "it changed the storage")
        if number >= 0 and number % WITH_PROCESSES == WITH_PROCESSES - 1:
            for identifier in uids:
                note(
                    ["export"],
                    run(["export", identifier, "--to", str(target / f"export-{identifier}"), *place], 5 * TIMEOUT),
                )
                note(["reproduce"], run(["reproduce", identifier, "--quiet", *place], 5 * TIMEOUT))
        note(["verify", "--repair"], run(["verify", "--repair", *place]))
        note(["clean"], run(["clean", "--older-than", "0s", "--yes", *place]))
    finally:
        if as_root:
            os.seteuid(0)
    if contents(outside) != {"secret": "-rw-r--r--" + hashlib.sha256(b"secret").hexdigest()}:
        note(["all"], "something outside has changed")
    for path in (copy, outside, target):
        for folder in [path, *path.rglob("*")]:
            if folder.is_dir() and not folder.is_symlink():
                folder.chmod(0o755)
        shutil.rmtree(path)
    return found


OTHER_USER = 65534


def mutate(count: int, seed: int, directory: Path) -> Iterator[list[str]]:
    """Check this many damaged copies of one storage, and yield what was wrong with each."""
    storage = build(directory)
    with Storage(storage) as opened:
        uids = {str(execution): [trial.uid for trial in execution] for execution in opened}
    uids = dict(sorted(uids.items()))
    os.chdir(directory / "project")
    # First one without damage, because a user who cannot read some files may not be able to import modules, either.
    yield check(directory, storage, uids, random.Random(seed), -1)
    for number in range(count):
        yield check(directory, storage, uids, random.Random(f"{seed}-{number}"), number)


def _last_lines(wrong: str) -> str:
    """Return where in the package a traceback ends, and its error."""
    lines = [line.strip() for line in wrong.strip().splitlines()]
    places = [line for line in lines if line.startswith("File ") and "/machinable/" in line]
    return f"{places[-1] if places else ''} {lines[-1][:150]}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="machinable-mutations-") as temporary:
        os.environ |= {"HOME": temporary, "XDG_CACHE_HOME": temporary}
        os.chmod(temporary, 0o755)  # another user reads it
        wrong: list[str] = []
        for number, found in enumerate(mutate(given.count, given.seed, Path(temporary))):
            wrong += found
            for one in found:
                print(one, file=sys.stderr)
            if number and number % PROGRESS == 0:
                print(f"{number} storages, {len(wrong)} wrong ends", file=sys.stderr)
    kinds: dict[str, list[str]] = {}
    for one in wrong:
        kinds.setdefault(_last_lines(one), []).append(one)
    for kind, members in sorted(kinds.items(), key=lambda item: -len(item[1])):
        print(f"{len(members)} × {kind}\n    {members[0].splitlines()[0]}")
    ends = ", ".join(f"{count:,} with exit code {code}" for code, count in sorted(codes.items()))
    print(f"{given.count} storages, {ends}; {len(wrong)} wrong ends in {time.monotonic() - began:.0f} s")
    sys.exit(bool(wrong))
