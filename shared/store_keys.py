"""Every key of the store: its name, its type and its lifetime (or why it has none).

The keys of one area code share the hash tag `{415}`, those of one carrier's feed `{feed:acme}`: each is a
unit of atomicity, on one server and on a cluster alike.
"""

SYNC_LIFETIME_SECONDS = 30 * 86_400
"""How long a sync and its rejected rows are kept after they were last written."""

AREAS = "areas"
"""Set of area codes that ever had stock; added to before first use, never removed from. No lifetime."""

API_KEYS = "keys"
"""Hash, key id → digest of its secret: the list of all keys. No lifetime: keys live until revoked and are
kept as a record of who had access."""

FEEDS = "feeds"
"""Hash, carrier → ordinal (1-1023), the number that stands for the carrier in a score. No lifetime."""

SPOOL_DIR = "spool-dir"
"""String, the directory in which the worker looks for feeds. No lifetime: replaced at each worker's start."""


def available(area_code: str) -> str:
    """Sorted set, E.164 text → `local * 65536 + attributes`. No lifetime: it is the stock."""
    return f"{{{area_code}}}:available"


def also_offered(area_code: str) -> str:
    """Hash, E.164 text → attributes of further carriers' offers, `,`-joined. No lifetime: it is the stock."""
    return f"{{{area_code}}}:also"


def fence(area_code: str) -> str:
    """Hash, carrier ordinal → lowest generation that may write here. No lifetime: a late writer has none."""
    return f"{{{area_code}}}:fence"


def api_key(digest: str) -> str:
    """Hash, the record of one API key. No lifetime, as `API_KEYS`."""
    return f"key:{digest}"


def feed(carrier: str) -> str:
    """Hash: generation, applied, intended, lease_until_ms. No lifetime: the state of the feed."""
    return f"{{feed:{carrier}}}"


def feed_queue(carrier: str) -> str:
    """List of sync ids not yet ended, oldest first. No lifetime: gone when empty."""
    return f"{{feed:{carrier}}}:queue"


def feed_snapshot(carrier: str, generation: int) -> str:
    """Hash, `area code:features` → roaring bitmap of local numbers. No lifetime: deleted when superseded."""
    return f"{{feed:{carrier}}}:snapshot:{generation}"


def sync(sync_id: str) -> str:
    """Hash, the record of one sync. Lives `SYNC_LIFETIME_SECONDS`."""
    return f"sync:{sync_id}"


def sync_rejects(sync_id: str) -> str:
    """List of JSON `{"line", "reason"}`, the first rejected rows. Lives `SYNC_LIFETIME_SECONDS`."""
    return f"sync:{sync_id}:rejects"
