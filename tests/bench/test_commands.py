"""Each benchmark runs on a small stock and prints what it measured; no figure is judged here."""

import json
import subprocess
import sys
from typing import Any

from tests.support import environment

TIMEOUT_SECONDS = 150


def bench(*arguments: str) -> Any:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", *arguments, "--json"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        env=environment(),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_buyers_counts_conflicts_for_each_kind_of_stock() -> None:
    rows = bench("buyers", "--buyers", "4", "--orders", "20")
    assert {row["stock"] for row in rows} == {"spread", "thousands blocks"}
    for row in rows:
        assert row["orders"] >= 20
        assert row["conflict_share"] == row["conflicts"] / row["orders"]


def test_ingest_loads_feeds_of_another_format_and_times_them() -> None:
    figures = bench("ingest", "--rows", "3000", "--area-codes", "3", "--format", "json")
    assert (figures["format"], figures["first_load"]["rows"], figures["with_churn"]["rows"]) == (
        "json",
        3_000,
        3_000,
    )
    assert figures["search_p99_loading_ms"] > 0


def test_search_measures_each_stock_and_pattern_length() -> None:
    measured = bench("search", "--numbers", "2000", "--searches", "10")
    assert [row["pattern_length"] for row in measured["searches"]] == list(range(1, 8)) * 3
    assert all(row["ratio"] > 0 for row in measured["searches"])


def test_http_compares_the_service_with_its_peers() -> None:
    options = ("--numbers", "3000", "--seconds", "0.2", "--rounds", "2", "--connections", "4")
    report = bench("http", "--only", "rates", *options)
    rows = {row["what"]: row for row in report["rows"]}
    assert rows["search, one area code"]["figure"]["median"] > 0
    for peer in ("no-op Litestar", "bare ASGI", "plain redis-py"):
        ratio = rows[peer]["ratio"]
        assert 0 < ratio["low"] <= ratio["median"] <= ratio["high"]
    assert rows["commands over 2 ms"]["goal"]["value"] == 0.0001
