"""Services with settings of their own, for what would take hours."""

from collections.abc import Iterator

import pytest

from shared.api_keys import Scope
from tests.http.organizations import OPERATOR, Organization, Organizations
from tests.support import Service

FEEDS_FILE = """
[profiles.sourced]
source = "{directory}/sourced.csv"

[profiles.sourceless]

[profiles.delta]
mode = "delta"

[profiles.small]
limits = {{ bytes = 1_000 }}

[profiles.guarded]
guards = {{ removed_percent = 0, removed_numbers = 0 }}
"""


@pytest.fixture(scope="session")
def organizations() -> Iterator[Organizations]:
    """Give organizations to whoever asks."""
    organizations = Organizations()
    yield organizations
    organizations.close()


@pytest.fixture(scope="session")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service in which everything is soon over: quarantines, the time to cancel, bulk orders."""
    service = Service(
        tmp_path_factory.mktemp("hasty"),
        "--no-sample",
        NUMBERS_SWEEP_SECONDS="0.2",
        NUMBERS_QUARANTINE_SECONDS="0.5",
        NUMBERS_CANCEL_WINDOW_SECONDS="0",
        NUMBERS_BULK_WAIT_SECONDS="0.5",
    )
    yield service
    service.stop()


@pytest.fixture(scope="session")
def watchful(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that looks for work all the time, and keeps the numbers of cancelled orders for a day."""
    service = Service(
        tmp_path_factory.mktemp("watchful"),
        "--no-sample",
        NUMBERS_SWEEP_SECONDS="0.2",
        NUMBERS_CANCEL_QUARANTINE_SECONDS="86400",
    )
    yield service
    service.stop()


@pytest.fixture(scope="session")
def feeding(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service that has profiles of some carriers' feeds."""
    directory = tmp_path_factory.mktemp("feeding")
    (directory / "feeds.toml").write_text(FEEDS_FILE.format(directory=directory))
    (directory / "sourced.csv").write_text("number\n+16105557000\n+16105557001\n")
    service = Service(directory / "data", "--no-sample", NUMBERS_FEEDS_FILE=str(directory / "feeds.toml"))
    yield service
    service.stop()


@pytest.fixture(scope="session")
def operator(feeding: Service, organizations: Organizations) -> Organization:
    """Give a key that may do all with the inventory."""
    scopes = (*OPERATOR, Scope.PLATFORM_INVENTORY_READ)
    return organizations.of(feeding, "inventory-tests", scopes)
