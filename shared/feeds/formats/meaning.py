"""What a row says besides its number: what the number can do, or that it is gone."""

import re
from collections.abc import Sequence

from msgspec import Struct

from shared.feeds.formats.columns import Role
from shared.feeds.formats.rejects import BadRow
from shared.feeds.profiles import Profile
from shared.feeds.rows import REMOVAL
from shared.stock_score import MMS, SMS


class Named(Struct, frozen=True):
    """A feature in a list of objects."""

    name: str = ""


Value = str | int | bool | tuple[str | Named, ...] | None
"""Of a column, member or element; None when it is not there."""

_FLAGS = {"true": True, "t": True, "yes": True, "y": True, "1": True}
_FLAGS |= {"false": False, "f": False, "no": False, "n": False, "0": False, "": False}

_means_offer = re.compile(
    "|a(dd(ed)?)?|insert(ed)?|new|c(reated?)?|u(pdated?)?|upsert|changed?|modif(y|ied)|activated?|active|available"
).fullmatch
_means_removal = re.compile(
    "d(eleted?)?|removed?|deactivated?|inactive|disconnect(ed)?|withdraw(n)?|unavailable"
).fullmatch

# A hyphen belongs to the name, so that `non-sms` does not promise SMS.
_feature_names = re.compile(r"[a-z0-9_-]+").findall

_MOST_KEPT = 1_000
_LONGEST_KEPT = 500


class Meanings(dict[tuple[Value, ...], int]):
    """Values of columns → features or `REMOVAL`; each combination is worked out once.

    Looking up one that means nothing raises `BadRow`.
    """

    def __init__(self, profile: Profile, roles: Sequence[Role]) -> None:
        """Say in which order the values come; of several of one role, the first that is there counts."""
        super().__init__()
        self._roles = tuple(roles)
        constants = ((SMS, profile.sms), (MMS, profile.mms))
        self._always = sum(feature for feature, value in constants if value is True)
        self._open = sum(feature for feature, value in constants if not isinstance(value, bool))

    def __missing__(self, values: tuple[Value, ...]) -> int:
        said: dict[Role, Value] = {}
        for role, value in zip(self._roles, values, strict=True):
            if said.get(role) is None:
                said[role] = value
        meaning = self._meaning(said)
        if len(self) < _MOST_KEPT and len(str(values)) < _LONGEST_KEPT:
            self[values] = meaning
        return meaning

    def _meaning(self, said: dict[Role, Value]) -> int:
        if _removes(said.get(Role.ACTION)) or _flag(Role.DELETION, said.get(Role.DELETION)):
            return REMOVAL
        features = SMS * _flag(Role.SMS, said.get(Role.SMS)) | MMS * _flag(Role.MMS, said.get(Role.MMS))
        return self._always | self._open & (features | _listed(said.get(Role.FEATURES)))


def may_go_on(role: Role, text: str) -> bool:
    """Tell whether the last text of a file could be the beginning of one that means something else.

    A file that does not end with a line's end may have been cut off. A number or a flag that is cut off does
    not pass for one, unless nothing is left of it; of a list, any part does.
    """
    if role in (Role.FEATURES, Role.COUNT):
        return True
    return not text.strip() and role not in (Role.NUMBER, Role.START, Role.END, Role.NPA, Role.NXX)


def _flag(role: Role, value: Value) -> bool:
    if isinstance(value, str | int):
        value = _FLAGS.get(str(value).strip().lower(), value)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise BadRow(f"{role} is neither true nor false")


def _removes(value: Value) -> bool:
    if not isinstance(value, str):
        return False
    action = value.strip().lower()
    if _means_removal(action):
        return True
    if not _means_offer(action):
        raise BadRow("the action is none that is known")
    return False


def _listed(value: Value) -> int:
    texts = value if isinstance(value, tuple) else (value if isinstance(value, str) else "",)
    names = {
        name
        for text in texts
        for name in _feature_names((text.name if isinstance(text, Named) else text).lower())
    }
    return SMS * ("sms" in names) | MMS * ("mms" in names)
