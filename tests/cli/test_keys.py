import re
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import redis
from click.testing import CliRunner, Result

from deploy.cli import main
from shared import store_keys
from shared.api_keys import Scope, is_well_formed
from tests.http.answers import SEARCH, assert_error, found
from tests.processes import free_port
from tests.support import Service, numbers, wait_until

ORGANIZATION = "cli-keys"
FIELDS = {
    *("id", "org_id", "label", "prefix", "scopes", "created_at", "last_used_at", "revoked_at", "expires_at"),
    "plaintext",
}
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")
# What leads to a store, with all that a command needs besides.
COMMANDS = [
    ["keys", "list"],
    ["keys", "create", "--org", "x", "--scope", "numbers:read"],
    ["keys", "revoke", "01a20817-7a80-78e8-80f7-b3ed1140b3e9"],
    ["stats"],
    ["stats", "--json"],
]


@pytest.fixture
def client(service: Service) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=service.instance.url, timeout=10) as client:
        yield client


def create(service: Service, *options: str) -> dict[str, Any]:
    done = service.numbers("keys create", "--org", ORGANIZATION, "--json", *options)
    assert (done.returncode, done.stderr) == (0, "")
    key: dict[str, Any] = msgspec.json.decode(done.stdout)
    return key


def listed(service: Service) -> list[dict[str, Any]]:
    done = service.numbers("keys list", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    keys: list[dict[str, Any]] = msgspec.json.decode(done.stdout)
    return keys


def in_process(*arguments: str) -> Result:
    """Run a command that comes to no store: without the process, there are many of them."""
    return CliRunner().invoke(main.numbers, arguments, prog_name="numbers")


def search(client: httpx.Client, secret: str) -> httpx.Response:
    return client.post(SEARCH, json={}, headers={"Authorization": f"Bearer {secret}"})


def test_create_prints_the_secret_alone_so_that_a_script_can_take_it(
    service: Service, client: httpx.Client
) -> None:
    done = service.numbers("keys create", "--org", ORGANIZATION, "--scope", "numbers:write")

    assert done.returncode == 0
    [secret] = done.stdout.splitlines()
    assert is_well_formed(secret)
    found(search(client, secret))
    [line] = done.stderr.splitlines()
    assert ORGANIZATION in line
    assert "numbers:write" in line
    assert "not shown again" in line
    assert secret not in line


def test_created_as_json_it_is_the_key_resource_with_its_secret(
    service: Service, client: httpx.Client
) -> None:
    key = create(service, "--scope", "numbers:write", "--scope", "apikeys:read", "--label", "Été ☀ 1")

    assert set(key) == FIELDS
    assert UUID7.fullmatch(key["id"])
    assert key["org_id"] == ORGANIZATION
    assert key["label"] == "Été ☀ 1"
    assert sorted(key["scopes"]) == ["apikeys:read", "numbers:write"]
    assert is_well_formed(key["plaintext"])
    assert key["prefix"] == key["plaintext"][:12]
    assert TIME.fullmatch(key["created_at"])
    age = datetime.now(UTC) - datetime.fromisoformat(key["created_at"])
    assert abs(age) < timedelta(minutes=1)
    assert [key[name] for name in ("last_used_at", "revoked_at", "expires_at")] == [None] * 3
    found(search(client, key["plaintext"]))


def test_a_key_without_a_label_has_null_for_it(service: Service) -> None:
    assert create(service, "--scope", "numbers:read")["label"] is None


def test_a_scope_given_twice_counts_once(service: Service) -> None:
    key = create(service, "--scope", "numbers:read", "--scope", "numbers:read")

    assert key["scopes"] == ["numbers:read"]


def test_every_scope_can_be_given(service: Service) -> None:
    options = [option for scope in Scope for option in ("--scope", scope.value)]

    assert set(create(service, *options)["scopes"]) == {
        *("numbers:read", "numbers:write", "apikeys:read", "apikeys:write"),
        *("platform:inventory:read", "platform:inventory:write"),
    }


def test_no_two_keys_share_id_or_secret(service: Service) -> None:
    first, second = (create(service, "--scope", "numbers:read") for _ in range(2))

    assert first["id"] != second["id"]
    assert first["plaintext"] != second["plaintext"]


def test_the_list_has_all_keys_oldest_first_and_no_secret(service: Service) -> None:
    made = [create(service, "--scope", "numbers:read", "--label", f"key {index}") for index in range(3)]

    keys = listed(service)

    assert [key for key in keys if key["id"] in {one["id"] for one in made}] == [
        one | {"plaintext": None} for one in made
    ]
    assert [key["created_at"] for key in keys] == sorted(key["created_at"] for key in keys)
    assert {frozenset(key) for key in keys} == {frozenset(FIELDS)}
    assert any(key["org_id"] == "demo" and set(key["scopes"]) == set(Scope) for key in keys)


def test_the_list_for_people_has_a_line_a_key_and_no_secret(service: Service) -> None:
    key = create(service, "--scope", "numbers:read", "--scope", "apikeys:write", "--label", "for people")
    assert service.numbers("keys revoke", key["id"]).returncode == 0

    done = service.numbers("keys list")

    assert (done.returncode, done.stderr) == (0, "")
    [line] = [line for line in done.stdout.splitlines() if key["id"] in line]
    for word in (key["prefix"], ORGANIZATION, "for people", "numbers:read", "apikeys:write", "revoked"):
        assert word in line
    assert key["plaintext"] not in done.stdout
    [own] = [line for line in done.stdout.splitlines() if "numbers up" in line]
    assert "live" in own
    assert service.instance.key not in done.stdout


def test_a_revoked_key_is_refused_and_its_record_says_since_when(
    service: Service, client: httpx.Client
) -> None:
    key = create(service, "--scope", "numbers:write")
    found(search(client, key["plaintext"]))

    done = service.numbers("keys revoke", key["id"], "--json")

    revoked = msgspec.json.decode(done.stdout)
    assert TIME.fullmatch(revoked["revoked_at"])
    assert revoked == key | {"plaintext": None, "revoked_at": revoked["revoked_at"]}
    assert revoked in listed(service)
    wait_until(lambda: search(client, key["plaintext"]).status_code == 401, "it is refused", 5)
    assert_error(search(client, key["plaintext"]), 401)


def test_to_revoke_says_what_was_done_and_twice_is_as_good_as_once(service: Service) -> None:
    key = create(service, "--scope", "numbers:read")

    first = service.numbers("keys revoke", key["id"])
    at = [one["revoked_at"] for one in listed(service) if one["id"] == key["id"]]
    second = service.numbers("keys revoke", key["id"])

    for done in (first, second):
        assert (done.returncode, done.stderr) == (0, "")
        assert key["id"] in done.stdout
        assert "revoked" in done.stdout
    assert [one["revoked_at"] for one in listed(service) if one["id"] == key["id"]] == at != [None]


@pytest.mark.parametrize("key_id", ["01a20817-7a80-78e8-80f7-b3ed1140b3e9", "nothing", "", "*"])
def test_to_revoke_a_key_that_is_not_there_fails_and_says_where_to_look(
    service: Service, key_id: str
) -> None:
    done = service.numbers("keys revoke", key_id)

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Error: no key has the id {key_id}; `numbers keys list` shows them\n"


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--org", "", "--scope", "numbers:read"], "--org"),
        (["--org", "Acme", "--scope", "numbers:read"], "--org"),
        (["--org", "a b", "--scope", "numbers:read"], "--org"),
        (["--org", "acmé", "--scope", "numbers:read"], "--org"),
        (["--org", "acme\n", "--scope", "numbers:read"], "--org"),
        (["--org", "a:b", "--scope", "numbers:read"], "--org"),
        (["--org", "a" * 65, "--scope", "numbers:read"], "--org"),
        (["--scope", "numbers:read"], "--org"),
        (["--org", "refused"], "--scope"),
        (["--org", "refused", "--scope", "numbers"], "--scope"),
        (["--org", "refused", "--scope", ""], "--scope"),
        (["--org", "refused", "--scope", "numbers:read", "--scope", "admin"], "--scope"),
        (["--org", "refused", "--scope", "numbers:read numbers:write"], "--scope"),
        (["--org", "refused", "--scope", "numbers:read", "--label", ""], "--label"),
        (["--org", "refused", "--scope", "numbers:read", "--label", "a\nb"], "--label"),
        (["--org", "refused", "--scope", "numbers:read", "--label", "\x1b[31m"], "--label"),
        (["--org", "refused", "--scope", "numbers:read", "--label", "a" * 256], "--label"),
        (["--org", "refused", "--scope", "numbers:read", "more"], "more"),
    ],
)
def test_what_cannot_be_is_refused_with_the_name_of_the_option_and_makes_no_key(
    service: Service, options: list[str], says: str
) -> None:
    url = service.instance.redis_url
    with redis.Redis.from_url(url) as store:
        before = store.hlen(store_keys.API_KEYS)
        done = in_process("keys", "create", "--redis-url", url, *options)
        assert store.hlen(store_keys.API_KEYS) == before

    assert (done.exit_code, done.stdout) == (2, "")
    assert says in done.stderr.partition("Error: ")[2]


