"""`machinable migrate` rewrites what a program can, shows it first, and lists what is left."""

from __future__ import annotations

from pathlib import Path

import pytest

from machinable.cli.main import run
from machinable.cli.migrate import Rest, rewrite

BEFORE = """\
from machinable import Component


class Train(Component):
    def on_execute(self):
        self.store.statistics["löss"] = self.seed; self.save_data("ä.json", [1])
        data = self.uses.data.load_data("x.npy"), self.storage.load_data("y.json", default=None)
        self.store.log.info("%s", self.execution)
        for save in map(self.save_file, "ab"):
            pass
"""
AFTER = """\
from machinable import Component


class Train(Component):
    def on_execute(self):
        self.record["löss"] = self.flags.SEED; self.store.write("ä.json", [1])
        data = self.requires.data.load_data("x.npy"), self.store.read("y.json", default=None)
        self.log.info("%s", self.flags.EXECUTION)
        for save in map(self.store.write, "ab"):
            pass
"""


def test_names_in_components_are_rewritten_and_nothing_else_of_the_text_changes() -> None:
    assert rewrite(BEFORE) == (AFTER, [])
    assert rewrite(BEFORE.replace("\n", "\r\n")) == (AFTER.replace("\n", "\r\n"), [])
    assert rewrite(AFTER) == (AFTER, [])


@pytest.mark.parametrize(
    "text",
    [
        "class Other:\n    def run(self):\n        return self.seed, self.save_data('x', 1)\n",
        "class A(Component):\n    def on_create(self):\n        self.seed = 1\n        return self.seed\n",
        "class A(Component):\n    def save_data(self): ...\n    def on_execute(self):\n        self.save_data()\n",
        "class A(Component):\n    seed = 1\n    def on_execute(self):\n        return self.seed, other.save_data\n",
    ],
    ids=["no component", "assigned in a method", "defined by the class", "assigned in the class"],
)
def test_names_of_others_stay(text: str) -> None:
    assert rewrite(text) == (text, [])


@pytest.mark.parametrize(
    "head", ["class A(Base):", "class A(ml.Component):", "class A(Mixin):", "class A(Component[Settings]):"]
)
def test_a_component_is_recognized_by_its_bases_and_its_events(head: str) -> None:
    text = f"{head}\n    def on_execute(this):\n        return this.seed\n"
    assert rewrite(text)[0] == text.replace("this.seed", "this.flags.SEED")


def test_names_in_texts_and_over_several_lines_are_rewritten_or_listed() -> None:
    text = (
        "class A(Component):\n    def on_execute(self):\n        \x0c\n        (self\n         .seed)\n"
        '        f"""\n  {self.seed} {self.uses!r}"""\n'
    )
    after, rest = rewrite(text)
    assert "        (self.flags.SEED)\n" in after
    for former, now in (("{self.seed}", "{self.flags.SEED}"), ("{self.uses!r}", "{self.requires!r}")):
        assert (now in after) != (former in after)
    assert len(rest) == after.count("{self.seed}") + after.count("{self.uses!r}")


def test_what_needs_a_person_is_listed_with_its_place() -> None:
    text = (
        "import machinable as ml\nfrom machinable import Experiment\n\n\nclass A(ml.Component):\n"
        "    def on_execute(self):\n        self.observer, self.local_directory()\n        ml.get\n"
    )
    assert rewrite(text) == (
        text,
        [
            Rest(2, 1, "Experiment", "use ml.Task().component(…) and ml.execute(task)"),
            Rest(7, 9, "self.observer", "use self.record, self.store and self.log"),
            Rest(7, 24, "self.local_directory", "use self.directory"),
            Rest(8, 9, "get", "use ml.Storage(url)[id], and reuse='all' of ml.execute for results that exist"),
        ],
    )


def test_the_difference_is_shown_and_only_written_on_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    train, old, broken = tmp_path / "train.py", tmp_path / "package" / "latin.py", tmp_path / "broken.py"
    old.parent.mkdir()
    (tmp_path.parent / "theirs.py").write_text(BEFORE, encoding="utf-8")
    (tmp_path / "link.py").symlink_to("../theirs.py")
    (tmp_path / "nul.py").write_bytes(b"x = 1\0")
    (tmp_path / "machinable.yaml").write_text("components: [train]\n")
    train.write_text(BEFORE, encoding="utf-8")
    train.chmod(0o755)
    old.write_bytes(
        "# coding: latin-1\nclass A(Component):\n    def f(self): return self.seed, 'ö'\n".encode("latin-1")
    )
    broken.write_text("print 'Python 2'\n")

    assert run(["migrate"]) == 0
    shown = capsys.readouterr()
    assert '-        self.store.log.info("%s", self.execution)\n' in shown.out
    assert '+        self.log.info("%s", self.flags.EXECUTION)\n' in shown.out
    assert "broken.py: not changed, because it cannot be read: " in shown.err
    assert "2 files would be changed; to change them: machinable migrate --write\n" in shown.err
    assert train.read_text(encoding="utf-8") == BEFORE

    assert run(["migrate", "--write"]) == 0
    assert train.read_text(encoding="utf-8") == AFTER
    assert train.stat().st_mode & 0o777 == 0o755
    assert (tmp_path.parent / "theirs.py").read_text(encoding="utf-8") == BEFORE
    assert old.read_bytes().decode("latin-1").endswith("return self.flags.SEED, 'ö'\n")
    capsys.readouterr()
    assert run(["migrate"]) == 0
    assert capsys.readouterr().err.endswith("nothing to rewrite\n")
