"""What tests of the search share: the plain filter that it is held against."""

from collections.abc import Iterable

from shared.phone_number import e164
from shared.search.windows import LOCAL_NUMBERS, LOWEST_LOCAL
from shared.store import Store

ALL_LOCALS = range(LOWEST_LOCAL, LOCAL_NUMBERS)


def matching(area_code: str, locals_: Iterable[int], pattern: str) -> set[str]:
    return {number for local in locals_ if pattern in (number := e164(area_code, local))}


def assert_answers(found: list[str], expected: set[str], quantity: int) -> None:
    """Fail unless `found` is what a search for `quantity` of the expected numbers has to give."""
    assert found == sorted(set(found))
    assert set(found) <= expected
    assert len(found) == min(quantity, len(expected))


async def script_calls(store: Store) -> int:
    statistics = await store.execute("INFO", "commandstats")
    return sum(statistics.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in ("eval", "evalsha"))
