import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, strategies as st

from shared.settings import LOWEST_RATE, BadSetting, Settings, on_own_machine, read_settings, variable_of

DEFAULTS = {
    "redis_url": "redis://127.0.0.1:6379/0",
    "spool_dir": None,
    "feeds_file": None,
    "store_timeout_seconds": 1.5,
    "key_cache_seconds": 0.5,
    "key_pepper": None,
    "search_rate": 100.0,
    "search_burst": 200,
    "write_rate": 20.0,
    "write_burst": 50,
    "search_hint_megabytes": 32,
    "feed_lease_seconds": 15.0,
    "sweep_seconds": 5.0,
    "hold_seconds": 15.0,
    "quarantine_seconds": 45 * 86_400.0,
    "cancel_quarantine_seconds": 0.0,
    "cancel_window_seconds": 86_400.0,
    "bulk_wait_seconds": 86_400.0,
    "event_retention_seconds": 30 * 86_400.0,
    "log_format": "auto",
    "log_level": "info",
}
GOOD: list[tuple[str, str, object]] = [
    ("NUMBERS_REDIS_URL", "redis://store:6380/3", "redis://store:6380/3"),
    ("NUMBERS_REDIS_URL", "rediss://user:p%40ss@store/0", "rediss://user:p%40ss@store/0"),
    ("NUMBERS_REDIS_URL", "unix:///run/store.sock?db=1", "unix:///run/store.sock?db=1"),
    ("NUMBERS_SPOOL_DIR", "/var/spool/numbers", "/var/spool/numbers"),
    ("NUMBERS_SPOOL_DIR", "5", "5"),
    ("NUMBERS_FEEDS_FILE", "/etc/numbers/feeds.toml", "/etc/numbers/feeds.toml"),
    ("NUMBERS_STORE_TIMEOUT_SECONDS", "3", 3.0),
    ("NUMBERS_STORE_TIMEOUT_SECONDS", "0.25", 0.25),
    ("NUMBERS_KEY_CACHE_SECONDS", "1e-1", 0.1),
    ("NUMBERS_KEY_PEPPER", "0123456789abcdef", "0123456789abcdef"),
    ("NUMBERS_SEARCH_RATE", "0", 0.0),
    ("NUMBERS_SEARCH_RATE", "0.001", 0.001),
    ("NUMBERS_SEARCH_RATE", "1000000", 1_000_000.0),
    ("NUMBERS_SEARCH_BURST", "1", 1),
    ("NUMBERS_WRITE_RATE", "2.5", 2.5),
    ("NUMBERS_WRITE_BURST", "1000000", 1_000_000),
    ("NUMBERS_SEARCH_HINT_MEGABYTES", "0", 0),
    ("NUMBERS_SEARCH_HINT_MEGABYTES", "65536", 65_536),
    ("NUMBERS_FEED_LEASE_SECONDS", "60", 60.0),
    ("NUMBERS_SWEEP_SECONDS", "0.2", 0.2),
    ("NUMBERS_HOLD_SECONDS", "20", 20.0),
    ("NUMBERS_QUARANTINE_SECONDS", "0", 0.0),
    ("NUMBERS_QUARANTINE_SECONDS", "7776000", 7_776_000.0),
    ("NUMBERS_CANCEL_QUARANTINE_SECONDS", "3600", 3600.0),
    ("NUMBERS_CANCEL_WINDOW_SECONDS", "0", 0.0),
    ("NUMBERS_CANCEL_WINDOW_SECONDS", "60", 60.0),
    ("NUMBERS_BULK_WAIT_SECONDS", "0.5", 0.5),
    ("NUMBERS_EVENT_RETENTION_SECONDS", "60", 60.0),
    ("NUMBERS_LOG_FORMAT", "json", "json"),
    ("NUMBERS_LOG_FORMAT", "text", "text"),
    ("NUMBERS_LOG_LEVEL", "debug", "debug"),
]
SECONDS = (
    "NUMBERS_STORE_TIMEOUT_SECONDS",
    "NUMBERS_KEY_CACHE_SECONDS",
    "NUMBERS_FEED_LEASE_SECONDS",
    "NUMBERS_SWEEP_SECONDS",
    "NUMBERS_HOLD_SECONDS",
    "NUMBERS_EVENT_RETENTION_SECONDS",
)
"""More than nothing."""
PERIODS = (
    "NUMBERS_QUARANTINE_SECONDS",
    "NUMBERS_CANCEL_QUARANTINE_SECONDS",
    "NUMBERS_CANCEL_WINDOW_SECONDS",
    "NUMBERS_BULK_WAIT_SECONDS",
)
"""Nothing, or more."""
RATES = ("NUMBERS_SEARCH_RATE", "NUMBERS_WRITE_RATE")
BURSTS = ("NUMBERS_SEARCH_BURST", "NUMBERS_WRITE_BURST")
NO_NUMBERS = (
    "abc",
    "-1",
    "nan",
    "inf",
    "1e400",
    "1,5",
    "5s",
    "0x5",
    "true",
    " ",
    "\N{FULLWIDTH DIGIT ONE}",
)


