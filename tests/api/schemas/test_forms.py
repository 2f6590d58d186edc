"""Form fields -> JSON shape."""

from __future__ import annotations

from typing import Any

import pytest

from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.schemas.forms import form_to_json


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ([], {}),
        ([("sharpness", ""), ("image_number", "")], {}),
        ([("prompt", ""), ("save_name", "")], {"prompt": "", "save_name": ""}),
        ([("sharpness", "1"), ("sharpness", "2"), ("sharpness", "")], {"sharpness": "2"}),
        ([("prompt", "a"), ("prompt", "")], {"prompt": "a"}),
        ([("style_selections", "")], {"style_selections": [""]}),
        ([("style_selections", "a,b")], {"style_selections": ["a,b"]}),
        (
            [("style_selections", "a"), ("style_selections", "b")],
            {"style_selections": ["a", "b"]},
        ),
        ([("style_selections", ' ["a", "b"]')], {"style_selections": ["a", "b"]}),
        ([("style_selections", "[a, b]")], {"style_selections": ["[a, b]"]}),
        ([("loras", ""), ("advanced_params", "None")], {}),
        ([("loras", "[]")], {"loras": []}),
        ([("advanced_params", '{"clip_skip": 1}')], {"advanced_params": {"clip_skip": 1}}),
    ],
)
def test_fields_become_json(fields: list[tuple[str, str]], expected: dict[str, Any]) -> None:
    assert form_to_json(fields) == expected


@pytest.mark.parametrize("value", ["{", "None,", "[" * 100_000, b"a file"])
def test_json_text_that_cannot_be_read_names_its_field(value: Any) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        form_to_json([("loras", value)])
    assert caught.value.location == ("loras",)


def test_many_pictures_for_one_are_refused() -> None:
    with pytest.raises(InvalidFieldError, match="several") as caught:
        form_to_json([("image", "a"), ("image", "b")])
    assert caught.value.location == ("image",)
    assert form_to_json([("image", ""), ("image", "b"), ("image", "")]) == {"image": "b"}
