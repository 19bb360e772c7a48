from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest

from tests.http.answers import SEARCH, assert_error, found, new_client
from tests.support import Service

PHRASES = {
    "area_code": "must be 3 digits, the first 2-9",
    "number_type": "must be one of local, toll_free, short_code",
    "pattern": "must be 1-12 characters: digits, with an optional leading +",
    "quantity": "must be an integer of at least 1",
}
UNKNOWN = "is not a known field"

MANY = [f"+1202234{line:04}" for line in range(150)]
VARIED = [
    "+12032030203",
    "+12035550100",
    "+12035550142",
    "+12035550199",
    "+12035552035",
    "+12037654321",
    "+12039999999",
]
DOZEN = [f"+1207{local}" for local in range(3_000_000, 9_000_000, 500_001)]
TOLL_FREE = ["+18885550142", "+18885550199", "+18887654321"]


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    stock = [*MANY, *VARIED, *DOZEN, *TOLL_FREE]
    sync = service.ingest("search-contract", "\n".join(["number", *stock]).encode())
    assert (sync["state"], sync["added"]) == ("applied", len(stock))
    with new_client(service.instance.url, service.instance.key) as client:
        yield client


def search(client: httpx.Client, **members: Any) -> httpx.Response:
    return client.post(SEARCH, json=members)


def send(client: httpx.Client, body: bytes, **headers: str) -> httpx.Response:
    return client.post(SEARCH, content=body, headers=headers)


# Each field's own rule


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("area_code", "202"),
        ("area_code", "999"),
        ("area_code", "200"),
        ("number_type", "local"),
        ("number_type", "toll_free"),
        ("number_type", "short_code"),
        ("pattern", "+"),
        ("pattern", "0"),
        ("pattern", "+1415"),
        ("pattern", "123456789012"),
        ("pattern", "+12345678901"),
        ("quantity", 1),
        ("quantity", 100),
        ("quantity", 101),
        ("quantity", 2**31),
        ("quantity", 2**63),
        ("quantity", 2**64),
        ("quantity", 10**30),
        ("quantity", 10**300),
    ],
)
def test_a_value_that_follows_its_rule_is_taken(client: httpx.Client, field: str, value: object) -> None:
    found(search(client, **{field: value}))


# Digits to Python and to Unicode, and to nobody who dials.
OTHER_DIGITS = ("\N{FULLWIDTH DIGIT FIVE}", "\N{ARABIC-INDIC DIGIT FIVE}", "\N{DEVANAGARI DIGIT FIVE}", "²")
BAD_VALUES: dict[str, list[object]] = {
    "area_code": [
        *("", "9", "99", "015", "115", "4155", "+415", "41a", "4 5", "*"),
        *("415\n", "\n415", " 415", "415 ", "415\x00", "\x00415"),
        *(f"41{digit}" for digit in OTHER_DIGITS),
        *(415, 415.0, True, False, [], ["415"], {}),
    ],
    "number_type": [
        *("", "Local", "LOCAL", "local ", "mobile", "tollfree", "toll-free", "local\n"),
        *(0, 1, True, ["local"], {"local": True}),
    ],
    "pattern": [
        *("", "1234567890123", "+123456789012", "12a", "1\n", "\n1", "1 2", " 1", "1\x00"),
        *("1+2", "12+", "++1", "-1", "*", "[0-9]", "1.2", "1*", "%"),
        *(f"1{digit}" for digit in OTHER_DIGITS),
        "\N{FULLWIDTH PLUS SIGN}1",
        *(555, 5.5, True, ["1"], {}),
    ],
    "quantity": [
        *(0, -1, -(2**63), -(10**30), 5.0, 5.5, 1e3, 1e300),
        *("5", "", "five", True, False, [], [5], {}),
    ],
}


@pytest.mark.parametrize(
    ("field", "value"), [(field, value) for field, values in BAD_VALUES.items() for value in values]
)
def test_a_value_that_breaks_its_rule_is_422_and_its_field_named_with_the_rule(
    client: httpx.Client, field: str, value: object
) -> None:
    error = assert_error(search(client, **{field: value}), 422)

    assert error["details"] == {field: PHRASES[field]}


