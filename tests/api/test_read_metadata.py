"""Reading records out of pictures: the answer, sent again, gives the same pixels."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fooocus_core.choices import Performance
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import create_engine
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.golden import GOLDEN

BASE_URL = "http://127.0.0.1:8888"
URL = "/v1/tools/read-metadata"
GENERATE = "/v1/generation/text-to-image"
SMALL = {
    "prompt": "a red fox, autumn leaves",
    "aspect_ratios_selection": "64*64",
    "style_selections": [],
    "loras": [],
    "image_seed": 7,
    "advanced_params": {"overwrite_step": 2},
}
REQUESTS: dict[str, dict[str, Any]] = {
    "styles and two images": {
        "prompt": "a stone bridge, (mossy:1.2)\ncloudy sky",
        "negative_prompt": "blurry\ncars",
        "style_selections": ["Tiny Ink", "Tiny Plain Tail", "Tiny 3D Clay"],
        "image_number": 2,
    },
    "arrays and wildcards": {
        "prompt": "a __place__ near the [[river, lake]]",
        "negative_prompt": "__hue__",
        "style_selections": ["Random Style"],
        "image_number": 2,
    },
    "LoRAs, listed and tagged": {
        "prompt": "an old captain, <lora:tiny_lora_b:0.4>, pipe,,  smoke",
        "loras": [{"model_name": "tiny_lora.safetensors", "weight": 0.7}],
    },
    "wildcards in order": {
        "prompt": "a __place__, __hue__\n__hue__ sky",
        "read_wildcards_in_order": True,
        "aspect_ratios_selection": "64*64",
        "image_number": 2,
    },
    "prompt expansion": {
        "prompt": "a house in the valley\nat noon",
        "style_selections": ["Fooocus V2", "Random Style", "Tiny Plain Tail"],
        "aspect_ratios_selection": "64*64",
        "image_number": 2,
    },
    "seed just above 2^53": {"image_seed": str(2**53 + 1)},
    "seeds up to the largest and on from 0": {
        "image_seed": str(2**63 - 2),
        "image_number": 3,
        "aspect_ratios_selection": "64*64",
    },
    "one seed above 2^53 for two images": {
        "prompt": "a [[red, blue]] fox",
        "image_seed": 2**60 + 1,
        "aspect_ratios_selection": "64*64",
        "image_number": 2,
        "advanced_params": {"overwrite_step": 2, "disable_seed_increment": True},
    },
    "numbers": {
        "guidance_scale": 9.0,
        "sharpness": 15.0,
        "base_model_name": "tiny_sdxl_b.safetensors",
        "aspect_ratios_selection": "144*112",
        "advanced_params": {
            "overwrite_step": 3,
            "sampler_name": "euler_ancestral",
            "scheduler_name": "normal",
            "adaptive_cfg": 5.0,
            "adm_scaler_positive": 1.2,
            "adm_scaler_negative": 0.9,
            "adm_scaler_end": 0.6,
            "clip_skip": 1,
            "freeu_enabled": True,
            "freeu_b1": 1.1,
        },
    },
    "refiner": {
        "refiner_model_name": "tiny_refiner.safetensors",
        "advanced_params": {"overwrite_step": 3, "overwrite_switch": 2},
    },
    "refiner of another kind": {
        "refiner_model_name": "tiny_sd15.safetensors",
        "advanced_params": {
            "overwrite_step": 5,
            "overwrite_switch": 3,
            "refiner_swap_method": "vae",
        },
    },
    "own VAE": {
        "advanced_params": {"overwrite_step": 2, "vae_name": "tiny_vae_b.safetensors"},
    },
    "all at once": {
        "prompt": "a __place__, <lora:tiny_lora_b:0.4>, [[river,lake]], (mossy:1.2)\n__hue__ sky",
        "negative_prompt": "__hue__\ncars",
        "style_selections": ["Fooocus V2", "Tiny Ink", "Random Style"],
        "performance_selection": "Extreme Speed",
        "loras": [{"model_name": "tiny_lora.safetensors", "weight": 0.7}],
        "image_seed": str(2**62 + 1),
        "aspect_ratios_selection": "64*64",
        "image_number": 2,
    },
    # Each with its own number of steps, its own sampler and, if it has one, its own LoRA.
    **{
        mode.value: {
            "performance_selection": mode.value,
            "advanced_params": {},
            "loras": [{"model_name": "tiny_lora.safetensors", "weight": 0.3}],
        }
        for mode in Performance
    },
    "a mode with other steps": {
        "performance_selection": "Hyper-SD",
        "advanced_params": {"overwrite_step": 3},
    },
}

# Enough of the other scheme: what they differ in is how values are written and read.
A1111 = ("all at once", "numbers", "refiner", "seed just above 2^53")
# Of the first one what is part of "all at once", too, and modes like those that stay.
PARTS = ("styles and two images", "arrays and wildcards", "prompt expansion")
MODES = ("Quality", "Extreme Speed", "Hyper-SD")
SLOW = {
    *((name, "a1111") for name in REQUESTS if name not in A1111),
    *((name, "fooocus") for name in (*PARTS, *MODES)),
}


@pytest.fixture(scope="module")
def server(
    weights: Path, expansion_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TestClient]:
    """The real engine with the synthetic weights."""
    core = load_config(
        root=tmp_path_factory.mktemp("root"),
        models_path=weights,
        styles_path=GOLDEN / "data",
        environ={
            "path_wildcards": str(GOLDEN / "data"),
            "path_fooocus_expansion": str(expansion_folder),
            "default_model": "tiny_sdxl.safetensors",
            # Neither may leak into a picture that was made without it.
            "default_overwrite_step": "5",
            "default_loras": "[[True, 'tiny_lora.safetensors', 1.0]]",
        },
    )
    core.folders.outputs.mkdir()
    settings = Settings(outputs=core.folders.outputs, base_url=BASE_URL, queue_history=0)
    app = create_app(settings, core, lambda: create_engine(core, DeviceOptions()))
    with TestClient(app) as client:
        yield client


def pixels(content: bytes) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture.convert("RGB"))


def make(server: TestClient, request: dict[str, Any]) -> list[bytes]:
    answer = server.post(GENERATE, json=request)
    assert answer.status_code == 200
    assert "X-Fooocus-Warning" not in answer.headers
    urls = [item["url"] for item in answer.json()]
    return [server.get(url.removeprefix(BASE_URL)).content for url in urls]


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        pytest.param(name, scheme, marks=[pytest.mark.slow] if (name, scheme) in SLOW else [])
        for name in REQUESTS
        for scheme in ("fooocus", "a1111")
    ],
)
def test_decision_d22_the_answer_sent_again_gives_the_same_pixels(
    server: TestClient, name: str, scheme: str
) -> None:
    request = {**SMALL, **REQUESTS[name], "meta_scheme": scheme}
    for content in make(server, request):
        answer = server.post(URL, files={"image": content})
        assert answer.status_code == 200
        assert "X-Fooocus-Warning" not in answer.headers
        assert answer.json()["scheme"] == scheme
        (again,) = make(server, answer.json()["parameters"])
        assert np.array_equal(pixels(again), pixels(content))


@pytest.mark.parametrize("extension", ["jpg", "webp"])
def test_other_formats_tell_as_much(server: TestClient, extension: str) -> None:
    (content,) = make(server, {**SMALL, "save_extension": extension})
    (png,) = make(server, SMALL)
    answer = server.post(URL, json={"image": base64.b64encode(content).decode()})
    (again,) = make(server, answer.json()["parameters"])
    assert np.array_equal(pixels(again), pixels(png))


def test_a_form_may_hold_a_large_picture_as_text(client: TestClient) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (800, 600, 3), np.uint8)
    info = PngInfo()
    info.add_text("parameters", '{"prompt": "noise"}')
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG", pnginfo=info)
    text = base64.b64encode(buffer.getvalue()).decode()
    assert len(text) > 1024 * 1024
    answer = client.post(URL, files={"image": (None, text)})
    assert answer.json()["parameters"]["prompt"] == "noise"


def test_other_fields_of_a_form_hold_no_such_texts(client: TestClient) -> None:
    answer = client.post(GENERATE, files={"prompt": (None, "a" * (1024 * 1024 + 1))})
    assert answer.status_code == 413


def test_a_picture_of_this_server_is_read_by_its_address(server: TestClient) -> None:
    (item,) = server.post(GENERATE, json=SMALL).json()
    parameters = server.post(URL, json={"image": item["url"]}).json()["parameters"]
    assert parameters["prompt"] == SMALL["prompt"]
    assert parameters["image_seed"] == "7"
    assert parameters["aspect_ratios_selection"] == "64*64"
    assert parameters["image_number"] == 1
    assert parameters["base_model_name"] == "tiny_sdxl.safetensors"
    assert parameters["refiner_model_name"] == "None"
    assert parameters["loras"] == []
    assert parameters["advanced_params"]["overwrite_step"] == 2
    assert parameters["advanced_params"]["vae_name"] == "Default (model)"


def picture_with(text: str, scheme: str = "fooocus") -> bytes:
    info = PngInfo()
    info.add_text("parameters", text)
    info.add_text("fooocus_scheme", scheme)
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def plain_picture() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("files", "complaint"),
    [
        ({"image": plain_picture()}, "no metadata"),
        ({"image": picture_with("a holiday", "none")}, "neither"),
        ({"image": picture_with("a holiday")}, "fooocus"),
        ({"image": b"not a picture"}, "not a picture"),
        ({"image": picture_with('{"prompt": 1}')[:60]}, "not a picture"),
        ({"image": b""}, "needed"),
        ({"other": plain_picture()}, "required"),
    ],
    ids=["none", "prose", "no object", "text", "cut off", "empty", "missing"],
)
def test_a_picture_that_says_nothing_is_refused(
    client: TestClient, files: dict[str, bytes], complaint: str
) -> None:
    answer = client.post(URL, files=files)
    assert answer.status_code == 422
    (error,) = answer.json()["detail"]
    assert error["loc"] == ["body", "image"]
    assert complaint in error["msg"]


def test_what_is_unknown_here_is_named_in_a_warning(client: TestClient) -> None:
    text = '{"prompt": "a", "base_model": "away", "steps": 500, "seed": "x"}'
    answer = client.post(URL, files={"image": picture_with(text)})
    assert answer.status_code == 200
    warning = answer.headers["X-Fooocus-Warning"]
    assert "'away'" in warning
    assert "seed" in warning
    assert "advanced_params.overwrite_step" in warning
    parameters = answer.json()["parameters"]
    assert parameters["base_model_name"] == "away"
    assert "overwrite_step" not in parameters["advanced_params"]
    assert "image_seed" not in parameters


def test_entries_of_lists_that_no_request_may_have_are_left_out(client: TestClient) -> None:
    loras = [[f"lora{number}", 0.5 if number == 5 else 3.0, "0"] for number in range(12)]
    text = f'{{"loras": {loras}, "prompt": "a"}}'.replace("'", '"')
    answer = client.post(URL, files={"image": picture_with(text)})
    parameters = answer.json()["parameters"]
    assert parameters["loras"] == [{"enabled": True, "model_name": "lora5", "weight": 0.5}]
    assert client.post(GENERATE, json=parameters).status_code == 200
