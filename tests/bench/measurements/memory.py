"""Memory of the API process after many requests."""

from tests.bench.context import Context
from tests.bench.errors import BenchError
from tests.bench.machine import resident_mb
from tests.bench.measurements.setup import start_search
from tests.bench.report import Ratio, Row, at_most, row

NAME = "memory"

_GOAL_MB, _FLAT = 130.0, 1.05
_EARLY_SHARE = 5


def measure(context: Context) -> list[Row]:
    """Return the resident memory after a fifth of the requests and after all of them."""
    options = context.options
    early = options.memory_requests // _EARLY_SHARE
    with context.processes() as processes:
        service = start_search(context, processes)
        pid = service.api.worker_pid()
        sizes = []
        for count in (early, options.memory_requests - early):
            context.show(f"memory: {count:,} requests")
            context.load.run(service.api, service.searches, options.connections, count=count)
            sizes.append(resident_mb(pid))
        if service.api.worker_pid() != pid:
            raise BenchError("the process was replaced while it was measured")
    before, after = [sizes[0]], [sizes[1]]
    growth = Ratio("all / a fifth", after, before)
    return [
        row(NAME, f"API process after {early:,} requests", before, "MB", goal=at_most(_GOAL_MB)),
        row(NAME, f"… after {options.memory_requests:,}", after, "MB", goal=at_most(_GOAL_MB)),
        row(NAME, "growth", after, "MB", ratio=growth, goal=at_most(_FLAT)),
    ]