@pytest.mark.parametrize("field", PHRASES)
def test_null_is_as_if_the_field_were_absent(client: httpx.Client, field: str) -> None:
    others = {"area_code": "203", "number_type": "local", "pattern": "555", "quantity": 3} | {field: None}
    absent = {name: value for name, value in others.items() if name != field}

    assert len(found(search(client, **others))) == len(found(search(client, **absent)))


def test_a_search_with_all_fields_null_is_a_search_with_none(client: httpx.Client) -> None:
    assert len(found(search(client, **dict.fromkeys(PHRASES)))) == 10


@pytest.mark.parametrize("number", ["5.0", "1e1", "1E0", "10e-1", '"5"', "true", "-0", "-0.0", "0e0"])
def test_only_an_integer_literal_is_a_quantity(client: httpx.Client, number: str) -> None:
    error = assert_error(send(client, f'{{"quantity": {number}}}'.encode()), 422)

    assert error["details"] == {"quantity": PHRASES["quantity"]}


# Several at once


def test_all_failing_fields_are_named_at_once_and_those_that_are_good_are_not(client: httpx.Client) -> None:
    bad: dict[str, Any] = {"area_code": "99", "number_type": "mobile", "pattern": "x", "quantity": 0}

    every = assert_error(search(client, **bad, colour="red"), 422)["details"]
    some = assert_error(search(client, **bad | {"area_code": "203", "pattern": None}), 422)["details"]

    assert every == PHRASES | {"colour": UNKNOWN}
    assert some == {"number_type": PHRASES["number_type"], "quantity": PHRASES["quantity"]}


@pytest.mark.parametrize("value", [1, None, "x", {"area_code": "415"}])
@pytest.mark.parametrize(
    "name", ["limit", "Area_code", "areaCode", "area_code ", "", "été", "a.b", "\n", "__class__"]
)
def test_a_member_that_is_unknown_is_422_and_named_whatever_its_value(
    client: httpx.Client, name: str, value: object
) -> None:
    assert assert_error(search(client, **{name: value}), 422)["details"] == {name: UNKNOWN}


def test_many_unknown_members_are_all_named(client: httpx.Client) -> None:
    members = {f"unknown_{index}": index for index in range(200)}

    assert assert_error(search(client, **members), 422)["details"] == dict.fromkeys(members, UNKNOWN)


@pytest.mark.parametrize(
    ("body", "count"),
    [
        (b'{"quantity": 5, "quantity": 2}', 2),
        (b'{"quantity": 0, "quantity": 2}', 2),
        (b'{"quantity": "x", "quantity": 2}', 2),
        (b'{"quantity": 2, "area_code": "1", "area_code": "202"}', 2),
        (b'{"area_code": "202", "quantity": 2, "quantity": null}', 10),
    ],
)
def test_of_duplicate_members_the_last_counts(client: httpx.Client, body: bytes, count: int) -> None:
    assert len(found(send(client, body))) == count


@pytest.mark.parametrize("body", [b'{"quantity": 2, "quantity": 0}', b'{"quantity": 2, "quantity": "2"}'])
def test_of_duplicate_members_a_bad_last_one_is_422(client: httpx.Client, body: bytes) -> None:
    assert assert_error(send(client, body), 422)["details"] == {"quantity": PHRASES["quantity"]}


def test_query_parameters_are_ignored(client: httpx.Client) -> None:
    response = client.post(
        f"{SEARCH}?quantity=0&area_code=x&limit=-1", json={"area_code": "207", "quantity": 3}
    )

    assert len(found(response)) == 3


# What is found


def test_an_empty_object_searches_all_area_codes_for_ten_numbers(client: httpx.Client) -> None:
    assert len(found(send(client, b"{}"))) == 10


def test_an_area_code_finds_its_numbers_and_no_others(client: httpx.Client) -> None:
    assert found(search(client, area_code="207", quantity=100)) == DOZEN
    assert found(search(client, area_code="203", quantity=100)) == VARIED


