"""Every key of the store: its name, its type and its lifetime (or why it has none).

The keys of one area code share the hash tag `{415}`, those of one organization `{org:acme}`, those of one
carrier's feed `{feed:acme}`: each is a unit of atomicity, on one server and on a cluster alike.
"""

SYNC_LIFETIME_SECONDS = 30 * 86_400
"""How long a sync and its rejected rows are kept after they were last written."""

IDEMPOTENCY_SECONDS = 86_400
"""How long the answer to a request with an Idempotency-Key is kept."""

RELEASED_SECONDS = 30 * 86_400
"""How long an organization is told that it has released a number before."""

ORDER_SECONDS = 90 * 86_400
"""How long an order is kept after its end."""

AREAS = "areas"
"""Set of area codes that ever had stock; added to before first use, never removed from. No lifetime."""

ORGANIZATIONS = "orgs"
"""Set of organizations that ever had a key; added to before first use, never removed from. No lifetime."""

API_KEYS_CHANGED = "keys:changed"
"""No key but a channel: the id of each API key that is revoked or gets another secret."""

FEEDS = "feeds"
"""Hash, carrier → ordinal (1-1023), the number that stands for the carrier in a score. No lifetime."""

SYNCS = "syncs"
"""Sorted set, sync id → when it was queued, Unix ms. No lifetime: trimmed by age at each."""

SPOOL_DIR = "spool-dir"
"""String, the directory in which the worker looks for feeds. No lifetime: replaced at each worker's start."""

NUMBER_EVENTS = "events:numbers"
"""Stream, the events of all area codes as other services read them. No lifetime: trimmed by age."""

EVENTS_RELAYED = "{events:numbers}:relayed"
"""Hash, area code → id of its last event in `NUMBER_EVENTS`. No lifetime: nothing is relayed twice."""

ORDER_EVENTS = "events:orders"
"""Stream that other services write: what has become of orders. No lifetime: trimmed by age."""

REJECTED_ORDER_EVENTS = "events:orders:rejected"
"""Stream, entries of `ORDER_EVENTS` that could not be used, with the reason. No lifetime: trimmed by age."""


def available(area_code: str) -> str:
    """Sorted set, E.164 text → `local * 65536 + attributes`. No lifetime: it is the stock."""
    return f"{{{area_code}}}:available"


def also_offered(area_code: str) -> str:
    """Hash, E.164 text → attributes of further carriers' offers, `,`-joined. No lifetime: it is the stock."""
    return f"{{{area_code}}}:also"


def fence(area_code: str) -> str:
    """Hash, carrier ordinal → lowest generation that may write here. No lifetime: a late writer has none."""
    return f"{{{area_code}}}:fence"


def unavailable(area_code: str) -> str:
    """Hash, E.164 text → `state attributes attempt order organization`. No lifetime: it is who has what."""
    return f"{{{area_code}}}:unavailable"


def timers(area_code: str) -> str:
    """Sorted set, E.164 text → when a hold or a quarantine ends, Unix ms. No lifetime: gone when done."""
    return f"{{{area_code}}}:timers"


def returned(area_code: str) -> str:
    """Sorted set, E.164 text → when a feed may list it anew, Unix ms. No lifetime: gone when listed."""
    return f"{{{area_code}}}:returned"


def events(area_code: str) -> str:
    """Stream, every change of a number's life. No lifetime: trimmed by age."""
    return f"{{{area_code}}}:events"


def order(organization: str, order_id: str) -> str:
    """Hash, the record of one order. No lifetime: `due` says when it is forgotten."""
    return f"{{org:{organization}}}:order:{order_id}"


def orders(organization: str) -> str:
    """Sorted set, order id → its place in the organization's sequence. No lifetime, as `order`."""
    return f"{{org:{organization}}}:orders"


def waiting(organization: str) -> str:
    """Sorted set, id of a bulk order that waits → since when, Unix ms. No lifetime: gone when done."""
    return f"{{org:{organization}}}:waiting"


def numbers(organization: str) -> str:
    """Sorted set, E.164 text → its place in the organization's sequence. No lifetime: it is what it has."""
    return f"{{org:{organization}}}:numbers"


def owned(organization: str) -> str:
    """Hash, E.164 text → resource id. No lifetime, as `numbers`."""
    return f"{{org:{organization}}}:owned"


def resource(organization: str, resource_id: str) -> str:
    """Hash, one number of the organization and its routing. No lifetime, as `numbers`."""
    return f"{{org:{organization}}}:number:{resource_id}"


