"""Callers that hang up while they wait. Knows neither jobs nor what is waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar

from fastapi import Request
from starlette.requests import ClientDisconnect

Result = TypeVar("Result")
HangUp = Callable[[], Awaitable[None]]
"""Waits until a caller is gone."""


def hang_up_of(request: Request) -> HangUp:
    """How to wait until the caller of a request, whose body was read, is gone."""
    return partial(_hang_up, request)


async def result_unless_gone(done: asyncio.Future[Result], hang_up: HangUp) -> Result:
    """What is waited for.

    Raises:
        ClientDisconnect: The caller has hung up before.
    """
    gone = asyncio.ensure_future(hang_up())
    try:
        await asyncio.wait((done, gone), return_when=asyncio.FIRST_COMPLETED)
        if not done.done():
            raise ClientDisconnect
        return done.result()
    finally:
        gone.cancel()
        done.cancel()


async def _hang_up(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