@pytest.mark.parametrize("name", ["a", "-_0", "a" * 64])
def test_an_organization_can_have_any_name_of_its_characters(service: Service, name: str) -> None:
    done = service.numbers("keys create", "--json", "--scope", "numbers:read", f"--org={name}")

    assert msgspec.json.decode(done.stdout)["org_id"] == name


def test_a_label_may_have_255_characters(service: Service) -> None:
    label = "é" * 255

    assert create(service, "--scope", "numbers:read", "--label", label)["label"] == label


def test_a_store_without_keys_says_how_to_make_one(valkey: str) -> None:
    empty = valkey[:-1] + "9"

    done = numbers("keys", "list", NUMBERS_REDIS_URL=empty)

    assert (done.returncode, done.stdout) == (0, "no keys yet: make one with `numbers keys create`\n")
    assert numbers("keys", "list", "--json", NUMBERS_REDIS_URL=empty).stdout == "[]\n"


# What all commands that need a store have in common


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_outside_of_any_service_a_command_says_what_to_do(tmp_path: Path, command: list[str]) -> None:
    done = numbers(*command, "--data-dir", tmp_path)

    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    for words in (str(tmp_path), "`numbers up`", "--redis-url", "NUMBERS_REDIS_URL"):
        assert words in line


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_store_that_cannot_be_reached_is_one_line(command: list[str]) -> None:
    done = numbers(*command, NUMBERS_REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")

    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: the store cannot be reached: ")


def test_a_store_that_does_not_answer_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        done = numbers("keys", "list", NUMBERS_REDIS_URL=url, NUMBERS_STORE_TIMEOUT_SECONDS="0.2")

    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: the store cannot be reached: ")


def test_a_store_that_wants_another_password_is_one_line(service: Service) -> None:
    url = httpx.URL(service.instance.redis_url)
    wrong = f"redis://numbers:wrong@127.0.0.1:{url.port}/0"

    done = numbers("keys", "list", "--redis-url", wrong)

    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: ")
    assert "wrong@" not in line


def test_a_store_that_refuses_strangers_is_one_line(service: Service) -> None:
    url = httpx.URL(service.instance.redis_url)

    done = numbers("keys", "list", "--redis-url", f"redis://127.0.0.1:{url.port}/0")

    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("Error: ")


@pytest.mark.parametrize(
    "url", ["", "nonsense", "http://127.0.0.1/0", "redis://127.0.0.1:port/0", "redis://127.0.0.1:99999/0"]
)
def test_a_bad_url_is_refused_without_a_traceback_and_names_the_option(url: str) -> None:
    done = in_process("keys", "list", "--redis-url", url)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "--redis-url" in done.stderr.splitlines()[-1]


def test_the_option_comes_before_the_variable_and_the_variable_before_the_directory(
    service: Service, tmp_path: Path
) -> None:
    url, nowhere = service.instance.redis_url, f"redis://127.0.0.1:{free_port()}/0"
    ids = [key["id"] for key in listed(service)]

    for done in (
        numbers("keys", "list", "--json", "--redis-url", url, NUMBERS_REDIS_URL=nowhere),
        numbers("keys", "list", "--json", "--data-dir", tmp_path, NUMBERS_REDIS_URL=url),
        numbers("keys", "list", "--json", "--data-dir", service.data_dir, NUMBERS_REDIS_URL=""),
    ):
        assert done.returncode == 0, done.stderr
        assert [key["id"] for key in msgspec.json.decode(done.stdout)] == ids
    done = numbers("keys", "list", "--data-dir", service.data_dir, NUMBERS_REDIS_URL=nowhere)
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("", ["up", "keys", "ingest", "stats", "bench"]),
        ("up", ["--port", "--data-dir", "--redis-url", "--no-sample", "--api-workers", "--ready-file"]),
        ("keys", ["create", "list", "revoke"]),
        ("keys create", ["--org", "--scope", "--label", "--json", "--redis-url", "--data-dir"]),
        ("keys list", ["--json", "--redis-url", "--data-dir"]),
        ("keys revoke", ["ID", "--json", "--redis-url", "--data-dir"]),
        ("ingest", ["FILE", "--carrier", "--wait", "--json", "--redis-url", "--data-dir"]),
        ("stats", ["--json", "--redis-url", "--data-dir"]),
        ("bench", []),
    ],
)
@pytest.mark.parametrize("option", ["-h", "--help"])
def test_every_command_explains_itself(command: str, words: list[str], option: str) -> None:
    done = in_process(*command.split(), option)

    assert (done.exit_code, done.stderr) == (0, "")
    assert f"Usage: {' '.join(['numbers', command]).strip()}" in done.stdout
    for word in words:
        assert word in done.stdout


def test_the_version_is_said() -> None:
    done = numbers("--version")

    assert re.fullmatch(r"numbers, version \d+\.\d+\.\d+\n", done.stdout)


@pytest.mark.parametrize("command", [["nothing"], ["keys", "nothing"], ["stats", "--nothing"]])
def test_a_command_that_is_not_there_is_refused(command: list[str]) -> None:
    done = in_process(*command)

    assert (done.exit_code, done.stdout) == (2, "")
    assert "nothing" in done.stderr.splitlines()[-1]
