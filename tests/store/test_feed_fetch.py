"""Syncs of a carrier's source."""

import os
from pathlib import Path

import pytest

from shared import store_keys
from shared.coverage import read_coverage
from shared.feeds.profiles import Mode, Profile
from shared.feeds.syncs import SyncOptions, SyncState, new_sync_id, queue_feed
from shared.store import StoreUnavailable
from tests.store.feeding import ANY_REMOVAL, FIRST, SECOND, Feeding, csv_of, let_lease_end, profiles

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
    feeding: Feeding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.csv"
    bring_source(feeding, source)
    source.write_bytes(csv_of(FIRST))
    sync_id = await die_over_source(feeding, monkeypatch)
    source.write_bytes(csv_of(SECOND))
    assert await feeding.run("acme") == 1
    assert (await feeding.ended(sync_id)).read == len(FIRST)
    await feeding.check_settled({"acme": FIRST})
    await feeding.fetch("acme")
    await feeding.check_settled({"acme": SECOND})


async def test_a_sync_whose_run_died_has_noted_what_it_had_fetched_when_another_run_ends_it(
    feeding: Feeding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.csv"
    bring_source(feeding, source)
    source.write_bytes(csv_of(FIRST))
    await die_over_source(feeding, monkeypatch)
    assert await feeding.run("acme") == 1
    assert (await feeding.fetch("acme")).read == 0


async def test_a_fetched_feed_that_is_gone_from_the_spool_fails_and_is_fetched_by_the_next_sync(
    feeding: Feeding, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "source.csv"
    bring_source(feeding, source)
    source.write_bytes(csv_of(FIRST))
    sync_id = await die_over_source(feeding, monkeypatch)
    feeding.spool.remove(sync_id)
    assert await feeding.run("acme") == 1
    assert (await feeding.ended(sync_id)).state is SyncState.FAILED
    await feeding.fetch("acme")
    await feeding.check_settled({"acme": FIRST})


async def die_over_source(feeding: Feeding, monkeypatch: pytest.MonkeyPatch) -> str:
    """Have a run die once it has fetched the source, and give its sync's id."""

    def die(*_: object) -> None:
        raise StoreUnavailable("dead")

    sync = await queue_feed(feeding.store, new_sync_id(), "acme", SyncOptions(), sha256=None)
    with monkeypatch.context() as patch:
        patch.setattr("worker.feeds.tasks.read_spooled", die)
        with pytest.raises(StoreUnavailable):
            await feeding.run("acme")
    await let_lease_end(feeding.store, "acme")
    return sync.id


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


# What has not changed


async def confirmed(feeding: Feeding) -> dict[str, int]:
    """Give the area codes that the carrier has confirmed since, and forget all that it has."""
    areas = await read_coverage(feeding.store)
    await feeding.store.execute("DEL", store_keys.feed_confirmed("acme"))
    return {area.area_code: area.counts.available for area in areas if area.confirmations}


async def test_a_source_that_has_not_changed_confirms_what_it_offers(
    feeding: Feeding, tmp_path: Path
) -> None:
    source = tmp_path / "source.csv"
    bring_source(feeding, source)
    source.write_bytes(csv_of(FIRST))
    await feeding.fetch("acme")
    offered = await confirmed(feeding)
    assert offered.keys() == {number.area_code for number in FIRST}
    assert (await feeding.fetch("acme")).read == 0
    assert await confirmed(feeding) == offered


async def test_a_snapshot_that_changes_nothing_confirms_what_it_offers(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    offered = await confirmed(feeding)
    await feeding.ingest("acme", FIRST)
    assert await confirmed(feeding) == offered


async def test_a_delta_that_has_not_changed_confirms_nothing(feeding: Feeding, tmp_path: Path) -> None:
    source = tmp_path / "source.csv"
    source.write_bytes(csv_of(FIRST))
    feeding.profiles = profiles(acme=Profile(source=str(source), mode=Mode.DELTA))
    await feeding.fetch("acme")
    await confirmed(feeding)
    await feeding.fetch("acme")
    assert await confirmed(feeding) == {}


# Deltas


async def test_deltas_of_a_directory_are_not_fetched_for_those_before_the_newest_would_be_lost(
    feeding: Feeding, tmp_path: Path
) -> None:
    (tmp_path / "feeds").mkdir()
    (tmp_path / "feeds" / "newest.csv").write_bytes(csv_of(FIRST))
    bring_source(feeding, tmp_path / "feeds")
    sync = await feeding.fetch("acme", SyncOptions(Mode.DELTA))
    assert sync.state is SyncState.FAILED
    assert (sync.reason or "").startswith("only the newest file of a directory is fetched, and deltas")
    await feeding.check_settled({"acme": {}})
    assert (await feeding.fetch("acme")).state is SyncState.APPLIED