@pytest.mark.parametrize(
    ("quantity", "count"), [(None, 10), (1, 1), (11, 11), (99, 99), (100, 100), (101, 100), (10**30, 100)]
)
def test_as_many_as_wanted_come_and_never_more_than_100(
    client: httpx.Client, quantity: int | None, count: int
) -> None:
    numbers = found(search(client, area_code="202", quantity=quantity))

    assert len(numbers) == count
    assert set(numbers) <= set(MANY)


@pytest.mark.parametrize(
    "pattern",
    [
        *("1", "+", "+1", "+12", "+1203", "12", "120", "1203", "203", "2035", "03555", "35550", "555"),
        *("0142", "01", "7654321", "12037654321", "+12037654321", "2035550199", "9", "99999", "9999999"),
        *("203203", "32030", "35", "0203", "2", "3", "+1203555", "12035552035"),
        # Nothing in stock has these.
        *("+2", "+3", "+203", "888888", "00000", "13", "+12037654322", "999999999999", "21203"),
    ],
)
def test_a_pattern_is_a_substring_of_the_e164_text_from_the_plus_to_the_last_digit(
    client: httpx.Client, pattern: str
) -> None:
    expected = [number for number in VARIED if pattern in number]

    assert found(search(client, area_code="203", pattern=pattern, quantity=100)) == expected


@pytest.mark.parametrize("number", [MANY[0], MANY[77], MANY[149], *VARIED, DOZEN[5], *TOLL_FREE])
def test_every_number_is_found_by_its_own_text_with_or_without_its_area_code(
    client: httpx.Client, number: str
) -> None:
    for pattern in (number, number[1:]):
        assert found(search(client, pattern=pattern)) == [number]
        assert found(search(client, pattern=pattern, area_code=number[2:5], quantity=1)) == [number]
    assert number in found(search(client, pattern=number[2:], quantity=100))


def test_all_numbers_of_an_area_code_can_be_found_though_an_answer_holds_100(client: httpx.Client) -> None:
    blocks = [found(search(client, pattern=f"+12022340{digit}", quantity=100)) for digit in "01"]

    assert blocks == [MANY[:100], MANY[100:]]


def test_a_type_finds_its_numbers_only(client: httpx.Client) -> None:
    assert found(search(client, number_type="toll_free", area_code="888", quantity=100)) == TOLL_FREE
    assert found(search(client, number_type="local", area_code="207", quantity=100)) == DOZEN
    across = found(search(client, number_type="toll_free", pattern="5550142", quantity=100))
    assert "+18885550142" in across
    assert "+12035550142" not in across
    across = found(search(client, number_type="local", pattern="5550142", quantity=100))
    assert "+12035550142" in across
    assert "+18885550142" not in across


@pytest.mark.parametrize(
    "members",
    [
        {"area_code": "299"},
        {"area_code": "888", "number_type": "local"},
        {"area_code": "202", "number_type": "toll_free"},
        {"number_type": "short_code"},
        {"number_type": "short_code", "area_code": "202", "pattern": "1"},
        {"area_code": "202", "pattern": "+1203"},
        {"area_code": "207", "pattern": "9999999", "quantity": 100},
    ],
)
def test_what_matches_nothing_gives_an_empty_list_and_no_filter_is_dropped(
    client: httpx.Client, members: dict[str, Any]
) -> None:
    assert found(search(client, **members)) == []


def test_a_search_reserves_nothing(client: httpx.Client) -> None:
    searches = [found(search(client, area_code="207", quantity=100)) for _ in range(5)]

    assert searches == [DOZEN] * 5


