"""Pages of a collection."""

from typing import Any

from litestar import Request

from api.envelope import PageMeta
from api.errors import ValidationFailed
from api.parameters import MUST


def check_limit(request: Request[Any, Any, Any]) -> None:
    """Refuse a limit that is no integer as it is written: Litestar takes `5.0` and `1e1` as one."""
    text = request.query_params.get("limit", "1")
    if not (text.isascii() and text.isdigit()):
        raise ValidationFailed({"limit": MUST["limit"]})


def page_meta(total: int, limit: int, next_cursor: int | str | None) -> PageMeta:
    """Say where a page stands; `next_cursor` is what the next page's request brings."""
    return PageMeta(total, limit, 0, None if next_cursor is None else str(next_cursor))
