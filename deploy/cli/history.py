"""`numbers history`: what has happened to one number, and where it is now."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click
import msgspec
from msgspec import Struct
from rich.table import Table

from deploy.cli.store_option import find_settings, print_json, print_table, store_options, with_store
from shared import store_keys
from shared.atomic.area_operations import NumberState, read_record
from shared.clock import time_of, time_text
from shared.number_events import NumberEvent, read_life, render_event
from shared.phone_number import InvalidNumber, PhoneNumber, parse_number
from shared.stock_score import KEPT, MMS, SMS, attributes_of, carrier_of
from shared.store import Store

_DAY_SECONDS = 86_400


class Place(Struct, frozen=True):
    """Where a number is."""

    state: str
    """`available`, a `NumberState`, or `unknown`."""
    organization: str | None = None
    """The one that has it, or had it last."""
    order: str | None = None
    due: datetime | None = None
    """When its hold or quarantine ends."""
    carrier: str | None = None
    """Who offers it; None when no carrier does, and while it is given back to its own."""
    sms: bool = False
    mms: bool = False
    is_kept: bool = False
    """Whether it stays in the inventory without a carrier's offer, because it was assigned once."""


def _number(_: click.Context, __: click.Parameter, text: str) -> PhoneNumber:
    try:
        return parse_number(text)
    except InvalidNumber as error:
        raise click.BadParameter(f"{text!r:.40} is no US or Canada number: {error}") from error


@click.command()
@click.argument("number", callback=_number)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@store_options
def history(*, number: PhoneNumber, as_json: bool, redis_url: str | None, data_dir: Path) -> None:
    """Show what has happened to NUMBER, oldest first, and where it is now.

    NUMBER may be spelled as people do: +14155550123, 4155550123, '(415) 555-0123'. A line is one change: from
    which state to which, why, and by which order of which organization. States are available, held (an order
    is being placed), assigned, quarantined, returned (to its carrier) and unknown (in no carrier's feed).

    Changes are kept for NUMBERS_EVENT_RETENTION_SECONDS, 30 days. That a feed lists a number, or no longer
    does, is not among them: feeds are counted by area code, not by number.
    """
    settings = find_settings(redis_url, data_dir)
    events, place = with_store(settings, lambda store: _look(store, number))
    if as_json:
        rendered = [render_event(event) for event in events]
        print_json({"number": number.e164, "events": rendered, "now": _rendered(place)})
        return
    if events:
        _print(events)
    else:
        days = settings.event_retention_seconds / _DAY_SECONDS
        click.echo(f"nothing has happened to {number.e164}, as far as events are kept: {days:g} days")
    click.echo(f"now {_described(place)}")


async def _look(store: Store, number: PhoneNumber) -> tuple[list[NumberEvent], Place]:
    events = [event async for event in read_life(store, number)]
    return events, await find_place(store, number)


async def find_place(store: Store, number: PhoneNumber) -> Place:
    """Tell where a number is; raises `StoreUnavailable`."""
    area_code, member = number.area_code, number.e164
    available, record, timer, returned, feeds = await store.execute_many(
        [
            ("ZSCORE", store_keys.available(area_code), member),
            ("HGET", store_keys.unavailable(area_code), member),
            ("ZSCORE", store_keys.timers(area_code), member),
            ("ZSCORE", store_keys.returned(area_code), member),
            ("HGETALL", store_keys.FEEDS),
        ]
    )
    carriers = {int(ordinal): carrier.decode() for carrier, ordinal in feeds.items()}
    if available is not None:
        return Place("available", **_offer(attributes_of(int(available)), carriers))
    if record is None:
        return Place("unknown")
    found = read_record(record)
    due = returned if found.state is NumberState.RETURNED else timer
    return Place(
        found.state,
        found.organization,
        found.order,
        None if due is None else time_of(int(due)),
        **_offer(found.attributes, carriers),
    )


def _offer(value: int, carriers: dict[int, str]) -> dict[str, Any]:
    return {
        "carrier": carriers.get(carrier_of(value)),
        "sms": bool(value & SMS),
        "mms": bool(value & MMS),
        "is_kept": bool(value & KEPT),
    }


def _rendered(place: Place) -> dict[str, Any]:
    return {**msgspec.to_builtins(place), "due": place.due and time_text(place.due)}


def _print(events: list[NumberEvent]) -> None:
    table = Table(box=None)
    for name in ("time", "from → to", "cause", "organization", "order"):
        table.add_column(name, overflow="fold", no_wrap=name == "time")
    for event in events:
        change = f"{event.from_} → {event.to}"
        table.add_row(time_text(event.time), change, event.cause, event.organization or "", event.order or "")
    print_table(table)


def _described(place: Place) -> str:
    """Say where a number is; completes "now"."""
    if place.state == "unknown":
        return "not known: no carrier's feed lists it"
    features = " and ".join(name for name, has in (("sms", place.sms), ("mms", place.mms)) if has)
    offer = f"offered by {place.carrier}" if place.carrier else "offered by no carrier"
    offer += f", with {features}" if features else ", without sms and mms"
    if place.state == "available":
        return f"available, {offer}"
    due = time_text(place.due) if place.due else "a time that is not known"
    owner = f"{place.organization} (order {place.order})"
    return {
        NumberState.HELD: f"held for {owner} until {due}; {offer}",
        NumberState.ASSIGNED: f"assigned to {owner}; {offer}",
        NumberState.QUARANTINED: f"quarantined until {due}, last assigned to {owner}; {offer}",
        NumberState.RETURNED: f"returned to its carrier, last assigned to {owner}; "
        f"a feed may list it anew from {due}",
    }[NumberState(place.state)]
