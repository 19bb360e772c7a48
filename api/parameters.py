"""What routes take beside a body: ids in paths, pages and filters in queries, the Idempotency-Key."""

from typing import Annotated, Any, Final

from litestar.params import HeaderParameter, PathParameter, QueryParameter

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

MUST: Final = {
    "id": "must be a UUID",
    "cursor": "must be the next_cursor of a page before",
    "limit": "must be an integer from 1 to 100",
    "number_type": "must be one of local, toll_free, short_code",
    "campaign_id": "must be a UUID",
    "search": "must be at most 32 characters",
    "return_to_carrier": "must be true or false",
    "Idempotency-Key": "must be 1-255 printable ASCII characters",
}
"""Parameter → the phrase that says what it must be."""
_SHOWN: Final = {"idempotency_key": "Idempotency-Key"}


def failing_parameters(errors: Any) -> dict[str, str]:
    """Give the phrase of each parameter that Litestar refuses, from the `extra` of its error."""
    names = [str(error.get("key", "")) for error in errors]
    return {(shown := _SHOWN.get(name, name)): MUST.get(shown, "is not valid") for name in names}
