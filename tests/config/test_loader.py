"""The root, sections, entries, imported projects, and errors that are reported together."""

from __future__ import annotations

import re

import pytest

from machinable.config.resolve import resolve
from machinable.errors import MachinableError
from tests.config.worlds import config, errors, failure, resolved, workspace

# The root


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # a section is null, a mapping, or lists of mappings, which flatten
        ("components: {b: {}, c: {a: 1}}\n", {"a": 1}),
        ("components: [{b: , c: {a: 1}}, [[d: ], []], ~]\n", {"a": 1}),
        ("components: [[[c: {a: 1}]]]\n", {"a": 1}),
        ("components:\ncomponents:g: [c: {a: 1}]\n", {"a": 1}),
        # the later entry replaces the earlier one, wherever both stand
        ("components: [c: {a: 1, b: 1}, c: {a: 2}]\n", {"a": 2}),
        ("components: {c: {a: 1}}\nincludes: {x: {components: [c: {a: 2}]}}\n", {"a": 2}),
        ("includes: {x: {components: [c: {a: 2}]}}\ncomponents: {c: {a: 1}}\n", {"a": 2}),
        ("components: [c: {a: 1}, components: {a: 2}]\n", {"a": 1}),
        # included sections are appended: their entries may use those of the file, and not the other way round
        ("includes: {x: {components: [c^b: {d: 1}]}}\ncomponents: [b: {a: 1}]\n", {"a": 1, "d": 1}),
        ("includes: {x: {mixins: [m: {a: 1}], y: 1}}\ncomponents: [c: {_mixins_: m}]\n", {"a": 1}),
        ("includes: {x: {components:g: [c^b: {d: 1}]}}\ncomponents:g: [b: {a: 1}]\n", {"a": 1, "d": 1}),
        ("includes: {x: {components_old: 1, on: 2, components: [c: {a: 1}]}}\n", {"a": 1}),
        # free material
        ("x: {y: [1]}\nz_: 2\n_h: 3\ncomponents: [c: {a: [$.x.y, $.z_, $._h]}]\n", {"a": [[1], 2, 3]}),
        ("name: a.b_1\ncomponents: [c: {a: $.name}]\n", {"a": "a.b_1"}),
    ],
)
def test_the_root_is_read(text: str, expected: dict[str, object]) -> None:
    assert config(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("componentsx: 1\n", ("MalformedText", "1:1", "'componentsx' is not a valid section name")),
        ("components_old: 1\n", ("MalformedText", "1:1", "'components_old' is not a valid section name")),
        ("'components:': 1\n", ("MalformedText", "1:1", "'components:' is not a valid section name")),
        ("components:1a: 1\n", ("MalformedText", "1:1", "'components:1a' is not a valid section name")),
        ("components:a=: 1\n", ("MalformedText", "1:1", "'components:a=' is not a valid section name")),
        ("components:a=b-c: 1\n", ("MalformedText", "1:1", "'components:a=b-c' is not a valid section name")),
        ("components=a: 1\n", ("MalformedText", "1:1", "'components=a' is not a valid section name")),
        ("_mixins_: 1\n", ("UnknownName", "1:1", "no reserved key named '_mixins_'")),
        ("_x_: 1\n", ("UnknownName", "1:1", "no reserved key named '_x_'")),
        ("_evaluate_: 1\n", ("MalformedText", "1:1", "`_evaluate_` takes true or false, not 1")),
        ("_evaluate_: $.x\n", ("MalformedText", "1:1", "`_evaluate_` takes true or false, not the reference '$.x'")),
        ("name: my-name\n", ("MalformedText", "1:1", "the project's name is not a dotted identifier but 'my-name'")),
        ("name: a..b\n", ("MalformedText", "1:1", "the project's name is not a dotted identifier but 'a..b'")),
        ("name: 5\n", ("MalformedText", "1:1", "the project's name is not a dotted identifier but 5")),
        ("execution: 5\n", ("MalformedText", "1:1", "`execution` takes a mapping, not 5")),
        ("execution: {engin: 5}\n", ("UnknownName", "1:13", "no setting named 'engin'")),
        ("execution: {strict: 1}\n", ("MalformedText", "1:13", "`strict` takes true or false, not 1")),
        ("includes: [a]\n", ("MalformedText", "1:1", "`includes` takes a mapping of names and mappings, not a list")),
        ("includes: {a: [b]}\n", ("MalformedText", "1:12", "the include 'a' is not a mapping but a list")),
        (
            "includes: {a: {components: [b]}}\n",
            ("MalformedText", "1:29", "an entry is a mapping `name: configuration`, not 'b'"),
        ),
        ("components: 5\n", ("MalformedText", "1:1", "an entry is a mapping `name: configuration`, not 5")),
        ("mixins: [{a: 1}]\n", ("MalformedText", "1:11", "the entry 'a' is not a mapping but 1")),
        ("components: [c: $.x]\n", ("MalformedText", "1:14", "the entry 'c' is not a mapping but the reference '$.x'")),
        ("+: l\n", ("MalformedText", "1:1", "`+` takes a list of names or a mapping of names and sources, not 'l'")),
        ("+: [5]\n", ("MalformedText", "1:5", "an imported project is named by an identifier, not by 5")),
        ("+: {a.b: x}\n", ("MalformedText", "1:5", "an imported project is named by an identifier, not by 'a.b'")),
        ("+: {a: [x]}\n", ("MalformedText", "1:5", "the source of 'a' is not text but a list")),
    ],
)
def test_errors_of_the_root_are_reported(text: str, expected: tuple[str, str, str]) -> None:
    kind, place, message = expected

    assert errors(text) == [(kind, f"machinable.yaml:{place}", message)]


