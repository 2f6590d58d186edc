"""The OpenAPI document: what the framework gathers, completed so that it says what is so.

Bodies are described by ``schemas/descriptions.py`` and answers by ``routers/answers.py``; what
holds for every operation is put in here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from fastapi import FastAPI

from fooocusapi.schemas.descriptions import (
    JSON,
    PROBLEM,
    describe_models,
    describe_requests,
    reference,
    without_null,
)
from fooocusapi.schemas.failures import InvalidRequest, ProblemDetails, Refusal
from fooocusapi.schemas.parameters import RequestModel

Schema = dict[str, Any]

DESCRIPTION = (
    "Pictures from words and from pictures, with the interface of Fooocus-API. Unknown fields are "
    "ignored, `null` means that an optional field is not given, and numbers may be texts. What is "
    "tolerated, such as an unknown style, is named in the header `X-Fooocus-Warning`. Form fields "
    "that hold a picture take a file or a text, and forms without files may be sent as "
    "`application/x-www-form-urlencoded`."
)
TAGS = [
    {"name": "Generation", "description": "Asking for pictures."},
    {"name": "Tools", "description": "Describing, masking and reading single pictures."},
    {"name": "Jobs", "description": "Looking after what was asked for."},
    {"name": "Webhooks", "description": "What receivers were told."},
    {"name": "Engine", "description": "Models, styles and memory."},
    {"name": "Files", "description": "Finished pictures."},
    {"name": "Pages", "description": "The start page and the sign of life."},
    {"name": "Health", "description": "For whoever watches the server."},
]
_KEY = {
    "type": "apiKey",
    "in": "header",
    "name": "X-API-KEY",
    "description": "Wanted by servers that were started with a key; others do not look at it.",
}
_BEARER = {"type": "http", "scheme": "bearer", "description": "The same key."}
_REQUEST_ID = {
    "X-Request-ID": {
        "description": "That of the request, or one made for it; it stands in the log as well.",
        "schema": {"type": "string"},
    }
}
_REFERENCE = re.compile(r"#/components/schemas/(\w+)")
_METHODS = ("get", "post", "put", "delete", "patch")
_OF_FRAMEWORK = ("HTTPValidationError", "ValidationError")
_FAILURES = (InvalidRequest, ProblemDetails, Refusal)
_INVALID, _FORBIDDEN = "422", "403"


def completed(app: FastAPI, requests: Sequence[type[RequestModel]]) -> Callable[[], Schema]:
    """What stands in for ``app.openapi``: the document, made at the first call.

    Args:
        requests: Models that bodies are read as.
    """
    generate = app.openapi

    def openapi() -> Schema:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(generate(), requests)
        return app.openapi_schema

    return openapi


def _complete(document: Schema, requests: Sequence[type[RequestModel]]) -> Schema:
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    for name in _OF_FRAMEWORK:
        schemas.pop(name, None)
    schemas |= describe_requests(requests) | describe_models(_FAILURES)
    components["securitySchemes"] = {"ApiKey": _KEY, "Bearer": _BEARER}
    for operation in _operations(document):
        _complete_operation(operation)
    used = _used(document["paths"], schemas)
    components["schemas"] = {name: schemas[name] for name in sorted(used)}
    return document


def _used(part: Any, schemas: Mapping[str, Schema]) -> set[str]:
    """Names of the schemas that a part of the document leads to."""
    used: set[str] = set()
    found = set(_REFERENCE.findall(json.dumps(part)))
    while found - used:
        used |= found
        found = set(_REFERENCE.findall(json.dumps([schemas[name] for name in used])))
    return used


def _operations(document: Schema) -> Iterator[Schema]:
    for path in document["paths"].values():
        yield from (operation for method, operation in path.items() if method in _METHODS)


def _complete_operation(operation: Schema) -> None:
    parameters = operation.get("parameters", ())
    for parameter in parameters:
        parameter["schema"] = _as_sent(parameter)
    answers = operation["responses"]
    tells_problems = PROBLEM in str(answers.get(_FORBIDDEN))
    if _INVALID in answers and _is_of_framework(answers[_INVALID]):
        del answers[_INVALID]
        if any(map(_can_be_wrong, parameters)):
            answers[_INVALID] = {"description": "A parameter is missing or wrong."}
    if _FORBIDDEN in answers:
        operation["security"] = [{}, {"ApiKey": []}, {"Bearer": []}]
    for status, answer in answers.items():
        # Answers share their headers.
        answer["headers"] = {**answer.get("headers", {}), **_REQUEST_ID}
        if status.startswith(("4", "5")) and "content" not in answer:
            answer["content"] = _usual_body(status, tells_problems=tells_problems)
        if "content" in answer:
            # Programs made from the document read an answer as the first kind that is named.
            answer["content"] = dict(sorted(answer["content"].items(), key=_is_not_json))
    operation["responses"] = dict(sorted(answers.items()))


def _usual_body(status: str, *, tells_problems: bool) -> Schema:
    """Of a failure of which no other is described."""
    if tells_problems:
        return {PROBLEM: {"schema": reference(ProblemDetails)}}
    return {JSON: {"schema": reference(InvalidRequest if status == _INVALID else Refusal)}}


def _is_not_json(content: tuple[str, Schema]) -> bool:
    return content[0] != JSON


def _as_sent(parameter: Schema) -> Schema:
    """The schema of a parameter: nothing is null, and a list in a header is a text."""
    schema = without_null(parameter["schema"])
    if parameter["in"] == "header" and schema.get("type") == "array":
        schema = {**schema, "type": "string"}
        del schema["items"]
    return schema


def _is_of_framework(answer: Schema) -> bool:
    return _OF_FRAMEWORK[0] in str(answer)


def _can_be_wrong(parameter: Schema) -> bool:
    """Whether validation can refuse it: texts are never wrong, and a path is always there."""
    needed = parameter.get("required", False) and parameter["in"] != "path"
    return needed or parameter["schema"].get("type") != "string" or "enum" in parameter["schema"]
