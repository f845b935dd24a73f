"""The configuration of every vector in `config_resolution.json` is the expected one."""

from __future__ import annotations

import builtins
import os
from pathlib import Path
from typing import Any

import pytest

from machinable.project import Project
from tests import golden_cases
from tests.golden_cases import decode, typed

GOLDEN = golden_cases.load("config_resolution")


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: case["name"])
def test_a_configuration_resolves_as_written(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    golden_cases.write(tmp_path, case["files"])
    for name in [name for name in os.environ if name.startswith("GOLDEN_")]:
        monkeypatch.delenv(name)
    for name, value in case.get("environment", {}).items():
        monkeypatch.setenv(name, value)
    arguments = decode(case["version"]), tuple(map(decode, case["task_versions"]))
    expect = case["expect"]
    if "error" in expect:
        with pytest.raises(getattr(builtins, expect["error"])) as caught:
            Project(tmp_path).resolve(case["component"], *arguments)
        message = str(caught.value)
        assert [part for part in expect.get("mentions", ()) if part not in message] == [], message
        return
    resolved = Project(tmp_path).resolve(case["component"], *arguments)
    assert typed(resolved.to_dict()) == typed(decode(expect["config"]))
    assert (resolved.component, resolved.module) == (expect["component"], expect["module"])
    assert resolved.mixins == expect["mixins"]
    assert resolved.versions == expect["versions"]
    assert resolved.evaluate is expect["evaluate"]
    assert len(resolved.warnings) == len(expect["warnings"])
    for words, warning in zip(expect["warnings"], resolved.warnings, strict=True):
        assert all(word in warning for word in words)
    if "stored" in expect:
        assert typed(resolved.to_dict(hidden=False)) == typed(decode(expect["stored"]))
    if "order" in expect:
        assert list(resolved.to_dict()) == expect["order"]
    for key, beginning in expect.get("origins", {}).items():
        assert resolved.origin(key).startswith(beginning)
