import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.app import create_app
from shared.settings import Settings
from tests.http.answers import MESSAGES, SEARCH
from tests.support import Service

Document = dict[str, Any]

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
OPEN = {"/healthz", "/readyz"}
# What any route of /v1 can answer; a route that takes a body has more.
ALWAYS = {"401", "403", "500", "503"}
WITH_BODY = {"400", "413", "415", "422"}


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with service.client() as client:
        yield client


@pytest.fixture(scope="module")
def document(client: httpx.Client) -> Document:
    response = client.get("/openapi.json")
    assert response.headers["content-type"] == "application/json"
    document: Document = response.json()
    return document


def operations(document: Document) -> dict[tuple[str, str], Document]:
    return {
        (path, method): operation
        for path, item in document["paths"].items()
        for method, operation in item.items()
        if method in METHODS
    }


def resolve(document: Document, node: Any) -> Any:
    """Follow references, as a JSON pointer says, until there is none."""
    while isinstance(node, dict) and "$ref" in node:
        pointer = node["$ref"]
        assert pointer.startswith("#/")
        node = document
        for step in pointer[2:].split("/"):
            node = node[step.replace("~1", "/").replace("~0", "~")]
    return node


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from nodes(child)


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
        "type": lambda wanted: types[wanted],
        "const": lambda wanted: value == wanted,
        "enum": lambda wanted: value in wanted,
        "oneOf": lambda wanted: sum(accepts(document, one, value) for one in wanted) == 1,
        "allOf": lambda wanted: all(accepts(document, one, value) for one in wanted),
        "pattern": lambda wanted: not isinstance(value, str) or re.search(wanted, value) is not None,
        "minimum": lambda wanted: not types["integer"] or value >= wanted,
        "maximum": lambda wanted: not types["integer"] or value <= wanted,
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
    annotations = {"title", "description", "examples", "default", "format"}
    return all(rules[word](wanted) for word, wanted in schema.items() if word not in annotations)


def test_the_document_is_openapi_3_1_with_what_that_requires(document: Document) -> None:
    assert re.fullmatch(r"3\.1\.\d", document["openapi"])
    assert document["info"]["title"]
    assert document["info"]["version"]
    assert set(document) <= {
        *("openapi", "info", "servers", "paths", "components", "security", "tags", "webhooks"),
        *("externalDocs", "jsonSchemaDialect"),
    }
    for path, item in document["paths"].items():
        assert path.startswith("/")
        assert set(item) <= METHODS | {"summary", "description", "parameters", "servers"}
        placeholders = set(re.findall(r"{(\w+)}", path))
        for operation in (item[method] for method in METHODS & set(item)):
            parameters = [resolve(document, parameter) for parameter in operation.get("parameters", [])]
            assert placeholders == {one["name"] for one in parameters if one["in"] == "path"}


def test_every_reference_leads_somewhere(document: Document) -> None:
    references = [node for node in nodes(document) if "$ref" in node]
    assert references
    for node in references:
        assert isinstance(resolve(document, node), dict)


def test_no_component_is_there_for_nothing(document: Document) -> None:
    used = {node["$ref"].rpartition("/")[2] for node in nodes(document) if "$ref" in node}

    assert used == set(document["components"]["schemas"])


def test_the_document_has_all_routes_but_its_own(document: Document) -> None:
    app = create_app(Settings())
    served = {
        (route.path_format, method.lower())
        for route in app.routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }
    own = {("/openapi.json", "get"), ("/docs", "get"), ("/docs/{name}", "get")}

    assert own < served
    assert set(operations(document)) == served - own


def test_every_operation_has_an_own_id_a_summary_a_description_and_a_tag(document: Document) -> None:
    found = operations(document).values()

    ids = [operation["operationId"] for operation in found]
    assert len(set(ids)) == len(ids)
    for operation in found:
        assert re.fullmatch(r"[a-z][A-Za-z]+", operation["operationId"])
        assert operation["summary"]
        assert operation["description"]
        assert operation["tags"]


def test_every_operation_under_v1_needs_a_key_and_no_other_does(document: Document) -> None:
    for (path, _), operation in operations(document).items():
        security = operation.get("security", document["security"])
        assert security == ([{}] if path in OPEN else [{"bearer": []}])
        assert path in OPEN or path.startswith("/v1/")
    assert set(document["components"]["securitySchemes"]) == {"bearer"}


def test_every_operation_under_v1_has_all_errors_it_can_meet(document: Document) -> None:
    for (path, _), operation in operations(document).items():
        statuses = set(operation["responses"])
        if path.startswith("/v1/"):
            wanted = ALWAYS | (WITH_BODY if "requestBody" in operation else set())
            assert wanted <= statuses, f"{path} lacks {wanted - statuses}"
        assert any(status.startswith("2") for status in statuses)


