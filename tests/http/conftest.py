"""Services with settings of their own, for what would take hours."""

from collections.abc import Iterator

import pytest

from tests.http.organizations import Organizations
from tests.support import Service


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
