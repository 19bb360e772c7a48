"""The logs of a service: a line for each request, job and change of a key, and never a secret."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from shared import store_keys
from shared.api_keys import Scope
from shared.key_secrets import digests_of, new_secret
from shared.store import API_CLIENT
from tests.http.answers import API_KEYS, NUMBERS, ORDERS, SEARCH, assert_error, new_client, succeeded
from tests.http.organizations import Organization, Organizations, put
from tests.processes import processes_of
from tests.support import Service, numbers, wait_until

PEPPER = "pepper-that-nobody-may-see"
UNKNOWN_ID = "01890000-0000-7000-8000-000000000000"
Line = dict[str, Any]


@pytest.fixture(scope="module")
def logging_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that writes as it does in production."""
    service = Service(
        tmp_path_factory.mktemp("logs"),
        "--no-sample",
        NUMBERS_LOG_FORMAT="json",
        NUMBERS_KEY_PEPPER=PEPPER,
    )
    yield service
    service.stop()


@pytest.fixture(scope="module")
def buyer(logging_service: Service, organizations: Organizations) -> Organization:
    return organizations.of(logging_service, "logs-tests", tuple(Scope))


def lines_of(service: Service, log: str, **fields: str) -> list[Line]:
    """Give the lines that have these fields; every line has to be whole and in form."""
    found = []
    for text in (service.data_dir / f"{log}.log").read_bytes().splitlines(keepends=True):
        # What is being written just now.
        if not text.endswith(b"\n"):
            break
        line: Line = json.loads(text)
        assert list(line)[:4] == ["time", "level", "logger", "event"]
        if fields.items() <= line.items():
            found.append(line)
    return found


def line_of(service: Service, response: httpx.Response) -> Line:
    """Give the line of the request that has this answer, without what differs each time."""
    request_id = response.headers["x-request-id"]

    def look() -> list[Line]:
        return lines_of(service, "api", event="request", request_id=request_id)

    [line] = wait_until(look, "the request is in the log")
    assert (line.pop("logger"), line.pop("level")) == ("api.request_log", "info")
    assert 0 < line.pop("duration_ms") < 10_000
    return {name: line[name] for name in line if name not in ("time", "event", "request_id")}


# Requests


@pytest.mark.parametrize(
    ("method", "path", "body", "route", "status"),
    [
        ("POST", SEARCH, b"{}", SEARCH, 200),
        ("POST", SEARCH, b"{", SEARCH, 400),
        ("POST", SEARCH, b'{"quantity": 0}', SEARCH, 422),
        ("POST", SEARCH, b'{"pattern": "' + b"1" * 70_000 + b'"}', SEARCH, 413),
        ("GET", f"{NUMBERS}/{UNKNOWN_ID}?search=555", b"", NUMBERS + "/{id}", 404),
        ("GET", f"{NUMBERS}/malformed", b"", NUMBERS + "/{id}", 422),
        ("POST", f"{ORDERS}/{UNKNOWN_ID}/cancel", b"", ORDERS + "/{id}/cancel", 404),
    ],
)
def test_a_request_leaves_a_line_with_the_template_of_its_route_and_who_made_it(
    logging_service: Service,
    buyer: Organization,
    method: str,
    path: str,
    body: bytes,
    route: str,
    status: int,
) -> None:
    response = buyer.client.request(method, path, content=body)

    assert response.status_code == status
    line = line_of(logging_service, response)
    key_id = line.pop("key_id")
    assert key_id in {key["id"] for key in buyer.client.get(API_KEYS).json()["data"]}
    assert line == {"method": method, "route": route, "status": status, "organization": buyer.name}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing/there?secret=1", 404), ("DELETE", SEARCH, 405), ("POST", "/v1/%2e%2e/%00", 404)],
)
def test_a_request_without_a_route_leaves_a_line_that_does_not_repeat_its_path(
    logging_service: Service, buyer: Organization, method: str, path: str, status: int
) -> None:
    response = buyer.client.request(method, path)

    assert line_of(logging_service, response) == {"method": method, "status": status}


