"""Request and response of the search, as the Litestar peers declare them."""

from typing import Annotated

from msgspec import Meta, Struct


class SearchRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The criteria of a search, with the constraints of the API."""

    area_code: Annotated[str, Meta(pattern=r"^[2-9][0-9]{2}$")] | None = None
    number_type: str | None = None
    pattern: Annotated[str, Meta(pattern=r"^[+0-9][0-9]{0,11}$")] | None = None
    quantity: Annotated[int, Meta(ge=1)] | None = None


class AvailableNumber(Struct, frozen=True):
    """A number that is available."""

    number: str
    number_type: str


class SearchResponse(Struct, frozen=True):
    """The envelope of a success."""

    data: list[AvailableNumber]
    success: bool = True


def fixed_response() -> SearchResponse:
    """Return a response of ten numbers."""
    return SearchResponse([AvailableNumber(f"+1415555{line:04}", "local") for line in range(100, 110)])
