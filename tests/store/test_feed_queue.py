"""Syncs on their way into the queue of their carrier, and those that never come there."""

from collections.abc import Sequence
from typing import Any

import pytest

from shared import store_keys
from shared.feeds.syncs import SyncOptions, SyncState, new_sync_id, open_feeds, queue_feed, settle_open_syncs
from shared.store import Argument, Store, StoreUnavailable
from tests.futures import returns_future
from tests.store.feeding import FIRST, SECOND, Feeding

pytestmark = pytest.mark.usefixtures("long_ago")


@pytest.fixture
def long_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have whatever is on record have had its time to be queued."""
    monkeypatch.setattr("shared.feeds.syncs._QUEUED_WITHIN_MS", -60_000)


class DyingStore(Store):
    """The connection of somebody who dies before a sync is put into its queue."""

    def __init__(self, url: str) -> None:
        super().__init__(url, timeout_seconds=5)

    @returns_future
    async def execute(self, *command: Argument) -> Any:
        if command[0] == "RPUSH":
            raise StoreUnavailable("dead")
        return await super().execute(*command)

    @returns_future
    async def execute_many(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        return [await self.execute(*command) for command in commands]


async def record_only(valkey: str, carrier: str, sha256: str | None = None) -> str:
    """Leave the record of a sync that is in no queue, and give its id."""
    store, sync_id = DyingStore(valkey), new_sync_id()
    with pytest.raises(StoreUnavailable):
        await queue_feed(store, sync_id, carrier, SyncOptions(), sha256=sha256)
    await store.close()
    return sync_id


@pytest.mark.parametrize("sha256", [None, "0" * 64])
async def test_a_sync_whose_bringer_died_before_it_was_queued_fails(
    valkey: str, feeding: Feeding, sha256: str | None
) -> None:
    sync_id = await record_only(valkey, "acme", sha256)
    assert (await feeding.record(sync_id)).state is SyncState.QUEUED

    await settle_open_syncs(feeding.store)

    sync = await feeding.ended(sync_id)
    assert sync.state is SyncState.FAILED
    assert sync.reason == "whoever brought it died before it was queued; nothing was changed: bring it again"


async def test_one_that_is_queued_all_the_same_once_it_has_failed_changes_nothing(
    valkey: str, feeding: Feeding
) -> None:
    sync_id = await record_only(valkey, "acme", "0" * 64)
    await settle_open_syncs(feeding.store)
    await queue_feed(feeding.store, sync_id, "acme", SyncOptions(), sha256="0" * 64)
    await feeding.run("acme")
    assert (await feeding.ended(sync_id)).state is SyncState.FAILED


async def test_one_that_may_still_come_into_the_queue_is_left_alone(
    valkey: str, feeding: Feeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.feeds.syncs._QUEUED_WITHIN_MS", 60_000)
    sync_id = await record_only(valkey, "acme")
    await settle_open_syncs(feeding.store)
    assert (await feeding.record(sync_id)).state is SyncState.QUEUED


async def test_syncs_that_wait_their_turn_run_or_have_ended_are_left_alone(feeding: Feeding) -> None:
    ended = await feeding.ingest("acme", FIRST)
    running = await feeding.bring("acme", SECOND)
    queued = await feeding.bring("acme", FIRST)
    await feeding.store.execute("HSET", store_keys.sync(running), "state", "running")

    assert await settle_open_syncs(feeding.store) == {"acme"}

    states = [(await feeding.record(sync_id)).state for sync_id in (ended.id, running, queued)]
    assert states == [SyncState.APPLIED, SyncState.RUNNING, SyncState.QUEUED]
    assert await feeding.run("acme") == 2
    assert await settle_open_syncs(feeding.store) == set()


async def test_a_dry_run_of_a_carrier_that_nobody_knows_is_found_when_its_wake_up_is_lost(
    feeding: Feeding,
) -> None:
    await feeding.bring("acme", FIRST, SyncOptions(dry_run=True))
    assert await open_feeds(feeding.store) == []
    assert await settle_open_syncs(feeding.store) == {"acme"}
