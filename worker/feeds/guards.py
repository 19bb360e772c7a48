"""Guards: what a feed may not remove before somebody has looked at it.

Absence is the only way in which carriers say that a number is gone, and a truncated file looks the same.
"""

from shared.feeds.offers import Numbers, Offers, numbers_of
from shared.feeds.profiles import Guards

_NAMED_AREAS = 5


def too_many_removed(guards: Guards, applied: Offers, new: Offers, removed: Numbers) -> str | None:
    """Say why what a feed removes has to wait for a confirmation, None when it has not."""
    reasons = (_too_large_a_share(guards, applied, removed), _emptied(guards, new, removed))
    return "; ".join(filter(None, reasons)) or None


def _too_large_a_share(guards: Guards, applied: Offers, removed: Numbers) -> str | None:
    count = sum(map(len, removed.values()))
    total = sum(len(numbers_of(applied, area_code)) for area_code in applied)
    if count <= guards.removed_numbers or count * 100 <= total * guards.removed_percent:
        return None
    return (
        f"it removes {count:,} of {total:,} numbers ({count * 100 / total:.1f} %), "
        f"more than {guards.removed_percent:g} %"
    )


def _emptied(guards: Guards, new: Offers, removed: Numbers) -> str | None:
    emptied = [
        area_code
        for area_code, numbers in sorted(removed.items())
        if len(numbers) >= guards.emptied_area and not numbers_of(new, area_code)
    ]
    if not emptied:
        return None
    named = ", ".join(emptied[:_NAMED_AREAS])
    more = f" and {len(emptied) - _NAMED_AREAS} more" if len(emptied) > _NAMED_AREAS else ""
    return f"it leaves nothing in area code{'s' if len(emptied) > 1 else ''} {named}{more}"
