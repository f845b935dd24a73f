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

from machinable.results.storage import Storage
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
  - waiting: {patience: 60}
"""
DATA = """\
from machinable import Component


class Data(Component):
    def on_execute(self):
        self.store.write("numbers.json", [1, 2, 3])
        self.store.write("page.html", "<script>document.title = 'hacked'</script>")
        self.store.write("picture.svg", PICTURE.encode())
        self.store.write("table.csv", [{"a": 1, "b": "<b>"}])


PICTURE = (
    "<svg xmlns='http://www.w3.org/2000/svg' width='40' height='30'><rect width='40' height='30' fill='green'/>"
    "<script>document.title = 'hacked'</script></svg>"
)
"""
WAITING = """\
from pathlib import Path
from time import sleep

from machinable import Component


class Waiting(Component):
    def on_execute(self):
        for step in ("one", "two"):
            self.log.info("waiting for %s", step)
            self.record["step"] = len(step)
            self.record.save()
            while not Path(step).exists():
                sleep(0.02)
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
    (directory / "waiting.py").write_text(WAITING)
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
    if "tab" not in request.fixturenames:
        yield
    else:
        tab, server = request.getfixturevalue("tab"), request.getfixturevalue("server")
        tab.console.clear()
        yield
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


def trial_of(project: Path, condition: str) -> str:
    """Return `ID/UID` of the first trial that satisfies a condition."""
    with Storage(project / "results") as storage:
        trial = storage.trials.where(condition)[0]
        return f"{trial.execution}/{trial.uid}"


def test_an_execution_has_its_graph_of_requirements_and_its_trials(tab: Browser, server: Server, project: Path) -> None:
    name = trial_of(project, "component=net").partition("/")[0]

    text = shown(tab, server, f"/execution/{name}", "Requirements")

    assert "machinable execute net" in text and "7 trials" in text
    tab.wait("document.querySelector('.chart canvas')")


def test_a_trial_shows_what_it_has_written_and_nothing_of_it_runs(tab: Browser, server: Server, project: Path) -> None:
    text = shown(tab, server, f"/trial/{trial_of(project, 'config.rate=0.1 and component=net')}", "rate 0.1")
    assert "<img src=x onerror=document.title='hacked'> red" in text and "required by" not in text
    tab.wait("document.querySelectorAll('.chart.small canvas').length == 1")

    text = shown(tab, server, f"/trial/{trial_of(project, 'component=data')}", "picture.svg")
    assert "<script>document.title = 'hacked'</script>" in text and "required by" in text
    tab.wait("document.querySelector('.artifact img')?.naturalWidth == 40")
    assert "hacked" not in tab.run("document.title")


def test_a_failed_trial_shows_its_error_and_the_command_that_runs_it_again(
    tab: Browser, server: Server, project: Path
) -> None:
    text = shown(tab, server, f"/trial/{trial_of(project, 'status=failed')}", "run it again")

    assert "ValueError: too fast: <script>alert(1)</script>" in text
    assert "machinable execute net rate=0.5 --repeat 1 --storage" in text


def test_failures_are_listed_by_kind(tab: Browser, server: Server) -> None:
    text = shown(tab, server, "/failures", "2 × ValueError: too fast")

    assert "all with rate=0.5" in text and "machinable execute net" in text


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("", "95 % interval of loss by row"),
        ("?kind=scatter&x=config.rate&metric=records.loss", "Loss by rate, n = 4."),
        ("?kind=bars&metric=records.loss&where=component%3Dnet", "95 % interval of loss, n = 2"),
        ("?kind=parallel", "axes of parallel coordinates"),
        ("?kind=heatmap&x=config.rate&by=component&metric=records.loss", "Mean of loss by rate and component"),
    ],
)
def test_charts_are_drawn(tab: Browser, server: Server, query: str, text: str) -> None:
    shown(tab, server, f"/charts{query}", text)

    tab.wait("document.querySelector('.chart canvas')?.width > 300")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?metric=records.los", "records.loss"),
        ("?metric=records.loss&kind=pie", "no kind named 'pie'"),
        ("?metric=records.loss&smooth=x", "smooth is 'x'"),
        ("?where=status%3Dpending", "there are no trials to draw"),
    ],
)
def test_what_cannot_be_drawn_is_said(tab: Browser, server: Server, query: str, message: str) -> None:
    shown(tab, server, f"/charts{query}", message)


def test_a_dot_leads_to_its_trial(tab: Browser, server: Server) -> None:
    shown(tab, server, "/charts?kind=scatter&x=config.rate&where=config.rate%3D0.1", "Loss by rate")
    tab.wait("document.querySelector('.chart canvas')?.width > 300")

    tab.wait(
        """(() => { const e = document.querySelector('.chart'), c = getElement(+e.id.slice(1)).chart;
        if (!c.getOption().series?.length) return false;
        window.dot = c.convertToPixel({seriesIndex: 0}, c.getOption().series[0].data[0].value);
        return window.dot; })()"""
    )
    x, y = tab.run(
        "(r => [r.x + dot[0], r.y + dot[1]])(document.querySelector('.chart canvas').getBoundingClientRect())"
    )
    tab.click_at(x, y)

    tab.wait_for("Configuration")
    assert tab.run("location.pathname").startswith("/trial/")


def test_two_sides_are_compared(tab: Browser, server: Server, project: Path) -> None:
    one, other = (trial_of(project, f"component=net and config.rate={rate}") for rate in (0.1, 0.5))

    text = shown(tab, server, f"/compare?one={one}&other={other}", "Configuration")

    assert re.search(r"rate\s+0\.1\s+0\.5", text) and "Results that differ" in text
    shown(tab, server, f"/compare?one={one}&other=nothing", "there is no execution 'nothing'")


