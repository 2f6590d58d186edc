"""Values that are refused: 422, naming the field and what is allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.fakes import FakeEngine

URL = "/v1/generation/text-to-image"
SMALL = {"aspect_ratios_selection": "128*64", "style_selections": [], "loras": []}


def refuse(client: TestClient, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(URL, json=body)
    assert answer.status_code == 422, answer.text
    first: dict[str, Any] = answer.json()["detail"][0]
    return first


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("image_number", 0, "1"),
        ("image_number", -1, "1"),
        ("image_number", 33, "32"),
        ("image_number", 1.5, "integer"),
        ("image_number", True, "not a boolean"),
        ("image_number", 1e9, "32"),
        ("image_seed", 1.5, "integer"),
        ("image_seed", "abc", "integer"),
        ("sharpness", 30.1, "30"),
        ("sharpness", "nan", "finite"),
        ("guidance_scale", 0, "1"),
        ("guidance_scale", 31, "30"),
        ("refiner_switch", 0.05, "0.1"),
        ("performance_selection", "speed", "'Speed', 'Extreme Speed', 'Lightning' or 'Hyper-SD'"),
        ("meta_scheme", "other", "'fooocus', 'a111' or 'a1111'"),
        ("save_extension", "exe", "'png', 'jpg', 'jpeg' or 'webp'"),
        ("save_extension", "../png", "'png'"),
        ("prompt", 5, "string"),
        ("style_selections", 5, "list"),
        ("style_selections", [5], "string"),
        ("require_base64", "perhaps", "boolean"),
        ("loras", "no list", "list"),
        ("base_model_name", "x" * 5000, "all-models"),
    ],
)
def test_value_is_refused_naming_the_field_and_what_is_allowed(
    client: TestClient, field: str, value: object, allowed: str
) -> None:
    first = refuse(client, {field: value})
    assert first["loc"][:2] == ["body", field]
    assert allowed in first["msg"]


@pytest.mark.parametrize(
    "value",
    [
        "0*0",
        "-1*5",
        "1x",
        "99999*99999",
        "１０２４×１０２４",
        "9" * 10_000,
        "",
        "63*512",
        "512*4097",
    ],
)
def test_sizes_are_refused(client: TestClient, value: str) -> None:
    first = refuse(client, {"aspect_ratios_selection": value})
    assert first["loc"] == ["body", "aspect_ratios_selection"]
    assert "64 to 4096" in first["msg"]
    assert len(first["input"]) < 250


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("overwrite_step", 201),
        ("overwrite_switch", 201),
        ("overwrite_switch", -2),
        ("overwrite_width", 2049),
        ("overwrite_height", 7),
        ("canny_low_threshold", 0),
        ("canny_high_threshold", 256),
        ("adm_scaler_positive", 0.05),
        ("adm_scaler_end", 1.1),
        ("adaptive_cfg", 0.5),
        ("clip_skip", 13),
        ("controlnet_softness", 2),
        ("freeu_b1", "inf"),
        ("inpaint_erode_or_dilate", 65),
        ("disable_preview", "maybe"),
    ],
)
def test_advanced_values_are_refused(client: TestClient, field: str, value: object) -> None:
    first = refuse(client, {"advanced_params": {field: value}})
    assert first["loc"] == ["body", "advanced_params", field]


@pytest.mark.parametrize("weight", [2.1, -2.1, 1e6, "heavy"])
def test_lora_weights_are_refused(client: TestClient, weight: object) -> None:
    first = refuse(client, {"loras": [{"model_name": "a"}, {"model_name": "b", "weight": weight}]})
    assert first["loc"] == ["body", "loras", 1, "weight"]


@pytest.mark.parametrize("field", ["base_model_name", "refiner_model_name"])
@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "/etc/passwd", "a\\..\\b", "C:\\x", "\\\\host\\share\\x", "a\0b"]
)
def test_names_that_are_paths_are_refused(client: TestClient, field: str, name: str) -> None:
    first = refuse(client, {field: name})
    assert first["loc"] == ["body", field]
    assert "all-models" in first["msg"]


def test_every_refused_field_is_told(client: TestClient) -> None:
    answer = client.post(URL, json={"image_number": 0, "sharpness": 31})
    assert [error["loc"][1] for error in answer.json()["detail"]] == ["image_number", "sharpness"]


def test_long_inputs_are_not_echoed(client: TestClient) -> None:
    first = refuse(client, {"advanced_params": "x" * 100_000})
    assert len(str(first)) < 1000


@pytest.mark.parametrize(
    ("path", "method", "status", "text"),
    [
        ("/v1/nothing", "GET", 404, "Not Found"),
        ("/v1/generation/text-to-image/", "POST", 404, "Not Found"),
        (URL, "GET", 405, "Method Not Allowed"),
        ("/ping", "POST", 405, "Method Not Allowed"),
    ],
)
def test_unknown_paths_and_methods(
    client: TestClient, path: str, method: str, status: int, text: str
) -> None:
    answer = client.request(method, path)
    assert (answer.status_code, answer.json()) == (status, {"detail": text})


@pytest.mark.parametrize("field", ["prompt", "negative_prompt"])
def test_prompts_beyond_the_limit_are_refused(client: TestClient, field: str) -> None:
    assert client.post(URL, json={**SMALL, field: "x" * 100_000}).status_code == 200
    first = refuse(client, {field: "x" * 100_001})
    assert first["loc"] == ["body", field]
    assert "100000 characters" in first["msg"]


def test_more_styles_than_there_can_be_are_refused(client: TestClient) -> None:
    assert client.post(URL, json={**SMALL, "style_selections": ["x"] * 300}).status_code == 200
    first = refuse(client, {"style_selections": ",".join(["x"] * 301)})
    assert first["loc"] == ["body", "style_selections"]
    assert "300" in first["msg"]


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
    client: TestClient, engine: FakeEngine, field: str, value: object, effect: object
) -> None:
    answer = client.post(URL, json={**SMALL, field: value})
    assert answer.status_code == 200, answer.text
    assert sent(engine, answer)[field] == effect


BEYOND = ["-1", "-2", '"-5"', str(2**63), str(2**64), "1e19", "1e400", "-1e30", "9" * 5000]


@pytest.mark.parametrize(
    "seed",
    [*BEYOND, '"1e19"', f'"{2**63}"', f'"{"9" * 5000}"', "null", '""', '" "'],
    ids=lambda text: text[:20],
)
def test_seeds_outside_the_range_are_random(
    client: TestClient, engine: FakeEngine, seed: str
) -> None:
    body = f'{{"image_seed": {seed}, {json.dumps(SMALL)[1:]}'
    for _ in range(2):
        answer = client.post(URL, content=body)
        assert answer.status_code == 200, answer.text
    first, second = (asked.canvas.seed for asked in engine.asked)
    assert first != second
    assert 0 <= min(first, second) <= max(first, second) < 2**63


@pytest.mark.parametrize("seed", ['"nan"', '"inf"', '"1.5"', '"0x10"', "true", "[1]"])
def test_seeds_that_are_no_whole_number_are_refused(client: TestClient, seed: str) -> None:
    answer = client.post(URL, content=f'{{"image_seed": {seed}}}')
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "image_seed"]
