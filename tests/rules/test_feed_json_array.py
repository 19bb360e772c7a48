import json
from pathlib import Path
from typing import Any

import pytest

from shared.feeds.formats.json_array import read_json_array
from shared.feeds.formats.read import read_feed
from shared.feeds.profiles import Format, Limits, Profile
from shared.feeds.rows import REMOVAL
from shared.phone_number import PhoneNumber
from shared.stock_score import MMS, SMS
from tests.rules.feed_files import (
    JSON,
    LINE_BYTES,
    ONE,
    THREE,
    TWO,
    Read,
    Refused,
    limited_memory,
    parse_whole,
)

MEMBER = Profile(format=Format.JSON, rows="data")
GOOD = b'{"number":"4155550101"}'


def test_reads_an_array_of_objects(read: Read) -> None:
    content = (
        b' [ {"city": "Reno", "TN": "4155550101"} ,{"TN":12122345678,"sms":true}\n,\n'
        b'{"TN":"6049876543","features":[{"name":"mms"}],"deep":{"a":[{"b":[]}]}}]\n'
    )
    assert read(content, JSON) == ([(ONE, 0), (TWO, SMS), (THREE, MMS)], [])


def test_reads_an_empty_array_as_no_rows(read: Read) -> None:
    assert read(b"[]", JSON) == read(b" [\n] ", JSON) == read(b'{"data": []}', MEMBER) == ([], [])


@pytest.mark.parametrize(
    "content",
    [
        b'{"data":[%b]}',
        b'{"meta":{"data":[{"number":"2122345678"}],"x":["]"]}, "data" : [ %b ] , "more":{"data":[1,{}]}}',
        b'{"da\\"ta":1,"x":"\\"data\\":[","d\\u0061ta":[%b],"n":null}\n',
        b"[%b]",
    ],
)
def test_reads_an_array_that_is_a_member_of_an_object(read: Read, content: bytes) -> None:
    assert read(content % GOOD, MEMBER) == ([(ONE, 0)], [])


def test_an_object_without_the_array_is_refused_with_its_beginning(refused: Refused) -> None:
    error = b'{"errors":[{"code":"10001","title":"Unauth\xc3\xb8rized"}]}'
    reason = r"""; it begins '{"errors":[{"code":"10001","title":"Unau'"""
    assert refused(error, JSON) == "the JSON is an object and not an array" + reason
    assert refused(error, MEMBER) == "the JSON is an object without an array 'data'" + reason
    assert "without an array 'data'" in refused(b'{"data": null}', MEMBER)
    assert "without an array 'data'" in refused(b'{"data": {"data": [1]}}', MEMBER)


@pytest.mark.parametrize(
    "element",
    [
        "null",
        "7",
        '"4155550101"',
        "[]",
        "{}",
        '{"number":[]}',
        '{"number":"x"}',
        '{"number":1e99}',
        "nonsense",
        "",
        '{"number":"4155550101",}',
        '{"number":"4155550101","x":"\x00"}',
        '{"number" "4155550101"}',
        "[[{}],{}]",
        '{"number":"4155550101","x":' + "[" * 20000 + "]" * 20000 + "}",
        '{"number":' + "9" * 5000 + "}",
        '{"number":"4155550101","x":"' + "y" * LINE_BYTES + '"}',
    ],
    ids=lambda element: element[:30],
)
@pytest.mark.parametrize("neighbours", [1, 1_000])
def test_a_bad_element_costs_only_itself(read: Read, element: str, neighbours: int) -> None:
    good = [GOOD.decode()] * neighbours
    content = f"[{','.join([*good, element, *good])}]"
    rows, rejects = read(content.encode(), JSON)
    assert rows == [(ONE, 0)] * 2 * neighbours
    assert [line for line, _ in rejects] == [neighbours + 1]


def test_elements_are_counted_in_rejects(read: Read) -> None:
    elements: list[Any] = [{"number": "4155550101", "sms": True}] * 3_000
    elements[5] = {"number": "hello"}
    elements[2_500] = 7
    rows, rejects = read(json.dumps(elements).encode(), JSON)
    assert len(rows) == 2_998
    assert rejects[0] == (6, "has letters")
    assert [line for line, _ in rejects] == [6, 2_501]


