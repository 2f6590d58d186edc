"""Form fields -> JSON shape."""

from __future__ import annotations

from typing import Any

import pytest

from fooocusapi.exceptions import InvalidFieldError
from fooocusapi.schemas.forms import form_to_json, location_in_form, may_hold_picture
from fooocusapi.schemas.pictures import Location


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
        ([("cn_img1", "x"), ("cn_stop1", "")], {"image_prompts": [{"cn_img": "x"}]}),
        (
            [("cn_type3", "CPDS"), ("cn_img1", "x"), ("cn_img3", "y"), ("cn_img3", "")],
            {"image_prompts": [{"cn_img": "x"}, {}, {"cn_type": "CPDS", "cn_img": "y"}]},
        ),
        ([("cn_img1", ""), ("cn_weight2", "")], {}),
        (
            [("enhance_enabled_2", "true"), ("enhance_prompt_2", ""), ("enhance_prompt_1", "a")],
            {"enhance_ctrlnets": [{"enhance_prompt": "a"}, {"enhance_enabled": "true"}]},
        ),
        (
            [("enhance_ctrlnets", "[]"), ("enhance_prompt_0", "a"), ("enhance_prompt1", "b")],
            {"enhance_prompt_0": "a", "enhance_prompt1": "b"},
        ),
        ([("image_prompts", "[object Object]"), ("prompt", "a")], {"prompt": "a"}),
        ([("cn_img0", "a"), ("cn_img", "b")], {"cn_img0": "a", "cn_img": "b"}),
    ],
)
def test_fields_become_json(fields: list[tuple[str, str]], expected: dict[str, Any]) -> None:
    assert form_to_json(fields) == expected


@pytest.mark.parametrize("value", ["{", "None,", "[" * 100_000, b"a file"])
def test_json_text_that_cannot_be_read_names_its_field(value: Any) -> None:
    with pytest.raises(InvalidFieldError) as caught:
        form_to_json([("loras", value)])
    assert caught.value.location == ("loras",)


@pytest.mark.parametrize(
    ("location", "named"),
    [
        (("image_prompts", 1, "cn_weight"), ("cn_weight2",)),
        (("image_prompts", 0, "cn_img"), ("cn_img1",)),
        (("image_prompts",), ("image_prompts",)),
        (("loras", 0, "weight"), ("loras", 0, "weight")),
        ((), ()),
    ],
)
def test_places_in_json_have_names_in_a_form(location: Location, named: Location) -> None:
    assert location_in_form(location) == named


@pytest.mark.parametrize(
    ("name", "is_long"),
    [("input_mask", True), ("cn_img2", True), ("cn_stop2", False), ("cn_img", False)],
)
def test_only_fields_of_pictures_may_hold_as_much(name: str, is_long: bool) -> None:
    assert may_hold_picture(name) is is_long


class Upload:
    """What stands in a form for a file."""

    def __init__(self, size: int) -> None:
        self.size = size


@pytest.mark.parametrize("name", ["input_image", "cn_img1"])
def test_a_file_that_was_not_chosen_replaces_none_that_was(name: str) -> None:
    upload, none = Upload(7), Upload(0)
    chosen = form_to_json([(name, upload)])
    assert form_to_json([(name, upload), (name, none)]) == chosen
    assert form_to_json([(name, none), (name, upload)]) == chosen
    assert form_to_json([(name, none)]) != {}


def test_many_pictures_for_one_are_refused() -> None:
    with pytest.raises(InvalidFieldError, match="several") as caught:
        form_to_json([("image", "a"), ("image", "b")])
    assert caught.value.location == ("image",)
    assert form_to_json([("image", ""), ("image", "b"), ("image", "")]) == {"image": "b"}
