"""Write configurations as YAML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time, timedelta
from typing import Any

import yaml

__all__ = ["yaml_text"]


class _Dumper(yaml.SafeDumper):
    """Write lists of scalars on one line, and quote text that would be read as another type."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: _Dumper, value: list[Any]) -> yaml.Node:
    plain = not any(isinstance(item, (list, dict)) for item in value)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", value, flow_style=plain)


def _represent_as_text(dumper: _Dumper, value: time | timedelta) -> yaml.Node:
    return dumper.represent_str(str(value))  # YAML has dates only


_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(time, _represent_as_text)
_Dumper.add_representer(timedelta, _represent_as_text)
# 1e-3 is a number in our dialect and text in PyYAML's.
_Dumper.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(?:[0-9][0-9_]*(?:\.[0-9_]*)?|\.[0-9][0-9_]*)[eE][-+]?[0-9]+$"),
    list("-+0123456789."),
)


def yaml_text(value: Mapping[str, Any]) -> str:
    """Return a configuration as YAML that reads back as the same values, keys in their order."""
    text: str = yaml.dump(
        dict(value), Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=2**20
    )
    return text
