"""What every worker process begins with: its settings, its logs, the loops beside its jobs."""

import asyncio
import sys
from typing import Any, Final

from shared.logs import log_crash, logs_config
from shared.settings import BadSetting, Settings, read_settings

POLL_DELAY_SECONDS = 0.2
HEALTH_INTERVAL_SECONDS = 10


def settings_or_exit() -> Settings:
    """Read the settings; a bad one ends the process with its message."""
    try:
        return read_settings()
    except BadSetting as error:
        raise SystemExit(str(error)) from error


sys.excepthook = log_crash

LOGS: Final = logs_config(settings_or_exit())
"""For `arq --custom-log-dict`: what arq says before a worker's start comes out as everything else then."""


async def end_loops(loops: list[asyncio.Task[Any]]) -> None:
    """End the loops, and wait until they have."""
    for loop in loops:
        loop.cancel()
    await asyncio.wait(loops)
