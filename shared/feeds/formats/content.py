"""What the beginning of a file looks like, and words for one that is not what it should be."""

import codecs
import re
from collections.abc import Iterator

from shared.feeds.rows import FeedRefused

_BYTE_ORDER_MARK = codecs.BOM_UTF8
_WIDE_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
TEXT = "text"
NOT_TEXT = "not text"
XML = "XML"

_LOOKED_AT = 512
_SHOWN = 40

# RFC 4627, section 3: what the zero bytes among the first four tell of the encoding.
_match_wide_text = re.compile(rb"\0\0\0[^\0]|[^\0]\0\0\0|\0[^\0]\0[^\0]|[^\0]\0[^\0]\0", re.DOTALL).match
_find_control = re.compile(rb"[\0-\x08\x0e-\x1f]").search
_match_html = re.compile(rb"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE).match


def begin(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Give the first chunk without a byte order mark, and all chunks; raises `FeedRefused`."""
    first = next(chunks, b"")
    if first.startswith(_WIDE_MARKS) or _match_wide_text(first):
        raise FeedRefused("the file is text in UTF-16 or UTF-32; only UTF-8 is read, so convert it first")
    first = first.removeprefix(_BYTE_ORDER_MARK)
    if not first or first.isspace():
        begins = "begins with nothing but white space" if next(chunks, b"") else "is empty"
        raise FeedRefused(f"the file {begins}")
    return first, _chain(first, chunks)


def _chain(first: bytes, others: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from others


def not_expected(head: bytes, expected: str) -> FeedRefused:
    """Say what a file that begins so looks like, where something else is expected."""
    return FeedRefused(f"the file is {look_of(head)}, not {expected}; it begins {begins(head)}")


def begins(head: bytes) -> str:
    """Show how something begins, escaped."""
    return f"{head.strip()[:_SHOWN].decode('utf-8', 'replace')!a}"


def look_of(head: bytes) -> str:
    """Say what a file that begins so looks like."""
    if _match_html(head):
        return "HTML"
    unlike = NOT_TEXT if _find_control(head[:_LOOKED_AT]) else TEXT
    return {b"<": XML, b"[": "a JSON array", b"{": "JSON"}.get(head.lstrip()[:1], unlike)
