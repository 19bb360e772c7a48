"""When a feed is refused as a whole, whatever the stock is."""

from shared.feeds.profiles import Guards, Mode


def refusal(guards: Guards, mode: Mode, *, rows: int, rejected: int, numbers: int) -> str | None:
    """Say why a feed that was read to its end cannot be used, None when it can.

    Of its `rows` so many were `rejected`, and the others hold `numbers` that the carrier offers.
    """
    if rejected > guards.rejected_rows and rejected * 100 > rows * guards.rejected_percent:
        return (
            f"{rejected:,} of {rows:,} rows cannot be read, more than {guards.rejected_percent:g} %; "
            "the stock stays as it was"
        )
    if mode is Mode.SNAPSHOT and not numbers:
        # Absence is how carriers say "gone", and a feed of nothing is how their outages look.
        return "the feed holds no number that can be used; the stock stays as it was"
    return None
