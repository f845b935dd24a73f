"""The page in a real browser: one server and one browser for all tests of this file."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kits import chromium
from tests.kits.chromium import Browser

pytest.importorskip("nicegui")
pytestmark = [
    pytest.mark.xdist_group("page"),
    pytest.mark.skipif(chromium.PROGRAM is None, reason="Chromium is not installed"),
]

YAML = """\
components:
  - data: {size: 3}
  - net:
      rate: 0.1
      _requires_: {data: data}
"""
DATA = """\
from machinable import Component


class Data(Component):
    def on_execute(self):
        self.store.write("numbers.json", [1, 2, 3])
"""
NET = """\
from machinable import Component


class Net(Component):
    def on_execute(self):
        print("<img src=x onerror=document.title='hacked'> \\x1b[31mred\\x1b[0m")
        self.log.info("rate %s", self.config.rate)
        for i in range(20):
            self.record["loss"] = self.config.rate / (i + 1)
            self.record.save()
        if self.config.rate > 0.4:
            raise ValueError("too fast: <script>alert(1)</script>")
"""


def run(*words: str, directory: Path, **environment: str) -> str:
    command = [sys.executable, "-m", "machinable", *words]
    ran = subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=120, env={**os.environ, **environment}
    )
    assert ran.returncode in (0, 1), ran.stderr
    return ran.stdout


class Server:
    """A running `machinable ui`, and its URL with the token."""

    def __init__(self, *words: str, directory: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "machinable", "ui", *words],
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.home = self.url.partition("/?")[0]

    def end(self, how: int = signal.SIGINT) -> tuple[int, str]:
        if self.process.poll() is None:
            self.process.send_signal(how)
        _, err = self.process.communicate(timeout=60)
        return self.process.returncode, err


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("project")
    (directory / "machinable.yaml").write_text(YAML)
    (directory / "data.py").write_text(DATA)
    (directory / "net.py").write_text(NET)
    run("execute", "net", "--grid", "rate=0.1,0.2,0.5", "--repeat", "2", "--storage", "results", directory=directory)
    return directory


@pytest.fixture(scope="module")
def server(project: Path) -> Iterator[Server]:
    found = Server("--storage", "results", directory=project)
    yield found
    found.end()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Iterator[Browser]:
    with chromium.browser(tmp_path_factory.mktemp("profile")) as found:
        found.resize(1400, 900)
        found.open(server.url)
        yield found


@pytest.fixture(autouse=True)
def _nothing_is_wrong(request: pytest.FixtureRequest) -> Iterator[None]:
    """Check after each test that scripts had no error, and that nothing was asked of another host."""
    yield
    if "tab" in request.fixturenames:
        tab, server = request.getfixturevalue("tab"), request.getfixturevalue("server")
        assert tab.console == []
        places = (server.home, server.home.replace("http", "ws", 1), "data:", "blob:")
        assert [url for url in tab.requests if not url.startswith(places)] == []


def shown(tab: Browser, server: Server, path: str, text: str) -> str:
    """Open a page, wait for a text, check that nothing is wider than the window, and return what it shows."""
    tab.open(server.home + path)
    tab.wait_for(text)
    tab.wait("document.documentElement.scrollWidth <= window.innerWidth")
    return tab.text()


def test_the_first_page_lists_executions_and_keeps_no_token(tab: Browser, server: Server) -> None:
    text = shown(tab, server, "/", "2 failed")

    assert "5 finished" in text and "net" in text
    assert tab.run("location.href") == f"{server.home}/" and tab.run("document.title") == "Executions · machinable"


def test_a_wrong_token_gets_nothing(tmp_path: Path, server: Server) -> None:
    with chromium.browser(tmp_path / "profile") as stranger:
        stranger.open(f"{server.home}/?token=wrong")
        assert "machinable ui printed" in stranger.text() and "net" not in stranger.text()
        stranger.open(f"{server.home}/trials")
        assert "No access" in stranger.text()


def test_trials_are_filtered_with_the_conditions_of_the_command_line(tab: Browser, server: Server) -> None:
    shown(tab, server, "/trials", "7 trials")

    tab.click("input[aria-label=conditions]")
    tab.type("config.rate<0.3 and status=finished")
    tab.press("Enter", 13)
    tab.wait_for("4 trials")
    assert tab.run("location.search") == "?where=config.rate%3C0.3+and+status%3Dfinished"
    tab.type(" and")
    tab.press("Enter", 13)
    tab.wait("document.querySelector('pre.error')")
    lines = tab.text("pre.error").splitlines()
    assert lines[1].strip() == "config.rate<0.3 and status=finished and" and lines[2].strip() == "^"


def test_a_heading_sorts_and_a_page_can_be_linked(tab: Browser, server: Server) -> None:
    shown(tab, server, "/trials?columns=uid,records.loss&where=status=finished+and+component=net", "4 trials")

    tab.click("th a[href*='sort=records.loss']")
    tab.wait_for("loss ▲")
    tab.click("th a[href*='sort=records.loss']")
    tab.wait_for("loss ▼")

    losses = tab.run("[...document.querySelectorAll('tbody td:last-child')].map(e => Number(e.innerText))")
    assert losses == sorted(losses, reverse=True) and len(losses) == 4


def test_groups_have_intervals(tab: Browser, server: Server) -> None:
    text = shown(tab, server, "/trials?by=config.rate&where=component=net", "95 % interval")

    assert re.search(r"0\.1\s+2\s+0\s+0\.005 ± 0", text)


def test_two_trials_are_chosen_for_a_comparison(tab: Browser, server: Server) -> None:
    shown(tab, server, "/trials?where=component=net", "6 trials")

    tab.click("tbody tr:nth-child(1) input")
    tab.wait_for("1 chosen")
    tab.click("tbody tr:nth-child(2) input")
    tab.wait_for("2 chosen")

    assert tab.run("document.querySelector('.chosen a').getAttribute('href')").startswith("/compare?one=")


@pytest.mark.parametrize("path", ["/", "/trials", "/trials?by=config.rate"])
@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_no_page_is_wider_than_the_window(tab: Browser, server: Server, path: str, dark: bool) -> None:
    tab.resize(390, 844, dark=dark, phone=True)
    try:
        shown(tab, server, path, "machinable")
        background = tab.run("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(20, 23, 28)") is dark
    finally:
        tab.resize(1400, 900)


def test_it_ends_with_ctrl_c_while_a_browser_is_connected_and_says_no_token(project: Path, tab: Browser) -> None:
    before = sorted(path for path in project.rglob("*") if "__pycache__" not in path.parts)
    other = Server("--storage", "results", directory=project)
    token = other.url.partition("token=")[2]
    tab.open(other.url)
    tab.wait_for("2 failed")
    tab.open("about:blank#")
    tab.requests.clear()

    code, err = other.end()

    assert code == 130 and "Traceback" not in err and token not in err
    assert sorted(path for path in project.rglob("*") if "__pycache__" not in path.parts) == before
