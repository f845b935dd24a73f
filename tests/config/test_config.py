"""The configuration as a component reads it."""

from __future__ import annotations

import copy
import pickle
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from machinable.config.config import Config, evaluate_stored
from machinable.errors import EndlessCall, MissingAttribute, NotAvailable

DATA = {
    "a": 2,
    "lr": "rate(0.5)",
    "nested": {"m": "rate(1)", "n": {"v": 6, "x": [{"y": "rate(2)"}]}},
    "items": ["rate(1)", 5, {"k": "rate(3)"}],
    "plain": [1, 2],
    "_token": "s3cret",
}


class Methods:
    """Config methods, and how often they were called."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.config = Config({})

    def __call__(self, name: str) -> Callable[..., Any] | None:
        method = getattr(self, name, None)
        if method is None:
            return None

        def call(*arguments: Any, **keywords: Any) -> Any:
            self.calls.append(name)
            return method(*arguments, **keywords)

        return call

    def rate(self, x: float = 0) -> float:
        return x * 10

    def table(self) -> Any:
        return {"k": {"z": 1}, "text": "rate(1)", "rows": [{"q": 2}]}

    def live(self) -> Any:
        return self.config.nested

    def first(self) -> Any:
        return self.config.second

    def second(self) -> Any:
        return self.config.first

    def broken(self) -> Any:
        raise KeyError("inner")

    def thing(self) -> Any:
        return object()


def make(data: Mapping[str, Any] = DATA, **more: Any) -> tuple[Config, Methods]:
    methods = Methods()
    config = methods.config = Config(data, methods=methods, **more)
    return config, methods


def test_attributes_and_items_are_the_same_values_with_calls_evaluated() -> None:
    config, _ = make()

    assert (config.a, config["lr"], config.nested.m, config["nested"]["n"].x[0].y) == (2, 5.0, 10, 20)
    assert config["items"] == [10, 5, {"k": 30}]


def test_it_is_a_mapping_that_equals_a_dict_with_the_same_values() -> None:
    config, _ = make({"b": "rate(1)", "a": {"x": 1}})

    assert isinstance(config, Mapping)
    assert (list(config), len(config), "b" in config, "x" in config) == (["b", "a"], 2, True, False)
    assert (list(config.keys()), list(config.values())) == (["b", "a"], [10, {"x": 1}])
    assert dict(config.items()) == config
    assert {**config} == config == {"b": 10, "a": {"x": 1}} != {"b": 10}
    assert list(reversed(config)) == ["a", "b"]


def test_names_of_methods_can_be_keys() -> None:
    config, _ = make({"keys": 1, "update": 2, "pop": 3})

    assert (config["keys"], config["update"], config["pop"], list(config.keys())) == (
        1,
        2,
        3,
        ["keys", "update", "pop"],
    )


def test_a_missing_key_is_a_key_error_and_an_attribute_error_with_near_names() -> None:
    config, _ = make({"learning_rate": 1, "_token": 2, "deep": {"epochs": 1}})

    with pytest.raises(MissingAttribute) as caught:
        config.learning_rat  # noqa: B018
    assert str(caught.value) == "the configuration has no key 'learning_rat'\n  Did you mean 'learning_rate'?"
    with pytest.raises(MissingAttribute, match=r"deep has no key 'zzz'\n  Known: epochs"):
        config.deep["zzz"]
    assert isinstance(caught.value, KeyError) and isinstance(caught.value, AttributeError)
    assert (hasattr(config, "zzz"), getattr(config, "zzz", 3), config.get("zzz", 4), config.pop("zzz", 5)) == (
        False,
        3,
        4,
        5,
    )
    with pytest.raises(KeyError):
        del config["zzz"]


def test_a_key_error_of_a_config_method_is_not_mistaken_for_a_missing_key() -> None:
    config, _ = make({"x": "broken()"})

    for access in (config.get, config.setdefault, config.pop):
        with pytest.raises(KeyError, match="inner"):
            access("x", 1)
    assert "x" in config


def test_a_call_is_evaluated_on_every_access_but_not_by_inspection() -> None:
    config, methods = make({"lr": "rate(1)"})
    assert "lr" in config and list(config) == ["lr"] and repr(config)
    assert methods.calls == []

    assert (config.lr, config["lr"], config.get("lr")) == (10, 10, 10)
    assert methods.calls == ["rate"] * 3


def test_arguments_see_the_configuration_and_the_flags_of_now() -> None:
    config, _ = make({"a": 1, "x": "rate(config.a + flags.n)", "deep": {"y": "rate(config.x)"}}, flags={"n": 2})
    config.a = 3

    assert (config.x, config.deep.y) == (50, 500)


def test_a_returned_mapping_is_wrapped_and_its_text_is_not_evaluated() -> None:
    config, _ = make({"t": "table()"})

    assert (config.t.k.z, config.t.text, config.t.rows[0].q) == (1, "rate(1)", 2)
    assert config.to_dict() == {"t": {"k": {"z": 1}, "text": "rate(1)", "rows": [{"q": 2}]}}


def test_changes_affect_only_this_object() -> None:
    data = copy.deepcopy(DATA)
    config, _ = make(data)
    config.fresh = {"deep": {"er": 1}}
    config["items"] = [{"k": 1}]
    config.nested.m = 3
    config.nested.n.x[0].y = "rate(7)"
    config.plain.append(3)
    config.update({"a": 5}, b="rate(2)")
    del config.lr

    assert (config.fresh.deep.er, config["items"][0].k, config.nested.m, config.nested.n.x[0].y) == (1, 1, 3, 70)
    assert (config.plain, config.a, config.b, "lr" in config, config.pop("a"), "a" in config) == (
        [1, 2, 3],
        5,
        20,
        False,
        5,
        False,
    )
    assert data == DATA


def test_an_assigned_part_of_another_configuration_is_copied() -> None:
    config, _ = make()
    config.other = config.nested
    config.other.m = 1

    assert (config.nested.m, config.other.n.v) == (10, 6)


def test_setdefault_works_as_for_a_dict() -> None:
    config, _ = make()

    assert (config.setdefault("a", 9), config.setdefault("new", {"x": 1}).x) == (2, 1)


def test_without_evaluation_an_access_returns_a_deferred_call() -> None:
    config, methods = make(evaluate=False)
    deferred = config.lr
    assert (repr(deferred), methods.calls) == ("<rate(0.5)>", [])

    assert (deferred(), config["items"][0]()) == (5.0, 10)
    assert config.to_dict()["lr"] == 5.0


def test_calls_are_evaluated_inside_config_methods_even_if_evaluation_is_off() -> None:
    config, _ = make({"x": "live()", "nested": {"m": "rate(1)"}, "arg": "rate(config.nested.m)"}, evaluate=False)

    assert config.arg() == 100
    assert callable(config.nested.m)


def test_a_cycle_of_calls_shows_the_chain() -> None:
    config, _ = make({"first": "first()", "second": "second()", "own": "rate(config.own)"})

    with pytest.raises(EndlessCall) as caught:
        config.first  # noqa: B018
    assert str(caught.value) == (
        "first depends on itself\n  in first\n  first = first()\n  second = second()\n  first = first()\n"
        "  Break the cycle in a config method."
    )
    with pytest.raises(RecursionError):
        config.own  # noqa: B018
    assert config.get("lr") is None  # and the next access begins afresh
    with pytest.raises(EndlessCall):
        config.own  # noqa: B018


def test_the_same_call_in_two_threads_is_not_a_cycle() -> None:
    inside, release = threading.Event(), threading.Event()
    config, methods = make({"x": "waits()"})

    def waits() -> int:
        inside.set()
        assert release.wait(10)
        return 1

    methods.waits = waits  # type: ignore[attr-defined]
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(config.x)) for _ in range(2)]
    threads[0].start()
    assert inside.wait(10)
    threads[1].start()
    release.set()
    for thread in threads:
        thread.join(10)
    assert results == [1, 1]


def test_to_dict_is_plain_all_the_way_down() -> None:
    config, _ = make()

    plain = config.to_dict()
    assert plain == {
        "a": 2,
        "lr": 5.0,
        "nested": {"m": 10, "n": {"v": 6, "x": [{"y": 20}]}},
        "items": [10, 5, {"k": 30}],
        "plain": [1, 2],
        "_token": "s3cret",
    }
    assert {type(plain), type(plain["nested"]), type(plain["nested"]["n"]["x"][0])} == {dict}
    assert config.to_dict(evaluate=False) == config.toDict(evaluate=False) == DATA
    assert "_token" not in config.to_dict(hidden=False)
    plain["plain"].append(3)
    assert config.plain == [1, 2]


def test_a_method_may_give_a_part_of_the_configuration() -> None:
    config, _ = make({"x": "live()", "nested": {"m": "rate(1)"}})

    assert (config.x.m, config.to_dict()) == (10, {"x": {"m": 10}, "nested": {"m": 10}})


@pytest.mark.parametrize("copied", [lambda c: c.copy(), copy.copy, copy.deepcopy])
def test_a_copy_is_independent_and_evaluates_with_its_own_values(copied: Callable[[Config], Config]) -> None:
    config, _ = make({"a": 1, "x": "rate(config.a)", "deep": {"y": 1, "l": [1]}})
    other = copied(config)
    other.a = 2
    other.deep.y = 3
    other.deep.l.append(2)

    assert (type(other), other.x, config.x, config.deep) == (Config, 20, 10, {"y": 1, "l": [1]})


def test_deepcopy_copies_objects_and_copy_does_not() -> None:
    config, _ = make({})
    config.thing = thing = {1, 2}

    assert config.copy().thing is thing
    assert copy.deepcopy(config).thing == thing and copy.deepcopy(config).thing is not thing


def test_a_pickle_takes_the_values_of_calls_along() -> None:
    config, methods = make(
        {"a": 1, "lr": "rate(1)", "deep": {"l": ["rate(2)"]}, "bad": "broken()"}, origin={"a": "f:1:1"}
    )
    methods.calls.clear()
    other = pickle.loads(pickle.dumps(config))
    calls = len(methods.calls)

    assert (type(other), other.lr, other.deep.l, other.a, other.origin("a")) == (Config, 10, [20], 1, "f:1:1")
    assert other.to_dict(evaluate=False) == config.to_dict(evaluate=False)
    assert len(methods.calls) == calls
    with pytest.raises(NotAvailable, match=r"the call 'broken\(\)' of bad cannot be evaluated"):
        other.bad  # noqa: B018
    assert pickle.loads(pickle.dumps(other)).lr == 10
    assert pickle.loads(pickle.dumps(config.deep)).l == [20]


def test_messages_name_the_mapping() -> None:
    flags = Config({"SEED": 5}, label="the mapping of flags")
    for one in (flags, pickle.loads(pickle.dumps(flags))):
        with pytest.raises(KeyError, match="the mapping of flags has no key 'SEDE'"):
            one["SEDE"]


def test_without_methods_calls_are_text() -> None:
    flags = Config({"note": "rate(1)", "SEED": 5})
    flags.ITERATION = 0

    assert (flags.note, flags.SEED, flags.ITERATION, pickle.loads(pickle.dumps(flags)).note) == (
        "rate(1)",
        5,
        0,
        "rate(1)",
    )


def test_the_origin_of_a_value_can_be_read_from_within() -> None:
    config, _ = make(origin={"a": "m.yaml:3:5", "nested": "m.yaml:4:5", "nested.n.v": "version"})

    assert (config.origin("a"), config.origin("nested.n.v"), config.nested.n.origin("v")) == (
        "m.yaml:3:5",
        "version",
        "version",
    )
    assert (config.origin("nested.n.x[0].y"), config.nested.origin("m")) == ("m.yaml:4:5", "m.yaml:4:5")
    with pytest.raises(MissingAttribute):
        config.origin("plain")
    assert make(origin=lambda path: f"asked for {path}")[0].nested.origin("m") == "asked for nested.m"


def test_printing_shows_no_hidden_key_and_no_secret_that_was_carried_to_a_visible_one() -> None:
    config = Config(
        {"_token": "s3cret", "login": {"password": "s3cret", "user": "ada"}, "all": ["s3cret"]},
        stored={"login": {"password": "${TOKEN}", "user": "ada"}, "all": ["${TOKEN}"]},
    )

    assert repr(config) == "{'login': {'password': '${TOKEN}', 'user': 'ada'}, 'all': ['${TOKEN}']}"
    assert repr(config.login) == "{'password': '${TOKEN}', 'user': 'ada'}"
    assert config.login.password == "s3cret"


def test_keys_are_offered_for_completion() -> None:
    assert {"a", "lr", "to_dict"} <= set(dir(make()[0]))


def test_what_is_stored_has_calls_evaluated_where_that_gives_plain_data() -> None:
    config, methods = make(
        {
            "lr": "rate(1)",
            "deep": [{"x": "rate(2)"}],
            "t": "table()",
            "bad": "broken()",
            "odd": "thing()",
            "a": 1,
        },
        evaluate=False,
    )
    stored, failed = evaluate_stored(config, config.to_dict(evaluate=False))

    assert stored == {
        "lr": 10,
        "deep": [{"x": 20}],
        "t": {"k": {"z": 1}, "text": "rate(1)", "rows": [{"q": 2}]},
        "bad": "broken()",
        "odd": "thing()",
        "a": 1,
    }
    assert {path: type(error).__name__ for path, error in failed.items()} == {"bad": "KeyError", "odd": "WrongType"}
    methods.calls.clear()
    again, failed = evaluate_stored(config, stored, failed)
    assert (again, set(failed), methods.calls) == (stored, {"bad", "odd"}, ["broken", "thing"])


def test_conversion_happens_once_on_the_first_access_and_plain_values_stay_available() -> None:
    conversions = []

    def convert(data: Mapping[str, Any]) -> tuple[dict[str, Any], Callable[[Any], Any]]:
        conversions.append(data)
        return data | {"path": Path(data["path"]), "items": tuple(data["items"])}, str

    data = {"path": "a/b", "items": ["rate(1)", {"x": 1}], "text": "rate(2)"}
    config, _ = make(data, convert=convert)
    assert conversions == []

    assert (config.path, config["items"][1].x, config["items"][0]) == (Path("a/b"), 1, 10)
    assert config.to_dict() == {"path": "a/b", "items": ["10", {"x": "1"}], "text": "20"}
    assert config.to_dict(evaluate=False)["items"] == ["rate(1)", {"x": "1"}]
    for other in (copy.deepcopy(config), config.copy(), pickle.loads(pickle.dumps(config))):
        assert other == config and other.to_dict() == config.to_dict()
    assert conversions == [data]


def test_what_a_config_method_returns_is_stored_in_its_plain_form() -> None:
    config, methods = make({"where": "where()"}, convert=lambda data: (data, str))
    methods.where = lambda: Path("a")  # type: ignore[attr-defined]

    assert evaluate_stored(config, {"where": "where()"}) == ({"where": "a"}, {})
    assert config.where == Path("a")


def test_printing_shows_no_secret_in_a_tuple_or_a_set() -> None:
    config = Config({"pair": ("s3cret", 1), "tags": {"s3cret"}}, stored={"pair": ["${TOKEN}", 1], "tags": ["${TOKEN}"]})

    assert repr(config) == "{'pair': ('${TOKEN}', 1), 'tags': ['${TOKEN}']}"
