import pytest
from msgspec import convert

from shared.feeds.profiles import Profile
from shared.feeds.rows import REMOVAL, Row
from shared.phone_number import PhoneNumber
from shared.stock_score import MMS, SMS
from tests.rules.feed_files import ONE, THREE, TWO, Read, Refused, Whole


def test_reads_numbers_without_features_from_a_single_column(read: Read) -> None:
    assert read(b"number\n+14155550101\n2122345678\n") == ([(ONE, 0), (TWO, 0)], [])


def test_reads_number_sms_and_mms(read: Read) -> None:
    content = b"number,sms,mms\n4155550101,true,true\n2122345678,true,false\n6049876543,false,true\n"
    assert read(content) == ([(ONE, SMS | MMS), (TWO, SMS), (THREE, MMS)], [])


@pytest.mark.parametrize("header", ["NUMBER,SMS,MMS", "Number,Sms,mMs", " number , sms,mms\t"])
def test_reads_a_header_in_any_case_and_with_white_space(read: Read, header: str) -> None:
    assert read(f"{header}\n4155550101,true,false\n".encode()) == ([(ONE, SMS)], [])


def test_reads_columns_in_any_order_among_others(read: Read) -> None:
    content = "mms,price,Número,number,sms,number of rings\ntrue,0.35,9,(415) 555-0101,false,2122345678\n"
    assert read(content.encode()) == ([(ONE, MMS)], [])


@pytest.mark.parametrize(("column", "feature"), [("sms", SMS), ("mms", MMS)])
def test_reads_a_feed_with_one_of_the_two_flags(read: Read, column: str, feature: int) -> None:
    assert read(f"number,{column}\n4155550101,yes\n".encode()) == ([(ONE, feature)], [])


@pytest.mark.parametrize(
    ("spelling", "is_set"),
    [(text, True) for text in ("true", "TRUE", "True", "t", "T", "yes", "Yes", "y", "Y", "1", " true ")]
    + [(text, False) for text in ("false", "FALSE", "f", "F", "no", "No", "n", "N", "0", "", "  ")],
)
def test_reads_a_flag_in_the_spellings_in_use(read: Read, spelling: str, is_set: bool) -> None:
    expected = Whole([(ONE, SMS * is_set)], [])
    assert read(f"number,sms\n4155550101,{spelling}\n".encode()) == expected
    assert read(f'sms,number\n"{spelling}",4155550101\n'.encode()) == expected


@pytest.mark.parametrize("spelling", ["2", "maybe", "nein", "truee", "null", "-"])
@pytest.mark.parametrize("column", ["sms", "mms"])
def test_rejects_a_row_whose_flag_says_neither(read: Read, column: str, spelling: str) -> None:
    content = f"number,{column}\n4155550101,{spelling}\n2122345678,1\n4155550101,{spelling}\n".encode()
    rows, rejects = read(content)
    assert [number for number, _ in rows] == [TWO]
    reason = f"{column} is neither true nor false"
    assert rejects == [(2, reason), (4, reason)]


def test_reads_flags_of_more_spellings_than_are_remembered(read: Read) -> None:
    # 2,000 pairs of spellings, all of which mean SMS and not MMS.
    pairs = [(" " * before + "1", "0" + " " * after) for before in range(50) for after in range(40)]
    content = "number,sms,mms\n" + "".join(f"4155550101,{sms},{mms}\n" for sms, mms in pairs)
    assert read(content.encode()) == ([(ONE, SMS)] * len(pairs), [])


def test_reads_quoted_fields_with_commas_and_quotes_in_them(read: Read) -> None:
    content = b'"number","city","sms"\n"415-555-0101","San Francisco, ""CA""","true"\n2122345678,"","f"\n'
    assert read(content) == ([(ONE, SMS), (TWO, 0)], [])


def test_an_unclosed_quote_costs_its_own_line_only(read: Read) -> None:
    content = b'number,city\n4155550101,"San Francisco\n2122345678,"New York"\n6049876543,"Van"couver\n'
    rows, rejects = read(content)
    assert rows == [(TWO, 0)]
    assert [line for line, _ in rejects] == [2, 4]
    assert all(reason.startswith("is not CSV: ") for _, reason in rejects)


