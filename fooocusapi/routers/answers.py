"""How every generation endpoint answers, as the schema describes it."""

from __future__ import annotations

from typing import Any

from fooocusapi.schemas.responses import JobObject, ResultItem

GENERATION_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "model": list[ResultItem] | JobObject,
        "description": (
            "The results; with `async_process` the job object at once; with `Accept: image/png` "
            "the bytes of the picture. Warnings stand in the header `X-Fooocus-Warning`."
        ),
        "content": {"image/png": {"schema": {"type": "string", "format": "binary"}}},
    },
    400: {"description": "`image/png` only: the job was stopped.", "content": {"text/plain": {}}},
    409: {"description": "`image/png` only: the queue is full.", "content": {"text/plain": {}}},
    500: {"description": "`image/png` only: the job failed.", "content": {"text/plain": {}}},
    503: {"description": "A needed file is missing, or the server is stopping."},
}

TOOL_ANSWERS: dict[int | str, dict[str, Any]] = {
    429: {"description": "Too many tool calls wait."},
    503: {
        "description": "A needed file or library is missing, memory ran out, or the server is "
        "stopping."
    },
}
"""How every tool that uses the engine can fail, as the schema describes it."""
