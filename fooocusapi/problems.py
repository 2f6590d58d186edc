"""How the additive routes tell of failures: RFC 9457 problem details.

The routes of the older contract keep the framework's shape, which ``errors.py`` makes.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute

from fooocusapi.errors import shown_errors
from fooocusapi.exceptions import (
    DeliveryNotFoundError,
    ForbiddenError,
    ForeignPageError,
    HistoryEntryNotFoundError,
    InputsGoneError,
    InvalidKeyError,
    JobFinishedError,
    JobKeptError,
    JobNotFinishedError,
    JobNotFoundError,
    JobNotRunningError,
    KeyInProgressError,
    KeyReusedError,
    QueueFullError,
    RateLimitedError,
    ServerStoppingError,
    StorageError,
    StoreError,
)

_log = logging.getLogger(__name__)

_MEDIA_TYPE = "application/problem+json"
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What an exception means to a caller: status, and a word for programs."""

    status: HTTPStatus
    code: str


def _problem(status: int, code: str) -> Problem:
    return Problem(status=HTTPStatus(status), code=code)


_UNFORESEEN = _problem(500, "internal_error")
PROBLEMS: Mapping[type[Exception], Problem] = {
    RequestValidationError: _problem(422, "invalid_request"),
    ForbiddenError: _problem(403, "forbidden"),
    ForeignPageError: _problem(403, "foreign_page"),
    JobNotFoundError: _problem(404, "job_not_found"),
    HistoryEntryNotFoundError: _problem(404, "job_not_found"),
    DeliveryNotFoundError: _problem(404, "delivery_not_found"),
    JobFinishedError: _problem(409, "job_finished"),
    JobNotFinishedError: _problem(409, "job_not_finished"),
    JobNotRunningError: _problem(409, "job_not_running"),
    InputsGoneError: _problem(409, "inputs_gone"),
    InvalidKeyError: _problem(400, "invalid_idempotency_key"),
    KeyReusedError: _problem(422, "idempotency_key_reused"),
    KeyInProgressError: _problem(409, "idempotency_in_progress"),
    QueueFullError: _problem(429, "queue_full"),
    RateLimitedError: _problem(429, "rate_limited"),
    ServerStoppingError: _problem(503, "server_stopping"),
    JobKeptError: _problem(503, "server_stopping"),
    StoreError: _problem(503, "store_unavailable"),
    StorageError: _problem(500, "storage_unavailable"),
}
"""Exceptions that the additive routes foresee; the class nearest to the raised one counts."""

_RETRY_AFTER = {"Retry-After": "1"}


class ProblemRoute(APIRoute):
    """A route whose failures are problem details."""

    def get_route_handler(self) -> Handler:
        """The handler, with failures turned into answers."""
        handle = super().get_route_handler()

        async def handle_problems(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:  # noqa: BLE001  (what is not foreseen is answered, too)
                return _answer(request, error)

        return handle_problems


def _answer(request: Request, error: Exception) -> Response:
    kinds = (kind for kind in type(error).__mro__ if kind in PROBLEMS)
    problem = PROBLEMS.get(next(kinds, Exception), _UNFORESEEN)
    if problem is _UNFORESEEN:
        _log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    is_validation = isinstance(error, RequestValidationError)
    is_hidden = is_validation or problem is _UNFORESEEN
    content: dict[str, Any] = {
        "type": f"urn:fooocusapi:{problem.code}",
        "title": problem.status.phrase,
        "status": problem.status.value,
        "detail": problem.status.description if is_hidden else str(error),
        "instance": request.url.path,
        "code": problem.code,
        "request_id": request.state.request_id,
    }
    if isinstance(error, RequestValidationError):
        content["errors"] = shown_errors(error.errors())
    is_early = problem.status in (429, 503) or isinstance(error, KeyInProgressError)
    headers = _RETRY_AFTER if is_early else None
    return JSONResponse(content, problem.status, headers, media_type=_MEDIA_TYPE)
