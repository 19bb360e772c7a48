from collections.abc import Callable
from typing import NamedTuple

import phonenumbers
import pytest
from hypothesis import example, given, settings, strategies as st

from shared.phone_number import (
    MAX_TEXT_LENGTH,
    TOLL_FREE_AREA_CODES,
    InvalidNumber,
    NumberType,
    PhoneNumber,
    e164,
    number_type_of,
    parse_number,
)

SPELLINGS: tuple[Callable[[str, str, str], str], ...] = (
    lambda area, exchange, line: f"{area}{exchange}{line}",
    lambda area, exchange, line: f"1{area}{exchange}{line}",
    lambda area, exchange, line: f"+1{area}{exchange}{line}",
    lambda area, exchange, line: f"1-{area}-{exchange}-{line}",
    lambda area, exchange, line: f"+(1) {area}-{exchange}-{line}",
    lambda area, exchange, line: f"({area}) {exchange}-{line}",
    lambda area, exchange, line: f"({area}){exchange}-{line}",
    lambda area, exchange, line: f"+1 ({area}) {exchange}-{line}",
    lambda area, exchange, line: f"(+1) {area} {exchange} {line}",
    lambda area, exchange, line: f"{area}.{exchange}.{line}",
    lambda area, exchange, line: f"+1\u00a0{area}\u00a0{exchange}\u00a0{line}",
    lambda area, exchange, line: f"{area} - {exchange} - {line}",
    lambda area, exchange, line: f"{area}-{exchange}{line}",
    lambda area, exchange, line: f"\t {area}{exchange}{line}\u00a0\r\n",
)

# Written out apart from the parser's tables, so that a slip in those does not excuse itself here.
PLACELESS_AREA_CODES = {
    "500",
    *(f"52{digit}" for digit in "123456789"),
    "532",
    "533",
    "544",
    "566",
    "577",
    "588",
}
ISLANDS = set(
    "242 246 264 268 284 340 345 441 473 649 664 670 671 684 721 758 767 784 868 869 876".split()  # noqa: SIM905
)
DOMINICAN_REPUBLIC = {"809", "829", "849"}


def library_reads(text: str) -> str | None:
    """Give the E.164 text that `phonenumbers` makes of it; None where it refuses or sees a foreign number."""
    try:
        number = phonenumbers.parse(text, "US")
    except phonenumbers.NumberParseException:
        return None
    if number.country_code != 1 or number.extension or not phonenumbers.is_valid_number(number):
        return None
    return str(phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164))


def we_read(text: str) -> str | None:
    try:
        return parse_number(text).e164
    except InvalidNumber:
        return None


def is_service_code(code: str) -> bool:
    return code[0] in "23456789" and code[1:] == "11"


def could_be_assigned(area: str, exchange: str) -> bool:
    return (
        area[0] in "23456789"
        and area[1] != "9"
        and not is_service_code(area)
        and area[:2] not in {"37", "96"}
        and area not in {"555", "700", "900"}
        and exchange[0] in "23456789"
        and not is_service_code(exchange)
    )


KNOWN_TO_LIBRARY = {
    f"{area:03}"
    for area in range(1000)
    if any(library_reads(f"{area:03}{exchange}2671") for exchange in ("234", "345", "555"))
}


class Disagreement(NamedTuple):
    reason: str
    library_accepts: bool
    applies: Callable[[str, str], bool]
    """Whether a number of this area code and exchange falls under it."""


DISAGREEMENTS = (
    Disagreement(
        "the library takes service codes for exchanges: 415-911-2671",
        True,
        lambda _, exchange: is_service_code(exchange),
    ),
    Disagreement(
        "the library knows numbers that belong to no place: 500-555-2671",
        True,
        lambda area, _: area in PLACELESS_AREA_CODES,
    ),
    Disagreement(
        "the library knows premium rate numbers: 900-555-2671",
        True,
        lambda area, _: area == "900",
    ),
    Disagreement(
        "the library takes any exchange in the Dominican Republic: 809-011-2671",
        True,
        lambda area, exchange: area in DOMINICAN_REPUBLIC and exchange[0] in "01",
    ),
    Disagreement(
        "the library knows toll-free numbers of the Dominican Republic alone: 800-140-2671",
        True,
        lambda area, exchange: area == "800" and exchange[:2] == "14",
    ),
    Disagreement(
        "the library knows which exchanges an island has: 246-999-2671",
        False,
        lambda area, exchange: area in ISLANDS and could_be_assigned(area, exchange),
    ),
    Disagreement(
        "the library leaves out exchanges that begin with 6 in 983: 983-678-2671",
        False,
        lambda area, exchange: area == "983" and exchange[0] == "6" and not is_service_code(exchange),
    ),
    Disagreement(
        "the library refuses area codes that are not assigned yet: 221-555-2671",
        False,
        lambda area, exchange: area not in KNOWN_TO_LIBRARY and could_be_assigned(area, exchange),
    ),
)