# Entries


@pytest.mark.parametrize(
    "key",
    [
        "=a",
        "a=",
        "a b",
        "a-b",
        "a.",
        ".a",
        "a..b",
        "1a",
        "a^",
        "a^b^d",
        "a=b=d",
        "a=b^d",
        "a^b=",
        "a=b.d",
        "a=1",
        "+.a",
        "+.a.",
        "+a.b",
        "+.a-b.d",
        "^",
        "^=a",
        "a ^b",
        "",
        "~a",
        "$.a",
        "a^+.b",
        "a:b",
    ],
)
def test_a_key_that_is_not_a_valid_name_of_an_entry_is_refused(key: str) -> None:
    error = failure(f"components:\n  - b: {{}}\n  - '{key}': {{}}\n")

    assert (type(error).__name__, str(error.at)) == ("MalformedText", "machinable.yaml:3:5")
    assert error.message in (f"{key!r} is not a valid name of an entry", f"the alias in {key!r} is not an identifier")


@pytest.mark.parametrize("name", ["größe", "_a", "A1", "class", "a.b.c_d", "keys"])
def test_a_name_is_made_of_identifiers(name: str) -> None:
    found = resolved(f"components:\n  - {name}: {{a: 1}}\n", name)

    assert (found.to_dict(), found.component, found.module) == ({"a": 1}, name, name)


def test_an_entry_may_have_no_configuration() -> None:
    assert config("components: [c: , d: {}, e: ~]\n", "c") == {}


def test_names_of_methods_of_a_mapping_are_keys() -> None:
    assert config("components: [c: {keys: 1, items: {get: $self.keys}}]\n") == {"keys": 1, "items": {"get": 1}}


# Imported projects

LIB = """
tone: low
mixins:
  - helper: {assist: true}
  - mixins.extra=more: {extra: 1, twice: $self.z}
components:models=md:
  - net=n: {width: 3, tone: $.tone, double: $self.width, ~wide: {width: 30}}
components:
  - withmix: {_mixins_: [helper], z: 1}
  - variant^models.net=v: {depth: 5}
"""


