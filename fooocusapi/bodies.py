"""Request body -> request model, whatever its encoding; and the description of both encodings.

One reader serves JSON and forms, so that each field is defined once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, nullcontext
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError
from pydantic.json_schema import models_json_schema
from starlette.types import Message

from fooocusapi.dependencies import ServicesDep, bare_media_type
from fooocusapi.exceptions import (
    BodyTooLargeError,
    InvalidFieldError,
    UnsupportedEncodingError,
)
from fooocusapi.form_body import MULTIPART, URLENCODED, read_form
from fooocusapi.schemas.forms import (
    ALL_SLOTS,
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
_REF = "#/components/schemas/{model}"


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


def describe_body(model: type[BaseModel], form: type[BaseModel] | None = None) -> dict[str, Any]:
    """The ``openapi_extra`` of an endpoint whose body :func:`read_body` reads."""
    as_json = {"$ref": _REF.format(model=model.__name__)}
    as_form = {"$ref": _REF.format(model=f"{(form or model).__name__}Form")}
    content = {_JSON: {"schema": as_json}, MULTIPART: {"schema": as_form}}
    return {"requestBody": {"required": True, "content": content}}


def describe_models(models: Sequence[type[BaseModel]]) -> dict[str, Any]:
    """Schemas of request models and of their form encodings, for the components section."""
    _, table = models_json_schema([(model, "validation") for model in models], ref_template=_REF)
    schemas: dict[str, Any] = table["$defs"]
    forms = {
        f"{model.__name__}Form": _form_schema(schemas[model.__name__], schemas) for model in models
    }
    return {**schemas, **forms}


def _form_schema(schema: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The same object as form fields: lists and objects become texts that hold JSON.

    Lists of objects become numbered fields. The example is left out, as it is one of JSON.
    """
    properties = dict(schema["properties"])
    for slots in ALL_SLOTS:
        listed = properties.pop(slots.list_name, None)
        if listed is not None:
            fields = schemas[listed["items"]["$ref"].rpartition("/")[2]]["properties"]
            properties |= {
                slots.form_name(name, number): field
                for number in range(1, slots.count + 1)
                for name, field in fields.items()
            }
    return {
        **{name: value for name, value in schema.items() if name != "example"},
        "properties": {name: _form_field(field) for name, field in properties.items()},
        "required": [name for name in schema.get("required", ()) if name in properties],
    }


def _is_structured(field: dict[str, Any]) -> bool:
    variants = field.get("anyOf", [field])
    return any(
        variant.get("type") == "array" or "AdvancedParams" in variant.get("$ref", "")
        for variant in variants
    )


def _form_field(field: dict[str, Any]) -> dict[str, Any]:
    if "contentMediaType" in field:
        return {**field, "format": "binary"}
    if not _is_structured(field):
        return field
    note = field.get("description", "")
    return {
        "type": "string",
        "title": field.get("title", ""),
        "description": f"{note} As JSON text.".strip(),
    }
