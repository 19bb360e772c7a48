"""Objects of JSON as rows, read with a type made for the feed: what a row does not need is skipped."""

import re
from collections.abc import Iterable
from operator import attrgetter
from typing import Any

import msgspec

from shared.feeds.formats.clean_numbers import read_numbers
from shared.feeds.formats.columns import SAYING_ROLES, Role, find_columns, named_by, shown, usual_names
from shared.feeds.formats.meaning import Meanings, Named
from shared.feeds.formats.rejects import BadRow
from shared.feeds.profiles import Profile
from shared.feeds.rows import Row, Rows
from shared.phone_number import parse_number

_TYPES: dict[Role, Any] = {
    Role.NUMBER: str | int,
    Role.SMS: bool | int | str | None,
    Role.MMS: bool | int | str | None,
    Role.FEATURES: str | tuple[str | Named, ...] | None,
    Role.ACTION: str | None,
    Role.DELETION: bool | int | str | None,
}

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


_Names = tuple[tuple[Role, str], ...]
"""Roles and how a member of each is called; a role may have several names, and a name several roles."""

_MOST_MEMBERS = 200
"""Names of members that are known by heart; rows with others are read one by one."""

_find_unusable = re.compile(r'[\x00-\x1f"\\]').search
"""What msgspec does not take in the name of a member."""


class JsonRows:
    """Reads objects.

    The first with a member that may be the number's decides how its members are called. What it does not
    have may come later, under any name: each name that is new is looked at once.
    """

    def __init__(self, profile: Profile) -> None:
        """Read them as the profile says."""
        self._profile = profile
        self._settled: set[Role] = set()
        self._names: _Names = ()
        self._known: dict[str, None] = {}
        """Names of members that were looked at, also of those that say nothing."""
        self._objects: _Objects | None = None

    def all_of_lines(self, lines: bytes) -> Rows | None:
        """Read objects that stand one a line; None when one of them is not well, or has a new member."""
        return None if self._objects is None else self._objects.all_of_lines(lines)

    def all_of_array(self, array: bytes) -> Rows | None:
        """Read the objects of an array, and None as above."""
        return None if self._objects is None else self._objects.all_of_array(array)

    def one(self, row: bytes) -> Row:
        """Read an object; raises `BadRow` and `InvalidNumber`."""
        try:
            if self._objects is not None and (found := self._objects.known(row)) is not None:
                return self._objects.row(found)
            members = [name for name in _decode_members(row) if not _find_unusable(name)]
            if self._objects is None:
                self._begin(members)
            return self._learn(members).one(row)
        except _UNREADABLE as error:
            raise BadRow(f"is not a row of JSON: {error}") from error

    def _begin(self, members: list[str]) -> None:
        """Settle how members are called: as here, or as the profile has it; raises `BadRow`."""
        found = find_columns(members, self._profile)
        if Role.NUMBER not in found:
            raise BadRow(f"has no member of the number; its members are: {shown(members)}")
        usual = {role: role.value for role in usual_names(self._profile)}
        names = usual | named_by(self._profile) | {role: members[at] for role, at in found.items()}
        self._settled = set(found)
        self._names = tuple((role, names[role]) for role in (Role.NUMBER, *SAYING_ROLES) if role in names)
        self._known = dict.fromkeys(name for _, name in self._names)

    def _learn(self, members: list[str]) -> "_Objects":
        """Look at the members that are new; raises `BadRow` when there are too many that say something."""
        new = [name for name in members if name not in self._known]
        for name in new:
            roles = [
                role
                for role in find_columns([name], self._profile)
                if role in SAYING_ROLES and role not in self._settled
            ]
            if len(self._known) < _MOST_MEMBERS:
                self._known[name] = None
                self._names += tuple((role, name) for role in roles)
            elif roles:
                raise BadRow(f"has yet another name for {roles[0]}: {shown([name])}")
        if self._objects is None or any(name in self._known for name in new):
            self._objects = _Objects(self._profile, self._names, self._known)
        return self._objects


class _Objects:
    """Reads objects whose members are called so; 0.8 µs each with 3 or 4 members."""

    def __init__(self, profile: Profile, names: _Names, known: Iterable[str]) -> None:
        types: dict[str, Any] = dict.fromkeys(known, msgspec.Raw)
        # The number's role is the first, and its type counts if its name has others.
        types |= {name: _TYPES[role] for role, name in reversed(names)}
        number = names[0][1]
        fields = {name: f"f{at}" for at, name in enumerate(dict.fromkeys((number, *types)))}
        described: list[Any] = [
            (field, types[name]) if name == number else (field, types[name], None)
            for name, field in fields.items()
        ]
        rename = {field: name for name, field in fields.items()}
        row_type = msgspec.defstruct("Row", described, rename=rename, gc=False)
        known_type = msgspec.defstruct("Row", described, rename=rename, gc=False, forbid_unknown_fields=True)
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(row_type)
        self._known_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(known_type)
        self._array_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[known_type])  # type: ignore[valid-type]
        saying = [(role, name) for role, name in names if role in SAYING_ROLES]
        self._meanings = Meanings(profile, [role for role, _ in saying])
        self._number_of = attrgetter(fields[number])
        # There are always two or more, so it gives tuples.
        self._said_by = attrgetter(*[fields[name] for _, name in saying])

    def all_of_lines(self, lines: bytes) -> Rows | None:
        try:
            return self._rows(self._known_decoder.decode_lines(lines))
        except (*_UNREADABLE, BadRow):
            return None

    def all_of_array(self, array: bytes) -> Rows | None:
        try:
            return self._rows(self._array_decoder.decode(array))
        except (*_UNREADABLE, BadRow):
            return None

    def known(self, row: bytes) -> Any | None:
        """Decode an object; None when it is not well, or has a new member."""
        try:
            return self._known_decoder.decode(row)
        except _UNREADABLE:
            return None

    def one(self, row: bytes) -> Row:
        return self.row(self._decoder.decode(row))

    def row(self, found: Any) -> Row:
        return parse_number(str(self._number_of(found))), self._meanings[self._said_by(found)]

    def _rows(self, objects: list[Any]) -> Rows | None:
        try:
            numbers = read_numbers(list(map(self._number_of, objects)))
        except TypeError:
            # Some are integers.
            numbers = read_numbers(list(map(str, map(self._number_of, objects))))
        if numbers is None:
            return None
        return Rows(*numbers, list(map(self._meanings.__getitem__, map(self._said_by, objects))))
