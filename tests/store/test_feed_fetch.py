"""Syncs of a carrier's source."""

import io
import os
from pathlib import Path

from shared import store_keys
from shared.feeds.profiles import Profile
from shared.feeds.syncs import SyncOptions, SyncState, new_sync_id, queue_feed
from tests.store.feeding import ANY_REMOVAL, FIRST, SECOND, Feeding, csv_of, profiles

IN_A_CENTURY = 4_000_000_000


def bring_source(feeding: Feeding, path: Path) -> None:
    feeding.profiles = profiles(acme=Profile(source=str(path), guards=ANY_REMOVAL))


async def test_a_source_that_has_not_changed_is_not_read_again(feeding: Feeding, tmp_path: Path) -> None:
    source = tmp_path / "source.csv"
    bring_source(feeding, source)
    source.write_bytes(csv_of(FIRST))
    assert (await feeding.fetch("acme")).read == len(FIRST)
    again = await feeding.fetch("acme")
    assert (again.state, again.read) == (SyncState.APPLIED, 0)
    assert (await feeding.fetch("acme", SyncOptions(confirm=True))).read == len(FIRST)


async def test_a_sync_whose_run_died_goes_on_with_what_it_had_fetched_whatever_the_source_has_now(
    feeding: Feeding, tmp_path: Path
) -> None:
    source = tmp_path / "source.csv"
    bring_source(feeding, source)
    sync = await queue_feed(feeding.store, new_sync_id(), "acme", SyncOptions(), sha256=None)
    sha256 = feeding.spool.put(sync.id, io.BytesIO(csv_of(FIRST)), 1 << 20)
    await feeding.store.execute("HSET", store_keys.sync(sync.id), "sha256", sha256)
    source.write_bytes(csv_of(SECOND))
    assert await feeding.run("acme") == 1
    await feeding.check_settled({"acme": FIRST})
    await feeding.fetch("acme")
    await feeding.check_settled({"acme": SECOND})


async def test_a_source_from_the_future_does_not_keep_out_what_follows(
    feeding: Feeding, tmp_path: Path
) -> None:
    source = tmp_path / "source.csv"
    bring_source(feeding, source)
    source.write_bytes(csv_of(FIRST))
    os.utime(source, (IN_A_CENTURY, IN_A_CENTURY))
    await feeding.fetch("acme")
    source.unlink()
    source.write_bytes(csv_of(SECOND))
    assert (await feeding.fetch("acme")).state is SyncState.APPLIED
    await feeding.check_settled({"acme": SECOND})


async def test_a_source_that_is_older_than_what_was_applied_changes_nothing(
    feeding: Feeding, tmp_path: Path
) -> None:
    source = tmp_path / "source.csv"
    bring_source(feeding, source)
    source.write_bytes(csv_of(SECOND))
    await feeding.fetch("acme")
    source.write_bytes(csv_of(FIRST))
    os.utime(source, (1, 1))
    assert (await feeding.fetch("acme")).state is SyncState.SUPERSEDED
    await feeding.check_settled({"acme": SECOND})
