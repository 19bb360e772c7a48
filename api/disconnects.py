"""Whether a client is still there when its answer is ready."""

import asyncio
from typing import Final

from litestar.types import Receive

LONG_SECONDS: Final = 0.25
"""Faster requests skip the check, which would take longer than the request."""
_LOOK_SECONDS: Final = 0.02
"""The server reports it from another thread; on a busy machine 1 ms was not always enough."""


async def has_left(receive: Receive) -> bool:
    """Whether the client has closed its connection; what else it sends now is too late to be read."""
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            while (await receive())["type"] != "http.disconnect":
                pass
    except TimeoutError:
        return False
    return True
