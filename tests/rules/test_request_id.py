"""The ID of a request is a ULID: python-ulid, which is slower, reads it and agrees."""

import time

import pytest
from hypothesis import given, strategies as st
from ulid import ULID

from api.request_id import new_request_id


def test_an_id_has_the_time_at_which_it_was_made() -> None:
    before_ms = time.time_ns() // 1_000_000

    text = new_request_id()

    assert len(text) == 26
    ulid = ULID.from_str(text)
    assert str(ulid) == text
    assert before_ms <= ulid.milliseconds <= time.time_ns() // 1_000_000


@given(st.integers(0, 2**48 - 1))
def test_any_time_is_encoded_as_python_ulid_does(ms: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.request_id.time.time_ns", lambda: ms * 1_000_000)

        text = new_request_id()

    assert ULID.from_str(text).milliseconds == ms


def test_ids_are_unique_and_use_all_80_random_bits() -> None:
    ids = [new_request_id() for _ in range(100_000)]

    assert len(set(ids)) == len(ids)
    randomness = [int.from_bytes(ULID.from_str(text).bytes[6:], "big") for text in ids[:1000]]
    ones = zeros = 0
    for value in randomness:
        ones |= value
        zeros |= ~value
    assert ones == 2**80 - 1
    assert zeros & (2**80 - 1) == 2**80 - 1


def test_ids_sort_by_their_milliseconds() -> None:
    earlier = new_request_id()
    time.sleep(0.002)

    assert earlier < new_request_id()