def released(organization: str) -> str:
    """Sorted set, id of a released resource → when, Unix ms. No lifetime: trimmed by age at each."""
    return f"{{org:{organization}}}:released"


def departures(organization: str) -> str:
    """Hash, E.164 text → `order target quarantine_ms cause`: numbers that still have to be moved.

    No lifetime: gone when moved in their area code; the organization has lost them before.
    """
    return f"{{org:{organization}}}:departures"


def due(organization: str) -> str:
    """Sorted set, order id or E.164 text of a departure → when to look again, Unix ms.

    No lifetime: it is the organization's open work.
    """
    return f"{{org:{organization}}}:due"


def sequence(organization: str) -> str:
    """String, counts orders and resources of the organization. No lifetime: no place is used twice."""
    return f"{{org:{organization}}}:sequence"


def idempotency(organization: str, digest: str) -> str:
    """Hash, the fingerprint and the answer of a request that carries an Idempotency-Key.

    Lives `IDEMPOTENCY_SECONDS`.
    """
    return f"{{org:{organization}}}:idempotency:{digest}"


def api_keys(organization: str) -> str:
    """Hash, id of an API key → its record, JSON. No lifetime: they say who had access, and are few."""
    return f"{{org:{organization}}}:keys"


def api_key_uses(organization: str) -> str:
    """Hash, id of an API key → when it was last used, Unix ms. No lifetime, as `api_keys`."""
    return f"{{org:{organization}}}:keys:used"


def api_key_events(organization: str) -> str:
    """Stream, what has become of API keys, and who did it. No lifetime: about the last thousand."""
    return f"{{org:{organization}}}:keys:events"


def rate_limits(organization: str) -> str:
    """Hash, what is set for this organization instead of the settings. No lifetime: until it is cleared."""
    return f"{{org:{organization}}}:limits"


def permits(organization: str, name: str) -> str:
    """String, when all requests of a kind that were let through will have been worth their time, Unix µs.

    Lives `Permit.whole_in`: until that time.
    """
    return f"{{org:{organization}}}:permits:{name}"


def api_key_digest(digest: str) -> str:
    """String, `organization id` of the API key whose secret has this digest. No lifetime, as the secret."""
    return f"key:{digest}"


def feed(carrier: str) -> str:
    """Hash, the state of a feed. No lifetime.

    `generation`, `lease_until_ms`: the run that has it in hand. `applied`, `intended`: generations of the
    snapshots that are in stock and that were begun; `applied_by`: the sync that made the first, `protected`:
    how many of the numbers that it changed are. `previous`: the generation before that sync, 0 when there was
    none. `fetched`, `source`: JSON, what was fetched last from the source, and what of it was applied last.
    `noted_by`: the sync that noted last which delta it applied. `order`: the carriers' precedence at the last
    run.
    """
    return f"{{feed:{carrier}}}"


def feed_queue(carrier: str) -> str:
    """List of `task:sync id` not yet done, oldest first. No lifetime: gone when empty."""
    return f"{{feed:{carrier}}}:queue"


def feed_snapshot(carrier: str, generation: int) -> str:
    """Hash, `area code:features` → roaring bitmap of local numbers. No lifetime: deleted when superseded."""
    return f"{{feed:{carrier}}}:snapshot:{generation}"


def feed_waiting(carrier: str) -> str:
    """Set of the syncs whose removals wait for a confirmation. No lifetime: confirmed or superseded."""
    return f"{{feed:{carrier}}}:waiting"


def feed_removals(carrier: str, sync_id: str) -> str:
    """Hash, `area code:0` → roaring bitmap: what a sync wants to remove. No lifetime, as `feed_waiting`."""
    return f"{{feed:{carrier}}}:removals:{sync_id}"


def feed_contents(carrier: str) -> str:
    """Sorted set, SHA-256 of a delta that was applied → when, Unix ms. No lifetime: the last thousand."""
    return f"{{feed:{carrier}}}:contents"


def feed_confirmed(carrier: str) -> str:
    """Hash, area code → when the carrier last said what it offers there, Unix ms. No lifetime."""
    return f"{{feed:{carrier}}}:confirmed"


def sync(sync_id: str) -> str:
    """Hash, the record of one sync. Lives `SYNC_LIFETIME_SECONDS`."""
    return f"sync:{sync_id}"


def sync_rejects(sync_id: str) -> str:
    """List of JSON `{"line", "reason", "start"}`, the first rejected rows. Lives `SYNC_LIFETIME_SECONDS`."""
    return f"sync:{sync_id}:rejects"
