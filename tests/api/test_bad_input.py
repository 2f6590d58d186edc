"""Values that are refused: 422, naming the field and what is allowed."""

from __future__ import annotations

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


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("image_number", "3"),
        ("image_number", 2.0),
        ("image_seed", "9007199254740993"),
        ("guidance_scale", "4"),
        ("guidance_scale", 4),
        ("save_meta", "Y"),
        ("save_meta", "off"),
        ("save_meta", 1),
        ("save_extension", "PNG"),
        ("aspect_ratios_selection", "128×64 <span>∣ 2:1</span>"),
        ("aspect_ratios_selection", "64x64*3"),
        ("webhook_url", "string"),
    ],
)
def test_lax_spellings_are_accepted(client: TestClient, field: str, value: object) -> None:
    assert client.post(URL, json={**SMALL, field: value}).status_code == 200


@pytest.mark.parametrize("seed", [-1, -2, 2**63, 2**64, None, ""])
def test_seeds_outside_the_range_are_random(
    client: TestClient, engine: FakeEngine, seed: object
) -> None:
    assert client.post(URL, json={**SMALL, "image_seed": seed}).status_code == 200
    assert 0 <= engine.asked[0].canvas.seed < 2**63
