"""B09 to B16: numbers and sizes out of range are refused, naming the field and what is allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.bad_input.conftest import Prober
from tests.fakes import FakeEngine
from tests.pictures import as_base64, encode, plain
from tests.refusals import refused

URL = "/v1/generation/text-to-image"
VARY = "/v2/generation/image-upscale-vary"
INPAINT = "/v2/generation/image-inpaint-outpaint"
SMALL = {"aspect_ratios_selection": "128*64", "style_selections": [], "loras": []}
PICTURE = as_base64(encode(plain(64, 64)))
FLOATS = ("sharpness", "guidance_scale", "refiner_switch")
ADVANCED_FLOATS = (
    "adm_scaler_positive",
    "adm_scaler_negative",
    "adm_scaler_end",
    "adaptive_cfg",
    "overwrite_switch",
    "overwrite_vary_strength",
    "overwrite_upscale_strength",
    "controlnet_softness",
    "freeu_b1",
    "freeu_b2",
    "freeu_s1",
    "freeu_s2",
    "inpaint_strength",
    "inpaint_respective_field",
)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (0, "1"),
        (-1, "1"),
        (33, "32"),
        (1.5, "integer"),
        (True, "not a boolean"),
        (1e9, "32"),
        ("three", "integer"),
        ([1], "integer"),
    ],
    ids=str,
)
def test_b09_image_number(client: Prober, value: object, says: str) -> None:
    refused(client.post(URL, json={"image_number": value}), "image_number", says=says)
    if not isinstance(value, bool | list):
        refused(client.post(URL, data={"image_number": str(value)}), "image_number")


BEYOND = ["-1", "-2", '"-5"', str(2**63), str(2**64), "1e19", "1e400", "-1e30", "9" * 5000]


@pytest.mark.parametrize(
    "seed",
    [*BEYOND, '"1e19"', f'"{2**63}"', f'"{"9" * 5000}"', "null", '""', '" "'],
    ids=lambda text: text[:20],
)
def test_b10_seeds_outside_the_range_are_random(
    client: Prober, engine: FakeEngine, seed: str
) -> None:
    body = f'{{"image_seed": {seed}, {json.dumps(SMALL)[1:]}'
    for _ in range(2):
        answer = client.post(URL, content=body)
        assert answer.status_code == 200, answer.text
    first, second = (asked.canvas.seed for asked in engine.asked[-2:])
    assert first != second
    assert 0 <= min(first, second) <= max(first, second) < 2**63


@pytest.mark.parametrize(
    "seed", ['"nan"', '"inf"', "1.5", '"1.5"', '"abc"', '"0x10"', "true", "[1]", "{}"]
)
def test_b10_seeds_that_are_no_whole_number(client: Prober, seed: str) -> None:
    refused(client.post(URL, content=f'{{"image_seed": {seed}}}'), "image_seed")


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
def test_b11_what_is_no_number_of_json(client: Prober, value: str) -> None:
    refused(client.post(URL, content=f'{{"sharpness": {value}}}'), says=f"{value} is not a number")


@pytest.mark.parametrize("value", ["1e400", "-1e400", '"nan"', '"inf"', '"-Infinity"', '"1e999"'])
@pytest.mark.parametrize("field", [*FLOATS, *ADVANCED_FLOATS])
def test_b11_numbers_that_are_not_finite(client: Prober, field: str, value: str) -> None:
    body, place = f'{{"{field}": {value}}}', [field]
    if field in ADVANCED_FLOATS:
        body, place = f'{{"advanced_params": {body}}}', ["advanced_params", field]
    refused(client.post(URL, content=body), *place)


@pytest.mark.parametrize("value", ["1e400", '"nan"', '"inf"'])
def test_b11_numbers_of_pictures_and_loras(client: Prober, value: str) -> None:
    lora = f'{{"loras": [{{"model_name": "a", "weight": {value}}}]}}'
    refused(client.post(URL, content=lora), "loras", 0, "weight")
    for field in ("cn_stop", "cn_weight"):
        prompts = f'{{"image_prompts": [{{"cn_img": "{PICTURE}", "{field}": {value}}}]}}'
        answer = client.post("/v2/generation/image-prompt", content=prompts)
        refused(answer, "image_prompts", 0, field)
    answer = client.post(VARY, content=f'{{"input_image": "{PICTURE}", "upscale_value": {value}}}')
    refused(answer, "upscale_value")


@pytest.mark.parametrize(
    ("field", "value", "says"),
    [
        ("sharpness", 30.1, "30"),
        ("sharpness", -0.1, "0"),
        ("guidance_scale", 0, "1"),
        ("guidance_scale", 31, "30"),
        ("refiner_switch", 0.05, "0.1"),
        ("refiner_switch", 1.1, "1"),
    ],
)
def test_b12_numbers_out_of_range(client: Prober, field: str, value: float, says: str) -> None:
    refused(client.post(URL, json={field: value}), field, says=says)
    refused(client.post(URL, data={field: str(value)}), field, says=says)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("overwrite_step", 201),
        ("overwrite_switch", 201),
        ("overwrite_switch", -2),
        ("canny_low_threshold", 0),
        ("canny_high_threshold", 256),
        ("adm_scaler_positive", 0.05),
        ("adm_scaler_end", 1.1),
        ("adaptive_cfg", 0.5),
        ("clip_skip", 13),
        ("controlnet_softness", 2),
        ("inpaint_erode_or_dilate", 65),
        ("disable_preview", "maybe"),
    ],
)
def test_b12_advanced_numbers_out_of_range(client: Prober, field: str, value: object) -> None:
    refused(client.post(URL, json={"advanced_params": {field: value}}), "advanced_params", field)
    as_text = json.dumps({field: value})
    refused(client.post(URL, data={"advanced_params": as_text}), "advanced_params", field)


@pytest.mark.parametrize(("field", "value"), [("cn_stop", 2), ("cn_weight", -1), ("cn_weight", 3)])
def test_b12_stop_and_weight_out_of_range(client: Prober, field: str, value: float) -> None:
    prompt = {"cn_img": PICTURE, field: value}
    answer = client.post("/v2/generation/image-prompt", json={"image_prompts": [prompt]})
    refused(answer, "image_prompts", 0, field)
    form = {"cn_img2": PICTURE, f"{field}2": str(value)}
    refused(client.post("/v1/generation/image-prompt", data=form), f"{field}2")


@pytest.mark.parametrize(
    "value",
    [
        "0*0",
        "-1*5",
        "1x",
        "99999*99999",
        "１０２４×１０２４",
        "9" * 10_000,
        "9" * 5000 + "*64",
        "",
        "63*512",
        "512*4097",
        "1152,896",
    ],
    ids=lambda value: f"{value[:12]!a}",
)
def test_b13_sizes(client: Prober, value: str) -> None:
    answer = client.post(URL, json={"aspect_ratios_selection": value})
    first = refused(answer, "aspect_ratios_selection", says="64 to 4096")
    assert len(first["input"]) < 250


@pytest.mark.parametrize(("field", "value"), [("overwrite_width", 2049), ("overwrite_height", 7)])
def test_b14_forced_sides(client: Prober, field: str, value: int) -> None:
    answer = client.post(URL, json={"advanced_params": {field: value}})
    refused(answer, "advanced_params", field, says="2048")


def test_b15_distances_and_sides(client: Prober, engine: FakeEngine) -> None:
    def post(**fields: Any) -> Any:
        body = {**SMALL, "input_image": PICTURE, "outpaint_selections": "Left", **fields}
        return client.post(INPAINT, json=body)

    assert post(outpaint_distance_left=-5).status_code == 200
    usual = engine.asked[-1].inpaint
    assert post().status_code == 200
    assert usual is not None
    assert usual.extend == getattr(engine.asked[-1].inpaint, "extend", None)
    refused(post(outpaint_distance_left=100_000), "outpaint_distance_left", says="4096")
    assert post(outpaint_selections="Left,Left").status_code == 200
    assert engine.asked[-1].inpaint.extend == usual.extend
    refused(post(outpaint_selections="Left,Up"), "outpaint_selections", says="Bottom")


def test_b16_results_beyond_the_pixel_limit(client: Prober) -> None:
    large = as_base64(encode(plain(4800, 4800, 0, "1")))
    answer = client.post(VARY, json={"input_image": large, "uov_method": "Upscale (2x)"})
    refused(answer, "input_image", says="pixels")


def sent(engine: FakeEngine, answer: Any) -> dict[str, Any]:
    """What came of a request, by the names of the fields that decided it."""
    asked, items = engine.asked[-1], answer.json()
    return {
        "image_number": len(items),
        "image_seed": items[0]["seed"],
        "guidance_scale": asked.guidance.scale,
        "save_meta": asked.output.metadata,
        "save_extension": items[0]["url"].rpartition(".")[2],
        "aspect_ratios_selection": tuple(asked.canvas.size),
        "webhook_url": answer.headers.get("X-Fooocus-Warning"),
    }


@pytest.mark.parametrize(
    ("field", "value", "effect"),
    [
        ("image_number", "3", 3),
        ("image_number", 2.0, 2),
        ("image_seed", "9007199254740993", "9007199254740993"),
        ("image_seed", "9223372036854775807", "9223372036854775807"),
        ("image_seed", 5.0, "5"),
        ("guidance_scale", "4.5", 4.5),
        ("guidance_scale", 5, 5.0),
        ("save_meta", "Y", "fooocus"),
        ("save_meta", "off", None),
        ("save_meta", 1, "fooocus"),
        ("save_meta", 0, None),
        ("save_extension", "PNG", "png"),
        ("save_extension", " JPG", "jpg"),
        ("aspect_ratios_selection", "128×64 <span>∣ 2:1</span>", (128, 64)),
        ("aspect_ratios_selection", "64x64*3", (64, 64)),
        ("webhook_url", "string", None),
    ],
)
def test_lax_spellings_are_accepted(
    client: Prober, engine: FakeEngine, field: str, value: object, effect: object
) -> None:
    answer = client.post(URL, json={**SMALL, field: value})
    assert answer.status_code == 200, answer.text
    assert sent(engine, answer)[field] == effect


def test_every_refused_field_is_told(client: Prober) -> None:
    answer = client.post(URL, json={"image_number": 0, "sharpness": 31})
    assert [error["loc"][1] for error in answer.json()["detail"]] == ["image_number", "sharpness"]
