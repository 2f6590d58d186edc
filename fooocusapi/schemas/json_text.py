"""Strict reading of JSON: what it does not define is an error, whoever sent it."""

from __future__ import annotations

import json
from typing import Any

_MAX_DIGITS = 400


def read_json(text: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: It is not valid JSON, or a key stands twice in one object.
        RecursionError: Values are nested without end.
    """
    return json.loads(
        text,
        parse_constant=_refuse_constant,
        parse_int=_whole_number,
        object_pairs_hook=_object,
    )


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number of JSON")


def _whole_number(text: str) -> int | float:
    # Python refuses to read some thousand digits; what fields allow ends far below either way.
    return int(text) if len(text) <= _MAX_DIGITS else float(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one object")
    return found
