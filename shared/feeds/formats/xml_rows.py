"""XML in the style of Bandwidth: an element a row, with the number in an element of its own.

The row is the element that the profile names, or the parent of the number's. A parent with several numbers is
a list, in which each number is a row by itself.
"""

import codecs
import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple
from xml.parsers import expat

from shared.feeds.formats.columns import SAYING_ROLES, Role, bare, named_by, usual_names
from shared.feeds.formats.content import XML, begins, look_of, not_expected
from shared.feeds.formats.meaning import Meanings
from shared.feeds.formats.rejects import MANY_REJECTS, BadRow, rejected, too_long
from shared.feeds.profiles import Profile
from shared.feeds.rows import Block, FeedRefused
from shared.phone_number import InvalidNumber, parse_number

_MOST_NAMES = 1_000
"""Names of elements and attributes; each is kept, and no feed comes near it."""

_DEEPEST = 100
_PIECE_BYTES = 1 << 17
_MOST_NUMBERS = 2
_NOWHERE = -1
_EVERYWHERE = 1 << 30

_match_encoding = re.compile(rb"""\s*<\?xml[^>]*?\sencoding\s*=\s*["']([\w.-]+)["']""").match
_ENCODINGS = ("utf-8", "us-ascii", "iso-8859-1", "windows-1252")


def read_xml(chunks: Iterable[bytes], profile: Profile) -> Iterator[Block]:
    """Read XML.

    Raises:
        FeedRefused: it is broken, cut off, has a document type (which could make it anything), or no number.
    """
    document: _Document | None = None
    decode: Callable[[bytes], str] = bytes.decode
    head = b""
    for chunk in chunks:
        if document is None:
            head = chunk[:100]
            decode = _decoder_for(chunk)
            document = _Document(profile)
        # XML knows no zero; expat would refuse the whole file for one.
        yield from document.take(decode(chunk).replace("\0", "\ufffd"))
    if document is not None:
        yield document.finish()
        if not document.has_numbers:
            raise FeedRefused(f"the XML has no element of a number; it begins {begins(head)}")


def _decoder_for(chunk: bytes) -> Callable[[bytes], str]:
    if look_of(chunk) != XML:
        raise not_expected(chunk, "XML")
    declared = _match_encoding(chunk)
    encoding = declared[1].decode().lower() if declared else "utf-8"
    if encoding not in _ENCODINGS:
        raise FeedRefused(f"the XML is in {encoding[:40]!a}, which is not read; UTF-8 is")
    return codecs.getincrementaldecoder(encoding)("replace").decode


class _Kind(NamedTuple):
    """What elements of one name are."""

    roles: tuple[Role, ...]
    is_row: bool


class _Kinds(dict[str, _Kind | None]):
    """Names of elements → what they are; None for those that say nothing."""

    def __init__(self, profile: Profile) -> None:
        super().__init__()
        self._row = None if profile.rows is None else bare(profile.rows)
        names = {role: (bare(name),) for role, name in named_by(profile).items()} | usual_names(profile)
        self._names = {role: names[role] for role in (Role.NUMBER, *SAYING_ROLES) if role in names}

    def __missing__(self, name: str) -> _Kind | None:
        known = bare(name.rpartition(":")[2])
        kind = _Kind(tuple(role for role, names in self._names.items() if known in names), known == self._row)
        self[name] = kind if kind.roles or kind.is_row else None
        return self[name]


class _Said:
    """What elements say about a number, besides it."""

    def __init__(self) -> None:
        self._texts: dict[Role, str] = {}
        self._features: list[str] = []
        self.size = 0

    def add(self, role: Role, text: str, size: int, most: int) -> None:
        """Take a text; of more than `most` characters in all, which cost the row, none is kept."""
        # An empty one takes memory too.
        self.size += size + 1
        if self.size > most:
            self._texts.clear()
            self._features.clear()
        elif role is Role.FEATURES:
            self._features.append(text)
        else:
            self._texts[role] = text

    def values(self) -> tuple[str | None, ...]:
        """Give what was said, in the order of `SAYING_ROLES`."""
        if self._features:
            self._texts[Role.FEATURES] = " ".join(self._features)
        return tuple(map(self._texts.get, SAYING_ROLES))


_SAID_NOTHING = _Said()


