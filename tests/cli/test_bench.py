"""The benchmarks are commands: they run, and say what they measured."""

import json

from tests.support import numbers


def test_buyers_says_for_each_kind_of_stock_how_often_orders_met() -> None:
    done = numbers("bench", "buyers", "--buyers", "4", "--orders", "20", "--json")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert {row["stock"] for row in rows} == {"spread", "thousands blocks"}
    for row in rows:
        assert row["orders"] >= 20
        assert row["conflict_share"] == row["conflicts"] / row["orders"]


def test_ingest_brings_feeds_of_another_format_and_times_them() -> None:
    done = numbers("bench", "ingest", "--rows", "3000", "--area-codes", "3", "--format", "json", "--json")
    assert done.returncode == 0, done.stderr
    figures = json.loads(done.stdout)
    assert (figures["format"], figures["first_load"]["rows"], figures["with_churn"]["rows"]) == (
        "json",
        3_000,
        3_000,
    )
    assert figures["search_p99_beside_ms"] > 0
