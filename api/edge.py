"""The edge of the app: what every request gets, whatever becomes of it.

Neither a hook nor a middleware of Litestar sees requests without a route as well as those whose caller left.
"""

import time
from typing import Final

from litestar import Litestar
from litestar.enums import ScopeType
from litestar.types import (
    HTTPScope,
    LifeSpanReceive,
    LifeSpanScope,
    LifeSpanSend,
    Message,
    Receive,
    ReceiveMessage,
    Scope,
    Send,
)

from api.disconnects import LONG_SECONDS, has_left
from api.request_id import begin_request_id
from api.request_log import log_request
from api.response_headers import add_headers
from api.search import SEARCH_PATH
from api.short_search import ShortSearch

SHORT_SEARCH: Final = "short_search"

_NOWHERE = "/-"
"""A path without a route."""


class Edge(Litestar):
    """The app, each of whose requests has an id, the headers of every response, and a line in the log."""

    __slots__ = ()

    async def __call__(
        self,
        scope: Scope | LifeSpanScope,
        receive: Receive | LifeSpanReceive,
        send: Send | LifeSpanSend,
    ) -> None:
        """Serve one request, or the life of the app."""
        if scope["type"] == ScopeType.HTTP:
            # Of an HTTP scope, but mypy cannot tell.
            await self._serve(scope, receive, send)  # type: ignore[arg-type]
        else:
            await super().__call__(scope, receive, send)

    async def _serve(self, scope: HTTPScope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        if scope["path"] == SEARCH_PATH:
            short_search: ShortSearch = self.state[SHORT_SEARCH]
            unanswered = await short_search.answer(scope, receive, send)
            if unanswered is None:
                return
            receive = unanswered
        exchange = _Exchange(scope, receive, send, began)
        if not _is_plain(scope):
            scope["path"] = _NOWHERE
        try:
            await super().__call__(scope, exchange.receive, exchange.send)
        finally:
            exchange.end()


def _is_plain(scope: HTTPScope) -> bool:
    """Tell whether a path is written in the one way that it has.

    The router would take `//v1/x` and `/v1%2Fx` for `/v1/x`, and a proxy that guards paths by their beginning
    would let them pass.
    """
    return "//" not in scope["path"] and b"%2f" not in scope["raw_path"].lower()


class _Exchange:
    """A request and its answer, on their way between server and app."""

    __slots__ = ("_began", "_is_answered", "_is_client_gone", "_receive", "_send", "_status", "scope")

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send, began: float) -> None:
        self.scope, self._receive, self._send = scope, receive, send
        self._began = began
        self._status: int | None = None
        self._is_answered = self._is_client_gone = False
        scope.setdefault("state", {})
        begin_request_id(scope)

    async def receive(self) -> ReceiveMessage:
        """Pass on what comes from the caller."""
        message = await self._receive()
        # After the answer it says only that there is nothing more to come.
        if message["type"] == "http.disconnect" and not self._is_answered:
            self._is_client_gone = True
        return message

    async def send(self, message: Message) -> None:
        """Pass on the answer."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            add_headers(message, self.scope)
            if time.perf_counter() - self._began > LONG_SECONDS and await has_left(self._receive):
                self._is_client_gone = True
        elif message["type"] == "http.response.body" and not message.get("more_body"):
            self._is_answered = True
        await self._send(message)

    def end(self) -> None:
        """Tell of it."""
        seconds = time.perf_counter() - self._began
        log_request(self.scope, self._status, seconds, is_client_gone=self._is_client_gone)
