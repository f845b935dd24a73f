"""What counts when several say something."""

from __future__ import annotations

from typing import Any

import pytest

from machinable.errors import InvalidType, InvalidValue, UnknownName
from machinable.settings import choose, is_development, storage_choice

EVERYBODY: dict[str, Any] = {
    "call": "call", "environment": {"MACHINABLE_ENGINE": "environment"},
    "project": {"engine": "project"}, "user": {"engine": "user"},
}  # fmt: skip


@pytest.mark.parametrize("silent", range(5))
def test_the_nearest_who_says_something_counts(silent: int) -> None:
    order = ["call", "environment", "project", "user", "default"]
    said = {name: value if order.index(name) >= silent else (None if name == "call" else {}) for name, value in EVERYBODY.items()}  # noqa: E501  # fmt: skip
    choice = choose("engine", said["call"], said["environment"], said["project"], said["user"], "default")
    assert choice == (order[silent], order[silent])


@pytest.mark.parametrize(
    ("call", "project", "expected"),
    [
        (None, {}, (None, "default", False)),
        ("here", {}, ("here", "call", True)),
        ("here", {"code_backup": False}, ("here", "call", False)),
        ({"storage": "here", "code_backup": True}, {"code_backup": False}, ("here", "call", True)),
        ({"code_backup": False}, {"storage": "kept"}, ("kept", "project", False)),
    ],
)
def test_a_storage_comes_with_or_without_a_backup(call: Any, project: dict[str, Any], expected: Any) -> None:
    assert storage_choice(call, {}, project, {}) == expected


@pytest.mark.parametrize(
    ("call", "kind"), [({"url": "x"}, UnknownName), (3, InvalidType), ({"code_backup": "yes"}, InvalidType)]
)
def test_other_storages_are_refused(call: Any, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        storage_choice(call, {}, {}, {})


@pytest.mark.parametrize(
    ("mode", "expected"), [("DEV", True), ("dev", True), ("", False), ("Debug", False), ("DEFAULT", False)]
)
def test_development_mode_is_switched_on_in_any_case(mode: str, expected: bool) -> None:
    assert is_development({"MACHINABLE_MODE": mode}) is expected
    assert storage_choice("here", {"MACHINABLE_MODE": mode}, {}, {}).url == (None if expected else "here")


def test_another_mode_is_refused() -> None:
    with pytest.raises(InvalidValue, match="TURBO"):
        is_development({"MACHINABLE_MODE": "TURBO"})
