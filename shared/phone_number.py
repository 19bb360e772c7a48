"""A phone number of the US or Canada (North American Numbering Plan) and the one parser for it.

A number is `+1 NPA NXX XXXX`: country code 1, area code (NPA), exchange (NXX), line. What is refused and why
stands in two tables, `_REFUSED_AREA_CODES` and `_REFUSED_EXCHANGES`; the fast pattern and the reasons that
people read are both made from them.

The tables say what can never be sold from stock, not what is assigned today: an area code that opens next
year is accepted now, for a list of assigned codes would be out of date within months and would then refuse
good numbers. Fictional numbers (NPA-555-0100 to NPA-555-0199) are accepted: they are safe test data.

Sources:

- NANPA, "About the North American Numbering Plan": NPA and NXX begin with 2-9; N11 are service codes;
  N9X are kept for an expansion of the plan; 37X and 96X are set aside in blocks of ten.
- NANPA, "5XX-NXX codes" (nationalnanpa.com/number_resource_info/5XX_codes.html): codes that belong to no
  rate center, mostly for machines. In use are 500, 521-529, 532, 533, 544, 566, 577 and 588, the list that
  libphonenumber 9.0.43 has as personal numbers. Other codes that begin with 5 are, or may become, ordinary
  area codes.
- Other codes without a place (listed at lincmad.com/nongeographic.html): the toll-free ones; 700, which each
  long-distance carrier uses as it likes, and 900, premium rate: nobody offers these two for resale.
  555 as an area code is not assignable.
"""

import re
from enum import StrEnum
from typing import Final, NamedTuple

TOLL_FREE_AREA_CODES: Final = frozenset({"800", "833", "844", "855", "866", "877", "888"})

MAX_TEXT_LENGTH: Final = 32
"""Characters, without surrounding white space, beyond which text is refused unread.

The longest spelling seen in carriers' feeds has 17.
"""


class NumberType(StrEnum):
    """What kind of number a customer gets."""

    LOCAL = "local"
    TOLL_FREE = "toll_free"
    SHORT_CODE = "short_code"
    """Never the type of a ten-digit number: short codes have five or six digits and no area code."""


class InvalidNumber(ValueError):
    """Text that is no US or Canada number we could sell; `str()` of it is a short reason for people.

    The reason has at most 60 characters and repeats at most one character or three digits of the text.
    """


class PhoneNumber(NamedTuple):
    """A number, ordered by area code and then by local digits.

    The constructor checks nothing: `parse_number` is the way in for text from outside.
    """

    area_code: str
    """Three ASCII digits."""
    local: int
    """The last seven digits, 2_000_000 to 9_999_999."""

    @property
    def e164(self) -> str:
        """The number as `+14155550123`."""
        return e164(self.area_code, self.local)

    @property
    def number_type(self) -> NumberType:
        """Toll-free or local, which follows from the area code."""
        return number_type_of(self.area_code)


def e164(area_code: str, local: int) -> str:
    """Render three digits and the last seven digits as `+14155550123`."""
    # Local digits never begin with 0, so there is nothing to pad.
    return f"+1{area_code}{local}"


def number_type_of(area_code: str) -> NumberType:
    """Return the type that numbers of this area code (three digits) have.

    A mobile number cannot be told from a landline here: in the US and Canada both share area codes.
    """
    return NumberType.TOLL_FREE if area_code in TOLL_FREE_AREA_CODES else NumberType.LOCAL


_REFUSED_AREA_CODES: Final = (
    ("[01][0-9][0-9]", "does not begin with 2-9"),
    ("[2-9]11", "is a service code"),
    ("[2-9]9[0-9]", "is kept for an expansion of the plan"),
    ("37[0-9]|96[0-9]", "is set aside"),
    ("555", "cannot be assigned"),
    ("5(?:00|2[1-9]|3[23]|44|66|77|88)", "belongs to no place"),
    ("700|900", "is not sold"),
)
"""Pattern of three digits, and the reason that completes "area code 911 ..."."""

_REFUSED_EXCHANGES: Final = (
    ("[01][0-9][0-9]", "does not begin with 2-9"),
    ("[2-9]11", "is a service code"),
)
"""Pattern of three digits, and the reason that completes "exchange 911 ..."."""


def _any_of(table: tuple[tuple[str, str], ...]) -> str:
    return "|".join(pattern for pattern, _ in table)


