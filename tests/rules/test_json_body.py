import json
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import example, given, strategies as st
from msgspec import Meta, Struct

from api.bulk import BulkOrderRequest
from api.errors import InvalidInput, ValidationFailed
from api.json_body import PatchBody, decode_body
from api.numbers import NumberChanges, ReleaseRequest
from api.orders import OrderRequest
from api.search import SearchRequest

Name = Annotated[str, Meta(min_length=1, max_length=5, extra={"must": "be 1-5 characters"})]
Count = Annotated[int, Meta(ge=1, le=9, extra={"must": "be an integer of 1-9"})]
Flag = Annotated[bool, Meta(extra={"must": "be true or false"})]


class Order(Struct, frozen=True, forbid_unknown_fields=True):
    """A body with members that are required, renamed and optional."""

    name: Name
    count: Count = msgspec.field(name="howMany")
    flag: Flag | None = None


Letter = Annotated[str, Meta(pattern=r"^[a-z]$(?!\n)", extra={"must": "be a letter"})]


class Basket(Struct, frozen=True, forbid_unknown_fields=True):
    """A body with a list in which none may come twice, and one in which each may."""

    unique: Annotated[
        list[Letter], Meta(min_length=1, max_length=4, extra={"must": "be 1-4 letters", "unique": True})
    ]
    repeated: Annotated[list[Letter], Meta(max_length=4, extra={"must": "be up to 4 letters"})] = []


class Changes(PatchBody, frozen=True, forbid_unknown_fields=True):
    """A body that changes what is there."""

    name: Name | None = None


WANTED = (Order, Basket, SearchRequest, OrderRequest, BulkOrderRequest, ReleaseRequest)
PATCHES = (Changes, NumberChanges)

PHRASES = {
    "name": "must be 1-5 characters",
    "howMany": "must be an integer of 1-9",
    "flag": "must be true or false",
}
REQUIRED = ("name", "howMany")
UNKNOWN = "is not a known field"

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=5,
)
not_objects = values.filter(lambda value: not isinstance(value, dict))
members = st.dictionaries(
    st.sampled_from(["name", "howMany", "flag", "count", "area_code", "pattern", "quantity"]) | st.text(),
    values | st.sampled_from(["abc", 5, True, "415"]),
    max_size=6,
)

good = {
    "name": st.text(min_size=1, max_size=5),
    "howMany": st.integers(1, 9),
    "flag": st.booleans() | st.none(),
}
bad: dict[str, st.SearchStrategy[Any]] = {
    "name": st.none()
    | st.booleans()
    | st.integers()
    | st.just("")
    | st.text(min_size=6)
    | st.lists(st.text()),
    "howMany": st.none()
    | st.booleans()
    | st.text()
    | st.floats(1, 9)
    | st.lists(st.integers())
    | st.integers(max_value=0)
    | st.integers(min_value=10),
    "flag": st.integers() | st.text() | st.floats(0, 1) | st.lists(st.booleans()) | st.just({}),
}


def encoded(value: Any) -> bytes:
    return json.dumps(value).encode()


def outcome(body: bytes, wanted: type[Struct]) -> Struct | InvalidInput | ValidationFailed:
    """Give what comes of a body; anything else that is raised fails the test."""
    try:
        return decode_body(body, wanted)
    except (InvalidInput, ValidationFailed) as error:
        return error


def refused(body: bytes, wanted: type[Struct] = Order) -> dict[str, str]:
    with pytest.raises(ValidationFailed) as refusal:
        decode_body(body, wanted)
    assert (refusal.value.status, refusal.value.code) == (422, "VALIDATION_FAILED")
    return refusal.value.details


@given(st.binary())
@example(b"")
@example(b"\xef\xbb\xbf{}")
@example(b'{"name": "\xff"}')
@example(b'{"\xff": 1}')
@example(b'{"name": "\\ud800"}')
@example(b'{"howMany": 1e999}')
@example(b'{"howMany": ' + b"9" * 5000 + b"}")
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"name": ' + b"[" * 5000 + b"]" * 5000 + b"}")
def test_any_bytes_are_a_struct_or_one_of_two_refusals(body: bytes) -> None:
    for wanted in (*WANTED, *PATCHES):
        came = outcome(body, wanted)
        if isinstance(came, ValidationFailed):
            assert came.details
        elif isinstance(came, InvalidInput):
            assert not came.details or wanted in PATCHES
        else:
            assert isinstance(came, wanted)


