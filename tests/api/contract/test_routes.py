"""Every route of the checklist is served, those of generations in every encoding."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient

from tests.fakes import FakeEngine
from tests.pictures import as_base64, encode, plain

PICTURE = encode(plain(64, 64))
TEXT = as_base64(PICTURE)
SMALL: dict[str, Any] = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}
SMALL_FORM = {"aspect_ratios_selection": "64*64", "style_selections": "", "loras": "[]"}

# Route -> what the job is called, fields as JSON has them, and as a form has them beside its files.
GENERATIONS: dict[str, tuple[str, dict[str, Any], dict[str, str], tuple[str, ...]]] = {
    "/v1/generation/text-to-image": ("Text to Image", {}, {}, ()),
    "/v2/generation/text-to-image-with-ip": (
        "Text to Image",
        {"image_prompts": [{"cn_img": TEXT}]},
        {},
        ("cn_img1",),
    ),
    **{
        f"/{version}/generation/image-upscale-vary": (
            "Image Upscale or Variation",
            {"input_image": TEXT, "uov_method": "Vary (Subtle)"},
            {"uov_method": "Vary (Subtle)"},
            ("input_image",),
        )
        for version in ("v1", "v2")
    },
    **{
        f"/{version}/generation/{path}": (
            "Image Inpaint or Outpaint",
            {"input_image": TEXT, "outpaint_selections": ["Left"]},
            {"outpaint_selections": "Left"},
            ("input_image",),
        )
        for version in ("v1", "v2")
        for path in ("image-inpaint-outpaint", "image-inpait-outpaint")
    },
    **{
        f"/{version}/generation/image-prompt": (
            "Image Prompt",
            {"image_prompts": [{"cn_img": TEXT}]},
            {},
            ("cn_img1",),
        )
        for version in ("v1", "v2")
    },
    **{
        f"/{version}/generation/image-enhance": (
            "Image Enhancement",
            {"enhance_input_image": TEXT},
            {},
            ("enhance_input_image",),
        )
        for version in ("v1", "v2")
    },
}


def kind_of(client: TestClient, answer: Any) -> str:
    assert answer.status_code == 200, answer.text
    assert answer.json()[0]["finish_reason"] == "SUCCESS"
    job_id = answer.headers["X-Fooocus-Job-Id"]
    job = client.get("/v1/generation/query-job", params={"job_id": job_id}).json()
    return str(job["job_type"])


@pytest.mark.parametrize("route", GENERATIONS)
def test_decision_d17_every_generation_takes_json(
    client: TestClient, engine: FakeEngine, route: str
) -> None:
    kind, body, _, _ = GENERATIONS[route]
    answer = client.post(route, content=json.dumps({**SMALL, "prompt": "a fox", **body}))
    assert kind_of(client, answer) == kind
    assert engine.asked[-1].prompt.positive == "a fox"


@pytest.mark.parametrize("route", GENERATIONS)
def test_every_generation_takes_a_form(client: TestClient, engine: FakeEngine, route: str) -> None:
    kind, _, fields, names = GENERATIONS[route]
    files = [(name, ("a.png", PICTURE, "image/png")) for name in names]
    data = {**SMALL_FORM, "prompt": "a fox", **fields}
    assert kind_of(client, client.post(route, data=data, files=files or None)) == kind
    assert engine.asked[-1].prompt.positive == "a fox"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/generation/stop"),
        ("GET", "/v1/engines/all-models"),
        ("POST", "/v1/engines/refresh-models"),
        ("GET", "/v1/engines/styles"),
        ("GET", "/v1/engines/clean_vram"),
        ("POST", "/v1/engines/clean_vram"),
        ("GET", "/v1/engines/job-queue"),
        ("GET", "/v1/generation/job-queue"),
        ("GET", "/v1/generation/job-history"),
        ("GET", "/ping"),
        ("GET", "/"),
        ("GET", "/docs"),
        ("GET", "/redoc"),
        ("GET", "/openapi.json"),
    ],
)
def test_every_route_without_a_body_answers(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 200


@pytest.mark.parametrize(
    "path", ["/v1/tools/describe-image", "/v1/tools/generate_mask", "/v1/tools/read-metadata"]
)
@pytest.mark.parametrize("as_form", [False, True], ids=["json", "form"])
def test_every_tool_takes_a_picture_in_every_encoding(
    client: TestClient, path: str, as_form: bool
) -> None:
    sent: dict[str, Any] = {"files": {"image": PICTURE}} if as_form else {"json": {"image": TEXT}}
    answer = client.post(path, **sent)
    # The picture was read: nothing but files of models or a record is missing.
    assert answer.status_code in (422, 503)
    assert "needed" in answer.text or "no metadata" in answer.text
