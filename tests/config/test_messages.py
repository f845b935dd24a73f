"""The format of error messages, and what they never show."""

from __future__ import annotations

import json
import traceback

import pytest

from machinable.component.base import Component
from machinable.component.config_methods import check_calls
from machinable.errors import MachinableError
from tests.config.worlds import Texts, failure, resolved


class Methods(Component):
    """The component of every project, whose methods decide what is a call."""

    def config_f(self, x: float) -> float:
        return x

    config_c4n4ry = config_f


def check(texts: Texts, version: object) -> None:
    use = resolved(texts, "c", version, environment=VALUES)
    check_calls(Methods, use.config, use.may_show)


@pytest.mark.parametrize(
    ("text", "version", "message"),
    [
        (
            "components:\n  - optimization:\n      ~mnist: {a: 1}\n",
            "~minst",
            "machinable.yaml:2:5: no version named '~minst'\n"
            "  in optimization\n"
            "    2 |   - optimization:\n"
            "            ^\n"
            "  Did you mean '~mnist'?",
        ),
        (
            "components:\n  - optimization=base:\n  - child^bsae:\n",
            None,
            "machinable.yaml:3:5: no component named 'bsae'\n"
            "  in child\n"
            "    3 |   - child^bsae:\n"
            "            ^\n"
            "  Did you mean 'base'?",
        ),
        (
            "components:\n  - c:\n      a: ${HOME_OF_DATA}\n",
            None,
            "machinable.yaml:3:7: the environment variable 'HOME_OF_DATA' is not set\n"
            "  in components[0].c.a\n"
            "    3 |       a: ${HOME_OF_DATA}\n"
            "              ^\n"
            "  Set it, or give a default: ${HOME_OF_DATA:-default}.",
        ),
        (
            "components:\n  - c:\n\t  a: 1\n",
            None,
            "machinable.yaml:3:1: this is not YAML: found character that cannot start any token\n"
            "    3 | \t  a: 1\n"
            "        ^\n"
            "  while scanning for the next token",
        ),
        (
            "components:\n  - c: {_mixin_: a}\n",
            None,
            "machinable.yaml:2:9: no reserved key named '_mixin_'\n"
            "  in c\n"
            "    2 |   - c: {_mixin_: a}\n"
            "                ^\n"
            "  Did you mean '_mixins_'?",
        ),
    ],
)
def test_a_message_says_what_is_wrong_where_and_what_to_do(text: str, version: object, message: str) -> None:
    name = "optimization" if "optim" in text else "c"

    assert str(failure(text, name, version)) == message


