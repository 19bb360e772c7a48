"""Orders that other services cancel: entries of the stream `events:orders`, in whatever language written.

Read through a consumer group, so that workers share the entries and none is lost with a worker: an entry
counts until its work is done and acknowledged, and one that nobody has acknowledged for a while is taken
over. Cancelling is safe to repeat. An entry that can never be used is copied, with the reason, to a stream
where people find it, so that it does not come back for ever.
"""

import asyncio
import logging
import os
import re
import socket
import time
from secrets import token_hex
from typing import Any

from redis.exceptions import ResponseError

from shared import clock, store_keys
from shared.api_keys import ORGANIZATION_NAME
from shared.atomic.event_operations import forget_consumer
from shared.atomic.order_operations import OrderRef
from shared.atomic.resource_operations import NotCancellable
from shared.number_events import Entry
from shared.orders.departures import cancel, finish_cancel
from shared.orders.records import OrderStatus, read_order
from shared.settings import Settings
from shared.store import Argument, Store, StoreUnavailable
from worker.trim import earlier, id_at, trim

logger = logging.getLogger(__name__)

GROUP = "numbers"
CANCELLED = "order.cancelled"
MOST_DELIVERIES = 10
"""Times that an entry which ends in an error is tried."""

_AT_ONCE = 32
_TIDY_SECONDS = 60.0
_FORGET_CONSUMERS_AFTER_MS = 3_600_000
_ORDER_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MOST_REJECTED_FIELDS = 32
_MOST_REJECTED_BYTES = 256


class Rejected(Exception):
    """An entry can never be used; says why."""


class Later(Exception):
    """What the entry is about is still in somebody's hand."""