def test_a_running_execution_updates_by_itself(tab: Browser, server: Server, project: Path) -> None:
    command = [sys.executable, "-m", "machinable", "execute", "waiting", "--storage", "results", "--quiet"]
    process = subprocess.Popen(command, cwd=project, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        shown(tab, server, "/", "1 running")
        place = trial_of(project, "component=waiting")
        text = shown(tab, server, f"/trial/{place}", "waiting for one")
        assert "waiting for two" not in text
        (project / "one").touch()
        tab.wait_for("waiting for two")
        (project / "two").touch()
        tab.wait("document.querySelector('.head .state').innerText == 'finished'")
    finally:
        for step in ("one", "two"):
            (project / step).touch()
        process.wait(60)


def fetched(tab: Browser, path: str) -> tuple[int, str, str | None]:
    """Return status, content and policy of an address, asked by the page itself."""
    found = tab.run(
        f"fetch({path!r}).then(async r => [r.status, await r.text(), r.headers.get('content-security-policy')])"
    )
    return found[0], found[1], found[2]


def test_an_artifact_is_sent_without_a_way_to_run_and_nothing_else_is_sent(
    tab: Browser, server: Server, project: Path
) -> None:
    shown(tab, server, "/", "2 failed")
    place = trial_of(project, "component=data")

    status, text, policy = fetched(tab, f"/artifact/{place}/page.html")
    assert (status, text) == (200, "<script>document.title = 'hacked'</script>")
    assert policy is not None and policy.startswith("sandbox; default-src 'none'")
    tab.open(f"{server.home}/artifact/{place}/picture.svg")
    assert tab.run("document.title") == ""
    shown(tab, server, "/", "2 failed")
    tab.console.clear()  # the sandbox has refused the script
    for name in ("..%2Fstatus.json", "%2e%2e/trial.json", "..%5cstatus.json", "%2Fetc%2Fpasswd", "none.txt", "a%00b"):
        status, text, _ = fetched(tab, f"/artifact/{place}/{name}")
        assert status == 404 and '"state"' not in text and "root:" not in text
    for path in (f"/artifact/{place.partition('/')[0]}/..%2F../x", "/artifact/..%2f..%2fetc/x/passwd"):
        assert fetched(tab, path)[0] == 404
    tab.console.clear()  # a line for each 404


def test_pages_of_what_does_not_exist_say_so(tab: Browser, server: Server) -> None:
    shown(tab, server, "/execution/nothing", "there is no execution 'nothing'")
    shown(tab, server, "/trial/nothing/x", "there is no execution 'nothing'")


def test_a_report_that_is_loaded_again_keeps_what_was_opened_and_sorted(tab: Browser, project: Path) -> None:
    run("report", "last", "--storage", "results", "--to", "report.html", directory=project)
    page = (project / "report.html").as_uri()
    sort = "[...document.querySelectorAll('table.sortable')].at(-1)"
    tab.open(page)
    try:
        was_open = tab.run("document.querySelector('details').open")
        tab.run("document.querySelector('summary').click()")
        tab.run(f"{sort}.querySelectorAll('th')[0].click(), {sort}.querySelectorAll('th')[0].click()")
        rows = tab.run(f"{sort}.tBodies[0].innerText")

        tab.open(page + "?again")
        tab.open(page)

        assert tab.run("document.querySelector('details').open") is not was_open
        assert tab.run(f"{sort}.querySelector('th').dataset.order") == "-1"
        assert tab.run(f"{sort}.tBodies[0].innerText") == rows
    finally:
        tab.requests.clear()  # of a file, which no other page asks for


@pytest.mark.parametrize("path", ["/", "/trials", "/trials?by=config.rate", "/charts", "/compare", "/failures"])
@pytest.mark.parametrize("dark", [False, True])
def test_on_a_phone_no_page_is_wider_than_the_window(tab: Browser, server: Server, path: str, dark: bool) -> None:
    tab.resize(390, 844, dark=dark, phone=True)
    try:
        shown(tab, server, path, "machinable")
        background = tab.run("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(20, 23, 28)") is dark
    finally:
        tab.resize(1400, 900)


def test_tags_and_notes_are_added_where_that_is_allowed(tab: Browser, server: Server, project: Path) -> None:
    place = trial_of(project, "component=data")
    shown(tab, server, f"/trial/{place}", "Artifacts")
    assert not tab.run("document.querySelector('input[aria-label=tags]')")
    editing = Server("--storage", "results", "--edit", directory=project)
    try:
        tab.open(editing.url)
        shown(tab, editing, f"/trial/{place}", "Artifacts")
        tab.click("[aria-label=note]")
        tab.type("<b>good</b>")
        tab.press("Enter", 13)
        tab.wait_for("<b>good</b> · ")
        tab.click("input[aria-label=tags]")
        tab.type("study=ablation best")
        tab.press("Enter", 13)
        tab.wait_for("'best' is not a tag")
        tab.run("document.activeElement.select()")
        tab.type("study=ablation")
        tab.press("Enter", 13)
        tab.wait("document.querySelector('.columns').innerText.includes('ablation')")
    finally:
        editing.end()
        tab.open("about:blank#")
        tab.requests.clear()
    with Storage(project / "results") as storage:
        trial = storage.trials.where("tags.study=ablation")[0]
        assert f"{trial.execution}/{trial.uid}" == place and [line["note"] for line in trial.notes] == ["<b>good</b>"]


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
