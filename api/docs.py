"""The OpenAPI document and the page that shows it, without the internet and without a key."""

from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from litestar import Litestar, Request, Response, Router, get
from litestar.exceptions import NotFoundException
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityRequirement, SecurityScheme
from litestar.params import FromPath
from litestar.routes import BaseRoute
from litestar.serialization import encode_json
from litestar.status_codes import HTTP_304_NOT_MODIFIED
from litestar.types import ControllerRouterHandler

from api.document import completed

__all__ = ["NO_KEY", "docs_routes", "openapi_config"]

DISTRIBUTION: Final = "phone-number-inventory"

NO_KEY: Final[list[SecurityRequirement]] = [{}]
"""The `security` of a route that is open to everybody; Litestar takes an empty list as none given."""

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

DESCRIPTION: Final = """\
Search for phone numbers that are available, order them, and release them.

**Authentication.** Send `Authorization: Bearer am_live_…`. A key belongs to one organization and holds
scopes; every request sees and changes what is its organization's, nothing else. A key that is missing,
malformed, unknown, expired or revoked is answered with 401 in each case; one without the route's scope
with 403. Under `/v1/phone-numbers` reading (`GET`) needs `numbers:read` and all else `numbers:write`; under
`/v1/api-keys` `apikeys:read` and `apikeys:write`; under `/v1/inventory`, which belongs to nobody,
`platform:inventory:read` and `platform:inventory:write`.

**Answers.** Success is `{"success": true, "data": …}`. An error is
`{"success": false, "error": {"code", "message", "request_id", "details"?}}`: `code` is stable and for
programs, `message` is for people, and `details` names every field that failed, not only the first.

**Request ids.** Every response has `X-Request-Id`, the same id as in `error.request_id`. Give it when you
ask about a request: it is in every log line of that request.

**Limits.** Searching, other reading, writing, and making keys are limited apart, for each organization.
`RateLimit-Policy` says what the limit is, and `RateLimit` what is left of it. Beyond it the answer is 429
with `Retry-After`; whatever is wrong with a request, it counts. A body has to come within 10 seconds (408)
and may have 64 KiB (413), feeds apart.

**Pages.** Collections answer with `meta`: `total` of all pages, and `next_cursor` for the next one. Pages
neither skip nor repeat while things come and go.

**Trying again.** After 503 wait for `Retry-After`; what became of the request is not known. Send an
`Idempotency-Key` with a write and it can be sent again safely: for 24 hours the same key with the same
request gives the first answer again, with `Idempotency-Replayed: true`; with another request it is refused.
"""


class _Discarded(Router):
    """Takes the routes that Litestar makes for its own documentation pages, and keeps none.

    They load from a CDN and catch every path beside them with an HTML 404; without a configuration there
    would be no routes, but no document either.
    """

    def register(self, value: ControllerRouterHandler) -> list[BaseRoute]:  # noqa: ARG002
        return []


def openapi_config() -> OpenAPIConfig:
    """Return the settings of the document; it is served by `docs_routes` and by nothing else."""
    return OpenAPIConfig(
        title="Phone-number inventory",
        version=version(DISTRIBUTION),
        description=DESCRIPTION,
        components=Components(
            security_schemes={
                "bearer": SecurityScheme(
                    type="http",
                    scheme="bearer",
                    bearer_format="am_live_…",
                    description="An API key, as shown once when it was created.",
                )
            }
        ),
        security=[{"bearer": []}],
        use_handler_docstrings=True,
        render_plugins=[JsonRenderPlugin()],
        openapi_router=_Discarded(path="/", route_handlers=[]),
    )


@dataclass(frozen=True, slots=True)
class _File:
    """What is served: its bytes, their type, and a tag that changes with them."""

    body: bytes
    media_type: str
    etag: str


def _file(body: bytes, media_type: str) -> _File:
    return _File(body, media_type, f'"{sha256(body).hexdigest()[:32]}"')


_ASSETS_DIR: Final = Path(__file__).parent / "docs_assets"
_PAGE: Final = _file((_ASSETS_DIR / "index.html").read_bytes(), "text/html")
# Only these names are served: nothing of a request ever becomes a path of the file system.
_ASSETS: Final = {
    path.rpartition("/")[2]: _file((_ASSETS_DIR / path).read_bytes(), media_type)
    for path, media_type in (
        ("initializer.js", "text/javascript"),
        ("swagger-ui/swagger-ui-bundle.js", "text/javascript"),
        ("swagger-ui/swagger-ui-bundle.js.LICENSE.txt", "text/plain"),
        ("swagger-ui/swagger-ui.css", "text/css"),
        ("swagger-ui/favicon-32x32.png", "image/png"),
    )
}


def _tags(header: str) -> set[str]:
    # A proxy that compresses makes the tag weak; for If-None-Match that is the same tag.
    return {tag.strip().removeprefix("W/") for tag in header.split(",")}


def _answer(
    request: Request[Any, Any, Any], file: _File, headers: dict[str, str] | None = None
) -> Response[bytes]:
    """Return the file, or 304 if the client has it: always asked for again, so an update shows at once."""
    headers = {"ETag": file.etag, "Cache-Control": "no-cache", **(headers or {})}
    held = _tags(request.headers.get("if-none-match", ""))
    if file.etag in held or "*" in held:
        return Response(b"", status_code=HTTP_304_NOT_MODIFIED, media_type=file.media_type, headers=headers)
    return Response(file.body, media_type=file.media_type, headers=headers)


def _document(app: Litestar) -> _File:
    """Return the app's document, built and encoded by the first who asks."""
    document: _File | None = app.state.get("openapi_document")
    if document is None:
        document = _file(encode_json(completed(app.openapi_schema.to_schema())), "application/json")
        app.state["openapi_document"] = document
    return document


@get("/openapi.json", include_in_schema=False)
async def _get_document(request: Request[Any, Any, Any]) -> Response[bytes]:
    return _answer(request, _document(request.app))


@get("/docs", include_in_schema=False)
async def _get_page(request: Request[Any, Any, Any]) -> Response[bytes]:
    return _answer(request, _PAGE, {"Content-Security-Policy": CONTENT_SECURITY_POLICY})


@get("/docs/{name:str}", include_in_schema=False)
async def _get_asset(request: Request[Any, Any, Any], name: FromPath[str]) -> Response[bytes]:
    asset = _ASSETS.get(name)
    if asset is None:
        raise NotFoundException
    return _answer(request, asset)


docs_routes: Final[tuple[ControllerRouterHandler, ...]] = (_get_document, _get_page, _get_asset)
"""The routes `/openapi.json`, `/docs` and `/docs/{asset}`; none needs a key and none is in the document."""
