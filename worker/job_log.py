"""One line in the log for each job, in place of arq's two, which say neither how it ended nor as fields."""

import functools
import inspect
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Concatenate, ParamSpec, TypeVar

from arq import Retry
from structlog.contextvars import bind_contextvars

logger = logging.getLogger(__name__)

P = ParamSpec("P")
T = TypeVar("T")
Context = dict[Any, Any]


def logged(
    name: str, *shown: str
) -> Callable[
    [Callable[Concatenate[Context, P], Awaitable[T]]],
    Callable[Concatenate[Context, P], Coroutine[Any, Any, T]],
]:
    """Have each run of the job `name` leave a line with the arguments that are to be shown.

    All lines that are written in its course carry its id. The traceback of one that failed is arq's to tell.
    """

    def decorate(
        job: Callable[Concatenate[Context, P], Awaitable[T]],
    ) -> Callable[Concatenate[Context, P], Coroutine[Any, Any, T]]:
        signature = inspect.signature(job)

        @functools.wraps(job)
        async def run(ctx: Context, /, *args: P.args, **kwargs: P.kwargs) -> T:
            given = signature.bind(ctx, *args, **kwargs).arguments
            bind_contextvars(job_id=ctx["job_id"])
            fields: dict[str, Any] = {"job": name, **{argument: given[argument] for argument in shown}}
            # Also of one whose time is over, which arq cuts off.
            outcome, began = "cancelled", time.perf_counter()
            try:
                result = await job(ctx, *args, **kwargs)
                outcome = "done"
                return result
            except Retry:
                outcome = "retried"
                raise
            except Exception as error:
                outcome = "failed"
                fields["error"] = type(error).__name__
                raise
            finally:
                fields["outcome"] = outcome
                fields["duration_ms"] = round((time.perf_counter() - began) * 1000, 3)
                fields["attempt"] = ctx["job_try"]
                logger.info("job", extra=fields)

        return run

    return decorate
