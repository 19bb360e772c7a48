"""One JSON array of objects, alone or as a member of an object, read in chunks."""

import re
from collections.abc import Iterable, Iterator
from itertools import chain

import msgspec

from shared.feeds.formats.columns import shown
from shared.feeds.formats.content import begins, not_expected
from shared.feeds.formats.json_elements import Elements
from shared.feeds.profiles import Profile
from shared.feeds.rows import Block, FeedRefused

_MOST_AROUND = 2 << 20
"""Bytes before and behind the array in its object."""

# A text with what makes it the name of an array, a quote that begins a text without an end, or a bracket.
_find_tokens = re.compile(rb'("(?:[^"\\]++|\\.)*+")(\s*+:\s*+\[)?|["{}\[\]]', re.DOTALL).finditer
_decode_text = msgspec.json.Decoder(str).decode
_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_json_array(chunks: Iterable[bytes], profile: Profile) -> Iterator[Block]:
    """Read an array of objects.

    Raises:
        FeedRefused: there is no such array, it has no end, or something other is broken about it that no
            single element can be blamed for.
    """
    chunks = iter(chunks)
    begin, array = _begin(chunks, profile.rows)
    elements = Elements(profile)
    for chunk in chain([array], chunks):
        yield from elements.take(chunk)
        if elements.rest is not None:
            _check_around(begin, _end(elements.rest, chunks))
            return
    raise FeedRefused("the JSON array has no end; the file was cut off")


def _begin(chunks: Iterator[bytes], name: str | None) -> tuple[bytes, bytes]:
    """Read up to the array; give what ends with its `[`, and what follows it."""
    begin = b""
    for chunk in chunks:
        begin += chunk
        at = _array_in(begin, name)
        if at is not None:
            return begin[:at], begin[at:]
        _check_size(begin)
    raise _no_array(begin, name)


def _end(end: bytes, chunks: Iterator[bytes]) -> bytes:
    """Read what follows the array's `]`, which begins with `end`."""
    for chunk in chunks:
        end += chunk
        _check_size(end)
    return end


def _check_size(around: bytes) -> None:
    if len(around) > _MOST_AROUND:
        raise FeedRefused(f"the JSON has more than {_MOST_AROUND:,} bytes besides its array")


def _array_in(begin: bytes, name: str | None) -> int | None:
    """Give the place behind the array's `[`, None while it is not there; raises `FeedRefused`."""
    text = begin.lstrip()
    if not text:
        return None
    if text.startswith(b"["):
        return len(begin) - len(text) + 1
    if not text.startswith(b"{"):
        raise not_expected(begin, "a JSON array")
    if name is None:
        raise _no_array(begin, name)
    return _array_named(begin, name)


def _array_named(begin: bytes, name: str) -> int | None:
    """Give the place behind the `[` of the member of that name of the outermost object, as above."""
    depth = 0
    for token in _find_tokens(begin):
        key, opens = token.group(1, 2)
        if opens and depth == 1 and _is(key, name):
            return token.end()
        if opens or token.group() in (b"{", b"["):
            depth += 1
        elif token.group() in (b"}", b"]"):
            depth -= 1
        elif token.group() == b'"':
            break
        if not depth:
            raise _no_array(begin, name)
    return None


def _is(key: bytes, name: str) -> bool:
    try:
        return _decode_text(key) == name
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False


def _no_array(begin: bytes, name: str | None) -> FeedRefused:
    # Carriers report errors so, with the status 200.
    without = "and not an array" if name is None else f"without an array {shown([name])}"
    return FeedRefused(f"the JSON is an object {without}; it begins {begins(begin)}")


def _check_around(begin: bytes, end: bytes) -> None:
    """Refuse a file that is cut off or goes on behind its array; `begin` ends with the array's `[`."""
    if begin.strip() == b"[":
        if end.strip():
            raise FeedRefused(f"something follows behind the JSON array: {begins(end)}")
        return
    try:
        _decode_object(begin + b"]" + end)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise FeedRefused(f"the JSON around the array is broken or cut off: {error}") from error