class OrderEvents:
    """One consumer of the stream; `step` is to be called again and again."""

    def __init__(self, store: Store, settings: Settings, take_over_after_seconds: float = 15.0) -> None:
        """Prepare; entries that nobody has acknowledged for this long are taken over, and tried again."""
        self.name = f"{socket.gethostname()}-{os.getpid()}-{token_hex(4)}"
        self._store = store
        self._settings = settings
        self._take_over_after_ms = clock.ms_of(take_over_after_seconds)
        self._take_over_from: bytes = b"0-0"
        self._tidy_at = 0.0

    async def step(self) -> int:
        """Do what entries that are due ask for, and give how many were looked at.

        Raises:
            StoreUnavailable: the store did not answer; nothing that is not done is forgotten.
        """
        try:
            seen = await self._work()
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise
            await self._make_group()
            seen = await self._work()
        if time.monotonic() >= self._tidy_at:
            await self.tidy()
            self._tidy_at = time.monotonic() + _TIDY_SECONDS
        return seen

    async def tidy(self) -> None:
        """Drop entries that are old and done with, and consumers that are long dead."""
        cutoff = id_at(await clock.now_ms(self._store) - clock.ms_of(self._settings.event_retention_seconds))
        # In this order: what is delivered in between is later than the last that was delivered before.
        groups, pending = await self._store.execute_many(
            [("XINFO", "GROUPS", store_keys.ORDER_EVENTS), ("XPENDING", store_keys.ORDER_EVENTS, GROUP)]
        )
        delivered = next(
            group[b"last-delivered-id"] for group in map(_fields, groups) if group[b"name"] == GROUP.encode()
        )
        done_with = earlier(cutoff, delivered)
        if pending["min"]:
            done_with = earlier(done_with, pending["min"])
        await trim(
            self._store, {store_keys.ORDER_EVENTS: done_with, store_keys.REJECTED_ORDER_EVENTS: cutoff}
        )
        await self._forget_consumers()

    async def _forget_consumers(self) -> None:
        consumers = await self._store.execute("XINFO", "CONSUMERS", store_keys.ORDER_EVENTS, GROUP)
        # A living one asks about once a second. One that was stopped for an hour may wake up this moment and
        # read an entry: then it stays, for what a consumer has in hand would be forgotten with it.
        await asyncio.gather(
            *(
                forget_consumer(self._store, GROUP, consumer[b"name"])
                for consumer in map(_fields, consumers)
                if consumer[b"idle"] >= _FORGET_CONSUMERS_AFTER_MS
            )
        )

    async def _make_group(self) -> None:
        """Make the group, which begins with the first entry there is."""
        try:
            await self._store.execute("XGROUP", "CREATE", store_keys.ORDER_EVENTS, GROUP, "0", "MKSTREAM")
        except ResponseError as error:
            # Another worker was faster.
            if not str(error).startswith("BUSYGROUP"):
                raise

    async def _work(self) -> int:
        self._take_over_from, entries, _ = await self._store.execute(
            "XAUTOCLAIM",
            store_keys.ORDER_EVENTS,
            GROUP,
            self.name,
            self._take_over_after_ms,
            self._take_over_from,
            "COUNT",
            _AT_ONCE,
        )
        seen = await self._handle_all(entries)
        while True:
            streams = await self._store.execute(
                *("XREADGROUP", "GROUP", GROUP, self.name),
                *("COUNT", _AT_ONCE, "STREAMS", store_keys.ORDER_EVENTS, ">"),
            )
            entries = streams[0][1] if streams else []
            seen += await self._handle_all(entries)
            if len(entries) < _AT_ONCE:
                return seen

    async def _handle_all(self, entries: list[Entry]) -> int:
        results = await asyncio.gather(*map(self._handle, entries), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return len(entries)

    async def _handle(self, entry: Entry) -> None:
        try:
            await self._cancel(_order_of(entry[1]))
        except Rejected as error:
            await self._reject(entry, str(error))
        except Later:
            return
        except StoreUnavailable:
            raise
        except Exception as error:
            logger.exception("an entry of %s failed: %s", store_keys.ORDER_EVENTS, entry[0].decode())
            if await self._deliveries(entry[0]) < MOST_DELIVERIES:
                return
            await self._reject(entry, f"failed {MOST_DELIVERIES} times: {type(error).__name__}")
        await self._store.execute("XACK", store_keys.ORDER_EVENTS, GROUP, entry[0])

    async def _cancel(self, ref: OrderRef) -> None:
        # Read before, for an order that is pending now may have any end a moment later.
        order = await read_order(self._store, ref)
        if order is None:
            raise Rejected("no such order")
        result = await cancel(self._store, ref, self._settings, None)
        if result is None:
            raise Rejected("no such order")
        if isinstance(result, NotCancellable):
            if order.status is OrderStatus.PENDING:
                raise Later
            is_late = order.status is OrderStatus.COMPLETE
            raise Rejected("it is too late to cancel it" if is_late else f"the order is {order.status}")
        if result.status == OrderStatus.CANCELLING:
            await finish_cancel(self._store, ref)

    async def _reject(self, entry: Entry, reason: str) -> None:
        """Set an entry aside."""
        entry_id, fields = entry
        copied: list[Argument] = []
        for field in list(fields.items())[:_MOST_REJECTED_FIELDS]:
            copied += (part[:_MOST_REJECTED_BYTES] for part in field)
        # Ours last: who reads fields into a map keeps the last of two with one name.
        await self._store.execute(
            "XADD", store_keys.REJECTED_ORDER_EVENTS, "*", *copied, "reason", reason, "entry", entry_id
        )
        logger.warning("entry %s of %s is set aside: %s", entry_id.decode(), store_keys.ORDER_EVENTS, reason)

    async def _deliveries(self, entry_id: bytes) -> int:
        """Give how often an entry was delivered; 0 when it is not pending any more."""
        # redis-py takes every XPENDING for the short form; a name in bytes it does not know, and leaves the
        # reply as it is.
        pending = await self._store.execute(
            b"XPENDING", store_keys.ORDER_EVENTS, GROUP, entry_id, entry_id, 1
        )
        return int(pending[0][3]) if pending else 0


def _order_of(fields: dict[bytes, bytes]) -> OrderRef:
    """Give the order that an entry cancels; raises `Rejected`."""
    if _text(fields, "type") != CANCELLED:
        raise Rejected("type is unknown")
    order = _text(fields, "order").lower()
    if not _ORDER_ID.fullmatch(order):
        raise Rejected("order is no order id")
    organization = _text(fields, "organization")
    if not ORGANIZATION_NAME.fullmatch(organization):
        raise Rejected("organization is no organization's name")
    return OrderRef(organization, order)


def _text(fields: dict[bytes, bytes], name: str) -> str:
    value = fields.get(name.encode())
    if value is None:
        raise Rejected(f"{name} is missing")
    return value.decode(errors="replace")


def _fields(flat: list[Any]) -> dict[bytes, Any]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