@pytest.mark.parametrize("nested", [0, 1, 40])
def test_reads_elements_that_lie_across_the_borders_of_pieces(read: Read, nested: int) -> None:
    elements = [
        {"number": f"415{2_200_000 + at}", "features": [{"name": "sms"}] * nested, "x": "}{],[" * (at % 40)}
        for at in range(3_000)
    ]
    content = json.dumps({"data": elements, "meta": {"total": 3_000}}).encode()
    expected = [(PhoneNumber("415", 2_200_000 + at), SMS if nested else 0) for at in range(3_000)]
    assert read(content, MEMBER) == (expected, [])


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_chunks_of_any_size_make_no_difference(size: int) -> None:
    content = (
        rb'{"m":{"data":[0]},"data":[{"number":"4155550101","a":"\\\"}]{["},{"number":"212\u0032345678"},'
        rb'7,{"n":[{"x":1},{}],"number":6049876543,"action":"remove"},"%s"],"z":[{}]}' % (b"y" * 200)
    )
    profile = Profile(format=Format.JSON, rows="data", limits=Limits(line_bytes=64))
    whole = parse_whole(read_json_array, content, len(content), profile)
    assert whole.rows == [(ONE, 0), (TWO, 0), (THREE, REMOVAL)]
    assert whole.rejects[1] == (5, "is longer than 64 bytes")
    assert parse_whole(read_json_array, content, size, profile) == whole


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[%b", "the JSON array has no end; the file was cut off"),
        (b"[%b,", "the JSON array has no end; the file was cut off"),
        (b"[%b]]", "something follows behind the JSON array: ']'"),
        (b"[%b][%b]", """something follows behind the JSON array: '[{"number":"4155550101"}]'"""),
        (b"[%b}]", "the JSON is broken behind element 1, where a comma is missing"),
        (b"[%b,}]", "the JSON is broken: it has a } too many"),
        (b'[{"number":"4155550101"]', "the JSON array has no end; the file was cut off"),
    ],
)
def test_a_broken_array_is_refused(refused: Refused, content: bytes, reason: str) -> None:
    assert refused(content.replace(b"%b", GOOD), JSON) == reason


@pytest.mark.parametrize(
    "content", [b'{"data":[%b]', b'{"data":[%b],', b'{"data":[%b],"x":{}', b'{"a" "data":[%b]}']
)
def test_a_broken_object_around_the_array_is_refused(refused: Refused, content: bytes) -> None:
    assert refused(content % GOOD, MEMBER).startswith("the JSON around the array is broken or cut off: ")


def test_text_that_is_not_utf_8_costs_nothing_beside_the_number(read: Read) -> None:
    content = (
        b'[{"number":"4155550101","city":"Montr\xe9al"},{"number":"212\xff2345678"},{"number":6049876543}]'
    )
    rows, rejects = read(content, JSON)
    assert rows == [(ONE, 0), (THREE, 0)]
    assert [line for line, _ in rejects] == [2]


@pytest.mark.parametrize("start", [b"[", b'[{"number":"', b'["', b"[{},[", b"[0,"])
def test_memory_stays_flat_over_an_element_of_50_mb(tmp_path: Path, start: bytes) -> None:
    path = tmp_path / "feed"
    with path.open("wb") as file:
        file.write(start)
        for _ in range(50):
            file.write(b"y" * 1_000_000)
    with limited_memory(13_000_000), pytest.raises(Exception, match="cut off"):
        list(read_feed(path, JSON))


@pytest.mark.parametrize("around", [b'{"x":"%b","data":[]}', b'{"data":[],"x":"%b"}'])
def test_much_around_the_array_is_refused(refused: Refused, around: bytes) -> None:
    with limited_memory(40_000_000):
        assert (
            refused(around % (b"y" * 5_000_000), MEMBER)
            == "the JSON has more than 2,097,152 bytes besides its array"
        )


@pytest.mark.parametrize("before", [b"[", b"[%b" % GOOD, b"[%b," % GOOD])
def test_white_space_of_any_length_is_passed_without_being_kept(tmp_path: Path, before: bytes) -> None:
    path = tmp_path / "feed"
    with path.open("wb") as file:
        file.write(before)
        for _ in range(50):
            file.write(b" \n" * 500_000)
        file.write(b"]" if before == b"[" + GOOD else GOOD + b"]")
    with limited_memory(13_000_000):
        rows = [row for block in read_feed(path, JSON) for row in block.rows]
    assert rows == [(ONE, 0)] * (2 if before.endswith(b",") else 1)
