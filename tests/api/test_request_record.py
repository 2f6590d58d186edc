"""A request as it is kept."""

from __future__ import annotations

import io
import json

import pytest
from starlette.datastructures import UploadFile

from fooocusapi.request_record import fingerprint, request_text
from fooocusapi.schemas.parameters import RequestModel
from fooocusapi.schemas.pictures import ImageValue
from fooocusapi.schemas.requests import InpaintOutpaintRequest, TextToImageRequest


def test_the_text_holds_every_field_and_nothing_unknown() -> None:
    request = TextToImageRequest.model_validate({"prompt": "a hat é", "unknown": object()})
    text = request_text(request)
    assert text.isascii()
    content = json.loads(text)
    assert content["prompt"] == "a hat é"
    assert set(content) == set(TextToImageRequest.model_fields)
    assert TextToImageRequest.model_validate(content).prompt == "a hat é"


def test_pictures_are_named_by_their_digest_only() -> None:
    picture = "iVBOR" * 1000
    request = InpaintOutpaintRequest.model_validate({"input_image": picture, "input_mask": "None"})
    content = json.loads(request_text(request))
    assert content["input_image"] == f"picture with sha256 {fingerprint(picture)}"
    assert content["input_mask"] is None
    assert request.input_image == picture


@pytest.mark.parametrize(
    "changes", [{"prompt": "b"}, {"input_image": "other"}, {"image_seed": 5}, {"loras": []}]
)
def test_two_requests_have_the_same_text_only_if_they_ask_for_the_same(
    changes: dict[str, object],
) -> None:
    values = {"input_image": "picture", "prompt": "a"}
    first = request_text(InpaintOutpaintRequest.model_validate(values))
    same = request_text(InpaintOutpaintRequest.model_validate(dict(reversed(values.items()))))
    other = request_text(InpaintOutpaintRequest.model_validate({**values, **changes}))
    assert first == same != other


def test_pictures_are_found_wherever_they_stand() -> None:
    class Guide(RequestModel):
        cn_img: ImageValue = None

    class Guided(TextToImageRequest):
        image_prompts: list[Guide]

    upload = UploadFile(io.BytesIO(b"content"))
    request = Guided(image_prompts=[Guide(cn_img=upload), Guide(cn_img="text"), Guide()])
    content = json.loads(request_text(request))
    assert [guide["cn_img"] for guide in content["image_prompts"]] == [
        f"picture with sha256 {fingerprint('content')}",
        f"picture with sha256 {fingerprint('text')}",
        None,
    ]
