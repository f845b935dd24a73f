"""How the code of two executions differs."""

from __future__ import annotations

import io
import zipfile

import pytest

from machinable.errors import Damaged
from machinable.results.code_diff import code_changes


def archive(**files: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as opened:
        for name, content in files.items():
            opened.writestr(zipfile.ZipInfo(name.replace("__", ".")), content)
    return buffer.getvalue()


def test_changed_new_and_missing_files_come_by_name_with_their_lines() -> None:
    before = archive(a__py=b"x = 1\ny = 2\n", gone__py=b"z\n", same__py=b"s\n")
    after = archive(a__py=b"x = 1\ny = 3\n", new__py=b"n\n", same__py=b"s\n")

    assert [change.as_data() for change in code_changes(before, after)] == [
        {
            "name": "a.py",
            "how": "changed",
            "lines": ["--- a.py", "+++ a.py", "@@ -1,2 +1,2 @@", " x = 1", "-y = 2", "+y = 3"],
        },
        {"name": "gone.py", "how": "missing", "lines": ["--- gone.py", "+++ gone.py", "@@ -1 +0,0 @@", "-z"]},
        {"name": "new.py", "how": "new", "lines": ["--- new.py", "+++ new.py", "@@ -0,0 +1 @@", "+n"]},
    ]


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"text\0with a zero", b"x" * (2**20 + 1)])
def test_what_is_no_text_or_too_long_has_no_lines(content: bytes) -> None:
    (change,) = code_changes(archive(a__bin=content), archive(a__bin=b"short"))

    assert (change.how, change.lines) == ("changed", None)


def test_the_same_archive_has_no_changes() -> None:
    assert code_changes(archive(a__py=b"1"), archive(a__py=b"1")) == []


def test_an_archive_that_is_none_is_told() -> None:
    with pytest.raises(Damaged, match="a code backup cannot be read"):
        code_changes(b"nothing", archive())
