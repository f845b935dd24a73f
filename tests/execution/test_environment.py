"""The description of a host suffices to repeat a command and contains no secret."""

from __future__ import annotations

import os
import re
from importlib.metadata import version
from pathlib import Path

import pytest

from machinable.execution.environment import command_line, host, now, packages


@pytest.mark.parametrize(
    ("typed", "noted"),
    [
        (["/usr/bin/machinable", "execute", "a", "x=1"], "machinable execute a x=1"),
        (["m", "text=two words"], "m 'text=two words'"),
        (["m", "--storage", "s3://KEY:SECRET@bucket/results"], "m --storage s3://bucket/results"),
        (["m", "--storage=s3://KEY:SECRET@bucket/results"], "m --storage=s3://bucket/results"),
        (["m", "_token=abc", "data._key=abc", "_table_=x"], "m '_token=…' 'data._key=…' _table_=x"),
        (["m", "data={_token: abc, x: 1}"], """m 'data={"_token": "…", "x": 1}'"""),
        (["m", "list=[{_k: abc}, {a: {_k: abc}}]"], """m 'list=[{"_k": "…"}, {"a": {"_k": "…"}}]'"""),
        (["m", "data=_token: abc"], """m 'data={"_token": "…"}'"""),
        (["m", 'data={"\\x5ftoken": abc}'], """m 'data={"_token": "…"}'"""),
        (["m", "data={? _token : abc}"], """m 'data={"_token": "…"}'"""),
        (["m", "data={a._token: abc}"], """m 'data={"a._token": "…"}'"""),
        (["m", "data={_token: abc"], "m 'data={_token: …'"),
        (["m", "_token?=abc", "a._b.c=abc"], "m '_token?=…' 'a._b.c=…'"),
        (["m", "data={x: 1, y: 2:30}"], "m 'data={x: 1, y: 2:30}'"),
        (["m", "url=https://ada:abc@host/x"], "m url=https://host/x"),
        (
            ["m", "urls=[https://ada:abc@host/x, 'ftp://abc@host']"],
            "m 'urls=[https://host/x, '\"'\"'ftp://host'\"'\"']'",
        ),
        (["m", "https://ada:abc@host/x?a=b"], "m 'https://host/x?a=b'"),
        (["s.py", "--password=abc", "--api-key", "abc", "x"], "s.py '--password=…' --api-key '…' x"),
        (["m", "--grid=_token=a,b", "--grid", "_k=a,b"], "m '--grid=_token=…' --grid '_k=…'"),
        (["s.py", "--apiKey", "abc", "--token", "--dry"], "s.py --apiKey '…' --token --dry"),
        (["s.py", "--db.passwd=a=b", "--tokenizer", "bert"], "s.py '--db.passwd=…' --tokenizer bert"),
        ([], "''"),
    ],
)
def test_a_command_is_recorded_without_credentials_and_hidden_values(typed: list[str], noted: str) -> None:
    assert command_line(typed) == noted


def test_packages_bundled_in_a_package_are_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "site-packages"
    (installed / "ray" / "thirdparty_files" / "colorama-0.4.6.dist-info").mkdir(parents=True)
    (installed / "ray-2.60.0.dist-info").mkdir()
    monkeypatch.setattr("sys.path", [str(installed / "ray" / "thirdparty_files"), str(installed)])
    assert packages() == {"ray": "2.60.0"}


def test_packages_that_are_installed_later_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [str(tmp_path), str(tmp_path / "missing")])
    (tmp_path / "fancylib-1.2.0.dist-info").mkdir()
    assert packages() == packages() == {"fancylib": "1.2.0"}

    (tmp_path / "fancylib-1.2.0.dist-info").rename(tmp_path / "fancylib-1.3.0.dist-info")
    os.utime(tmp_path, ns=(0, 0))  # as where the clock of files is coarse, but not that coarse

    assert packages() == {"fancylib": "1.3.0"}


def test_packages_are_the_installed_ones() -> None:
    found = packages()
    assert (found["pyyaml"], found["pytest"]) == (version("pyyaml"), version("pytest"))


def test_the_time_is_utc_with_microseconds() -> None:
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00", now())


def test_a_host_has_a_name() -> None:
    assert host()["name"]
