"""The relay of events: once each, in order, whoever relays and however late."""

import asyncio
from collections.abc import Iterable
from itertools import pairwise

import pytest

from shared import clock, store_keys
from shared.atomic.area_operations import confirm, hold
from shared.atomic.event_operations import MAX_ENTRIES_PER_CALL, relay_events
from shared.number_events import Entry, reading_after
from shared.settings import Settings
from shared.store import Store
from tests.support import put_in_stock
from worker.relay import relay_once

SETTINGS = Settings()
DAY_MS = 86_400_000
ORDER = "0190f0a0-0000-7000-8000-000000000001"


async def write(store: Store, area_code: str, count: int, first: int = 0) -> list[bytes]:
    """Write events into an area code's stream, numbered from `first`; give their ids."""
    await store.execute("SADD", store_keys.AREAS, area_code)
    return await store.execute_many(
        [
            ("XADD", store_keys.events(area_code), "*", "number", f"+1{area_code}{5550000 + place}")
            for place in range(first, first + count)
        ]
    )


async def entries_of(store: Store, key: str) -> list[Entry]:
    entries: list[Entry] = await store.execute("XRANGE", key, "-", "+")
    return entries


async def relayed(store: Store, area_code: str | None = None) -> list[dict[bytes, bytes]]:
    """Give what other services read, of one area code or of all."""
    fields = [fields for _, fields in await entries_of(store, store_keys.NUMBER_EVENTS)]
    return [item for item in fields if area_code is None or item[b"area_code"] == area_code.encode()]


def ids(relayed: Iterable[dict[bytes, bytes]]) -> list[bytes]:
    return [fields[b"id"] for fields in relayed]


async def write_at(store: Store, key: str, *times_ms: int) -> None:
    """Write entries of other times than now; times must grow."""
    for time_ms in times_ms:
        await store.execute("XADD", key, f"{time_ms}-1", "number", "+14155550123")


async def test_nothing_to_relay_leaves_no_trace(store: Store) -> None:
    assert await relay_once(store, SETTINGS) == 0
    await put_in_stock(store, "415", [5_550_123])
    assert await relay_once(store, SETTINGS) == 0
    assert await store.execute("EXISTS", store_keys.NUMBER_EVENTS, store_keys.EVENTS_RELAYED) == 0


async def test_an_event_is_relayed_with_all_its_fields_its_area_code_and_its_id(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123])
    number = "+14155550123"
    deadline_ms = await clock.now_ms(store) + 60_000
    await hold(store, "415", ORDER, 1, "acme", deadline_ms, [number])
    await confirm(store, "415", ORDER, [number])

    assert await relay_once(store, SETTINGS) == 2

    origin = await entries_of(store, store_keys.events("415"))
    assert await relayed(store) == [
        {b"area_code": b"415", b"id": entry_id, **fields} for entry_id, fields in origin
    ]
    held, assigned = await relayed(store)
    assert (held[b"from"], held[b"to"], assigned[b"to"]) == (b"available", b"held", b"assigned")
    assert (held[b"number"], held[b"order"]) == (number.encode(), ORDER.encode())


async def test_what_was_relayed_is_not_relayed_again(store: Store) -> None:
    first = await write(store, "415", 3)
    assert await relay_once(store, SETTINGS) == 3
    assert await relay_once(store, SETTINGS) == 0
    later = await write(store, "415", 2)
    other = await write(store, "212", 1)

    assert await relay_once(store, SETTINGS) == 3
    assert ids(await relayed(store, "415")) == first + later
    assert ids(await relayed(store, "212")) == other


async def test_a_backlog_of_many_calls_is_relayed_at_once_and_in_order(store: Store) -> None:
    count = 2 * MAX_ENTRIES_PER_CALL + 7
    long = await write(store, "415", count)
    exact = await write(store, "212", MAX_ENTRIES_PER_CALL)

    assert await relay_once(store, SETTINGS) == count + MAX_ENTRIES_PER_CALL
    assert ids(await relayed(store, "415")) == long
    assert ids(await relayed(store, "212")) == exact


