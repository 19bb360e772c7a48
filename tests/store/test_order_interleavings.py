"""The saga of an order on the real store, with every actor stopped, killed, late or deaf at every step."""

import logging
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence, Set as AbstractSet
from contextlib import contextmanager
from random import Random
from typing import Any, NamedTuple

import pytest
from msgspec import json, structs

from shared import store_keys
from shared.atomic.area_operations import NumberState
from shared.atomic.feed_operations import FeedRun, Offerer, stock, withdraw
from shared.atomic.order_operations import OrderRef, Routing
from shared.atomic.requests import RequestKey
from shared.atomic.resource_operations import Cancelled, Released
from shared.number_events import PACKED_LOCALS
from shared.orders.bulk import BulkRequest, Waiting, fill_waiting, place_bulk_order
from shared.orders.departures import cancel, finish_cancel, release
from shared.orders.placing import Answer, InProgress, OutcomeUnknown, Placed, Refused, hold_ms_of, place_order
from shared.orders.records import Wish, find_owned
from shared.orders.sweep import sweep
from shared.search.search import Search
from shared.settings import Settings
from shared.stock_score import KEPT, SMS
from shared.store import Store, StoreUnavailable
from tests.store.interleaving import Actor, DirectStore, Look, Moment, Play, Step
from tests.support import put_in_stock

A1, A2, A3 = (f"+1415555000{i}" for i in range(1, 4))
B1, B2 = "+12125550001", "+12125550002"
STOCK = (A1, A2, A3, B1, B2)
ACME, BETA = "acme", "beta"

SETTINGS = Settings(
    hold_seconds=15, quarantine_seconds=45, cancel_quarantine_seconds=0, bulk_wait_seconds=300
)
HOLD_MS = hold_ms_of(SETTINGS)
ROUND_MS = 20_000
MOST_ROUNDS = 8
"""Each waits longer than the one before: together they are longer than any deadline, quarantine or wait."""

ENDED = {"complete", "failed", "cancelled"}


Work = Callable[[Store], Awaitable[Any]]


class Told(NamedTuple):
    """An answer that somebody got."""

    key: RequestKey | None
    body: bytes

    @property
    def content(self) -> dict[str, Any]:
        content: dict[str, Any] = json.decode(self.body)
        return content


def render(outcome: Placed | Refused | Waiting) -> bytes:
    content: dict[str, Any] = {"what": type(outcome).__name__, "order": outcome.order.id}
    if isinstance(outcome, Placed):
        content["numbers"] = [resource.number for resource in outcome.resources]
    elif isinstance(outcome, Refused):
        content["numbers"] = outcome.unavailable
    return json.encode(content)


