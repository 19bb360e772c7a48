"""Futures for subclasses of `Store` in tests: its methods return futures, theirs are coroutine functions."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def returns_future(function: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, asyncio.Future[T]]:
    """Return a function that starts the coroutine and returns the future of its result."""

    @wraps(function)
    def start(*args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        return asyncio.ensure_future(function(*args, **kwargs))

    return start


def done(function: Callable[[], T]) -> asyncio.Future[T]:
    """Return a future that has the function's result, or its error, already."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    try:
        future.set_result(function())
    except Exception as error:
        future.set_exception(error)
    return future
