"""The OpenAPI document, and whether what the service takes and answers fits it."""

import re
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

import httpx

Document = dict[str, Any]

_ANNOTATIONS = {"title", "description", "examples", "default", "format"}
_HEADERS = (
    *("x-request-id", "www-authenticate", "location", "retry-after", "idempotency-replayed"),
    "content-disposition",
)
"""What the service itself says in headers, beside what every HTTP server does."""


@lru_cache
def read_document(url: str) -> Document:
    """Give the document of the service at `url`."""
    document: Document = httpx.get(f"{url}/openapi.json", timeout=20).json()
    return document


def resolve(document: Document, node: Any) -> Any:
    """Follow references, as a JSON pointer says, until there is none."""
    while isinstance(node, dict) and "$ref" in node:
        pointer = node["$ref"]
        assert pointer.startswith("#/")
        node = document
        for step in pointer[2:].split("/"):
            node = node[step.replace("~1", "/").replace("~0", "~")]
    return node


def accepts(document: Document, schema: Document, value: Any) -> bool:
    """Tell whether a value fits; knows the words that the document uses, and fails on any other."""
    schema = resolve(document, schema)
    types = {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "integer": isinstance(value, int) and not isinstance(value, bool),
        "null": value is None,
    }
    rules: dict[str, Any] = {
        "type": lambda wanted: any(types[one] for one in ([wanted] if isinstance(wanted, str) else wanted)),
        "const": lambda wanted: value == wanted,
        "enum": lambda wanted: value in wanted,
        "oneOf": lambda wanted: sum(accepts(document, one, value) for one in wanted) == 1,
        "allOf": lambda wanted: all(accepts(document, one, value) for one in wanted),
        "pattern": lambda wanted: not types["string"] or re.search(wanted, value) is not None,
        "minLength": lambda wanted: not types["string"] or len(value) >= wanted,
        "maxLength": lambda wanted: not types["string"] or len(value) <= wanted,
        "minimum": lambda wanted: not types["integer"] or value >= wanted,
        "maximum": lambda wanted: not types["integer"] or value <= wanted,
        "minItems": lambda wanted: not types["array"] or len(value) >= wanted,
        "maxItems": lambda wanted: not types["array"] or len(value) <= wanted,
        "uniqueItems": lambda wanted: (
            not (wanted and types["array"]) or len(set(map(repr, value))) == len(value)
        ),
        "required": lambda wanted: not types["object"] or set(wanted) <= set(value),
        "items": lambda wanted: not types["array"] or all(accepts(document, wanted, item) for item in value),
        "properties": lambda wanted: (
            not types["object"]
            or all(accepts(document, wanted[name], value[name]) for name in wanted if name in value)
        ),
        "additionalProperties": lambda wanted: (
            not types["object"]
            or all(
                wanted is not False and accepts(document, wanted, value[name])
                for name in value
                if name not in schema.get("properties", {})
            )
        ),
    }
    return all(rules[word](wanted) for word, wanted in schema.items() if word not in _ANNOTATIONS)


def assert_described(document: Document, response: httpx.Response) -> None:
    """Check that the document has this answer of this operation, its shape and its headers.

    An answer of a route that there is not is let through.
    """
    operation = _operation_of(document, response.request)
    if operation is None:
        return
    answers = operation["responses"]
    assert str(response.status_code) in answers, f"{response.status_code} is not documented: {response.text}"
    described = answers[str(response.status_code)]
    [(media_type, content)] = described["content"].items()
    assert response.headers["content-type"].partition(";")[0] == media_type
    answer = response.json() if media_type == "application/json" else response.text
    assert accepts(document, content["schema"], answer), f"not as documented: {response.text}"
    for name, header in described["headers"].items():
        assert name in response.headers or not header["required"], f"{name} is missing"
    documented = {name.lower() for name in described["headers"]}
    assert {name for name in _HEADERS if name in response.headers} <= documented


def _operation_of(document: Document, request: httpx.Request) -> Document | None:
    path = urlsplit(str(request.url)).path
    for template in sorted(document["paths"], key=lambda template: template.count("{")):
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path):
            operation: Document | None = document["paths"][template].get(request.method.lower())
            return operation
    return None
