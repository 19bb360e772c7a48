import csv
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared import store_keys
from shared.api_keys import Scope
from tests.http.answers import COVERAGE, SYNCS, assert_error, assert_invalid, paged, succeeded, type_of
from tests.http.inventory import assert_sync, available_in, ended, feed_of, look, queued, upload
from tests.http.organizations import Organization, Organizations, in_store, put
from tests.support import Service

UNKNOWN_ID = "01932c07-2c4f-7000-8000-000000000000"
NUMBERS = [f"+1620555700{line}" for line in range(5)]


def confirm(operator: Organization, sync_id: str) -> Any:
    return operator.client.post(f"{SYNCS}/{sync_id}/confirm")


def roll_back(operator: Organization, sync_id: str) -> Any:
    return operator.client.post(f"{SYNCS}/{sync_id}/rollback")


# Looked at


def test_syncs_are_listed_newest_first_over_pages_that_neither_skip_nor_repeat(
    operator: Organization,
) -> None:
    mine = [queued(upload(operator, "listed", feed_of(number))) for number in NUMBERS]
    first, meta = paged(operator.page(SYNCS, limit=2), 2)
    newer = queued(upload(operator, "listed", feed_of(*NUMBERS)))
    seen, cursor = [sync["id"] for sync in first], meta["next_cursor"]
    while cursor is not None:
        page, meta = paged(operator.page(SYNCS, limit=2, cursor=cursor), 2)
        seen += [sync["id"] for sync in page]
        cursor = meta["next_cursor"]

    assert seen[: len(mine)] == mine[::-1]
    assert newer not in seen
    assert len(set(seen)) == len(seen) == meta["total"] - 1
    everything, meta = paged(operator.page(SYNCS, limit=100), 100)
    for sync in everything:
        assert_sync(sync)
    assert everything[0]["id"] == newer


@pytest.mark.parametrize(
    ("query", "details"),
    [
        ({"cursor": "x"}, {"cursor": "must be the next_cursor of a page before"}),
        ({"cursor": UNKNOWN_ID}, {"cursor": "must be the next_cursor of a page before"}),
        ({"limit": "0"}, {"limit": "must be an integer from 1 to 100"}),
        ({"limit": "101"}, {"limit": "must be an integer from 1 to 100"}),
        ({"limit": "1e1"}, {"limit": "must be an integer from 1 to 100"}),
    ],
)
def test_a_bad_cursor_and_a_bad_limit_are_422(
    operator: Organization, query: dict[str, str], details: dict[str, str]
) -> None:
    assert_invalid(operator.page(SYNCS, **query), **details)


def test_a_sync_shows_what_came_of_the_feed(operator: Organization) -> None:
    sync = ended(operator, upload(operator, "shown", feed_of("+16215557000", "+16215557000", "x")))

    wanted: dict[str, Any] = {
        "read": 3,
        "added": 1,
        "removed": 0,
        "unchanged": 0,
        "rejected": 1,
        "duplicate": 1,
    }
    wanted |= {"protected": 0, "progress": 100, "generation": 1, "state": "applied", "reason": None}
    assert wanted.items() <= sync.items()
    assert succeeded(operator.client.get(f"{SYNCS}/{sync['id'].upper()}")) == sync


def test_why_a_feed_was_refused_stands_in_its_sync(operator: Organization) -> None:
    sync = ended(operator, upload(operator, "refused", b"name,city\nx,y\n"))

    assert sync["state"] == "refused"
    assert sync["reason"]


ROUTES = [("GET", ""), ("GET", "/rejects"), ("POST", "/confirm"), ("POST", "/rollback")]


@pytest.mark.parametrize(("method", "route"), ROUTES)
def test_a_sync_that_there_is_not_is_404_and_a_malformed_id_422(
    operator: Organization, method: str, route: str
) -> None:
    assert_error(operator.client.request(method, f"{SYNCS}/{UNKNOWN_ID}{route}"), 404)
    for bad in ("x", UNKNOWN_ID[:-1], f"{UNKNOWN_ID}0", f"{UNKNOWN_ID}%0A"):
        assert_invalid(operator.client.request(method, f"{SYNCS}/{bad}{route}"), id="must be a UUID")


def test_the_rows_that_could_not_be_read_come_as_a_csv_file_that_no_spreadsheet_executes(
    operator: Organization,
) -> None:
    sync = ended(operator, upload(operator, "rejects", b'number\n+16225557000\n=cmd()\n"a,""b"\n'))

    response = operator.client.get(f"{SYNCS}/{sync['id']}/rejects")

    assert response.status_code == 200
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == f'attachment; filename="rejects-{sync["id"]}.csv"'
    header, *rows = csv.reader(response.text.splitlines())
    assert header == ["line", "reason", "start"]
    assert [row[0] for row in rows] == ["3", "4"]
    assert rows[0][2].startswith("'=cmd()")
    assert all(row[1] for row in rows)


def test_a_feed_without_such_rows_gives_a_csv_file_without_any(operator: Organization) -> None:
    sync = ended(operator, upload(operator, "no-rejects", feed_of("+16235557000")))

    assert operator.client.get(f"{SYNCS}/{sync['id']}/rejects").text == "line,reason,start\r\n"


# Confirmed and rolled back


