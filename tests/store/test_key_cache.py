import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from api import key_cache
from api.key_cache import KeyCache, TooManyStrangers
from api.key_uses import KeyUses
from shared import store_keys
from shared.api_keys import ApiKey, Scope, Wanted, create_api_key, read_api_key, revoke_api_key
from shared.key_secrets import new_secret
from shared.settings import Settings
from shared.store import Argument, Store, StoreUnavailable
from tests.futures import returns_future

STRANGERS = 50


class SlowLine(Store):
    """A store whose answers about keys are held back, on their way, while the gate is shut."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_seconds=5)
        self.gate = asyncio.Event()
        self.gate.set()
        self.held = asyncio.Event()
        self.answers = 0
        self.fails = False

    @returns_future
    async def execute_many(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        replies = await super().execute_many(commands)
        # A secret that is known leads to a record, which is asked for with what belongs to it.
        if len(commands) > 1:
            self.answers += 1
            self.held.set()
            await self.gate.wait()
        if self.fails:
            raise StoreUnavailable("cut")
        return replies


@pytest.fixture
async def line(store: Store, valkey: str) -> AsyncIterator[SlowLine]:  # noqa: ARG001 - it is emptied
    line = SlowLine(valkey)
    yield line
    await line.close()


async def made(store: Store) -> tuple[str, ApiKey]:
    secret = new_secret()
    return secret, await create_api_key(store, "acme", Wanted((Scope.NUMBERS_READ,)), secret)


def cache_of(store: Store, seconds: float = 3600) -> KeyCache:
    return KeyCache(store, Settings(key_cache_seconds=seconds))


async def test_a_key_is_asked_for_once_and_then_believed(store: Store, line: SlowLine) -> None:
    secret, key = await made(store)
    keys = cache_of(line)

    found = await asyncio.gather(*[keys.find(secret) for _ in range(100)])
    found += [await keys.find(secret) for _ in range(100)]

    assert {caller and caller.key.id for caller in found} == {key.id}
    assert line.answers == 1


async def test_an_answer_that_was_under_way_when_the_key_changed_lets_nobody_in(
    store: Store, line: SlowLine
) -> None:
    secret, key = await made(store)
    keys = cache_of(line)
    line.gate.clear()
    waiting = [asyncio.create_task(keys.find(secret)) for _ in range(3)]
    await line.held.wait()

    await revoke_api_key(store, "acme", key.id)
    keys.forget(key.id)
    line.gate.set()

    assert await asyncio.gather(*waiting) == [None] * 3
    assert await keys.find(secret) is None


async def test_the_change_of_another_key_disturbs_no_question(store: Store, line: SlowLine) -> None:
    secret, _ = await made(store)
    _, other = await made(store)
    keys = cache_of(line)
    line.gate.clear()
    waiting = asyncio.create_task(keys.find(secret))
    await line.held.wait()

    keys.forget(other.id)
    line.gate.set()

    assert await waiting is not None
    assert await keys.find(secret) is not None
    assert line.answers == 1


async def test_who_comes_when_an_answer_is_older_than_it_may_be_is_not_let_in_by_it(
    store: Store, line: SlowLine
) -> None:
    secret, key = await made(store)
    # No word of the change comes: the link is cut. What is believed is over before anybody can ask again.
    keys = cache_of(line, 1e-9)
    line.gate.clear()
    early = asyncio.create_task(keys.find(secret))
    await line.held.wait()
    await revoke_api_key(store, "acme", key.id)
    line.held.clear()

    late = asyncio.create_task(keys.find(secret))
    await line.held.wait()
    line.gate.set()

    assert await early is not None
    assert await late is None
    assert await keys.find(secret) is None


async def test_who_goes_away_takes_nobody_elses_answer(store: Store, line: SlowLine) -> None:
    secret, key = await made(store)
    keys = cache_of(line)
    line.gate.clear()
    first, second = (asyncio.create_task(keys.find(secret)) for _ in range(2))
    await line.held.wait()

    first.cancel()
    line.gate.set()

    found = await second
    assert found is not None
    assert found.key.id == key.id
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_store_that_does_not_answer_is_told_to_all_who_wait_and_nothing_is_believed_of_it(
    store: Store, line: SlowLine
) -> None:
    secret, _ = await made(store)
    keys = cache_of(line)
    line.fails = True

    answers = await asyncio.gather(*[keys.find(secret) for _ in range(5)], return_exceptions=True)
    line.fails = False

    assert [type(answer) for answer in answers] == [StoreUnavailable] * 5
    assert await keys.find(secret) is not None


async def test_strangers_are_looked_up_so_often_and_who_is_known_is_not_turned_away_with_them(
    store: Store, line: SlowLine
) -> None:
    secret, _ = await made(store)
    keys = cache_of(line)
    assert await keys.find(secret) is not None

    answers = [
        answer
        for _ in range(20)
        for answer in await asyncio.gather(
            *[keys.find(new_secret()) for _ in range(100)], return_exceptions=True
        )
    ]

    turned_away = [answer for answer in answers if isinstance(answer, TooManyStrangers)]
    assert all(answer is None or isinstance(answer, TooManyStrangers) for answer in answers)
    assert len(answers) - len(turned_away) < 2 * STRANGERS
    assert await keys.find(secret) is not None


async def test_new_keys_that_are_good_use_nothing_up(store: Store, line: SlowLine) -> None:
    keys = cache_of(line)
    for _ in range(2 * STRANGERS):
        secret, _ = await made(store)
        assert await keys.find(secret) is not None


async def test_what_is_remembered_is_bounded_and_strangers_push_nobody_out(
    store: Store, line: SlowLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_cache, "_MAX_ENTRIES", 5)
    keys = cache_of(line)
    good = [(await made(store))[0] for _ in range(5)]
    for secret in good:
        await keys.find(secret)
    for _ in range(20):
        assert await keys.find(new_secret()) is None
    asked = line.answers

    assert all([await keys.find(secret) for secret in good])
    assert line.answers == asked
    assert len(keys._callers) == len(keys._strangers) == 5
    assert not keys._questions

    newest, _ = await made(store)
    assert await keys.find(newest) is not None
    assert len(keys._callers) == 5


# When keys were last used


async def used_ms(store: Store, key: ApiKey) -> int | None:
    found = await read_api_key(store, key.org_id, key.id)
    assert found is not None
    return found.last_used_ms


async def test_what_the_store_did_not_hear_it_is_told_again_with_the_time_of_the_use(store: Store) -> None:
    _, key = await made(store)
    uses = KeyUses(gone := Store("redis://127.0.0.1:1/0", 1))
    seconds, _ = await store.execute("TIME")
    uses.note(key)
    await uses.tell()
    await gone.close()
    assert await used_ms(store, key) is None

    uses._store = store
    await uses.tell()

    told = await used_ms(store, key)
    assert told is not None
    assert int(seconds) * 1000 <= told <= int(seconds) * 1000 + 5000
    assert uses._used == {}


async def test_a_use_is_told_once_and_a_refusal_of_the_store_ends_nothing(store: Store) -> None:
    _, key = await made(store)
    uses = KeyUses(store)
    await store.execute("SET", store_keys.api_key_uses("acme"), "no hash")
    uses.note(key)
    await uses.tell()
    await store.execute("DEL", store_keys.api_key_uses("acme"))
    await uses.tell()
    first = await used_ms(store, key)
    assert first is not None

    await store.execute("DEL", store_keys.api_key_uses("acme"))
    await uses.tell()

    assert await used_ms(store, key) is None
