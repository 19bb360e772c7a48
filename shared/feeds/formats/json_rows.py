"""Objects of JSON as rows, read with a type made for the feed: what a row does not need is skipped."""

from operator import attrgetter
from typing import Any

import msgspec

from shared.feeds.formats.clean_numbers import read_numbers
from shared.feeds.formats.columns import SAYING_ROLES, Role, find_columns, named_by, shown, usual_names
from shared.feeds.formats.meaning import Meanings, Named
from shared.feeds.formats.parsed import BadRow
from shared.feeds.profiles import Profile
from shared.feeds.rows import Row
from shared.phone_number import parse_number

_TYPES: dict[Role, Any] = {
    Role.NUMBER: str | int,
    Role.SMS: bool | None,
    Role.MMS: bool | None,
    Role.FEATURES: str | tuple[str | Named, ...] | None,
    Role.ACTION: str | None,
    Role.DELETION: bool | None,
}

_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_decode_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class JsonRows:
    """Reads objects; the first with a member that may be the number's decides how the members are called."""

    def __init__(self, profile: Profile) -> None:
        """Read them as the profile says."""
        self._profile = profile
        self._objects: _Objects | None = None

    def all_of_lines(self, lines: bytes) -> list[Row] | None:
        """Read objects that stand one a line; None when one of them is not well, or none was read before."""
        return None if self._objects is None else self._objects.all_of_lines(lines)

    def all_of_array(self, array: bytes) -> list[Row] | None:
        """Read the objects of an array, and None as above."""
        return None if self._objects is None else self._objects.all_of_array(array)

    def one(self, row: bytes) -> Row:
        """Read an object; raises `BadRow` and `InvalidNumber`."""
        try:
            if self._objects is None:
                self._objects = _Objects(self._profile, _names(self._profile, list(_decode_members(row))))
            return self._objects.one(row)
        except _UNREADABLE as error:
            raise BadRow(f"is not a row of JSON: {error}") from error


class _Objects:
    """Reads objects whose members are called so; 0.8 µs each with 3 or 4 members."""

    def __init__(self, profile: Profile, names: dict[Role, str]) -> None:
        fields = {name: f"f{at}" for at, name in enumerate(dict.fromkeys(names.values()))}
        types = {names[role]: _TYPES[role] for role in reversed(names)}
        # The number's is the first, and the only one that has to be there.
        row_type = msgspec.defstruct(
            "Row",
            [
                (field, types[name]) if name == names[Role.NUMBER] else (field, types[name], None)
                for name, field in fields.items()
            ],
            rename={field: name for name, field in fields.items()},
            gc=False,
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(row_type)
        self._array_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(list[row_type])  # type: ignore[valid-type]
        roles = [role for role in SAYING_ROLES if role in names]
        self._meanings = Meanings(profile, roles)
        self._number_of = attrgetter(fields[names[Role.NUMBER]])
        # There are always two or more, so it gives tuples.
        self._said_by = attrgetter(*[fields[names[role]] for role in roles])

    def all_of_lines(self, lines: bytes) -> list[Row] | None:
        try:
            return self._rows(self._decoder.decode_lines(lines))
        except (*_UNREADABLE, BadRow):
            return None

    def all_of_array(self, array: bytes) -> list[Row] | None:
        try:
            return self._rows(self._array_decoder.decode(array))
        except (*_UNREADABLE, BadRow):
            return None

    def one(self, row: bytes) -> Row:
        found = self._decoder.decode(row)
        return parse_number(str(self._number_of(found))), self._meanings[self._said_by(found)]

    def _rows(self, objects: list[Any]) -> list[Row] | None:
        try:
            numbers = read_numbers(list(map(self._number_of, objects)))
        except TypeError:
            # Some are integers.
            numbers = read_numbers(list(map(str, map(self._number_of, objects))))
        if numbers is None:
            return None
        return list(zip(numbers, map(self._meanings.__getitem__, map(self._said_by, objects)), strict=True))


def _names(profile: Profile, members: list[str]) -> dict[Role, str]:
    """Say how members are called: as here, or as the profile has it, or as usual; raises `BadRow`."""
    found = find_columns(members, profile)
    if Role.NUMBER not in found:
        raise BadRow(f"has no member of the number; its members are: {shown(members)}")
    usual = {role: role.value for role in usual_names(profile)}
    names = usual | named_by(profile) | {role: members[at] for role, at in found.items()}
    return {role: names[role] for role in (Role.NUMBER, *SAYING_ROLES) if role in names}