def test_who_may_not_is_named_and_who_is_not_known_is_not(
    logging_service: Service, organizations: Organizations
) -> None:
    reader = organizations.of(logging_service, "logs-tests-reader", (Scope.NUMBERS_READ,))
    stranger = organizations.again(logging_service.instance.url, new_secret(), "nobody")

    refused = line_of(logging_service, reader.post(SEARCH, {}))
    assert (refused["status"], refused["organization"]) == (403, "logs-tests-reader")
    unknown = line_of(logging_service, stranger.post(SEARCH, {}))
    assert unknown == {"method": "POST", "route": SEARCH, "status": 401}


def test_health_checks_do_not_fill_the_log(logging_service: Service, buyer: Organization) -> None:
    probes = [buyer.client.get(path) for path in ("/healthz", "/readyz")]
    # Lines come in the order of requests: those of the probes would be there by now.
    line_of(logging_service, buyer.post(SEARCH, {}))

    for probe in probes:
        assert not lines_of(logging_service, "api", request_id=probe.headers["x-request-id"])


def test_an_error_is_in_the_log_with_its_traceback_beside_the_line_of_its_request(
    logging_service: Service,
) -> None:
    secret = new_secret()
    digest = store_keys.api_key_digest(digests_of(secret, PEPPER)[0])
    with redis.Redis.from_url(logging_service.instance.redis_url) as store:
        # Of the wrong type: the store refuses to read it, and nobody expects that.
        store.rpush(digest, "no text")
        try:
            with new_client(logging_service.instance.url, secret) as client:
                response = client.post(SEARCH, json={})
        finally:
            store.delete(digest)

    request_id = assert_error(response, 500)["request_id"]
    assert line_of(logging_service, response)["status"] == 500
    [error, _] = lines_of(logging_service, "api", request_id=request_id)
    assert (error["level"], error["logger"], error["event"]) == (
        "error",
        "api.error_answers",
        "unhandled error",
    )
    assert "WRONGTYPE" in error["exception"]
    assert "WRONGTYPE" not in response.text


def test_an_answer_that_is_repeated_has_the_same_id_in_answer_and_log(
    logging_service: Service, buyer: Organization
) -> None:
    first, again = (buyer.order(["+14155550123"], "once") for _ in range(2))

    assert_error(first, 409, "INSUFFICIENT_INVENTORY")
    assert again.headers["x-request-id"] == first.headers["x-request-id"]
    request_id = first.headers["x-request-id"]

    def are_there() -> bool:
        return len(lines_of(logging_service, "api", event="request", request_id=request_id)) == 2

    wait_until(are_there, "both requests are in the log")


# Callers who leave


@contextmanager
def asking(organization: Organization, path: str, body: bytes, length: int) -> Iterator[None]:
    """Send a request, and hang up in the end without looking at the answer."""
    url = organization.client.base_url
    head = (
        f"POST {path} HTTP/1.1\r\nHost: here\r\nContent-Length: {length}\r\n"
        f"Authorization: Bearer {organization.secret}\r\nExpect: 100-continue\r\n\r\n"
    )
    with socket.create_connection((url.host, url.port), timeout=10) as connection:
        connection.sendall(head.encode())
        # The app waits for the body: a request whose caller leaves sooner never gets there.
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        yield


def gone(service: Service, organization: Organization) -> Line:
    """Give the one line of a request whose caller has left."""

    def look() -> list[Line]:
        marked = [line for line in lines_of(service, "api", event="request") if "client_gone" in line]
        return [line for line in marked if line["organization"] == organization.name]

    [line] = wait_until(look, "who has left is in the log")
    return line


def test_a_caller_who_leaves_in_the_middle_of_a_body_leaves_a_line_that_says_so(
    logging_service: Service, organizations: Organizations
) -> None:
    leaver = organizations.of(logging_service, "logs-tests-body")

    with asking(leaver, SEARCH, b"{", 100):
        pass

    line = gone(logging_service, leaver)
    assert (line["route"], line["client_gone"]) == (SEARCH, True)


def test_a_caller_who_does_not_wait_for_a_slow_answer_leaves_a_line_that_says_so(
    logging_service: Service, organizations: Organizations
) -> None:
    leaver = organizations.of(logging_service, "logs-tests-slow")
    body = b'{"numbers": ["+14155550123"]}'
    waited = line_of(logging_service, leaver.order(["+14155550123"]))
    with redis.Redis.from_url(logging_service.instance.redis_url) as store:
        # Writes only: we can look at it meanwhile.
        store.client_pause(800, all=False)
        with asking(leaver, ORDERS, body, len(body)):
            wait_until(lambda: is_waiting(store), "the app waits for the store")

    line = gone(logging_service, leaver)
    assert (line["status"], line["client_gone"]) == (409, True)
    assert line["duration_ms"] > 250
    assert "client_gone" not in waited


