"""The service's own search, called directly: the only place of the benchmarks that knows its functions."""

from shared.search.area_stock import AreaStock
from shared.search.walk import Query, search
from shared.store import Store


class StoreSearch:
    """Searches through one connection, with the knowledge of the stock that one API process has."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._stock = AreaStock(store)

    async def learn(self, area_code: str) -> None:
        """Read what the search remembers of an area code, so that no timed search has to."""
        await self._stock.size_of(area_code)

    async def search(self, area_code: str | None, pattern: str, quantity: int) -> list[str]:
        """Return available numbers (E.164) that match."""
        return await search(self._store, self._stock, Query(area_code, None, pattern, quantity))
