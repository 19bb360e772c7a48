"""Numbers of an area code: the typed wrappers of its scripts; each is its script's only caller."""

from collections.abc import Iterable

from shared import store_keys
from shared.atomic.script import Script
from shared.store import Store

_SEARCH_AREA = Script("search_area")


async def search_area(
    store: Store,
    area_code: str,
    windows: Iterable[Iterable[int]],
    glob: str,
    wanted: int,
    randoms: tuple[int, int],
    cursor: bytes,
) -> tuple[bytes, list[bytes]]:
    """Find numbers (E.164) of `area_code` in `windows`; before them the next cursor, `b""` at the end."""
    flat = [bound for window in windows for bound in window]
    reply = await _SEARCH_AREA.run(
        store, [store_keys.available(area_code)], wanted, *randoms, cursor, glob, *flat
    )
    return reply[0], reply[1:]