def field_of(variable: str) -> str:
    return variable.removeprefix("NUMBERS_").lower()


def test_with_nothing_set_everything_has_its_default() -> None:
    assert msgspec.structs.asdict(read_settings({})) == DEFAULTS
    assert read_settings({}) == Settings()


@pytest.mark.parametrize("field", DEFAULTS)
def test_an_empty_variable_means_its_default(field: str) -> None:
    assert read_settings({variable_of(field): ""}) == Settings()


@pytest.mark.parametrize(("variable", "text", "value"), GOOD)
def test_a_variable_sets_its_field_and_no_other(variable: str, text: str, value: object) -> None:
    settings = read_settings({variable: text})

    assert msgspec.structs.asdict(settings) == DEFAULTS | {field_of(variable): value}


def test_every_field_has_a_variable_that_is_read() -> None:
    assert set(Settings.__struct_fields__) == set(DEFAULTS) == {field_of(variable) for variable, _, _ in GOOD}


def test_all_variables_can_be_set_at_once() -> None:
    wanted = {variable: (text, value) for variable, text, value in GOOD}

    settings = read_settings({variable: text for variable, (text, _) in wanted.items()})

    assert msgspec.structs.asdict(settings) == {field_of(name): value for name, (_, value) in wanted.items()}


def test_other_variables_are_none_of_ours() -> None:
    others = {"NUMBERS_NOTHING": "x", "REDIS_URL": "x", "numbers_redis_url": "x", "KEY_CACHE_SECONDS": "x"}

    assert read_settings(others) == Settings()


def test_the_process_environment_is_what_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBERS_KEY_CACHE_SECONDS", "0.125")

    assert read_settings().key_cache_seconds == 0.125


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        *[(variable, value) for variable in (*SECONDS, *PERIODS, *RATES, *BURSTS) for value in NO_NUMBERS],
        *[(variable, value) for variable in RATES for value in ("1000000.1", "0.0009", "1e-300", "5e-324")],
        *[(variable, value) for variable in BURSTS for value in ("0", "1000001", "1.5")],
        *[(variable, value) for variable in SECONDS for value in ("0", "-0.0")],
        *[("NUMBERS_LOG_FORMAT", value) for value in ("JSON", "xml", " ", "json ")],
        *[("NUMBERS_LOG_LEVEL", value) for value in ("INFO", "critical", "0", "trace")],
        ("NUMBERS_SWEEP_SECONDS", "86401"),
        ("NUMBERS_HOLD_SECONDS", "86401"),
        *[(variable, "315360001") for variable in PERIODS],
        ("NUMBERS_EVENT_RETENTION_SECONDS", "59.9"),
        ("NUMBERS_EVENT_RETENTION_SECONDS", "315360001"),
        ("NUMBERS_REDIS_URL", "localhost"),
        ("NUMBERS_REDIS_URL", "localhost:6379"),
        ("NUMBERS_REDIS_URL", "http://localhost:6379"),
        ("NUMBERS_REDIS_URL", " redis://localhost"),
        ("NUMBERS_REDIS_URL", "REDIS//localhost"),
        ("NUMBERS_REDIS_URL", "redis://localhost:port/0"),
        ("NUMBERS_REDIS_URL", "redis://localhost:99999/0"),
        ("NUMBERS_REDIS_URL", "redis://localhost:6379/first"),
        ("NUMBERS_REDIS_URL", "redis://localhost:6379?db=first"),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_with_variable_and_value(variable: str, value: str) -> None:
    with pytest.raises(BadSetting) as refused:
        read_settings({variable: value})

    [line] = str(refused.value).splitlines()
    assert re.match(rf"{variable}=.*{re.escape(value)}.* cannot be used: .", line)