class World:
    """A stock, organizations, what they do with it, and what must be true of it at every moment."""

    def __init__(self, play: Play, settings: Settings = SETTINGS) -> None:
        self.play = play
        self.settings = settings
        self.told: list[Told] = []
        self._offered = set(STOCK)
        self._kept: set[str] = set()
        self._before: Look | None = None
        self.ordered: list[OrderRef] = []
        self._named: dict[RequestKey, list[str]] = {}
        play.after_step = None

    async def begin(self, prepare: "Prepare") -> None:
        """Fill the store, let the past happen, and look at every step from then on."""
        pasts: dict[tuple[Prepare, Settings], Past] = self.play.kept
        # It takes many steps, and is the same for all cases of a test: it happens once.
        if (prepare, self.settings) not in pasts:
            await self._let_happen(prepare)
            pasts[prepare, self.settings] = await self._past()
        past = pasts[prepare, self.settings]
        await self.play.begin_with(past.moment)
        self.told, self.ordered = [*past.told], [*past.ordered]
        self._offered, self._kept = {*past.offered}, {*past.kept}
        self._before = past.look
        self.play.after_step = self._after_step

    async def _past(self) -> "Past":
        moment, look = await self.play.save(), await self.play.look()
        return Past(moment, look, (*self.told,), (*self.ordered,), {*self._offered}, {*self._kept})

    async def _let_happen(self, prepare: "Prepare") -> None:
        await self.play.begin()
        await put_in_stock(self.play.store, "415", [5550001, 5550002, 5550003])
        await put_in_stock(self.play.store, "212", [5550001, 5550002])
        await self.play.store.execute("SADD", store_keys.ORGANIZATIONS, ACME, BETA)
        await prepare(self)

    # What actors do.

    def new_order(self, organization: str) -> OrderRef:
        self.ordered.append(OrderRef(organization, f"{organization}-{len(self.ordered) + 1}"))
        return self.ordered[-1]

    def order(self, order: OrderRef, numbers: tuple[str, ...], key: RequestKey | None = None) -> Work:
        async def work(store: Store) -> Answer:
            answer = await place_order(store, order, numbers, Routing(), key, HOLD_MS, render)
            self.told.append(Told(key, answer.body))
            return answer

        return work

    def bulk(self, order: OrderRef, wish: Wish, key: RequestKey | None = None) -> Work:
        async def work(store: Store) -> Any:
            asked = BulkRequest(wish, Routing(), key, render)
            answer = await place_bulk_order(store, Search(store, Settings()), self.settings, order, asked)
            if isinstance(answer, Answer):
                self.told.append(Told(key, answer.body))
            return answer

        return work

    def fill(self) -> Work:
        return lambda store: fill_waiting(store, Search(store, Settings()), self.settings)

    def sweep(self) -> Work:
        return lambda store: sweep(store, self.settings)

    def cancel(self, order: OrderRef, key: RequestKey | None = None) -> Work:
        async def work(store: Store) -> Any:
            result = await cancel(store, order, self.settings, key)
            if isinstance(result, Cancelled):
                await finish_cancel(store, order)
            return result

        return work

    def release(
        self,
        organization: str,
        numbers: tuple[str, ...],
        key: RequestKey | None = None,
        *,
        to_carrier: bool = False,
    ) -> Work:
        async def work(store: Store) -> Any:
            # A request names resources, and so does the same request when it comes again.
            ids = (key and self._named.get(key)) or await find_owned(store, organization, numbers)
            if not ids:
                return None
            if key is not None:
                self._named[key] = ids
            return await release(store, organization, ids, self.settings, key, to_carrier=to_carrier)

        return work

    def feed(self, number: str, *, offers: bool) -> Work:
        area, packed = number[2:5], struct.pack("<I", int(number[5:]))
        offerer = Offerer(FeedRun("carrier", 1, "read", "a-sync"), 1, ",1,")
        if offers:
            values = struct.pack("<I", SMS * 2**24 + int(number[5:]))
            return lambda store: stock(store, offerer, area, values)
        return lambda store: withdraw(store, offerer, area, packed)

    # What is true after every step.

    def _after_step(self, step: Step, reply: Any, look: Look) -> None:
        name = self.play.trace[-1].split(": ")[1].split(" ")
        if name[0] in ("stock", "withdraw") and reply[0] == 1:
            area, packed = str(step.command[-4]), step.command[-3]
            assert isinstance(packed, bytes)
            numbers = {f"+1{area}{value % 2**24}" for (value,) in struct.iter_unpack("<I", packed)}
            self._offered = self._offered | numbers if name[0] == "stock" else self._offered - numbers
        if name[0] == "hold" and reply[0] == b"refused":
            self._not_refused_by_itself(look, name[1], name[3], [number.decode() for number in reply[1:]])
        self._one_number_one_place(look, name[0])
        self._resources_are_backed(look)
        self._complete_orders_are_whole(look)
        self._nothing_ends_too_early(look)
        self._before = look

    def _not_refused_by_itself(self, look: Look, order: str, organization: str, numbers: list[str]) -> None:
        request = look.orders[order].get("request")
        for number in numbers:
            record = look.records.get(number)
            if request and record is not None and record.organization == organization:
                is_own = record.state == "held" and look.orders[record.order].get("request") == request
                assert not is_own, (
                    f"{number} is refused to {order}: {record.order} of the same request has it"
                )

    def _one_number_one_place(self, look: Look, script: str) -> None:
        available, records = look.available, look.records
        twice = available.keys() & records.keys()
        assert not twice, f"{twice} are available and are not"
        if script == "stock":
            self._kept -= {number for number in self._kept & available.keys() if not look.is_kept(number)}
        self._kept |= {number for has in look.organizations.values() for number in has.owned}
        for number in STOCK:
            if number in available:
                assert (available[number] >> 6 > 0) == (number in self._offered), f"the offer of {number}"
                assert number in self._offered or look.is_kept(number), f"{number} is nobody's to offer"
                assert number not in self._kept or look.is_kept(number), f"{number} is not ours to keep"
            elif number in records:
                if records[number].state is not NumberState.RETURNED:
                    is_offered = records[number].attributes >> 6 > 0
                    assert is_offered == (number in self._offered), f"the offer of {number}"
                if records[number].state in (NumberState.ASSIGNED, NumberState.QUARANTINED):
                    assert records[number].attributes & KEPT, f"{number} is not ours to keep"
            else:
                assert number not in self._offered, f"{number} is lost, though a carrier offers it"
                assert number not in self._kept, f"{number} is lost, though it was ours to keep"

    def _resources_are_backed(self, look: Look) -> None:
        records = look.records
        for name, organization in look.organizations.items():
            assert organization.owned.keys() == organization.numbers.keys()
            for number, resource_id in organization.owned.items():
                resource = look.resources[resource_id]
                assert resource["number"] == number
                record = records.get(number)
                assert record is not None, f"{name} has {number}, which is {self._place(look, number)}"
                has = (record.order, record.organization, record.state in ("held", "assigned"))
                assert has == (resource["order_id"], name, True), f"{name} has {number}, but {record}"
                status = look.orders[record.order]["status"]
                assert status == "complete", f"{name} has {number} by {record.order}, which is {status}"

    def _complete_orders_are_whole(self, look: Look) -> None:
        before = self._before.orders if self._before else {}
        for order, record in look.orders.items():
            if record["status"] == "complete" and before.get(order, {}).get("status") != "complete":
                has = {
                    resource["number"]
                    for resource in look.resources.values()
                    if resource["order_id"] == order
                }
                assert has == set(record["numbers"].split()), f"{order} is complete with {has}"

    def _nothing_ends_too_early(self, look: Look) -> None:
        for has in look.organizations.values():
            for number, departure in has.departures.items():
                status = look.orders[departure.split()[0]]["status"]
                assert status != "cancelled", f"{number} has still to be moved, but its order is {status}"
        if self._before is not None:
            for number, record in self._before.records.items():
                if record.state is NumberState.QUARANTINED and number in look.available:
                    due_ms = float(self._before.areas[number[2:5]].timers[number])
                    assert due_ms <= self.play.now_ms, f"{number} leaves its quarantine too early"

    def _place(self, look: Look, number: str) -> str:
        return "available" if number in look.available else "nowhere"

    # What is true when everything has come to rest.

    async def settle(self) -> Look:
        """Let time pass and the sweep do what is due, until nothing is."""
        for rounds in range(1, MOST_ROUNDS + 1):
            await self.play.pass_time(rounds * ROUND_MS)
            outcome = await self.play.call("last sweep", self.sweep())
            assert isinstance(outcome, int), f"the sweep failed: {outcome!r}"
            look = await self.play.look()
            if not open_work(look):
                break
        return look

    async def check(self) -> Look:
        """Let everything come to rest, and see that it is as it has to be."""
        look = await self.settle()
        assert not (stuck := open_work(look)), f"stuck: {stuck}"
        assigned = {
            (number, record.organization, record.order)
            for number, record in look.records.items()
            if record.state is NumberState.ASSIGNED
        }
        had = {
            (number, name, look.resources[resource_id]["order_id"])
            for name, organization in look.organizations.items()
            for number, resource_id in organization.owned.items()
        }
        assert assigned == had, (
            f"assigned without a resource: {assigned - had}; the reverse: {had - assigned}"
        )
        for organization in look.organizations.values():
            overdue = {name for name, at_ms in organization.due.items() if float(at_ms) <= self.play.now_ms}
            assert not overdue, f"overdue: {overdue}"
        self._check_answers(look)
        await self._check_events(look)
        await self._check_lifetimes()
        return look

    def _check_answers(self, look: Look) -> None:
        bodies: dict[str, bytes] = {}
        for told in self.told:
            order = look.orders[told.content["order"]]
            match told.content["what"]:
                case "Placed":
                    assert order["status"] in ("complete", "cancelled"), f"{told} and {order}"
                    assert order["numbers"].split() == told.content["numbers"], f"{told} and {order}"
                case "Refused":
                    assert (order["status"], order["reason"]) == ("failed", "insufficient_inventory"), told
                case "Waiting":
                    assert "quantity" in order, told
            if told.key is not None:
                first = bodies.setdefault(told.key.digest, told.body)
                assert first == told.body, f"{told.key} got {first!r}, then {told.body!r}"
        requests = [
            order["request"]
            for order in look.orders.values()
            if order["status"] in ("complete", "cancelled") and "request" in order
        ]
        assert len(requests) == len(set(requests)), f"two orders for one request: {requests}"

    async def _check_events(self, look: Look) -> None:
        """Each number's events are one chain that ends where it is now; feeds write counts, not numbers."""
        places = dict.fromkeys(STOCK, "available")
        by_feed = set(STOCK) - self._offered
        for area in look.areas:
            for _, flat in await self.play.store.execute("XRANGE", store_keys.events(area), "-", "+"):
                event = _texts(flat)
                if "number" not in event:
                    by_feed |= set(STOCK)
                    continue
                number = event["number"]
                assert event["from"] == places[number] or number in by_feed, f"{event}, was {places[number]}"
                places[number] = event["to"]
        for number in set(STOCK) - by_feed:
            record = look.records.get(number)
            assert places[number] == (record.state if record else "available"), f"the events of {number}"

    async def _check_lifetimes(self) -> None:
        for organization in (ACME, BETA):
            pattern = store_keys.idempotency(organization, "*")
            for key in await self.play.store.execute("KEYS", pattern):
                assert await self.play.store.execute("TTL", key) > 0, f"{key!r} stays for ever"


