"""The envelope: the shape that every answer has."""

from typing import Annotated, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

T = TypeVar("T")


class Success(Struct, Generic[T], kw_only=True):
    """An answer to a request that succeeded."""

    success: Literal[True] = True
    data: T


class PageMeta(Struct):
    """Where a page stands in its collection."""

    total: Annotated[int, Meta(description="Of all pages.", examples=[1])]
    limit: Annotated[int, Meta(examples=[20])]
    offset: Annotated[int, Meta(description="Always 0: pages follow each other by cursor.", examples=[0])]
    next_cursor: Annotated[str | None, Meta(description="null on the last page.", examples=[None])]


class Page(Struct, Generic[T], kw_only=True):
    """A part of a collection."""

    success: Literal[True] = True
    data: list[T]
    meta: PageMeta


class Problem(Struct):
    """What went wrong."""

    code: Annotated[str, Meta(description="Stable, for programs.", examples=["VALIDATION_FAILED"])]
    message: Annotated[str, Meta(description="For people.", examples=["validation failed"])]
    request_id: Annotated[
        str, Meta(description="As in `X-Request-Id`.", examples=["01KB1V5T7VJ0Q2M6C5B0N8W3ZK"])
    ]
    details: (
        Annotated[
            dict[str, str],
            Meta(
                description="Every field that failed, with one short phrase.",
                examples=[{"area_code": "must be 3 digits, the first 2-9"}],
            ),
        ]
        | UnsetType
    ) = UNSET


class Failure(Struct, kw_only=True):
    """An answer to a request that failed."""

    success: Literal[False] = False
    error: Problem


class Shortage(Struct, frozen=True):
    """Why an order could not be filled."""

    available_count: Annotated[
        int, Meta(description="How many of the numbers asked for are available.", examples=[1])
    ]
    unavailable: Annotated[list[str], Meta(description="Those that are not.", examples=[["+14155550123"]])]


class Conflict(Failure, kw_only=True):
    """An answer to a request that the state of things does not allow."""

    data: Annotated[Shortage, Meta(description="With `INSUFFICIENT_INVENTORY` only.")] | UnsetType = UNSET