def test_every_duration_is_tried_with_what_it_cannot_be() -> None:
    durations = {field for field in DEFAULTS if field.endswith("_seconds")}

    assert {field_of(variable) for variable in (*SECONDS, *PERIODS)} == durations


@pytest.mark.parametrize("pepper", ["Q", "0123456789abcde", "p" * 1001])
def test_a_pepper_that_cannot_be_used_is_refused_without_being_shown(pepper: str) -> None:
    with pytest.raises(BadSetting) as refused:
        read_settings({"NUMBERS_KEY_PEPPER": pepper})

    assert str(refused.value).startswith("NUMBERS_KEY_PEPPER=*** cannot be used: ")
    assert pepper not in str(refused.value)


def test_on_a_developers_own_machine_only_a_rate_that_is_set_is_a_limit() -> None:
    def of(**environment: str) -> tuple[float, float]:
        settings = on_own_machine(read_settings(environment), environment)
        assert settings == msgspec.structs.replace(
            read_settings(environment), search_rate=settings.search_rate, write_rate=settings.write_rate
        )
        return settings.search_rate, settings.write_rate

    assert of() == (0, 0)
    assert of(NUMBERS_SEARCH_RATE="", NUMBERS_WRITE_BURST="5") == (0, 0)
    assert of(NUMBERS_SEARCH_RATE="100") == (100, 0)
    assert of(NUMBERS_SEARCH_RATE="3", NUMBERS_WRITE_RATE="2.5") == (3, 2.5)


def test_a_released_number_is_kept_from_others_for_as_long_as_the_law_wants() -> None:
    # 47 CFR 52.15(f)(1)(ii): aging of a disconnected number, 45 days at least.
    assert Settings().quarantine_seconds >= 45 * 86_400


def test_the_bad_one_of_many_is_named() -> None:
    good = {variable: text for variable, text, _ in GOOD}

    with pytest.raises(BadSetting, match=r"^NUMBERS_KEY_CACHE_SECONDS='x'"):
        read_settings(good | {"NUMBERS_KEY_CACHE_SECONDS": "x"})


@given(st.dictionaries(st.sampled_from([variable_of(field) for field in DEFAULTS]), st.text()))
def test_any_text_is_either_read_or_refused_in_one_line_that_names_a_variable_of_it(
    environment: dict[str, str],
) -> None:
    try:
        settings = read_settings(environment)
    except BadSetting as error:
        refusal = str(error)
    else:
        assert all(getattr(settings, field_of(name)) > 0 for name in SECONDS)
        assert all(getattr(settings, field_of(name)) >= 0 for name in PERIODS)
        rates = [getattr(settings, field_of(name)) for name in RATES]
        assert all(rate == 0 or rate >= LOWEST_RATE for rate in rates)
        assert all(getattr(settings, field_of(name)) >= 1 for name in BURSTS)
        return
    assert refusal.startswith(tuple(f"{variable}=" for variable in environment))
    assert len(refusal.splitlines()) == 1


@pytest.mark.parametrize("field", DEFAULTS)
def test_settings_cannot_be_changed(field: str) -> None:
    settings: Any = Settings()

    with pytest.raises(AttributeError):
        setattr(settings, field, "other")
    assert settings == Settings()
