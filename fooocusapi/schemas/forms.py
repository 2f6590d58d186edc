"""Form fields -> the JSON shape that the request models validate.

A pure function; uploads stay in the result as they are. Knows no ranges and no defaults.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.schemas.vocabulary import PLACEHOLDERS

# Fields for which the empty text is itself the value.
_EMPTY_IS_VALUE = frozenset(
    {"prompt", "negative_prompt", "inpaint_additional_prompt", "save_name", "webhook_url"}
)
_JSON_FIELDS = frozenset({"loras", "advanced_params"})
# Fields that may hold a picture as text; each may be as long as 64 MiB are in base64.
IMAGE_FIELDS = frozenset({"image", "input_image", "input_mask"})
MAX_IMAGE_TEXT = 90 * 1024 * 1024
# Fields that take one picture where clients are known to send many.
_SINGLE = frozenset({"image"})
_NAME_LISTS = frozenset({"style_selections", "outpaint_selections"})


def form_to_json(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Gather form fields into one JSON-shaped object.

    Args:
        fields: (name, value) in the order sent; a value is a text or an upload. Of repeated
            fields the last one that is not empty counts, save for lists of names, which join.

    Returns:
        The object; fields that are empty and do not mean the empty text are absent.

    Raises:
        InvalidFieldError: A field that holds JSON text cannot be parsed, or ``image`` holds several
            pictures.
    """
    result: dict[str, Any] = {}
    for name, value in fields:
        if name in _NAME_LISTS:
            result.setdefault(name, []).extend(_names(value))
        elif name in _JSON_FIELDS:
            if value not in PLACEHOLDERS:
                result[name] = _json_value(name, value)
        elif name in _SINGLE and value != "" and name in result:
            raise InvalidFieldError((name,), "one picture is wanted, several were sent")
        elif value != "" or (name in _EMPTY_IS_VALUE and name not in result):
            result[name] = value
    return result


def _names(value: Any) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            names = json.loads(value)
        except (ValueError, RecursionError):
            return [value]
        return names if isinstance(names, list) else [value]
    return [value]


def _json_value(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise InvalidFieldError((name,), "a text holding JSON is wanted, not a file")
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InvalidFieldError((name,), f"this is not valid JSON: {error}", value) from error