def test_rejects_rows_of_another_width_than_the_header(read: Read) -> None:
    content = b'number,sms\n4155550101\n2122345678,1\n6049876543,1,1\n"6049876543","1",1\n'
    reasons = ["has 1 columns, the header has 2", *["has 3 columns, the header has 2"] * 2]
    rejects = [(line, reason) for line, reason in zip((2, 4, 5), reasons, strict=True)]
    assert read(content) == ([(TWO, SMS)], rejects)


def test_gives_the_parsers_reason_for_a_number_that_is_none(read: Read) -> None:
    content = b"number\n9115550101\n4155550101\n12345\nhello\n"
    assert read(content) == (
        [(ONE, 0)],
        [
            (2, "area code 911 is a service code"),
            (4, "has 5 digits, needs 10"),
            (5, "has letters"),
        ],
    )


def test_rejects_a_row_with_an_empty_number(read: Read) -> None:
    content = b'number,city\n,Reno\n"  ",Reno\n'
    assert read(content) == ([], [(2, "empty"), (3, "empty")])


@pytest.mark.parametrize(
    "name",
    [
        "phone_number",
        "Phone Number",
        "phoneNumber",
        "FullNumber",
        "full_number",
        "telephone_number",
        "TN",
        "DID",
        "E.164",
        "e164",
        "MSISDN",
        "number",
    ],
)
def test_finds_the_column_of_the_number_by_any_of_its_usual_names(read: Read, name: str) -> None:
    assert read(f"city,{name},sms\nReno,4155550101,1\n".encode()) == ([(ONE, SMS)], [])


def test_of_several_columns_that_may_be_the_number_the_most_usual_counts(read: Read) -> None:
    assert read(b"did,e164,number\n1,2,4155550101\n") == ([(ONE, 0)], [])
    assert read(b"number,number\n4155550101,2122345678\n") == ([(ONE, 0)], [])


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", ["", '"'])
def test_tells_the_delimiter_from_the_header(read: Read, delimiter: str, quote: str) -> None:
    rows = [["City", "Number", "SMS", "MMS"], ["Reno", "4155550101", "1", "0"], ["", "2122345678", "", "1"]]
    content = "\n".join(delimiter.join(f"{quote}{field}{quote}" for field in row) for row in rows)
    assert read(content.encode()) == ([(ONE, SMS), (TWO, MMS)], [])


def test_a_header_with_other_delimiters_in_its_names_is_split_at_the_right_one(read: Read) -> None:
    content = b'"City, State; Zip",number\n"Reno; NV",4155550101\n'
    assert read(content) == ([(ONE, 0)], [])


@pytest.mark.parametrize(
    ("listed", "features"),
    [
        ("sms|mms|voice", SMS | MMS),
        ("SMS", SMS),
        ("voice, MMS", MMS),
        ("['sms', 'mms']", SMS | MMS),
        ("{sms;fax}", SMS),
        ("", 0),
        ("voice", 0),
        ("non-sms sms_international smsx", 0),
        ("sms/mms", SMS | MMS),
    ],
)
def test_reads_a_list_of_features_with_any_separators(read: Read, listed: str, features: int) -> None:
    for header in ("features", "Capabilities"):
        assert read(f'{header},tn\n"{listed}",4155550101\n'.encode()) == ([(ONE, features)], [])


def test_features_and_flags_add_up(read: Read) -> None:
    assert read(b"features,number,mms\nsms,4155550101,1\n") == ([(ONE, SMS | MMS)], [])


@pytest.mark.parametrize("action", ["", "add", "Added", " UPDATE ", "new", "active", "available", "u"])
def test_an_action_that_offers_leaves_the_row_as_it_is(read: Read, action: str) -> None:
    assert read(f"number,action,sms\n4155550101,{action},1\n".encode()) == ([(ONE, SMS)], [])


@pytest.mark.parametrize(
    "action", ["remove", "DELETE", "deleted", "deactivate", "disconnected", "Withdrawn", "d"]
)
def test_an_action_that_removes_makes_a_removal(read: Read, action: str) -> None:
    assert read(f"action,number,sms\n{action},4155550101,whatever\n".encode()) == ([(ONE, REMOVAL)], [])


def test_an_unknown_action_costs_its_row(read: Read) -> None:
    content = b"number,action\n4155550101,frobnicate\n2122345678,add\n"
    assert read(content) == ([(TWO, 0)], [(2, "the action is none that is known")])


