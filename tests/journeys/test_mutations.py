"""No command ends in a traceback or waits, whatever has happened to the files of a storage.

`python -m benchmarks.mutations` does the same more often.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import mutations


@pytest.mark.filterwarnings("always")
def test_damaged_storages_are_read_without_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    found = [wrong for several in mutations.mutate(8, 1, tmp_path) for wrong in several]
    assert found == [], "\n".join(found)
    assert mutations.codes[0] > 200 and mutations.codes[3] > 3
