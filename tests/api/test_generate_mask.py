"""POST /v1/tools/generate_mask."""

from __future__ import annotations

import base64
import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from PIL import Image

from fooocus_core.choices import ClothCategory, MaskModel, SamModel
from fooocus_core.config import CoreConfig, DeviceOptions
from fooocus_core.downloads import mask_files
from fooocus_core.engine import create_engine
from fooocus_core.errors import (
    DeviceMemoryError,
    InvalidInputError,
    ModelFileError,
    ModelNotFoundError,
    PackageMissingError,
)
from fooocus_core.params import MaskParams
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.conftest import MakeClient
from tests.fakes import STEPS, FakeEngine, Script
from tests.foreground_files import write_saliency_network

URL = "/v1/tools/generate_mask"
JOB = {"aspect_ratios_selection": "64*64", "style_selections": [], "loras": []}


def encoded(values: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


def decoded(text: str) -> NDArray[np.uint8]:
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture)


def half_red() -> NDArray[np.uint8]:
    picture = np.zeros((30, 50, 3), np.uint8)
    picture[:, :20, 0] = 200
    return picture


@pytest.fixture
def mask_models(core: CoreConfig) -> None:
    """The files of every mask model, there but empty."""
    for model in MaskModel:
        for size in SamModel:
            for file in mask_files(MaskParams(model=model, sam_model=size)):
                path: Path = getattr(core.folders, file.kind)[0] / file.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()


@pytest.mark.usefixtures("mask_models")
def test_the_answer_is_a_bare_png_text_as_large_as_the_picture(client: TestClient) -> None:
    answer = client.post(URL, json={"image": encoded(half_red())})
    assert answer.status_code == 200
    mask = decoded(answer.json())
    assert mask.shape == (30, 50)
    assert np.array_equal(mask == 255, half_red()[..., 0] > 127)


@pytest.mark.usefixtures("mask_models")
def test_what_is_not_given_has_the_documented_value(client: TestClient, engine: FakeEngine) -> None:
    client.post(URL, json={"image": encoded(half_red()), "dino_prompt_text": None})
    assert engine.masked[0][1] == MaskParams(
        model=MaskModel.ISNET_GENERAL_USE,
        cloth_category=ClothCategory.FULL,
        prompt="",
        sam_model=SamModel.VIT_B,
        box_threshold=0.3,
        text_threshold=0.25,
        max_detections=0,
        grow_boxes=0,
        show_boxes=False,
    )


@pytest.mark.usefixtures("mask_models")
def test_everything_given_reaches_the_engine(client: TestClient, engine: FakeEngine) -> None:
    fields: dict[str, Any] = {
        "image": encoded(half_red()),
        "mask_model": "sam",
        "cloth_category": "lower",
        "dino_prompt_text": "Face. Hand",
        "sam_model": "vit_h",
        "box_threshold": 0.5,
        "text_threshold": 0.1,
        "sam_max_detections": 3,
        "dino_erode_or_dilate": -2.5,
        "dino_debug": True,
    }
    assert client.post(URL, json=fields).status_code == 200
    image, params = engine.masked[0]
    assert np.array_equal(image, half_red())
    assert params == MaskParams(
        model=MaskModel.SAM,
        cloth_category=ClothCategory.LOWER,
        prompt="Face. Hand",
        sam_model=SamModel.VIT_H,
        box_threshold=0.5,
        text_threshold=0.1,
        max_detections=3,
        grow_boxes=-2.5,
        show_boxes=True,
    )


@pytest.mark.usefixtures("mask_models")
def test_a_form_may_hold_the_picture_as_a_file(client: TestClient, engine: FakeEngine) -> None:
    file = base64.b64decode(encoded(half_red()))
    form = {"mask_model": "u2net", "dino_debug": "true", "dino_erode_or_dilate": "1.5"}
    answer = client.post(URL, files={"image": file}, data=form)
    assert answer.status_code == 200
    assert decoded(answer.json()).shape == (30, 50)
    params = engine.masked[0][1]
    assert (params.model, params.show_boxes, params.grow_boxes) == (MaskModel.U2NET, True, 1.5)


@pytest.mark.usefixtures("mask_models")
def test_what_is_transparent_is_white_to_the_network(
    client: TestClient, engine: FakeEngine
) -> None:
    clear = np.zeros((8, 8, 4), np.uint8)
    client.post(URL, json={"image": f"data:image/png;base64,{encoded(clear)}"})
    assert engine.masked[0][0].tolist() == np.full((8, 8, 3), 255).tolist()


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("image", "", "a picture is needed"),
        ("image", "none", "a picture is needed"),
        ("image", "bm8gcGljdHVyZQ==", "not a picture"),
        ("image", 7, "a picture is wanted"),
        ("mask_model", "u3net", "'u2net', 'u2netp'"),
        ("cloth_category", "shoes", "'full', 'upper' or 'lower'"),
        ("sam_model", "vit_x", "'vit_b', 'vit_l' or 'vit_h'"),
        ("box_threshold", 1.01, "less than or equal to 1"),
        ("box_threshold", -0.1, "greater than or equal to 0"),
        ("text_threshold", "high", "valid number"),
        ("sam_max_detections", 11, "less than or equal to 10"),
        ("sam_max_detections", True, "not a boolean"),
        ("dino_erode_or_dilate", 64.5, "less than or equal to 64"),
        ("dino_erode_or_dilate", -65, "greater than or equal to -64"),
        ("dino_debug", "perhaps", "valid boolean"),
        ("dino_prompt_text", "a" * 100_000, "at most 2000"),
    ],
)
def test_b63_a_field_that_cannot_be_used_is_named(
    client: TestClient, engine: FakeEngine, field: str, value: object, message: str
) -> None:
    answer = client.post(URL, json={"image": encoded(half_red()), field: value})
    assert answer.status_code == 422
    (entry,) = answer.json()["detail"]
    assert entry["loc"] == ["body", field]
    assert message in entry["msg"]
    assert engine.masked == []


