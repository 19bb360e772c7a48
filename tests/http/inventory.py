"""Feeds brought over HTTP, and what becomes of them."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx

from tests.http.answers import COVERAGE, FEEDS, SYNCS, UUID7, assert_times, succeeded
from tests.http.organizations import Organization
from tests.support import Service, wait_until

ENDED = {"waiting", "applied", "refused", "failed", "superseded"}
MEMBERS = [
    *("id", "carrier", "mode", "state", "generation", "read", "added", "removed", "unchanged", "rejected"),
    *("duplicate", "protected", "progress", "reason", "created_at", "updated_at", "dry_run", "confirm"),
]


def feed_of(*numbers: str) -> bytes:
    """Write a feed of these numbers."""
    return "\n".join(["number", *numbers, ""]).encode()


def upload(
    caller: Organization,
    carrier: str,
    feed: bytes | Iterable[bytes],
    headers: dict[str, str] | None = None,
    **query: Any,
) -> httpx.Response:
    """Upload a feed."""
    return caller.client.put(f"{FEEDS}/{carrier}", content=feed, headers=headers, params=query)


def fetch(caller: Organization, carrier: str, key: str | None = None, **options: Any) -> httpx.Response:
    """Have a feed fetched."""
    return caller.post(f"{FEEDS}/{carrier}/syncs", options, key)


def queued(response: httpx.Response) -> str:
    """Check that a sync is queued and where it can be looked at, and give its id."""
    sync = succeeded(response, 202)
    assert_sync(sync)
    assert response.headers["location"] == f"{SYNCS}/{sync['id']}"
    sync_id: str = sync["id"]
    return sync_id


def assert_sync(sync: dict[str, Any]) -> None:
    """Check the whole shape of a sync."""
    assert list(sync) == MEMBERS
    assert UUID7.fullmatch(sync["id"])
    counts = set(MEMBERS[4:13]) - {"reason"}
    assert all(isinstance(sync[name], int) and sync[name] >= 0 for name in counts)
    assert_times(sync)


def look(caller: Organization, sync_id: str) -> dict[str, Any]:
    """Give a sync as it is now."""
    sync: dict[str, Any] = succeeded(caller.client.get(f"{SYNCS}/{sync_id}"))
    assert_sync(sync)
    return sync


def ended(caller: Organization, response: httpx.Response) -> dict[str, Any]:
    """Wait until nothing more happens to a queued sync, and give it."""
    sync_id = queued(response)
    wait_until(lambda: look(caller, sync_id)["state"] in ENDED, "the sync has ended")
    return look(caller, sync_id)


def available_in(caller: Organization, area_code: str) -> int:
    """Give how many numbers of an area code are available."""
    areas = succeeded(caller.client.get(COVERAGE))
    return sum(area["available"] for area in areas if area["area_code"] == area_code)


def spool_of(service: Service) -> Path:
    """Give the directory in which feeds wait."""
    return service.data_dir / "spool"


def strays_in_spool(service: Service, caller: Organization) -> list[str]:
    """Give the files in the spool that belong to no sync."""
    return [
        path.name
        for path in spool_of(service).iterdir()
        if path.suffix != ".feed" or caller.client.get(f"{SYNCS}/{path.stem}").status_code == 404
    ]
