"""The machine that a run measured on; the figures of two machines cannot be compared."""

import os
import platform
from importlib.util import find_spec
from pathlib import Path

from msgspec import Struct


class Machine(Struct, frozen=True):
    """What matters for the figures."""

    processor: str
    cores: int
    load_before: float
    """Load average of the minute before; above 0.5 other work disturbs the figures."""
    python: str
    granian: str
    event_loop: str
    """Of all measured services; the image has only that of asyncio."""
    store: str
    postgresql: str

    def __str__(self) -> str:
        return (
            f"{self.processor}, {self.cores} cores, load before {self.load_before:.2f}; "
            f"Python {self.python}, granian {self.granian} on {self.event_loop}, "
            f"{self.store}, {self.postgresql}"
        )


def processor() -> str:
    """Return the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def usable_cores() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def event_loop() -> str:
    """Return the loop that granian chooses by itself from those that are installed."""
    return next((name for name in ("rloop", "uvloop") if find_spec(name)), "asyncio")


def resident_mb(pid: int) -> float:
    """Return the memory that a process has in RAM."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0
