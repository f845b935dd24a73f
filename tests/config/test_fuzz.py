"""Any text resolves or is an error with a place; nothing hangs and nothing overflows."""

from __future__ import annotations

import operator
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from machinable.config.resolve import resolve
from machinable.config.versions import expand_lists
from machinable.errors import MachinableError, SeveralErrors
from tests import golden_cases
from tests.config.worlds import Texts, entry, workspace

FUZZ = settings(
    max_examples=150,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
GOLDEN = golden_cases.load("config_resolution")["cases"]
ENVIRONMENT = {"SECRET": "c4n4ry(x y", "N": "4", "EMPTY": "", "ODD": "}{\n: [", "REF": "$.a"}


def paths_of(value: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of all values, except below keys that contain dots or brackets."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        if not set(str(key)) & set(".[]"):
            below = f"{path}.{key}" if path else str(key)
            yield below
            yield from paths_of(item, below)


def check(texts: Texts, names: Any = ("c",), versions: Any = (None,)) -> None:
    """Resolves, and looks at the error if that is what comes of it."""
    try:
        space = workspace(texts, ENVIRONMENT)
    except MachinableError as error:
        check_error(error, texts)
        return
    origins: list[tuple[Any, Iterator[str]]] = []
    for name in names:
        for version in versions:
            try:
                for one in expand_lists(version):
                    found = resolve(space, name, one)
                    origins.append((found, paths_of(found.to_dict())))
                    assert type(found.to_dict()) is dict
                    assert "c4n4ry" not in repr(found.warnings)
            except MachinableError as error:
                check_error(error, texts)
    for found, paths in origins:  # every value has one
        for path in paths:
            found.origin(path)
            found.explain(path)


def check_error(error: MachinableError, texts: Texts) -> None:
    files = ["machinable.yaml"] if isinstance(texts, str) else list(texts)
    for one in error.errors if isinstance(error, SeveralErrors) else (error,):
        assert one.at is not None or any(name in str(one) for name in files), repr(str(one))
        assert "c4n4ry" not in str(one)
        assert "object at 0x" not in str(one)
        if one.at is not None and one.at.file in files:
            text = texts if isinstance(texts, str) else texts[one.at.file]
            assert 1 <= one.at.line <= len(text.splitlines()) + 1
    assert error.as_data()["message"]


# Random trees, written as YAML

NAMES = ["a", "b", "c", "a.b", "_h", "a?", "0", "a.-1", "_append_", "_remove_", "_replace_"]
BLOCKS = ["~v", "~w"]
SCALARS = [
    *["1", "1e3", "0o7", "012", "1:30", "yes", "~", "''", "text", "2026-01-31", "'it''s'", '"\\u00e4"', "^", "m"],
    *["${SECRET}", "${N}", "'${EMPTY}'", "${NOT_SET:-d}", "${ODD}", "$${N}", "'$/x.yaml'", "$/x.yaml", "$/x.json"],
    *["$.a", "$.a.b", "$self.a", "$self.b[0]", "'$self.a[$self.b]'", "'$.a[$self.b].c'", "$self._h", "$.components"],
    *["$.${REF}", "$.", "$self.a[", "f(1)", "f(${SECRET})", "g(x", "+.lib.d", "[a, b]", "{a: 1}"],
]
# What spoils a whole file
BAD_NAMES = [*NAMES, *BLOCKS, "_mixins_", "_class_", "_seed_", "_x_", "<<", "~", ""]
BAD_SCALARS = [
    *SCALARS,
    *["2026-99-99", "${NOT_SET}", "${", "!!int x", "!t 1", "$/no.yaml", "$/machinable.yaml", "*x", "&x 5"],
]
KEYS = ["c", "d", "e", "c^lib_", "d^e", "e^c=x", "^c", "c=al", "+.lib.d", "d^+.lib.d", "^+.lib.d"]
BAD_KEYS = [*KEYS, "1", "a-b", "c^nope"]
SECTIONS = ["components", "components:g", "components:g=h", "mixins", "a", "x_"]
BAD_SECTIONS = [*SECTIONS, "includes", "execution", "+", "_evaluate_"]
VERSIONS: list[Any] = [
    *[None, "", "~v", "~w", "~v:w", "_m_", "x.yaml", "$/x.json", "$/no.yaml", "a: 1", "a: [", "on: 1", "text"],
    *[{"a": {"b": 2}}, {"a.b": None}, {"~v": {"a": 7, "~w": {}}}, {"_h": "x"}, {"_mixins_": ["m"]}, {"_mixins_": None}],
    *[
        {"a": {"_append_": [1]}},
        {"a.0": 2, "b.-1.c": 3},
        {"a": None, "a.b": 1},
        {"_replace_": True},
        {"_remove_": ["a"]},
    ],
    *[{"_seed_": 1}, {"b": [1]}, {"_class_": "A"}, {1: 2}, 5, {"a": {1, 2}}],
]


def trees_of(scalars: list[str], names: list[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.sampled_from(scalars),
        lambda inner: st.lists(inner, max_size=4) | mappings_of(names, inner),
        max_leaves=25,
    )


def mappings_of(names: list[str], values: st.SearchStrategy[Any], size: int = 5) -> st.SearchStrategy[Any]:
    return st.lists(
        st.tuples(st.sampled_from(names), values), max_size=size, unique_by=lambda pair: pair[0].rstrip("?")
    )


def roots_of(sections: list[str], keys: list[str], values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return mappings_of(sections, st.lists(st.tuples(st.sampled_from(keys), values), max_size=4))


sane = trees_of(SCALARS, NAMES)
trees = sane | trees_of(BAD_SCALARS, BAD_NAMES)
plain = mappings_of(NAMES, sane)
bodies = st.builds(operator.add, plain, mappings_of(BLOCKS, plain))
roots = roots_of(SECTIONS, KEYS, bodies) | roots_of(BAD_SECTIONS, BAD_KEYS, trees)
versions = st.recursive(
    st.sampled_from(VERSIONS),
    lambda inner: st.tuples(inner, inner) | st.lists(inner, max_size=2),
    max_leaves=5,
)


def written(tree: Any) -> str:
    """A tree in flow style."""
    if isinstance(tree, str):
        return tree
    if tree and isinstance(tree[0], tuple):
        return "{" + ", ".join(f"{key or repr('')}: {written(value)}" for key, value in tree) + "}"
    return "[" + ", ".join(map(written, tree)) + "]" if tree else "{}"


@FUZZ
@given(roots, trees, versions)
def test_any_project_resolves_or_is_an_error_with_a_place(root: Any, included: Any, version: Any) -> None:
    text = "+: [lib]\n"
    for name, part in root:
        text += f"{name}:\n" + "".join(f"  - {key}: {written(tree)}\n" for key, tree in part)
    texts = {
        "machinable.yaml": text,
        "x.yaml": written(included),
        "x.json": '{"a": [1, "$self.b"]}',
        "vendor/lib/machinable.yaml": f"components: [d: {written(included)}]\nmixins: [m: {{}}]\n",
    }
    check(texts, ("c", "d", "g.c", "h.x", "+.lib.d"), (None, version))


@FUZZ
@given(trees, trees, trees, trees, versions)
def test_any_configuration_resolves_or_is_an_error_with_a_place(
    base: Any, block: Any, root: Any, mixin: Any, version: Any
) -> None:
    text = f"a: {written(root)}\nmixins:\n  - m: {{a: {written(mixin)}}}\ncomponents:\n" + (
        f"  - d: {{a: {written(base)}, b: {written(mixin)}, ~v: {{a: {written(block)}, ~w: {{b: $self.a}}}}}}\n"
        f"  - c^d: {{_mixins_: [m], a.c: {written(block)}, _h: ${{SECRET}}}}\n"
    )
    check(
        {"machinable.yaml": text, "x.yaml": written(root), "x.json": "[1]"}, ("c", "d"), (None, "~v", ("~v", version))
    )


@FUZZ
@given(st.integers(0, len(GOLDEN) - 1), st.integers(0, 2**32))
def test_a_mutated_project_resolves_or_is_an_error_with_a_place(number: int, seed: int) -> None:
    case = GOLDEN[number]
    chance = random.Random(seed)
    texts = {name: mutated(text, chance) for name, text in case["files"].items()}
    check(texts, (case["component"],), (golden_cases.decode(case["version"]),))


PIECES = [
    *["", "\n", "  ", ": ", "- ", "{", "}", "[", "]", "~", "$.", "^", "=", "'", '"', "\t", "?", "<<: ", "!!int "],
    *["&x ", "*x", "${N}", "${NOT_SET}", "\x00", "\ud800", "\u2028", "+.", "_mixins_: ", "1e3", "components"],
]


def mutated(text: str, chance: random.Random) -> str:
    """The text with some of it left out, said twice, or replaced."""
    for _ in range(chance.randint(1, 3)):
        at = chance.randint(0, len(text))
        to = min(at + chance.choice([0, 0, 1, 5, 20]), len(text))
        text = text[:at] + chance.choice([*PIECES, text[at:to] * 2]) + text[to:]
    return text


@FUZZ
@given(st.text(max_size=40) | st.text(alphabet="ab:{}[],-~$.'\"?!&*|>#%@ \n\t", max_size=40))
def test_any_text_is_a_project_a_version_or_an_error(text: str) -> None:
    check(text)
    check(
        {"machinable.yaml": entry("a: 1\n~v: {}"), "x.yaml": text, "x.json": text},
        ("c", text),
        (text, "x.yaml", "$/x.json"),
    )
    check(entry("a: [1, {b: 2}]\nr: " + repr("$self." + text)))


# What would grow without end


@pytest.mark.parametrize("depth", [201, 1000, 10_000, 100_000])
@pytest.mark.parametrize("form", ["flow list", "flow mapping", "block list", "open"])
def test_deep_nesting_is_an_error(form: str, depth: int) -> None:
    text = {
        "flow list": "a: " + "[" * depth + "]" * depth,
        "flow mapping": "a: " + "{a: " * depth + "}" * depth,
        "block list": "a:\n  " + "- " * depth + "x",
        "open": "a: " + "[{" * depth,
    }[form]

    for texts, version in [
        (entry(text), None),
        (entry(""), text),
        ({"machinable.yaml": entry(""), "v.yaml": text}, "v.yaml"),
    ]:
        with pytest.raises(ValueError, match=r"nested deeper than 200 levels"):
            resolve(workspace(texts), "c", version)


def test_deep_blocks_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"nested deeper than 200 levels"):
        workspace("".join(f"{' ' * depth}a:\n" for depth in range(1000)))


@pytest.mark.parametrize("wide", [10, 2])
def test_aliases_that_multiply_are_an_error(wide: int) -> None:
    lines = ["x0: &x0 [" + "1, " * wide + "]"]
    lines += [f"x{i + 1}: &x{i + 1} [" + f"*x{i}, " * wide + "]" for i in range(60 // wide)]
    text = "\n".join(lines) + f"\na: *x{60 // wide}"

    for texts, version in [(entry(text), None), (entry(""), text)]:
        with pytest.raises(ValueError, match=r"(repeat more than 1,000,000 values|cannot be read)"):
            resolve(workspace(texts), "c", version)


def test_many_aliases_of_one_value_are_fine() -> None:
    text = "x: &x {" + ", ".join(f"k{i}: {i}" for i in range(100)) + "}\ncomponents:\n"
    text += "".join(f"  - c{i}: {{<<: *x, a: *x}}\n" for i in range(1000))

    assert len(resolve(workspace(text), "c999").to_dict()) == 101


def test_includes_that_double_are_an_error() -> None:
    texts = {f"f{i}.yaml": f"- $/f{i + 1}.yaml\n- $/f{i + 1}.yaml\n" for i in range(40)}
    texts |= {"machinable.yaml": entry("a: $/f0.yaml"), "f40.yaml": "x: 1"}

    check(texts)
    with pytest.raises(ValueError, match="repeat more than"):
        workspace(texts)


@pytest.mark.parametrize("last", ["x: 1", "$/no.yaml", "a: 1\na: 2", "a: [", "$/f0.yaml"])
def test_a_long_chain_of_includes_ends(last: str) -> None:
    texts = {f"f{i}.yaml": f"[$/f{i + 1}.yaml, $/f{i + 1}.yaml]" for i in range(10)}
    check(texts | {"machinable.yaml": entry("a: $/f0.yaml"), "f10.yaml": last})
    texts = {f"f{i}.yaml": f"$/f{i + 1}.yaml" for i in range(500)}
    check(texts | {"machinable.yaml": entry("a: $/f0.yaml"), "f500.yaml": last})


def test_a_block_that_refers_to_the_mapping_around_it_can_be_used() -> None:
    text = "x: {~v: $.x, ~w: $.x, k: 1}\ncomponents: [c: {~v: $.x, k: 2}]\n"

    assert resolve(workspace(text), "c", ("~v:w:v:w", {"k": 3, "kk": 4})).to_dict() == {"k": 3, "kk": 4}


def test_a_mapping_over_a_reference_to_the_mapping_around_it_terminates() -> None:
    check(entry("a: {b: $self.a, d: $self.a}"), versions=[{"a": {"b": {"b": {"d": {"k": 1}}}, "d": {"b": {"k": 1}}}}])


def test_projects_that_inherit_from_each_other_in_many_ways_are_loaded() -> None:
    texts = {"machinable.yaml": "+: [l1, l2]\ncomponents:\n  - c^+.l1.n0: {}\n"}
    for one, other in (("l1", "l2"), ("l2", "l1")):
        lines = [
            f"  - +.{other}.n{i + 1}^+.{other}.n{i + 2}=q{i}: {{k{i}: 1}}\n  - n{i}^+.{other}.q{i}: {{k: {i}}}\n"
            for i in range(60)
        ]
        end = "  - n60: {e: 1}\n  - n61: {e: 2}\n"
        texts[f"vendor/{one}/machinable.yaml"] = f"+: [{other}]\ncomponents:\n" + "".join(lines) + end

    check(texts)


def test_ten_thousand_mistakes_are_reported_in_time() -> None:
    for text in [
        "components:\n" + "".join(f"  - c{i}^nope{i}: {{}}\n" for i in range(2000)),
        "components:\n" + "".join(f"  - a-{i}: {{_x_: ~}}\n" for i in range(2000)),
        entry("\n".join(f"a{i}: $self.b{i}" for i in range(2000))),
        entry("\n".join(f"a{i}: ${{NO}}" for i in range(2000))),
    ]:
        check(text)
