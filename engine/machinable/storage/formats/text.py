"""Text: JSON, YAML, plain text and XML."""

from __future__ import annotations

import json
import sys
from typing import Any

from machinable.serialization import as_plain, decode, encode, loads
from machinable.storage.formats import Format, UnsupportedData, type_name

__all__ = ["JSON", "JSONL", "TEXT", "XML", "YAML"]


def _dump_json(data: Any, path: str = "") -> bytes:
    return json.dumps(encode(as_plain(data, path, tuples=True))).encode() + b"\n"


_FRAME = "__frame__"  # the only key of a mapping that stands for a DataFrame


def _dump_document(data: Any) -> bytes:
    if "pandas" in sys.modules:  # it is imported if there is a DataFrame
        from machinable.storage.formats.frames import as_mapping, is_frame

        if is_frame(data):
            data = {_FRAME: as_mapping(data)}
    return _dump_json(data)


def _load_document(data: bytes) -> Any:
    found = loads(data)
    if type(found) is dict and list(found) == [_FRAME]:
        from machinable.storage.formats.frames import from_mapping

        return from_mapping(found[_FRAME])
    return found


def _dump_jsonl(data: Any) -> bytes:
    if not isinstance(data, list):
        raise UnsupportedData(type_name(data))
    return b"".join(_dump_json(item, f"[{i}]") for i, item in enumerate(data))


def _load_jsonl(data: bytes) -> list[Any]:
    return [loads(line) for line in data.split(b"\n") if line.strip()]


def _dump_yaml(data: Any) -> bytes:
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    plain = encode(as_plain(data, tuples=True))
    text: str = yaml.dump(plain, Dumper=dumper, allow_unicode=True, sort_keys=False)
    return text.encode()


def _load_yaml(data: bytes) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # both make plain data only
    return decode(yaml.load(data, Loader=loader))  # noqa: S506


def _dump_text(data: Any) -> bytes:
    if isinstance(data, list) and all(isinstance(line, str) for line in data):
        if broken := [line for line in data if "\n" in line]:
            raise UnsupportedData(f"a list with the line {broken[0]!r}, which is several")
        data = "".join(f"{line}\n" for line in data)
    if not isinstance(data, str):
        raise UnsupportedData(type_name(data))
    return data.encode()


def _dump_tree(data: Any) -> bytes:
    from io import BytesIO
    from xml.etree.ElementTree import ElementTree, iselement

    if not isinstance(data, ElementTree):
        raise UnsupportedData(type_name(data) + (": use ElementTree(element)" if iselement(data) else ""))
    if data.getroot() is None:
        raise UnsupportedData("one without a root")
    buffer = BytesIO()
    data.write(buffer, encoding="utf-8", xml_declaration=True)
    _load_tree(buffer.getvalue())  # fails for characters that XML lacks
    return buffer.getvalue()


def _load_tree(data: bytes) -> Any:
    from xml.etree.ElementTree import ElementTree, TreeBuilder, XMLParser, fromstring
    from xml.parsers.expat import ParserCreate

    def refuse(*_: Any) -> int:
        raise ValueError("it declares entities, which are not read")  # they can grow without bounds, or read files

    check = ParserCreate()
    check.EntityDeclHandler = check.ExternalEntityRefHandler = check.SkippedEntityHandler = refuse
    check.Parse(data, True)
    return ElementTree(fromstring(data, XMLParser(target=TreeBuilder(insert_comments=True, insert_pis=True))))


_PLAIN = "plain data (None, bool, numbers, text, dates, lists and mappings of these)"
JSON = Format(f"{_PLAIN}, or a DataFrame", _dump_document, _load_document)
YAML = Format(_PLAIN, _dump_yaml, _load_yaml)
JSONL = Format(f"a list of {_PLAIN}", _dump_jsonl, _load_jsonl)
TEXT = Format("text or a list of lines", _dump_text, bytes.decode)
XML = Format("an ElementTree", _dump_tree, _load_tree)