def with_lib(text: str) -> dict[str, str]:
    return {"machinable.yaml": f"+: [lib]\n{text}", "vendor/lib/machinable.yaml": LIB}


NET = {"width": 3, "tone": "low", "double": 3}


@pytest.mark.parametrize(
    ("key", "asked", "canonical", "module"),
    [
        # any name that it has there; the canonical one is always that of the other project
        ("+.lib.models.net", "+.lib.models.net", "+.lib.models.net", "vendor.lib.models.net"),
        ("+.lib.net", "+.lib.models.net", "+.lib.models.net", "vendor.lib.models.net"),
        ("+.lib.models.n", "+.lib.models.net", "+.lib.models.net", "vendor.lib.models.net"),
        ("+.lib.md.net", "+.lib.models.net", "+.lib.models.net", "vendor.lib.models.net"),
        ("+.lib.md.n=al", "al", "+.lib.models.net", "vendor.lib.models.net"),
        ("mine^+.lib.models.net", "mine", "mine", "mine"),
        ("mine^+.lib.net=al", "al", "mine", "mine"),
        ("^+.lib.models.net", "vendor.lib.models.net", "vendor.lib.models.net", "vendor.lib.models.net"),
        ("^+.lib.md.n=al", "al", "vendor.lib.models.net", "vendor.lib.models.net"),
    ],
)
@pytest.mark.parametrize("section", ["components", "components:g", "components:g=gg"])
def test_an_entry_of_another_project_has_its_names_here(
    section: str, key: str, asked: str, canonical: str, module: str
) -> None:
    group = ":" in section
    if group and asked in ("al", "mine"):
        asked = f"g.{asked}"
    if group and canonical == "mine":
        canonical = module = "g.mine"

    found = resolved(with_lib(f"tone: high\n{section}:\n  - {key}: {{own: 1}}\n"), asked)

    assert found.to_dict() == NET | {"own": 1}
    assert (found.component, found.module) == (canonical, module)


def test_an_imported_entry_need_not_be_declared_to_be_used() -> None:
    found = resolved(with_lib(""), "+.lib.md.n", "~wide")

    assert found.to_dict() == NET | {"width": 30, "double": 30}
    assert (found.component, found.module) == ("+.lib.models.net", "vendor.lib.models.net")


def test_the_imported_entry_is_merged_below_parents() -> None:
    text = "components:\n  - base: {width: 5, depth: 5}\n  - +.lib.net^base: {depth: 6}\n  - last^+.lib.net: {x: 1}\n"

    assert config(with_lib(text), "+.lib.models.net") == {"width": 5, "tone": "low", "double": 5, "depth": 6}
    assert config(with_lib(text), "last") == {"width": 3, "tone": "low", "double": 3, "x": 1}


def test_an_entry_without_a_name_takes_that_of_an_imported_one() -> None:
    text = "components:\n  - +.lib.md.n=al: {width: 5}\n  - ^al: {depth: 6}\n  - early^al: {}\n"
    found = resolved(with_lib(text), "al")

    assert found.to_dict() == {"width": 5, "tone": "low", "double": 5, "depth": 6}
    assert (found.component, found.module) == ("+.lib.models.net", "vendor.lib.models.net")


def test_projects_that_are_imported_share_one_folder() -> None:
    texts = {
        "machinable.yaml": "+: [a]\ncomponents:\n  - c^+.a.x: {}\n  - +.a.y: {}\n",
        "vendor/a/machinable.yaml": "+: {b: ../b}\ncomponents:\n  - x^+.b.z: {a: 1}\n  - +.b.zz=y: {a: 2}\n",
        "vendor/b/machinable.yaml": "+: [a]\ncomponents:\n  - z=zz: {b: $.here}\n  - w^+.a.x: {w: 1}\nhere: b\n",
    }

    assert config(texts) == {"b": "b", "a": 1}
    found = resolved(texts, "+.a.y")
    assert (found.to_dict(), found.module) == ({"b": "b", "a": 2}, "vendor.b.z")