def is_waiting(store: Any) -> bool:
    return any(client["name"] == API_CLIENT and "b" in client["flags"] for client in store.client_list())


# Jobs


def test_each_job_leaves_one_line_and_arq_none(logging_service: Service, buyer: Organization) -> None:
    [resource] = buyer.orders(put(logging_service, "628", [5557000]))
    succeeded(buyer.cancel(resource["order_id"]), 202)
    logging_service.ingest("logs", b"number\n+16285557001")

    def jobs_of(log: str, **fields: str) -> list[Line]:
        return wait_until(lambda: lines_of(logging_service, log, event="job", **fields), f"a job of {log}")

    [job] = jobs_of("worker", order_id=resource["order_id"])
    assert 0 < job.pop("duration_ms") < 10_000
    assert {name: job[name] for name in job if name not in ("time", "job_id")} == {
        "level": "info",
        "logger": "worker.job_log",
        "event": "job",
        "job": "finish_cancel",
        "organization": buyer.name,
        "order_id": resource["order_id"],
        "outcome": "done",
        "attempt": 1,
    }
    [ingested, *_] = jobs_of("feeds", carrier="logs")
    assert (ingested["job"], ingested["outcome"]) == ("ingest_feed", "done")
    [applied] = lines_of(logging_service, "feeds", logger="worker.feeds.ingest")
    assert "applied" in applied["event"]
    assert applied["job_id"] == ingested["job_id"]
    for log in ("worker", "feeds"):
        assert not [line for line in lines_of(logging_service, log) if line["logger"].startswith("arq")]


# Changes of keys


def test_each_change_of_a_key_leaves_a_line_with_who_made_it(
    logging_service: Service, buyer: Organization
) -> None:
    created = buyer.create_key(label="audited", scopes=["numbers:read"])
    key_id = succeeded(created, 201)["id"]
    changes = [created, buyer.rotate_key(key_id), buyer.revoke_key(key_id)]
    # It is revoked already: nothing changes.
    again = buyer.revoke_key(key_id)

    line_of(logging_service, again)
    lines = lines_of(logging_service, "api", logger="audit", key_id=key_id)
    assert [line["event"] for line in lines] == ["key created", "key rotated", "key revoked"]
    assert [line["request_id"] for line in lines] == [change.headers["x-request-id"] for change in changes]
    assert {line["organization"] for line in lines} == {buyer.name}
    assert {line["by"] for line in lines} == {line_of(logging_service, created)["key_id"]}


def test_commands_leave_a_line_of_their_changes_when_they_are_told_to_log(
    logging_service: Service,
) -> None:
    arguments = ("--org", "logs-tests-command", "--scope", "numbers:read")
    for_people = logging_service.numbers("keys create", *arguments)
    assert "audit" not in for_people.stderr

    # `key ID of logs-tests-command with …`
    key_id = for_people.stderr.split()[1]
    revoked = numbers(
        "keys", "revoke", key_id, "--data-dir", logging_service.data_dir, NUMBERS_LOG_FORMAT="json"
    )

    line = json.loads(revoked.stderr)
    assert (line["logger"], line["event"], line["key_id"]) == ("audit", "key revoked", key_id)
    assert (line["organization"], line["by"]) == ("logs-tests-command", "command line")
    assert "request_id" not in line


# Secrets


READ = {
    b"string": ("GET",),
    b"hash": ("HGETALL",),
    b"set": ("SMEMBERS",),
    b"list": ("LRANGE", 0, -1),
    b"zset": ("ZRANGE", 0, -1),
    b"stream": ("XRANGE", "-", "+"),
}


def contents(service: Service) -> str:
    """Give every key of a service's store with all that is in it, and all that was ever written there."""
    with redis.Redis.from_url(service.instance.redis_url) as store:
        found = []
        for key in store.scan_iter(count=1000):
            command, *rest = READ[store.execute_command("TYPE", key)]
            found.append(repr((key, store.execute_command(command, key, *rest))))
    written = [path.read_bytes() for path in (service.data_dir / "store").rglob("*.aof")]
    assert found
    assert written
    return "".join(found) + repr(written)


