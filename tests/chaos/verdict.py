"""What is looked at when everything is quiet: store, API and the memory of the buyers side by side."""

from collections import defaultdict
from collections.abc import Iterable, Mapping

from shared.atomic.area_operations import NumberState
from shared.stock_score import KEPT, MMS, SMS
from tests.chaos.ledger import Hand, Ledger
from tests.chaos.picture import COMMITTED, Organization, Picture, Violation

_NOWHERE = ("available", "unknown")
_TAKEN_BACK = ("release", "cancel", "return_to_carrier")
Listed = Mapping[str, tuple[list[dict[str, object]], list[dict[str, object]]]]
"""Organization → its orders and its numbers, as the API lists them."""


def feed_violations(picture: Picture, offers: Mapping[int, Mapping[str, int]]) -> Iterable[Violation]:
    """Give what does not fit the carriers' last feeds (ordinal → number → features)."""
    offered: defaultdict[str, dict[int, int]] = defaultdict(dict)
    for ordinal, numbers in offers.items():
        for number, features in numbers.items():
            offered[number][ordinal] = features
    for number in offered.keys() - picture.known():
        yield Violation(f"{number} is lost: {offered[number]} offer it", (number,))
    for area in picture.areas.values():
        for number in (*area.available, *area.records):
            attributes = area.attributes_of(number) or 0
            record = area.records.get(number)
            told = offered.get(number, {})
            shown = [attributes, *area.also.get(number, [])]
            known = {one >> 6: one & (SMS | MMS) for one in shown if one >> 6}
            if known != told:
                state = record.state if record else "available"
                yield Violation(f"{number} ({state}): offers known {known}, told {told}", (number,))
            was_assigned = record and record.state in (NumberState.ASSIGNED, NumberState.QUARANTINED)
            if was_assigned and not attributes & KEPT:
                yield Violation(f"{number} was assigned and is not kept: {record}", (number,))


def memory_violations(picture: Picture, ledger: Ledger) -> Iterable[Violation]:
    """Give what the buyers were told and is not so."""
    for order_id, purchase in ledger.purchases.items():
        organization = picture.organizations[purchase.organization]
        record = organization.orders.get(order_id)
        may_be = ("cancelled",) if purchase.is_cancelled else ("complete",)
        if record is None or record["status"] not in may_be:
            yield Violation(f"order {order_id} was told to be {may_be}, and is {record}", (), (order_id,))
            continue
        if purchase.claims and set(record["numbers"].split()) != {one.number for one in purchase.claims}:
            yield Violation(f"order {order_id} was told to have other numbers", (), (order_id,))
        for claim in purchase.claims:
            resource = organization.resources.get(claim.resource_id)
            is_there = resource is not None and (resource["number"], resource["order_id"]) == (
                claim.number,
                order_id,
            )
            if claim.hand is Hand.LEAVING or is_there != (claim.hand is Hand.OWNED):
                told = f"{claim.number} of order {order_id} is {claim.hand.value}"
                yield Violation(f"{told} and its resource is {resource}", (claim.number,), (order_id,))
    for order_id, name in ledger.refused.items():
        record = picture.organizations[name].orders.get(order_id)
        if record is None or record["status"] != "failed":
            yield Violation(f"order {order_id} was told to have failed, and is {record}", (), (order_id,))
    for name, order_id, record in picture.orders():
        yield from _of_stranger(picture.organizations[name], order_id, record, ledger)


def _of_stranger(
    organization: Organization, order_id: str, record: dict[str, str], ledger: Ledger
) -> Iterable[Violation]:
    """Look at an order that no buyer was told of: it is of a request without an outcome, and whole."""
    if record["status"] not in COMMITTED or order_id in ledger.purchases:
        return
    label = record.get("label", "")
    if label not in ledger.unknown and order_id not in ledger.waiting:
        yield Violation(
            f"order {order_id} ({label}) came to be, and its buyer was told else", (), (order_id,)
        )
    has = {one["number"] for one in organization.resources.values() if one["order_id"] == order_id}
    if record["status"] != "complete" or has != set(record["numbers"].split()):
        yield Violation(f"half order {order_id}: {record}, has {sorted(has)}", (), (order_id,))


def history_violations(picture: Picture, ledger: Ledger) -> Iterable[Violation]:
    """Give where the events of a number are no life, or a number was taken before it was given up."""
    lives: defaultdict[str, list[dict[str, str]]] = defaultdict(list)
    for area in picture.areas.values():
        for event in area.events.values():
            if "number" in event:
                lives[event["number"]].append(event)
    for number, life in lives.items():
        yield from _of_life(number, life)
        area = picture.areas[number[2:5]]
        record = area.records.get(number)
        now = record.state.value if record else "available" if number in area.available else "unknown"
        last = life[-1]["to"]
        if now != last and not (now in _NOWHERE and last in _NOWHERE):
            yield Violation(f"{number} is {now}, its last event says {last}", (number,))
        since_returned = [event["to"] for event in life]
        while "returned" in since_returned:
            del since_returned[: since_returned.index("returned") + 1]
        if now == "unknown" and "assigned" in since_returned:
            yield Violation(f"{number} was ours to keep and is gone", (number,))
    yield from _of_taken_numbers(lives, ledger)
    yield from _of_sold_numbers(lives, ledger)


