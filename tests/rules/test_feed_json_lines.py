import pytest

from shared.feeds.profiles import Format, Profile
from shared.feeds.rows import REMOVAL
from shared.stock_score import MMS, SMS
from tests.rules.feed_files import ONE, THREE, TWO, Read


def test_reads_ndjson_with_numbers_as_text_or_integers_and_unknown_members(read: Read) -> None:
    content = (
        b'{"number": "(415) 555-0101", "sms": true, "region": {"city": ["a", null]}}\n'
        b'  {"mms":true,"number":12122345678}\n'
        b'{"price": 1e400, "number": 6049876543, "sms": false, "mms": false}\n'
    )
    assert read(content) == ([(ONE, SMS), (TWO, MMS), (THREE, 0)], [])


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        "{",
        "[]",
        "4155550101",
        '"4155550101"',
        '{"number": null}',
        '{"number": true}',
        '{"number": 4155550101.5}',
        '{"number": ["4155550101"]}',
        '{"number": "4155550101", "sms": 1.0}',
        '{"number": "4155550101", "mms": [true]}',
        '{"number": "4155550101"} {"number": "4155550101"}',
        '{"number": ' + "9" * 5000 + "}",
        '{"number": "4155550101", "x": ' + "[" * 30_000 + "]" * 30_000 + "}",
        '{"number": "\\ud800"}',
        "number,sms",
    ],
    ids=lambda text: text[:40],
)
def test_rejects_a_line_that_is_no_row_of_ndjson(read: Read, text: str) -> None:
    rows, rejects = read(f'{{"number":"4155550101"}}\n{text}\n{{"number":"2122345678"}}\n'.encode())
    assert rows == [(ONE, 0), (TWO, 0)]
    [(line, reason)] = rejects
    assert line == 2
    assert reason.startswith("is not a row of JSON: ")


def test_rejects_a_number_of_ndjson_with_the_parsers_reason(read: Read) -> None:
    content = b'{"number":"hello"}\n{"number":415}\n{"number":' + b"9" * 30 + b"}\n"
    reasons = ["has letters", "has 3 digits, needs 10", "has 30 digits, needs 10"]
    assert read(content) == ([], [(line, reason) for line, reason in enumerate(reasons, 1)])


@pytest.mark.parametrize("name", ["phone_number", "fullNumber", "FullNumber", "TN", "did", "e164"])
def test_finds_the_member_of_the_number_by_any_of_its_usual_names(read: Read, name: str) -> None:
    content = f'{{"{name}":"4155550101","SMS":true}}\n{{"{name}":"2122345678","SMS":null}}\n'
    assert read(content.encode()) == ([(ONE, SMS), (TWO, 0)], [])


def test_rows_without_a_number_before_the_first_with_one_cost_only_themselves(read: Read) -> None:
    content = b'{"status":"ok"}\nbad\n{"status":1,"tn":4155550101}\n{"number":"2122345678"}\n'
    rows, rejects = read(content)
    assert rows == [(ONE, 0)]
    assert rejects[0] == (1, "has no member of the number; its members are: 'status'")
    assert [line for line, _ in rejects] == [1, 2, 4]


@pytest.mark.parametrize(
    ("features", "meaning"),
    [
        ('["sms","MMS","voice"]', SMS | MMS),
        ('[{"name":"sms"},{"name":"voice"}]', SMS),
        ('[{"name":"mms","x":[1]}, "fax"]', MMS),
        ('"sms|mms"', SMS | MMS),
        ("[]", 0),
        ("null", 0),
        ("[{}]", 0),
    ],
)
def test_reads_a_list_of_features_as_text_names_or_objects(read: Read, features: str, meaning: int) -> None:
    assert read(f'{{"number":"4155550101","features":{features}}}\n'.encode()) == ([(ONE, meaning)], [])


@pytest.mark.parametrize("features", ["7", "[7]", '{"sms":true}', '[{"name":7}]', '[["sms"]]'])
def test_rejects_a_list_of_features_that_is_none(read: Read, features: str) -> None:
    content = f'{{"number":"4155550101","features":{features}}}\n{{"number":"2122345678"}}\n'
    rows, rejects = read(content.encode())
    assert rows == [(TWO, 0)]
    assert [line for line, _ in rejects] == [1]


def test_reads_removals(read: Read) -> None:
    content = (
        b'{"number":"4155550101","action":"delete"}\n{"number":"2122345678","marked_for_deletion":true}\n'
        b'{"number":"6049876543","action":"add","marked_for_deletion":false}\n{"number":"1","action":"?"}\n'
    )
    assert read(content).rows == [(ONE, REMOVAL), (TWO, REMOVAL), (THREE, 0)]


