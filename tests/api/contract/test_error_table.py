"""The table of status codes: one test per row that has no other test of its own."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.conftest import MakeClient
from tests.pictures import as_base64, encode, plain

URL, VARY = "/v1/generation/text-to-image", "/v2/generation/image-upscale-vary"
PROMPT = "/v1/generation/image-prompt"
SMALL: dict[str, Any] = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


def refusal(answer: Any, *place: str | int) -> dict[str, Any]:
    assert answer.status_code == 422, answer.text
    first: dict[str, Any] = answer.json()["detail"][0]
    assert list(first) == ["type", "loc", "msg", "input"]
    assert first["loc"][: len(place)] == [*place]
    return first


@pytest.mark.parametrize("body", [b"", b'{"prompt":', b"[]", b"7", b'{"prompt": "\xff"}'])
def test_row_no_object(client: TestClient, body: bytes) -> None:
    refusal(client.post(URL, content=body), "body")


@pytest.mark.parametrize(
    ("path", "field", "value", "allowed"),
    [
        (URL, "image_number", "many", "integer"),
        (URL, "sharpness", 31, "30"),
        (URL, "performance_selection", "Slow", "'Quality', 'Speed'"),
        (URL, "meta_scheme", "b", "'fooocus', 'a111' or 'a1111'"),
        (URL, "save_extension", "bmp", "'png', 'jpg', 'jpeg' or 'webp'"),
        (VARY, "uov_method", "Vary", "'Vary (Subtle)'"),
        ("/v2/generation/image-inpaint-outpaint", "outpaint_selections", ["Up"], "'Left', 'Right'"),
        ("/v1/tools/generate_mask", "mask_model", "x", "'u2net'"),
        ("/v1/tools/describe-image", "type", "x", "'Photo' or 'Anime'"),
    ],
)
def test_row_wrong_value(
    client: TestClient, path: str, field: str, value: object, allowed: str
) -> None:
    picture = as_base64(encode(plain(64, 64)))
    answer = client.post(path, json={"input_image": picture, "image": picture, field: value})
    assert allowed in refusal(answer, "body", field)["msg"]


@pytest.mark.parametrize("size", ["square", "63*64", "64*4097"])
def test_row_size(client: TestClient, size: str) -> None:
    first = refusal(
        client.post(URL, json={"aspect_ratios_selection": size}), "body", "aspect_ratios_selection"
    )
    assert "64 to 4096" in first["msg"]


@pytest.mark.parametrize("field", ["loras", "advanced_params"])
def test_row_text_of_loras_or_advanced_params(client: TestClient, field: str) -> None:
    refusal(client.post(PROMPT, data={field: "[{"}), "body", field)


def test_row_required_image_missing(client: TestClient) -> None:
    refusal(client.post(VARY, json=SMALL), "body", "input_image")
    refusal(client.post("/v1/tools/generate_mask", json={}), "body", "image")


@pytest.mark.parametrize(
    "image", ["@@", as_base64(b"no picture"), "http://127.0.0.1:9/x.png", "ftp://x/y.png"]
)
def test_row_image_that_cannot_be_used(client: TestClient, image: str) -> None:
    assert refusal(client.post(VARY, json={**SMALL, "input_image": image}), "body", "input_image")[
        "msg"
    ]


def test_row_picture_of_too_many_pixels(client: TestClient) -> None:
    image = as_base64(encode(plain(9500, 9500, 0, "1")))
    first = refusal(client.post(VARY, json={**SMALL, "input_image": image}), "body", "input_image")
    assert "pixels" in first["msg"]


def test_row_too_large(make_client: MakeClient) -> None:
    answer = make_client(max_body_bytes=1000).post(URL, json={"prompt": "x" * 1000})
    assert (answer.status_code, list(answer.json())) == (413, ["detail"])


def test_row_unknown_name(client: TestClient) -> None:
    advanced = {
        "sampler_name": "s1",
        "scheduler_name": "s2",
        "vae_name": "v",
        "inpaint_engine": "v9",
    }
    names = {"base_model_name": "b", "refiner_model_name": "r", "loras": [{"model_name": "l"}]}
    body = {**SMALL, "style_selections": ["st"], **names, "advanced_params": advanced}
    answer = client.post(URL, json=body)
    assert answer.status_code == 200
    for name in ("b", "r", "l", "st", *advanced.values()):
        assert f"'{name}'" in answer.headers["X-Fooocus-Warning"]


@pytest.mark.parametrize("headers", [{}, {"X-API-KEY": "wrong"}], ids=["missing", "wrong"])
@pytest.mark.parametrize("path", ["/", "/ping", "/v1/generation/job-queue"])
def test_row_key(make_client: MakeClient, path: str, headers: dict[str, str]) -> None:
    answer = make_client(apikey="the right key").get(path, headers=headers)
    assert (answer.status_code, answer.json()) == (403, {"detail": "Forbidden"})


def test_row_unknown_path_or_method(client: TestClient) -> None:
    missing, wrong = client.get("/v1/nothing"), client.get(URL)
    assert (missing.status_code, missing.json()) == (404, {"detail": "Not Found"})
    assert (wrong.status_code, wrong.json()) == (405, {"detail": "Method Not Allowed"})


def test_row_unknown_job(client: TestClient) -> None:
    answer = client.get("/v1/generation/query-job", params={"job_id": "nobody"})
    assert answer.status_code == 404
    assert answer.json() == {
        "job_id": "",
        "job_type": "Not Found",
        "job_stage": "ERROR",
        "job_progress": 0,
        "job_status": "Job not found",
        "job_step_preview": None,
        "job_result": None,
    }


@pytest.mark.parametrize("path", ["2024-01-31/gone.png", "%2e%2e/database.db", "x/a.png"])
def test_row_missing_file(client: TestClient, path: str) -> None:
    answer = client.get(f"/files/{path}")
    assert (answer.status_code, answer.json()) == (404, {"detail": "Not Found"})


def test_row_missing_model(client: TestClient) -> None:
    picture = as_base64(encode(plain(64, 64)))
    tool = client.post("/v1/tools/describe-image", json={"image": picture})
    made = client.post(URL, json={**SMALL, "performance_selection": "Lightning"})
    for answer, name in ((tool, "caption"), (made, "sdxl_lightning_4step_lora.safetensors")):
        assert (answer.status_code, list(answer.json())) == (503, ["detail"])
        detail = answer.json()["detail"]
        assert name in detail
        assert "put it into /" in detail
        assert "curl --location" in detail
