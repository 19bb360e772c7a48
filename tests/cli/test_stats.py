from typing import Any

import msgspec
import pytest

from shared.store import Store
from tests.store.ordering import put
from tests.support import Service, numbers

CARRIER = "stats-tests"
STATES = ("available", "held", "assigned", "quarantined", "returned")
LOCAL = [f"+1208{local}" for local in range(2_000_000, 2_001_234)]
TOLL_FREE = [f"+1844{local}" for local in range(2_000_000, 2_000_003)]


def feed(stock: list[str]) -> bytes:
    return "\n".join(["number", *stock]).encode()


@pytest.fixture(scope="module")
def stocked(service: Service) -> Service:
    sync = service.ingest(CARRIER, feed(LOCAL + TOLL_FREE))
    assert sync["added"] == len(LOCAL + TOLL_FREE)
    return service


def stats(service: Service) -> dict[str, Any]:
    done = service.numbers("stats", "--json")
    assert (done.returncode, done.stderr) == (0, "")
    counted: dict[str, Any] = msgspec.json.decode(done.stdout)
    return counted


def only_available(count: int) -> dict[str, int]:
    return dict.fromkeys(STATES, 0) | {"available": count}


def test_as_json_each_area_code_has_its_count_and_the_total_is_their_sum(stocked: Service) -> None:
    counted = stats(stocked)

    assert set(counted) == {"total", "area_codes"}
    assert counted["area_codes"]["208"] == only_available(len(LOCAL))
    assert counted["area_codes"]["844"] == only_available(len(TOLL_FREE))
    assert list(counted["area_codes"]) == sorted(counted["area_codes"])
    areas = counted["area_codes"].values()
    assert counted["total"] == {state: sum(area[state] for area in areas) for state in STATES}


def test_for_people_each_area_code_has_a_line_with_its_type_and_the_last_line_is_the_total(
    stocked: Service,
) -> None:
    done = stocked.numbers("stats")

    assert (done.returncode, done.stderr) == (0, "")
    header, *lines, others, total = (line.split() for line in done.stdout.splitlines())
    assert header == ["area", "code", "type", *STATES]
    assert ["208", "local", "1,234", "0", "0", "0", "0"] in lines
    assert ["844", "toll_free", "3", "0", "0", "0", "0"] in lines
    assert others[1::2] == ["held,", "assigned,", "quarantined,", "returned"]
    count = sum(int(line[2].replace(",", "")) for line in lines)
    areas = sum(line[2] != "0" for line in lines)
    assert total == f"{count:,} numbers available in {areas} area codes".split()


def test_the_counts_follow_the_feed(service: Service) -> None:
    carrier = "stats-changes"
    service.ingest(carrier, b"number\n+19852000000\n+19852000001\n")
    assert stats(service)["area_codes"]["985"] == only_available(2)

    service.ingest(carrier, b"number\n+19852000001\n+19852000002\n+19852000003\n")
    assert stats(service)["area_codes"]["985"] == only_available(3)

    # Two carriers with the same number: it is there once, until neither has it.
    service.ingest(f"{carrier}-2", b"number\n+19852000003\n+19852000004\n")
    assert stats(service)["area_codes"]["985"] == only_available(4)


async def test_a_number_counts_in_the_state_that_it_has(store: Store, valkey: str) -> None:
    locals_ = iter(range(5_550_100, 5_550_200))
    expected = {state: count for count, state in enumerate(STATES, 1)}
    for state, count in expected.items():
        for _ in range(count):
            await put(store, f"+1415{next(locals_)}", state)

    as_json = numbers("stats", "--json", NUMBERS_REDIS_URL=valkey)
    for_people = numbers("stats", NUMBERS_REDIS_URL=valkey)

    assert msgspec.json.decode(as_json.stdout) == {"total": expected, "area_codes": {"415": expected}}
    _, line, others, total = for_people.stdout.splitlines()
    assert line.split() == ["415", "local", "1", "2", "3", "4", "5"]
    assert others == "2 held, 3 assigned, 4 quarantined, 5 returned"
    assert total == "1 numbers available in 1 area codes"


async def test_more_numbers_than_one_command_reads_are_counted(store: Store, valkey: str) -> None:
    await put(store, "+14155550100", "held")
    record = await store.execute("HGET", "{415}:unavailable", "+14155550100")
    many = [item for local in range(2_000_000, 2_001_999) for item in (f"+1415{local}", record)]
    await store.execute("HSET", "{415}:unavailable", *many)

    done = numbers("stats", "--json", NUMBERS_REDIS_URL=valkey)

    assert msgspec.json.decode(done.stdout)["total"] == only_available(0) | {"held": 2_000}


def test_a_variable_can_name_the_store(stocked: Service) -> None:
    done = numbers("stats", "--json", NUMBERS_REDIS_URL=stocked.instance.redis_url)

    assert msgspec.json.decode(done.stdout)["area_codes"]["208"] == only_available(len(LOCAL))


def test_a_store_without_numbers_has_none(valkey: str) -> None:
    empty = valkey[:-1] + "9"

    as_json = numbers("stats", "--json", NUMBERS_REDIS_URL=empty)
    for_people = numbers("stats", NUMBERS_REDIS_URL=empty)

    assert msgspec.json.decode(as_json.stdout) == {"total": only_available(0), "area_codes": {}}
    assert for_people.returncode == 0
    assert for_people.stdout.splitlines()[-1] == "0 numbers available in 0 area codes"