def disagreements_over(area: str, exchange: str, text: str) -> list[Disagreement]:
    """Fail unless both read the same number in the text, both none, or a known disagreement says why not."""
    ours, theirs = we_read(text), library_reads(text)
    if ours == theirs:
        return []
    assert ours is None or theirs is None, f"{text!a} is {ours} here, {theirs} in the library"
    applying = [
        known
        for known in DISAGREEMENTS
        if known.library_accepts is (theirs is not None) and known.applies(area, exchange)
    ]
    assert applying, f"{text!a} is {ours} here, {theirs} in the library, and no known disagreement says why"
    return applying


digits = st.sampled_from("0123456789")
lines = st.text(digits, min_size=4, max_size=4)
any_code = st.text(digits, min_size=3, max_size=3)
assigned_area_codes = st.sampled_from(sorted(KNOWN_TO_LIBRARY))
numbers = st.builds(
    parse_number,
    st.builds(
        "".join,
        st.tuples(
            assigned_area_codes.filter(lambda area: could_be_assigned(area, "234")).filter(
                lambda area: area not in PLACELESS_AREA_CODES
            ),
            any_code.filter(lambda exchange: could_be_assigned("415", exchange)),
            lines,
        ),
    ),
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("4352016526", "+14352016526"),
        ("12062752462", "+12062752462"),
        ("+14354776112", "+14354776112"),
        ("1-415-233-8397", "+14152338397"),
        ("+(1) 251-309-5542", "+12513095542"),
        ("(415) 555-2671", "+14155552671"),
    ],
)
def test_the_spellings_seen_in_carriers_feeds_are_read(text: str, expected: str) -> None:
    assert parse_number(text).e164 == expected


@given(numbers)
def test_every_spelling_of_a_carrier_gives_the_same_number(number: PhoneNumber) -> None:
    local = str(number.local)
    assert {parse_number(spell(number.area_code, local[:3], local[3:])) for spell in SPELLINGS} == {number}


@given(numbers)
def test_a_number_that_is_rendered_and_read_again_is_the_same(number: PhoneNumber) -> None:
    assert parse_number(number.e164) == number
    assert number.e164 == e164(number.area_code, number.local)
    assert type(parse_number(number.e164)) is PhoneNumber
    assert 2_000_000 <= number.local <= 9_999_999


@settings(max_examples=1_000)
@given(assigned_area_codes | any_code, any_code, lines, st.sampled_from(SPELLINGS))
def test_the_library_reads_the_same_number_except_for_known_disagreements(
    area: str, exchange: str, line: str, spell: Callable[[str, str, str], str]
) -> None:
    disagreements_over(area, exchange, spell(area, exchange, line))


def test_every_area_code_agrees_with_the_library_except_for_known_disagreements() -> None:
    seen: set[Disagreement] = set()
    for area in (f"{area:03}" for area in range(1000)):
        for exchange in ("011", "140", "199", "200", "211", "555", "678", "911", "999"):
            seen.update(disagreements_over(area, exchange, f"{area}{exchange}0123"))
    idle = [known.reason for known in DISAGREEMENTS if known not in seen]
    assert not idle, "these are no disagreements any more: take them out of the table"


def test_every_exchange_agrees_with_the_library_except_for_known_disagreements() -> None:
    for exchange in (f"{exchange:03}" for exchange in range(1000)):
        for area in ("415", "604", "800"):
            disagreements_over(area, exchange, f"+1{area}{exchange}2671")


def test_the_codes_refused_as_belonging_to_no_place_are_those_of_the_library() -> None:
    def is_personal(area: str) -> bool:
        number = phonenumbers.PhoneNumber(country_code=1, national_number=int(f"{area}2345678"))
        return bool(phonenumbers.number_type(number) == phonenumbers.PhoneNumberType.PERSONAL_NUMBER)

    assert {f"5{rest:02}" for rest in range(100) if is_personal(f"5{rest:02}")} == PLACELESS_AREA_CODES
    for area in PLACELESS_AREA_CODES:
        with pytest.raises(InvalidNumber, match=f"area code {area} belongs to no place"):
            parse_number(f"{area}2345678")


def test_ordinary_area_codes_that_begin_with_5_are_accepted() -> None:
    last_digits = ("123456789", "023456789", "0", "0149", "018", "179", "12347", "0123459", "0124567")
    ordinary = [f"5{middle}{last}" for middle, lasts in enumerate(last_digits) for last in lasts]
    assert [parse_number(f"{area}2345678").area_code for area in ordinary] == ordinary


