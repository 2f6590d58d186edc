"""Bodies of the answers that refuse a request or tell of a failure, as the schema shows them.

What fills them lies in ``errors.py`` and ``problems.py``.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field


class Refusal(BaseModel):
    """Why a request was not carried out."""

    detail: str


class CodedRefusal(Refusal):
    """Why a request was not carried out, with a word for programs."""

    code: str


class EntryNotFound(BaseModel):
    """There is nothing of that id in the history."""

    message: str
    detail: str


class FieldComplaint(BaseModel):
    """What is wrong with one value of a request."""

    type: str = Field(description="The kind of complaint, for programs.")
    loc: list[str | int] = Field(
        description="Where the value stands: `body`, `query` or `path`, then its path."
    )
    msg: str = Field(description="What is wrong and what is allowed.")
    input: Any = Field(description="The refused value; long ones are cut.")


class InvalidRequest(BaseModel):
    """Everything that is wrong with a request."""

    detail: list[FieldComplaint]


class ProblemDetails(BaseModel):
    """Why a request was not carried out (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    instance: str = Field(description="The path that was asked.")
    code: str = Field(description="A word for programs.")
    request_id: str = Field(description="As in the header `X-Request-ID`.")
    errors: list[FieldComplaint] | None = Field(
        default=None, description="Only with the code `invalid_request`."
    )
