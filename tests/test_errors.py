"""Every error is one of ours and one of Python's, can be pickled, and says what to do next."""

from __future__ import annotations

import builtins
import pickle
import re
import traceback

import pytest

from machinable import errors
from machinable.config.config import Config
from machinable.errors import MachinableError, MissingAttribute, Place, UnknownName, near_names

KINDS = [
    value
    for name in errors.__all__
    if isinstance(value := getattr(errors, name), type) and issubclass(value, MachinableError)
]
PLACE = Place("machinable.yaml", 10, 5, "  - optimization=base:")


def example(kind: type[MachinableError]) -> MachinableError:
    if kind is errors.SeveralErrors:
        return errors.SeveralErrors([errors.InvalidValue("one"), errors.MalformedText("two", at=PLACE)])
    if kind is UnknownName:
        return UnknownName("version", "minst", ["mnist"], at=PLACE, path="optimization")
    return kind("something is wrong", at=PLACE, path="a.b", given=1, known=["x"], details=["more"], todo="Do this.")


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_a_pickled_error_is_the_same(kind: type[MachinableError]) -> None:
    error = example(kind)
    again = pickle.loads(pickle.dumps(error))
    assert (again, str(again)) == (error, str(error))
    assert error.as_data()["type"] == kind.__name__


def test_the_tree_in_the_docstring_is_the_tree() -> None:
    assert errors.__doc__ is not None
    for line in errors.__doc__.splitlines():
        for name, pythons in re.findall(r"([A-Z]\w+) +also ((?:[A-Z]\w+(?:, | and )?)+)", line):
            for python in re.findall(r"[A-Z]\w+", pythons):
                assert issubclass(getattr(errors, name), getattr(builtins, python)), line
    assert [kind.__name__ for kind in KINDS if kind.__name__ not in errors.__doc__] == []


def test_a_message_says_what_is_wrong_and_where_and_what_to_do() -> None:
    assert str(example(UnknownName)) == (
        "machinable.yaml:10:5: no version named 'minst'\n"
        "  in optimization\n"
        "    10 |   - optimization=base:\n"
        "             ^\n"
        "  Did you mean 'mnist'?"
    )


@pytest.mark.parametrize(
    ("given", "known", "advice"),
    [
        ("minst", ["mnist", "cifar"], "Did you mean 'mnist'?"),
        ("loss", ["records.loss", "uid"], "Did you mean 'records.loss'?"),  # its last part
        ("x", ["mnist", "cifar"], "Known: mnist, cifar"),
        ("x", [], "No version is defined here."),
        ("x", [f"name{i}" for i in range(25)], "Known: " + ", ".join(f"name{i}" for i in range(20)) + " and 5 more"),
    ],
)
def test_an_unknown_name_suggests_near_ones_else_lists_all_else_says_that_there_are_none(
    given: str, known: list[str], advice: str
) -> None:
    assert UnknownName("version", given, known).advice() == advice


def test_a_line_of_a_thousand_characters_is_shown_around_its_caret() -> None:
    error = errors.MalformedText("no", at=Place("f", 1, 600, "x" * 599 + "HERE" + "y" * 900))
    excerpt, caret = str(error).splitlines()[1:3]
    assert len(excerpt) < 130
    assert excerpt[caret.index("^")] == "H"


def test_names_that_differ_only_in_case_are_near() -> None:
    assert near_names("ALEXNET", ["alexnet", "mnist"]) == ["alexnet"]


def test_python_does_not_offer_near_names_a_second_time() -> None:
    with pytest.raises(MissingAttribute) as caught:
        Config({"rate": 1}).rat  # noqa: B018

    assert "".join(traceback.format_exception(caught.value)).count("Did you mean") == 1


def test_a_missing_key_behaves_like_pythons_own() -> None:
    class Reader:
        def __getattr__(self, name: str) -> object:
            raise errors.MissingAttribute(f"no {name}")

    assert not hasattr(Reader(), "x")
    assert getattr(Reader(), "x", 3) == 3