# Ten digits, 1 and ten digits, or +1 and ten digits, with all rules in the pattern, so that a row of a clean
# feed costs one match and one tuple. See `parse_number` for what that takes.
_match_clean = re.compile(
    rf"(?:\+?1)?((?!{_any_of(_REFUSED_AREA_CODES)})[0-9]{{3}})((?!{_any_of(_REFUSED_EXCHANGES)})[0-9]{{7}})"
).fullmatch

_SEPARATORS: Final = " \u00a0.()-"

# Separators are taken only where the groups of a number meet. Dropping them wherever they stand would make a
# number of a spreadsheet's `1415555267.0`, and it would be somebody else's. Possessive (`*+`), so that no
# text makes the pattern try twice.
_match_spelled = re.compile(
    r"\(?(?:(?:\+S*+)?1S*+)?([0-9]{3})S*+([0-9]{3})S*+([0-9]{4})".replace("S", f"[{_SEPARATORS}]")
).fullmatch

_drop_separators: Final = dict.fromkeys(map(ord, _SEPARATORS))
_drop_ascii_digits: Final = dict.fromkeys(map(ord, "0123456789"))

# NamedTuple's own constructor is a Python function around this one and costs 0.1 µs more a number.
_new_tuple = tuple.__new__


def parse_number(text: str) -> PhoneNumber:
    """Read a US or Canada number in any spelling that carriers use.

    Accepted are ten digits, 1 and ten digits, and +1 and ten digits, bare or with spaces, no-break spaces,
    dots, hyphens and parentheses between country code, area code, exchange and line; white space around it is
    ignored:
    `4352016526`, `12062752462`, `+14354776112`, `1-415-233-8397`, `+(1) 251-309-5542`, `(415) 555-2671`.
    Digits are ASCII digits. A `+` may only precede the country code.

    A bare number takes 0.45-0.5 µs, one with separators 1 µs, one that is refused 1-3 µs (CPython 3.11, one
    core of a small server); `phonenumbers` takes 24-33 µs.

    Raises:
        InvalidNumber: with the reason as its text; nothing else, whatever the text.

    """
    match = _match_clean(text)
    if match is None:
        match = _match_clean(_without_spelling(text))
        if match is None:
            raise InvalidNumber(_reason(text))
    area_code, local = match.groups()
    return _new_tuple(PhoneNumber, (area_code, int(local)))


def _without_spelling(text: str) -> str:
    """Return the ten digits of a number that is spelled with separators, or "" if it is not."""
    text = text.strip()
    spelled = _match_spelled(text) if len(text) <= MAX_TEXT_LENGTH else None
    return "" if spelled is None else "".join(spelled.groups())


def _reason(text: str) -> str:
    """Say why refused text is no number; the first of several reasons."""
    text = text.strip()
    if not text:
        return "empty"
    if len(text) > MAX_TEXT_LENGTH:
        return f"longer than {MAX_TEXT_LENGTH} characters"
    bare = text.translate(_drop_separators)
    digits = bare.removeprefix("+")
    return _wrong_character(digits) or _wrong_length(bare, digits) or _wrong_code(digits[-10:])


def _wrong_character(digits: str) -> str | None:
    wrong = digits.translate(_drop_ascii_digits)
    if not wrong:
        return None if digits else "has no digits"
    if any(character.isalpha() for character in wrong):
        return "has letters"
    if "+" in wrong:
        return "has a + that is not at the start"
    if any(character.isnumeric() for character in wrong):
        return "has digits other than 0-9"
    # As ASCII: a log or a terminal may hide the character, or choke on it.
    return f"has the character {wrong[0]!a}"


def _wrong_length(bare: str, digits: str) -> str | None:
    with_country_code = bare.startswith("+") or len(digits) == len("14155550123")
    if with_country_code and not digits.startswith("1"):
        return "country code is not 1"
    count = len(digits) - with_country_code
    return None if count == len("4155550123") else f"has {count} digits, needs 10"


def _wrong_code(national: str) -> str:
    for name, code, table in (
        ("area code", national[:3], _REFUSED_AREA_CODES),
        ("exchange", national[3:6], _REFUSED_EXCHANGES),
    ):
        for pattern, reason in table:
            if re.fullmatch(pattern, code):
                return f"{name} {code} {reason}"
    return "has separators where none belong"
