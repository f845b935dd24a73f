"""`machinable tag` and `machinable note`."""

from __future__ import annotations

from pathlib import Path

import pytest

from machinable.results.storage import Storage
from tests.cli.conftest import Run


@pytest.fixture
def uid(run: Run, project: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The uid of a trial in `out`, of an execution with two."""
    monkeypatch.setenv("MACHINABLE_STORAGE", "out")
    run("execute", "train", "--repeat", "2", "--seed", "OY1p1o", "--quiet")
    return str(run("show", "last", "--json").data["trials"][1]["uid"])


def test_tags_and_notes_are_shown_and_found(run: Run, uid: str) -> None:
    ran = run("tag", f"last/{uid[:4]}", "best=true", "score=1e-3", "group.name=a b")
    assert (ran.code, ran.out, ran.err) == (
        0,
        "",
        f"tagged OY1p1o/{uid}: best=true score=0.001 group.name=a b\n",
    )
    run("note", f"OY1/{uid}", "looks\x1b[1m good")
    run("note", "last", "before the deadline")

    assert (
        run("trials", "--where", "tags.best=true and tags.score=0.001", "--columns", "uid", "--csv").out
        == f"uid\n{uid}\n"
    )
    assert run("trials", "--where", "note~*good*", "--json").data["trials"][0]["tags.group.name"] == "a b"
    shown = run("show", f"last/{uid}").out
    assert "looks good" in shown and "\x1b" not in shown
    (status,) = (line.split() for line in shown.splitlines() if line.startswith("status"))
    assert status == ["status", "finished"]  # a note is no reason
    assert "before the deadline" in run("show", "last").out
    assert run("verify").code == 0


def test_added_tags_do_not_separate_repetitions(run: Run, uid: str) -> None:
    run("tag", f"last/{uid}", "best=true")

    (group,) = run("compare", "last", "--json").data["groups"]
    assert group["n"] == 2
    assert "best" in run("show", "last").out.split("\n\n")[1].split()
    run("execute", "train", "--seed", "8gWVkz", "--quiet")
    run("execute", "train", "rate=0.3", "--seed", "2FnHcS", "--quiet")
    run("tag", "last", "late=true")
    assert Storage("out").trials.summary("records.loss").settings == ("config.rate", "config.half")
    (heading, *rows) = run("trials", "--where", "config.rate=0.1", "--sort", "tags.best").out.splitlines()
    assert ("best" in heading.split(), len(rows), "true" in rows[0]) == (True, 3, True)


def test_a_tag_is_removed(run: Run, uid: str) -> None:
    run("tag", "last", "study=a", "other=b")
    assert run("tag", "last", "study=c", "--remove", "other").err.splitlines()[-1] == "removed other from OY1p1o"

    (_, trial) = Storage("out").trials
    assert trial.tags == {"study": "c"}
    assert run("tag", "last", "--remove", "oter", "--json").data["error"]["message"] == "no tag named 'oter'"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("tag", "last"), "no tag is given"),
        (("tag", "last", "study"), "'study' is not a tag"),
        (("tag", "last", "=3"), "'=3' is not a tag"),
        (("tag", "last", "a=1", "a=2"), "the tag 'a' is given twice"),
        (("tag", "last", "a=[1"), "'a=[1' has no value in YAML"),
        (("tag", "last/zzz", "a=1"), "the execution OY1p1o has no trial 'zzz'"),
        (("tag", "nothing", "a=1"), "there is no execution 'nothing'"),
        (("note", "last", " "), "the note is empty"),
    ],
)
def test_bad_input_adds_nothing(run: Run, uid: str, words: tuple[str, ...], message: str) -> None:
    ran = run(*words)

    assert (ran.code in (2, 3), message in ran.err) == (True, True), ran.err
    assert not Path("out/OY1p1o/annotations.jsonl").exists()