class Past(NamedTuple):
    """A world in which something has happened."""

    moment: Moment
    look: Look
    told: Sequence[Told]
    ordered: Sequence[OrderRef]
    offered: AbstractSet[str]
    kept: AbstractSet[str]


Prepare = Callable[[World], Awaitable[None]]


def _texts(flat: Any) -> dict[str, str]:
    if isinstance(flat, dict):
        flat = [item for field in flat.items() for item in field]
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return {name.decode(): value.decode() for name, value in fields.items() if name != PACKED_LOCALS}


def open_work(look: Look) -> list[str]:
    """Say what is neither done nor undone yet."""
    return [
        *(f"{number} {record.state}" for number, record in look.records.items() if record.state == "held"),
        *(f"timer of {number}" for area in look.areas.values() for number in area.timers),
        *(f"departure of {number}" for has in look.organizations.values() for number in has.departures),
        *(f"{order} waits" for has in look.organizations.values() for order in has.waiting),
        *(f"{name} {order['status']}" for name, order in look.orders.items() if order["status"] not in ENDED),
    ]


@contextmanager
def shown(play: Play) -> Iterator[None]:
    """Say what had happened when something was wrong."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError("\n".join([str(error), *play.trace])) from error


class _Errors(logging.Handler):
    """Keeps what the sweep could not do, which it only logs."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.errors: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.errors.append(f"{record.getMessage()}: {record.exc_info and record.exc_info[1]!r}")


