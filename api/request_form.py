"""The form that a request must have before anything else of it is looked at."""

from litestar.types import HTTPScope

from api.errors import ApiError, InvalidInput, NotFound


def refusal(scope: HTTPScope) -> ApiError | None:
    """Give why a request is refused for its form; None when it is not.

    A path is written in one way: the router would take `//v1/x` and `/v1%2Fx` for `/v1/x`, and a proxy that
    guards paths by their beginning would let them pass. A request names one host (RFC 9112, 3.2).
    """
    if "//" in scope["path"] or b"%2f" in scope["raw_path"].lower():
        return NotFound()
    if sum(name == b"host" for name, _ in scope["headers"]) > 1:
        return InvalidInput()
    return None
