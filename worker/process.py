"""What every worker process begins with: its settings, its logs, the loops beside its jobs."""

import asyncio
import logging
from typing import Any

from shared.settings import BadSetting, Settings, read_settings

POLL_DELAY_SECONDS = 0.2
HEALTH_INTERVAL_SECONDS = 10


def settings_or_exit() -> Settings:
    """Read the settings; a bad one ends the process with its message."""
    try:
        return read_settings()
    except BadSetting as error:
        raise SystemExit(str(error)) from error


def set_up_logs() -> None:
    """Show our own lines beside arq's."""
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s: %(message)s", datefmt="%H:%M:%S"))
    for name in ("worker", "shared"):
        logger = logging.getLogger(name)
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)


async def end_loops(loops: list[asyncio.Task[Any]]) -> None:
    """End the loops, and wait until they have."""
    for loop in loops:
        loop.cancel()
    await asyncio.wait(loops)
