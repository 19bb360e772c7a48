"""Futures that may end with an error when no caller waits for them any more."""

import asyncio
from typing import Any


def mark_retrieved(future: "asyncio.Future[Any]") -> None:
    """Mark an error as retrieved, as a done callback: asyncio logs those that no caller has waited for."""
    if not future.cancelled():
        future.exception()