class _Document:
    """What a document has said so far; 6-7 µs a row of 8 elements, 3.5 of them expat and its calls."""

    def __init__(self, profile: Profile) -> None:
        self._line_bytes = profile.limits.line_bytes
        self._kinds = _Kinds(profile)
        self._has_named_rows = profile.rows is not None
        self._meanings = Meanings(profile, SAYING_ROLES)
        self._parser = parser = expat.ParserCreate("utf-8")
        parser.buffer_text = True
        parser.ordered_attributes = True
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.StartDoctypeDeclHandler = _refuse_document_type
        self._sent = 0
        self._block = Block()
        self._depth = 0
        self._open_depth = _NOWHERE
        """Of the element whose text is collected."""
        self._open_roles: tuple[Role, ...] = ()
        self._text: list[str] = []
        self._text_size = 0
        self._row_depth = _NOWHERE
        self._watched_depth = _NOWHERE
        """The end of an element that is deeper says nothing: a comparison saves most ends a call."""
        self._numbers: list[str] = []
        """Of the present row; at most `_MOST_NUMBERS`, for more are of no use to anybody."""
        self._number_count = 0
        self._said: dict[int, _Said] = {}
        """What was said besides numbers, by the depth of the elements: only a number's own siblings are about
        it. In a row that the profile names it is all at one depth."""
        self._is_long = False
        self.has_numbers = False

    def take(self, text: str) -> Iterator[Block]:
        """Read the rows that end in a part of the document, mostly at once; raises `FeedRefused`."""
        data = text.encode()
        for at in range(0, len(data), _PIECE_BYTES):
            self._parse(data[at : at + _PIECE_BYTES])
            if len(self._block.rejects) > MANY_REJECTS:
                yield self._hand_over()
        yield self._hand_over()

    def _parse(self, part: bytes) -> None:
        self._sent += len(part)
        parser = self._parser
        try:
            parser.Parse(part)
        except expat.ExpatError as error:
            # The text is not in it.
            raise FeedRefused(f"the XML is broken: {error}") from error
        if self._sent - parser.CurrentByteIndex > self._line_bytes:
            # Expat keeps a tag or a comment in memory until it ends.
            raise FeedRefused(f"the XML has a tag or a comment of more than {self._line_bytes} bytes")
        if self._depth > _DEEPEST or len(parser.intern) > _MOST_NAMES:
            raise FeedRefused(
                f"the XML is deeper than {_DEEPEST} elements or has {_MOST_NAMES} names of them"
            )

    def finish(self) -> Block:
        """Give what is left at the end; raises `FeedRefused` when the document is not complete."""
        try:
            self._parser.Parse(b"", True)
        except expat.ExpatError as error:
            raise FeedRefused(f"the XML ends too early, as if it was cut off: {error}") from error
        return self._hand_over()

    def _hand_over(self) -> Block:
        block, self._block = self._block, Block()
        return block

    def _start(self, name: str, _attributes: object) -> None:
        self._depth += 1
        kind = self._kinds[name]
        if kind is None:
            return
        if self._has_named_rows and self._row_depth == _NOWHERE:
            if not kind.is_row:
                return
            self._row_depth = self._watched_depth = self._depth
        if kind.roles:
            # Of one in the other, as in TelephoneNumber/FullNumber, the inner one has the text.
            self._open_depth, self._open_roles = self._depth, kind.roles
            self._watched_depth = _EVERYWHERE
            self._text, self._text_size = [], 0
            self._parser.CharacterDataHandler = self._add_text

    def _add_text(self, text: str) -> None:
        self._text_size += len(text)
        if self._text_size <= self._line_bytes:
            self._text.append(text)

    def _end(self, _name: str) -> None:
        depth = self._depth
        self._depth = depth - 1
        if depth <= self._watched_depth:
            self._leave(depth)

    def _leave(self, depth: int) -> None:
        if depth == self._open_depth:
            self._close(depth)
        elif self._open_depth != _NOWHERE:
            self._add_text(" ")
            return
        if depth == self._row_depth:
            self._end_row(self._said.pop(self._depth_of_said(depth + 1), _SAID_NOTHING))
        elif not self._has_named_rows:
            self._said.pop(depth + 1, None)
        self._watched_depth = max(self._row_depth, *self._said) if self._said else self._row_depth

    def _depth_of_said(self, depth: int) -> int:
        return 0 if self._has_named_rows else depth

    def _close(self, depth: int) -> None:
        self._parser.CharacterDataHandler = None
        self._open_depth = _NOWHERE
        text = "".join(self._text)
        for role in self._open_roles:
            if role is Role.NUMBER:
                self._take_number(text, depth)
            else:
                at = self._depth_of_said(depth)
                said = self._said.get(at)
                if said is None:
                    said = self._said[at] = _Said()
                said.add(role, text, self._text_size, self._line_bytes)

    def _take_number(self, text: str, depth: int) -> None:
        self.has_numbers = True
        if not self._has_named_rows:
            if self._numbers and self._row_depth == depth - 1:
                self._said.pop(depth, None)
                self._end_row(_SAID_NOTHING)
            self._row_depth = depth - 1
        self._is_long |= self._text_size > self._line_bytes
        self._number_count += 1
        if self._number_count <= _MOST_NUMBERS:
            self._numbers.append(text)

    def _end_row(self, said: _Said) -> None:
        try:
            if self._is_long or said.size > self._line_bytes:
                raise too_long(self._line_bytes)
            if self._number_count != 1:
                raise BadRow(f"has {self._number_count} numbers")
            number = parse_number(self._numbers[0])
            self._block.rows.append((number, self._meanings[said.values()]))
        except (BadRow, InvalidNumber) as error:
            line = self._parser.CurrentLineNumber
            self._block.rejects.append(rejected(line, error, " ".join(self._numbers)))
        self._row_depth = _NOWHERE
        self._numbers.clear()
        self._number_count = 0
        self._is_long = False


def _refuse_document_type(*_: object) -> None:
    raise FeedRefused("the XML has a document type, which is not read: it could make anything of it")
