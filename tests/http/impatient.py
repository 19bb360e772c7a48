"""The app, soon tired of an upload that trickles; for a server of its own."""

from litestar import Litestar

from api import inventory_upload
from api.app import create_app


def app() -> Litestar:
    """Make it, with a grace of moments instead of a minute."""
    vars(inventory_upload).update(_GRACE_SECONDS=0.3, _BYTES_PER_SECOND=10_000_000)
    return create_app()
