import re
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from api.app import create_app
from shared.api_keys import Scope
from shared.settings import Settings
from tests.http.answers import (
    API_KEYS,
    BULK,
    CODES,
    FEEDS,
    NUMBERS,
    ORDERS,
    RELEASE,
    SEARCH,
    SYNCS,
    new_client,
)
from tests.http.document import Document, accepts, assert_described, resolve
from tests.http.organizations import Organization, Organizations
from tests.support import Service

METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}
OPEN = {"/healthz", "/readyz"}
# What any route of /v1 can answer; a route that takes a body has more.
ALWAYS = {"401", "403", "429", "500", "503"}
WITH_BODY = {"400", "413", "415", "422"}
UPLOAD = (f"{FEEDS}/{{carrier}}", "put")
"""The one route whose body is not JSON."""
REJECTS = (f"{SYNCS}/{{id}}/rejects", "get")
"""The one route whose answer is not JSON."""


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with new_client(service.instance.url, service.instance.key) as client:
        yield client


@pytest.fixture(scope="module")
def buyer(service: Service, organizations: Organizations) -> Organization:
    return organizations.of(service, "openapi-tests", tuple(Scope))


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


def nodes(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from nodes(child)


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
    for (path, method), operation in operations(document).items():
        statuses = set(operation["responses"])
        if path.startswith("/v1/"):
            wanted = ALWAYS | (WITH_BODY if "requestBody" in operation else set())
            wanted -= {"415"} if (path, method) == UPLOAD else set()
            assert wanted <= statuses, f"{path} lacks {wanted - statuses}"
        assert any(status.startswith("2") for status in statuses)


def test_every_answer_is_described_has_a_schema_and_under_v1_examples_that_fit_it(document: Document) -> None:
    for (path, method), operation in operations(document).items():
        for status, response in operation["responses"].items():
            assert response["description"]
            [(media_type, content)] = response["content"].items()
            is_csv = (path, method, status) == (*REJECTS, "200")
            assert media_type == ("text/csv" if is_csv else "application/json")
            examples = [example["value"] for example in content.get("examples", {}).values()]
            assert examples or not path.startswith("/v1/")
            for example in examples:
                assert accepts(document, content["schema"], example)
                if int(status) >= 400:
                    assert CODES[example["error"]["code"]] == (int(status), example["error"]["message"])


def test_every_body_but_a_feed_is_json_is_required_if_a_member_is_and_admits_no_unknown_member(
    document: Document,
) -> None:
    bodies = {
        route: operation["requestBody"]
        for route, operation in operations(document).items()
        if "requestBody" in operation
    }
    feed = bodies.pop(UPLOAD)
    assert (list(feed["content"]), feed["required"]) == (["*/*"], True)
    assert bodies
    for route, body in bodies.items():
        assert body["required"] is (route != (f"{FEEDS}/{{carrier}}/syncs", "post"))
        assert list(body["content"]) == ["application/json"]
        schema = resolve(document, body["content"]["application/json"]["schema"])
        assert schema["type"] == "object"
        assert schema["additionalProperties"] is False
        for name, member in schema["properties"].items():
            assert resolve(document, member).get("description"), f"{name} has no description"
            assert member["examples"], f"{name} has no example"
            assert all(accepts(document, member, example) for example in member["examples"])


# Beside what every answer, every 401, 429 and 503 has; True for what is always there.
HEADERS: dict[tuple[str, str], dict[str, dict[str, bool]]] = {
    (ORDERS, "post"): {
        "200": {"Location": True, "Idempotency-Replayed": False},
        "409": {"Location": False, "Idempotency-Replayed": False, "Retry-After": False},
        "503": {"Location": False},
    },
    (BULK, "post"): {
        "200": {"Location": True, "Idempotency-Replayed": False},
        "202": {"Location": True, "Idempotency-Replayed": False},
        "409": {"Retry-After": False},
        "503": {"Location": False},
    },
    (f"{ORDERS}/{{id}}/cancel", "post"): {
        "200": {"Location": True, "Idempotency-Replayed": False},
        "202": {"Location": True, "Idempotency-Replayed": False},
    },
    (f"{NUMBERS}/{{id}}", "patch"): {"200": {"Idempotency-Replayed": False}},
    (f"{NUMBERS}/{{id}}", "delete"): {"200": {"Idempotency-Replayed": False}},
    (RELEASE, "post"): {"200": {"Idempotency-Replayed": False}},
    **{
        route: {
            "202": {"Location": True, "Idempotency-Replayed": False},
            "409": {"Retry-After": False},
        }
        for route in (
            UPLOAD,
            (f"{FEEDS}/{{carrier}}/syncs", "post"),
            (f"{SYNCS}/{{id}}/confirm", "post"),
            (f"{SYNCS}/{{id}}/rollback", "post"),
        )
    },
    REJECTS: {"200": {"Content-Disposition": True}},
    (API_KEYS, "post"): {
        "201": {"Location": True, "Idempotency-Replayed": False},
        "409": {"Retry-After": False},
    },
    **{
        route: {"200": {"Idempotency-Replayed": False}, "409": {"Retry-After": False}}
        for route in ((f"{API_KEYS}/{{id}}/rotate", "post"), (f"{API_KEYS}/{{id}}", "delete"))
    },
}


ALWAYS_WITH = {
    "401": {"WWW-Authenticate": True},
    "429": {"Retry-After": True},
    "503": {"Retry-After": True},
}


def test_every_answer_documents_its_headers_and_whether_they_are_always_there(document: Document) -> None:
    for route, operation in operations(document).items():
        for status, response in operation["responses"].items():
            wanted = {"X-Request-Id": True}
            wanted |= ALWAYS_WITH.get(status, {})
            if route[0].startswith("/v1/") and status != "401":
                wanted |= {"RateLimit-Policy": False, "RateLimit": False}
            wanted |= HEADERS.get(route, {}).get(status, {})
            headers = response["headers"]
            assert {name: header["required"] for name, header in headers.items()} == wanted, (route, status)
            assert all(header["description"] and header["schema"] for header in headers.values())


def test_every_write_but_search_takes_an_idempotency_key_and_nothing_else_does(document: Document) -> None:
    for (path, method), operation in operations(document).items():
        names = {parameter["name"] for parameter in operation.get("parameters", [])}
        assert ("Idempotency-Key" in names) == (method != "get" and path != SEARCH)


def test_every_error_under_v1_has_the_one_shape_and_only_an_orders_conflict_has_data(
    document: Document,
) -> None:
    for route, operation in operations(document).items():
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                schema = resolve(document, response["content"]["application/json"]["schema"])
                data = {"data"} if (*route, status) == (ORDERS, "post", "409") else set()
                assert set(schema["properties"]) == {"success", "error"} | data
                assert set(schema["required"]) == {"error"}
                problem = resolve(document, schema["properties"]["error"])
                assert set(problem["properties"]) == {"code", "message", "request_id", "details"}
                assert set(problem["required"]) == {"code", "message", "request_id"}


def test_a_route_without_a_body_has_no_400(document: Document) -> None:
    for operation in operations(document).values():
        assert ("400" in operation["responses"]) == ("requestBody" in operation)


def test_the_example_of_a_422_names_fields_or_parameters_of_its_own_route(document: Document) -> None:
    for operation in operations(document).values():
        names = {parameter["name"] for parameter in operation.get("parameters", [])}
        content = operation.get("requestBody", {}).get("content", {}).get("application/json")
        if content is not None:
            names |= set(resolve(document, content["schema"])["properties"])
        refused = operation["responses"].get("422", {"content": {"application/json": {}}})
        for example in refused["content"]["application/json"].get("examples", {}).values():
            details = example["value"]["error"].get("details", {})
            assert {name.partition(".")[0] for name in details} <= names


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


UUID = "01932c07-2c4f-7000-8000-000000000000"
NOWHERE = "+442071838750"
LONG = "https://" + "a" * 2041


@pytest.mark.parametrize(
    ("path", "method", "body", "is_good"),
    [
        (ORDERS, "post", {"numbers": [NOWHERE]}, True),
        (ORDERS, "post", {"numbers": [f"+44207183{line:04}" for line in range(100)]}, True),
        (
            *(ORDERS, "post"),
            {"numbers": [NOWHERE], "label": "", "inbound_url": "https://a", "campaign_id": UUID},
            True,
        ),
        (
            ORDERS,
            "post",
            {"numbers": [NOWHERE], "label": None, "status_url": None, "campaign_id": None},
            True,
        ),
        (ORDERS, "post", {}, False),
        (ORDERS, "post", {"numbers": None}, False),
        (ORDERS, "post", {"numbers": []}, False),
        (ORDERS, "post", {"numbers": [f"+44207183{line:04}" for line in range(101)]}, False),
        (ORDERS, "post", {"numbers": [NOWHERE, NOWHERE]}, False),
        (ORDERS, "post", {"numbers": [NOWHERE, 5]}, False),
        (ORDERS, "post", {"numbers": ["442071838750"]}, False),
        (ORDERS, "post", {"numbers": [NOWHERE + "\n"]}, False),
        (ORDERS, "post", {"numbers": NOWHERE}, False),
        (ORDERS, "post", {"numbers": [NOWHERE], "inbound_url": "http://a"}, False),
        (ORDERS, "post", {"numbers": [NOWHERE], "inbound_url": ""}, False),
        (ORDERS, "post", {"numbers": [NOWHERE], "status_url": LONG}, False),
        (ORDERS, "post", {"numbers": [NOWHERE], "label": "a" * 256}, False),
        (ORDERS, "post", {"numbers": [NOWHERE], "campaign_id": ""}, False),
        (ORDERS, "post", {"numbers": [NOWHERE], "quantity": 1}, False),
        (BULK, "post", {"quantity": 1, "area_code": "999", "pattern": "1", "number_type": "local"}, True),
        (BULK, "post", {"quantity": 1000, "area_code": "999", "mode": "atomic", "label": "a"}, True),
        (BULK, "post", {"quantity": 1, "area_code": "999", "mode": None, "label": None}, True),
        (BULK, "post", {"quantity": 0}, False),
        (BULK, "post", {"quantity": 1001}, False),
        (BULK, "post", {"quantity": "1"}, False),
        (BULK, "post", {"quantity": None}, False),
        (BULK, "post", {"quantity": 1, "mode": "immediate_partial"}, False),
        (BULK, "post", {"area_code": "999"}, False),
        (BULK, "post", {"quantity": 1, "numbers": [NOWHERE]}, False),
        (f"{NUMBERS}/{{id}}", "patch", {}, True),
        (f"{NUMBERS}/{{id}}", "patch", {"inbound_url": "", "status_url": "https://a", "label": ""}, True),
        (f"{NUMBERS}/{{id}}", "patch", {"campaign_id": UUID, "label": None}, True),
        (f"{NUMBERS}/{{id}}", "patch", {"campaign_id": ""}, False),
        (f"{NUMBERS}/{{id}}", "patch", {"inbound_url": "ftp://a"}, False),
        (f"{NUMBERS}/{{id}}", "patch", {"label": 5}, False),
        (f"{NUMBERS}/{{id}}", "patch", {"number": NOWHERE}, False),
        (RELEASE, "post", {"ids": [UUID]}, True),
        (RELEASE, "post", {"ids": [UUID, UUID.upper(), UUID]}, True),
        (RELEASE, "post", {"ids": []}, False),
        (RELEASE, "post", {"ids": [UUID] * 101}, False),
        (RELEASE, "post", {"ids": ["x"]}, False),
        (API_KEYS, "post", {"label": "a", "scopes": ["numbers:read", "apikeys:write"]}, True),
        (API_KEYS, "post", {"label": "a" * 255, "scopes": ["numbers:read"], "expires_at": None}, True),
        (
            *(API_KEYS, "post"),
            {"label": "a", "scopes": ["numbers:read"], "expires_at": "2099-01-01T00:00:00Z"},
            True,
        ),
        (API_KEYS, "post", {}, False),
        (API_KEYS, "post", {"label": "a"}, False),
        (API_KEYS, "post", {"label": "", "scopes": ["numbers:read"]}, False),
        (API_KEYS, "post", {"label": "a" * 256, "scopes": ["numbers:read"]}, False),
        (API_KEYS, "post", {"label": None, "scopes": ["numbers:read"]}, False),
        (API_KEYS, "post", {"label": "a", "scopes": []}, False),
        (API_KEYS, "post", {"label": "a", "scopes": "numbers:read"}, False),
        (API_KEYS, "post", {"label": "a", "scopes": ["numbers"]}, False),
        (API_KEYS, "post", {"label": "a", "scopes": [None]}, False),
        (API_KEYS, "post", {"label": "a", "scopes": ["numbers:read", "numbers:read"]}, False),
        (API_KEYS, "post", {"label": "a", "scopes": ["numbers:read"], "expires_at": 1}, False),
        (API_KEYS, "post", {"label": "a", "scopes": ["numbers:read"], "org_id": "a"}, False),
        (RELEASE, "post", {"ids": [None]}, False),
        (RELEASE, "post", {}, False),
    ],
)
def test_the_document_and_the_service_agree_on_which_bodies_of_writes_are_good(
    document: Document, buyer: Organization, path: str, method: str, body: dict[str, Any], is_good: bool
) -> None:
    content = document["paths"][path][method]["requestBody"]["content"]["application/json"]

    assert accepts(document, content["schema"], body) is is_good
    response = buyer.client.request(method, path.format(id=UUID), json=body)
    assert (response.status_code not in (400, 422)) is is_good, response.text


# All answers that other tests of organizations get are held against the document as well.
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

    assert_described(document, response)
