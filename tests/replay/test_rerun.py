"""What the process that runs an execution again says comes back whole."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from machinable import errors
from machinable.errors import MachinableError
from machinable.replay.rerun import _error


def tree(kind: type[MachinableError]) -> Iterator[type[MachinableError]]:
    yield kind
    for below in kind.__subclasses__():
        if below.__module__ == errors.__name__:
            yield from tree(below)


@pytest.mark.parametrize("kind", list(tree(MachinableError)), ids=lambda kind: str(kind.__name__))
def test_an_error_of_any_kind_can_be_raised_again(kind: type[MachinableError]) -> None:
    error = _error({"kind": kind.__name__, "lines": ["no machinable.yaml", "  Begin one."], "exit_code": 2})
    assert str(error).splitlines() == ["the stored task cannot be run again", "  no machinable.yaml", "    Begin one."]
    assert error.exit_code == 2
    assert issubclass(kind, type(error))
