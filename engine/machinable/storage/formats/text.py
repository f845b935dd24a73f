"""Plain data, text and bytes."""

from __future__ import annotations

import json
from typing import Any

from machinable.serialization import decode, encode, loads
from machinable.storage.formats.base import Format, UnsupportedData, plain_of, type_name

__all__ = ["BYTES", "JSON", "JSONL", "TEXT", "YAML"]


def _dump_json(data: Any) -> bytes:
    return json.dumps(encode(plain_of(data))).encode() + b"\n"


def _dump_jsonl(data: Any) -> bytes:
    if not isinstance(data, list):
        raise UnsupportedData(type_name(data))
    return b"".join(_dump_json(plain_of(item, f"[{i}]")) for i, item in enumerate(data))


def _load_jsonl(data: bytes) -> list[Any]:
    return [loads(line) for line in data.split(b"\n") if line.strip()]


def _dump_yaml(data: Any) -> bytes:
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    try:
        text: str = yaml.dump(encode(plain_of(data)), Dumper=dumper, allow_unicode=True, sort_keys=False)
        return text.encode()
    except UnicodeEncodeError as error:
        raise UnsupportedData("text with half a character") from error


def _load_yaml(data: bytes) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both make plain data only
    return decode(yaml.load(data, Loader=loader))  # noqa: S506


def _dump_text(data: Any) -> bytes:
    if not isinstance(data, str):
        raise UnsupportedData(type_name(data))
    try:
        return data.encode()
    except UnicodeEncodeError as error:
        raise UnsupportedData("text with half a character") from error


def _dump_bytes(data: Any) -> bytes:
    if not isinstance(data, (bytes, bytearray, memoryview)):
        raise UnsupportedData(type_name(data))
    return bytes(data)


_PLAIN = "plain data (None, bool, numbers, text, dates, lists and mappings of these)"
JSON = Format(_PLAIN, _dump_json, loads)
YAML = Format(_PLAIN, _dump_yaml, _load_yaml)
JSONL = Format(f"a list of {_PLAIN}", _dump_jsonl, _load_jsonl)
TEXT = Format("text", _dump_text, bytes.decode)
BYTES = Format("bytes", _dump_bytes, bytes)
