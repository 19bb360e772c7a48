"""Rejected rows as CSV, safe to open in a spreadsheet."""

import csv
import io
from collections.abc import Iterable

from shared.feeds.rows import RejectedRow

_BEGINS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


def rejects_csv(rows: Iterable[RejectedRow]) -> str:
    """Give `line,reason,start` and a line for each row (RFC 4180).

    What a spreadsheet would take for a formula gets an apostrophe before it (OWASP, "CSV Injection"): what a
    carrier sends must not run on the screen of who looks at it.
    """
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(("line", "reason", "start"))
    writer.writerows((row.line, _harmless(row.reason), _harmless(row.start)) for row in rows)
    return text.getvalue()


def _harmless(cell: str) -> str:
    shown = "".join(character if character.isprintable() else " " for character in cell)
    return f"'{shown}" if shown.startswith(_BEGINS_A_FORMULA) or cell.startswith(_BEGINS_A_FORMULA) else shown
