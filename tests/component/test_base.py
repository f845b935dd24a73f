"""The attributes of components, and when they become available."""

from __future__ import annotations

import copy
import re
import sys

import pytest

from machinable.component.base import Component, overrides
from machinable.errors import NotAvailable, UnknownName
from machinable.trial.capture import error_data
from tests.component.worlds import World, child, spec


class Kid(Component):
    def on_after_init(self) -> None:
        self.seen = [self.log is self.node.log, self.record is self.node.record, self.store is self.node.store]  # type: ignore[union-attr]


def test_an_attribute_that_is_used_too_early_names_the_event_from_which_it_exists() -> None:
    said: list[str] = []

    class Early(Component):
        def _ask(self, *names: str) -> None:
            for name in names:
                try:
                    getattr(self, name)
                except NotAvailable as error:
                    said.append(str(error))

        def on_init(self, config: object, flags: object, node: object) -> None:
            self._ask("config", "flags", "log")

        def on_after_init(self) -> None:
            assert self.config.a == 1 and self.flags.SEED and self.tags == {"t": 1} and self.node is None
            with pytest.raises(UnknownName, match="no tag named 'tt'"):
                self.tags["tt"]
            self._ask("log", "record", "store", "requires", "directory")
            with pytest.raises(NotAvailable):
                self.set_seed()

    World(Early, spec({"a": 1}, tags={"t": 1}))

    assert said == [
        f"self.{name} does not exist yet\n  It is available from {event} on."
        for name, event in [
            ("config", "on_after_init"),
            ("flags", "on_after_init"),
            ("log", "on_start"),
            ("log", "on_start"),
            ("record", "on_start"),
            ("store", "on_start"),
            ("requires", "on_start"),
            ("directory", "on_start"),
        ]
    ]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="tracebacks have no suggestions")
def test_a_misspelled_attribute_suggests_what_a_component_finds_in_a_trial() -> None:
    class Typo(Component):
        def on_start(self) -> None:
            self.recrd  # type: ignore[attr-defined] # noqa: B018

    with pytest.raises(AttributeError) as caught:
        Typo().on_start()

    assert error_data(caught.value)["traceback"].endswith("no attribute 'recrd'. Did you mean: 'record'?\n")


def test_a_component_outside_a_trial_has_no_attributes() -> None:
    with pytest.raises(NotAvailable, match=r"self\.config exists only while a trial runs\n  Execute the component"):
        Component().config  # noqa: B018
    with pytest.raises(AttributeError, match=r"self\.__mixin__ exists only while a method of a mixin runs"):
        Component().__mixin__  # noqa: B018
    assert not hasattr(Component(), "record")
    assert isinstance(copy.copy(Component()), Component)


def test_an_unknown_attribute_is_the_usual_error_and_a_failing_property_shows_its_own() -> None:
    class Odd(Component):
        @property
        def broken(self) -> int:
            return self.missing_inside  # type: ignore[no-any-return]

    with pytest.raises(AttributeError, match=re.escape("'Odd' object has no attribute 'nothing'")):
        Odd().nothing  # noqa: B018
    with pytest.raises(AttributeError, match="missing_inside"):
        Odd().broken  # noqa: B018


def test_children_share_record_log_and_store_of_their_node() -> None:
    class Node(Component):
        def on_execute(self) -> object:
            assert self.children[0].node is self
            return self.children[0].seen

    assert World(Node, spec(children=(child("kid", Kid),))).ended.result == [True, True, True]


def test_changes_in_construct_events_do_not_persist() -> None:
    config = {"a": {"b": [1]}}

    class Greedy(Component):
        def on_before_init(self, config: dict, flags: dict, node: object) -> None:  # type: ignore[type-arg]
            config["a"]["b"].append(2)
            flags["SEED"] = 0
            assert (type(config), type(flags), node) == (dict, dict, None)

        def on_init(self, config: dict, flags: dict, node: object) -> None:  # type: ignore[type-arg]
            assert (config, flags["SEED"]) == ({"a": {"b": [1]}}, 1884819273)

        def on_execute(self) -> object:
            self.config.a.b.append(3)
            self.config.a.c = 4
            return self.config.to_dict()

    trial = spec(config)
    assert World(Greedy, trial).ended.result == {"a": {"b": [1, 3], "c": 4}}
    assert (config, trial.flags["SEED"]) == ({"a": {"b": [1]}}, 1884819273)


def test_flags_describe_the_trial_with_those_of_the_user_first() -> None:
    class Flags(Component):
        def on_execute(self) -> object:
            return self.flags.to_dict()

    world = World(Flags, spec(flags={"mine": 1, "SEED": 5, "CHECKPOINT": "/last"}, attempt=3))

    assert list(world.ended.result.items()) == [
        ("mine", 1),
        ("SEED", 5),
        ("CHECKPOINT", "/last"),
        ("ATTEMPT", 3),
        ("TUNING", False),
        ("CHILD_ALIAS", {}),
        ("REPEAT_NUMBER", 0),
        ("REPEAT_TOTAL", 1),
        ("SPLIT_NUMBER", 0),
        ("SPLIT_TOTAL", 1),
    ]


def test_a_component_may_define_init() -> None:
    class Own(Component):
        def __init__(self) -> None:
            self.mine = 1

        def on_execute(self) -> int:
            return self.mine + self.config.a  # type: ignore[no-any-return]

    assert World(Own, spec({"a": 2})).ended.result == 3


def test_events_of_base_classes_are_called() -> None:
    class Base(Component):
        def on_execute_iteration(self, iteration: int) -> None: ...

    class Derived(Base):
        pass

    assert (overrides(Derived, "on_execute_iteration"), overrides(Derived, "on_execute")) == (True, False)


def test_requires_is_an_empty_mapping_for_a_trial_that_needs_nothing() -> None:
    class Needs(Component):
        def on_execute(self) -> object:
            return [len(self.requires), list(self.requires)]

    assert World(Needs).ended.result == [0, []]


def test_progress_is_reported_to_the_caller_of_run() -> None:
    class Steps(Component):
        def on_execute(self) -> None:
            self.progress(1, 2)
            self.progress(2)

    reported: list[object] = []
    World(Steps, progress=lambda i, total: reported.append((i, total)))

    assert reported == [(1, 2), (2, None)]
    assert World(Steps).ended.state == "finished"
