"""Which source of a setting takes precedence."""

from __future__ import annotations

from typing import Any

import pytest

from machinable.errors import InvalidType, InvalidValue, UnknownName
from machinable.settings import CodeBackup, StorageChoice, choose, is_development, storage_choice

SOURCES: dict[str, Any] = {
    "call": "call",
    "environment": {"MACHINABLE_ENGINE": "environment"},
    "project": {"engine": "project"},
    "user": {"engine": "user"},
}


@pytest.mark.parametrize("missing", range(5))
def test_the_nearest_setting_takes_precedence(missing: int) -> None:
    order = ["call", "environment", "project", "user", "default"]
    given = {
        name: value if order.index(name) >= missing else (None if name == "call" else {})
        for name, value in SOURCES.items()
    }
    choice = choose("engine", given["call"], given["environment"], given["project"], given["user"], "default")
    assert (choice.value, choice.source) == (order[missing], order[missing])


@pytest.mark.parametrize(
    ("call", "project", "expected"),
    [
        (None, {}, (None, "default", None)),
        ("here", {}, ("here", "call", CodeBackup())),
        ("here", {"code_backup": False}, ("here", "call", None)),
        ({"storage": "here", "code_backup": True}, {"code_backup": False}, ("here", "call", CodeBackup())),
        ({"code_backup": False}, {"storage": "stored"}, ("stored", "project", None)),
        ("here", {"code_backup": {"ignore": "data/"}}, ("here", "call", CodeBackup(ignore=("data/",)))),
        (
            {"storage": "here", "code_backup": True},
            {"code_backup": {"scan": False}},
            ("here", "call", CodeBackup(scan=False)),
        ),
        (
            {"storage": "here", "code_backup": {"limit": "1.5 GiB", "ignore": ["a", "b"]}},
            {"code_backup": False},
            ("here", "call", CodeBackup(3 * 2**29, ("a", "b"), True)),
        ),
        ({"storage": "here", "code_backup": {"limit": 1000, "scan": None}}, {}, ("here", "call", CodeBackup(1000))),
    ],
)
def test_a_storage_comes_with_or_without_a_backup(call: Any, project: dict[str, Any], expected: Any) -> None:
    assert storage_choice(call, {}, project, {}) == StorageChoice(*expected)


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"limt": 1}, UnknownName, "Did you mean 'limit'?"),
        ({"limit": "much"}, InvalidValue, "invalid limit of code_backup: 'much'"),
        ({"limit": 0}, InvalidValue, "invalid limit of code_backup: 0"),
        ({"limit": True}, InvalidValue, "invalid limit of code_backup: True"),
        ({"limit": float("inf")}, InvalidValue, "invalid limit of code_backup: inf"),
        ({"ignore": [3]}, InvalidType, r"`ignore` of code_backup takes a list of patterns, not \[3\]"),
        ({"scan": "no"}, InvalidType, "`scan` of code_backup takes True or False, not 'no'"),
    ],
)
def test_invalid_options_of_a_backup_are_refused(options: dict[str, Any], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        storage_choice({"storage": "here", "code_backup": options}, {}, {}, {})


@pytest.mark.parametrize(
    ("call", "kind"), [({"url": "x"}, UnknownName), (3, InvalidType), ({"code_backup": "yes"}, InvalidType)]
)
def test_invalid_storages_are_refused(call: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        storage_choice(call, {}, {}, {})


@pytest.mark.parametrize(
    ("mode", "expected"), [("DEV", True), ("dev", True), ("", False), ("Debug", False), ("DEFAULT", False)]
)
def test_the_mode_is_read_in_any_case(mode: str, expected: bool) -> None:
    assert is_development({"MACHINABLE_MODE": mode}) is expected
    assert storage_choice("here", {"MACHINABLE_MODE": mode}, {}, {}).url == (None if expected else "here")


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(InvalidValue, match="TURBO"):
        is_development({"MACHINABLE_MODE": "TURBO"})
