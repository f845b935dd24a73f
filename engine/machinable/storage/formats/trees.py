"""XML: an `ElementTree`. Entities are refused, as they can grow without bounds or read other files."""

from __future__ import annotations

from typing import Any

from machinable.storage.formats.base import Format, UnsupportedData, type_name

__all__ = ["XML"]


def _dump_tree(data: Any) -> bytes:
    from io import BytesIO
    from xml.etree.ElementTree import ElementTree, iselement

    if not isinstance(data, ElementTree):
        raise UnsupportedData(type_name(data) + (": use ElementTree(element)" if iselement(data) else ""))
    if data.getroot() is None:
        raise UnsupportedData("one without a root")
    buffer = BytesIO()
    try:
        data.write(buffer, encoding="utf-8", xml_declaration=True)
        _load_tree(buffer.getvalue())
    except Exception as error:  # values that are not text, characters that XML lacks, an element within itself
        raise UnsupportedData(f"this one: {error}") from error
    return buffer.getvalue()


def _load_tree(data: bytes) -> Any:
    from xml.etree.ElementTree import ElementTree, TreeBuilder
    from xml.parsers.expat import ParserCreate

    builder = TreeBuilder(insert_comments=True, insert_pis=True)
    parser = ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.ordered_attributes = True
    names: dict[str, str] = {}

    def name_of(name: str) -> str:
        if name not in names:
            names[name] = "{" + name if "}" in name else name
        return names[name]

    def start(name: str, attributes: list[str]) -> None:
        pairs = zip(attributes[::2], attributes[1::2], strict=True)
        builder.start(name_of(name), {name_of(key): value for key, value in pairs})

    def refuse(*_: Any) -> int:
        raise ValueError("it declares entities, which are not read")

    parser.StartElementHandler = start
    parser.EndElementHandler = lambda name: builder.end(name_of(name))
    parser.CharacterDataHandler = builder.data
    parser.CommentHandler = builder.comment
    parser.ProcessingInstructionHandler = builder.pi
    parser.EntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    parser.SkippedEntityHandler = refuse
    parser.Parse(data, True)
    return ElementTree(builder.close())


XML = Format("an ElementTree", _dump_tree, _load_tree)
