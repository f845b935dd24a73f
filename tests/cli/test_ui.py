from __future__ import annotations

import socket
import stat
import sys
from pathlib import Path

import pytest

from machinable.cli import ui
from tests.cli.conftest import Run


@pytest.fixture
def storage(tmp_path: Path) -> str:
    (tmp_path / "results").mkdir()
    return str(tmp_path / "results")


def test_a_storage_that_does_not_exist_is_an_error_before_a_server_starts(run: Run, tmp_path: Path) -> None:
    ran = run("ui", "--storage", str(tmp_path / "resluts"))

    assert (ran.code, ran.out) == (3, "") and "there is no storage at" in ran.err


def test_without_nicegui_the_message_has_the_command_that_installs_it(
    run: Run, storage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "nicegui", None)

    ran = run("ui", "--storage", storage)

    assert (ran.code, ran.out) == (2, "")
    assert ran.err == "the page needs NiceGUI\n  Install it: pip install 'machinable-engine[ui]'\n"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--port", "99999"), "99999"),
        (("--port", "http"), "http"),
        (("--storage", "--edit"), "is an option"),
        (("results",), "results"),
    ],
)
def test_wrong_options_are_errors(run: Run, storage: str, words: tuple[str, ...], message: str) -> None:
    ran = run("ui", "--storage", storage, *words)

    assert (ran.code, ran.out) == (2, "") and message in ran.err


def test_a_port_in_use_is_an_error(run: Run, storage: str) -> None:
    pytest.importorskip("nicegui")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        ran = run("ui", "--storage", storage, "--port", str(port))

    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith(f"the port {port} cannot be used: Address already in use\n")


def test_the_browser_is_opened_without_the_token_among_the_words_of_its_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)

    ui._open("http://127.0.0.1:1/?token=a&b", tmp_path)

    file = tmp_path / "page.html"
    assert opened == [file.as_uri()] and stat.S_IMODE(file.stat().st_mode) == 0o600
    assert 'content="0; url=http://127.0.0.1:1/?token=a&amp;b"' in file.read_text()
    assert capsys.readouterr().err == "no browser was found; open the URL in one; Ctrl-C ends the page\n"
