import re
from collections.abc import AsyncIterator, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from litestar import Litestar, post
from litestar.params import JSONBody
from litestar.testing import AsyncTestClient

from api import docs
from api.docs import docs_routes, openapi_config

ASSETS = Path(docs.__file__).parent / "docs_assets"
OUR_FILES = (ASSETS / "index.html", ASSETS / "initializer.js")
OUTSIDE = re.compile(r"https?:|wss?:|[\"'(=]\s*//", re.IGNORECASE)


class Wanted(msgspec.Struct):
    area_code: str | None = None
    quantity: int = 10


class Found(msgspec.Struct):
    number: str


@post("/v1/sample")
async def sample(data: JSONBody[Wanted]) -> list[Found]:
    """Find some."""
    return [Found(number=f"+1{data.area_code}5550123")]


def new_app() -> Litestar:
    return Litestar(route_handlers=[sample, *docs_routes], openapi_config=openapi_config())


@pytest_asyncio.fixture
async def client() -> AsyncIterator[AsyncTestClient[Litestar]]:
    async with AsyncTestClient(new_app()) as client:
        yield client


Client = AsyncTestClient[Litestar]


def refs(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from refs(child)


def resolve(document: dict[str, Any], ref: str) -> Any:
    node: Any = document
    for step in ref.removeprefix("#/").split("/"):
        node = node[step]
    return node


def references(text: str) -> set[str]:
    return set(re.findall(r"""(?:src|href|url)\s*[=:]\s*["']([^"']+)["']""", text))


async def test_the_document_is_openapi_3_1_and_says_how_to_authenticate(client: Client) -> None:
    response = await client.get("/openapi.json")
    document = response.json()

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert document["openapi"].startswith("3.1.")
    assert document["info"]["title"] == "Phone-number inventory"
    assert document["info"]["version"] == version("phone-number-inventory")
    for word in ("Authorization: Bearer", '"success"', "X-Request-Id"):
        assert word in document["info"]["description"]
    scheme = document["components"]["securitySchemes"]["bearer"]
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    assert document["security"] == [{"bearer": []}]


async def test_the_document_has_the_routes_of_the_app_with_their_schemas_and_not_its_own(
    client: Client,
) -> None:
    document = (await client.get("/openapi.json")).json()

    assert list(document["paths"]) == ["/v1/sample"]
    operation = document["paths"]["/v1/sample"]["post"]
    assert operation["description"] == "Find some."
    assert "201" in operation["responses"]
    found = list(refs(document))
    assert found
    for ref in found:
        assert isinstance(resolve(document, ref), dict)


async def test_the_document_is_built_once_and_each_app_has_its_own(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await client.get("/openapi.json")
    monkeypatch.setattr(docs, "encode_json", None)
    again = await client.get("/openapi.json")
    monkeypatch.undo()
    bare = Litestar(route_handlers=docs_routes, openapi_config=openapi_config())
    async with AsyncTestClient(bare) as other:
        others = await other.get("/openapi.json")

    assert again.content == first.content
    assert others.json()["paths"] == {}


async def test_the_page_is_html_under_a_policy_that_admits_only_this_host(client: Client) -> None:
    response = await client.get("/docs")
    policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert policy.pop("img-src") == "'self' data:"
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}


async def test_everything_that_the_page_and_its_script_load_is_served_here(client: Client) -> None:
    wanted = {ref for file in OUR_FILES for ref in references(file.read_text("utf-8"))}

    assert {
        "/openapi.json",
        "/docs/initializer.js",
        "/docs/swagger-ui-bundle.js",
        "/docs/swagger-ui.css",
    } <= wanted
    for path in wanted:
        assert path.startswith("/")
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("file", OUR_FILES, ids=lambda file: file.name)
def test_no_file_of_ours_names_an_outside_host(file: Path) -> None:
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.lstrip().startswith("//")]

    assert not OUTSIDE.search("\n".join(lines))


def test_the_style_sheet_loads_nothing_from_outside() -> None:
    text = (ASSETS / "swagger-ui" / "swagger-ui.css").read_text("utf-8")
    urls = re.findall(r"""url\(\s*["']?([^\s"')]{5})""", text)

    assert "@import" not in text
    assert set(urls) == {"data:"}


def test_the_page_has_no_inline_script_or_style_for_the_policy_to_refuse() -> None:
    text = (ASSETS / "index.html").read_text("utf-8")

    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon[a-z]+=|javascript:", text) == []
    assert all(not body.strip() for body in re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL))


def test_the_validator_badge_is_off_and_a_key_is_not_stored_in_the_browser() -> None:
    text = (ASSETS / "initializer.js").read_text("utf-8")

    assert "validatorUrl: null" in text
    assert "persistAuthorization: false" in text


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("initializer.js", "text/javascript; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("swagger-ui-bundle.js.LICENSE.txt", "text/plain; charset=utf-8"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
        ("favicon-32x32.png", "image/png"),
    ],
)
async def test_an_asset_has_its_own_type_and_its_exact_bytes(
    client: Client, name: str, media_type: str
) -> None:
    response = await client.get(f"/docs/{name}")

    assert response.headers["content-type"] == media_type
    [file] = ASSETS.rglob(name)
    assert response.content == file.read_bytes()


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/docs/swagger-ui-bundle.js"])
async def test_a_browser_that_has_it_is_told_so_and_not_sent_it_again(client: Client, path: str) -> None:
    first = await client.get(path)
    etag = first.headers["etag"]

    assert first.headers["cache-control"] == "no-cache"
    for held in (etag, f"W/{etag}", f'"other", {etag}', "*"):
        again = await client.get(path, headers={"If-None-Match": held})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == etag
    assert (await client.get(path, headers={"If-None-Match": '"other"'})).status_code == 200


@pytest.mark.parametrize(
    "name",
    [
        "nothing.js",
        "index.html",
        "README.md",
        "..%2Fdocs.py",
        "%2e%2e%2fdocs.py",
        "swagger-ui/LICENSE",
        "%00",
        "a%0Ab",
    ],
)
async def test_a_name_that_is_not_an_asset_is_404_even_if_there_is_such_a_file(
    client: Client, name: str
) -> None:
    assert (await client.get(f"/docs/{name}")).status_code == 404


@pytest.mark.parametrize(
    "path", ["/", "/schema", "/schema/openapi.json", "/swagger", "/docs/openapi.json", "/no"]
)
async def test_litestars_own_documentation_pages_are_not_there(client: Client, path: str) -> None:
    response = await client.get(path)

    assert response.status_code == 404
    assert response.headers["content-type"].startswith("application/json")


def test_the_vendored_package_has_its_licence_and_says_its_version() -> None:
    folder = ASSETS / "swagger-ui"

    assert "Apache License" in (folder / "LICENSE").read_text("utf-8")
    assert "SmartBear" in (folder / "NOTICE").read_text("utf-8")
    assert re.search(r"version \| 5\.\d+\.\d+ \|", (folder / "README.md").read_text("utf-8"))
