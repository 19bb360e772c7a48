"""How the API's server is run on one machine: Granian, and what a client may take of it."""

from pathlib import Path
from typing import Final

from deploy.cli.ports import LOOPBACK

_LOGS = Path(__file__).resolve().parents[1] / "server_logs.json"
"""What Granian itself says comes out as the lines of our own do."""

CLIENT_LIMITS: Final = (
    # Only what is served is spoken; looking for HTTP/2 the server would wait for a first byte for ever.
    *("--http", "1", "--no-ws"),
    # Milliseconds for a request's headers, and for which a connection may be idle; bytes that they take.
    *("--http1-header-read-timeout", "20000", "--http1-buffer-size", "65536"),
    # Connections, idle ones too: nobody gets in beyond them.
    *("--backpressure", "4096"),
)
"""What a client may take of the server; the same as in the image's own command."""


def api_command(port: int, workers: int = 1) -> tuple[str, ...]:
    """Give the command that serves the API on this machine: Granian itself.

    `litestar run` would start it as a child of its own, outside the group that we can end.
    """
    return (
        *("granian", "--interface", "asgi", "--factory", "api.app:create_app"),
        *("--host", LOOPBACK, "--port", str(port), "--workers", str(workers)),
        # One that hangs at the end is killed; all has stopped within 5 seconds, the store included.
        *("--workers-kill-timeout", "2"),
        *("--respawn-failed-workers", "--respawn-interval", "0.5", "--log-config", str(_LOGS)),
        *CLIENT_LIMITS,
    )
