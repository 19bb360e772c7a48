"""The service's own search, called directly: the only place of the benchmarks that knows its functions."""

from shared.search.search import Query, Search
from shared.settings import Settings
from shared.store import Store


class StoreSearch:
    """Searches through one connection, with the knowledge of the stock that one API process has."""

    def __init__(self, store: Store) -> None:
        self._search = Search(store, Settings())

    async def learn(self, area_code: str) -> None:
        """Read what the search remembers of an area code, so that no timed search has to."""
        await self._search.learn(area_code)

    async def search(self, area_code: str | None, pattern: str, quantity: int) -> list[str]:
        """Return available numbers (E.164) that match."""
        found = await self._search.find(Query(area_code, None, pattern, quantity))
        return [number.decode() for number in found]

    async def close(self) -> None:
        """Stop reading in the background."""
        await self._search.close()
