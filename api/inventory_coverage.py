"""What there is in each area code: `/v1/inventory/coverage`."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Request, get
from msgspec import Meta, Struct

from api.authentication import requires
from api.envelope import Success
from api.errors import Forbidden, InternalError, Unauthorized, Unavailable, documented
from api.services import services_of
from shared.api_keys import Scope
from shared.coverage import AreaCoverage, read_coverage
from shared.phone_number import NumberType, number_type_of


class ConfirmedBy(Struct, frozen=True):
    """A carrier that has said what it offers in an area code."""

    carrier: str
    confirmed_at: Annotated[datetime, Meta(description="When it last did.")]


class Coverage(Struct, frozen=True):
    """Numbers of one area code, by state."""

    area_code: str
    number_type: NumberType
    available: int
    held: Annotated[int, Meta(description="An order is being placed.")]
    assigned: int
    quarantined: int
    returned: Annotated[int, Meta(description="Given back to their carriers, and not offered anew.")]
    carriers: Annotated[list[ConfirmedBy], Meta(description="In the order of their names.")]


@get(
    "/v1/inventory/coverage",
    before_request=requires(Scope.PLATFORM_INVENTORY_READ),
    operation_id="getCoverage",
    summary="Count the inventory",
    tags=["Inventory"],
    response_description="All area codes that ever had stock, in their order.",
    responses=documented(Unauthorized, Forbidden, InternalError, Unavailable),
)
async def get_coverage(request: Request[Any, Any, Any]) -> Success[list[Coverage]]:
    """Count what there is in each area code, and say when each carrier last confirmed what it offers there.

    Numbers that change their state while they are counted may count twice, or not at all.
    """
    return Success(data=[_shown(area) for area in await read_coverage(services_of(request).store)])


def _shown(area: AreaCoverage) -> Coverage:
    counts = area.counts
    return Coverage(
        area_code=area.area_code,
        number_type=number_type_of(area.area_code),
        available=counts.available,
        held=counts.held,
        assigned=counts.assigned,
        quarantined=counts.quarantined,
        returned=counts.returned,
        carriers=[ConfirmedBy(carrier, at) for carrier, at in area.confirmations],
    )
