"""The least that an ASGI app can do: it reads the body and answers fixed bytes."""

from typing import Any

import msgspec

from tests.bench.peers.schema import fixed_response

_BODY = msgspec.json.encode(fixed_response())
_START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(_BODY)).encode())],
}
_END = {"type": "http.response.body", "body": _BODY}


def create_app() -> Any:
    """Return the app."""
    return _app


async def _app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] == "lifespan":
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send(_START)
    await send(_END)
