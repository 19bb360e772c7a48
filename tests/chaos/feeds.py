"""Two carriers that offer overlapping parts of one small stock, and change their minds."""

import asyncio
import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

from deploy.cli.ingest import hand_over
from shared.feeds.syncs import Sync, SyncState, read_sync
from shared.settings import Settings
from shared.stock_score import MMS, SMS
from shared.store import Store, StoreUnavailable
from tests.chaos.ledger import Ledger

_CHANGED = 0.12
"""Share of the stock about which a carrier changes its mind from one feed to the next."""
_LOOK_SECONDS = 0.1


class Carrier:
    """One carrier: what it offers now, and how that comes in."""

    def __init__(self, name: str, everything: list[str], random: Random) -> None:
        self.name = name
        self._everything = everything
        self._random = random
        self.offers = {number: self._features() for number in everything if random.random() < 0.75}

    def _features(self) -> int:
        return self._random.choice((SMS, SMS | MMS))

    def change(self) -> None:
        """Withdraw some numbers, add some, and offer some with other features."""
        for number in self._everything:
            if self._random.random() < _CHANGED:
                if self._random.random() < 0.55 and number in self.offers:
                    del self.offers[number]
                else:
                    self.offers[number] = self._features()

    def feed(self) -> io.BytesIO:
        """Give the file that it sends."""
        rows = [
            f"{number},{bool(features & SMS)},{bool(features & MMS)}".lower()
            for number, features in self.offers.items()
        ]
        self._random.shuffle(rows)
        return io.BytesIO("\n".join(["number,sms,mms", *rows]).encode())


class Feeds:
    """Brings feeds as `numbers ingest` does."""

    def __init__(self, store: Store, settings: Settings, data_dir: Path, ledger: Ledger) -> None:
        self._store = store
        self._settings = settings
        self._data_dir = data_dir
        self._ledger = ledger

    async def bring(self, carrier: Carrier) -> None:
        """Bring a carrier's feed and wait until it is applied; whatever is away meanwhile comes back."""
        sync = await self._hand_over(carrier)
        while not sync.state.has_ended:
            await asyncio.sleep(_LOOK_SECONDS)
            with suppress(StoreUnavailable):
                seen = await read_sync(self._store, sync.id)
                if seen is None:
                    self._ledger.violation(f"a sync of {carrier.name} is gone")
                    return
                sync = seen
        self._ledger.counts["feeds applied"] += 1
        self._ledger.counts["feed runs"] += sync.attempts
        if sync.state is not SyncState.APPLIED or sync.rejected:
            self._ledger.violation(f"a sync of {carrier.name} ended as {sync}")

    async def _hand_over(self, carrier: Carrier) -> Sync:
        while True:
            with suppress(StoreUnavailable):
                return await hand_over(
                    self._store, self._settings, self._data_dir, carrier.name, carrier.feed()
                )
            await asyncio.sleep(_LOOK_SECONDS)

    async def keep_coming(self, carrier: Carrier, goes_on: Callable[[], bool]) -> None:
        """Bring one feed after the other."""
        while goes_on():
            carrier.change()
            await self.bring(carrier)
            await asyncio.sleep(_LOOK_SECONDS)
