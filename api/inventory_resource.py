"""A sync as callers see it."""

from datetime import datetime
from typing import Annotated, Any

from litestar import Request
from msgspec import Meta, Struct

from api.envelope import Success
from api.idempotency import keep
from api.services import services_of
from shared.feeds.profiles import Mode, Profiles
from shared.feeds.syncs import Sync, SyncState


class SyncView(Struct, frozen=True):
    """How a carrier's feed is brought in step, and how far that has come."""

    id: str
    carrier: str
    mode: Annotated[Mode, Meta(description="`snapshot`: what is not in the feed is not offered any more.")]
    state: Annotated[
        SyncState,
        Meta(description="`waiting`: what it adds is applied, what it removes waits for a confirmation."),
    ]
    generation: Annotated[int, Meta(description="The carrier's run that had it in hand last; 0 before.")]
    read: Annotated[int, Meta(description="Rows.")]
    added: Annotated[int, Meta(description="Numbers that the carrier did not offer before.")]
    removed: Annotated[int, Meta(description="Numbers that the carrier no longer offers.")]
    unchanged: int
    rejected: Annotated[int, Meta(description="Rows that hold no number.")]
    duplicate: Annotated[int, Meta(description="Numbers that came in another row too.")]
    protected: Annotated[int, Meta(description="Of the changed: numbers whose state no feed changes.")]
    progress: Annotated[int, Meta(description="Percent.")]
    reason: Annotated[str | None, Meta(description="Why it is what it is, for people.")]
    created_at: datetime
    updated_at: datetime
    dry_run: Annotated[bool, Meta(description="It shows what would change, and changes nothing.")]
    confirm: Annotated[bool, Meta(description="What it removes passes the guards.")]


def sync_view(sync: Sync, profiles: Profiles) -> SyncView:
    """Show a sync; one that was started without a mode has its carrier's."""
    return SyncView(
        id=sync.id,
        carrier=sync.carrier,
        mode=sync.mode or profiles.of(sync.carrier).mode,
        state=sync.state,
        generation=sync.generation,
        read=sync.read,
        added=sync.added,
        removed=sync.removed,
        unchanged=sync.unchanged,
        rejected=sync.rejected,
        duplicate=sync.duplicate,
        protected=sync.protected,
        progress=sync.progress,
        reason=sync.reason,
        created_at=sync.created_at,
        updated_at=sync.updated_at,
        dry_run=sync.dry_run,
        confirm=sync.confirm,
    )


def keep_sync(request: Request[Any, Any, Any], sync: Sync) -> bytes:
    """Encode the answer that a sync has work to be done, so that it can be kept."""
    body = Success(data=sync_view(sync, services_of(request).profiles))
    return keep(request, 202, f"/v1/inventory/syncs/{sync.id}", body)