def test_every_answer_is_described_has_a_schema_and_under_v1_examples_that_fit_it(document: Document) -> None:
    for (path, _), operation in operations(document).items():
        for status, response in operation["responses"].items():
            assert response["description"]
            [(media_type, content)] = response["content"].items()
            assert media_type == "application/json"
            examples = [example["value"] for example in content.get("examples", {}).values()]
            assert examples or not path.startswith("/v1/")
            for example in examples:
                assert accepts(document, content["schema"], example)
                if int(status) >= 400:
                    code, message = MESSAGES[int(status)]
                    assert (example["error"]["code"], example["error"]["message"]) == (code, message)


def test_every_body_is_json_is_required_and_admits_no_unknown_member(document: Document) -> None:
    bodies = [
        operation["requestBody"] for operation in operations(document).values() if "requestBody" in operation
    ]
    assert bodies
    for body in bodies:
        assert body["required"] is True
        assert list(body["content"]) == ["application/json"]
        schema = resolve(document, body["content"]["application/json"]["schema"])
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        for name, member in schema["properties"].items():
            assert resolve(document, member).get("description"), f"{name} has no description"
            assert member["examples"], f"{name} has no example"


def test_every_answer_documents_its_headers(document: Document) -> None:
    for operation in operations(document).values():
        for status, response in operation["responses"].items():
            wanted = {"X-Request-Id"}
            wanted |= {"401": {"WWW-Authenticate"}, "503": {"Retry-After"}}.get(status, set())
            assert wanted <= set(response["headers"])


def test_every_error_under_v1_has_the_one_shape(document: Document) -> None:
    for operation in operations(document).values():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                schema = resolve(document, response["content"]["application/json"]["schema"])
                assert set(schema["properties"]) == {"success", "error"}
                problem = resolve(document, schema["properties"]["error"])
                assert set(problem["properties"]) == {"code", "message", "request_id", "details"}
                assert set(problem["required"]) == {"code", "message", "request_id"}


@pytest.mark.parametrize(
    ("body", "is_good"),
    [
        ({}, True),
        ({"area_code": "415", "number_type": "local", "pattern": "+1415", "quantity": 100}, True),
        ({"area_code": None, "number_type": None, "pattern": None, "quantity": None}, True),
        ({"quantity": 101}, True),
        ({"quantity": 10**30}, True),
        ({"number_type": "short_code"}, True),
        ({"pattern": "123456789012"}, True),
        ({"pattern": "+"}, True),
        ({"area_code": "99"}, False),
        ({"area_code": "115"}, False),
        ({"area_code": "4155"}, False),
        ({"area_code": "415\n"}, False),
        ({"area_code": "41\N{ARABIC-INDIC DIGIT FIVE}"}, False),
        ({"area_code": 415}, False),
        ({"number_type": "mobile"}, False),
        ({"number_type": 1}, False),
        ({"pattern": ""}, False),
        ({"pattern": "1234567890123"}, False),
        ({"pattern": "1+2"}, False),
        ({"pattern": "1\n"}, False),
        ({"quantity": 0}, False),
        ({"quantity": "5"}, False),
        ({"quantity": True}, False),
        ({"limit": 5}, False),
    ],
)
def test_the_document_and_the_service_agree_on_which_bodies_are_good(
    document: Document, client: httpx.Client, body: dict[str, Any], is_good: bool
) -> None:
    content = document["paths"][SEARCH]["post"]["requestBody"]["content"]["application/json"]

    assert accepts(document, content["schema"], body) is is_good
    assert client.post(SEARCH, json=body).status_code == (200 if is_good else 422)


@pytest.mark.parametrize(
    ("path", "method", "options"),
    [
        ("/healthz", "get", {}),
        ("/readyz", "get", {}),
        *[
            (SEARCH, "post", options)
            for options in (
                {"content": b"{}"},
                {"content": b""},
                {"content": b"{"},
                {"content": b'{"quantity": 0}'},
                {"content": b" " * 70_000},
                {"content": b"{}", "headers": {"Content-Type": "text/plain"}},
                {"content": b"{}", "headers": {"Authorization": "Bearer x"}},
            )
        ],
    ],
)
def test_what_the_service_answers_is_in_the_document_and_fits_it(
    document: Document, client: httpx.Client, path: str, method: str, options: dict[str, Any]
) -> None:
    response = client.request(method, path, **options)

    documented = document["paths"][path][method]["responses"]
    assert str(response.status_code) in documented
    described = documented[str(response.status_code)]
    assert accepts(document, described["content"]["application/json"]["schema"], response.json())
    for name, header in described["headers"].items():
        assert name in response.headers or not header["required"]
