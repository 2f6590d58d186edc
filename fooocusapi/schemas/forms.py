"""Form fields -> the JSON shape that the request models validate, and back to their names.

Pure functions; uploads stay in the result as they are. Knows no ranges and no defaults.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.schemas.parameters import ImagePrompt
from fooocusapi.schemas.pictures import Location
from fooocusapi.schemas.vocabulary import PLACEHOLDERS

# Fields for which the empty text is itself the value.
_EMPTY_IS_VALUE = frozenset(
    {"prompt", "negative_prompt", "inpaint_additional_prompt", "save_name", "webhook_url"}
)
_JSON_FIELDS = frozenset({"loras", "advanced_params"})
# Fields that may hold a picture as text; each may be as long as 64 MiB are in base64.
_IMAGE_FIELDS = frozenset({"image", "input_image", "input_mask"})
_IMAGE_SLOT = "cn_img"
MAX_IMAGE_TEXT = 90 * 1024 * 1024
# Fields that take one picture where clients are known to send many.
_SINGLE = frozenset({"image"})
_NAME_LISTS = frozenset({"style_selections", "outpaint_selections"})
# A form has the fields of each image prompt with its number behind them.
SLOTTED = "image_prompts"
SLOTS = range(1, 5)
SLOT_FIELDS = tuple(f"{name}{slot}" for slot in SLOTS for name in ImagePrompt.model_fields)
_SLOT_FIELD = re.compile(rf"({'|'.join(ImagePrompt.model_fields)})([1-9][0-9]?)")


def form_to_json(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Gather form fields into one JSON-shaped object.

    Args:
        fields: (name, value) in the order sent; a value is a text or an upload. Of repeated
            fields the last one that is not empty counts, save for lists of names, which join.

    Returns:
        The object; fields that are empty and do not mean the empty text are absent. Image prompts
        stand at the places of their numbers, those between them without a picture.

    Raises:
        InvalidFieldError: A field that holds JSON text cannot be parsed, or ``image`` holds several
            pictures.
    """
    result: dict[str, Any] = {}
    for name, value in fields:
        # Old examples send the list, mangled by its encoding, beside the numbered fields.
        if name == SLOTTED or _SLOT_FIELD.fullmatch(name):
            continue
        if name in _NAME_LISTS:
            result.setdefault(name, []).extend(_names(value))
        elif name in _JSON_FIELDS:
            if value not in PLACEHOLDERS:
                result[name] = _json_value(name, value)
        elif name in _SINGLE and not _is_empty(value) and name in result:
            raise InvalidFieldError((name,), "one picture is wanted, several were sent")
        elif not _is_empty(value):
            result[name] = value
        elif name in _EMPTY_IS_VALUE or value != "":
            result.setdefault(name, value)
    prompts = _gather_slots(fields)
    return {**result, SLOTTED: prompts} if prompts else result


def may_hold_picture(name: str) -> bool:
    """Whether the text of a form field may be as long as a picture is."""
    slot = _SLOT_FIELD.fullmatch(name)
    return name in _IMAGE_FIELDS or (slot is not None and slot[1] == _IMAGE_SLOT)


def location_in_form(location: Location) -> Location:
    """Where a value stands in a form, by its place in the JSON shape."""
    if location[:1] == (SLOTTED,) and len(location) > 2:
        _, index, name, *rest = location
        return (f"{name}{int(index) + 1}", *rest)
    return location


def _gather_slots(fields: Iterable[tuple[str, Any]]) -> list[dict[str, Any]]:
    slots: dict[int, dict[str, Any]] = {}
    for name, value in fields:
        slot = _SLOT_FIELD.fullmatch(name)
        if slot is not None and value != "":
            fields_of_slot = slots.setdefault(int(slot[2]), {})
            if not _is_empty(value) or slot[1] not in fields_of_slot:
                fields_of_slot[slot[1]] = value
    return [slots.get(number, {}) for number in range(1, max(slots, default=0) + 1)]


def _is_empty(value: Any) -> bool:
    """Whether it is a text or a file without content; browsers send those not chosen like that."""
    return value == "" or getattr(value, "size", None) == 0


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
