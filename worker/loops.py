"""Work that is done again and again: one step, and the loop around it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from shared.store import StoreUnavailable

logger = logging.getLogger(__name__)


async def repeat(name: str, step: Callable[[], Awaitable[object]], pause_seconds: float) -> None:
    """Run `step` for ever, with a pause between; what it raises ends that one step only."""
    is_away = False
    while True:
        try:
            await step()
            if is_away:
                logger.info("%s: the store is back", name)
            is_away = False
        except StoreUnavailable as error:
            # Once, not every time.
            if not is_away:
                logger.warning("%s: the store is unavailable: %s", name, error)
            is_away = True
        except Exception:
            logger.exception("%s failed", name)
        await asyncio.sleep(pause_seconds)
