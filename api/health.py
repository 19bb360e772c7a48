"""Whether the service lives, and whether it can serve."""

from typing import Annotated, Any, Literal

from litestar import Request, get
from msgspec import Meta, Struct

from api.docs import NO_KEY
from api.envelope import Success
from api.errors import InternalError, Unavailable, documented
from api.services import services_of
from shared.jobs import FEED_WORKER_HEALTH_KEY, WORKER_HEALTH_KEY


class Health(Struct, frozen=True):
    """The process answers."""

    status: Annotated[Literal["ok"], Meta(examples=["ok"])] = "ok"


Life = Literal["alive", "missing"]


class Readiness(Struct, frozen=True):
    """The store answers."""

    status: Annotated[
        Literal["ready", "degraded"],
        Meta(
            description="`degraded`: a worker is missing; feeds, or cancellations and bulk orders, wait.",
            examples=["ready"],
        ),
    ]
    worker: Annotated[Life, Meta(examples=["alive"])]
    feed_worker: Annotated[Life, Meta(examples=["alive"])]


@get(
    "/healthz",
    security=NO_KEY,
    tags=["Operation"],
    operation_id="getHealth",
    summary="Is the process alive?",
    response_description="The process is alive.",
    responses=documented(InternalError),
)
async def healthz() -> Success[Health]:
    """Answer, without asking the store."""
    return Success(data=Health())


@get(
    "/readyz",
    security=NO_KEY,
    tags=["Operation"],
    operation_id="getReadiness",
    summary="Can requests be served?",
    response_description="The store answers.",
    responses=documented(InternalError, Unavailable),
)
async def readyz(request: Request[Any, Any, Any]) -> Success[Readiness]:
    """Ask the store; a worker that has shown no sign of life for some seconds counts as missing."""
    store = services_of(request).store
    seen = await store.execute_many([("EXISTS", key) for key in (WORKER_HEALTH_KEY, FEED_WORKER_HEALTH_KEY)])
    worker, feed_worker = map(_life, seen)
    return Success(data=Readiness("ready" if all(seen) else "degraded", worker, feed_worker))


def _life(is_seen: int) -> Life:
    return "alive" if is_seen else "missing"
