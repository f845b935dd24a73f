from __future__ import annotations

from pathlib import Path

from machinable.storage.local import DirectoryFiles
from machinable.storage.memory import MemoryFiles
from machinable.ui.html import render
from machinable.ui.trial import MAX_LINES, Texts, trial_view
from tests.results.worlds import failed, finished, lines, planned, started, status, stored, time, uid, write


def test_a_trial_has_facts_settings_and_links_to_what_it_requires() -> None:
    requires = {"data": {"component": "data", "uid": uid(0), "identity": "0" * 32}}
    plan = [planned(0, component="data"), planned(1, {"a": {"b": 0.1}, "c": None}, requires=requires, tags={"x": 1})]
    ledger = [started(0), finished(0), started(1), failed(1, loss=0.25, _timestamp=1.0)]
    execution = stored(plan, ledger)

    view = trial_view(execution[uid(1)], execution)

    assert view.status == "failed" and view.error == "no data"
    assert view.parts["configuration"] == {"a.b": "0.1", "c": "null"} and view.parts["tags"] == {"x": "1"}
    assert view.requires["data"] == (f"data {uid(0)}", f"/trial/OY1p1o/{uid(0)}", "finished")
    assert view.last == {"loss": "0.25"}
    (one,) = trial_view(execution[uid(0)], execution).required_by
    assert one == (f"train {uid(1)}", f"/trial/OY1p1o/{uid(1)}", "failed")


def test_texts_of_users_never_become_html() -> None:
    nasty = "<img src=x onerror=alert(1)>"
    files = MemoryFiles()
    plan = [planned(0, {nasty: nasty}, component=nasty, tags={nasty: nasty})]
    execution = stored(plan, [started(0), finished(0)], files=files)
    note = {"time": time(), "uid": uid(0), "note": nasty, "user": nasty}
    write(files, "OY1p1o/annotations.jsonl", lines([note]))
    write(files, f"OY1p1o/trials/{uid(0)}/status.json", status("failed", error={"type": "E", "message": nasty}))

    view = trial_view(execution[uid(0)], execution)
    html = render("trial", view=view, execution="OY1p1o", uid=uid(0), command=nasty)

    assert "<img" not in html and html.count("&lt;img") >= 7


def test_log_and_output_grow_and_control_nothing(tmp_path: Path) -> None:
    files = DirectoryFiles(tmp_path / "storage")
    trial = stored([planned(0)], [started(0)], files=files)[uid(0)]
    texts = Texts(trial)
    assert not texts.update(is_running=True)

    folder = f"OY1p1o/trials/{uid(0)}"
    write(files, f"{folder}/output.log", b"a \x1b[31mred\x1b[0m\x07 \xff\nhalf")
    assert texts.update(is_running=True) and texts.output == ["a red\\x07 �"]
    assert not texts.update(is_running=True)
    assert texts.update(is_running=False) and texts.output == ["a red\\x07 �", "half"]

    write(files, f"{folder}/log.txt", b"".join(b"line %d\n" % number for number in range(3 * MAX_LINES)))
    texts.update(is_running=False)
    assert len(texts.log) == MAX_LINES and texts.log[-1] == f"line {3 * MAX_LINES - 1}"
