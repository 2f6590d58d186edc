"""Request body -> request model, whatever its encoding.

One reader serves JSON and forms, so that each field is defined once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from starlette.types import Message

from fooocusapi.dependencies import ServicesDep, bare_media_type
from fooocusapi.exceptions import (
    BodyTooLargeError,
    InvalidFieldError,
    UnsupportedEncodingError,
)
from fooocusapi.form_body import MULTIPART, URLENCODED, read_form
from fooocusapi.schemas.forms import (
    MAX_IMAGE_TEXT,
    form_to_json,
    location_in_form,
    may_hold_picture,
)
from fooocusapi.schemas.json_text import read_json

Model = TypeVar("Model", bound=BaseModel)

_JSON = "application/json"
_FORMS = (MULTIPART, URLENCODED)
_MAX_TEXT = 1024 * 1024


def read_body(
    model: type[Model], form: type[Model] | None = None
) -> Callable[..., AsyncIterator[Model]]:
    """A dependency that reads the body as ``model``; uploads stay open until the answer is sent.

    JSON is read with and without a content type. Anything that cannot be read or validated is a
    validation error with a ``loc`` that starts at ``body``.

    Args:
        form: Read instead of ``model`` if the body is a form.
    """

    async def read(request: Request, services: ServicesDep) -> AsyncIterator[Model]:
        _refuse_packed(request)
        limited = _limit(request, services.settings.max_body_bytes)
        is_form = _content_type(request) in _FORMS
        # Around the answering, too: a picture that cannot be used is found out there.
        with _naming_form_fields() if is_form else nullcontext():
            async with _opened(limited) as value:
                yield _validate(form if is_form and form else model, value)

    return read


def _refuse_packed(request: Request) -> None:
    # Unpacked, a small body could be of any size.
    encoding = request.headers.get("content-encoding", "identity")
    if encoding.strip().lower() not in ("", "identity"):
        raise UnsupportedEncodingError("a packed body is not read: send it without an encoding")


def _limit(request: Request, limit: int) -> Request:
    """The request with a body that raises :class:`BodyTooLargeError` beyond ``limit`` bytes."""
    error = BodyTooLargeError(f"the body is larger than {limit} bytes")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limit:
        raise error
    left = limit

    async def receive() -> Message:
        nonlocal left
        message = await request.receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise error
        return message

    return Request(request.scope, receive)


def _validate(model: type[Model], value: Any) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise RequestValidationError(
            [{**entry, "loc": ("body", *entry["loc"])} for entry in error.errors()]
        ) from error


@contextmanager
def _naming_form_fields() -> Iterator[None]:
    """Let complaints name the fields that were sent, and not those that they were gathered into."""
    try:
        yield
    except RequestValidationError as error:
        entries = ({**entry, "loc": _in_form(entry["loc"])} for entry in error.errors())
        raise RequestValidationError(list(entries)) from error
    except InvalidFieldError as error:
        location = location_in_form(error.location)
        raise InvalidFieldError(location, str(error), error.value) from error


def _in_form(location: tuple[Any, ...]) -> tuple[Any, ...]:
    where, *rest = location
    return (where, *location_in_form(tuple(rest))) if where == "body" else location


def _content_type(request: Request) -> str:
    return bare_media_type(request.headers.get("content-type", ""))


@asynccontextmanager
async def _opened(request: Request) -> AsyncIterator[Any]:
    """The body as JSON has it; files in it stay open inside."""
    content_type = _content_type(request)
    if content_type in _FORMS:
        await _refuse_json_in_form(request, content_type)
        form = await read_form(request, content_type, MAX_IMAGE_TEXT)
        try:
            fields = form.multi_items()
            _check_texts(fields)
            yield form_to_json(fields)
        finally:
            await form.close()
    elif content_type in ("", _JSON) or content_type.endswith("+json"):
        yield _parse_json(await request.body())
    else:
        raise _invalid(f"a body of type {content_type} cannot be read; {_JSON} or a form is")


async def _refuse_json_in_form(request: Request, content_type: str) -> None:
    # `curl -d '{...}'` declares a form; read as one, every field would be missed without a word.
    if content_type == URLENCODED and (await request.body()).lstrip().startswith(b"{"):
        raise _invalid(f"the body looks like JSON; send it with 'content-type: {_JSON}'")


def _check_texts(fields: Sequence[tuple[str, Any]]) -> None:
    """Refuse texts longer than one may be that is no picture."""
    for name, value in fields:
        if isinstance(value, str) and len(value) > _MAX_TEXT and not may_hold_picture(name):
            raise BodyTooLargeError(f"a field holds more than {_MAX_TEXT} characters")


def _parse_json(body: bytes) -> Any:
    if not body:
        raise _invalid("a body is wanted, at least {}", kind="missing")
    try:
        value = read_json(body)
    except (ValueError, RecursionError) as error:
        raise _invalid(f"this is not valid JSON: {error}", kind="json_invalid") from error
    if not isinstance(value, dict):
        raise _invalid("the body is not a JSON object")
    return value


def _invalid(message: str, *, kind: str = "value_error") -> RequestValidationError:
    return RequestValidationError([{"type": kind, "loc": ("body",), "msg": message, "input": None}])
