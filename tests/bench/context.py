"""What all measurements of one run share."""

import asyncio
from collections.abc import Callable, Sequence
from random import Random

from msgspec import Struct

from shared.api_keys import Scope, Wanted, create_api_key
from shared.key_secrets import new_secret
from shared.store import Store
from tests.bench.load import LoadClient
from tests.bench.processes import Processes, StoreServer
from tests.bench.slow_commands import SlowCommands
from tests.bench.store_connection import BENCH_CLIENT

_STORE_TIMEOUT_SECONDS = 30.0


class RunOptions(Struct, frozen=True):
    """The options of the command."""

    numbers: int
    connections: int
    seconds: float
    rounds: int
    seed: int
    lengths: tuple[int, ...]
    quantity: int
    searches: int
    memory_requests: int


class Context:
    """Options, load client and counters of one run."""

    def __init__(self, options: RunOptions, load: LoadClient, show: Callable[[str], None]) -> None:
        self.options = options
        self.load = load
        self.show = show
        self.slow = SlowCommands()
        self.best_rate = 0.0
        """Searches a second, once they were measured."""

    def processes(self) -> Processes:
        """Return a context for the processes of one measurement."""
        return Processes(self.slow)

    def draw(self, purpose: str) -> Random:
        """Return a random source that repeats with the seed, whichever measurements are made."""
        return Random(f"{self.options.seed} {purpose}")  # noqa: S311 - repeatable, keeps no secret


def create_keys(store: StoreServer, organizations: Sequence[str]) -> list[str]:
    """Create an API key for each organization; return the secrets."""

    async def create() -> list[str]:
        connection = Store(store.url, _STORE_TIMEOUT_SECONDS, BENCH_CLIENT)
        secrets = [new_secret() for _ in organizations]
        scopes = (Scope.NUMBERS_READ, Scope.NUMBERS_WRITE)
        try:
            for organization, secret in zip(organizations, secrets, strict=True):
                await create_api_key(connection, organization, Wanted(scopes, "bench"), secret)
        finally:
            await connection.close()
        return secrets

    return asyncio.run(create())