def test_removals_that_wait_are_done_when_they_are_confirmed_once(operator: Organization) -> None:
    before = feed_of("+16245557000", "+16245557001", "+16245557002")
    ended(operator, upload(operator, "guarded", before, confirm="true"))
    waiting = ended(operator, upload(operator, "guarded", feed_of("+16245557000", "+16245557003")))
    assert waiting["state"] == "waiting"
    assert waiting["id"] in waiting["reason"]
    assert available_in(operator, "624") == 4

    done = ended(operator, confirm(operator, waiting["id"].upper()))

    assert (done["id"], done["state"], done["removed"]) == (waiting["id"], "applied", 2)
    assert available_in(operator, "624") == 2
    assert_error(confirm(operator, waiting["id"]), 409, "SYNC_NOT_WAITING")


def test_an_upload_that_is_confirmed_beforehand_passes_the_guards(operator: Organization) -> None:
    ended(operator, upload(operator, "guarded", feed_of("+16255557000", "+16255557001"), confirm="true"))

    sync = ended(operator, upload(operator, "guarded", feed_of("+16255557000"), confirm="true"))

    assert (sync["state"], sync["removed"]) == ("applied", 1)
    assert available_in(operator, "625") == 1


def test_what_a_carrier_offered_before_its_last_sync_comes_back_once(operator: Organization) -> None:
    first = ended(operator, upload(operator, "back", feed_of("+16265557000", "+16265557001")))
    last = ended(operator, upload(operator, "back", feed_of("+16265557002")))
    assert_error(roll_back(operator, first["id"]), 409, "SYNC_NOT_APPLIED")
    assert available_in(operator, "626") == 1

    ended(operator, roll_back(operator, last["id"]))

    assert available_in(operator, "626") == 2
    assert_error(roll_back(operator, last["id"]), 409, "SYNC_NOT_APPLIED")


def test_a_sync_that_has_changed_nothing_can_neither_be_confirmed_nor_rolled_back(
    operator: Organization,
) -> None:
    sync = ended(operator, upload(operator, "nothing", feed_of("+16275557000"), dry_run="true"))

    assert_error(confirm(operator, sync["id"]), 409, "SYNC_NOT_WAITING")
    assert_error(roll_back(operator, sync["id"]), 409, "SYNC_NOT_APPLIED")
    assert look(operator, sync["id"]) == sync


# Coverage


def coverage(operator: Organization) -> dict[str, dict[str, Any]]:
    areas = succeeded(operator.client.get(COVERAGE))
    assert [area["area_code"] for area in areas] == sorted(area["area_code"] for area in areas)
    return {area["area_code"]: area for area in areas}


def test_coverage_counts_every_state_of_an_area_code_and_says_when_carriers_confirmed_it(
    feeding: Service, operator: Organization, organizations: Organizations
) -> None:
    numbers = [f"+1628555700{line}" for line in range(6)]
    began = datetime.now(UTC) - timedelta(seconds=1)
    for carrier in ("b-covers", "a-covers"):
        ended(operator, upload(operator, carrier, feed_of(*numbers, "+18005557000")))
    buyer = organizations.of(feeding, "coverage-tests")
    resources = buyer.orders(numbers[:3])
    succeeded(buyer.release(resources[0]["id"]))
    operator_too = organizations.of(feeding, "coverage-tests", tuple(Scope))
    succeeded(operator_too.release(resources[1]["id"], return_to_carrier="true"))

    areas = coverage(operator)

    area = areas["628"]
    assert list(area) == [
        *("area_code", "number_type", "available", "held", "assigned", "quarantined", "returned"),
        "carriers",
    ]
    counts = [area[state] for state in ("available", "held", "assigned", "quarantined", "returned")]
    assert counts == [3, 0, 1, 1, 1]
    assert [one["carrier"] for one in area["carriers"]] == ["a-covers", "b-covers"]
    for one in area["carriers"]:
        assert list(one) == ["carrier", "confirmed_at"]
        assert one["confirmed_at"].endswith("Z")
        assert began < datetime.fromisoformat(one["confirmed_at"]) < datetime.now(UTC)
    for code, other in areas.items():
        assert other["number_type"] == type_of(f"+1{code}")


def test_a_later_feed_of_a_carrier_confirms_the_area_codes_that_it_names_once_more(
    operator: Organization,
) -> None:
    def confirmed_at() -> dict[str, str]:
        return {
            code: one["confirmed_at"]
            for code, area in coverage(operator).items()
            for one in area["carriers"]
            if one["carrier"] == "anew"
        }

    ended(operator, upload(operator, "anew", feed_of("+16295557000", "+16305557000")))
    before = confirmed_at()
    ended(operator, upload(operator, "anew", feed_of("+16295557000"), mode="delta"))
    after = confirmed_at()

    assert set(before) == set(after) == {"629", "630"}
    assert after["629"] > before["629"]
    assert after["630"] == before["630"]


def test_an_area_code_that_no_carrier_confirmed_has_none(feeding: Service, operator: Organization) -> None:
    put(feeding, "631", [5_557_000])

    area = coverage(operator)["631"]

    assert (area["available"], area["carriers"]) == (1, [])


def test_an_area_code_with_more_numbers_than_one_command_reads_is_counted_whole(
    feeding: Service, operator: Organization
) -> None:
    records = [
        item
        for line in range(1_000)
        for item in (f"+1632555{7000 + line}", "quarantined 64 1 - -" if line % 2 else "assigned 64 1 a b")
    ]
    key = store_keys.unavailable("632")
    in_store(feeding.instance.redis_url, lambda store: store.execute("SADD", store_keys.AREAS, "632"))
    in_store(feeding.instance.redis_url, lambda store: store.execute("HSET", key, *records))

    area = coverage(operator)["632"]

    assert (area["available"], area["assigned"], area["quarantined"]) == (0, 500, 500)
