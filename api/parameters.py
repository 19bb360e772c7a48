"""What routes take beside a body: ids in paths, pages, filters and options in queries, and headers."""

from typing import Annotated, Any, Final

from litestar.params import HeaderParameter, PathParameter, QueryParameter

from shared.feeds.profiles import CARRIER_NAME, Mode
from shared.phone_number import NumberType

UUID_PATTERN: Final = r"^[0-9a-fA-F-]{36}$(?!\n)"
"""The end of the text in both Python, where `$` lets a newline follow, and JavaScript."""

_MOST_DIGITS = 15
"""Of a place in an organization's sequence: the store counts exactly up to 2^53."""

ResourceId = Annotated[
    str,
    PathParameter(pattern=UUID_PATTERN, description="A UUID.", examples=[], schema_extra={"format": "uuid"}),
]
Cursor = Annotated[
    str | None,
    QueryParameter(
        pattern=rf"^[0-9]{{1,{_MOST_DIGITS}}}$(?!\n)",
        description="`meta.next_cursor` of the page before; the first page has none.",
    ),
]
Limit = Annotated[int, QueryParameter(ge=1, le=100, description="How many at most on this page.")]
SyncCursor = Annotated[
    str | None,
    QueryParameter(
        pattern=UUID_PATTERN, description="`meta.next_cursor` of the page before; the first page has none."
    ),
]
KeyCursor = Annotated[
    str | None,
    QueryParameter(
        pattern=rf"^[0-9]{{1,{_MOST_DIGITS}}}\.[0-9a-fA-F-]{{36}}$(?!\n)",
        description="`meta.next_cursor` of the page before; the first page has none.",
    ),
]
IncludeRevoked = Annotated[bool, QueryParameter(description="Those that are revoked are listed as well.")]
Carrier = Annotated[
    str,
    PathParameter(
        pattern=rf"^{CARRIER_NAME.pattern}$(?!\n)",
        description="Whose feed it is: 1-32 characters of a-z, 0-9 and -.",
        examples=[],
    ),
]
ModeOption = Annotated[
    Mode | None,
    QueryParameter(description="What the feed says; without it what the carrier's profile has."),
]
DryRun = Annotated[bool, QueryParameter(description="Show what would change, and change nothing.")]
Confirm = Annotated[
    bool,
    QueryParameter(description="You have looked at the feed: what it removes passes the guards."),
]
TypeFilter = Annotated[NumberType | None, QueryParameter(description="Only numbers of this type.")]
CampaignFilter = Annotated[
    str | None, QueryParameter(pattern=UUID_PATTERN, description="Only numbers of this campaign.")
]
SearchFilter = Annotated[
    str | None,
    QueryParameter(max_length=32, description="Only numbers whose E.164 text contains this."),
]
IdempotencyKey = Annotated[
    str | None,
    HeaderParameter(
        name="Idempotency-Key",
        pattern=r"^[ -~]{1,255}$(?!\n)",
        description="Makes the request safe to repeat for 24 hours: the same key with the same request is "
        "answered as the first time.",
    ),
]
ContentDigest = Annotated[
    str | None,
    HeaderParameter(
        name="Content-Digest",
        description="`sha-256=:…:`, the digest of the body (RFC 9530): a feed that does not agree with it is "
        "refused.",
    ),
]

MUST: Final = {
    "id": "must be a UUID",
    "cursor": "must be the next_cursor of a page before",
    "limit": "must be an integer from 1 to 100",
    "number_type": "must be one of local, toll_free, short_code",
    "campaign_id": "must be a UUID",
    "search": "must be at most 32 characters",
    "return_to_carrier": "must be true or false",
    "include_revoked": "must be true or false",
    "carrier": "must be 1-32 characters of a-z, 0-9 and -",
    "mode": "must be snapshot or delta",
    "dry_run": "must be true or false",
    "confirm": "must be true or false",
    "Content-Digest": "must have a sha-256 digest, such as sha-256=:…:",
    "Idempotency-Key": "must be 1-255 printable ASCII characters",
}
"""Parameter → the phrase that says what it must be."""
_SHOWN: Final = {"idempotency_key": "Idempotency-Key", "content_digest": "Content-Digest"}


def failing_parameters(errors: Any) -> dict[str, str]:
    """Give the phrase of each parameter that Litestar refuses, from the `extra` of its error."""
    names = [str(error.get("key", "")) for error in errors]
    return {(shown := _SHOWN.get(name, name)): MUST.get(shown, "is not valid") for name in names}
