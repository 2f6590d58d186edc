"""What is asked for without anything being painted needs no base model, nor what goes with it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.downloads import UPSCALER
from fooocus_core.engine import create_engine
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.pictures import as_base64, encode, plain

BASE_URL = "http://127.0.0.1:8888"
PICTURE = as_base64(encode(plain(72, 64)))


@pytest.fixture(scope="module")
def client(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A server with the real pipeline and no model file but the upscaler."""
    root = tmp_path_factory.mktemp("root")
    upscaler = root / "models" / "upscale_models" / UPSCALER.name
    upscaler.parent.mkdir(parents=True)
    upscaler.symlink_to(weights / "upscale_models" / UPSCALER.name)
    core = load_config(root=root, environ={})
    core.folders.outputs.mkdir()
    settings = Settings(outputs=core.folders.outputs, base_url=BASE_URL)
    app = create_app(settings, core, lambda: create_engine(core, DeviceOptions()))
    with TestClient(app) as client:
        yield client


REQUESTS: dict[str, tuple[str, dict[str, Any], tuple[int, int]]] = {
    "enlarged by the upscaler alone": (
        "image-upscale-vary",
        {"input_image": PICTURE, "uov_method": "Upscale (Fast 2x)"},
        (1024, 960),
    ),
    "a pass that enlarges alone": (
        "image-enhance",
        {"enhance_input_image": PICTURE, "enhance_uov_method": "Upscale (Fast 2x)"},
        (1024, 960),
    ),
    "control pictures shown": (
        "text-to-image-with-ip",
        {
            "image_prompts": [{"cn_img": PICTURE, "cn_type": "CPDS"}],
            "advanced_params": {"debugging_cn_preprocessor": True},
            "aspect_ratios_selection": "128*64",
        },
        (128, 64),
    ),
}


@pytest.mark.parametrize(("path", "body", "size"), REQUESTS.values(), ids=REQUESTS)
def test_defect_b5_pictures_that_are_not_painted_are_made(
    client: TestClient, path: str, body: dict[str, Any], size: tuple[int, int]
) -> None:
    unused = {"base_model_name": "gone.safetensors", "performance_selection": "Lightning"}
    answer = client.post(f"/v2/generation/{path}", json={"style_selections": [], **unused, **body})
    assert answer.status_code == 200, answer.text
    assert "X-Fooocus-Error" not in answer.headers
    (item,) = answer.json()
    content = client.get(item["url"].removeprefix(BASE_URL)).content
    assert Image.open(io.BytesIO(content)).size == size


def test_a_shown_mask_is_made(client: TestClient) -> None:
    body = {
        "input_image": PICTURE,
        "outpaint_selections": ["Left"],
        "style_selections": [],
        "advanced_params": {"debugging_inpaint_preprocessor": True},
    }
    answer = client.post("/v2/generation/image-inpaint-outpaint", json=body)
    assert answer.status_code == 200, answer.text
    assert {item["finish_reason"] for item in answer.json()} == {"SUCCESS"}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("image-upscale-vary", {"input_image": PICTURE, "uov_method": "Vary (Subtle)"}),
        ("image-enhance", {"enhance_input_image": PICTURE}),
        ("text-to-image-with-ip", {"advanced_params": {"debugging_cn_preprocessor": True}}),
    ],
    ids=["varied", "a pass that varies", "nothing to show"],
)
def test_pictures_that_are_painted_need_one(
    client: TestClient, path: str, body: dict[str, Any]
) -> None:
    answer = client.post(f"/v2/generation/{path}", json={"style_selections": [], **body})
    assert answer.status_code == 503
    assert "checkpoints" in answer.json()["detail"]