def test_only_imported_projects_can_be_reached() -> None:
    texts = {
        "machinable.yaml": "+: [a]\ncomponents:\n  - c^+.b.z: {}\n",
        "vendor/a/machinable.yaml": "+: [b]\n",
        "vendor/b/machinable.yaml": "components: [z: {}]\n",
    }

    assert errors(texts) == [("UnknownName", "machinable.yaml:3:5", "no imported project named 'b'")]


def test_a_directory_without_declarations_contributes_nothing_but_code() -> None:
    texts = {"machinable.yaml": "+: [lib]\ncomponents:\n  - c: {a: 1}\n", "vendor/lib/code.py": ""}

    assert config(texts) == {"a": 1}
    assert errors(texts, "+.lib.code") == [("UnknownName", "", "no component named '+.lib.code'")]


def test_a_missing_project_is_one_error_with_the_command_to_run() -> None:
    text = (
        "+: [ghost, {other: ../other}]\nmixins:\n  - +.ghost.m=m: {}\n"
        "components:\n  - c^+.ghost.net: {}\n  - +.other.x: {}\n"
    )
    error = failure(text)

    assert errors(text) == [
        ("MissingFile", "machinable.yaml:1:5", "the imported project 'ghost' is not in vendor/ghost"),
        ("MissingFile", "machinable.yaml:1:13", "the imported project 'other' is not in vendor/other"),
    ]
    assert "machinable vendor fetch ghost" in str(error)


@pytest.mark.parametrize("text", ["a: [1\n", "- 1\n", "a: 1\na: 2\n"])
def test_a_file_error_of_an_imported_project_is_reported_alone(text: str) -> None:
    texts = {"machinable.yaml": "+: [lib]\ncomponents:\n  - c: {}\n", "vendor/lib/machinable.yaml": text}

    (found,) = errors(texts)
    assert "vendor/lib/machinable.yaml" in found[1] + found[2]


def test_projects_may_import_each_other() -> None:
    texts = {
        "machinable.yaml": "+: [a]\ncomponents:\n  - c^+.a.x: {}\n",
        "vendor/a/machinable.yaml": "+: [b]\ncomponents:\n  - base: {k: 1}\n  - x^+.b.y: {}\n",
        "vendor/b/machinable.yaml": "+: [a]\ncomponents:\n  - y^+.a.base: {l: 2}\n",
    }

    assert config(texts) == {"k": 1, "l": 2}


def test_an_entry_cannot_be_its_own_ancestor() -> None:
    texts = {
        "machinable.yaml": "+: [a]\ncomponents:\n  - c^+.a.x: {}\n",
        "vendor/a/machinable.yaml": "+: [b]\ncomponents:\n  - x^+.b.y: {}\n",
        "vendor/b/machinable.yaml": "+: [a]\ncomponents:\n  - y^+.a.x: {}\n",
    }
    error = failure(texts)

    assert str(error).splitlines()[0] == "vendor/b/machinable.yaml:3:5: an entry is its own ancestor"
    assert error.details == ("through x^+.b.y   vendor/a/machinable.yaml:3:5",)


@pytest.mark.parametrize(
    ("key", "message", "advice"),
    [
        ("c^+.lib.models.nett", "no component named '+.lib.models.nett'", "'+.lib.models.net'"),
        ("+.lib.netz", "no component named '+.lib.netz'", "'+.lib.net'"),
        ("+.libs.net", "no imported project named 'libs'", "'lib'"),
    ],
)
def test_an_unknown_name_of_another_project_is_reported_with_the_nearest(key: str, message: str, advice: str) -> None:
    error = failure(with_lib(f"components:\n  - {key}: {{}}\n"))

    assert (str(error.at), error.message) == ("machinable.yaml:3:5", message)
    assert advice in str(error.advice())


