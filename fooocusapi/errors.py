"""Exception -> status and body, all in one table."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from http import HTTPMethod, HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from fooocus_core.errors import (
    DeviceFailedError,
    DeviceMemoryError,
    DownloadError,
    FooocusError,
    InvalidInputError,
    ModelFileError,
    ModelNotFoundError,
    NotFiniteError,
    PackageMissingError,
)
from fooocusapi.exceptions import (
    BodyTooLargeError,
    DeliveryNotFoundError,
    ForbiddenError,
    ForeignPageError,
    HistoryEntryNotFoundError,
    InputsGoneError,
    InvalidFieldError,
    InvalidKeyError,
    JobFinishedError,
    JobKeptError,
    JobNotFinishedError,
    JobNotFoundError,
    JobNotRunningError,
    KeyInProgressError,
    KeyReusedError,
    ModelMissingError,
    QueueFullError,
    RateLimitedError,
    ServerStoppingError,
    ServiceError,
    StorageError,
    StoredFileNotFoundError,
    StoredParamsError,
    StoreError,
    UnreadableBodyError,
    UnsupportedEncodingError,
)
from fooocusapi.respond import unknown_job

Answer = Callable[[Any], Response]

_MAX_INPUT, _MAX_MESSAGE = 200, 1000


def _detail(status: int, text: str | None = None) -> Answer:
    def answer(error: Exception) -> Response:
        return JSONResponse({"detail": text or _safe(str(error))}, status_code=status)

    return answer


def _body(status: int, content: object) -> Answer:
    return lambda _error: JSONResponse(content, status_code=status)


def _kept(error: JobKeptError) -> Response:
    headers = {"X-Fooocus-Job-Id": error.job_id}
    return JSONResponse({"detail": str(error)}, status_code=503, headers=headers)


def _coded(status: int, code: str, headers: Mapping[str, str] | None = None) -> Answer:
    def answer(error: Exception) -> Response:
        content = {"detail": str(error), "code": code}
        return JSONResponse(content, status_code=status, headers=headers)

    return answer


def shown_errors(errors: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What validation complains about, fit to be sent: refused values are cut short."""
    return [
        {
            "type": error["type"],
            "loc": list(error["loc"]),
            "msg": _shortened(str(error["msg"]), _MAX_MESSAGE),
            "input": _shown(error.get("input")),
        }
        for error in errors
    ]


def _invalid(errors: Sequence[Mapping[str, Any]]) -> Response:
    return JSONResponse({"detail": shown_errors(errors)}, status_code=422)


def _invalid_request(error: RequestValidationError) -> Response:
    return _invalid(error.errors())


def _invalid_field(error: InvalidFieldError) -> Response:
    location = ("body", *error.location)
    return _invalid(
        [{"type": "value_error", "loc": location, "msg": str(error), "input": error.value}]
    )


def _invalid_input(error: InvalidInputError) -> Response:
    return _invalid([{"type": "value_error", "loc": ("body",), "msg": str(error)}])


_UNFORESEEN = _detail(500, "Internal Server Error")

ANSWERS: Mapping[type[Exception], Answer] = {
    RequestValidationError: _invalid_request,
    InvalidFieldError: _invalid_field,
    InvalidInputError: _invalid_input,
    # Nobody reads the answer; being in the table keeps the traceback out of the log.
    ClientDisconnect: _detail(400),
    UnreadableBodyError: _detail(400),
    ForbiddenError: _detail(403, "Forbidden"),
    ForeignPageError: _detail(403),
    JobNotFoundError: _body(404, unknown_job().model_dump()),
    HistoryEntryNotFoundError: _body(404, {"message": "Not found", "detail": "Not found"}),
    StoredFileNotFoundError: _detail(404, "Not Found"),
    DeliveryNotFoundError: _detail(404),
    JobNotFinishedError: _detail(409),
    JobFinishedError: _detail(409),
    JobNotRunningError: _detail(409),
    InputsGoneError: _detail(409),
    InvalidKeyError: _coded(400, "invalid_idempotency_key"),
    KeyReusedError: _coded(422, "idempotency_key_reused"),
    KeyInProgressError: _coded(409, "idempotency_in_progress", {"Retry-After": "1"}),
    BodyTooLargeError: _detail(413),
    UnsupportedEncodingError: _detail(415),
    QueueFullError: _detail(429),
    RateLimitedError: _detail(429),
    ServerStoppingError: _detail(503),
    JobKeptError: _kept,
    StoreError: _detail(503),
    StoredParamsError: _UNFORESEEN,
    ModelMissingError: _detail(503),
    ModelNotFoundError: _detail(503),
    DownloadError: _detail(503),
    PackageMissingError: _detail(503),
    DeviceMemoryError: _detail(503),
    DeviceFailedError: _detail(503),
    ModelFileError: _detail(500),
    NotFiniteError: _detail(500),
    StorageError: _detail(500),
    FooocusError: _UNFORESEEN,
    ServiceError: _UNFORESEEN,
    Exception: _UNFORESEEN,
}
"""Every exception that can reach a route; the class nearest to the raised one counts."""


def add_handlers(app: FastAPI) -> None:
    """Have the app answer exceptions by the table."""
    for kind, answer in ANSWERS.items():
        app.add_exception_handler(kind, _handler(answer))
    app.add_exception_handler(HTTPStatus.METHOD_NOT_ALLOWED, _wrong_method)


async def _wrong_method(request: Request, _error: Exception) -> Response:
    """Name the methods of all routes of the path; the library names those of the first only."""
    allowed = [
        method
        for method in HTTPMethod
        if any(
            route.matches({**request.scope, "method": method.value})[0] is Match.FULL
            for route in request.app.routes
        )
    ]
    status, headers = HTTPStatus.METHOD_NOT_ALLOWED, {"Allow": ", ".join(allowed)}
    return JSONResponse({"detail": status.phrase}, status_code=status, headers=headers)


def _handler(answer: Answer) -> Callable[[Request, Exception], Any]:
    async def handle(_request: Request, error: Exception) -> Response:
        return answer(error)

    return handle


def _shown(value: object) -> object:
    """A refused value fit to be sent back: never a whole body, never longer than a line."""
    if isinstance(value, str):
        return _shortened(value, _MAX_INPUT)
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=str)
    except (ValueError, RecursionError):
        return _shortened(str(value), _MAX_INPUT) if isinstance(value, float) else None
    text = _safe(text)
    return json.loads(text) if len(text) <= _MAX_INPUT else _shortened(text, _MAX_INPUT)


def _shortened(text: str, limit: int) -> str:
    return _safe(text if len(text) <= limit else f"{text[:limit]}... ({len(text)} characters)")


def _safe(text: str) -> str:
    """The text without lone surrogates, which cannot be sent."""
    return text.encode(errors="replace").decode()