def try_everything(service: Service, boss: Organization) -> tuple[set[str], list[httpx.Response]]:
    """Put secrets wherever a caller can; give them all, and the answers."""
    url = service.instance.url
    unknown, mistyped, inside = new_secret(), new_secret()[:-1] + "!", "inside-of-a-body-7f3a"
    first = boss.create_key(label="one", scopes=["numbers:read"], key="with-a-key")
    key = succeeded(first, 201)
    second = boss.rotate_key(key["id"])
    revoked = succeeded(boss.create_key(label="two", scopes=["numbers:read"]), 201)
    succeeded(boss.revoke_key(revoked["id"]))
    made = [key["plaintext"], succeeded(second)["plaintext"], revoked["plaintext"]]
    secrets = {boss.secret, service.instance.key, unknown, mistyped, *made}
    answers = []
    for secret in sorted(secrets):
        for headers in (
            {"Authorization": f"Bearer {secret}"},
            {"Authorization": secret},
            {"Authorization": f"Basic {secret}"},
            {"X-Api-Key": secret, "User-Agent": secret, "Cookie": f"key={secret}", "Referer": secret},
        ):
            with httpx.Client(base_url=url, headers=headers, timeout=10) as client:
                answers += [
                    client.get(NUMBERS),
                    client.get(NUMBERS, params={"api_key": secret, "limit": secret, "cursor": secret}),
                    client.get(f"{NUMBERS}/{secret}"),
                    client.get(f"/{secret}"),
                    client.request(secret.replace("!", "x"), NUMBERS),
                    client.post(SEARCH, json={"pattern": inside, "area_code": secret}),
                    client.post(SEARCH, content=b'{"pattern": "' + inside.encode()),
                    client.post(SEARCH, content=inside, headers={"Content-Type": f"text/{secret}"}),
                    client.post(
                        ORDERS, json={"numbers": [secret, inside]}, headers={"Idempotency-Key": secret}
                    ),
                    client.post(API_KEYS, json={"label": "x", "scopes": [secret]}),
                ]
    again = boss.create_key(label="one", scopes=["numbers:read"], key="with-a-key")
    assert succeeded(again, 201)["plaintext"] is None
    return secrets | {inside}, [*answers, again]


def test_no_secret_is_in_logs_errors_store_or_command_lines(
    logging_service: Service, organizations: Organizations
) -> None:
    boss = organizations.of(logging_service, "logs-tests-secrets", tuple(Scope))
    secrets, answers = try_everything(logging_service, boss)
    password = urlsplit(logging_service.instance.redis_url).password
    assert password
    statuses = {answer.status_code for answer in answers}
    assert {200, 400, 401, 404, 405, 415, 422} <= statuses <= {200, 201, 400, 401, 403, 404, 405, 415, 422}
    line_of(logging_service, answers[-1])

    # Of a key its first 12 characters may be seen.
    hidden = [secret[12:] if secret.startswith("am_live_") else secret for secret in secrets]
    hidden += [PEPPER, password]
    data_dir = logging_service.data_dir
    places = {
        "logs": "".join(path.read_text() for path in data_dir.rglob("*.log") if path.name != "output.log"),
        "answers": "".join(f"{answer.text} {answer.headers}" for answer in answers),
        "store": contents(logging_service),
        "command lines": "\n".join(process.command for process in processes_of(data_dir)),
    }
    assert "granian" in places["command lines"]
    assert "key revoked" in places["logs"]
    for place, text in places.items():
        # The client sends methods in capitals.
        assert not [secret for secret in hidden if secret.upper() in text.upper()], place


def test_a_bad_password_is_not_in_what_is_said_of_it(tmp_path: Path, valkey: str) -> None:
    url = valkey.replace("//", "//numbers:wrong-password-7@")
    for command in (("keys", "list"), ("up", "--port", "0", "--data-dir", tmp_path, "--no-sample")):
        done = numbers(*command, NUMBERS_REDIS_URL=url, NUMBERS_LOG_FORMAT="json", NUMBERS_LOG_LEVEL="debug")

        assert done.returncode == 1
        assert done.stderr
        assert "wrong-password-7" not in done.stderr + done.stdout
