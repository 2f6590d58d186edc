"""How every generation endpoint answers, as the schema describes it."""

from __future__ import annotations

from typing import Any

from fooocusapi.schemas.responses import JobObject, ResultItem

BODY_ANSWERS: dict[int | str, dict[str, Any]] = {
    400: {"description": "The form cannot be read."},
    413: {"description": "The body, a picture or a text is too large."},
    415: {"description": "The body is packed (`Content-Encoding`)."},
}
"""How every endpoint that reads a body can refuse it, as the schema describes it."""

ADMISSION_ANSWERS: dict[int | str, dict[str, Any]] = {
    403: {"description": "No key, or one that is not for this; or a page that may not call."},
    429: {"description": "More requests than `--rate-limit` allows."},
}
"""How every endpoint that wants a key can refuse a caller, as the schema describes it."""

GENERATION_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": list[ResultItem] | JobObject,
        "description": (
            "The results; with `async_process` the job object at once; with `Accept: image/png` "
            "the bytes of the picture. Warnings stand in the header `X-Fooocus-Warning`."
        ),
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    },
    **BODY_ANSWERS,
    400: {
        "description": "The form cannot be read; `image/png` only: the job was stopped.",
        "content": {"text/plain": {}},
    },
    409: {"description": "`image/png` only: the queue is full.", "content": {"text/plain": {}}},
    500: {"description": "`image/png` only: the job failed.", "content": {"text/plain": {}}},
    503: {"description": "A needed file is missing, or the server is stopping."},
}

TOOL_ANSWERS: dict[int | str, dict[str, Any]] = {
    **BODY_ANSWERS,
    429: {"description": "Too many tool calls wait, or more requests than allowed."},
    503: {
        "description": "A needed file or library is missing, memory ran out, or the server is "
        "stopping."
    },
}
"""How every tool that uses the engine can fail, as the schema describes it."""
