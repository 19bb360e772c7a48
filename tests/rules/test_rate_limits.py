import math
from fractions import Fraction

import pytest
from hypothesis import given, strategies as st

from shared.rate_limits import KEYS_LIMIT, Limit, Limited, Overrides, limit_of, overrides_of
from shared.settings import LOWEST_RATE, Settings

SECOND = 1_000_000
MOST_EXACT = 2**53
"""Up to here Lua's numbers are exact integers."""
YEAR_2100_US = 4_102_444_800_000_000
SETTINGS = Settings(search_rate=70.0, search_burst=140, write_rate=7.0, write_burst=14)

rates = st.floats(LOWEST_RATE, 1_000_000)
bursts = st.integers(1, 1_000_000)
maybe_rates = st.none() | st.just(0.0) | rates
maybe_bursts = st.none() | bursts
overrides = st.builds(Overrides, maybe_rates, maybe_bursts, maybe_rates, maybe_bursts)


def own_of(kind: Limited, own: Overrides) -> tuple[float | None, int | None]:
    if kind in (Limited.SEARCH, Limited.READ):
        return own.search_rate, own.search_burst
    return own.write_rate, own.write_burst


def common_of(kind: Limited) -> tuple[float, int]:
    return (70.0, 140) if kind in (Limited.SEARCH, Limited.READ) else (7.0, 14)


@given(rates)
def test_what_a_request_is_worth_is_rounded_so_that_no_more_than_the_rate_pass(rate: float) -> None:
    worth = Limit(rate, 1).worth

    assert isinstance(worth, int)
    assert worth >= 1
    # Floats divide to the nearest: what one is off by is below a millionth of a millionth.
    assert Fraction(SECOND, worth) <= Fraction(rate) * (1 + Fraction(1, 10**12))
    assert Fraction(worth - 1) < Fraction(SECOND) / Fraction(rate) * (1 + Fraction(1, 10**12))


@pytest.mark.parametrize(
    ("rate", "worth"), [(1_000_000, 1), (600_000, 2), (100, 10_000), (20, 50_000), (3, 333_334), (0.1, 10**7)]
)
def test_what_a_request_is_worth_at_known_rates(rate: float, worth: int) -> None:
    assert Limit(rate, 1).worth == worth


@given(rates, bursts)
def test_whatever_can_be_set_the_store_computes_exactly_until_2100(rate: float, burst: int) -> None:
    assert YEAR_2100_US + Limit(rate, burst).worth * (burst + 1) < MOST_EXACT


@given(rates, bursts)
def test_the_window_is_the_time_in_which_a_burst_comes_back_in_whole_seconds(rate: float, burst: int) -> None:
    limit = Limit(rate, burst)

    assert limit.window_seconds - 1 < Fraction(limit.worth * burst, SECOND) <= limit.window_seconds


def test_keys_are_made_ten_a_minute() -> None:
    assert KEYS_LIMIT.burst == 10
    assert KEYS_LIMIT.worth == 6 * SECOND
    assert KEYS_LIMIT.window_seconds == 60


@given(st.sampled_from(Limited), overrides)
def test_what_is_set_for_an_organization_comes_before_what_is_set_for_all(
    kind: Limited, own: Overrides
) -> None:
    (own_rate, own_burst), (rate, burst) = own_of(kind, own), common_of(kind)
    wanted_rate = rate if own_rate is None else own_rate
    wanted_burst = burst if own_burst is None else own_burst

    limit = limit_of(kind, SETTINGS, own)

    if wanted_rate == 0:
        assert limit is None
    elif kind is Limited.KEYS:
        assert limit == KEYS_LIMIT
    else:
        assert limit == Limit(wanted_rate, wanted_burst)


@pytest.mark.parametrize("kind", Limited)
def test_without_anything_set_for_it_an_organization_has_the_limits_of_all(kind: Limited) -> None:
    limit = limit_of(kind, Settings(), Overrides())

    assert (
        limit
        == {
            Limited.SEARCH: Limit(100.0, 200),
            Limited.READ: Limit(100.0, 200),
            Limited.WRITE: Limit(20.0, 50),
            Limited.KEYS: KEYS_LIMIT,
        }[kind]
    )


@pytest.mark.parametrize("kind", Limited)
def test_a_rate_of_0_is_unlimited_for_all_and_for_one(kind: Limited) -> None:
    unlimited = Settings(search_rate=0.0, write_rate=0.0)

    assert limit_of(kind, unlimited, Overrides()) is None
    assert limit_of(kind, SETTINGS, Overrides(search_rate=0.0, write_rate=0.0)) is None
    limited = limit_of(kind, unlimited, Overrides(search_rate=1.0, write_rate=1.0))
    assert limited is not None
    assert limited.rate == (KEYS_LIMIT.rate if kind is Limited.KEYS else 1.0)


def test_searching_without_a_limit_leaves_writing_its_limit_and_the_other_way_round() -> None:
    searching, writing = Overrides(search_rate=0.0), Overrides(write_rate=0.0)

    assert [kind for kind in Limited if limit_of(kind, SETTINGS, searching) is None] == ["search", "read"]
    assert [kind for kind in Limited if limit_of(kind, SETTINGS, writing) is None] == ["write", "keys"]


@given(overrides)
def test_what_is_kept_is_read_as_it_was(own: Overrides) -> None:
    kept = {
        name.encode(): str(value).encode()
        for name in own.__struct_fields__
        if (value := getattr(own, name)) is not None
    }

    assert overrides_of(kept) == own


@given(rates)
def test_a_lower_rate_never_makes_a_request_worth_less(rate: float) -> None:
    assert Limit(max(rate / 2, LOWEST_RATE), 1).worth >= Limit(rate, 1).worth >= math.floor(SECOND / rate)
