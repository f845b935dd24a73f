"""`machinable schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from machinable.config.declaration import ENTRY_DIRECTIVES, RESERVED
from machinable.config.loader import EXECUTION_KEYS
from machinable.listeners.registry import KNOWN
from machinable.plan.declared import COMPONENT_KEYS, TASK_KEYS, TASK_SETTINGS
from tests.cli.conftest import YAML, Run

ROOT = Path(__file__).parents[2]


@pytest.fixture
def schema(run: Run) -> dict[str, Any]:
    return json.loads(run("schema").out)


def problems(schema: dict[str, Any], text: str) -> list[str]:
    jsonschema.Draft7Validator.check_schema(schema)
    return [error.message for error in jsonschema.Draft7Validator(schema).iter_errors(yaml.safe_load(text))]


def test_the_described_file_is_valid(schema: dict[str, Any]) -> None:
    assert problems(schema, YAML) == []


def test_our_own_project_is_valid(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    assert problems(json.loads(run("schema").out), (ROOT / "machinable.yaml").read_text()) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "free: {material: [1]}",
        "components: {new: {any: 1, ~thing: {x: {y: 1}}, _hidden: 3}, other: null, third: $/x.yaml}",
        "components: [[{a: null}], {b^a=c: {x: 1}}, $/list.yaml]",
        "components:group=g: [{a: {_mixins_: [loader, {name: x, vendor: lib}, ^]}}]",
        "components: [{train^base=tr: {rate: text, ~deep: {_seed_: 3, ~x: {}}}}]",
        "+: [lib, {other: ../other}]",
        "execution: {storage: results, engine: local, strict: true}",
        "execution: {listeners: [webhook, package.notify, {type: mlflow, experiment: x}]}",
        "execution: {engine: {type: slurm, partition: gpu}}",
        "execution: {engine: {type: processes, slots: 2}}",
        "execution: {listeners: [{type: package.Notify, room: x}]}",
        "execution: {resources: {gpus: 2, memory: 4GiB, license: {total: 3, shared: true}}}",
        "includes: {a: {components: [{b: {}}]}}",
        "tasks: {a: {component: train, version: [~deep, {x: 1}, null], each: [~fast, [~deep, {x: 1}]], repeat: 3}}",
        "tasks: {a: {component: train, grid: {rate: [1, 2], data.name: $.names}, levels: [{split: 5}, {repeat: 2}]}}",
        "tasks: [{a: {components: [train, {component: base, grid: {rate: [1]}}], tags: {x: 1}}}, {b: $/b.yaml}]",
        "tasks: {a: {component: tr, children: {m: [base, ~fast]}, requires: {d: base, e: {each: [base, train]}}}}",
        "tasks: {a: {component: tr, execution: {storage: ./results, engine: processes:2}}}",
    ],
)
def test_what_the_language_allows_is_valid(schema: dict[str, Any], text: str) -> None:
    assert problems(schema, text) == []


@pytest.mark.parametrize(
    "text",
    [
        "components: 3",
        "components: [{a: 3}]",
        "components_old: []",
        "components:my-group: []",
        "_mixins_: []",
        "components: [{a: {_mixin_: loader}}]",
        "components: [{base: {_mixin_: loader}}]",
        "components: [{base: {_mixins_: unknown}}]",
        "components: [{base: {~fast: {_class_: X}}}]",
        "components: [{base: {~fast: 3}}]",
        "mixins: [{loader: {_mixins_: []}}]",
        "execution: {storrage: x}",
        "tasks: 3",
        "tasks: {a: train}",
        "tasks: {a: {component: train, versions: ~deep}}",
        "tasks: {a: {component: train, each: ~deep}}",
        "tasks: {a: {component: train, each: []}}",
        "tasks: {a: {component: train, version: [[~deep]]}}",
        "tasks: {a: {component: train, grid: {rate: 3}}}",
        "tasks: {a: {component: train, grid: {rate: []}}}",
        "tasks: {a: {component: train, repeat: 0}}",
        "tasks: {a: {component: train, levels: [{splt: 2}]}}",
        "tasks: {a: {components: [{version: ~deep}]}}",
        "tasks: {a: {component: train, execution: {threads: 2}}}",
        "execution: {resources: {license: {total: 3, sharde: true}}}",
        "execution: {listeners: webhook}",
        "execution: {listeners: [{experiment: x}]}",
        "execution: {listeners: [{type: mlflow, experimnt: x}]}",
        "execution: {listeners: [{type: machinable.listeners.webhook, url: x}]}",
        "execution: {engine: {type: processes, slot: 2}}",
        "execution: {engine: {slots: 2}}",
    ],
)
def test_what_the_language_refuses_is_invalid(schema: dict[str, Any], text: str) -> None:
    assert problems(schema, text) != []


def test_known_names_are_listed(schema: dict[str, Any]) -> None:
    train = schema["definitions"]["component train"]["anyOf"][0]["properties"]

    assert list(train)[:8] == ["data", "rate", "_token", "layers", "half", "~fast", "~deep", "_mixins_"]
    assert train["rate"] == {"default": 0.1}
    assert "default" not in train["_token"]
    assert train["~deep"]["allOf"] == [
        {"$ref": "#/definitions/version"},
        {"properties": {"layers": {}}},
        {"$ref": "#/definitions/keys of component train"},
    ]
    assert list(schema["definitions"]["keys of component train"]["properties"])[:2] == ["data", "rate"]
    assert "loader" in json.dumps(schema["definitions"]["mixin_request"])
    assert "~fast:big" in json.dumps(schema["definitions"]["requirement"])


def test_options_of_an_engine_with_further_ones_are_described(schema: dict[str, Any]) -> None:
    _, *engines = schema["definitions"]["execution"]["properties"]["engine"]["allOf"]
    (slurm,) = [one["then"] for one in engines if one["if"]["properties"]["type"]["enum"] == ["slurm"]]

    assert slurm["properties"].keys() >= {"type", "partition", "time", "slots", "job_per_trial", "folder"}
    assert slurm["properties"]["time"] == {"default": "1h"}
    assert "additionalProperties" not in slurm  # those of submitit depend on its version


def test_listeners_are_suggested(schema: dict[str, Any]) -> None:
    name, mapping = schema["definitions"]["execution"]["properties"]["listeners"]["anyOf"][0]["items"]["anyOf"]

    assert name["examples"] == mapping["properties"]["type"]["examples"] == sorted(KNOWN)


def test_every_reserved_key_and_setting_is_described(schema: dict[str, Any]) -> None:
    assert sorted(schema["definitions"]["reserved"]["properties"]) == sorted((*RESERVED, *ENTRY_DIRECTIVES))
    assert sorted(schema["definitions"]["execution"]["properties"]) == sorted(EXECUTION_KEYS)
    task = schema["definitions"]["task"]["anyOf"][1]["properties"]
    assert sorted(task) == sorted(TASK_KEYS)
    assert sorted(task["components"]["items"]["anyOf"][1]["properties"]) == sorted(COMPONENT_KEYS)
    assert sorted(task["execution"]["properties"]) == sorted(TASK_SETTINGS)


def test_only_a_file_of_this_command_is_replaced(run: Run, project: Path) -> None:
    (project / "mine.json").write_text("{}")

    refused = run("schema", "--output", "mine.json")

    assert (refused.code, (project / "mine.json").read_text()) == (2, "{}")
    for _ in range(2):
        ran = run("schema", "--output", "schema.json")
        assert (ran.code, ran.out) == (0, "")
    assert json.loads((project / "schema.json").read_text())["$comment"] == "made by `machinable schema`"
    assert sorted(path.name for path in project.iterdir()) == [
        "base.py",
        "machinable.yaml",
        "mine.json",
        "schema.json",
        "train.py",
    ]


def test_the_schema_of_heirs_grows_with_their_versions_and_not_with_each_key_of_each_version(
    run: Run, project: Path
) -> None:
    def size(heirs: int) -> int:
        lines = [f"  - c{i}^c{i - 1}: {{a{i}: 1, ~v{i}: {{x: 1}}}}\n" for i in range(1, heirs)]
        (project / "machinable.yaml").write_text("components:\n  - c0: {a: 1}\n" + "".join(lines))
        return len(run("schema").out)

    assert size(60) < 5 * size(30)
