"""The ASGI app: `litestar --app api.app:create_app run`."""

from litestar import Litestar
from litestar_granian import GranianPlugin

from api.bulk import get_bulk_order, order_in_bulk
from api.docs import docs_routes, openapi_config
from api.errors import answer_error
from api.health import healthz, readyz
from api.inventory_coverage import get_coverage
from api.inventory_feeds import start_sync, upload_feed
from api.inventory_syncs import confirm_a_sync, get_rejects, get_sync, list_all_syncs, roll_back_a_sync
from api.json_body import StrictRequest
from api.numbers import change_number, get_number, list_numbers, release_in_bulk, release_number
from api.orders import cancel_an_order, get_order, list_all_orders, order_numbers
from api.request_id import send_request_id
from api.search import search_numbers
from api.services import lifespan
from shared.feeds.profiles import BadProfiles, read_profiles
from shared.settings import BadSetting, Settings, read_settings

_MAX_BODY_BYTES = 64 * 1024


def create_app(settings: Settings | None = None) -> Litestar:
    """Make the app; without `settings` they are read from the environment.

    A bad one, and a file of feeds' profiles that cannot be used, end the process.
    """
    try:
        settings = settings or read_settings()
        profiles = read_profiles(settings.feeds_file)
    except (BadSetting, BadProfiles) as error:
        raise SystemExit(str(error)) from error
    return Litestar(
        route_handlers=[
            search_numbers,
            order_numbers,
            list_all_orders,
            get_order,
            cancel_an_order,
            order_in_bulk,
            get_bulk_order,
            list_numbers,
            get_number,
            change_number,
            release_number,
            release_in_bulk,
            start_sync,
            upload_feed,
            list_all_syncs,
            get_sync,
            get_rejects,
            confirm_a_sync,
            roll_back_a_sync,
            get_coverage,
            healthz,
            readyz,
            *docs_routes,
        ],
        request_class=StrictRequest,
        request_max_body_size=_MAX_BODY_BYTES,
        exception_handlers={Exception: answer_error},
        before_send=[send_request_id],
        lifespan=[lifespan(settings, profiles)],
        openapi_config=openapi_config(),
        plugins=[GranianPlugin()],
    )
