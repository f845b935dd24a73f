"""Children: how a node receives them, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

import machinable as ml
from machinable.component.base import Component
from machinable.errors import MissingAttribute
from machinable.plan.spec import Target
from tests.component.worlds import World, child, spec

LOG: list[Any] = []


@pytest.fixture(autouse=True)
def fresh_log() -> None:
    LOG.clear()


class Kid(Component):
    def on_create(self) -> None:
        LOG.append(f"create {self.config.name}")

    def on_destroy(self) -> None:
        LOG.append(f"destroy {self.config.name}")


class Named(Component):
    attribute_ = "encoder"


class WithNode(Component):
    def on_create(self, node: Any) -> None:
        LOG.append(type(node).__name__)


class Greedy(Component):
    def on_create(self, first: Any) -> None:
        LOG.append("never")


def kids(*names: str) -> dict[str, Any]:
    return {"children": tuple(child("kid", Kid, {"name": name}) for name in names)}


def error_of(cls: type[Component], **more: Any) -> tuple[str, str]:
    error = World(cls, spec(**more)).ended.error
    assert error is not None
    return error["type"], error["message"].splitlines()[0]


def test_without_parameters_all_children_are_created_before_the_node() -> None:
    class Node(Component):
        def on_create(self) -> None:
            LOG.append("node")

        def on_before_destroy(self) -> None:
            LOG.append("end")

    World(Node, spec(**kids("a", "b")))

    assert LOG == ["create a", "create b", "node", "end", "destroy a", "destroy b"]


def test_a_node_parameter_alone_does_not_select_children() -> None:
    class Node(Component):
        def on_create(self, node: Any) -> None:
            LOG.append(node)

    World(Node, spec(**kids("a")))

    assert LOG == ["create a", None, "destroy a"]


def test_a_child_receives_its_node() -> None:
    World(type("Node", (Component,), {}), spec(children=(child("with_node", WithNode),)))

    assert LOG == ["Node"]


def test_children_without_a_parameter_are_only_constructed() -> None:
    class Node(Component):
        def on_create(self, one: Any, _two: Any, *, four: Any = None, five: Any = 5) -> None:
            LOG.append([one.config.name, _two.config.name, four.config.name, five])
            LOG.append(self.flags.CHILD_ALIAS.to_dict())

        def on_execute(self) -> object:
            self.children[1].create()
            self.children[1].create()
            return [kid.config.name for kid in self.children]

    world = World(Node, spec(**kids("a", "b", "c")))

    assert world.ended.result == ["a", "b", "c"]
    assert LOG == [
        "create a",
        "create c",
        ["a", "b", "c", 5],
        {"one": 0, "two": 1, "four": 2},
        "create b",
        "destroy a",
        "destroy b",
        "destroy c",
    ]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "def on_create(self, first, second): pass",
            "Node.on_create takes a child as 'second', but there are 1 children",
        ),
        (
            "def on_create(self, *children): pass",
            "Node.on_create takes *children, which does not name the children it takes",
        ),
        (
            "def on_create(self, first, **more): pass",
            "Node.on_create takes **more, which does not name the children it takes",
        ),
    ],
)
def test_a_signature_without_matching_children_is_a_type_error_naming_the_parameter(source: str, message: str) -> None:
    namespace: dict[str, Any] = {"on_before_create": lambda self: LOG.append("never")}
    exec(source, namespace)
    node = type("Node", (Component,), {k: v for k, v in namespace.items() if k.startswith("on_")})

    assert error_of(node, **kids("a")) == ("InvalidType", message)
    assert LOG == []


def test_a_child_that_takes_children_is_refused_before_anything_is_created() -> None:
    class Node(Component):
        def on_before_create(self) -> None:
            LOG.append("never")

    kind, message = error_of(Node, children=(child("kid", Kid, {"name": "a"}), child("greedy", Greedy)))

    assert (kind, message) == ("InvalidType", "Greedy.on_create takes a child as 'first', but there are 0 children")
    assert LOG == []


def test_attribute_names_connect_node_and_children() -> None:
    class Node(Component):
        attribute_ = "model"

        def on_after_init_children(self, children: list[Any]) -> None:
            assert self.encoder is children[1] and children[1].model is self

        def on_execute(self) -> object:
            return self.flags.CHILD_ALIAS.to_dict()

    trial = spec(children=(child("kid", Kid, {"name": "a"}), child("named", Named), child("named", Named)))
    assert World(Node, trial).ended.result == {"encoder": 1}


def test_an_existing_attribute_of_the_node_is_kept() -> None:
    class Node(Component):
        encoder = "mine"

        def on_execute(self) -> object:
            return [self.encoder, self.flags.CHILD_ALIAS.to_dict()]

    assert World(Node, spec(children=(child("named", Named),))).ended.result == ["mine", {}]


def test_children_can_be_left_out_and_indices_count_the_others() -> None:
    class Node(Component):
        def on_init_child(self, spec: Any, index: int) -> object:
            LOG.append((spec.config["name"], index))
            return spec.config["name"] != "a"

        def on_execute(self) -> object:
            return [kid.config.name for kid in self.children]

    assert World(Node, spec(**kids("a", "b", "c"))).ended.result == ["b", "c"]
    assert LOG[:3] == [("a", 0), ("b", 0), ("c", 1)]


def test_changes_of_a_specification_affect_this_trial_only() -> None:
    class Node(Component):
        def on_init_children(self, specs: list[Any]) -> None:
            specs[0].config["name"] = "changed"

        def on_execute(self) -> object:
            return self.children[0].config.name

    trial = spec(**kids("a"))
    assert World(Node, trial).ended.result == "changed"
    assert trial.children[0].config == {"name": "a"}


def test_only_children_can_be_created_by_hand() -> None:
    class Node(Component):
        def on_execute(self) -> None:
            self.create()

    assert error_of(Node)[1] == "create() is for children"


def test_a_child_whose_module_does_not_import_fails_the_trial() -> None:
    class Node(Component):
        def on_failure(self, exception: BaseException) -> None:
            LOG.append(type(exception).__name__)

    broken = child("kid", Kid, target=Target("no_such_module_here"))

    assert error_of(Node, children=(broken,))[0] == "ImportFailed"
    assert LOG == ["ImportFailed"]


def test_a_live_class_needs_no_import() -> None:
    class Local(Component):
        pass

    class Node(Component):
        def on_execute(self) -> object:
            return type(self.children[0]).__name__

    local, node = Target("nowhere", "Local", "class"), Target("nowhere", "Node", "class")
    trial = spec(target=node, children=(child("local", Local, target=local),))

    assert World(None, trial, live={local: Local, node: Node}).ended.result == "Local"


def test_a_function_cannot_be_a_child() -> None:
    broken = child("kid", Kid, target=Target(__name__, "kids", "function"))

    assert error_of(Component, children=(broken,)) == ("InvalidType", "the child kid is a function")


@pytest.mark.parametrize(
    ("levels", "expected"),
    [
        ([], [[0, 1, 0, 1]]),
        ([("repeat", 2)], [[0, 2, 0, 1], [1, 2, 0, 1]]),
        ([("split", 2)], [[0, 1, 0, 2], [0, 1, 1, 2]]),
        ([("repeat", 2), ("split", 1)], [[0, 2, 0, 1], [1, 2, 0, 1]]),
        ([("split", 1), ("repeat", 2)], [[0, 2, 0, 1], [1, 2, 0, 1]]),
        ([("split", 1, "FOLD"), ("repeat", 1)], [[0, 1, 0, 1]]),
    ],
)
def test_flags_of_levels_do_not_depend_on_their_order(levels: list[Any], expected: list[list[int]]) -> None:
    def reads(flags: Any) -> list[int]:
        return [flags.REPEAT_NUMBER, flags.REPEAT_TOTAL, flags.SPLIT_NUMBER, flags.SPLIT_TOTAL]

    task = ml.Task(reads)
    for method, *arguments in levels:
        task = getattr(task, method)(*arguments)
    assert [trial.result for trial in ml.execute(task).trials] == expected


def test_without_levels_their_seeds_are_that_of_the_repetition() -> None:
    def reads(flags: Any) -> list[int]:
        return [flags.REPEAT_SEED, flags.SPLIT_SEED, flags.PAIRED_SEED]

    (alone,) = ml.execute(ml.Task(reads), seed="OY1p1o").trials
    first, _ = ml.execute(ml.Task(reads).repeat(2), seed="OY1p1o").trials
    assert alone.result == [alone.flags["PAIRED_SEED"]] * 3
    assert first.result == [first.flags["REPEAT_SEED"], *[first.flags["PAIRED_SEED"]] * 2]


def test_further_levels_of_a_name_have_its_next_number() -> None:
    def reads(flags: Any) -> list[Any]:
        names = ("REPEAT_SEED", "REPEAT_SEED_1", "REPEAT_SEED_2", "FOLD_NUMBER", "HOUSE_NUMBER")
        return [flags.get(name) for name in names]

    task = ml.Task().component(reads, flags={"HOUSE_NUMBER_3": 5}).split(1, "FOLD").repeat(1).repeat(1)
    (trial,) = ml.execute(task, seed="OY1p1o").trials
    seeds = [trial.flags["REPEAT_SEED_1"], trial.flags["REPEAT_SEED_1"], trial.flags["REPEAT_SEED_2"]]
    assert trial.result == [*seeds, 0, None]


def called(**names: str) -> dict[str, Any]:
    """Children whose names among the children are the keywords, with these names in their configuration."""
    return {"children": tuple(child("kid", Kid, {"name": one}, called=name) for name, one in names.items())}


def test_named_children_go_to_the_parameters_of_their_names_and_others_by_position() -> None:
    class Node(Component):
        def on_create(self, other: Any, _data: Any = None, missing: Any = "default", /, model: Any = None) -> None:
            LOG.append([other.config.name, _data.config.name, missing, model.config.name])

    class Keywords(Component):
        def on_create(self, missing: Any = "default", model: Any = None, *, data: Any = None) -> None:
            LOG.append([missing, model.config.name, data.config.name])
            LOG.append(dict(self.flags.CHILD_ALIAS))

    World(Node, spec(**called(model="m", data="d", more="x")))
    assert LOG[:3] == ["create x", "create m", ["x", "d", "default", "m"]]
    LOG.clear()
    World(Keywords, spec(**called(model="m", data="d")))
    assert LOG[2:4] == [["default", "m", "d"], {"model": 0, "data": 1}]


def test_named_children_are_attributes_and_items_of_the_children() -> None:
    class Node(Component):
        def on_execute(self) -> None:
            children = self.children
            LOG.append([children.model is children[0], children["model"] is children[0], len(children)])
            LOG.append([one.config.name for one in children.members])
            with pytest.raises(MissingAttribute, match="Did you mean 'model'"):
                children.modl  # noqa: B018

    assert World(Node, spec(**called(model="m", **{"members.0": "a", "members.1": "b"}))).ended.error is None
    assert LOG[3:5] == [[True, True, 3], ["a", "b"]]