@pytest.fixture
async def play(store: Store, valkey: str) -> AsyncIterator[Play]:  # noqa: ARG001 - it is emptied and checked
    handler = _Errors()
    logging.getLogger("shared").addHandler(handler)
    play = Play(DirectStore(valkey))
    await play.open()
    yield play
    await play.end()
    await play.store.close()
    logging.getLogger("shared").removeHandler(handler)
    assert not handler.errors


class Saga(NamedTuple):
    """Something that takes several steps, and the world in which it is taken."""

    prepare: Prepare
    work: Callable[[World], Work]
    """Made anew for each repetition: the same request, under the id of a new order."""
    outcome: str = ""
    """Of a request with an Idempotency-Key: what it gives, whatever happens to those who work on it."""


KEY = RequestKey("the-request", "as-it-was")
FIRST = OrderRef(ACME, "first")


async def an_empty_past(world: World) -> None:
    """Nothing has happened yet."""


async def a_rival_with_b1(world: World) -> None:
    await world.play.call("before", world.order(world.new_order(BETA), (B1,)))


async def a_complete_order(world: World) -> None:
    await world.play.call("before", world.order(FIRST, (A1, A2, B1)))


async def an_order_that_nobody_confirmed(world: World) -> None:
    killed = world.play.actor("before", world.order(FIRST, (A1, A2, B1)))
    await world.play.run_past(killed, "commit_order")
    await killed.kill()


async def an_order_that_died_holding(world: World) -> None:
    killed = world.play.actor("before", world.order(FIRST, (A1, A2, B1), KEY))
    await world.play.run(killed, 3)
    await killed.kill()
    await world.play.pass_time(HOLD_MS)


async def a_waiting_bulk_order(world: World) -> None:
    await world.play.call("before", world.bulk(FIRST, Wish(len(STOCK) + 1)))


async def a_waiting_bulk_order_that_can_be_filled(world: World) -> None:
    rival = world.new_order(BETA)
    await world.play.call("before", world.order(rival, (B1, B2)))
    await world.play.call("before", world.bulk(FIRST, Wish(4)))
    await world.play.call("before", world.cancel(rival))


async def a_bulk_order_that_died_holding(world: World) -> None:
    killed = world.play.actor("before", world.bulk(FIRST, Wish(4), KEY))
    await world.play.run_past(killed, "hold")
    await killed.kill()
    await world.play.pass_time(HOLD_MS)


