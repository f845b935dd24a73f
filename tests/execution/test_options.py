"""The options of an execution, from its arguments, the environment, the project and the user's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

import machinable as ml
from machinable.errors import InvalidType


def test_a_storage_in_the_copy_that_ray_makes_for_a_job_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "session_1" / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    copy.mkdir(parents=True)
    (copy / "machinable.yaml").write_text("components: [nothing: ]\n")
    (copy / "nothing.py").write_text("from machinable import Component\n\n\nclass Nothing(Component):\n    pass\n")
    monkeypatch.chdir(copy)

    with pytest.warns(UserWarning, match=f"the storage {copy}/stored is in the copy of the working directory that Ray"):
        ml.execute(ml.Task("nothing"), "stored")
    ml.execute(ml.Task("nothing"), tmp_path / "stored")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("detach", r"no argument 'detach'\n  Only the command line runs in the background: .* --detach$"),
        ("retrys", r"no argument 'retrys'\n  Did you mean 'retries'"),
        ("zzz", r"no argument 'zzz'\n  It takes task, storage, seed, "),
    ],
)
def test_an_unknown_argument_is_refused_with_what_to_do(name: str, message: str) -> None:
    with pytest.raises(InvalidType, match=message):
        ml.execute(ml.Task(), **{name: True})  # type: ignore[call-overload]
