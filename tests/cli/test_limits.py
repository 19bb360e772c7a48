from typing import Any

import msgspec
import pytest
import redis

from shared import store_keys
from tests.cli.conftest import Here
from tests.support import Service, wait_until

ORGANIZATION = "cli-limits"
LINES = ("searches", "other requests that read", "requests that write", "keys created and rotated")
IN_FORCE = "in force within 0.5 s\n"


@pytest.fixture(scope="module")
def url(service: Service) -> str:
    done = service.numbers("keys create", "--org", ORGANIZATION, "--scope", "numbers:write")
    assert done.returncode == 0
    return service.instance.redis_url


@pytest.fixture(autouse=True)
def nothing_set(url: str) -> None:
    with redis.Redis.from_url(url) as store:
        store.delete(store_keys.rate_limits(ORGANIZATION))


class Limits:
    """Runs `numbers limits` on the store of a service, as where the API of a server runs."""

    def __init__(self, here: Here, url: str) -> None:
        self._here, self._url = here, url

    def run(self, command: str, *options: str, **settings: str) -> tuple[int, str, str]:
        done = self._here(f"limits {command}", "--redis-url", self._url, *options, stdin=b"", **settings)
        return done.returncode, done.stdout, done.stderr

    def shown(self, **settings: str) -> dict[str, tuple[float, int | None, str]]:
        code, output, error = self.run("show", ORGANIZATION, "--json", **settings)
        assert (code, error) == (0, "")
        told = msgspec.json.decode(output)
        assert told["org_id"] == ORGANIZATION
        return {kind: (one["rate"], one["burst"], one["source"]) for kind, one in told["limits"].items()}

    def set(self, *options: str) -> None:
        code, _, error = self.run("set", ORGANIZATION, *options)
        assert (code, error) == (0, IN_FORCE)


@pytest.fixture
def limits(here: Here, url: str) -> Limits:
    return Limits(here, url)


def cells_of(output: str) -> dict[str, list[str]]:
    """Give the first words of the lines of a table, and the words after them."""
    lines = [line.strip() for line in output.splitlines()]
    return {
        name: line.removeprefix(name).split() for name in LINES for line in lines if line.startswith(name)
    }


def test_where_nothing_is_set_for_it_an_organization_has_the_limits_of_the_settings(limits: Limits) -> None:
    assert limits.shown() == {
        "search": (100, 200, "settings"),
        "read": (100, 200, "settings"),
        "write": (20, 50, "settings"),
        "keys": (pytest.approx(1 / 6), 10, "fixed"),
    }
    assert limits.shown(NUMBERS_SEARCH_RATE="7", NUMBERS_WRITE_BURST="9") == {
        "search": (7, 200, "settings"),
        "read": (7, 200, "settings"),
        "write": (20, 9, "settings"),
        "keys": (pytest.approx(1 / 6), 10, "fixed"),
    }
    assert limits.shown(NUMBERS_WRITE_RATE="0")["keys"] == (0, None, "settings")


def test_what_is_set_for_an_organization_comes_before_the_settings(limits: Limits) -> None:
    limits.set("--search-rate", "2.5", "--write-burst", "1000000")

    assert limits.shown(NUMBERS_SEARCH_RATE="7", NUMBERS_WRITE_BURST="9") == {
        "search": (2.5, 200, "organization"),
        "read": (2.5, 200, "organization"),
        "write": (20, 1_000_000, "organization"),
        "keys": (pytest.approx(1 / 6), 10, "fixed"),
    }


def test_a_rate_of_0_is_unlimited_and_of_writes_so_for_keys(limits: Limits) -> None:
    limits.set("--write-rate", "0")

    shown = limits.shown()
    assert shown["search"] == (100, 200, "settings")
    assert shown["write"] == shown["keys"] == (0, None, "organization")


def test_what_is_set_adds_up_until_it_is_cleared(limits: Limits) -> None:
    limits.set("--search-rate", "5", "--search-burst", "6")
    limits.set("--search-burst", "7")
    limits.set("--write-rate", "8")

    shown = limits.shown()
    assert (shown["search"][:2], shown["write"][:2]) == ((5, 7), (8, 50))
    code, _, error = limits.run("clear", ORGANIZATION)
    assert (code, error) == (0, IN_FORCE)
    assert {source for *_, source in limits.shown().values()} == {"settings", "fixed"}