SAGAS = {
    "an order": Saga(
        an_empty_past, lambda world: world.order(world.new_order(ACME), (A1, A2, B1), KEY), "Placed"
    ),
    "an order that is refused": Saga(
        a_rival_with_b1, lambda world: world.order(world.new_order(ACME), (A1, B1), KEY), "Refused"
    ),
    "an order that takes over": Saga(
        an_order_that_died_holding,
        lambda world: world.order(world.new_order(ACME), (A1, A2, B1), KEY),
        "Placed",
    ),
    "a bulk order": Saga(
        an_empty_past, lambda world: world.bulk(world.new_order(ACME), Wish(4), KEY), "Placed"
    ),
    "a bulk order for everything": Saga(
        an_empty_past, lambda world: world.bulk(world.new_order(ACME), Wish(len(STOCK)), KEY), "Placed"
    ),
    "a bulk order that waits": Saga(
        an_empty_past, lambda world: world.bulk(world.new_order(ACME), Wish(len(STOCK) + 1), KEY), "Waiting"
    ),
    "a bulk order that takes over": Saga(
        a_bulk_order_that_died_holding,
        lambda world: world.bulk(world.new_order(ACME), Wish(4), KEY),
        "Placed",
    ),
    "filling a waiting order": Saga(a_waiting_bulk_order_that_can_be_filled, World.fill),
    "a cancel": Saga(a_complete_order, lambda world: world.cancel(FIRST, KEY), "cancelling"),
    "a cancel before the order is confirmed": Saga(
        an_order_that_nobody_confirmed, lambda world: world.cancel(FIRST, KEY), "cancelling"
    ),
    "a cancel of a waiting order": Saga(
        a_waiting_bulk_order, lambda world: world.cancel(FIRST, KEY), "cancelled"
    ),
    "a release": Saga(a_complete_order, lambda world: world.release(ACME, (A1, B1), KEY), "released 2"),
    "a release before the order is confirmed": Saga(
        an_order_that_nobody_confirmed, lambda world: world.release(ACME, (A1, B1), KEY), "released 2"
    ),
    "a return to the carrier": Saga(
        a_complete_order, lambda world: world.release(ACME, (A1, B1), KEY, to_carrier=True), "released 2"
    ),
    "a sweep of a dead order": Saga(an_order_that_died_holding, World.sweep),
    "a sweep of a dead bulk order": Saga(a_bulk_order_that_died_holding, World.sweep),
    "a sweep of an order that nobody confirmed": Saga(an_order_that_nobody_confirmed, World.sweep),
}


async def begin(play: Play, saga: Saga) -> World:
    world = World(play)
    await world.begin(saga.prepare)
    return world


async def count_steps(play: Play, saga: Saga) -> int:
    world = await begin(play, saga)
    actor = play.actor("count", saga.work(world))
    await play.run(actor)
    return actor.taken


def is_allowed(outcome: Any) -> bool:
    """Tell whether a request may come out like this: answered, or told that the outcome is not known."""
    return not isinstance(outcome, BaseException) or isinstance(
        outcome, StoreUnavailable | OutcomeUnknown | InProgress
    )


every_saga = pytest.mark.parametrize("saga", SAGAS.values(), ids=SAGAS)


@every_saga
async def test_a_saga_that_dies_after_any_step_is_finished_or_undone(play: Play, saga: Saga) -> None:
    for steps in range(await count_steps(play, saga) + 1):
        with shown(play):
            world = await begin(play, saga)
            actor = play.actor("it", saga.work(world))
            await play.run(actor, steps)
            await actor.kill()
            await world.check()


@every_saga
async def test_a_saga_that_goes_on_after_it_was_settled_harms_nobody(play: Play, saga: Saga) -> None:
    for steps in range(1, await count_steps(play, saga) + 1):
        with shown(play):
            world = await begin(play, saga)
            late = play.actor("late", saga.work(world))
            await play.run(late, steps)
            await world.settle()
            # What it had is somebody else's now, if it was given back.
            await play.call("rival", world.order(world.new_order(BETA), (A1, B1)))
            await play.run(late)
            assert is_allowed(late.outcome), late.outcome
            await world.check()


def kind_of(outcome: Any) -> str:
    """Give what an outcome says, apart from ids."""
    match outcome:
        case Answer():
            return str(json.decode(outcome.body)["what"])
        case Cancelled():
            return outcome.status
        case Released():
            return f"released {len(outcome.released)}"
        case Refused() | Waiting() | Placed():
            return type(outcome).__name__
    return repr(outcome)


async def outcome_of(play: Play, world: World, answer: Any) -> str:
    """Give what has become of an order: of a bulk order that waits, when the worker has looked at it."""
    if kind_of(answer) == "Waiting":
        await play.pass_time(ROUND_MS)
        await play.call("sweep", world.sweep())
        await play.call("worker", world.fill())
        order = json.decode(answer.body)["order"]
        return "Placed" if (await play.look()).orders[order]["status"] == "complete" else "Waiting"
    return kind_of(answer)


