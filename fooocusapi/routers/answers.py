"""What endpoints answer besides what they are there for, as the schema describes it.

Failures whose body is not described have the usual one, which ``openapi.py`` puts in.
"""

from __future__ import annotations

from typing import Any

from fooocusapi.schemas.descriptions import PROBLEM, reference
from fooocusapi.schemas.failures import CodedRefusal, InvalidRequest, ProblemDetails, Refusal
from fooocusapi.schemas.responses import JobObject, ResultItem

Answers = dict[int | str, dict[str, Any]]

_TEXT, _PNG = "text/plain", "image/png"
_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


def _headers(**descriptions: str) -> dict[str, Any]:
    """Response headers by their name with underscores; none of them is always there."""
    return {
        name.replace("_", "-"): {"description": text, "schema": {"type": "string"}}
        for name, text in descriptions.items()
    }


def _word(text: str) -> dict[str, Any]:
    """A plain text that is always the same."""
    return {_TEXT: {"schema": {"type": "string", "const": text}}}


WARNING_HEADERS = _headers(X_Fooocus_Warning="What was tolerated, joined by `; `.")
RETRY_HEADERS = _headers(Retry_After="Seconds after which to try again.")
_JOB_HEADERS = {
    **_headers(
        X_Fooocus_Job_Id="The job that was made; none if the queue was full.",
        X_Fooocus_Error="Why the job failed, in a line.",
        Idempotency_Replayed="`true`: the job of an earlier request with the same key.",
        Preference_Applied="What of `Prefer` was followed.",
    ),
    **WARNING_HEADERS,
}
_PLACE = _headers(Location="Where the job is told of.")
PLACE_HEADERS = {**_PLACE, **_headers(Preference_Applied="What of `Prefer` was followed.")}

ANY_ANSWERS: Answers = {500: {"description": "Something unforeseen."}}
"""Of every endpoint."""

_NOT_ADMITTED = "No key, or one that is not for this; or a page that may not call."
_TOO_MANY: Answers = {
    429: {
        "description": "More requests than `--rate-limit` allows.",
        "headers": RETRY_HEADERS,
    }
}

ADMISSION_ANSWERS: Answers = {
    403: {"description": _NOT_ADMITTED},
    **_TOO_MANY,
    **ANY_ANSWERS,
}
"""Of every endpoint that takes a key."""

STORE_ANSWERS: Answers = {
    503: {"description": "The job store cannot be used, or the server stops."}
}
"""Of endpoints that look into the job store."""

BODY_ANSWERS: Answers = {
    400: {"description": "The form cannot be read."},
    413: {"description": "The body, a picture or a text is larger than allowed."},
    415: {"description": "The body is packed (`Content-Encoding`)."},
    422: {"description": "The body cannot be read, or a value is wrong."},
}
"""Of endpoints that read a body."""

PROBLEM_ANSWERS: Answers = {
    403: {
        "description": _NOT_ADMITTED,
        # From which all its other failures are known to be told of like this.
        "content": {PROBLEM: {"schema": reference(ProblemDetails)}},
    },
    **_TOO_MANY,
    500: {"description": "Something unforeseen, or a file could not be removed."},
    503: {
        "description": "The job store cannot be used, or the server stops.",
        "headers": RETRY_HEADERS,
    },
}
"""Of every endpoint whose failures are problem details."""

GENERATION_ANSWERS: Answers = {
    **BODY_ANSWERS,
    200: {
        "model": list[ResultItem] | JobObject,
        "description": (
            "The results; with `async_process` the job object at once; with `Accept: image/png` "
            "the bytes of the first picture. A full queue is told of by the finish reason "
            "`QUEUE_IS_FULL`, a failed job by `ERROR`, a stopped one by `USER_CANCEL`."
        ),
        "content": {_PNG: _BYTES},
        "headers": _JOB_HEADERS,
    },
    202: {
        "model": JobObject,
        "description": "`Prefer: respond-async`, or the time of `Prefer: wait=…` is over.",
        "headers": {**_JOB_HEADERS, **_PLACE},
    },
    400: {
        "model": Refusal | CodedRefusal,
        "description": (
            "JSON: the form cannot be read, or, with a code, `Idempotency-Key` is malformed. Text, "
            "`Accept: image/png` only: the job was stopped."
        ),
        "content": _word("USER_CANCEL"),
        "headers": _JOB_HEADERS,
    },
    409: {
        "model": CodedRefusal,
        "description": (
            "JSON: the first request with this `Idempotency-Key` is still being accepted. Text, "
            "`Accept: image/png` only: the queue is full."
        ),
        "content": _word("QUEUE_IS_FULL"),
        "headers": RETRY_HEADERS,
    },
    422: {
        "model": InvalidRequest | CodedRefusal,
        "description": (
            "The body cannot be read or a value is wrong; or, with a code, `Idempotency-Key` was "
            "used with another body."
        ),
    },
    500: {
        "model": Refusal,
        "description": (
            "JSON: something unforeseen. Text, `Accept: image/png` only: the job failed."
        ),
        "content": _word("ERROR"),
        "headers": _JOB_HEADERS,
    },
    503: {
        "description": (
            "A needed file is missing, and it is said how to get it; or the job store cannot be "
            "used; or the server stops, and the job, if one was made, goes on when it runs again."
        ),
        "headers": _headers(X_Fooocus_Job_Id="The job that goes on."),
    },
}

ENGINE_ANSWERS: Answers = {
    429: {
        "description": "Too many calls wait for the engine, or more requests than allowed.",
        "headers": RETRY_HEADERS,
    },
    503: {
        "description": (
            "A needed file or library is missing, memory ran out, or the server stops."
        ),
    },
}
"""Of endpoints that ask something of the engine without making a job."""

TOOL_ANSWERS: Answers = {**BODY_ANSWERS, **ENGINE_ANSWERS}
"""Of tools that use the engine."""