# Errors together


def test_independent_errors_are_reported_together() -> None:
    text = (
        "one: 1\none: ${NO}\nname: a-b\n_x_: 1\ncomponents:\n"
        "  - c^nope: {_foo_: 1, ~v: 5, on: 2}\n  - d: {~w: {_bar_: 1}}\n  - a b: {}\n"
    )

    assert errors(text) == [
        ("MalformedText", "machinable.yaml:2:1", "the key 'one' is defined twice in this mapping"),
        ("MalformedText", "machinable.yaml:2:1", "the environment variable 'NO' is not set"),
        ("MalformedText", "machinable.yaml:3:1", "the project's name is not a dotted identifier but 'a-b'"),
        ("UnknownName", "machinable.yaml:4:1", "no reserved key named '_x_'"),
        ("MalformedText", "machinable.yaml:6:31", "the key 'on' is not text"),
        ("UnknownName", "machinable.yaml:6:14", "no reserved key named '_foo_'"),
        ("MalformedText", "machinable.yaml:6:24", "the version '~v' is not a mapping but 5"),
        ("UnknownName", "machinable.yaml:7:14", "no reserved key named '_bar_'"),
        ("MalformedText", "machinable.yaml:8:5", "'a b' is not a valid name of an entry"),
        ("UnknownName", "machinable.yaml:6:5", "no component named 'nope'"),
    ]


def test_an_error_of_one_use_does_not_affect_others() -> None:
    text = "components:\n  - a: {_mixins_: [nope]}\n  - b: {x: $.nope}\n  - e: {~v: $.nope}\n  - c: {a: 1}\n"

    assert config(text) == {"a": 1}
    assert config(text, "e") == {}
    assert [errors(text, name)[0][0] for name in "ab"] == ["UnknownName", "MissingKey"]
    assert errors(text, "e", "~v") == [("MissingKey", "machinable.yaml:4:13", "'$.nope': there is no key 'nope'")]


def test_replaced_entries_are_remembered() -> None:
    names = workspace("components:\n  - c: {}\n  - c: {}\n").main.components

    assert [(str(old.place), str(new.place)) for old, new in names.replaced] == [
        ("machinable.yaml:2:5", "machinable.yaml:3:5")
    ]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("_retires_: 3", "no reserved key named '_retires_'"),
        ("_timeout_: never", "no reserved key named '_timeout_'"),
        ("_seed_: many", "`_seed_` takes a whole number, not 'many'"),
        ("_class_: $self.b", "`_class_` is read before values are resolved, so it cannot refer to '$self.b'"),
        ("~v: {_class_: C}", "a version cannot set `_class_`"),
        ("~v: {~w: {_chdir_: 1}}", "`_chdir_` takes true or false, not 1"),
    ],
)
def test_a_wrong_reserved_key_concerns_only_what_uses_its_entry(key: str, message: str) -> None:
    text = (
        f"mixins:\n  - m: {{{key}}}\ncomponents:\n  - b: {{x: 1, {key}}}\n  - c: {{a: $.components.0.b.x}}\n"
        f"  - heir^b:\n  - mixing: {{_mixins_: m}}\n  - again^heir=short: {{_mixins_: m}}\n"
    )
    found = workspace(text)

    assert resolve(found, "c").to_dict() == {"a": 1}
    for name, line in {"b": "4", "heir": "4", "mixing": "2", "short": "4"}.items():
        for _ in range(2):  # an error is not used up
            with pytest.raises(MachinableError) as caught:
                resolve(found, name)
            assert [(str(one.at).split(":")[1], one.message) for one in caught.value.parts] == [(line, message)]
    with pytest.raises(MachinableError, match=re.escape(message)):
        resolve(found, "c", "_m_")
    assert [error.message for error in found.errors] == [message, message]
