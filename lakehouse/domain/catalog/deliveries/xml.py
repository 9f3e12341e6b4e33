"""Reads foreign XML: no DTD, no entities, nothing from outside (defusedxml), and bounded size, depth and count."""

from __future__ import annotations

import io
from collections.abc import Iterator
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from lakehouse.domain.catalog.deliveries.faults import Fault
from lakehouse.errors import RejectedInputError

MAX_BYTES = 64 << 20
MAX_DEPTH = 64
MAX_ELEMENTS = 2_000_000


HEAD_BYTES = 8192


def head(document: bytes) -> bytes:
    """The beginning of a document, to see what it is meant to be: letters are ASCII, of UTF-16 too."""
    return document[:HEAD_BYTES].replace(b"\0", b"")


def parse(document: bytes) -> Element:
    """The root of `document`. Tags keep their namespaces as `{uri}name`.

    Raises:
        RejectedInputError: `xml_too_large`, `xml_forbidden` (DTD, entities), `xml_invalid` (not well-formed).
    """
    if len(document) > MAX_BYTES:
        raise _refused(
            Fault.XML_TOO_LARGE, f"The document has {len(document)} bytes, more than {MAX_BYTES}.", len(document)
        )
    depth = count = 0
    root: Element | None = None
    try:
        for event, element in iterparse(io.BytesIO(document), events=("start", "end"), forbid_dtd=True):
            if event == "end":
                depth -= 1
                continue
            root = element if root is None else root
            depth, count = depth + 1, count + 1
            if depth > MAX_DEPTH or count > MAX_ELEMENTS:
                raise _refused(
                    Fault.XML_TOO_LARGE, f"More than {MAX_DEPTH} levels or {MAX_ELEMENTS} elements.", [depth, count]
                )
    except DefusedXmlException as error:
        raise _refused(
            Fault.XML_FORBIDDEN, f"The document has a DTD or entities: {type(error).__name__}.", None
        ) from error
    except (ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that does not exist
        raise _refused(Fault.XML_INVALID, f"The document is not well-formed XML: {error}.", None) from error
    if root is None:
        raise _refused(Fault.XML_INVALID, "The document is empty.", None)
    return root


def local(element: Element) -> str:
    """Name of an element without its namespace."""
    return element.tag.rsplit("}", 1)[-1]


def namespace(element: Element) -> str:
    """Namespace of an element, "" for none."""
    return element.tag[1:].split("}", 1)[0] if element.tag.startswith("{") else ""


def children(element: Element, path: str) -> Iterator[Element]:
    """Elements at `path`, names joined by `/`, whatever their namespaces: senders qualify them or don't."""
    first, _, rest = path.partition("/")
    for child in element:
        if local(child) == first:
            yield from children(child, rest) if rest else (child,)


def text(element: Element, *paths: str) -> str | None:
    """Trimmed text at the first of `paths` that has any."""
    for path in paths:
        for found in children(element, path):
            if found.text and found.text.strip():
                return found.text.strip()
    return None


def _refused(why: Fault, message: str, value: object) -> RejectedInputError:
    return RejectedInputError(message, reason=why.code, value=value, hint=why.fix)
