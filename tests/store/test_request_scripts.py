"""An Idempotency-Key of a request that is no order: who has the request in hand, and what becomes of it."""

import pytest

from shared import store_keys
from shared.atomic.request_operations import Begun, Repeated, Running, begin_request, end_request
from shared.atomic.requests import RequestKey, RequestKeyReused
from shared.store import Store
from tests.store.ordering import MINUTE_MS, ORGANIZATION, REQUEST

KEY = store_keys.idempotency(ORGANIZATION, REQUEST.digest)


async def begin(
    store: Store, new_id: str, request: RequestKey = REQUEST, allowed_ms: int = MINUTE_MS
) -> Begun | Running | Repeated:
    return await begin_request(store, ORGANIZATION, request, new_id, allowed_ms)


async def begun(store: Store, new_id: str, allowed_ms: int = MINUTE_MS) -> Begun:
    attempt = await begin(store, new_id, allowed_ms=allowed_ms)
    assert isinstance(attempt, Begun)
    return attempt


async def let_it_be_late(store: Store, attempt: Begun) -> Begun:
    """Let an attempt's time be over."""
    await store.execute("HSET", KEY, "deadline_ms", 1)
    return attempt._replace(deadline=b"1")


async def test_while_one_has_a_request_in_hand_nobody_else_gets_it(store: Store) -> None:
    first = await begun(store, "one")

    assert (first.id, first.is_resumed) == ("one", False)
    assert isinstance(await begin(store, "two"), Running)
    assert 86_000 < await store.execute("TTL", KEY) <= 86_400


async def test_the_answer_is_everybodys_from_then_on(store: Store) -> None:
    assert await end_request(store, ORGANIZATION, REQUEST, await begun(store, "one"), b"\x00answer")

    for _ in range(2):
        assert await begin(store, "two") == Repeated(b"\x00answer")


async def test_another_request_with_the_same_key_is_refused_before_and_after_the_answer(store: Store) -> None:
    other = REQUEST._replace(fingerprint="other")
    attempt = await begun(store, "one")
    with pytest.raises(RequestKeyReused):
        await begin(store, "two", other)
    await end_request(store, ORGANIZATION, REQUEST, attempt, b"answer")
    with pytest.raises(RequestKeyReused):
        await begin(store, "two", other)


async def test_a_request_that_was_refused_leaves_its_key_free_for_any_other(store: Store) -> None:
    assert await end_request(store, ORGANIZATION, REQUEST, await begun(store, "one"), b"")

    assert await store.execute("EXISTS", KEY) == 0
    other = await begin(store, "two", REQUEST._replace(fingerprint="other"))
    assert isinstance(other, Begun)
    assert (other.id, other.is_resumed) == ("two", False)


async def test_who_takes_a_request_over_makes_what_the_first_was_to_make(store: Store) -> None:
    await let_it_be_late(store, await begun(store, "one"))

    second = await begun(store, "two")

    assert (second.id, second.is_resumed) == ("one", True)
    assert isinstance(await begin(store, "three"), Running)


@pytest.mark.parametrize("answer", [b"", b"late"])
async def test_an_attempt_that_was_taken_over_neither_answers_nor_frees_the_key(
    store: Store, answer: bytes
) -> None:
    first = await let_it_be_late(store, await begun(store, "one"))
    second = await begun(store, "two")

    assert not await end_request(store, ORGANIZATION, REQUEST, first, answer)
    assert await end_request(store, ORGANIZATION, REQUEST, second, b"answer")
    assert not await end_request(store, ORGANIZATION, REQUEST, first, answer)

    assert await begin(store, "three") == Repeated(b"answer")
