"""What an audit can find: each kind of violation, and one of them."""

from enum import StrEnum

from msgspec import Struct

from shared.clock import time_of, time_text


class Kind(StrEnum):
    """What is wrong."""

    UNKNOWN_AREA_CODE = "unknown_area_code"
    """It has numbers, and is not among the area codes: no search and no sweep looks there."""
    UNKNOWN_ORGANIZATION = "unknown_organization"
    """It has a key or numbers, and is not among the organizations: no sweep looks there."""

    FOREIGN_NUMBER = "foreign_number"
    """A member of an area code's keys that is no number of that area code."""
    MALFORMED_RECORD = "malformed_record"
    """What is known of a number cannot be read."""
    WRONG_SCORE = "wrong_score"
    """An available number stands where another one belongs."""
    NOT_OFFERED = "not_offered"
    """Available, though no carrier offers it and it is not ours to keep."""
    TWO_STATES = "two_states"
    """Available and something else."""
    OVERDUE_HOLD = "overdue_hold"
    OVERDUE_QUARANTINE = "overdue_quarantine"
    MISSING_TIMER = "missing_timer"
    """Held or quarantined for ever."""
    STRAY_TIMER = "stray_timer"
    """A timer of a number that is neither held nor quarantined."""
    MISSING_RETURN = "missing_return"
    """Returned, without the time from which a feed may list it anew."""
    STRAY_RETURN = "stray_return"
    """Such a time of a number that is not returned."""
    STRAY_OFFER = "stray_offer"
    """A further carrier's offer of a number that is not known."""
    ASSIGNED_WITHOUT_RESOURCE = "assigned_without_resource"
    """Assigned to an organization that does not have it, and has not lost it this moment."""
    LATE_TIMER = "late_timer"
    """Held or quarantined for longer than can be set."""
    HALF_ORDER = "half_order"
    """Held for an order that was completed with it, by an organization that does not have it."""

    RESOURCE_WITHOUT_ASSIGNMENT = "resource_without_assignment"
    """An organization has it, and its area code says otherwise."""
    OWNED_TWICE = "owned_twice"
    """Two organizations have one number."""
    UNEARNED_RESOURCE = "unearned_resource"
    """An organization has it by an order that brought nothing, or was cancelled."""
    ORDER_LACKS_NUMBER = "order_lacks_number"
    """An organization has it by an order that does not name it, and so would not give it back."""
    INDEX_WITHOUT_RESOURCE = "index_without_resource"
    """Listed among an organization's numbers, without the resource."""
    RESOURCE_NOT_INDEXED = "resource_not_indexed"
    """A resource that is not listed among its organization's numbers."""

    ORDER_WITHOUT_RECORD = "order_without_record"
    """Listed, due or waiting, without the order itself."""
    MALFORMED_ORDER = "malformed_order"
    ORDER_NOT_LISTED = "order_not_listed"
    ORDER_WITHOUT_DUE = "order_without_due"
    """An order that nobody will ever look at again."""
    LATE_DUE = "late_due"
    """Open work on an order that nobody will look at when it is time."""
    OVERDUE_ORDER = "overdue_order"
    """Work on an order that nobody does."""
    MISSING_WAITING = "missing_waiting"
    """A bulk order in nobody's hand that is not among those that wait."""
    STRAY_WAITING = "stray_waiting"
    """Among the bulk orders that wait, though it is none."""

    MALFORMED_DEPARTURE = "malformed_departure"
    DEPARTURE_WITHOUT_DUE = "departure_without_due"
    """A number that its organization has lost and nobody will ever move."""
    STRAY_DUE = "stray_due"
    """A number that is due to be moved, and nobody knows where to."""
    OVERDUE_DEPARTURE = "overdue_departure"
    """A number that has to be moved, and nobody does it."""

    UNREAD_ORDER_EVENT = "unread_order_event"
    """Another service has said what becomes of an order, and no worker reads it."""


class Violation(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong; equal to another one when it is wrong in the very same way."""

    kind: Kind
    number: str | None = None
    area_code: str | None = None
    organization: str | None = None
    order: str | None = None
    resource: str | None = None
    detail: str
    """For people; says nothing that changes while it stays wrong."""
    repairable: bool
    """Whether a repair mends it; a person has to, otherwise."""


def when(ms: int) -> str:
    """Give a time, Unix ms, as people read it."""
    try:
        return time_text(time_of(ms))
    except (ValueError, OverflowError):
        # Beyond all calendars, which is what an audit may find.
        return f"{ms} ms"