CANARY = "c4n4ry"
# Every variable is the canary in another form; no message may contain one of them.
VALUES = {
    "PLAIN": CANARY,
    "CALL": f"{CANARY}(not python)",
    "NAME": f"f({CANARY})",
    "DATE": "2026-99-99",
    "PATH_": f"{CANARY}/x.yaml",
    "SEED": f"{CANARY} 5",
    "REF": f"{CANARY}..x",
    "BRACKET": f"{CANARY}]",
}


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("_t: ${PLAIN}\na: $self._t.x", None),
        ("t: {a: 1}\n_t: ${PLAIN}\na: '$self.t[$self._t]'", None),
        ("t: {a: 1}\ns: ${PLAIN}\na: '$self.t[$self.s]'", None),
        ("t: {a: 1}\na: '$self.t[${PLAIN}]'", None),
        ("a: $.${PLAIN}", None),
        ("a: $.${REF}", None),
        ("a: $.x${BRACKET}", None),
        ("a: $self.${PLAIN}.${PLAIN}", None),
        ("t: [1]\na: $self.t.${PLAIN}", None),
        ("_t: ${CALL}", None),
        ("t: ${CALL}", None),
        ("t: ${NAME}", None),
        ("t: [{x: '${NAME}'}]", None),
        ("a: $self.t\nt: ${NAME}", None),
        ("a: $/${PATH_}", None),
        ("_seed_: ${SEED}", None),
        ("_class_: ${SEED}", None),
        ("_evaluate_: ${PLAIN}", None),
        ("_seed_: $self.t\nt: ${SEED}", None),
        ("~v: ${PLAIN}", None),
        ("~v: $.t", "~v"),
        ("<<: ${PLAIN}", None),
        ("a: !!int ${PLAIN}", None),
        ("a: !!bool '${PLAIN}'", None),
        ("a: !x ${PLAIN}", None),
        ("a: !!timestamp ${PLAIN}", None),
        ("_mixins_: [{name: {x: '${PLAIN}'}}]", None),
        ("_mixins_: [[ '${PLAIN}' ]]", None),
        ("_mixins_: ${PLAIN}", None),
        ("_mixins_: [$.t]", None),
        ("_mixins_: [{name: a, vendor: '${PLAIN}'}]", None),
        ("_mixins_: [{name: a, attribute: '${SEED}'}]", None),
        ("a: ${PLAIN} ${NOT_SET}", None),
        ("a: {x: '${PLAIN}', x: '${PLAIN}'}", None),
        ("_t: ${PLAIN}\n_t: ${PLAIN}", None),
        ("{_t: '${PLAIN}', a: $.nope, _u: '${PLAIN}'}", None),
        ("_t: ${PLAIN}", {"_tt": CANARY, "on": {1, 2}}),
        ("_t: ${PLAIN}", "v.yaml"),
        ("_t: 1", {"_t": CANARY, "~v": 5}),
        ("_t: 1", f"_t: {CANARY}\n~v: 5"),
        ("_t: 1", f"{{_t: {CANARY}, a: !t 5}}"),
        ("_t: 1", ({"_t": CANARY}, {"a": f"f({CANARY})", "_b": f"f({CANARY})"})),
    ],
)
def test_no_message_shows_a_value_from_the_environment_or_behind_a_hidden_key(text: str, version: object) -> None:
    lines = "".join(f"      {line}\n" for line in text.splitlines())
    texts = {
        "machinable.yaml": "t: ${PLAIN}\ncomponents:\n  - c:\n" + lines,
        "v.yaml": "b: '$self._t.${PLAIN}'\nd: $/${PATH_}\n_seed_: ${SEED}\n",
    }
    with pytest.raises(MachinableError) as caught:
        check(texts, version)
    error = caught.value

    summary = json.dumps(error.as_data()) + str(error) + "".join(traceback.format_exception(error)[-1:])
    if isinstance(version, tuple):  # the value of a visible key may be shown
        summary = summary.replace(f"f({CANARY})", "", summary.count("'a'"))
        assert f"_b: f({CANARY}" not in summary
        return
    assert CANARY not in summary
    assert "EnvValue" not in summary
    assert "object at 0x" not in summary


@pytest.mark.parametrize(
    "line",
    [
        "name: ${SEED}",
        "_evaluate_: ${PLAIN}",
        "execution: ${PLAIN}",
        "execution: {strict: '${PLAIN}'}",
        "+: ${PLAIN}",
        "+: ['${SEED}']",
        "includes: ${PLAIN}",
        "includes: {a: '${PLAIN}'}",
        "mixins: ${PLAIN}",
        "mixins: [a: '${PLAIN}']",
        "components: [c: '${PLAIN}']",
        "- ${PLAIN}",
        "${PLAIN}",
    ],
)
def test_no_root_shows_a_value_from_the_environment(line: str) -> None:
    error = failure(line + "\n", environment=VALUES)

    assert CANARY not in json.dumps(error.as_data()) + str(error)
    assert "object at 0x" not in str(error)


def test_the_stored_configuration_has_no_secret() -> None:
    text = "components: [c: {_t: '${PLAIN}', a: $self._t, b: {_x: 1}}]\n"
    found = resolved(text, version={"_t2": CANARY}, environment=VALUES)

    shown = [found.to_dict(hidden=False), found.origin("_t2"), found.explain("_t"), found.explain("a")]
    assert CANARY not in repr(shown)


def test_an_excerpt_leaves_out_the_values_of_hidden_keys() -> None:
    for line in [
        "_t: X",
        "a: {_t: X, b: 1}",
        "'_t': 'X'",
        'x._t: "X"',
        "_t?: X",
        "_api-key: X",
        'a: {"_t":"X"}',
        "_a_b: X",
    ]:
        twice = f"      {line.replace('X', CANARY)}\n" * 2
        assert CANARY not in str(failure(f"components:\n  - c:\n{twice}")), line
