"""An API key as its organization sees it, and what is asked of a new one."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

from litestar.openapi.spec import OpenAPIType, Schema
from msgspec import Meta, Struct

from api.errors import InvalidInput, ValidationFailed
from shared import clock
from shared.api_keys import MAX_LABEL_CHARACTERS, ApiKey, Scope, in_order
from shared.store import Store

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_MS: Final = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
"""Of the year 9999; an offset can lead beyond it."""
_EXPIRES: Final = "be a time to come, in RFC 3339 with an offset, such as 2030-01-31T09:30:00Z"
_SCOPES_SCHEMA: Final = Schema(type=OpenAPIType.STRING, enum=[scope.value for scope in Scope])


class KeyRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """What a new key is to be."""

    label: Annotated[
        str,
        Meta(
            min_length=1,
            max_length=MAX_LABEL_CHARACTERS,
            description="What you call it.",
            examples=["Checkout service"],
            extra={"must": f"be text of 1-{MAX_LABEL_CHARACTERS} characters"},
        ),
    ]
    scopes: Annotated[
        list[Annotated[str, Meta(extra={"must": "be a scope"})]],
        Meta(
            description="What it may do: at least one, none twice, none that your own key lacks.",
            examples=[["numbers:read", "numbers:write"]],
            # In the document only: what breaks these rules is 400, which is not for this type to say.
            extra_json_schema={"extra": {"items": _SCOPES_SCHEMA, "min_items": 1, "unique_items": True}},
            extra={"must": "be a list of scopes"},
        ),
    ]
    expires_at: (
        Annotated[
            datetime,
            Meta(
                tz=True,
                description="When it dies by itself; RFC 3339 with an offset, in the future.",
                examples=["2030-01-31T09:30:00Z"],
                extra={"must": _EXPIRES},
            ),
        ]
        | None
    ) = None


class KeyView(Struct, frozen=True):
    """A key; its secret is shown once, by the answer that made it."""

    id: str
    org_id: Annotated[str, Meta(description="The organization, whose numbers it opens.")]
    label: str | None
    prefix: Annotated[str, Meta(description="The first 12 characters of the secret.")]
    scopes: list[Scope]
    created_at: datetime
    last_used_at: Annotated[datetime | None, Meta(description="To about ten seconds.")]
    revoked_at: datetime | None
    expires_at: datetime | None
    plaintext: Annotated[str | None, Meta(description="The secret, in the answer that made it only.")] = None


def key_view(key: ApiKey, secret: str | None = None) -> KeyView:
    """Show a key, and its secret to who had it made."""
    return KeyView(
        id=key.id,
        org_id=key.org_id,
        label=key.label,
        prefix=key.prefix,
        scopes=list(key.scopes),
        created_at=clock.time_of(key.created_ms),
        last_used_at=_time_of(key.last_used_ms),
        revoked_at=_time_of(key.revoked_ms),
        expires_at=_time_of(key.expires_ms),
        plaintext=secret,
    )


def _time_of(ms: int | None) -> datetime | None:
    return None if ms is None else clock.time_of(ms)


def scopes_of(names: Sequence[str]) -> tuple[Scope, ...]:
    """Read scopes.

    Raises:
        InvalidInput: there are none, or they are unknown, or come twice.
    """
    known = {scope.value for scope in Scope}
    details = {} if names else {"scopes": "must have at least one scope"}
    for place, name in enumerate(names):
        if name not in known:
            details[f"scopes.{place}"] = "is not a known scope"
        elif (first := names.index(name)) < place:
            details[f"scopes.{place}"] = f"is the same as scopes.{first}"
    if details:
        raise InvalidInput(details)
    return in_order([Scope(name) for name in names])


async def expiry_of(store: Store, expires_at: datetime | None) -> int | None:
    """Give when a key dies, Unix ms.

    Raises:
        ValidationFailed: by the store's clock it would be dead already.
        StoreUnavailable: the store did not answer.
    """
    if expires_at is None:
        return None
    expires_ms = (expires_at - _EPOCH) // timedelta(milliseconds=1)
    if not await clock.now_ms(store) < expires_ms <= _LAST_MS:
        raise ValidationFailed({"expires_at": f"must {_EXPIRES}"})
    return expires_ms