@pytest.mark.parametrize(("flag", "meaning"), [("true", REMOVAL), ("1", REMOVAL), ("false", 0), ("", 0)])
def test_marked_for_deletion_removes(read: Read, flag: str, meaning: int) -> None:
    assert read(f"marked_for_deletion,number\n{flag},4155550101\n".encode()) == ([(ONE, meaning)], [])


def test_marked_for_deletion_takes_flags_only(read: Read) -> None:
    reason = "marked_for_deletion is neither true nor false"
    assert read(b"marked_for_deletion,number\nmaybe,4155550101\n") == ([], [(2, reason)])


# What the profile says


def test_the_profile_names_the_columns_and_case_and_punctuation_do_not_matter(read: Read) -> None:
    profile = Profile(number="Line", sms="text ok", mms="TEXT_OK", features="what", action="gone?")
    content = b"number,LINE,text-ok,what,gone\n2122345678,4155550101,1,voice,\n1,6049876543,0,mms,remove\n"
    assert read(content, profile) == ([(ONE, SMS | MMS), (THREE, REMOVAL)], [])


def test_what_all_numbers_of_a_carrier_can_do_counts_whatever_the_feed_says(read: Read) -> None:
    content = b"number,sms,features\n4155550101,0,mms\n"
    assert read(content, Profile(sms=True, mms=False)) == ([(ONE, SMS)], [])
    assert read(content, Profile(sms=True)) == ([(ONE, SMS | MMS)], [])
    assert read(b"number\n4155550101\n", Profile(sms=True, mms=True)) == ([(ONE, SMS | MMS)], [])


@pytest.mark.parametrize("named", ["number", "sms", "mms", "features", "action"])
def test_a_column_that_the_profile_names_has_to_be_there(refused: Refused, named: str) -> None:
    profile = convert({named: "Teléfono"}, Profile)
    reason = refused(b"number,sms,mms,features,action\n4155550101,1,1,,\n", profile)
    assert reason == (
        "the header has no column 'Tel\\xe9fono', which the profile names; "
        "its columns are: 'number, sms, mms, features, action'"
    )


# The end of the file


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("number,sms", "4155550101,"),
        ("number,features", "4155550101,sms"),
        ("number,features", "4155550101,"),
        ("number,action", "4155550101,"),
        ("number,marked_for_deletion", "4155550101,"),
    ],
)
def test_a_last_row_without_a_line_end_that_may_be_cut_off_is_rejected(
    read: Read, header: str, row: str
) -> None:
    reason = "is the last, has no line end, and may have been cut off"
    assert read(f"{header}\n{row}".encode()) == ([], [(2, reason)])
    assert len(read(f"{header}\n{row}\n".encode()).rows) == 1


@pytest.mark.parametrize(
    "content",
    [
        "mms,number\n1,4155550101",
        "number,sms\n4155550101,true",
        "number,city\n4155550101,",
        "number\n4155550101",
    ],
)
def test_a_last_row_without_a_line_end_that_is_whole_is_read(read: Read, content: str) -> None:
    assert [number for number, _ in read(content.encode()).rows] == [ONE]


# The fast path


def test_one_bad_row_among_many_good_ones_costs_only_itself(read: Read) -> None:
    lines = [f"+1415{2_200_000 + at},true,false" for at in range(20_000)]
    expected: list[Row] = [(PhoneNumber("415", 2_200_000 + at), SMS) for at in range(20_000)]
    bad = {7: "hello,true,false", 3_000: "4155550101,true", 3_001: "9115550101,1,1", 19_999: "4159115010,1,1"}
    for at, line in bad.items():
        lines[at] = line
    rows, rejects = read("\n".join(["number,sms,mms", *lines, ""]).encode())
    assert rows == [row for at, row in enumerate(expected) if at not in bad]
    assert [line - 2 for line, _ in rejects] == list(bad)


def test_a_header_of_more_than_1000_columns_is_refused(read: Read, refused: Refused) -> None:
    assert read(b"number" + b"," * 999 + b"\n4155550101" + b"," * 999 + b"\n") == ([(ONE, 0)], [])
    reason = "the header has 1,001 columns; more than 1,000 are not read"
    assert refused(b"number" + b"," * 1_000 + b"\n4155550101\n") == reason
