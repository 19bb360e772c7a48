"""What tests of carriers' feeds are given."""

from pathlib import Path

import pytest

from shared.feeds.spool import Spool
from shared.store import Store
from tests.store.feeding import Feeding


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool")


@pytest.fixture
def feeding(store: Store, spool: Spool) -> Feeding:
    return Feeding(store, spool)


@pytest.fixture
def small_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a small feed take several calls in several groups."""
    monkeypatch.setattr("worker.feeds.apply.MAX_NUMBERS_PER_CALL", 3)
    monkeypatch.setattr("worker.feeds.pace._CALLS_ALONE", 2)
