"""Numbers that change while others search: held and given back, withdrawn and offered again.

Half of the changes are made by the scripts of orders, half by those of feeds. The name of their connection
separates the store's time for them from that of the searches.
"""

import asyncio
import struct
import threading
import time
from types import TracebackType
from typing import Any, Final, Self

from shared.atomic.area_operations import Held, give_back, hold
from shared.atomic.feed_operations import FeedRun, Offerer, register_carrier, stock, withdraw
from shared.phone_number import e164
from shared.stock_score import SMS
from shared.store import Store
from tests.bench.errors import BenchError
from tests.bench.store_meter import CHANGER_CLIENT

CHANGES_A_SECOND: Final = 100
_CARRIER = "bench"
_HOLD_MS = 3_600_000
_TIMEOUT_SECONDS = 30.0
_FEATURES_SHIFT = 24


class Changes:
    """Changes numbers of an area code at a steady pace while the context is entered."""

    def __init__(self, url: str, area_code: str, numbers: list[int]) -> None:
        self._url, self._area_code, self._numbers = url, area_code, numbers
        self._thread = threading.Thread(target=lambda: asyncio.run(self._change()), daemon=True)
        self._stop = threading.Event()
        self._error: Exception | None = None
        self._began = 0.0
        self.count = 0
        """Changes until now."""

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(_TIMEOUT_SECONDS)
        if kind is None and self._error is not None:
            raise BenchError(f"the numbers could not be changed: {self._error!r}")

    @property
    def rate(self) -> float:
        """Return changes a second until now."""
        return self.count / (time.monotonic() - self._began)

    async def _change(self) -> None:
        store = Store(self._url, _TIMEOUT_SECONDS, CHANGER_CLIENT)
        try:
            ordinal = await register_carrier(store, _CARRIER)
            offerer = Offerer(FeedRun(_CARRIER, 1, "apply", _CARRIER), ordinal, f",{ordinal},")
            begun = time.monotonic()
            while not self._stop.is_set():
                await asyncio.sleep(max(begun + self.count / CHANGES_A_SECOND - time.monotonic(), 0))
                await self._change_one(store, offerer)
                self.count += 1
        # Whatever it is, the measurement has to end with it.
        except Exception as error:
            self._error = error
        finally:
            await store.close()

    async def _change_one(self, store: Store, offerer: Offerer) -> None:
        """Make the next of the four changes of a number; after them it is as it was."""
        turn, step = divmod(self.count, 4)
        local, area_code = self._numbers[turn % len(self._numbers)], self._area_code
        number, order = e164(area_code, local), f"bench-{turn}"
        outcome: Any
        if step == 0:
            deadline_ms = int(time.time() * 1000) + _HOLD_MS
            outcome = isinstance(await hold(store, area_code, order, 1, "bench", deadline_ms, [number]), Held)
        elif step == 1:
            outcome = await give_back(store, area_code, order, 1, "bench", [number]) == 1
        elif step == 2:
            outcome = await withdraw(store, offerer, area_code, struct.pack("<I", local)) == 0
        else:
            packed = struct.pack("<I", SMS << _FEATURES_SHIFT | local)
            outcome = await stock(store, offerer, area_code, packed) == 0
        if not outcome:
            raise BenchError(f"step {step} did not change {number}")
