"""Limits of requests: the permit of the store, and what the answer says of it.

An organization that was refused is refused in the process until its `Retry-After` is over: that costs the
store nothing.
"""

import math
import time
from functools import lru_cache

from msgspec import Struct

from api.errors import RateLimited
from shared.atomic.permit_operations import PendingPermit, take_permit
from shared.rate_limits import Limit, Limited
from shared.store import Store

_MICROSECONDS = 1_000_000
_MAX_REFUSED = 10_000


class Refusals:
    """Which organizations were refused, under which limit, and until when; under another one they are not."""

    def __init__(self) -> None:
        """Begin with none."""
        self._until: dict[tuple[str, Limited, Limit], float] = {}

    def note(self, organization: str, kind: Limited, limit: Limit, seconds: int) -> None:
        """Refuse an organization for so long."""
        if len(self._until) >= _MAX_REFUSED:
            self._until.clear()
        self._until[organization, kind, limit] = time.monotonic() + seconds

    def seconds_left(self, organization: str, kind: Limited, limit: Limit) -> float:
        """Give for how long an organization is refused; 0 when it is not."""
        until = self._until.get((organization, kind, limit), 0.0)
        left = until - time.monotonic()
        if until and left <= 0:
            del self._until[organization, kind, limit]
        return max(left, 0.0)


class Ticket(Struct):
    """A request's permit: it is asked for, waited for, and told of in the answer."""

    store: Store
    refusals: Refusals
    organization: str
    kind: Limited
    limit: Limit
    asked: PendingPermit | None = None
    said: str = ""
    """Of the limit, in the answer."""

    @property
    def is_refused(self) -> bool:
        """Whether the organization was refused a moment ago."""
        return self.refusals.seconds_left(self.organization, self.kind, self.limit) > 0

    def refusal(self) -> RateLimited:
        """Return the error of an organization that was refused a moment ago."""
        left = self.refusals.seconds_left(self.organization, self.kind, self.limit)
        return self._refused(max(1, math.ceil(left)))

    def ask(self) -> PendingPermit:
        """Send for the permit, unless that was done: ahead of all commands that are given later."""
        if self.asked is None:
            self.asked = take_permit(
                self.store, self.organization, self.kind, self.limit.worth, self.limit.burst
            )
        return self.asked

    async def wait(self) -> None:
        """Wait for the permit.

        Raises:
            RateLimited: the organization has made too many requests.
            StoreUnavailable: the store did not answer.
        """
        permit = await self.ask().wait()
        self.said = f"r={permit.left};t={math.ceil(permit.whole_in / _MICROSECONDS)}"
        if not permit.is_granted:
            seconds = max(1, math.ceil(permit.next_in / _MICROSECONDS))
            self.refusals.note(self.organization, self.kind, self.limit, seconds)
            raise self._refused(seconds)

    def _refused(self, seconds: int) -> RateLimited:
        self.said = f"r=0;t={seconds}"
        return RateLimited(seconds)

    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return the headers that describe the limit (draft-ietf-httpapi-ratelimit-headers-11).

        A client that makes `r` requests in `t` seconds is never refused: `t` is the time until the burst is
        whole, or after a refusal the same as `Retry-After`, which must not end before it (section 6).
        """
        headers = [(b"ratelimit-policy", _policy(self.kind, self.limit))]
        if self.said:
            headers.append((b"ratelimit", f'"{self.kind}";{self.said}'.encode()))
        return headers


@lru_cache
def _policy(kind: Limited, limit: Limit) -> bytes:
    return f'"{kind}";q={limit.burst};w={limit.window_seconds}'.encode()