async def repeat_until_answered(play: Play, world: World, saga: Saga) -> Any:
    """Repeat a request as a client does: when it is told to wait, it waits."""
    work = saga.work(world)
    for _ in range(3):
        outcome = await play.call("repeated", work)
        assert is_allowed(outcome), outcome
        if not isinstance(outcome, BaseException):
            return outcome
        await play.pass_time(outcome.for_ms if isinstance(outcome, InProgress) else 1_000)
    raise AssertionError(f"no answer: {outcome!r}")


REQUESTS = {name: saga for name, saga in SAGAS.items() if saga.outcome}
every_request = pytest.mark.parametrize("saga", REQUESTS.values(), ids=REQUESTS)


@every_request
@pytest.mark.parametrize("is_swept", [False, True], ids=["at once", "after a sweep"])
async def test_a_request_whose_reply_was_lost_gives_the_one_true_outcome_when_repeated(
    play: Play, saga: Saga, is_swept: bool
) -> None:
    for lost in range(1, await count_steps(play, saga) + 1):
        with shown(play):
            world = await begin(play, saga)
            deaf = play.actor("deaf", saga.work(world))
            await play.run(deaf, lose_reply_of=lost)
            assert is_allowed(deaf.outcome), deaf.outcome
            if is_swept:
                await play.pass_time(ROUND_MS)
                await play.call("sweep", world.sweep())
            assert kind_of(await repeat_until_answered(play, world, saga)) == saga.outcome
            await world.check()


@every_request
async def test_a_repeated_request_gives_the_one_true_outcome_wherever_a_sweep_stands(
    play: Play, saga: Saga
) -> None:
    for dead_after in range(1, await count_steps(play, saga)):
        swept = 0
        is_at_end = False
        while not is_at_end:
            swept += 1
            with shown(play):
                world = await begin(play, saga)
                first = play.actor("first", saga.work(world))
                await play.run(first, dead_after)
                await first.kill()
                await play.pass_time(HOLD_MS)
                sweeper = play.actor("sweep", world.sweep())
                is_at_end = await play.run(sweeper, swept)
                answer = await repeat_until_answered(play, world, saga)
                await play.run(sweeper)
                assert await outcome_of(play, world, answer) == saga.outcome
                await world.check()


def one_after_another(*works: Work) -> Work:
    """Somebody who waits for the end of one thing before he does the next."""

    async def work(store: Store) -> Any:
        for each in works:
            outcome = await each(store)
        return outcome

    return work


PAIRS = {
    "two organizations order the same": (
        "an order",
        lambda world: world.order(world.new_order(BETA), (B1, A1)),
    ),
    "one organization orders the same twice": (
        "an order",
        lambda world: world.order(world.new_order(ACME), (B1, A1)),
    ),
    "a request and its repetition": ("an order", SAGAS["an order"].work),
    "a bulk request and its repetition": ("a bulk order", SAGAS["a bulk order"].work),
    "a bulk order and an order": ("a bulk order", lambda world: world.order(world.new_order(BETA), (A1, B1))),
    "a bulk order and another": ("a bulk order", lambda world: world.bulk(world.new_order(BETA), Wish(3))),
    "an order and a sweep": ("an order", World.sweep),
    "an order that is refused and a sweep": ("an order that is refused", World.sweep),
    "a bulk order and a sweep": ("a bulk order", World.sweep),
    "a bulk order and the worker": ("a bulk order that takes over", World.fill),
    "the worker and a cancel": (
        "filling a waiting order",
        lambda world: world.cancel(FIRST),
    ),
    "the worker and a sweep": ("filling a waiting order", World.sweep),
    "two workers": ("filling a waiting order", World.fill),
    "two cancels": ("a cancel before the order is confirmed", SAGAS["a cancel"].work),
    "a cancel and a sweep": ("a cancel before the order is confirmed", World.sweep),
    "a cancel and a release": ("a cancel", lambda world: world.release(ACME, (A1, B1))),
    "a cancel and the next order": ("a cancel", lambda world: world.order(world.new_order(ACME), (A1, B1))),
    "a release and a cancel": ("a release before the order is confirmed", lambda world: world.cancel(FIRST)),
    "a release and a sweep": ("a release before the order is confirmed", World.sweep),
    "two releases": ("a release", lambda world: world.release(ACME, (A1, B1), to_carrier=True)),
    "two sweeps of a dead order": ("a sweep of a dead order", World.sweep),
    "two sweeps of a dead bulk order": ("a sweep of a dead bulk order", World.sweep),
    "an order and a feed": ("an order", lambda world: world.feed(A1, offers=False)),
    "a cancel and a feed": ("a cancel", lambda world: world.feed(A1, offers=False)),
    "an order, its cancel, and the next order": (
        "an order",
        lambda world: one_after_another(
            world.cancel(OrderRef(ACME, "acme-1")), world.order(world.new_order(BETA), (A1,))
        ),
    ),
    "a cancel, the next order, and its release": (
        "a cancel",
        lambda world: one_after_another(
            world.order(world.new_order(ACME), (A1,)), world.release(ACME, (A1,))
        ),
    ),
    "a sweep, and a release": (
        "a sweep of an order that nobody confirmed",
        lambda world: world.release(ACME, (A1, B1)),
    ),
}