def test_for_people_each_kind_of_requests_has_a_line(limits: Limits) -> None:
    code, output, _ = limits.run("set", ORGANIZATION, "--search-rate", "1000", "--search-burst", "2000")

    assert code == 0
    assert cells_of(output) == {
        LINES[0]: ["1,000", "2,000", "set", "for", ORGANIZATION],
        LINES[1]: ["1,000", "2,000", "set", "for", ORGANIZATION],
        LINES[2]: ["20", "50", "settings"],
        LINES[3]: ["0.167", "10", "fixed"],
    }
    assert limits.run("show", ORGANIZATION) == (0, output, "")
    limits.run("clear", ORGANIZATION)
    _, output, _ = limits.run("set", ORGANIZATION, "--write-rate", "0")
    assert cells_of(output)[LINES[2]] == ["unlimited", "set", "for", ORGANIZATION]


def test_it_is_said_when_what_was_set_is_in_force(limits: Limits) -> None:
    _, _, error = limits.run("set", ORGANIZATION, "--search-rate", "1", NUMBERS_KEY_CACHE_SECONDS="0.25")

    assert error == "in force within 0.25 s\n"


def test_organizations_with_limits_of_their_own_are_listed(limits: Limits) -> None:
    assert limits.run("list", "--json") == (0, "[]\n", "")
    assert limits.run("list") == (
        0,
        "no organization has limits of its own: set them with `numbers limits set`\n",
        "",
    )

    limits.set("--search-rate", "0", "--write-burst", "3000")

    _, output, _ = limits.run("list", "--json")
    own: list[dict[str, Any]] = msgspec.json.decode(output)
    assert own == [
        {
            "org_id": ORGANIZATION,
            "search_rate": 0,
            "search_burst": None,
            "write_rate": None,
            "write_burst": 3000,
        }
    ]
    _, output, _ = limits.run("list")
    [line] = [line.split() for line in output.splitlines() if ORGANIZATION in line]
    as_for_all = ["as", "for", "all"]
    assert line == [ORGANIZATION, "unlimited", *as_for_all, *as_for_all, "3,000"]


@pytest.mark.parametrize("command", [["show"], ["set", "--search-rate", "1"], ["clear"]])
def test_an_organization_that_never_had_a_key_is_refused(
    limits: Limits, url: str, command: list[str]
) -> None:
    name, *options = command

    code, output, error = limits.run(name, "cli-limitz", *options)

    assert (code, output) == (1, "")
    [line] = error.splitlines()
    assert line.startswith("Error: no organization cli-limitz has ever had a key; `numbers keys list")
    with redis.Redis.from_url(url) as store:
        assert not store.exists(store_keys.rate_limits("cli-limitz"))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "at least one limit"),
        *[(["--search-rate", rate], "--search-rate") for rate in ("-1", "x", "nan", "1000001", "0.0009", "")],
        *[(["--write-rate", rate], "--write-rate") for rate in ("inf", "1e-300", "1,5")],
        *[(["--search-burst", burst], "--search-burst") for burst in ("0", "1.5", "1000001", "-1", "x")],
        (["--write-burst", "0"], "--write-burst"),
    ],
)
def test_what_cannot_be_set_is_refused_with_the_name_of_the_option_and_sets_nothing(
    limits: Limits, url: str, options: list[str], says: str
) -> None:
    code, output, error = limits.run("set", ORGANIZATION, *options)

    assert (code, output) == (2, "")
    [line] = error.splitlines()
    assert says in line
    with redis.Redis.from_url(url) as store:
        assert not store.exists(store_keys.rate_limits(ORGANIZATION))


def test_the_service_of_a_data_directory_has_no_limits_but_those_that_are_set(service: Service) -> None:
    def rates() -> list[float]:
        told = msgspec.json.decode(service.numbers("limits show", ORGANIZATION, "--json").stdout)
        return [one["rate"] for one in told["limits"].values()]

    assert rates() == [0, 0, 0, 0]
    assert service.numbers("limits set", ORGANIZATION, "--search-rate", "3").returncode == 0
    assert rates() == [3, 3, 0, 0]


def test_a_limit_that_is_set_is_in_force_and_one_that_is_cleared_no_longer(service: Service) -> None:
    made = service.numbers("keys create", "--org", ORGANIZATION, "--scope", "numbers:write", "--json")
    headers = {"Authorization": f"Bearer {msgspec.json.decode(made.stdout)['plaintext']}"}

    def statuses() -> set[int]:
        with service.client() as client:
            answers = [client.post("/v1/phone-numbers/search", json={}, headers=headers) for _ in range(4)]
        return {answer.status_code for answer in answers}

    assert statuses() == {200}
    service.numbers("limits set", ORGANIZATION, "--search-rate", "0.01", "--search-burst", "2")
    wait_until(lambda: 429 in statuses(), "it is limited")
    service.numbers("limits clear", ORGANIZATION)
    wait_until(lambda: statuses() == {200}, "it is limited no longer", 5)
