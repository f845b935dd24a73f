"""Configurations as YAML that reads back as the same values in our dialect."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import yaml

__all__ = ["yaml_text"]


class _Dumper(yaml.SafeDumper):
    """Lists of scalars in one line; every text in quotes that would be read as something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _list(dumper: _Dumper, value: list[Any]) -> yaml.Node:
    plain = not any(isinstance(item, (list, dict)) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


_Dumper.add_representer(list, _list)
# 1e-3 is a number in our dialect and a text in that of PyYAML.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def yaml_text(value: Mapping[str, Any]) -> str:
    """The mapping as YAML, keys in their order."""
    text: str = yaml.dump(
        dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=2**20
    )
    return text