@pytest.mark.parametrize("mode", ["in time", "too late", "and dies"])
@pytest.mark.parametrize(("name", "other"), PAIRS.values(), ids=PAIRS)
async def test_one_may_stop_anywhere_while_another_goes_on_and_stops(
    play: Play, name: str, other: Callable[[World], Work], mode: str
) -> None:
    saga = SAGAS[name]
    for first_steps in range(1, await count_steps(play, saga)):
        second_steps = 0
        is_at_end = False
        while not is_at_end:
            second_steps += 1
            with shown(play):
                world = await begin(play, saga)
                first = play.actor("first", saga.work(world))
                await play.run(first, first_steps)
                if mode == "too late":
                    await play.pass_time(HOLD_MS)
                second = play.actor("second", other(world))
                is_at_end = await play.run(second, second_steps)
                if mode == "and dies":
                    await second.kill()
                await play.run(first)
                await play.run(second)
                assert is_allowed(first.outcome), first.outcome
                assert is_allowed(second.outcome), second.outcome
                await world.check()


@pytest.mark.parametrize(("name", "other"), PAIRS.values(), ids=PAIRS)
async def test_one_may_die_anywhere_while_another_goes_on(
    play: Play, name: str, other: Callable[[World], Work]
) -> None:
    saga = SAGAS[name]
    for steps in range(1, await count_steps(play, saga) + 1):
        with shown(play):
            world = await begin(play, saga)
            first = play.actor("first", saga.work(world))
            await play.run(first, steps)
            await first.kill()
            outcome = await play.call("second", other(world))
            assert is_allowed(outcome), outcome
            await world.check()


async def test_a_bulk_order_that_gives_back_late_takes_nothing_from_its_next_attempt(play: Play) -> None:
    is_at_end = False
    steps = 0
    while not is_at_end:
        steps += 1
        with shown(play):
            world = World(play)
            await world.begin(an_empty_past)
            late = play.actor("late", world.bulk(FIRST, Wish(len(STOCK))))
            await play.run_past(late, "pick_numbers")
            rival = world.new_order(BETA)
            await play.call("rival", world.order(rival, (B1,)))
            await play.run_past(late, "let_wait")
            await play.call("rival", world.cancel(rival))
            await play.pass_time(HOLD_MS)
            await play.call("sweep", world.sweep())
            worker = play.actor("worker", world.fill())
            is_at_end = await play.run(worker, steps)
            await play.run(late)
            await play.run(worker)
            assert (await world.check()).orders[FIRST.id]["status"] == "complete"


@pytest.mark.parametrize("name", ["an order that takes over", "a bulk order that takes over"])
async def test_an_answer_that_comes_after_its_requests_lifetime_is_not_kept(play: Play, name: str) -> None:
    saga = SAGAS[name]
    for steps in range(1, await count_steps(play, saga)):
        with shown(play):
            world = await begin(play, saga)
            late = play.actor("late", saga.work(world))
            await play.run(late, steps)
            # As the store does when the time is over.
            await play.store.execute("DEL", store_keys.idempotency(ACME, KEY.digest))
            play.trace.append("the request's record expires")
            await play.run(late)
            assert is_allowed(late.outcome), late.outcome
            await world.check()


SCHEDULES = 400

PASTS = (
    an_empty_past,
    a_complete_order,
    an_order_that_nobody_confirmed,
    an_order_that_died_holding,
    a_waiting_bulk_order_that_can_be_filled,
    a_bulk_order_that_died_holding,
)

WHAT_TO_DO = (
    *("order", "order", "again", "again", "bulk", "cancel", "release"),
    *("fill", "sweep", "sweep", "feed"),
)


