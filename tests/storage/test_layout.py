"""The names of files and folders in format 1."""

from __future__ import annotations

import pytest

from machinable.errors import BadName
from machinable.storage import layout


def test_the_names_of_format_1() -> None:
    uid = "9c2EapVGXnPH"
    assert [
        layout.EXECUTION,
        layout.PLAN,
        layout.LEDGER,
        layout.CODE,
        layout.DIFF,
        layout.trial(uid),
        layout.trial_json(uid),
        layout.status(uid),
        layout.join(layout.trial(uid), layout.LOG),
        layout.output(uid),
        layout.records(uid),
        layout.records(uid, "validation"),
        layout.artifact(uid, "plots/loss.json"),
        layout.join(layout.trial(uid), layout.CHECKPOINTS),
        layout.attempt(uid, 1),
        layout.pointer("ab12"),
        layout.lease("ab12"),
    ] == [
        "execution.json",
        "plan.jsonl",
        "ledger.jsonl",
        "code.zip",
        "code.diff",
        "trials/9c2EapVGXnPH",
        "trials/9c2EapVGXnPH/trial.json",
        "trials/9c2EapVGXnPH/status.json",
        "trials/9c2EapVGXnPH/log.txt",
        "trials/9c2EapVGXnPH/output.log",
        "trials/9c2EapVGXnPH/records/default.jsonl",
        "trials/9c2EapVGXnPH/records/validation.jsonl",
        "trials/9c2EapVGXnPH/artifacts/plots/loss.json",
        "trials/9c2EapVGXnPH/checkpoints",
        "trials/9c2EapVGXnPH/attempts/1",
        "by-content/ab/ab12.json",
        "by-content/ab/ab12.lease",
    ]


@pytest.mark.parametrize(
    ("path", "number", "part"),
    [
        ("ledger.jsonl", 1, "ledger.000001.jsonl"),
        ("log.txt", 999999, "log.999999.txt"),
        ("a.b/log.txt", 1000000, "a.b/log.1000000.txt"),
        ("records/my.scope.jsonl", 12, "records/my.scope.000012.jsonl"),
    ],
)
def test_a_part_knows_its_number_and_its_whole(path: str, number: int, part: str) -> None:
    assert layout.part(path, number) == part
    assert (layout.part_number(part), layout.whole(part)) == (number, path)
    assert (layout.part_number(path), layout.whole(path)) == (0, path)


def test_scopes_are_read_from_the_names_of_their_files() -> None:
    for scope in ("default", "with space", "ü", "a.b", "top-5!"):
        path = layout.scope_file(scope)
        assert layout.scope_of(path.removeprefix("records/")) == scope
        assert layout.scope_of(layout.part(path, 3).removeprefix("records/")) == scope
    assert layout.scope_of("notes.txt") is None


@pytest.mark.parametrize("scope", ["", ".", "..", ".hidden", "a/b", "/a", "a\\b", "a\0", "x.000001", "\ud800"])
def test_a_scope_that_cannot_be_a_file_name_is_refused(scope: str) -> None:
    with pytest.raises(BadName, match="cannot have the scope"):
        layout.records("uid", scope)


def test_joining_ignores_empty_parts() -> None:
    assert layout.join("", "OY1p1o", "", "trials") == "OY1p1o/trials"
    assert layout.join("", "") == ""


def test_pointers_and_leases_are_recognized_by_their_paths() -> None:
    identity = "ab" * 16
    assert layout.pointer_identity(layout.pointer(identity)) == identity
    for path in (
        layout.lease(identity),
        f"by-content/cd/{identity}.json",
        "by-content/ab/x/y.json",
        "by-content/.json",
    ):
        assert layout.pointer_identity(path) is None
    assert layout.is_lease(layout.lease(identity))
    assert layout.is_lease(f"OY1p1o/{layout.EXECUTION_LEASE}")
    for path in (
        layout.pointer(identity),
        f"by-content/cd/{identity}.lease",
        layout.EXECUTION_LEASE,
        "a/b/execution.lease",
    ):
        assert not layout.is_lease(path)


def test_a_scope_that_is_too_long_for_a_file_is_refused() -> None:
    assert len(layout.part(layout.scope_file("s" * 242), 1)) == len("records/") + 255
    for scope in ("s" * 243, "é" * 122):
        with pytest.raises(BadName, match=r"cannot have the scope '(s|é){57}\.\.\.'") as caught:
            layout.scope_file(scope)
        assert "at most 242 bytes" in str(caught.value)
