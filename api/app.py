"""The ASGI app: `litestar --app api.app:create_app run`."""

from litestar import Litestar
from litestar_granian import GranianPlugin

from api.api_keys import create_key, get_key, list_keys, revoke_key, rotate_key
from api.bulk import get_bulk_order, order_in_bulk
from api.docs import docs_routes, openapi_config
from api.edge import SHORT_SEARCH, Edge
from api.error_answers import answer_error
from api.health import healthz, readyz
from api.inventory_coverage import get_coverage
from api.inventory_feeds import start_sync, upload_feed
from api.inventory_syncs import confirm_a_sync, get_rejects, get_sync, list_all_syncs, roll_back_a_sync
from api.json_body import MAX_BODY_BYTES, StrictRequest
from api.numbers import change_number, get_number, list_numbers, release_in_bulk, release_number
from api.orders import cancel_an_order, get_order, list_all_orders, order_numbers
from api.search import search_numbers
from api.services import lifespan, services_in
from api.short_search import ShortSearch
from shared.feeds.profiles import BadProfiles, read_profiles
from shared.logs import set_up_logs
from shared.settings import BadSetting, Settings, read_settings


def _prepare_short_search(app: Litestar) -> None:
    app.state[SHORT_SEARCH] = ShortSearch(services_in(app))


def create_app(settings: Settings | None = None) -> Litestar:
    """Make the app.

    Without `settings` they are read from the environment, and the process is the app's own: its log is
    written as they say. A bad one, and a file of feeds' profiles that cannot be used, end the process.
    """
    try:
        if settings is None:
            settings = read_settings()
            set_up_logs(settings)
        profiles = read_profiles(settings.feeds_file)
    except (BadSetting, BadProfiles) as error:
        raise SystemExit(str(error)) from error
    return Edge(
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
            create_key,
            list_keys,
            get_key,
            rotate_key,
            revoke_key,
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
        request_max_body_size=MAX_BODY_BYTES,
        exception_handlers={Exception: answer_error},
        lifespan=[lifespan(settings, profiles)],
        on_startup=[_prepare_short_search],
        openapi_config=openapi_config(),
        # It would take the root logger from us; ours are set up above.
        logging_config=None,
        plugins=[GranianPlugin()],
    )
