"""The relay of events: once each, in order, whoever relays and however late."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from itertools import count, pairwise
from typing import Any

import pytest

from shared import clock, store_keys
from shared.atomic.area_operations import confirm, hold
from shared.atomic.event_operations import MAX_ENTRIES_PER_CALL, relay_events
from shared.number_events import Entry, reading_after
from shared.settings import Settings
from shared.store import Store
from tests.support import put_in_stock
from worker.relay import Relay

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


async def relay_once(store: Store) -> int:
    return await Relay(store, SETTINGS).step()


def after_each_call(monkeypatch: pytest.MonkeyPatch, happens: Callable[[int], Awaitable[object]]) -> None:
    """Have something happen whenever the relay has relayed entries; it is told how often it has."""
    calls = count(1)

    async def relay_and_more(*arguments: Any) -> int:
        relayed = await relay_events(*arguments)
        await happens(next(calls))
        return relayed

    monkeypatch.setattr("worker.relay.relay_events", relay_and_more)


async def test_nothing_to_relay_leaves_no_trace(store: Store) -> None:
    assert await relay_once(store) == 0
    await put_in_stock(store, "415", [5_550_123])
    assert await relay_once(store) == 0
    assert await store.execute("EXISTS", store_keys.NUMBER_EVENTS, store_keys.EVENTS_RELAYED) == 0


async def test_an_event_is_relayed_with_all_its_fields_its_area_code_and_its_id(store: Store) -> None:
    await put_in_stock(store, "415", [5_550_123])
    number = "+14155550123"
    deadline_ms = await clock.now_ms(store) + 60_000
    await hold(store, "415", ORDER, 1, "acme", deadline_ms, [number])
    await confirm(store, "415", ORDER, [number])

    assert await relay_once(store) == 2

    origin = await entries_of(store, store_keys.events("415"))
    assert await relayed(store) == [
        {b"area_code": b"415", b"id": entry_id, **fields} for entry_id, fields in origin
    ]
    held, assigned = await relayed(store)
    assert (held[b"from"], held[b"to"], assigned[b"to"]) == (b"available", b"held", b"assigned")
    assert (held[b"number"], held[b"order"]) == (number.encode(), ORDER.encode())


async def test_what_was_relayed_is_not_relayed_again(store: Store) -> None:
    first = await write(store, "415", 3)
    assert await relay_once(store) == 3
    assert await relay_once(store) == 0
    later = await write(store, "415", 2)
    other = await write(store, "212", 1)

    assert await relay_once(store) == 3
    assert ids(await relayed(store, "415")) == first + later
    assert ids(await relayed(store, "212")) == other


async def test_a_backlog_of_many_calls_is_relayed_at_once_and_in_order(store: Store) -> None:
    length = 2 * MAX_ENTRIES_PER_CALL + 7
    long = await write(store, "415", length)
    exact = await write(store, "212", MAX_ENTRIES_PER_CALL)

    assert await relay_once(store) == length + MAX_ENTRIES_PER_CALL
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

    await relay_once(store)

    # Each has had its turn before any had a second one.
    seen = [fields[b"area_code"].decode() for fields in await relayed(store)]
    assert set(seen[: 5 + len(area_codes) - 1]) == set(area_codes)
    assert len(seen) == 100 + len(area_codes) - 1


async def test_a_step_ends_though_events_come_steadily(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    area_codes = [str(area_code) for area_code in range(300, 330)]
    for area_code in area_codes:
        await write(store, area_code, 1)

    async def write_more(calls: int) -> None:
        assert calls <= len(area_codes), "what came meanwhile is relayed, and more comes meanwhile"
        await write(store, area_codes[calls % len(area_codes)], 2)

    after_each_call(monkeypatch, write_more)
    relay = Relay(store, SETTINGS)

    assert len(area_codes) <= await relay.step() <= 3 * len(area_codes)
    monkeypatch.undo()
    # What has come in between is the next step's.
    await relay.step()
    assert len(await relayed(store)) == 3 * len(area_codes)


async def test_what_is_too_old_goes_also_while_a_backlog_lasts(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.relay.MAX_ENTRIES_PER_CALL", 5)
    old_ms = await clock.now_ms(store) - 31 * DAY_MS
    await write_at(store, store_keys.NUMBER_EVENTS, old_ms)
    await write_at(store, store_keys.events("415"), *range(old_ms, old_ms + 5))
    await write(store, "415", 20)
    lengths: list[tuple[int, int]] = []

    async def look(_: int) -> None:
        common, origin = await store.execute_many(
            [("XLEN", store_keys.NUMBER_EVENTS), ("XLEN", store_keys.events("415"))]
        )
        lengths.append((common, origin))

    after_each_call(monkeypatch, look)
    await relay_once(store)

    # An entry is dropped when a later one was relayed before the round began.
    assert lengths == [(6, 25), (10, 25), (15, 21), (20, 20), (25, 20)]


async def test_no_event_is_repeated_or_out_of_order_when_many_relay_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.relay.MAX_ENTRIES_PER_CALL", 3)
    area_codes = ("415", "212", "604")

    async def keep_relaying() -> None:
        for _ in range(20):
            await relay_once(store)

    async def keep_writing() -> None:
        for first in range(0, 200, 10):
            for area_code in area_codes:
                await write(store, area_code, 10, first)

    await asyncio.gather(keep_writing(), *(keep_relaying() for _ in range(4)))
    await relay_once(store)

    for area_code in area_codes:
        origin = await entries_of(store, store_keys.events(area_code))
        assert len(origin) == 200
        assert ids(await relayed(store, area_code)) == [entry_id for entry_id, _ in origin]


async def test_a_relay_that_wakes_up_late_writes_nothing(store: Store) -> None:
    await write(store, "415", 3)
    read_then: list[Entry] = await store.execute(*reading_after("415", b"", 100))
    await relay_once(store)
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
            await relay_once(store)
    assert await relay_once(store) == 3
    assert ids(await relayed(store)) == written


async def test_entries_of_the_common_stream_are_in_the_order_of_their_ids(store: Store) -> None:
    await write(store, "415", 50)
    await write(store, "212", 50)
    await relay_once(store)
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

    assert await relay_once(store) == 4
    await relay_once(store)

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
        patch.setattr("worker.relay.relay_events", nothing_done)
        await relay_once(store)
    assert [entry_id for entry_id, _ in await entries_of(store, key)] == [b"%d-1" % ms for ms in old[1:]]

    assert await relay_once(store) == 2
    assert len(await relayed(store, "415")) == 4


async def write_old(store: Store, key: str, length: int) -> None:
    """Write entries that are too old, and one that is not."""
    now_ms = await clock.now_ms(store)
    old_ms = now_ms - 31 * DAY_MS
    await store.execute_many([("XADD", key, f"{old_ms + place}-1", "number", "x") for place in range(length)])
    await write_at(store, key, now_ms)


@pytest.fixture
def small_trims(monkeypatch: pytest.MonkeyPatch) -> int:
    """Have a stream of some thousand entries be much too long; give the most that a step drops of one."""
    monkeypatch.setattr("worker.trim._MOST_AT_ONCE", 200)
    monkeypatch.setattr("worker.trim._MOST_TIMES", 5)
    return 1000


async def test_a_stream_that_is_much_too_long_is_trimmed_a_bit_at_a_time(
    store: Store, small_trims: int
) -> None:
    key = store_keys.NUMBER_EVENTS
    await write_old(store, key, 2500)
    lengths = [2501]
    while lengths[-1] > 1:
        await relay_once(store)
        lengths.append(await store.execute("XLEN", key))
        assert 0 < lengths[-2] - lengths[-1] <= small_trims
    assert len(lengths) == 4


async def test_of_one_area_code_among_many_more_is_dropped_in_its_turn_than_one_command_drops(
    store: Store, small_trims: int
) -> None:
    area_codes = [str(area_code) for area_code in range(300, 312)]
    for area_code in area_codes:
        await write(store, area_code, 1)
    key = store_keys.events("415")
    await write_old(store, key, small_trims - 100)
    await store.execute("SADD", store_keys.AREAS, "415")
    relay = Relay(store, SETTINGS)
    await relay.step()

    for _ in range(4):
        await relay.step()

    assert await store.execute("XLEN", key) == 1


async def test_every_area_code_is_trimmed_in_its_turn(store: Store) -> None:
    area_codes = [str(area_code) for area_code in range(300, 320)]
    for area_code in area_codes:
        await store.execute("SADD", store_keys.AREAS, area_code)
        await write_old(store, store_keys.events(area_code), 1)
    relay = Relay(store, SETTINGS)
    # Relayed, and the first four trimmed up to where they had been relayed before: not at all.
    await relay.step()

    for turn in range(1, 6):
        await relay.step()
        lengths = await store.execute_many([("XLEN", store_keys.events(area)) for area in area_codes])
        assert lengths.count(1) == 4 * turn


async def test_area_codes_are_trimmed_also_by_relays_that_are_started_again_and_again(store: Store) -> None:
    area_codes = [str(area_code) for area_code in range(200, 1000, 40)]
    for area_code in area_codes:
        await store.execute("SADD", store_keys.AREAS, area_code)
        await write_old(store, store_keys.events(area_code), 1)
    steps = 0
    while any(
        length == 2
        for length in await store.execute_many([("XLEN", store_keys.events(area)) for area in area_codes])
    ):
        await relay_once(store)
        steps += 1
        assert steps < 1000


async def test_a_step_with_nothing_to_trim_asks_for_little(store: Store) -> None:
    for area_code in range(300, 400):
        await write(store, str(area_code), 1)
    relay = Relay(store, SETTINGS)
    await relay.step()
    await store.execute("CONFIG", "RESETSTAT")

    await relay.step()

    stats = await store.execute("INFO", "commandstats")
    assert stats["cmdstat_xtrim"]["calls"] == 2 * (1 + 4)
    assert stats["cmdstat_xrange"]["calls"] == 100
    assert "cmdstat_evalsha" not in stats


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    """Give what the relay has logged since the last time."""
    lines = [
        (record.levelno, record.getMessage()) for record in caplog.records if record.name == "worker.relay"
    ]
    caplog.clear()
    return lines


async def break_type(store: Store) -> None:
    await store.execute("SET", store_keys.events("212"), "no stream")


async def break_place(store: Store) -> None:
    await write(store, "212", 1)
    await store.execute("HSET", store_keys.EVENTS_RELAYED, "212", "no id")


async def write_wide(store: Store) -> bytes:
    """Write an entry with more fields than a script can pass on; give its id."""
    fields = [item for place in range(4100) for item in (f"f{place}", "v")]
    entry_id: bytes = await store.execute("XADD", store_keys.events("212"), "*", *fields)
    return entry_id


@pytest.mark.parametrize("break_area", [break_type, break_place, write_wide])
async def test_an_area_code_that_cannot_be_relayed_keeps_no_other_waiting_and_is_named_once_in_the_log(
    store: Store,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    break_area: Callable[[Store], Awaitable[object]],
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr("worker.relay._AREAS_TRIMMED", 100)
    others = [str(area_code) for area_code in range(300, 330)]
    for area_code in others:
        await store.execute("SADD", store_keys.AREAS, area_code, "212")
        await write_old(store, store_keys.events(area_code), 1)
    await break_area(store)
    relay = Relay(store, SETTINGS)

    assert await relay.step() == 2 * len(others)
    [(level, text)] = told(caplog)
    assert level == logging.ERROR
    assert text.startswith("events of area code 212 are not relayed: ")
    for place in range(2):
        for area_code in others:
            await write(store, area_code, 1, place)
        assert await relay.step() == len(others)
    assert told(caplog) == []
    oldest = await store.execute_many([("XLEN", store_keys.events(area)) for area in others])
    assert oldest == [3] * len(others)

    await store.execute("DEL", store_keys.events("212"))
    await store.execute("HDEL", store_keys.EVENTS_RELAYED, "212")
    await write(store, "212", 1)
    assert await relay.step() == 1
    assert told(caplog) == [(logging.INFO, "events of area code 212 are relayed again")]
    assert await relay.step() == 0
    assert told(caplog) == []


async def test_another_trouble_of_the_same_area_code_is_told_too(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    await store.execute("SADD", store_keys.AREAS, "212")
    await break_type(store)
    relay = Relay(store, SETTINGS)
    await relay.step()
    await store.execute("DEL", store_keys.events("212"))
    entry_id = await write_wide(store)
    await relay.step()
    first, second = (text for _, text in told(caplog))
    assert "WRONGTYPE" in first
    assert f"entry {entry_id.decode()} has too many fields" in second


async def test_events_before_one_that_cannot_be_relayed_are_relayed_once(store: Store) -> None:
    before = await write(store, "212", 3)
    broken = await write_wide(store)
    after = await write(store, "212", 2, 3)
    relay = Relay(store, SETTINGS)
    for _ in range(3):
        await relay.step()
    assert ids(await relayed(store)) == before

    await store.execute("XDEL", store_keys.events("212"), broken)
    await relay.step()
    assert ids(await relayed(store)) == before + after


async def test_an_entry_with_the_most_fields_that_are_passed_on_is_relayed(store: Store) -> None:
    await store.execute("SADD", store_keys.AREAS, "212")
    fields = [item for place in range(3500) for item in (f"f{place}", "v")]
    await store.execute("XADD", store_keys.events("212"), "*", *fields)
    assert await relay_once(store) == 1
    (entry,) = await relayed(store)
    assert len(entry) == 3500 + 2