@given(values | members)
def test_any_json_is_a_struct_or_one_of_two_refusals(value: Any) -> None:
    for wanted in (*WANTED, *PATCHES):
        came = outcome(encoded(value), wanted)
        assert isinstance(came, (wanted, InvalidInput, ValidationFailed))
        if wanted in WANTED:
            assert isinstance(came, InvalidInput) is not isinstance(value, dict)


@given(not_objects)
def test_json_that_is_no_object_is_invalid_input(value: Any) -> None:
    for wanted in (*WANTED, *PATCHES):
        with pytest.raises(InvalidInput):
            decode_body(encoded(value), wanted)


@given(members, st.data())
def test_a_truncated_object_is_invalid_input(value: dict[str, Any], data: st.DataObject) -> None:
    body = encoded(value)
    length = data.draw(st.integers(0, len(body) - 1))

    for wanted in (*WANTED, *PATCHES):
        with pytest.raises(InvalidInput):
            decode_body(body[:length], wanted)


@given(st.fixed_dictionaries({name: good[name] for name in REQUIRED}, optional={"flag": good["flag"]}))
def test_a_good_object_becomes_the_struct_with_its_values(value: dict[str, Any]) -> None:
    order = decode_body(encoded(value), Order)

    assert order == Order(name=value["name"], count=value["howMany"], flag=value.get("flag"))


@given(st.data())
def test_the_details_name_exactly_the_fields_that_fail_each_with_its_phrase(data: st.DataObject) -> None:
    value: dict[str, Any] = {}
    expected: dict[str, str] = {}
    for name, phrase in PHRASES.items():
        match data.draw(st.sampled_from(["good", "bad", "absent"])):
            case "good":
                value[name] = data.draw(good[name])
            case "bad":
                value[name] = data.draw(bad[name])
                expected[name] = phrase
            case "absent" if name in REQUIRED:
                expected[name] = "is required"
    unknown = data.draw(st.lists(st.text(max_size=100).filter(lambda name: name not in PHRASES), max_size=3))
    value |= dict.fromkeys(unknown, 1)
    expected |= dict.fromkeys(unknown, UNKNOWN)
    # In any order.
    body = encoded(dict(data.draw(st.permutations(list(value.items())))))

    if expected:
        assert refused(body) == expected
    else:
        assert isinstance(decode_body(body, Order), Order)


@given(bad["name"] | good["name"], good["name"])
def test_of_duplicate_members_the_last_counts(first: Any, last: str) -> None:
    body = f'{{"name": {json.dumps(first)}, "howMany": 1, "name": {json.dumps(last)}}}'.encode()

    assert decode_body(body, Order) == Order(name=last, count=1)


@given(good["name"], bad["name"])
def test_of_duplicate_members_a_bad_last_one_is_refused(first: str, last: Any) -> None:
    body = f'{{"name": {json.dumps(first)}, "howMany": 1, "name": {json.dumps(last)}}}'.encode()

    assert refused(body) == {"name": PHRASES["name"]}


def test_a_required_member_may_not_be_null_and_an_optional_one_may() -> None:
    assert refused(b'{"name": null, "howMany": 1, "flag": null}') == {"name": PHRASES["name"]}
    assert decode_body(b'{"name": "a", "howMany": 1, "flag": null}', Order) == Order(name="a", count=1)


def test_the_name_in_python_is_not_the_name_on_the_wire() -> None:
    assert refused(b'{"name": "a", "count": 1}') == {"count": UNKNOWN, "howMany": "is required"}


letters = st.sampled_from("abcd")
not_letters = (
    st.sampled_from(["", "ab", "A", "a\n"]) | st.none() | st.integers() | st.lists(letters) | st.booleans()
)


def repetitions(name: str, items: list[Any]) -> dict[str, str]:
    """Give what there is to say of texts that came before."""
    return {
        f"{name}.{place}": f"is the same as {name}.{items.index(item)}"
        for place, item in enumerate(items)
        if isinstance(item, str) and items.index(item) != place
    }


