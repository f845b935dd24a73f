"""Text: JSON, YAML, plain text and XML."""

from __future__ import annotations

import json
import sys
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE, BOM_UTF32_BE, BOM_UTF32_LE, lookup
from itertools import chain
from typing import Any

from machinable.errors import InvalidValue
from machinable.serialization import as_plain, decode, encode, loads
from machinable.storage.formats import Format, UnsupportedData, type_name

__all__ = ["JSON", "JSONL", "TEXT", "XML", "YAML", "decode_text", "encode_text"]


def _dump_json(data: Any, path: str = "", **options: Any) -> bytes:
    return json.dumps(encode(as_plain(data, path, tuples=True)), **options).encode("utf-8", "surrogatepass") + b"\n"


_FRAME = "__frame__"  # the only key of a mapping that stands for a DataFrame


def _dump_document(data: Any, **options: Any) -> bytes:
    if "pandas" in sys.modules:  # it is imported if there is a DataFrame
        from machinable.storage.formats.frames import as_mapping, is_frame

        if is_frame(data):
            data = {_FRAME: as_mapping(data)}
    return _dump_json(data, **options)


def _load_document(data: bytes) -> Any:
    found = loads(data)
    if type(found) is dict and list(found) == [_FRAME]:
        from machinable.storage.formats.frames import from_mapping

        return from_mapping(found[_FRAME])
    return found


def _dump_jsonl(data: Any, **options: Any) -> bytes:
    if not isinstance(data, list):
        raise UnsupportedData(type_name(data))
    return b"".join(_dump_json(item, f"[{i}]", **options) for i, item in enumerate(data))


def _load_jsonl(data: bytes) -> list[Any]:
    return [loads(line) for line in data.split(b"\n") if line.strip()]


def _dump_yaml(data: Any, **options: Any) -> bytes:
    import yaml

    dumper = getattr(yaml, "CSafeDumper", yaml.SafeDumper)
    plain = encode(as_plain(data, tuples=True))
    options = {"allow_unicode": True, "sort_keys": False} | options
    text: Any = yaml.dump(plain, Dumper=dumper, **options)
    return str(text).encode()


def _load_yaml(data: bytes) -> Any:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)(data)  # both make plain data only
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        if b"*" in data and (count := _count_nodes(node, {})) > max(len(data), _MAX_NODES):
            raise ValueError(f"with its aliases it has {count} values")
        return decode(loader.construct_document(node))
    finally:
        loader.dispose()


_MAX_NODES = 10_000_000  # in a file with aliases; our own have none


def _count_nodes(node: Any, known: dict[int, int]) -> int:
    """Return how many values a node has, counting each as often as it is referred to."""
    if isinstance(node.value, str):
        return 1
    count = known.get(id(node))
    if count == 0:
        raise ValueError("an alias refers to what contains it")
    if count is None:
        known[id(node)] = 0  # in work
        inside = chain.from_iterable(one if isinstance(one, tuple) else (one,) for one in node.value)
        count = known[id(node)] = 1 + sum(_count_nodes(one, known) for one in inside)
    return count


def _dump_text(data: Any, encoding: str = "utf-8") -> bytes:
    if isinstance(data, list) and all(isinstance(line, str) for line in data):
        if broken := [line for line in data if "\n" in line]:
            raise UnsupportedData(f"a list with the line {broken[0]!r}, which is several")
        data = "".join(f"{line}\n" for line in data)
    if not isinstance(data, str):
        raise UnsupportedData(type_name(data))
    return encode_text(data, encoding)


# UTF-8 cannot begin with the marks of the others, and those of UTF-32 begin with those of UTF-16.
_MARKS = {
    BOM_UTF8: "utf-8-sig",
    BOM_UTF32_LE: "utf-32",
    BOM_UTF32_BE: "utf-32",
    BOM_UTF16_LE: "utf-16",
    BOM_UTF16_BE: "utf-16",
}


def encode_text(text: str, encoding: str = "utf-8") -> bytes:
    """Return the bytes of a text, from which `decode_text` finds its encoding.

    Raises:
        InvalidValue: There is no such encoding, or it could not be found.
    """
    try:
        name = lookup(encoding).name
    except (LookupError, TypeError):
        name = ""
    if name not in ("ascii", "utf-8", *_MARKS.values()):
        raise InvalidValue(
            f"text is not written with encoding={encoding!r}" + ("" if name else ", which is not known"),
            given=encoding,
            known=("utf-8", *dict.fromkeys(_MARKS.values())),
            todo="Use 'utf-8' (the default), 'utf-8-sig', 'utf-16' or 'utf-32', which readers recognize. Files in "
            "others are stored as they are: open(store.path('name.txt'), 'w', encoding=…).",
        )
    if text[:1] == "\ufeff" and name in ("ascii", "utf-8"):  # which would be taken for a mark
        name = "utf-8-sig"
    return text.encode(name)


def decode_text(data: bytes) -> str:
    """Return the text that `encode_text` was given."""
    return data.decode(next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8"))


def _dump_tree(data: Any, encoding: str = "utf-8", short_empty_elements: bool = True) -> bytes:
    from io import BytesIO
    from xml.etree.ElementTree import ElementTree, iselement

    if not isinstance(data, ElementTree):
        raise UnsupportedData(type_name(data) + (": use ElementTree(element)" if iselement(data) else ""))
    if data.getroot() is None:
        raise UnsupportedData("one without a root")
    buffer = BytesIO()
    data.write(buffer, encoding=encoding, xml_declaration=True, short_empty_elements=short_empty_elements)
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
_IN_YAML = ("allow_unicode", "default_flow_style", "indent", "sort_keys", "width")
JSON = Format(
    f"{_PLAIN}, or a DataFrame of pandas",
    _dump_document,
    _load_document,
    options=("ensure_ascii", "indent", "sort_keys"),
)
YAML = Format(_PLAIN, _dump_yaml, _load_yaml, options=_IN_YAML)
JSONL = Format(f"a list of {_PLAIN}", _dump_jsonl, _load_jsonl, options=("ensure_ascii", "sort_keys"))
TEXT = Format("text or a list of lines", _dump_text, decode_text, options=("encoding",))
XML = Format("an ElementTree", _dump_tree, _load_tree, options=("encoding", "short_empty_elements"))