# Bodies that are none


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"\r\n\t",
        b"x",
        b"{",
        b"}",
        b'{"area_code": "202"',
        b'{"area_code": "20',
        b'{"area_code"',
        b'{"area_code":}',
        b'{"quantity": 1,}',
        b"{'quantity': 1}",
        b"{quantity: 1}",
        b'{"quantity": 01}',
        b'{"quantity": +1}',
        b'{"quantity": NaN}',
        b'{"quantity": Infinity}',
        b'{"quantity": 1} {}',
        b"{}x",
        b"{} // that is all",
        b"[]",
        b'[{"area_code": "202"}]',
        b"null",
        b"true",
        b"1",
        b'"{}"',
        b"\xef\xbb\xbf{}",
        b"\xef\xbb\xbf",
        "{}".encode("utf-16"),
        "{}".encode("utf-32-be"),
        b'{"pattern": "\xff"}',
        b'{"pattern": "1\xc3"}',
        b'{"pattern": "\xed\xa0\x80"}',
        b'{"pattern": "\xc0\xb1"}',
        b'{"caf\xe9": 1}',
        b"\x00",
        b"\x00{}",
        b"{}\x00",
        b'{"pattern": "1\x00"}',
        b'{"pattern": "\n"}',
        rb'{"pattern": "\ud800"}',
        rb'{"pattern": "\udc00\ud800"}',
        rb'{"\ud800": 1}',
        rb'{"pattern": "\x31"}',
        rb'{"pattern": "\u12"}',
    ],
)
def test_a_body_that_is_no_json_object_is_400(client: httpx.Client, body: bytes) -> None:
    assert_error(send(client, body), 400)


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
        b"[" * 30_000 + b"]" * 30_000,
        b'{"pattern": ' + b"[" * 30_000 + b"]" * 30_000 + b"}",
        b'{"pattern": ' + b"[" * 60_000,
    ],
    ids=["objects", "lists", "lists in a field", "never closed"],
)
def test_a_body_that_is_nested_too_deeply_is_400_and_does_no_harm(client: httpx.Client, body: bytes) -> None:
    assert_error(send(client, body), 400)
    found(send(client, b"{}"))


def test_escaped_characters_are_json_but_break_the_rule(client: httpx.Client) -> None:
    details = assert_error(send(client, rb'{"pattern": "\u0000", "\u0000": 1}'), 422)["details"]

    assert details == {"pattern": PHRASES["pattern"], "\x00": UNKNOWN}


def test_escapes_and_white_space_are_as_good_as_plain_text(client: httpx.Client) -> None:
    body = b' \r\n\t{ "area\\u005fcode" : "\\u0032\\u00307" , "quantity":\n100 } \n'

    assert found(send(client, body)) == DOZEN


# Size and type


def test_a_body_of_64_kib_is_read_and_one_byte_more_is_413(client: httpx.Client) -> None:
    body = b'{"quantity": 1}'.ljust(64 * 1024)

    assert len(found(send(client, body))) == 1
    assert_error(send(client, body + b" "), 413)
    assert_error(send(client, b"x" * 1_000_000), 413)


def test_the_limit_holds_for_a_body_that_comes_in_chunks_without_a_length(client: httpx.Client) -> None:
    def post(size: int) -> httpx.Response:
        body = b'{"quantity": 1}'.ljust(size)
        chunks = (body[begin : begin + 8192] for begin in range(0, size, 8192))
        response = client.post(SEARCH, content=chunks)
        assert response.request.headers["transfer-encoding"] == "chunked"
        return response

    assert len(found(post(64 * 1024))) == 1
    assert_error(post(64 * 1024 + 1), 413)


@pytest.mark.parametrize(
    "content_type",
    [
        None,
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        "application/json;charset=UTF-8",
        'application/json ; charset="utf-8"; x=y',
        "application/json;",
        "application/vnd.api+json",
    ],
)
def test_json_is_taken_under_its_names_and_without_a_content_type(
    client: httpx.Client, content_type: str | None
) -> None:
    request = client.build_request("POST", SEARCH, content=b'{"area_code": "207", "quantity": 2}')
    assert "content-type" not in request.headers
    if content_type is not None:
        request.headers["Content-Type"] = content_type

    assert len(found(client.send(request))) == 2


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "text/json",
        "text/html",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/xml",
        "application/octet-stream",
        "application/msgpack",
        "application/x-msgpack",
        "application/jsonp",
        "application",
        "json",
        "*/*",
    ],
)
def test_another_content_type_is_415_even_if_the_body_is_json(
    client: httpx.Client, content_type: str
) -> None:
    assert_error(send(client, b"{}", **{"Content-Type": content_type}), 415)


def test_a_body_in_a_binary_encoding_is_415(client: httpx.Client) -> None:
    body = msgspec.msgpack.encode({"quantity": 1})

    assert_error(send(client, body, **{"Content-Type": "application/vnd.msgpack"}), 415)
