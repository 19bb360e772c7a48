"""A number as its organization sees it, and the routing that it can be given."""

from datetime import datetime
from typing import Annotated

from msgspec import Meta, Struct

from api.parameters import UUID_PATTERN
from shared.atomic.order_operations import Routing
from shared.clock import time_of
from shared.orders.resources import Resource
from shared.phone_number import NumberType, number_type_of
from shared.stock_score import MMS, SMS

_URL = r"https://[0-9A-Za-z_\[][!-~]*$(?!\n)"
_MAX_URL_LENGTH = 2048

Url = Annotated[
    str,
    Meta(
        pattern=rf"^{_URL}",
        max_length=_MAX_URL_LENGTH,
        description="An https URL, in ASCII.",
        examples=["https://example.com/inbound"],
        extra={"must": "be an https URL of at most 2048 characters"},
    ),
]
UrlOrNothing = Annotated[
    str,
    Meta(
        pattern=rf"^$(?!\n)|^{_URL}",
        max_length=_MAX_URL_LENGTH,
        description="An https URL, in ASCII; an empty text clears it.",
        examples=["https://example.com/inbound"],
        extra={"must": "be an https URL of at most 2048 characters, or empty"},
    ),
]
Label = Annotated[
    str,
    Meta(
        max_length=255,
        description="What you call it; an empty text is none.",
        examples=["Support line"],
        extra={"must": "be text of at most 255 characters"},
    ),
]
CampaignId = Annotated[
    str,
    Meta(
        pattern=UUID_PATTERN,
        description="Kept, not looked up.",
        examples=["01932c07-2c4f-7000-8000-000000000000"],
        extra={"must": "be a UUID"},
    ),
]


class NumberResource(Struct, frozen=True):
    """A number that an organization has."""

    id: Annotated[str, Meta(examples=["01932c07-2c4f-7000-8000-000000000001"])]
    number: Annotated[str, Meta(description="E.164.", examples=["+14155550123"])]
    number_type: Annotated[NumberType, Meta(examples=["local"])]
    inbound_url: Annotated[str | None, Meta(description="Where its incoming messages go.")]
    status_url: Annotated[str | None, Meta(description="Where the states of its outgoing messages go.")]
    label: str | None
    campaign_id: str | None
    sms_enabled: bool
    mms_enabled: bool
    created_at: Annotated[datetime, Meta(description="When it was ordered, UTC.")]
    updated_at: Annotated[datetime, Meta(description="When its routing was last changed, UTC.")]
    order_id: Annotated[str, Meta(description="The order by which it came.")]


def number_resource(resource: Resource) -> NumberResource:
    """Return a resource as it is shown. Arguments by position: a page has up to 100 of them."""
    number, features, routing = resource.number, resource.features, resource.routing
    return NumberResource(
        resource.id,
        number,
        number_type_of(number[2:5]),
        routing.inbound_url,
        routing.status_url,
        routing.label,
        routing.campaign_id,
        bool(features & SMS),
        bool(features & MMS),
        time_of(resource.created_ms),
        time_of(resource.updated_ms),
        resource.order_id,
    )


def routing_of(
    inbound_url: str | None, status_url: str | None, label: str | None, campaign_id: str | None
) -> Routing:
    """Read the routing of a request: an empty label is none, and ids are compared in lower case."""
    return Routing(inbound_url, status_url, label or None, campaign_id and campaign_id.lower())
