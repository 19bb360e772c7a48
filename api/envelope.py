"""The envelope: the shape that every answer has."""

from typing import Annotated, Generic, Literal, TypeVar

from msgspec import UNSET, Meta, Struct, UnsetType

T = TypeVar("T")


class Success(Struct, Generic[T], kw_only=True):
    """An answer to a request that succeeded."""

    success: Literal[True] = True
    data: T


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
