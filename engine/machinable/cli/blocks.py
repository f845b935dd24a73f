"""The versions that a component declares: its `~` blocks, and those inside them as `~a:b`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import TYPE_CHECKING

from machinable.config.declaration import Block, open_block
from machinable.config.inheritance import base_of
from machinable.config.registry import Entry

if TYPE_CHECKING:
    from machinable.config.loader import Workspace

__all__ = ["below", "version_names"]

MOST = 1000  # versions that anybody reads; blocks that refer to each other can make a number without end
DEPTH = 8  # of blocks inside blocks; a block that refers to what it is in would have no end


def version_names(workspace: Workspace, entry: Entry) -> list[str]:
    """The versions in the order of the file, each followed by those inside it; those of mixins and parents too.

    Raises:
        ConfigurationError: a list of mixins cannot be read, or a block refers to something else than a mapping.
    """
    return list(islice(below("", base_of(workspace, entry).body.blocks), MOST))


def below(path: str, blocks: Mapping[str, Block]) -> Iterator[str]:
    """The versions of these blocks; `path` is the version that they are in."""
    for name, block in blocks.items():
        if len(name) < 2 or ":" in name or any(c.isspace() for c in name):
            continue  # no version can name it
        version = f"{path}:{name[1:]}" if path else name
        yield version
        if version.count(":") < DEPTH:
            yield from below(version, open_block(block).blocks)
