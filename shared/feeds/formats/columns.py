"""Which column, member or element of a feed is what: by the profile, or by the names that are in use."""

import re
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum

from shared.feeds.profiles import Profile


class Role(StrEnum):
    """What a column says."""

    NUMBER = "number"
    SMS = "sms"
    MMS = "mms"
    FEATURES = "features"
    ACTION = "action"
    """A word: add, remove, …"""
    DELETION = "marked_for_deletion"
    """A flag."""
    NPA = "npa"
    NXX = "nxx"
    X = "x"
    START = "start"
    END = "end"
    COUNT = "count"


SAYING_ROLES = (Role.SMS, Role.MMS, Role.FEATURES, Role.ACTION, Role.DELETION)
"""What a row may say besides its number."""

_USUAL_NAMES: Mapping[Role, tuple[str, ...]] = {
    Role.NUMBER: ("number", "phonenumber", "fullnumber", "telephonenumber", "tn", "did", "e164", "msisdn"),
    Role.SMS: ("sms", "smsenabled", "smscapable"),
    Role.MMS: ("mms", "mmsenabled", "mmscapable"),
    Role.FEATURES: ("features", "capabilities"),
    Role.ACTION: ("action", "operation"),
    Role.DELETION: ("markedfordeletion", "deleted", "isdeleted"),
    Role.NPA: ("npa", "areacode"),
    Role.NXX: ("nxx", "exchange"),
    Role.X: ("x", "block", "thousandsblock"),
    Role.START: ("start", "first", "startnumber", "rangestart"),
    Role.END: ("end", "last", "endnumber", "rangeend"),
    Role.COUNT: ("count", "quantity", "size"),
}
"""Without case and punctuation, the usual ones first. Seen of the number's: `FullNumber` (Bandwidth), `TN`
(BulkVS), `did` (Peerless), `phone_number` (Telnyx), `number` (Somleng)."""

_drop_punctuation = re.compile(r"[^a-z0-9]+").sub


def bare(name: str) -> str:
    """Give a name without case and punctuation: `Phone Number`, `phone_number` and `phoneNumber` are one."""
    return _drop_punctuation("", name.lower())


def named_by(profile: Profile) -> dict[Role, str]:
    """Give the names that a profile gives itself."""
    named = {
        Role.NUMBER: profile.number,
        Role.FEATURES: profile.features,
        _action_role(profile): profile.action,
    }
    named |= {Role.SMS: _text(profile.sms), Role.MMS: _text(profile.mms)}
    return {role: name for role, name in named.items() if name is not None}


def usual_names(profile: Profile) -> dict[Role, tuple[str, ...]]:
    """Give the bare names to look for where the profile says nothing."""
    said = set(named_by(profile))
    if profile.action is not None:
        said |= {Role.ACTION, Role.DELETION}
    constant = {
        role for role, value in ((Role.SMS, profile.sms), (Role.MMS, profile.mms)) if value is not None
    }
    return {role: names for role, names in _USUAL_NAMES.items() if role not in said | constant}


def find_columns(names: Sequence[str], profile: Profile) -> dict[Role, int]:
    """Give the places of the columns that are there; the first of several of one name."""
    places = {name: at for at, name in reversed(list(enumerate(names)))}
    bare_places = {bare(name): at for at, name in reversed(list(enumerate(names)))}
    found = {role: places.get(name, bare_places.get(bare(name))) for role, name in named_by(profile).items()}
    for role, usual in usual_names(profile).items():
        found[role] = next((bare_places[name] for name in usual if name in bare_places), None)
    return {role: place for role, place in found.items() if place is not None}


def shown(names: Iterable[str]) -> str:
    """Show names in an error: escaped, and not more than fit into a line."""
    return f"{', '.join(names)[:100]!a}"


def _action_role(profile: Profile) -> Role:
    is_flag = profile.action is not None and bare(profile.action) in _USUAL_NAMES[Role.DELETION]
    return Role.DELETION if is_flag else Role.ACTION


def _text(value: str | bool | None) -> str | None:
    return value if isinstance(value, str) else None
