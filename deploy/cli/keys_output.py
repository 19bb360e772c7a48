"""How API keys look on the command line."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import click
from rich.table import Table
from rich.text import Text

from deploy.cli.store_option import print_table
from deploy.cli.sync_output import age_text, print_field, printable
from shared.api_keys import ApiKey
from shared.clock import time_of, time_text
from shared.key_events import KeyEvent


def resource_of(key: ApiKey, secret: str | None = None) -> dict[str, Any]:
    """Give a key as the API has it, with its secret when it was made just now."""
    return {
        "id": key.id,
        "org_id": key.org_id,
        "label": key.label,
        "prefix": key.prefix,
        "scopes": key.scopes,
        "created_at": rendered(key.created_ms),
        "last_used_at": rendered(key.last_used_ms),
        "revoked_at": rendered(key.revoked_ms),
        "expires_at": rendered(key.expires_ms),
        "plaintext": secret,
    }


def rendered(ms: int | None) -> str | None:
    """Give a time, Unix ms, as `2026-03-01T09:30:00.123Z`; None for None."""
    return None if ms is None else time_text(time_of(ms))


def print_keys(keys: Iterable[ApiKey], now: datetime) -> None:
    """Print a line for each key."""
    table = Table(box=None)
    for name in ("id", "prefix", "organization", "state", "last used", "label", "scopes"):
        # Of an id that is to be copied nothing may be missing.
        table.add_column(name, overflow="fold", no_wrap=name in ("id", "prefix"))
    for key in keys:
        state, label = _state_text(key, now), Text(printable(key.label or ""))
        table.add_row(key.id, key.prefix, key.org_id, state, _use_text(key, now), label, " ".join(key.scopes))
    print_table(table)


def print_key(key: ApiKey, events: Sequence[KeyEvent], now: datetime) -> None:
    """Print all that is known of a key."""
    click.echo(f"{key.id} {_state_text(key, now)}")
    print_field("org", key.org_id)
    print_field("prefix", key.prefix)
    print_field("label", key.label or "none")
    print_field("scopes", " ".join(key.scopes))
    print_field("created", rendered(key.created_ms) or "")
    print_field("expires", rendered(key.expires_ms) or "never")
    print_field("last used", _use_text(key, now))
    if key.revoked_ms is not None:
        print_field("revoked", rendered(key.revoked_ms) or "")
    label = "events"
    for event in events:
        request = f", request {event.request_id}" if event.request_id else ""
        print_field(label, f"{time_text(event.time)} {event.event} by {event.by}{request}")
        label = ""
    if not events:
        print_field(label, "none is kept any more")


def _state_text(key: ApiKey, now: datetime) -> str:
    if key.revoked_ms is not None:
        return "revoked"
    if key.expires_ms is None:
        return "live"
    expires = time_of(key.expires_ms)
    return f"expires {expires:%Y-%m-%d %H:%M}" if now < expires else "expired"


def _use_text(key: ApiKey, now: datetime) -> str:
    return "never" if key.last_used_ms is None else f"{age_text(now - time_of(key.last_used_ms))} ago"
