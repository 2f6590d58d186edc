"""Form fields -> the JSON shape that the request models validate, and back to their names.

Pure functions; uploads stay in the result as they are. Knows no ranges and no defaults.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.schemas.json_text import read_json
from fooocusapi.schemas.parameters import EnhanceRegion, ImagePrompt
from fooocusapi.schemas.pictures import Location
from fooocusapi.schemas.vocabulary import PLACEHOLDERS

# Fields for which the empty text is itself the value.
_EMPTY_IS_VALUE = frozenset(
    {"prompt", "negative_prompt", "inpaint_additional_prompt", "save_name", "webhook_url"}
)
_JSON_FIELDS = frozenset({"loras", "advanced_params"})
# Fields that may hold a picture as text; each may be as long as 64 MiB are in base64.
_IMAGE_FIELDS = frozenset({"image", "input_image", "input_mask", "enhance_input_image"})
_IMAGE_SLOT = "cn_img"
MAX_IMAGE_TEXT = 90 * 1024 * 1024
# Fields that take one picture where clients are known to send many.
_SINGLE = frozenset({"image"})
NAME_LISTS = frozenset({"style_selections", "outpaint_selections", "webhook_events_filter"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """A list of objects whose fields a form has one by one, with the number of the object behind.

    Attributes:
        list_name: Of the list in JSON.
        fields: Of each object.
        count: How many a form offers.
        joint: Between field and number.
    """

    list_name: str
    fields: tuple[str, ...]
    count: int
    joint: str

    @property
    def form_names(self) -> tuple[str, ...]:
        """All fields that a form offers."""
        numbers = range(1, self.count + 1)
        return tuple(self.form_name(name, number) for number in numbers for name in self.fields)

    def form_name(self, name: str, number: int) -> str:
        """What a form calls a field of the object of that number, from 1."""
        return f"{name}{self.joint}{number}"

    def split(self, form_name: str) -> tuple[str, int] | None:
        """Field and number of a form's field; ``None`` if it is none of these."""
        match = re.fullmatch(rf"(.+?){self.joint}([1-9][0-9]?)", form_name)
        return (match[1], int(match[2])) if match and match[1] in self.fields else None


IMAGE_PROMPT_SLOTS = Slots(
    list_name="image_prompts", fields=tuple(ImagePrompt.model_fields), count=4, joint=""
)
ENHANCE_SLOTS = Slots(
    list_name="enhance_ctrlnets", fields=tuple(EnhanceRegion.model_fields), count=3, joint="_"
)
ALL_SLOTS = (IMAGE_PROMPT_SLOTS, ENHANCE_SLOTS)


def form_to_json(fields: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Gather form fields into one JSON-shaped object.

    Args:
        fields: (name, value) in the order sent; a value is a text or an upload. Of repeated
            fields the last one that is not empty counts, save for lists of names, which join.

    Returns:
        The object; fields that are empty and do not mean the empty text are absent. What is
        numbered stands in lists at the places of its numbers, with nothing between.

    Raises:
        InvalidFieldError: A field that holds JSON text cannot be parsed, or ``image`` holds several
            pictures.
    """
    result: dict[str, Any] = {}
    for name, value in fields:
        # Old examples send the list, mangled by its encoding, beside the numbered fields.
        if any(name == slots.list_name or slots.split(name) for slots in ALL_SLOTS):
            continue
        if name in NAME_LISTS:
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
    return {**result, **dict(_gather_lists(fields))}


def may_hold_picture(name: str) -> bool:
    """Whether the text of a form field may be as long as a picture is."""
    slot = IMAGE_PROMPT_SLOTS.split(name)
    return name in _IMAGE_FIELDS or (slot is not None and slot[0] == _IMAGE_SLOT)


def location_in_form(location: Location) -> Location:
    """Where a value stands in a form, by its place in the JSON shape."""
    for slots in ALL_SLOTS:
        if location[:1] == (slots.list_name,) and len(location) > 2:
            _, index, name, *rest = location
            return (slots.form_name(str(name), int(index) + 1), *rest)
    return location


def _gather_lists(fields: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Name and objects of each list of which a form has something."""
    for slots in ALL_SLOTS:
        objects: dict[int, dict[str, Any]] = {}
        for form_name, value in fields:
            slot = slots.split(form_name)
            if slot is not None and value != "":
                name, number = slot
                one = objects.setdefault(number, {})
                if not _is_empty(value) or name not in one:
                    one[name] = value
        if objects:
            yield slots.list_name, [objects.get(at, {}) for at in range(1, max(objects) + 1)]


def _is_empty(value: Any) -> bool:
    """Whether it is a text or a file without content; browsers send those not chosen like that."""
    return value == "" or getattr(value, "size", None) == 0


def _names(value: Any) -> list[Any]:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            names = read_json(value)
        except (ValueError, RecursionError):
            return [value]
        return names if isinstance(names, list) else [value]
    return [value]


def _json_value(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        raise InvalidFieldError((name,), "a text holding JSON is wanted, not a file")
    try:
        return read_json(value)
    except (ValueError, RecursionError) as error:
        raise InvalidFieldError((name,), f"this is not valid JSON: {error}", value) from error
