"""`machinable execute` where components require others: what is reused, run again, blocked, skipped, and why."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import machinable as ml
from machinable.storage import layout
from machinable.storage.locks import open_locks
from machinable.storage.open import open_files
from tests.cli.conftest import Run

YAML = """\
components:
  - part: {size: 10, fails: false}
  - net:
      _requires_: {data: part}
      depth: 4
"""
PART = """\
from machinable import Component


class Part(Component):
    def on_execute(self):
        self.store.write("size.json", self.config.size)
        if self.config.fails:
            raise ValueError("no parts")
"""
NET = """\
from machinable import Component


class Net(Component):
    def on_execute(self):
        self.record["loss"] = 1 / self.config.depth
        self.record.save()
"""


@pytest.fixture(autouse=True)
def pipeline(project: Path) -> None:
    (project / "machinable.yaml").write_text(YAML)
    (project / "part.py").write_text(PART)
    (project / "net.py").write_text(NET)


def states(run: Run, *words: str, storage: str = "out") -> list[str]:
    return [one["status"] for one in run("execute", "net", "--storage", storage, "--json", *words).data["trials"]]


def test_stored_results_are_reused_by_default(run: Run) -> None:
    assert states(run, "--seed", "42") == ["finished", "finished"]
    assert states(run) == ["reused", "finished"]
    assert states(run, "--reuse", "none") == ["finished", "finished"]
    assert states(run, "--rerun", "part") == ["finished", "finished"]
    assert states(run, "--rerun", "p*", "--no-cascade") == ["finished", "finished"]
    assert states(run, "--reuse", "same-code") == ["reused", "finished"]
    assert states(run, "--reuse", "all", "--seed", "43") == ["reused", "finished"]
    assert states(run, "--reuse", "all", "--seed", "43") == ["reused", "reused"]


def test_progress_and_results_name_reused_trials(run: Run) -> None:
    run("execute", "net", "--seed", "42", "--storage", "out")
    ran = run("execute", "net", "--seed", "43", "--storage", "out")

    lines = ran.err.splitlines()
    source = "8gWVkz/" + run("show", "8gWVkz", "--storage", "out", "--json").data["trials"][0]["uid"]
    assert lines[1].startswith("1/2 reused part ")
    assert lines[1].endswith(f" from {source}")
    assert lines[3].endswith("; 1 reused, 1 finished")
    assert ran.out.splitlines()[:3] == ["component  n  loss", "part       1", "net        1  0.25"]


def test_dry_shows_what_would_run_and_why(run: Run) -> None:
    run("execute", "net", "--seed", "42", "--storage", "out", "--quiet")
    words = ("execute", "net", "--storage", "out", "--dry", "--json")

    def actions(*more: str) -> list[tuple[str, str]]:
        return [(trial["action"], trial["why"]) for trial in run(*words, *more).data["trials"]]

    assert actions() == [("reuse", "its result exists"), ("run", "it is listed in the task")]
    assert actions("--rerun", "part")[0] == ("run", "rerun was requested")
    assert actions("--reuse", "none")[0] == ("run", "nothing is reused")
    assert "(1 reuse, 1 run)" in run(*words[:-1]).out.splitlines()[0]
    assert run(*words).data["trials"][0]["source"].startswith("8gWVkz/")


def test_rerun_of_an_unknown_name_is_an_error(run: Run) -> None:
    ran = run("execute", "net", "--storage", "out", "--rerun", "prt")

    assert (ran.code, ran.out) == (2, "")
    assert "Did you mean 'part'?" in ran.err


def test_trials_that_require_a_failed_one_are_blocked(run: Run, project: Path) -> None:
    (project / "machinable.yaml").write_text(YAML.replace("fails: false", "fails: true"))

    ran = run("execute", "net", "--storage", "out", "--seed", "42")

    assert ran.code == 1
    lines = ran.err.rstrip().splitlines()
    assert lines[2].startswith("2/2 blocked net ")
    assert lines[3].endswith("; 1 failed, 1 blocked")
    assert lines[-4:-2] == ["1 of 2 trials failed, 1 blocked", "  1 trial: ValueError: no parts"]
    # No command runs a requirement alone: listed as a component it is another trial.
    assert lines[-1] == "    again: machinable resume 8gWVkz --storage out"
    assert ran.out.splitlines()[1:3] == ["part       0       1        0", "net        0       0        1"]
    assert run("execute", "net", "--storage", "out", "--on-failure", "continue", "--quiet").code == 0


def test_a_failed_requirement_is_resumed(run: Run, project: Path) -> None:
    (project / "part.py").write_text(
        PART.replace("self.config.fails", "not Path('../repaired').exists()").replace(
            "from machinable", "from pathlib import Path\n\nfrom machinable"
        )
    )
    ran = run("execute", "net", "--storage", "out", "--seed", "42")
    (project.parent / "repaired").touch()

    again = ran.err.rstrip().splitlines()[-1].split()[2:]

    assert run(*again).code == 0


def test_results_that_another_execution_computes_can_be_skipped(run: Run, project: Path) -> None:
    run("execute", "net", "--storage", "out", "--quiet")  # so that there is a storage
    identity = ml.Task("net").plan()[0].identity
    (project / "out" / layout.pointer(identity)).unlink()
    files = open_files(str(project / "out"), create=False)
    locks = open_locks(files)
    lease = locks.take(layout.lease(identity), {"execution": "OY1p1o"})
    assert lease is not None
    try:
        ran = run("execute", "net", "--storage", "out", "--seed", "42", "--on-busy", "skip")
        busy = run("execute", "net", "--storage", "out", "--dry", "--json").data["trials"][0]
        failed = run("execute", "net", "--storage", "out", "--on-busy", "fail", "--quiet")
    finally:
        lease.release()
        locks.close()
        files.close()

    assert ran.code == 1
    assert ran.err.splitlines()[1].startswith("1/2 skipped part ")
    assert "because of OY1p1o" in ran.err.splitlines()[1]
    assert "\n8gWVkz  partial, 2 trials in " in ran.out
    assert "      machinable resume 8gWVkz --storage out\n" in ran.out
    assert (busy["action"], busy["why"].split()[0]) == ("busy", "OY1p1o")
    assert failed.code != 0


def test_attempts_and_timeout_can_be_given(run: Run, project: Path) -> None:
    (project / "part.py").write_text(PART.replace("self.config.fails", "self.flags.ATTEMPT < 3"))

    ran = run("execute", "net", "--storage", "out", "--retries", "2", "--retry-delay", "0", "--timeout", "60")

    assert ran.code == 0
    assert [line.partition(" ")[2].split()[0] for line in ran.err.splitlines()[1:4]] == ["failed", "failed", "finished"]
    assert run("execute", "net", "--retries", "-1").code == 2
    assert run("execute", "net", "--timeout", "0").code == 2


@pytest.mark.parametrize("delay", ["0.001", "1ms", "0 s"])
def test_durations_are_seconds_or_have_a_unit(run: Run, project: Path, delay: str) -> None:
    ran = run("execute", "net", "--storage", "out", "--retries", "0", "--retry-delay", delay, "--timeout", "2h")

    assert "Usage" not in ran.err
    ran = run("execute", "net", "--timeout", "soon")
    assert ran.code == 2
    assert "'soon' is not a duration; write seconds, or a number with ms, s, m, h or d: 90, 500ms, 2h" in ran.err


def test_list_and_show_say_why_trials_did_not_run(run: Run, project: Path) -> None:
    run("execute", "net", "--seed", "42", "--storage", "out", "--quiet")
    run("execute", "net", "depth=8", "--seed", "43", "--storage", "out", "--quiet")
    listed = run("list", "--storage", "out")
    data = run("list", "--storage", "out", "--json").data["executions"]
    (first, _), (part, net) = (
        [one["uid"] for one in run("show", name, "--storage", "out", "--json").data["trials"]]
        for name in ("8gWVkz", str(data[0]["execution"]))
    )

    assert listed.out.splitlines()[0].split()[5:8] == ["failed", "reused", "name"]
    assert [row["states"] for row in data] == [{"reused": 1, "finished": 1}, {"finished": 2}]
    shown = run("show", data[0]["execution"], "--storage", "out").out
    assert f"from 8gWVkz/{first}" in shown
    one = run("show", data[0]["execution"], "--trial", net, "--storage", "out").out
    identity = ml.Task("net").plan()[0].identity
    assert f"\nrequires\n  data  part  8gWVkz/{first}  {identity[:8]}\n" in one
    assert "\nthreads    1\n" in one
    assert (
        "\nstatus     reused from 8gWVkz/" in run("show", data[0]["execution"], "--trial", part, "--storage", "out").out
    )


def groups_of(run: Run, command: str) -> list[tuple[dict[str, object], int]]:
    """Return the settings and the number of trials of each group of `net`."""
    found = run(command, "OY1p1o", "--storage", "out", "--json").data["groups"]
    return [(group["config"], group["n"]) for group in found if group["component"] == "net"]


def test_trials_with_different_requirements_are_not_pooled_as_repetitions(run: Run, project: Path) -> None:
    task = ml.Task()
    for size in (1, 2):
        task.component("net", requires={"data": ("part", {"size": size})})
    ml.execute(task.repeat(3), str(project / "out"), seed="OY1p1o", project=str(project))

    for command in ("compare", "report"):
        one, other = groups_of(run, command)
        assert (one[1], other[1]) == (3, 3)
        assert str(one[0]["data"]).startswith("part ") and one[0]["data"] != other[0]["data"]


def test_trials_with_different_tags_children_or_versions_are_not_pooled(run: Run, project: Path) -> None:
    task = (
        ml.Task()
        .component("net", tags={"study": "a"})
        .component("net", tags={"study": "b"})
        .component("net", children=[("part", {"size": 1})])
        .component("net", children=[("part", {"size": 2})])
        .component("net")
        .component("net", {"depth": 4})
    )
    ml.execute(task.repeat(2), str(project / "out"), seed="OY1p1o", project=str(project))

    found = groups_of(run, "compare")

    assert [n for _, n in found] == [2] * 6
    names = ("study", "children.0.size", "version")
    assert [tuple(settings.get(name) for name in names) for settings, _ in found] == [
        ("a", None, ""),
        ("b", None, ""),
        (None, 1, ""),
        (None, 2, ""),
        (None, None, ""),
        (None, None, '{"depth": 4}'),
    ]


def test_a_version_for_one_component_reaches_required_ones(run: Run) -> None:
    def configs(*words: str) -> list[dict[str, Any]]:
        trials = run("execute", "net", *words, "--dry", "--json").data["trials"]
        return [trial["config"] for trial in trials]

    part, net = configs()
    assert configs("--of", "part", "size=7", "more=1") == [part | {"size": 7, "more": 1}, net]
    assert configs("--of", "net", "rate=3", "--of", "part", "size=7", "--quiet") == [
        part | {"size": 7},
        net | {"rate": 3},
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--of", "prt", "size=7"], "Did you mean 'part'?"),
        (["--of", "part"], "--of part needs a version or KEY=VALUE"),
        (["--of"], "--of NAME needs a version or KEY=VALUE"),
        (["--of", "part", "--dry"], "--of part needs a version or KEY=VALUE"),
        (["--of", "part", "@fast"], "in the version of the task for part"),
        (["--of", "part", "size"], "'size' is neither a version nor key=value"),
    ],
)
def test_a_wrong_version_for_one_component_is_an_error(run: Run, words: list[str], message: str) -> None:
    ran = run("execute", "net", "--storage", "out", *words)
    assert (ran.code, message in ran.err) == (2, True), ran.err


def test_words_for_one_component_have_their_place_on_the_command_line(run: Run) -> None:
    words = ["new=1", "--grid", "other=1,2", "--of", "part", "size=7", "extra=1", "--of", "net", "data.x=1", "--dry"]
    hinted = run("execute", "net", *words).err
    assert [line.partition(" hint")[0] for line in hinted.splitlines() if "hint" in line] == [
        f"command line:1:{column}:" for column in (1, 14, 41, 58)
    ], hinted

    error = run("execute", "net", "size=1", "--of", "part", "extra=1", "size=x", "--json").data["error"]
    assert error["at"] == "command line:1:26"


def test_wrong_versions_and_resources_have_their_place_on_the_command_line(run: Run) -> None:
    def error(*words: str) -> dict[str, Any]:
        found: dict[str, Any] = run("execute", "net", *words, "--json").data["error"]
        return found

    assert error("rate=1", "@fast")["at"] == "command line:1:8"
    assert error("rate=1", "--of", "part", "@fast")["at"] == "command line:1:18"
    assert error("rate=1", "_resources_.gpus=99")["at"] == "command line:1:8"
    assert error("--of", "part", "_resources_.gpus=99")["at"] == "command line:1:11"


def test_several_values_after_of_are_an_error_that_shows_their_grid(run: Run) -> None:
    assert (
        "'_requires_.NAME=[part, {size: VALUE}],[part, {size: VALUE}]'"
        in run("execute", "net", "--of", "part", "size=1,2").err
    )
    assert run("execute", "net", "--grid", "_requires_.part=[part, {size: 1}],[part, {size: 2}]", "--dry").code == 0


def test_an_execution_with_versions_for_one_component_is_resumed_with_them(run: Run, project: Path) -> None:
    ran = run("execute", "net", "--storage", "out", "--seed", "42", "--of", "part", "size=7", "fails=true")
    assert ran.err.rstrip().splitlines()[-1].strip() == "again: machinable resume 8gWVkz --storage out"
    planned = run("resume", "8gWVkz", "--storage", "out", "--dry", "--json").data["trials"]
    assert planned[0]["config"]["fails"] is True
    without = run("resume", "8gWVkz", "--of", "part", "size=7", "--storage", "out")
    assert (without.code, "--of needs a component" in without.err) == (2, True)