async def test_a_long_backlog_lets_the_other_area_codes_pass(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.relay.MAX_ENTRIES_PER_CALL", 5)
    area_codes = [str(area_code) for area_code in range(300, 330)]
    await write(store, "300", 100)
    for area_code in area_codes[1:]:
        await write(store, area_code, 1)

    await relay_once(store, SETTINGS)

    # Each has had its turn before any had a second one.
    seen = [fields[b"area_code"].decode() for fields in await relayed(store)]
    assert set(seen[: 5 + len(area_codes) - 1]) == set(area_codes)
    assert len(seen) == 100 + len(area_codes) - 1


async def test_no_event_is_repeated_or_out_of_order_when_many_relay_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.relay.MAX_ENTRIES_PER_CALL", 3)
    area_codes = ("415", "212", "604")

    async def keep_relaying() -> None:
        for _ in range(20):
            await relay_once(store, SETTINGS)

    async def keep_writing() -> None:
        for first in range(0, 200, 10):
            for area_code in area_codes:
                await write(store, area_code, 10, first)

    await asyncio.gather(keep_writing(), *(keep_relaying() for _ in range(4)))
    await relay_once(store, SETTINGS)

    for area_code in area_codes:
        origin = await entries_of(store, store_keys.events(area_code))
        assert len(origin) == 200
        assert ids(await relayed(store, area_code)) == [entry_id for entry_id, _ in origin]


async def test_a_relay_that_wakes_up_late_writes_nothing(store: Store) -> None:
    await write(store, "415", 3)
    read_then: list[Entry] = await store.execute(*reading_after("415", b"", 100))
    await relay_once(store, SETTINGS)
    before = await relayed(store)

    assert await relay_events(store, "415", b"", read_then) == 0
    assert await relay_events(store, "415", read_then[0][0], read_then[1:]) == 0
    assert await relayed(store) == before

    newest = read_then[-1][0]
    await write(store, "415", 1)
    news: list[Entry] = await store.execute(*reading_after("415", newest, 100))
    assert await relay_events(store, "415", newest, news) == 1
    assert await relay_events(store, "415", newest, news) == 0
    assert len(await relayed(store)) == 4


async def test_a_relay_that_dies_between_reading_and_writing_loses_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = await write(store, "415", 3)

    async def die(*_: object) -> int:
        raise asyncio.CancelledError

    with monkeypatch.context() as patch:
        patch.setattr("worker.relay.relay_events", die)
        with pytest.raises(asyncio.CancelledError):
            await relay_once(store, SETTINGS)
    assert await relay_once(store, SETTINGS) == 3
    assert ids(await relayed(store)) == written


async def test_entries_of_the_common_stream_are_in_the_order_of_their_ids(store: Store) -> None:
    await write(store, "415", 50)
    await write(store, "212", 50)
    await relay_once(store, SETTINGS)
    keys = [
        tuple(map(int, entry_id.split(b"-"))) for entry_id, _ in await entries_of(store, "events:numbers")
    ]
    assert all(one < next_one for one, next_one in pairwise(keys))


async def test_relayed_events_that_are_too_old_go_and_the_others_stay(store: Store) -> None:
    now_ms = await clock.now_ms(store)
    key = store_keys.events("415")
    await store.execute("SADD", store_keys.AREAS, "415")
    kept_ms = now_ms - 30 * DAY_MS + 60_000
    await write_at(store, key, now_ms - 40 * DAY_MS, now_ms - 30 * DAY_MS - 1, kept_ms, now_ms - DAY_MS)
    await write_at(store, store_keys.NUMBER_EVENTS, now_ms - 40 * DAY_MS, kept_ms)

    assert await relay_once(store, SETTINGS) == 4

    assert [entry_id for entry_id, _ in await entries_of(store, key)] == [
        b"%d-1" % kept_ms,
        b"%d-1" % (now_ms - DAY_MS),
    ]
    # The copies are new, however old their origin.
    common = await entries_of(store, store_keys.NUMBER_EVENTS)
    assert common[0][0] == b"%d-1" % kept_ms
    assert len(common) == 5


async def test_an_event_that_is_not_relayed_stays_however_old_it_is(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_ms = await clock.now_ms(store)
    key = store_keys.events("415")
    await store.execute("SADD", store_keys.AREAS, "415")
    old = [now_ms - (50 - day) * DAY_MS for day in range(4)]
    await write_at(store, key, *old)
    (first, second, *_) = await entries_of(store, key)
    assert await relay_events(store, "415", b"", [first, second]) == 2

    async def nothing_done(*_: object) -> int:
        return 0

    with monkeypatch.context() as patch:
        patch.setattr("worker.relay._relay_round", nothing_done)
        await relay_once(store, SETTINGS)
    assert [entry_id for entry_id, _ in await entries_of(store, key)] == [b"%d-1" % ms for ms in old[1:]]

    assert await relay_once(store, SETTINGS) == 2
    assert len(await relayed(store, "415")) == 4


async def test_a_stream_that_is_much_too_long_is_trimmed_a_bit_at_a_time(store: Store) -> None:
    now_ms = await clock.now_ms(store)
    key = store_keys.NUMBER_EVENTS
    old_ms = now_ms - 31 * DAY_MS
    await store.execute_many([("XADD", key, f"{old_ms + place}-1", "number", "x") for place in range(2500)])
    await write_at(store, key, now_ms)
    lengths = [2501]
    while lengths[-1] > 1:
        await relay_once(store, SETTINGS)
        lengths.append(await store.execute("XLEN", key))
        assert 0 < lengths[-2] - lengths[-1] <= 1000
    assert len(lengths) > 3


async def test_all_area_codes_are_trimmed_in_time(store: Store) -> None:
    now_ms = await clock.now_ms(store)
    area_codes = [str(area_code) for area_code in range(300, 320)]
    for area_code in area_codes:
        await store.execute("SADD", store_keys.AREAS, area_code)
        await write_at(store, store_keys.events(area_code), now_ms - 31 * DAY_MS, now_ms - 1000)
    steps = 0
    while any(
        length == 2
        for length in await store.execute_many([("XLEN", store_keys.events(area)) for area in area_codes])
    ):
        await relay_once(store, SETTINGS)
        steps += 1
        assert steps < 1000