@given(
    st.lists(letters | not_letters, min_size=1, max_size=4),
    st.lists(letters | not_letters, max_size=4),
)
@example(["a", "b", "a"], ["a", "a"])
@example(["A", "A"], [])
def test_the_items_of_a_list_that_fail_are_named_by_their_places(
    unique: list[Any], repeated: list[Any]
) -> None:
    expected = {
        f"{name}.{place}": "must be a letter"
        for name, items in (("unique", unique), ("repeated", repeated))
        for place, item in enumerate(items)
        if not (isinstance(item, str) and len(item) == 1 and item.islower())
    } | repetitions("unique", unique)
    body = encoded({"unique": unique, "repeated": repeated})

    if expected:
        assert refused(body, Basket) == expected
    else:
        assert decode_body(body, Basket) == Basket(unique, repeated)


@given(not_letters | letters | st.just({}) | st.just([]) | st.lists(letters, min_size=5))
def test_a_list_that_is_none_or_of_a_wrong_length_is_named_itself(value: Any) -> None:
    if isinstance(value, list) and 1 <= len(value) <= 4:
        return
    assert refused(encoded({"unique": value}), Basket) == {"unique": "must be 1-4 letters"}


def test_all_lists_and_fields_that_fail_are_named_at_once() -> None:
    assert refused(b'{"unique": ["a", 1, "a"], "repeated": ["a", "b", "c", "d", "e"], "x": 1}', Basket) == {
        "unique.1": "must be a letter",
        "unique.2": "is the same as unique.0",
        "repeated": "must be up to 4 letters",
        "x": UNKNOWN,
    }


def test_what_a_change_cannot_change_is_invalid_input_and_named_whatever_else_is_wrong() -> None:
    for body in (b'{"id": 1}', b'{"id": null, "name": "abc"}', b'{"name": 5, "id": "x"}'):
        with pytest.raises(InvalidInput) as refusal:
            decode_body(body, Changes)
        assert refusal.value.details == {"id": "cannot be changed"}


def test_a_change_of_what_can_be_changed_is_like_any_body() -> None:
    assert decode_body(b'{"name": null}', Changes) == decode_body(b"{}", Changes) == Changes()
    assert refused(b'{"name": 5}', Changes) == {"name": PHRASES["name"]}


def test_a_long_unknown_name_is_cut() -> None:
    [name] = refused(encoded({"name": "a", "howMany": 1, "x" * 5000: 1}))

    assert name == "x" * 100


def test_a_field_without_a_phrase_is_a_mistake_of_ours_and_not_the_callers() -> None:
    class Unphrased(Struct):
        name: str

    with pytest.raises(TypeError, match="has no phrase"):
        decode_body(b'{"name": 1}', Unphrased)


@given(st.integers(min_value=1))
def test_an_integer_of_any_size_is_a_quantity(quantity: int) -> None:
    request = decode_body(encoded({"quantity": quantity}), SearchRequest)

    assert isinstance(request, SearchRequest)
    assert request.quantity == quantity
    assert type(request.quantity) is int


@given(st.text() | st.text(alphabet="+0123456789\n\N{ARABIC-INDIC DIGIT THREE}", max_size=14))
def test_a_pattern_is_taken_if_and_only_if_it_follows_the_contract(pattern: str) -> None:
    digits = pattern.removeprefix("+")
    is_good = 1 <= len(pattern) <= 12 and set(digits) <= set("0123456789")
    assert accepts({"pattern": pattern}) is is_good


@given(st.text(alphabet="0123456789\n\N{ARABIC-INDIC DIGIT THREE}+", max_size=5))
def test_an_area_code_is_taken_if_and_only_if_it_follows_the_contract(area_code: str) -> None:
    is_good = len(area_code) == 3 and area_code[0] in "23456789" and set(area_code) <= set("0123456789")
    assert accepts({"area_code": area_code}) is is_good


def accepts(value: dict[str, Any]) -> bool:
    came = outcome(encoded(value), SearchRequest)
    if isinstance(came, ValidationFailed):
        assert set(came.details) == set(value)
    return isinstance(came, SearchRequest)