@pytest.mark.parametrize("area", ["415", "604", "800"])
def test_fictional_numbers_are_accepted_as_safe_test_data(area: str) -> None:
    for line in range(100, 200):
        assert parse_number(f"{area}555{line:04}").local == 5_550_000 + line


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        (" \u00a0\n", "empty"),
        ("()", "has no digits"),
        ("+", "has no digits"),
        ("415555267", "has 9 digits, needs 10"),
        ("+1415555267", "has 9 digits, needs 10"),
        ("0014155552671", "has 13 digits, needs 10"),
        ("+141555526711", "has 11 digits, needs 10"),
        ("24155552671", "country code is not 1"),
        ("+4155552671", "country code is not 1"),
        ("+442071838750", "country code is not 1"),
        ("415-555-CALL", "has letters"),
        ("415-555-2671 x12", "has letters"),
        ("415-555-2671 ext. 12", "has letters"),
        ("415-555-2671 #12", "has the character '#'"),
        ("415,555,2671", "has the character ','"),
        ("415\u2013555\u20132671", r"has the character '\u2013'"),
        ("415\x00555\ud8002671", r"has the character '\x00'"),
        ("\u0664\u0661\u0665\u0665\u0665\u0665\u0662\u0666\u0667\u0661", "has digits other than 0-9"),
        ("\uff14155552671", "has digits other than 0-9"),
        ("415555267\u0661", "has digits other than 0-9"),
        ("415-555-267\u0661", "has digits other than 0-9"),
        ("\u00b2155552671", "has digits other than 0-9"),
        ("1+4155552671", "has a + that is not at the start"),
        ("++14155552671", "has a + that is not at the start"),
        ("14155552671+", "has a + that is not at the start"),
        ("1415555267.0", "has separators where none belong"),
        ("415-5552-671", "has separators where none belong"),
        ("-4155552671", "has separators where none belong"),
        ("4155552671.", "has separators where none belong"),
        ("1415555267", "area code 141 does not begin with 2-9"),
        ("0415552671", "area code 041 does not begin with 2-9"),
        ("9115552671", "area code 911 is a service code"),
        ("2955552671", "area code 295 is kept for an expansion of the plan"),
        ("+13705552671", "area code 370 is set aside"),
        ("(969) 555-2671", "area code 969 is set aside"),
        ("5555552671", "area code 555 cannot be assigned"),
        ("5005552671", "area code 500 belongs to no place"),
        ("1 700 555 2671", "area code 700 is not sold"),
        ("9005552671", "area code 900 is not sold"),
        ("4151552671", "exchange 155 does not begin with 2-9"),
        ("(415) 055-2671", "exchange 055 does not begin with 2-9"),
        ("4159112671", "exchange 911 is a service code"),
        ("8002112671", "exchange 211 is a service code"),
    ],
)
def test_a_refusal_says_why(text: str, reason: str) -> None:
    with pytest.raises(InvalidNumber) as refusal:
        parse_number(text)
    assert str(refusal.value) == reason


@pytest.mark.parametrize(
    "text", ["x" * 1_000_000, "4155552671" * 100_000, "(" * 33, "415" + " " * 30 + "5552671"]
)
def test_over_long_text_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(InvalidNumber) as refusal:
        parse_number(text)
    assert str(refusal.value) == f"longer than {MAX_TEXT_LENGTH} characters"


@settings(max_examples=1_000)
@given(
    st.text()
    | st.text("0123456789+-.() \u00a0\n", max_size=40)
    | st.from_regex(r"\+?1?[2-9][0-9]{2}[-. ]?[2-9][0-9]{2}[-. ]?[0-9]{4}.?", fullmatch=True)
)
@example("4155552671\n")
@example("\u0967\u096a155552671")
def test_any_text_is_either_read_digit_by_digit_or_refused_with_a_short_reason(text: str) -> None:
    number = reason = None
    try:
        number = parse_number(text)
    except InvalidNumber as refusal:
        reason = str(refusal)
    if number is not None:
        found = "".join(character for character in text if character.isdecimal())
        national = f"{number.area_code}{number.local}"
        assert found in {national, f"1{national}"}
    if reason is not None:
        assert 0 < len(reason) <= 60
        assert reason.isascii()
        assert reason.isprintable()


def test_the_seven_toll_free_area_codes_are_toll_free_and_all_others_local() -> None:
    toll_free = {f"{area:03}" for area in range(1000) if number_type_of(f"{area:03}") is NumberType.TOLL_FREE}
    assert toll_free == TOLL_FREE_AREA_CODES == {"800", "833", "844", "855", "866", "877", "888"}
    assert parse_number("+18005550199").number_type is NumberType.TOLL_FREE
    assert parse_number("+14155550123").number_type is NumberType.LOCAL


def test_numbers_sort_as_their_e164_texts_do() -> None:
    texts = ["+12125550100", "+14152000000", "+14155550123", "+14159999999", "+18005550199"]
    assert [number.e164 for number in sorted(map(parse_number, reversed(texts)))] == texts
