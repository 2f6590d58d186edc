"""Every endpoint makes what it is asked for: seen by the pixels, with the embedded model.

First versions are asked with forms, second ones with JSON, as their callers do.
"""

from __future__ import annotations

import base64
import io
import random
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.pictures import as_base64, encode
from tools.figures import SHAPES
from tools.picture_checks import SeenThing, border_colour, things_on
from tools.sheet import COLOURS, Sheet

SIZE = (1152, 896)
USUAL = {
    "performance_selection": "Lightning",
    "aspect_ratios_selection": "{}*{}".format(*SIZE),
    "image_seed": 7,
}
MIDDLE = (0.5, 0.5)
LEAST_CHANGE = 3.0  # of 255: more than encoding and decoding change


def drawn(shape: str, colour: str, background: str, place: tuple[float, float]) -> Image.Image:
    """A drawing of one shape."""
    sheet = Sheet(Image.new("RGB", SIZE), random.Random(1))
    sheet.fill(background)
    pen, paint = sheet.place(shape, colour, (*place, 0.25))
    SHAPES[shape](pen, paint, sheet.behind)
    return sheet.image


def text_of(picture: Image.Image) -> str:
    """A PNG file as base64."""
    return as_base64(encode(picture))


class Asker:
    """Asks a server for one picture."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def form(self, path: str, pictures: dict[str, Image.Image], **fields: Any) -> Image.Image:
        """Ask the first version."""
        files = {name: (f"{name}.png", encode(picture)) for name, picture in pictures.items()}
        data = {**USUAL, **fields}
        return self._picture(f"/v1/generation/{path}", data=data, files=files or None)

    def json(self, path: str, **fields: Any) -> Image.Image:
        """Ask the second version."""
        return self._picture(f"/v2/generation/{path}", json={**USUAL, **fields})

    def _picture(self, path: str, **content: Any) -> Image.Image:
        answer = self._client.post(path, headers={"accept": "image/png"}, **content)
        assert answer.status_code == 200, answer.text
        assert "X-Fooocus-Warning" not in answer.headers
        assert "X-Fooocus-Error" not in answer.headers
        return Image.open(io.BytesIO(answer.content)).convert("RGB")


@pytest.fixture
def ask(server: httpx.Client) -> Asker:
    return Asker(server)


def apart(one: Image.Image, other: Image.Image) -> float:
    """Mean difference, 0 to 255 per channel."""
    return float(np.abs(np.asarray(one).astype(int) - np.asarray(other)).mean())


def only_thing(picture: Image.Image) -> SeenThing:
    """The one thing that stands out."""
    things = things_on(picture)
    assert len(things) == 1, things
    return things[0]


def assert_shows(
    picture: Image.Image, what: str, *, at: tuple[float, float] | None = None, within: float = 0.05
) -> None:
    """One thing stands out: "red circle on blue", with its middle at a place."""
    seen = only_thing(picture)
    assert f"{seen.colour} {seen.kind} on {border_colour(picture)}" == what
    if at:
        assert np.allclose(seen.place, at, atol=within)


def test_a_red_circle_is_red_and_where_it_should_be(ask: Asker) -> None:
    picture = ask.form("text-to-image", {}, prompt="a red circle on the left on a blue background")
    assert_shows(picture, "red circle on blue", at=(0.25, 0.5), within=0.1)


def test_a_picture_says_what_is_behind_and_the_words_what_is_in_front(ask: Asker) -> None:
    guide = {"cn_img": text_of(drawn("star", "white", "green", MIDDLE)), "cn_type": "ImagePrompt"}
    picture = ask.json("text-to-image-with-ip", prompt="a red circle", image_prompts=[guide])
    assert_shows(picture, "red circle on green")


def test_an_image_prompt_gives_its_background(ask: Asker) -> None:
    guide = drawn("square", "yellow", "purple", MIDDLE)
    with_guide = ask.form("image-prompt", {"cn_img1": guide}, cn_type1="ImagePrompt")
    assert border_colour(with_guide) == "purple"


def test_edges_say_where_things_are(ask: Asker) -> None:
    edges = drawn("square", "black", "white", (0.72, 0.4))
    guide = {"cn_img": text_of(edges), "cn_type": "PyraCanny", "cn_stop": 0.9, "cn_weight": 1.0}
    prompt = "a green square on a white background"
    seen = only_thing(ask.json("image-prompt", prompt=prompt, image_prompts=[guide]))
    assert (seen.kind, seen.colour) == ("square", "green")
    assert np.allclose(seen.place, (0.72, 0.4), atol=0.05)


def test_a_variation_shows_the_same_in_another_way(ask: Asker) -> None:
    given = drawn("circle", "red", "blue", (0.3, 0.5))
    picture = ask.form(
        "image-upscale-vary",
        {"input_image": given},
        prompt="a red circle on a blue background",
        uov_method="Vary (Subtle)",
    )
    assert_shows(picture, "red circle on blue", at=(0.3, 0.5))
    assert apart(picture, given) > LEAST_CHANGE


def test_an_enlarged_picture_is_nearer_to_the_drawing_than_a_resampled_one(ask: Asker) -> None:
    whole = drawn("star", "red", "blue", MIDDLE)
    given = whole.resize((SIZE[0] // 2, SIZE[1] // 2), Image.Resampling.BOX)
    enlarged = ask.json(
        "image-upscale-vary", input_image=text_of(given), uov_method="Upscale (Fast 2x)"
    )
    resampled = given.resize(SIZE, Image.Resampling.BICUBIC)
    assert enlarged.size == SIZE
    assert apart(enlarged, whole) < apart(resampled, whole)


def test_a_hole_is_filled_with_what_is_asked(ask: Asker) -> None:
    given, mask = Image.new("RGB", SIZE, COLOURS["blue"]), Image.new("L", SIZE)
    mask.paste(255, (376, 248, 776, 648))
    picture = ask.form(
        "image-inpaint-outpaint",
        {"input_image": given, "input_mask": mask},
        prompt="a yellow star on a blue background",
    )
    seen = only_thing(picture)
    assert (seen.kind, seen.colour) == ("star", "yellow")
    assert np.allclose(seen.place, MIDDLE, atol=0.1)
    changed = (np.asarray(picture) != COLOURS["blue"]).any(-1)
    changed[248 - 32 : 648 + 32, 376 - 32 : 776 + 32] = False
    assert not changed.any()


def test_a_picture_goes_on_beyond_its_sides(ask: Asker) -> None:
    whole = drawn("circle", "red", "blue", (0.72, 0.5))
    given = whole.crop((0, 0, 830, SIZE[1]))
    picture = ask.json(
        "image-inpaint-outpaint",
        prompt="a red circle on a blue background",
        input_image=text_of(given),
        outpaint_selections=["Right"],
    )
    assert picture.size == (830 + 249, SIZE[1])
    seen = only_thing(picture)
    assert (seen.colour, border_colour(picture)) == ("red", "blue")
    # The circle is closed again, where without a model its rows would go on to the side.
    assert 0.6 < seen.place[0] < 0.85
    assert (np.asarray(picture)[:, -60:, 0] < 128).all()


def test_a_picture_is_enhanced_into_one_like_it(ask: Asker) -> None:
    given = drawn("square", "yellow", "black", (0.3, 0.5))
    picture = ask.form(
        "image-enhance",
        {"enhance_input_image": given},
        prompt="a yellow square on a black background",
        enhance_uov_method="Vary (Subtle)",
    )
    assert_shows(picture, "yellow square on black", at=(0.3, 0.5))
    assert apart(picture, given) > LEAST_CHANGE


def test_what_stands_out_is_enhanced_into_what_is_asked(ask: Asker) -> None:
    region = {
        "enhance_enabled": True,
        "enhance_mask_model": "isnet-general-use",
        "enhance_prompt": "a yellow circle on a blue background",
    }
    picture = ask.json(
        "image-enhance",
        prompt="",
        enhance_input_image=text_of(drawn("circle", "red", "blue", (0.6, 0.5))),
        enhance_uov_method="Disabled",
        enhance_ctrlnets=[region],
    )
    seen = only_thing(picture)
    assert (seen.colour, border_colour(picture)) == ("yellow", "blue")
    assert np.allclose(seen.place, (0.6, 0.5), atol=0.05)


def test_a_description_names_colour_and_shape_of_what_is_drawn(server: httpx.Client) -> None:
    files = {"image": encode(drawn("square", "red", "blue", (0.4, 0.45)))}
    answer = server.post("/v1/tools/describe-image", files=files)
    text = answer.raise_for_status().json()["describe"]
    assert "red square" in text
    assert "blue background" in text


@pytest.mark.parametrize("model", ["isnet-general-use", "u2netp"])
def test_a_mask_covers_what_is_drawn(server: httpx.Client, model: str) -> None:
    picture = drawn("square", "red", "blue", (0.4, 0.45))
    files = {"image": encode(picture)}
    answer = server.post("/v1/tools/generate_mask", files=files, data={"mask_model": model})
    file = io.BytesIO(base64.b64decode(answer.raise_for_status().json()))
    found = np.asarray(Image.open(file).convert("L")) > 127
    red = np.asarray(picture)[..., 0] > 127
    assert (found & red).sum() / (found | red).sum() > 0.85
