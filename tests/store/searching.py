"""What tests of the search share: stocks, the plain filter it is held against, the store's statistics."""

from collections.abc import Iterable
from random import Random

from shared.phone_number import e164
from shared.search.search import Search
from shared.search.windows import LOCAL_NUMBERS, LOWEST_LOCAL
from shared.store import Store

ALL_LOCALS = range(LOWEST_LOCAL, LOCAL_NUMBERS)


def in_blocks(count: int, draw: Random, share: float = 1.0) -> list[int]:
    """Give about `count` local numbers in random thousands blocks that have `share` of their numbers left."""
    heads = draw.sample(range(LOWEST_LOCAL, LOCAL_NUMBERS, 1000), round(count / 1000 / share))
    return [head + line for head in heads for line in range(1000) if share == 1 or draw.random() < share]


def matching(area_code: str, locals_: Iterable[int], pattern: str) -> set[str]:
    return {number for local in locals_ if pattern in (number := e164(area_code, local))}


def texts(found: list[bytes]) -> list[str]:
    return [number.decode() for number in found]


def assert_answers(numbers: list[bytes], expected: set[str], quantity: int) -> None:
    """Fail unless the numbers are what a search for `quantity` of the expected ones has to return."""
    found = texts(numbers)
    assert found == sorted(set(found))
    assert set(found) <= expected
    assert len(found) == min(quantity, len(expected))


async def calls(store: Store, *commands: str) -> int:
    """Give how often the store has run these commands since its statistics were last set back."""
    statistics = await store.execute("INFO", "commandstats")
    return sum(statistics.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in commands)


async def until_hinted(search: Search, area_code: str) -> None:
    """Read the hint of an area code to its end."""
    await search.learn(area_code)
    assert search._hints.ready(area_code)
