"""What the OpenAPI document says beyond what Litestar reads from the handlers: headers and examples."""

from typing import Any, Final

from api.errors import RequestInProgress, ValidationFailed
from api.examples import BAD_BODIES, EXAMPLES
from api.json_body import decode_body
from api.parameters import failing_parameters

_JSON: Final = "application/json"

_LOCATIONS: Final[dict[str, dict[str, bool]]] = {
    "orderPhoneNumbers": {"200": True, "409": False, "503": False},
    "orderInBulk": {"200": True, "202": True, "503": False},
    "cancelOrder": {"200": True, "202": True},
    "startSync": {"202": True},
    "uploadFeed": {"202": True},
    "confirmSync": {"202": True},
    "rollBackSync": {"202": True},
    "createApiKey": {"201": True},
}
"""Operation id → status → whether the answer always has `Location`."""

_MADE: Final = {"Orders": "order", "Inventory": "sync", "API keys": "key"}
"""Tag → what `Location` leads to."""

_BODY_MAY_BE_ABSENT: Final = {"startSync"}

_RAW_BODIES: Final = {
    "uploadFeed": {
        "description": "The feed, as the carrier wrote it; gzip, zstd and zip are known by their content.",
        "required": True,
        "content": {"*/*": {"schema": {"type": "string", "format": "binary"}}},
    }
}
"""Operation id → a body that the handler reads as it comes, so that Litestar does not know of it."""

_LIMIT_HEADERS: Final = {
    "RateLimit-Policy": ("The limit: `q` requests at once, which are there again after `w` seconds.", False),
    "RateLimit": (
        "What is left: `r` requests at once; in `t` seconds all of them, or after a 429 one.",
        False,
    ),
}
"""Of an answer to a caller who has a limit (draft-ietf-httpapi-ratelimit-headers-11)."""

_REPLAYED_ERRORS: Final = {("orderPhoneNumbers", "409")}


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Add to the document headers, examples, and that bodies take no unknown members."""
    for path in document["paths"].values():
        for operation in path.values():
            _drop_foreign_errors(operation)
            for status, response in operation["responses"].items():
                response["headers"] = {
                    name: {"description": text, "required": is_required, "schema": {"type": "string"}}
                    for name, (text, is_required) in _headers(operation, status).items()
                }
                _exemplify(operation, status, response)
            _describe_body(operation, document["components"]["schemas"])
    return document


def _describe_body(operation: dict[str, Any], schemas: dict[str, Any]) -> None:
    name = operation["operationId"]
    if name in _RAW_BODIES:
        operation["requestBody"] = _RAW_BODIES[name]
    elif "requestBody" in operation:
        operation["requestBody"]["required"] = name not in _BODY_MAY_BE_ABSENT
        schema = operation["requestBody"]["content"][_JSON]["schema"]
        schemas[schema["$ref"].rpartition("/")[2]]["additionalProperties"] = False


def _drop_foreign_errors(operation: dict[str, Any]) -> None:
    """Drop the 400 that Litestar adds to every route with parameters: a bad parameter is 422 here."""
    refused = operation["responses"].get("400")
    if refused is not None and "$ref" not in refused["content"][_JSON]["schema"]:
        del operation["responses"]["400"]


def _headers(operation: dict[str, Any], status: str) -> dict[str, tuple[str, bool]]:
    """Give the headers of an answer: name → description, and whether it is always there."""
    headers = {"X-Request-Id": ("The id of the request.", True)}
    name = operation["operationId"]
    if status == "401":
        headers["WWW-Authenticate"] = ("`Bearer`", True)
    if status in ("429", "503"):
        headers["Retry-After"] = ("Seconds to wait before trying again.", True)
    if "429" in operation["responses"] and status != "401":
        headers |= _LIMIT_HEADERS
    if RequestInProgress.code in _codes(operation["responses"][status]):
        headers["Retry-After"] = (f"With `{RequestInProgress.code}`: seconds that it takes at most.", False)
    if (is_required := _LOCATIONS.get(name, {}).get(status)) is not None:
        [tag] = operation["tags"]
        headers["Location"] = (f"Where the {_MADE[tag]} can be looked at.", is_required)
    if (name, status) == ("getRejects", "200"):
        headers["Content-Disposition"] = ("An attachment, with a name for its file.", True)
    if _can_be_repeated(operation) and (status.startswith("2") or (name, status) in _REPLAYED_ERRORS):
        headers["Idempotency-Replayed"] = ("`true` when an earlier request got this answer.", False)
    return headers


def _can_be_repeated(operation: dict[str, Any]) -> bool:
    return any(one["name"] == "Idempotency-Key" for one in operation.get("parameters", []))


def _codes(response: dict[str, Any]) -> set[str | None]:
    [content] = response["content"].values()
    return {example.get("summary") for example in content.get("examples", {}).values()}


def _exemplify(operation: dict[str, Any], status: str, response: dict[str, Any]) -> None:
    name = operation["operationId"]
    [content] = response["content"].values()
    if example := EXAMPLES.get(name, {}).get(status):
        content["examples"] = {"example": {"value": example}}
    if ValidationFailed.code not in _codes(response):
        return
    details = _refused_details(operation)
    for example in content["examples"].values():
        if details and example["summary"] == ValidationFailed.code:
            problem = example["value"]["error"] | {"details": details}
            example["value"] = example["value"] | {"error": problem}


def _refused_details(operation: dict[str, Any]) -> dict[str, str]:
    """Give what a 422 of this operation may name; nothing for one that brings its own example."""
    if operation["operationId"] in BAD_BODIES:
        wanted, body = BAD_BODIES[operation["operationId"]]
        try:
            decode_body(body, wanted)
        except ValidationFailed as refusal:
            return refusal.details
    names = [one["name"] for one in operation.get("parameters", [])]
    return failing_parameters([{"key": name} for name in names[:1]])
