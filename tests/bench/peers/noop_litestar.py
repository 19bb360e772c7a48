"""A Litestar handler that decodes the search's body into a Struct and returns a fixed Struct."""

from litestar import Litestar, post
from litestar.params import JSONBody

from tests.bench.peers.schema import SearchRequest, SearchResponse, fixed_response

_RESPONSE = fixed_response()


@post("/v1/phone-numbers/search", status_code=200)
async def search_numbers(data: JSONBody[SearchRequest]) -> SearchResponse:  # noqa: ARG001 - decoded only
    """Return the same numbers for every request."""
    return _RESPONSE


def create_app() -> Litestar:
    """Return the app."""
    return Litestar([search_numbers], logging_config=None)