def _of_life(number: str, life: list[dict[str, str]]) -> Iterable[Violation]:
    """Each event begins where the last one ended; what feeds do in between is not told number by number."""
    state, order = "unknown", ""
    for event in life:
        before = event["from"]
        if before != state and not (before == "available" and state in _NOWHERE):
            yield Violation(f"{number} was {state} and then left {before}: {event}", (number,))
        if state in ("held", "assigned") and event["order"] != order:
            yield Violation(f"{number} was {state} for {order}: {event}", (number,), (order,))
        state, order = event["to"], event["order"]


def _of_taken_numbers(lives: Mapping[str, list[dict[str, str]]], ledger: Ledger) -> Iterable[Violation]:
    given_up = {
        (claim.order.id, claim.number): claim.given_up_ms
        for purchase in ledger.purchases.values()
        for claim in purchase.claims
    }
    for number, life in lives.items():
        for event in life:
            asked_ms = given_up.get((event["order"], number))
            if event["cause"] not in _TAKEN_BACK or asked_ms is None:
                continue
            if not 0 < asked_ms <= int(event["time"]):
                text = f"{number} was taken before it was given up: {event}"
                yield Violation(text, (number,), (event["order"],))


def _of_sold_numbers(lives: Mapping[str, list[dict[str, str]]], ledger: Ledger) -> Iterable[Violation]:
    """Each number that was sold was held once more than it was let go, and taken back as often as asked."""
    for purchase in ledger.purchases.values():
        for claim in purchase.claims:
            life = [event for event in lives.get(claim.number, []) if event["order"] == purchase.id]
            taken_back = sum(event["cause"] in _TAKEN_BACK for event in life)
            let_go = sum(event["from"] == "held" and event["to"] in _NOWHERE for event in life) - sum(
                event["from"] == "held" and event["to"] in _NOWHERE and event["cause"] in _TAKEN_BACK
                for event in life
            )
            held = sum(event["to"] == "held" for event in life)
            if held - let_go != 1 or taken_back != (claim.hand is not Hand.OWNED):
                steps = [(event["from"], event["to"], event["cause"]) for event in life]
                yield Violation(
                    f"{claim.number} ({claim.hand.value}) by order {purchase.id}: {steps}",
                    (claim.number,),
                    (purchase.id,),
                )


def relay_violations(picture: Picture) -> Iterable[Violation]:
    """Give where other services read something else than what happened, each event once and in order."""
    for area_code, area in picture.areas.items():
        relayed = [entry for entry in picture.relayed if entry["area_code"] == area_code]
        if [entry["id"] for entry in relayed] != list(area.events):
            yield Violation(
                f"{area_code}: {len(area.events)} events, {len(relayed)} relayed, or out of order"
            )
        for entry in relayed:
            event = area.events.get(entry["id"], {})
            if not event.items() <= entry.items():
                yield Violation(f"{area_code}: {event} was relayed as {entry}", (event.get("number", ""),))


def api_violations(picture: Picture, listed: Listed) -> Iterable[Violation]:
    """Give where what the API lists is not what the store has, and numbers that are in two live orders."""
    live: dict[str, str] = {}
    for name, (orders, numbers) in listed.items():
        organization = picture.organizations[name]
        shown = {str(order["order_id"]): str(order["status"]) for order in orders}
        if len(shown) != len(orders) or shown != {
            order_id: record["status"] for order_id, record in organization.orders.items()
        }:
            yield Violation(
                f"{name}: its orders are listed as {len(orders)}, {len(organization.orders)} there are"
            )
        owned = {str(one["number"]): (str(one["id"]), str(one["order_id"])) for one in numbers}
        if len(owned) != len(numbers) or owned != {
            record["number"]: (resource_id, record["order_id"])
            for resource_id, record in organization.resources.items()
        }:
            yield Violation(
                f"{name}: its numbers are listed as {len(numbers)}, {len(organization.resources)}"
            )
        complete = {order_id for order_id, status in shown.items() if status == "complete"}
        for number, (_, order_id) in owned.items():
            if number in live or order_id not in complete:
                yield Violation(
                    f"{number} is in {order_id} ({shown.get(order_id)}) and in {live.get(number)}",
                    (number,),
                    (order_id,),
                )
            live[number] = order_id
