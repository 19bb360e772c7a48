"""The bench's own connection to a store, whose name differs from those of the measured processes."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Final, Self

import redis

BENCH_CLIENT: Final = "bench"
_TIMEOUT_SECONDS = 120.0


class StoreConnection:
    """A blocking connection."""

    def __init__(self, url: str) -> None:
        self._client: Any = redis.Redis.from_url(
            url, client_name=BENCH_CLIENT, socket_timeout=_TIMEOUT_SECONDS
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def execute(self, *command: str | bytes | float) -> Any:
        """Send a command and return its reply."""
        return self._client.execute_command(*command)

    def execute_many(self, commands: Sequence[Sequence[str | bytes | float]]) -> list[Any]:
        """Send commands in one pipeline and return their replies."""
        pipeline = self._client.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*command)
        replies: list[Any] = pipeline.execute()
        return replies

    def info(self, section: str) -> dict[str, Any]:
        """Return a section of the store's own figures."""
        figures: dict[str, Any] = self._client.info(section)
        return figures

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
