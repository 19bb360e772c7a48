"""The id of a request: a fresh ULID, in the header of every response, in errors and in the log."""

from litestar.types import Scope
from structlog.contextvars import bind_contextvars
from ulid import ULID

_STATE_KEY = "request_id"


def begin_request_id(scope: Scope) -> None:
    """Give the request that `scope` belongs to its id, which all lines of the log then carry."""
    adopt_request_id(scope, str(ULID()))


def request_id_of(scope: Scope) -> str:
    """Give the id of the request that `scope` belongs to."""
    request_id: str = scope["state"][_STATE_KEY]
    return request_id


def adopt_request_id(scope: Scope, request_id: str) -> None:
    """Answer under the id of an earlier request, whose error is repeated word for word."""
    scope["state"][_STATE_KEY] = request_id
    bind_contextvars(request_id=request_id)
