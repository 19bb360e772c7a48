from collections.abc import Iterator

import httpx
import pytest

from shared.api_keys import Scope
from tests.http.answers import NUMBERS, assert_error, new_client
from tests.http.document import read_document
from tests.http.organizations import Organizations
from tests.support import Service

UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"
SCOPES = {
    "/v1/phone-numbers": (Scope.NUMBERS_READ, Scope.NUMBERS_WRITE),
    "/v1/api-keys": (Scope.APIKEYS_READ, Scope.APIKEYS_WRITE),
    "/v1/inventory": (Scope.PLATFORM_INVENTORY_READ, Scope.PLATFORM_INVENTORY_WRITE),
}
"""Where a path begins → the scope for GET, and the one for everything else, as the document says it."""


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with new_client(service.instance.url) as client:
        yield client


def operations(service: Service) -> list[tuple[str, str]]:
    """Give method and path of everything that needs a key, ids filled in."""
    paths = read_document(service.instance.url)["paths"]
    return [
        (method.upper(), path.replace("{id}", UNKNOWN_ID).replace("{carrier}", "nobody"))
        for path, methods in paths.items()
        for method in methods
        if path.startswith("/v1/")
    ]


def scope_of(method: str, path: str) -> Scope:
    [(read, write)] = [scopes for begin, scopes in SCOPES.items() if path.startswith(begin)]
    return read if method == "GET" else write


def ask(client: httpx.Client, secret: str | None, method: str, path: str) -> httpx.Response:
    """Send what harms nobody: its body, where one is looked at, is no JSON and no feed."""
    headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}
    return client.request(method, path, content=b"", headers=headers)


def test_the_document_says_which_scope_is_for_what(service: Service) -> None:
    description = read_document(service.instance.url)["info"]["description"]

    for begin, scopes in SCOPES.items():
        assert all(f"`{text}`" in description for text in (begin, *scopes))


def test_of_all_scopes_and_routes_exactly_the_documented_pairs_pass(
    service: Service, client: httpx.Client, organizations: Organizations
) -> None:
    asked = operations(service)
    assert len(asked) > 20
    for scope in Scope:
        secret = organizations.of(service, "scopes", (scope,)).secret
        for method, path in asked:
            response = ask(client, secret, method, path)
            if scope is scope_of(method, path):
                assert response.status_code in (200, 400, 404), (method, path, response.text)
            else:
                assert_error(response, 403)
                # What the route is limited to is for those who may use it.
                assert "ratelimit-policy" not in response.headers


def test_a_key_that_has_all_scopes_but_one_may_do_all_but_what_that_one_is_for(
    service: Service, client: httpx.Client, organizations: Organizations
) -> None:
    for missing in Scope:
        others = tuple(scope for scope in Scope if scope is not missing)
        secret = organizations.of(service, "scopes", others).secret
        for method, path in operations(service):
            response = ask(client, secret, method, path)
            assert (response.status_code == 403) is (scope_of(method, path) is missing), (method, path)


def test_without_a_key_every_route_under_v1_is_401(service: Service, client: httpx.Client) -> None:
    for method, path in operations(service):
        assert_error(ask(client, None, method, path), 401)


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        ((Scope.NUMBERS_WRITE,), 403),
        ((Scope.PLATFORM_INVENTORY_WRITE,), 403),
        ((Scope.NUMBERS_WRITE, Scope.PLATFORM_INVENTORY_READ), 403),
        (tuple(scope for scope in Scope if scope is not Scope.PLATFORM_INVENTORY_WRITE), 403),
        (tuple(scope for scope in Scope if scope is not Scope.NUMBERS_WRITE), 403),
        ((Scope.NUMBERS_WRITE, Scope.PLATFORM_INVENTORY_WRITE), 404),
    ],
)
def test_to_return_a_number_to_its_carrier_takes_both_scopes(
    service: Service, organizations: Organizations, scopes: tuple[Scope, ...], status: int
) -> None:
    organization = organizations.of(service, "scopes", scopes)

    assert_error(organization.release(UNKNOWN_ID, return_to_carrier="true"), status)
    # Nor can many be returned at once, whoever asks.
    many = organization.client.post(
        f"{NUMBERS}/bulk/release?return_to_carrier=true", json={"ids": [UNKNOWN_ID]}
    )
    assert_error(many, 403)
