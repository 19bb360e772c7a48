import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from shared import store_keys
from shared.orders.resources import Filter, list_resources
from shared.stock_score import SMS, attributes, score
from shared.store import Store
from tests.store.ordering import AREA, NUMBER, ORDER, ORGANIZATION, SECOND, THIRD, complete, offer, put
from tests.support import Service, numbers

KEYS = {"counts", "area_codes", "violations", "suspects", "clean"}
STATES = ("available", "held", "assigned", "quarantined", "returned")


def run_audit(
    url: str, *options: str, hold_seconds: float = 0.05, sweep_seconds: float = 0.05
) -> subprocess.CompletedProcess[str]:
    """Run an audit that waits for no longer than it is told that an order may take."""
    return numbers(
        "audit",
        *options,
        NUMBERS_REDIS_URL=url,
        NUMBERS_HOLD_SECONDS=str(hold_seconds),
        NUMBERS_SWEEP_SECONDS=str(sweep_seconds),
    )


def report_of(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    report: dict[str, Any] = msgspec.json.decode(done.stdout)
    assert report.keys() - {"repairs"} == KEYS
    assert done.returncode == (0 if report["clean"] else 1)
    assert report["clean"] is (report["violations"] == [])
    return report


@pytest.fixture
async def sold(store: Store) -> Store:
    """Give a store in which an organization has a number and another one is available."""
    await store.execute("SADD", store_keys.ORGANIZATIONS, ORGANIZATION)
    await offer(store, NUMBER, SECOND)
    await complete(store, ORDER, NUMBER)
    return store


@pytest.mark.usefixtures("sold")
def test_a_clean_store_is_said_to_be_clean_at_once(valkey: str) -> None:
    # Were anything suspect, this would take longer than a command may.
    done = run_audit(valkey, hold_seconds=600)

    assert (done.returncode, done.stderr) == (0, "")
    header, line, totals, orders, verdict = done.stdout.splitlines()
    assert header.split() == ["area", "code", "type", *STATES]
    assert line.split() == ["415", "local", "1", "0", "1", "0", "0"]
    assert totals == "1 available, 0 held, 1 assigned, 0 quarantined, 0 returned, 1 resources"
    assert orders == "orders: 0 pending, 1 complete, 0 failed, 0 cancelling, 0 cancelled"
    assert verdict == "clean"


@pytest.mark.usefixtures("sold")
def test_as_json_it_has_all_counts(valkey: str) -> None:
    report = report_of(run_audit(valkey, "--json"))

    states = dict.fromkeys(STATES, 0) | {"available": 1, "assigned": 1}
    assert report["area_codes"] == {AREA: states}
    orders = {"pending": 0, "complete": 1, "failed": 0, "cancelling": 0, "cancelled": 0}
    assert report["counts"] == states | {"resources": 1, "orders": orders}
    assert (report["violations"], report["suspects"], report["clean"]) == ([], 0, True)


async def test_each_violation_says_what_where_and_what_to_do(sold: Store, valkey: str) -> None:
    await sold.execute("ZADD", store_keys.timers(AREA), 1, NUMBER)
    await sold.execute("HSET", store_keys.unavailable(AREA), THIRD, "nonsense")

    for_people = run_audit(valkey)
    report = report_of(run_audit(valkey, "--json"))

    assert for_people.returncode == 1
    assert for_people.stderr == "2 suspects, looking at them again in 0.1 s\n"
    *_, malformed, stray, verdict = for_people.stdout.splitlines()
    assert malformed == f"malformed_record  {THIRD}: its record is 'nonsense'; needs a person"
    place = f"{NUMBER}, organization {ORGANIZATION}, order {ORDER.id}"
    assert stray == f"stray_timer  {place}: a timer, and it is assigned; `--repair` mends it"
    assert verdict == "2 violations"
    assert report["violations"] == [
        {
            "kind": "malformed_record",
            "number": THIRD,
            "area_code": AREA,
            "detail": "its record is 'nonsense'",
            "repairable": False,
        },
        {
            "kind": "stray_timer",
            "number": NUMBER,
            "area_code": AREA,
            "organization": ORGANIZATION,
            "order": ORDER.id,
            "detail": "a timer, and it is assigned",
            "repairable": True,
        },
    ]
    assert report["suspects"] == 2


async def test_a_repair_says_what_it_did_and_what_is_left_is_audited_again(sold: Store, valkey: str) -> None:
    await sold.execute("ZADD", store_keys.timers(AREA), 1, NUMBER)
    await put(sold, THIRD, "assigned")
    await sold.execute("HSET", store_keys.also_offered(AREA), "+14155550199", attributes(2, SMS))

    done = run_audit(valkey, "--repair")

    assert done.returncode == 1
    *_, first, second, left, verdict = done.stdout.splitlines()
    assert first.startswith(f"mended stray_timer  {NUMBER}")
    assert first.endswith("its timer was struck out")
    assert second.startswith(f"mended assigned_without_resource  {THIRD}")
    assert second.endswith("in quarantine")
    assert left.startswith("stray_offer  +14155550199")
    assert left.endswith("needs a person")
    assert verdict == "1 violation"


async def test_a_repair_of_all_ends_clean(sold: Store, valkey: str) -> None:
    await sold.execute("ZADD", store_keys.available(AREA), score(5_550_123, attributes(1, SMS)), NUMBER)
    await sold.execute("SREM", store_keys.ORGANIZATIONS, ORGANIZATION)

    report = report_of(run_audit(valkey, "--json", "--repair"))

    assert [repaired["kind"] for repaired in report["repairs"]] == ["unknown_organization", "two_states"]
    assert all(repaired["done"] for repaired in report["repairs"])
    assert report["clean"]
    assert await sold.execute("ZSCORE", store_keys.available(AREA), NUMBER) is None
    page = await list_resources(sold, ORGANIZATION, Filter(), None, 20)
    assert [resource.number for resource in page.resources] == [NUMBER]


async def test_without_repair_it_writes_nothing(sold: Store, valkey: str) -> None:
    await sold.execute("ZADD", store_keys.timers(AREA), 1, NUMBER)
    await sold.execute("CONFIG", "RESETSTAT")

    run_audit(valkey, "--thorough")

    statistics = await sold.execute("INFO", "commandstats")
    used = {name.removeprefix("cmdstat_").split("|")[0] for name in statistics}
    reading = {"hget", "hlen", "hmget", "hscan", "scan", "smembers", "smismember", "time"}
    reading |= {"xinfo", "xrange", "zcard", "zmscore", "zscan", "eval", "evalsha"}
    assert used - {"info", "config", "client", "hello", "select"} <= reading


def test_a_service_that_runs_is_clean(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", "--no-sample")
    try:
        service.ingest("audited", b"number\n+19842000000\n+19842000001\n")
        done = service.numbers("audit", "--json", "--thorough")
    finally:
        service.stop()

    report = report_of(done)
    assert report["violations"] == []
    assert report["counts"]["available"] == report["area_codes"]["984"]["available"] == 2
