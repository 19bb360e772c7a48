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
from shared.api_keys import MOST_KEYS, Scope
from shared.key_secrets import is_well_formed
from tests.http.answers import SEARCH, assert_error, found
from tests.processes import free_port
from tests.support import Service, numbers, wait_until

ORGANIZATION = "cli-keys"
FIELDS = {
    *("id", "org_id", "label", "prefix", "scopes", "created_at", "last_used_at", "revoked_at", "expires_at"),
    "plaintext",
}
UUID7 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
NOBODY = "01a20817-7a80-78e8-80f7-b3ed1140b3e9"
# What leads to a store, with all that a command needs besides.
COMMANDS = [
    ["keys", "list"],
    ["keys", "create", "--org", "x", "--scope", "numbers:read"],
    ["keys", "rotate", "01a20817-7a80-78e8-80f7-b3ed1140b3e9"],
    ["keys", "revoke", "01a20817-7a80-78e8-80f7-b3ed1140b3e9"],
    ["limits", "set", "acme", "--search-rate", "1"],
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


def listed(service: Service, *options: str) -> list[dict[str, Any]]:
    done = service.numbers("keys list", "--json", *options)
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


def test_the_list_has_all_keys_the_newest_of_each_organization_first_and_no_secret(service: Service) -> None:
    made = [create(service, "--scope", "numbers:read", "--label", f"key {index}") for index in range(3)]

    keys = listed(service)

    assert [key for key in keys if key["id"] in {one["id"] for one in made}] == [
        one | {"plaintext": None} for one in reversed(made)
    ]
    assert [key["org_id"] for key in keys] == sorted(key["org_id"] for key in keys)
    own = [key["created_at"] for key in keys if key["org_id"] == ORGANIZATION]
    assert own == sorted(own, reverse=True)
    assert listed(service, "--org", ORGANIZATION) == [key for key in keys if key["org_id"] == ORGANIZATION]
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
    # Its use may have been noted meanwhile, or not.
    expected = key | {"plaintext": None, "last_used_at": revoked["last_used_at"]}
    assert revoked == expected | {"revoked_at": revoked["revoked_at"]}
    assert revoked["revoked_at"] in {one["revoked_at"] for one in listed(service) if one["id"] == key["id"]}
    assert key["id"] not in {one["id"] for one in listed(service, "--live")}
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


@pytest.mark.parametrize(
    ("command", "key_id"),
    [
        *[("keys revoke", key_id) for key_id in (NOBODY, "nothing", "", "*")],
        ("keys rotate", NOBODY),
        ("keys show", NOBODY),
    ],
)
def test_a_key_that_is_not_there_is_an_error_that_says_where_to_look(
    service: Service, command: str, key_id: str
) -> None:
    done = service.numbers(command, key_id)

    assert (done.returncode, done.stdout) == (1, "")
    shows = f"`numbers keys list --data-dir {service.data_dir}` shows them"
    assert done.stderr == f"Error: no key has the id {key_id}; {shows}\n"


def test_to_rotate_prints_the_new_secret_alone_and_the_one_before_is_refused(
    service: Service, client: httpx.Client
) -> None:
    key = create(service, "--scope", "numbers:write")
    found(search(client, key["plaintext"]))

    done = service.numbers("keys rotate", key["id"])

    assert done.returncode == 0
    [secret] = done.stdout.splitlines()
    assert is_well_formed(secret)
    assert secret != key["plaintext"]
    [line] = done.stderr.splitlines()
    assert key["id"] in line
    assert "not shown again" in line
    assert secret not in line
    found(search(client, secret))
    wait_until(lambda: search(client, key["plaintext"]).status_code == 401, "it is refused", 5)


def test_rotated_as_json_it_is_the_key_resource_with_another_secret(service: Service) -> None:
    key = create(service, "--scope", "numbers:read", "--label", "to rotate", "--expires", "90d")

    rotated = msgspec.json.decode(service.numbers("keys rotate", key["id"], "--json").stdout)

    assert rotated == key | {"plaintext": rotated["plaintext"], "prefix": rotated["plaintext"][:12]}
    assert is_well_formed(rotated["plaintext"])


def test_a_revoked_key_is_not_rotated_and_what_to_do_instead_is_said(service: Service) -> None:
    key = create(service, "--scope", "numbers:read")
    service.numbers("keys revoke", key["id"])

    done = service.numbers("keys rotate", key["id"])

    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith(f"Error: the key {key['id']} is revoked or expired")
    assert "`numbers keys create`" in line


def test_a_key_is_shown_with_what_has_become_of_it(service: Service) -> None:
    key = create(service, "--scope", "numbers:read", "--label", "[b]shown", "--expires", "12h")
    service.numbers("keys rotate", key["id"])
    service.numbers("keys revoke", key["id"])

    shown = msgspec.json.decode(service.numbers("keys show", key["id"], "--json").stdout)
    done = service.numbers("keys show", key["id"])

    assert set(shown) == FIELDS | {"events"}
    assert shown["id"] == key["id"]
    assert shown["plaintext"] is None
    assert [event["event"] for event in shown["events"]] == ["created", "rotated", "revoked"]
    for event in shown["events"]:
        assert set(event) == {"event", "time", "by", "request_id"}
        assert TIME.fullmatch(event["time"])
        assert (event["by"], event["request_id"]) == ("command line", None)
    assert (done.returncode, done.stderr) == (0, "")
    first, *lines = done.stdout.splitlines()
    assert first == f"{key['id']} revoked"
    said = "\n".join(lines)
    for word in (ORGANIZATION, shown["prefix"], "[b]shown", "numbers:read", "never", key["expires_at"]):
        assert word in said
    for event in shown["events"]:
        assert f"{event['time']} {event['event']} by command line" in said


@pytest.mark.parametrize(
    ("expires", "after"),
    [
        ("90d", timedelta(days=90)),
        ("12h", timedelta(hours=12)),
        ("45m", timedelta(minutes=45)),
        ("2w", timedelta(weeks=2)),
        ("3600s", timedelta(hours=1)),
    ],
)
def test_a_key_may_expire_after_a_while(service: Service, expires: str, after: timedelta) -> None:
    key = create(service, "--scope", "numbers:read", "--expires", expires)

    assert TIME.fullmatch(key["expires_at"])
    lasts = datetime.fromisoformat(key["expires_at"]) - datetime.fromisoformat(key["created_at"])
    assert abs(lasts - after) < timedelta(seconds=10)


@pytest.mark.parametrize(
    ("expires", "time"),
    [
        ("2100-01-31T09:30:00Z", "2100-01-31T09:30:00.000Z"),
        ("2100-01-31T09:30:00.123456+02:00", "2100-01-31T07:30:00.123Z"),
        ("9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59.999Z"),
    ],
)
def test_a_key_may_expire_at_a_time(service: Service, expires: str, time: str) -> None:
    key = create(service, "--scope", "numbers:read", "--expires", expires)

    assert key["expires_at"] == time
    assert key["expires_at"] in {one["expires_at"] for one in listed(service) if one["id"] == key["id"]}


def test_a_key_that_has_expired_is_refused_and_is_listed_as_that(
    service: Service, client: httpx.Client
) -> None:
    key = create(service, "--scope", "numbers:write", "--expires", "1s", "--label", "short-lived")

    wait_until(lambda: search(client, key["plaintext"]).status_code == 401, "it is refused", 10)

    lines = service.numbers("keys list", "--org", ORGANIZATION).stdout.splitlines()
    [line] = [line for line in lines if key["id"] in line]
    assert "expired" in line
    assert key["id"] not in {one["id"] for one in listed(service, "--live")}
    assert service.numbers("keys rotate", key["id"]).returncode == 1


def test_keys_are_digested_with_the_pepper_that_is_set_and_it_is_not_shown(valkey: str) -> None:
    url, pepper = valkey[:-1] + "8", "a pepper of this test"
    options = ["--org", "acme", "--scope", "numbers:read", "--json"]

    with redis.Redis.from_url(url, decode_responses=True) as store:
        store.flushdb()
        made = numbers("keys", "create", *options, NUMBERS_REDIS_URL=url, NUMBERS_KEY_PEPPER=pepper)
        [digest] = store.scan_iter("key:*")
        key_id = msgspec.json.decode(made.stdout)["id"]
        rotated = numbers("keys", "rotate", key_id, NUMBERS_REDIS_URL=url, NUMBERS_KEY_PEPPER=pepper)
        [next_digest] = store.scan_iter("key:*")
        store.flushdb()

    assert digest != next_digest
    for name in (digest, next_digest):
        assert name.startswith("key:hmac-sha256-")
    assert pepper not in made.stdout + made.stderr + rotated.stdout + rotated.stderr


def test_an_organization_with_as_many_live_keys_as_it_may_have_is_told_what_to_do(service: Service) -> None:
    url = service.instance.redis_url
    with redis.Redis.from_url(url) as store:
        name = store_keys.api_keys("cli-full")
        record = b'{"label":null,"digest":"x","prefix":"x","scopes":["numbers:read"],"created_ms":1}'
        store.hset(name, mapping={str(place): record for place in range(MOST_KEYS)})
        done = in_process(
            "keys", "create", "--redis-url", url, "--org", "cli-full", "--scope", "numbers:read"
        )
        store.delete(name)

    assert (done.exit_code, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert f"cli-full has {MOST_KEYS} live keys" in line
    assert "keys list --org cli-full" in line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ([], "no keys of cli-nobody yet: make one with `numbers keys create`\n"),
        (["--live"], "no keys of cli-nobody yet: make one with `numbers keys create`\n"),
        (["--json"], "[]\n"),
    ],
)
def test_an_organization_without_keys_is_told_how_to_make_one(
    service: Service, options: list[str], says: str
) -> None:
    done = service.numbers("keys list", "--org", "cli-nobody", *options)

    assert (done.returncode, done.stdout) == (0, says)


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
        *[
            (["--org", "refused", "--scope", "numbers:read", "--expires", when], "--expires")
            for when in (
                *(
                    "",
                    "0",
                    "90",
                    "d",
                    "-1d",
                    "1.5h",
                    "90 d",
                    "90D",
                    "tomorrow",
                    "\N{ARABIC-INDIC DIGIT ONE}d",
                ),
                *("0s", "2026-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59-10:00"),
                *("2100-01-01", "2100-01-01T00:00:00", "2100-13-01T00:00:00Z", "999999w", "999999999w"),
            )
        ],
    ],
)
def test_what_cannot_be_is_refused_with_the_name_of_the_option_and_makes_no_key(
    service: Service, options: list[str], says: str
) -> None:
    url = service.instance.redis_url
    with redis.Redis.from_url(url) as store:
        done = in_process("keys", "create", "--redis-url", url, *options)
        assert not store.exists(store_keys.api_keys("refused"))
        assert not store.sismember(store_keys.ORGANIZATIONS, "refused")

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
        ("", ["up", "keys", "limits", "ingest", "stats"]),
        ("up", ["--port", "--data-dir", "--redis-url", "--no-sample", "--api-workers", "--ready-file"]),
        ("keys", ["create", "list", "show", "rotate", "revoke"]),
        ("keys create", ["--org", "--scope", "--label", "--expires", "--json", "--redis-url", "--data-dir"]),
        ("keys list", ["--org", "--live", "--json", "--redis-url", "--data-dir"]),
        ("keys show", ["ID", "--json", "--redis-url", "--data-dir"]),
        ("keys rotate", ["ID", "--json", "--redis-url", "--data-dir"]),
        ("keys revoke", ["ID", "--json", "--redis-url", "--data-dir"]),
        ("limits", ["show", "set", "clear", "list", "NUMBERS_SEARCH_RATE", "NUMBERS_WRITE_BURST"]),
        ("limits show", ["ORG", "--json", "--redis-url", "--data-dir"]),
        ("limits set", ["--search-rate", "--search-burst", "--write-rate", "--write-burst", "--json"]),
        ("limits clear", ["ORG", "--json", "--redis-url", "--data-dir"]),
        ("limits list", ["--json", "--redis-url", "--data-dir"]),
        ("ingest", ["FILE", "--carrier", "--wait", "--json", "--redis-url", "--data-dir"]),
        ("stats", ["--json", "--redis-url", "--data-dir"]),
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
