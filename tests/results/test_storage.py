"""Opening a storage, and finding executions in it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import machinable
from machinable.errors import Damaged, InvalidType, InvalidValue, NotStored, StorageError, StorageUnavailable
from machinable.results.storage import Storage
from machinable.storage.local import DirectoryFiles
from machinable.storage.pyfilesystem import import_fs
from machinable.units import format_time
from tests.results.worlds import facts, finished, planned, stored, time, uid, write


@pytest.fixture
def files(tmp_path: Path) -> DirectoryFiles:
    return DirectoryFiles(tmp_path)


def test_opening_to_read_creates_nothing(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match="there is no storage at"):
        Storage(tmp_path / "results")

    assert list(tmp_path.iterdir()) == []


def test_a_path_is_relative_to_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").mkdir()
    monkeypatch.chdir(tmp_path)

    storage = Storage("results")
    monkeypatch.chdir("/")

    assert (storage.url, storage.executions) == (str(tmp_path / "results"), [])


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    assert Storage("~").url == str(tmp_path)


def test_the_newest_execution_is_first_and_the_folder_decides_between_equals(files: DirectoryFiles) -> None:
    stored([], files=files, folder="OY1p1o", started=time(30))
    stored([], files=files, folder="8gWVkz", started=time(10))
    stored([], files=files, folder="OY1p1o-2", started=time(10))

    assert [str(execution) for execution in Storage(files.url).executions] == ["8gWVkz", "OY1p1o-2", "OY1p1o"]


def test_other_folders_and_files_are_not_listed(files: DirectoryFiles) -> None:
    stored([], files=files)
    files.create_directory("8gWVkz")  # an execution that is about to begin
    write(files, "by-content/ab/abcd.json", {})
    write(files, "OY1p1o-1/execution.json", facts())
    write(files, "backup of OY1p1o/execution.json", facts())
    write(files, "ABCDEF", b"a file")

    storage = Storage(files.url)

    assert [str(execution) for execution in storage] == ["OY1p1o"]
    names = ("OY1p1o", "8gWVkz", "OY1p1o-1", "backup of OY1p1o", "../OY1p1o", "ABCDEF", 7)
    assert [name for name in names if name in storage] == ["OY1p1o"]


def test_an_execution_is_found_by_its_id_and_a_rerun_by_its_suffix(files: DirectoryFiles) -> None:
    stored([], files=files)
    stored([], files=files, folder="OY1p1o-2")

    with Storage(files.url) as storage:
        first, second = storage["OY1p1o"], storage["OY1p1o-2"]

    assert [(str(one), one.id, one.run, one.seed) for one in (first, second)] == [
        ("OY1p1o", "OY1p1o", 1, 22490017876),
        ("OY1p1o-2", "OY1p1o", 2, 22490017876),
    ]


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("OY1p10", "Did you mean 'OY1p1o' or 'OY1p1o-2'?"),
        ("zzzzzz", "Stored are: OY1p1o, OY1p1o-2"),
        ("../OY1p1o", "Did you mean 'OY1p1o' or 'OY1p1o-2'?"),
    ],
)
def test_an_unknown_execution_is_an_error_with_near_names(files: DirectoryFiles, given: str, advice: str) -> None:
    stored([], files=files)
    stored([], files=files, folder="OY1p1o-2")

    with pytest.raises(NotStored) as caught:
        Storage(files.url)[given]

    assert isinstance(caught.value, KeyError)
    assert str(caught.value) == f"there is no execution {given!r} in {files.url}\n  {advice}"


def test_an_empty_storage_says_so(files: DirectoryFiles) -> None:
    with pytest.raises(NotStored, match="No execution is stored there"):
        Storage(files.url)["OY1p1o"]


def test_trials_are_those_of_the_newest_execution_first_in_plan_order(files: DirectoryFiles) -> None:
    stored([planned(0), planned(1)], files=files, started=time(30))
    stored([planned(0), planned(1)], files=files, folder="8gWVkz", started=time(10))

    trials = Storage(files.url).trials

    assert [(str(trial.execution), trial.uid) for trial in trials] == [
        ("8gWVkz", uid(0)),
        ("8gWVkz", uid(1)),
        ("OY1p1o", uid(0)),
        ("OY1p1o", uid(1)),
    ]


def test_a_storage_shows_its_present_state(files: DirectoryFiles) -> None:
    storage = Storage(files.url)
    assert len(storage.trials) == 0

    stored([planned(0)], [finished(0)], files=files)

    assert [trial.status for trial in storage.trials] == ["finished"]


def test_a_newer_format_is_an_error_with_the_next_step(files: DirectoryFiles) -> None:
    stored([], files=files, format=2)

    with pytest.raises(StorageError) as caught:
        _ = Storage(files.url)["OY1p1o"].id

    assert str(caught.value) == (
        f"{files.url}/OY1p1o/execution.json has format 2; this version of machinable reads format 1\n"
        "  Read it with a newer version: pip install --upgrade machinable-engine"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read"),
        (b'{"format": 1, "id"', "cannot be read"),
        (b"[]", "cannot be read: it holds a list, not a mapping"),
        (b"\xff\xfe{", "cannot be read"),
        (b"{}", "cannot be read: it lacks format"),
        (b'{"format": "1"}', "cannot be read: format is text, not an integer"),
        (b'{"format": 0}', "cannot be read: format is 0"),
        (b'{"format": 1, "id": "OY1p1o", "seed": true, "run": 1}', "cannot be read: it lacks started"),
    ],
)
def test_a_damaged_execution_is_an_error(files: DirectoryFiles, content: bytes, message: str) -> None:
    files.write("OY1p1o/execution.json", content)

    with pytest.raises(Damaged) as caught:
        _ = Storage(files.url)["OY1p1o"].id

    assert str(caught.value).startswith(f"{files.url}/OY1p1o/execution.json {message}")


def test_executions_that_cannot_be_read_are_left_out_with_a_warning_each(files: DirectoryFiles) -> None:
    for number in range(2, 5):
        stored([planned(0)], [finished(0)], files=files, folder=f"OY1p1o-{number}")
    files.write("OY1p1o/execution.json", b"{")
    stored([planned(0)], files=files, folder="OY1p1p", format=9)
    files.write("OY1p1o-2/ledger.jsonl", b'{"event": ["failed"]}\n')
    files.write("OY1p1o-3/plan.jsonl", b"[[[")

    storage = Storage(files.url)
    with pytest.warns(RuntimeWarning) as unread:
        assert [str(execution) for execution in storage] == ["OY1p1o-2", "OY1p1o-3", "OY1p1o-4"]
    assert [str(one.message).partition(": ")[0] for one in unread] == ["OY1p1o is left out", "OY1p1p is left out"]
    with pytest.warns(RuntimeWarning) as unread:
        assert [str(trial.execution) for trial in storage.trials] == ["OY1p1o-4"]
    assert [str(one.message) for one in unread[2:]] == [
        f"OY1p1o-2 is left out: line 1 of {files.url}/OY1p1o-2/ledger.jsonl is not an event: event is a list, not text",
        f"OY1p1o-3 is left out: line 1 of {files.url}/OY1p1o-3/plan.jsonl is not a trial: "
        "Expecting value: line 1 column 4 (char 3)",
    ]


def test_several_storages_are_read_as_one(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        stored([planned(0)], [finished(0, x=number)], files=DirectoryFiles(tmp_path / name), folder="OY1p1o")
        stored([planned(0)], files=DirectoryFiles(tmp_path / name), folder=f"OY1p1o-{number + 2}")
    with Storage([tmp_path / "a", str(tmp_path / "b")]) as storage:
        assert sorted(str(execution) for execution in storage) == ["OY1p1o", "OY1p1o-2", "OY1p1o-3"]
        assert storage["OY1p1o-3"].storage == str(tmp_path / "b")
        assert [trial.last_row for trial in storage["OY1p1o"]] == [{"x": 0}]
        assert storage.url == f"{tmp_path}/a, {tmp_path}/b"
        assert len(storage.trials) == 3
    with pytest.raises(InvalidValue, match="no storage is given"):
        Storage([])


def test_an_error_names_the_directories_in_which_executions_are(tmp_path: Path) -> None:
    stored([planned(0)], files=DirectoryFiles(tmp_path / "results"))
    with pytest.raises(NotStored) as caught:
        Storage(tmp_path)["OY1p1o"]
    assert str(caught.value) == (
        f"there is no execution 'OY1p1o' in {tmp_path}\n"
        f"  Executions are stored in {tmp_path}/results: name that directory as the storage."
    )
    with pytest.warns(UserWarning, match="It is itself an execution: name the directory that contains it"):
        assert Storage(tmp_path / "results" / "OY1p1o").executions == []


@pytest.mark.parametrize("given", [42, None, ["results", 42], [["results"]]])
def test_what_is_no_storage_is_refused(given: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidType, match=r"is not a storage\n  A storage is a path or a URL"):
        Storage(given)


def test_a_url_is_shown_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_fs()
    from fs.memoryfs import MemoryFS

    monkeypatch.setattr(module, "open_fs", lambda url, create: MemoryFS())
    storage = Storage("ftp://ada:geheim@host/results")

    assert (storage.url, repr(storage)) == ("ftp://host/results", "<Storage ftp://host/results>")


def test_reading_a_directory_imports_no_heavy_library(files: DirectoryFiles) -> None:
    stored([planned(0, {"lr": 0.1})], [finished(0, loss=1.0)], files=files)
    program = (
        "import sys; from machinable.results.storage import Storage; "
        f"trials = Storage({files.url!r}).trials.where(status='finished', **{{'config.lr': 0.1}}); "
        "assert trials.rows()[0]['records.loss'] == 1.0; "
        "print(*{name.partition('.')[0] for name in sys.modules} & set(sys.argv[1:]))"
    )

    result = subprocess.run(
        [sys.executable, "-c", program, "fs", "git", "numpy", "pandas", "ray", "rich", "boto3", "yaml"],
        capture_output=True,
        text=True,
        cwd=Path(machinable.__file__).parents[1],
    )

    assert (result.stdout.split(), result.stderr) == ([], "")


def test_an_execution_is_found_as_people_type_it(files: DirectoryFiles, tmp_path: Path) -> None:
    for number, folder in enumerate(("OY1p1o", "OY1p1o-2", "8gWVkz")):
        stored([planned(0)], files=files, folder=folder, started=time(90 - number))
    storage = Storage(tmp_path)

    typed = ("last", "last-1", "last-2", "8", "OY1p1o", "OY1p1o-")
    assert [str(storage.find(name)) for name in typed] == [
        "8gWVkz",
        "OY1p1o-2",
        "OY1p1o",
        "8gWVkz",
        "OY1p1o",
        "OY1p1o-2",
    ]
    with pytest.raises(
        InvalidValue, match="'OY' is the beginning of several executions\n  Type more of one: OY1p1o, OY"
    ):
        storage.find("OY")
    with pytest.raises(NotStored, match=r"there is no execution 'last-3' in .*\n  There are 3, from last on"):
        storage.find("last-3")
    for wrong in ("", "x", "../OY1p1o", "last-", "LAST"):
        with pytest.raises(NotStored):
            storage.find(wrong)


def test_trials_are_read_on_first_use_and_then_kept(files: DirectoryFiles, tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    trials = storage.trials
    stored([planned(0)], files=files, folder="OY1p1o")
    assert len(trials) == 1
    stored([planned(0), planned(1)], files=files, folder="8gWVkz")
    assert (len(trials), len(storage.trials)) == (1, 3)


def test_python_says_where_executions_are_instead(tmp_path: Path) -> None:
    stored([planned(0)], files=DirectoryFiles(tmp_path / "results"))

    with pytest.warns(UserWarning, match=r"there is no execution in .* name that directory as the storage"):
        assert len(Storage(tmp_path).trials) == 0


def test_a_notebook_shows_the_newest_executions_and_nothing_runs_in_it(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path)
    for number in range(22):
        folder = f"OY1p1o-{number}" if number > 1 else f"OY1p1{'op'[number]}"
        evil = planned(0, component="<script>")
        stored([evil], [finished(0)], files=files, folder=folder, started=time(number), name="<b>")

    shown = Storage(tmp_path)._repr_html_()

    assert shown.count("<tr>") == 21
    assert f"<td>OY1p1o</td><td>{format_time(time(0))}</td><td>finished</td><td>1</td><td>&lt;b&gt;</td>" in shown
    assert "<td>&lt;script&gt;</td>" in shown and "<script>" not in shown
    assert shown.endswith("<p>… and 2 older</p>")
    assert shown.endswith(Storage(tmp_path).executions._repr_html_())


def test_a_folder_without_a_readable_execution_is_not_called_missing(tmp_path: Path) -> None:
    (tmp_path / "OY1p1o" / "trials").mkdir(parents=True)
    storage = Storage(tmp_path)

    for name in ("OY1p1o", "OY1"):
        with pytest.raises(NotStored) as caught:
            storage.find(name)
        assert str(caught.value) == (
            f"the folder OY1p1o of {tmp_path} has no execution.json that can be read\n"
            "  Check the permissions of the folder, and whether it was copied completely."
        )
    with pytest.raises(NotStored, match="there is no execution 'Abcdef'"):
        storage.find("Abcdef")