def test_b63_a_missing_picture_and_a_number_that_is_none_are_refused(client: TestClient) -> None:
    missing = client.post(URL, json={})
    assert missing.json()["detail"][0]["loc"] == ["body", "image"]
    body = f'{{"image": "{encoded(half_red())}", "box_threshold": NaN}}'
    answer = client.post(URL, content=body, headers={"content-type": "application/json"})
    assert (missing.status_code, answer.status_code) == (422, 422)


@pytest.mark.parametrize(
    ("fields", "names"),
    [
        ({}, ["isnet-general-use.onnx"]),
        ({"mask_model": "u2netp"}, ["u2netp.onnx"]),
        (
            {"mask_model": "sam"},
            ["groundingdino_swint_ogc.pth", "bert-base-uncased/vocab.txt", "sam_vit_b_01ec64.pth"],
        ),
        (
            {"mask_model": "sam", "dino_debug": True},
            ["groundingdino_swint_ogc.pth", "bert-base-uncased/vocab.txt"],
        ),
        ({"mask_model": "sam", "sam_model": "vit_l"}, ["sam_vit_l_0b3195.pth"]),
    ],
    ids=["default", "u2netp", "sam", "boxes alone", "another size"],
)
def test_missing_files_are_told_with_their_folders_and_commands(
    client: TestClient,
    core: CoreConfig,
    engine: FakeEngine,
    fields: dict[str, Any],
    names: list[str],
) -> None:
    answer = client.post(URL, json={"image": encoded(half_red()), **fields})
    assert answer.status_code == 503
    detail = answer.json()["detail"]
    for name in names:
        assert f"'{name}' is needed and not there" in detail
        assert "curl --location" in detail
    assert str(core.folders.inpaint[0]) in detail
    assert detail.count("curl") == len(names) or "sam_model" in fields
    assert engine.masked == []


@pytest.mark.usefixtures("mask_models")
@pytest.mark.parametrize(
    ("error", "status", "detail"),
    [
        (ModelNotFoundError("no file"), 503, "no file"),
        (PackageMissingError("pip install it"), 503, "pip install it"),
        (DeviceMemoryError("out of memory"), 503, "out of memory"),
        (ModelFileError("u2net.onnx is damaged"), 500, "u2net.onnx is damaged"),
        (ValueError("/secret"), 500, "Internal Server Error"),
        (SystemExit(3), 500, "Internal Server Error"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_what_fails_in_the_engine_has_its_status(
    client: TestClient, engine: FakeEngine, error: BaseException, status: int, detail: str
) -> None:
    engine.tool_failure = error
    answer = client.post(URL, json={"image": encoded(half_red())})
    assert (answer.status_code, answer.json()) == (status, {"detail": detail})
    engine.tool_failure = None
    assert client.post(URL, json={"image": encoded(half_red())}).status_code == 200


@pytest.mark.usefixtures("mask_models")
def test_a_picture_that_the_engine_cannot_use_is_named(
    client: TestClient, engine: FakeEngine
) -> None:
    engine.tool_failure = InvalidInputError("too thin")
    answer = client.post(URL, json={"image": encoded(half_red())})
    assert answer.status_code == 422
    (entry,) = answer.json()["detail"]
    assert (entry["loc"], entry["msg"]) == (["body", "image"], "too thin")


@pytest.mark.usefixtures("mask_models")
def test_f32_masks_are_made_between_jobs_while_the_server_answers(
    make_client: MakeClient, engine: FakeEngine
) -> None:
    client = make_client(queue_size=2)
    engine.play(Script(gated=True))
    for _ in range(2):
        client.post("/v1/generation/text-to-image", json={**JOB, "async_process": True})
    engine.gate.wait_for_step()
    asked = threading.Barrier(3)

    def ask() -> int:
        asked.wait()
        return client.post(URL, json={"image": encoded(half_red())}).status_code

    with ThreadPoolExecutor() as pool:
        answers = [pool.submit(ask) for _ in range(2)]
        asked.wait()
        assert client.get("/v1/engines/job-queue").json()["running_size"] == 2
        assert engine.masked == []
        engine.gate.open(STEPS)
        assert [answer.result(timeout=30) for answer in answers] == [200, 200]


@pytest.mark.usefixtures("mask_models")
def test_the_key_is_wanted(make_client: MakeClient) -> None:
    client = make_client(apikey="secret-of-some-length")
    assert client.post(URL, json={"image": encoded(half_red())}).status_code == 403


def test_the_real_engine_answers_with_the_mask_of_its_network(
    core: CoreConfig, settings: Settings
) -> None:
    write_saliency_network(core.folders.inpaint[0] / "isnet-general-use.onnx", 1024)
    app = create_app(settings, core, lambda: create_engine(core, DeviceOptions()))
    with TestClient(app) as client:
        answer = client.post(URL, json={"image": encoded(half_red())})
    mask = decoded(answer.json())
    assert np.array_equal(mask > 127, half_red()[..., 0] > 127)