class Schedule:
    """A few actors, what becomes of them, and who goes next: all drawn."""

    def __init__(self, world: World, random: Random) -> None:
        self._world = world
        self._play = world.play
        self._random = random
        self._hurry = random.choice([0.05, 0.2])
        """How often time passes."""
        self._restless = random.choice([0.1, 0.4, 0.8])
        """How often somebody else goes on."""
        self._requests: list[Callable[[], Work]] = []
        """Those with an Idempotency-Key, to be repeated."""

    async def run(self) -> None:
        random = self._random
        past = random.choice(PASTS)
        await self._world.begin(past)
        if past is an_order_that_died_holding:
            self._requests.append(lambda: SAGAS["an order that takes over"].work(self._world))
        if past is a_bulk_order_that_died_holding:
            self._requests.append(lambda: SAGAS["a bulk order that takes over"].work(self._world))
        actors = [self._play.actor(f"{place}", self._draw()) for place in range(random.randint(2, 6))]
        ends = {actor: random.choices(["goes on", "dies", "stops"], (6, 2, 2))[0] for actor in actors}
        late = await self._interleave(
            actors, {actor: (end, random.randint(0, 12)) for actor, end in ends.items() if end != "goes on"}
        )
        if random.random() < 0.7:
            await self._world.settle()
        await self._interleave(late, {})
        await self._world.check()
        for repeated in self._requests:
            outcome = await self._play.call("repeated", repeated())
            assert is_allowed(outcome), outcome
        await self._world.check()

    async def _interleave(self, actors: list[Actor], ends: dict[Actor, tuple[str, int]]) -> list[Actor]:
        """Let all go on, in any order, to their end; give those that stopped."""
        random, running, stopped = self._random, list(actors), []
        while running:
            if random.random() < self._hurry:
                await self._play.pass_time(random.choice([1_000, HOLD_MS // 2, HOLD_MS, 3 * HOLD_MS]))
            actor = random.choice(running)
            end, after = ends.get(actor, ("", 1_000))
            # A few steps, more seldom many.
            steps = min(int(random.expovariate(self._restless)) + 1, after - actor.taken)
            if await self._go_on(actor, steps):
                running.remove(actor)
                assert is_allowed(actor.outcome), f"{actor.name} raised {actor.outcome!r}"
            elif actor.taken >= after:
                running.remove(actor)
                if end == "dies":
                    await actor.kill()
                else:
                    stopped.append(actor)
        return stopped

    async def _go_on(self, actor: Actor, steps: int) -> bool:
        """Take some steps; tell whether the actor is at its end."""
        for _ in range(steps):
            if await self._play.come_to(actor) is None:
                return True
            step = self._random.choice(actor.steps)
            luck = self._random.random()
            if luck < 0.02:
                self._play.lose(step)
            else:
                await self._play.take(step, lose_reply=luck < 0.05)
        return False

    def _draw(self) -> Work:
        world, random = self._world, self._random
        organization = random.choice([ACME, BETA])
        numbers = tuple(random.sample(STOCK, random.randint(1, 3)))
        target = random.choice([FIRST, FIRST, *world.ordered])
        wish = Wish(random.randint(1, 4), area_code=random.choice([None, "415"]))
        key = RequestKey(f"request {len(self._requests)}", "as-it-was")
        to_carrier = random.random() < 0.2
        request: Callable[[], Work]
        match random.choice(WHAT_TO_DO):
            case "order":
                request = lambda: world.order(world.new_order(organization), numbers, key)  # noqa: E731
            case "bulk":
                request = lambda: world.bulk(world.new_order(organization), wish, key)  # noqa: E731
            case "cancel":
                request = lambda: world.cancel(target, key)  # noqa: E731
            case "release":
                request = lambda: world.release(organization, numbers, key, to_carrier=to_carrier)  # noqa: E731
            case "again" if self._requests:
                return random.choice(self._requests)()
            case "feed":
                return world.feed(numbers[0], offers=random.random() < 0.4)
            case "fill":
                return world.fill()
            case _:
                return world.sweep()
        self._requests.append(request)
        return request()


async def test_whoever_goes_next_dies_or_comes_late_every_number_is_in_one_place(play: Play) -> None:
    found: list[tuple[int, str]] = []
    for seed in range(SCHEDULES):
        random = Random(seed)  # noqa: S311 - draws schedules, keeps no secret
        settings = structs.replace(SETTINGS, cancel_quarantine_seconds=random.choice([0, 30]))
        try:
            with shown(play):
                await Schedule(World(play, settings), random).run()
        except AssertionError as error:
            found.append((len(play.trace), f"schedule {seed}: {error}"))
        await play.end()
    assert not found, f"{len(found)} of {SCHEDULES} schedules; the shortest: {min(found)[1]}"
