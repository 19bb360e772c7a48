"""Deltas: rows that add, change or take away, in their order, and once."""

import random

import pytest

from shared import store_keys
from shared.feeds.profiles import Mode, Profile
from shared.feeds.syncs import SyncState
from shared.stock_score import MMS, SMS
from tests.store.feeding import (
    ANY_REMOVAL,
    FEATURES,
    FIRST,
    NUMBERS,
    SECOND,
    Feed,
    Feeding,
    counts_of,
    csv_of,
    delta_of,
    profiles,
)

pytestmark = pytest.mark.usefixtures("small_calls")

ONE, TWO, THREE = NUMBERS[:3]


async def test_a_delta_changes_what_it_names_and_nothing_else(feeding: Feeding) -> None:
    await feeding.ingest("acme", {ONE: SMS, TWO: SMS})
    sync = await feeding.delta("acme", [(ONE, None), (TWO, MMS), (THREE, 0)])
    assert sync.state is SyncState.APPLIED
    assert counts_of(sync) == (1, 1, 1)
    await feeding.check_settled({"acme": {TWO: MMS, THREE: 0}})


async def test_of_several_rows_of_a_number_the_last_counts(feeding: Feeding) -> None:
    rows = [(ONE, SMS), (ONE, None), (TWO, None), (TWO, MMS), (TWO, SMS), (THREE, SMS), (THREE, None)]
    sync = await feeding.delta("acme", rows)
    assert (sync.read, sync.duplicate, sync.added) == (7, 4, 1)
    await feeding.check_settled({"acme": {TWO: SMS}})


async def test_a_delta_can_take_away_all_that_there_is(feeding: Feeding) -> None:
    await feeding.ingest("acme", {ONE: SMS})
    assert (await feeding.delta("acme", [(ONE, None)])).state is SyncState.APPLIED
    await feeding.check_settled({"acme": {}})


async def test_taking_away_what_is_not_offered_changes_nothing(feeding: Feeding) -> None:
    await feeding.ingest("acme", {ONE: SMS})
    assert counts_of(await feeding.delta("acme", [(TWO, None)])) == (0, 0, 1)
    await feeding.check_settled({"acme": {ONE: SMS}})


async def test_the_same_delta_again_changes_nothing_even_when_another_came_between(feeding: Feeding) -> None:
    await feeding.delta("acme", [(ONE, SMS)])
    await feeding.delta("acme", [(ONE, None), (TWO, SMS)])
    again = await feeding.delta("acme", [(ONE, SMS)])
    assert (again.state, again.read) == (SyncState.APPLIED, 0)
    assert (again.reason or "").startswith("the same delta was applied before; nothing was changed")
    await feeding.check_settled({"acme": {TWO: SMS}})


async def test_the_same_delta_again_is_applied_when_somebody_confirms_that_it_is_meant(
    feeding: Feeding,
) -> None:
    await feeding.delta("acme", [(ONE, SMS)])
    await feeding.delta("acme", [(ONE, None), (TWO, SMS)])
    await feeding.delta("acme", [(ONE, SMS)], confirm=True)
    await feeding.check_settled({"acme": {ONE: SMS, TWO: SMS}})


async def test_the_same_delta_of_another_carrier_is_another_one(feeding: Feeding) -> None:
    await feeding.delta("acme", [(ONE, SMS)])
    await feeding.delta("other", [(ONE, SMS)])
    await feeding.check_settled({"acme": {ONE: SMS}, "other": {ONE: SMS}})


async def test_a_snapshot_may_come_again_and_again(feeding: Feeding) -> None:
    await feeding.ingest("acme", FIRST)
    await feeding.ingest("acme", SECOND)
    await feeding.ingest("acme", FIRST)
    await feeding.check_settled({"acme": FIRST})


async def test_the_last_thousand_deltas_are_known_again(
    feeding: Feeding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.feeds.tasks._MAX_KEPT_CONTENTS", 3)
    deltas = [[(number, SMS)] for number in NUMBERS[:5]]
    for delta in deltas:
        await feeding.delta("acme", delta)
    assert await feeding.store.execute("ZCARD", store_keys.feed_contents("acme")) == 3
    assert (await feeding.delta("acme", deltas[2])).read == 0
    assert (await feeding.delta("acme", deltas[1])).read == 1


@pytest.mark.parametrize("state", ["refused", "dry"])
async def test_a_delta_that_was_not_applied_may_come_again(feeding: Feeding, state: str) -> None:
    if state == "dry":
        await feeding.delta("acme", [(ONE, SMS)], dry_run=True)
    else:
        sync_id = await feeding.bring("acme", delta_of([(ONE, SMS)]))
        feeding.spool.remove(sync_id)
        await feeding.run("acme")
    assert (await feeding.delta("acme", [(ONE, SMS)])).added == 1


async def test_a_profile_says_whether_its_feed_is_a_delta_and_who_brings_it_may_say_otherwise(
    feeding: Feeding,
) -> None:
    feeding.profiles = profiles(acme=Profile(mode=Mode.DELTA, guards=ANY_REMOVAL))
    await feeding.ingest("acme", {ONE: SMS})
    await feeding.ingest("acme", {TWO: SMS})
    await feeding.check_settled({"acme": {ONE: SMS, TWO: SMS}})
    await feeding.ingest("acme", {THREE: SMS}, mode=Mode.SNAPSHOT)
    await feeding.check_settled({"acme": {THREE: SMS}})


async def test_any_sequence_of_snapshots_and_deltas_ends_as_in_a_plain_model(feeding: Feeding) -> None:
    chance = random.Random(7)  # noqa: S311 - no secret
    model: Feed = {}
    for at in range(40):
        before = dict(model)
        if chance.random() < 0.2:
            model = {number: chance.choice(FEATURES) for number in chance.sample(NUMBERS, 8)}
            sync = await feeding.ingest("acme", csv_of(model), mode=Mode.SNAPSHOT)
        else:
            rows = [(chance.choice(NUMBERS), chance.choice([None, *FEATURES])) for _ in range(6)]
            for number, features in rows:
                model.pop(number, None)
                if features is not None:
                    model[number] = features
            # Never the same content twice.
            content = delta_of(rows) + b"\n" * at
            sync = await feeding.ingest("acme", content, mode=Mode.DELTA)
        kept = len(model.keys() & before.keys())
        assert counts_of(sync) == (len(model) - kept, len(before) - kept, kept)
        await feeding.check_settled({"acme": model})