def test_one_member_may_stand_for_both_flags(read: Read) -> None:
    profile = Profile(number="line", sms="messaging", mms="messaging")
    assert read(b'{"line":"4155550101","messaging":true}\n', profile) == ([(ONE, SMS | MMS)], [])


def test_one_bad_row_among_many_good_ones_costs_only_itself(read: Read) -> None:
    lines = [f'{{"number":"+1415{2_200_000 + at}","sms":true}}' for at in range(5_000)]
    lines[1_000] = '{"number":"4155550101\\n2122345678","sms":true}'
    lines[1_001] = '{"number":"","sms":true}'
    lines[3_000] = '{"number":"4155550101","sms":7}'
    lines[4_000] = '{"number":"4155550101","x":"\0"}'
    rows, rejects = read("\n".join([*lines, ""]).encode())
    assert len(rows) == 4_996
    assert [line for line, _ in rejects] == [1_001, 1_002, 3_001, 4_001]


@pytest.mark.parametrize(
    ("member", "meaning"),
    [
        ('"deleted":true', REMOVAL),
        ('"is_deleted":"yes"', REMOVAL),
        ('"Marked For Deletion":1', REMOVAL),
        ('"operation":"delete"', REMOVAL),
        ('"action":null,"Operation":"delete"', REMOVAL),
        ('"smsEnabled":true', SMS),
        ('"mms_capable":1', MMS),
        ('"capabilities":["sms"]', SMS),
        ('"deleted":false,"smsEnabled":null', 0),
    ],
)
def test_what_the_first_row_does_not_say_may_come_later_under_any_usual_name(
    read: Read, member: str, meaning: int
) -> None:
    rows = ['{"number":"4155550101","city":"Reno"}'] * 1_000
    rows[500] = f'{{"number":"2122345678",{member}}}'
    expected = [(ONE, 0)] * 500 + [(TWO, meaning)] + [(ONE, 0)] * 499
    assert read("\n".join([*rows, ""]).encode()) == (expected, [])
    assert read(f"[{','.join(rows)}]".encode(), Profile(format=Format.JSON)) == (expected, [])


def test_later_rows_may_differ_in_the_name_of_what_the_first_does_not_say(read: Read) -> None:
    content = (
        b'{"number":"4155550101"}\n{"number":"4155550101","deleted":true}\n'
        b'{"number":"2122345678","isDeleted":true}\n{"number":"6049876543","marked_for_deletion":true}\n'
    )
    assert read(content).rows == [(ONE, 0), (ONE, REMOVAL), (TWO, REMOVAL), (THREE, REMOVAL)]


def test_removals_are_seen_however_many_other_members_there_are(read: Read) -> None:
    rows = [f'{{"number":"4155550101","x{at}":1}}' for at in range(1_000)]
    rows += ['{"number":"2122345678","deleted":true}', '{"number":"6049876543","marked_for_deletion":true}']
    rows += ['{"number":"4155550101","a\\"b":1,"s\\"ms":true}']
    parsed, rejects = read("\n".join([*rows, ""]).encode())
    assert parsed == [(ONE, 0)] * 1_000 + [(THREE, REMOVAL), (ONE, 0)]
    assert rejects == [(1_001, "has yet another name for marked_for_deletion: 'deleted'")]


@pytest.mark.parametrize(
    ("flag", "is_on"),
    [
        *((text, True) for text in ("true", "1", '"true"', '"Yes"', '"1"', '" y "')),
        *((text, False) for text in ("false", "0", "null", '"false"', '"NO"', '"0"', '""')),
    ],
)
def test_reads_flags_as_csv_does(read: Read, flag: str, is_on: bool) -> None:
    content = (
        f'{{"number":"4155550101","sms":{flag}}}\n{{"number":"4155550101","mms":{flag}}}\n'
        f'{{"number":"4155550101","marked_for_deletion":{flag}}}\n'
    )
    assert read(content.encode()) == ([(ONE, is_on and at) for at in (SMS, MMS, REMOVAL)], [])


@pytest.mark.parametrize("member", ["sms", "mms", "marked_for_deletion"])
@pytest.mark.parametrize("flag", ["2", "-1", '"perhaps"', "1.0", "[]", "{}"])
def test_rejects_what_is_no_flag_and_names_the_member(read: Read, member: str, flag: str) -> None:
    rows, [(line, reason)] = read(f'{{"number":"4155550101","{member}":{flag}}}\n'.encode())
    assert (rows, line) == ([], 1)
    assert member in reason
