"""POST /v1 and /v2 generation/image-enhance."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi.testclient import TestClient

from fooocus_core.choices import (
    ClothCategory,
    EnhanceOrder,
    EnhancePrompt,
    InpaintEngine,
    MaskModel,
    SamModel,
    UpscaleVaryMethod,
)
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import UPSCALER, ModelFile, enhance_files
from fooocus_core.params import EnhanceParams, EnhanceRegion, MaskParams
from tests.api.conftest import App, MakeApp, refusal
from tests.fakes import FakeEngine
from tests.pictures import COLOUR, as_base64, as_data_url, encode, plain

V1, V2 = "/v1/generation/image-enhance", "/v2/generation/image-enhance"
SMALL = {"aspect_ratios_selection": "128*64", "style_selections": [], "loras": []}
SMALL_FORM = {"aspect_ratios_selection": "128*64", "style_selections": "", "loras": "[]"}
PICTURE = encode(plain(96, 80))
TEXT = as_base64(PICTURE)
FACE = {"enhance_enabled": True}


def path_of(core: CoreConfig, file: ModelFile) -> Any:
    return getattr(core.folders, file.kind)[0] / file.name


def last_asked(engine: FakeEngine) -> EnhanceParams:
    asked = engine.asked[-1]
    assert (asked.upscale_vary, asked.inpaint, asked.image_prompts) == (None, None, ())
    assert asked.canvas.count == 1
    assert asked.enhance is not None
    assert asked.enhance.image is not None
    assert (asked.enhance.image == COLOUR).all()
    return asked.enhance


class Asker:
    """Posts to the second version and tells what was asked of the engine, and the warning."""

    def __init__(self, app: App) -> None:
        self._client, self._engine = app.client, app.engine

    def __call__(self, **fields: Any) -> EnhanceParams:
        asked, warning = self.whatever(**fields)
        assert warning == ""
        return asked

    def whatever(self, **fields: Any) -> tuple[EnhanceParams, str]:
        body = {**SMALL, "enhance_input_image": TEXT, **fields}
        answer = self._client.post(V2, json=body)
        assert answer.status_code == 200, answer.text
        (result,) = answer.json()
        assert result["finish_reason"] == "SUCCESS"
        return last_asked(self._engine), answer.headers.get("X-Fooocus-Warning", "")


@pytest.fixture
def ask(shared_app: App) -> Asker:
    return Asker(shared_app)


def test_omitted_options_take_the_documented_defaults(ask: Asker) -> None:
    asked = ask(enhance_ctrlnets=[FACE])
    assert asked.method is UpscaleVaryMethod.VARY_STRONG
    assert (asked.order, asked.prompt_source) == (EnhanceOrder.BEFORE_FIRST, EnhancePrompt.ORIGINAL)
    assert (asked.final_only, asked.show_masks) == (True, False)
    assert (asked.vary_strength, asked.upscale_strength) == (None, None)
    assert asked.regions == (EnhanceRegion(mask=MaskParams(prompt="face")),)


def test_without_regions_the_whole_picture_is_varied(ask: Asker) -> None:
    assert ask().regions == ()


REGION = {
    "enhance_enabled": True,
    "enhance_mask_dino_prompt": "a door",
    "enhance_prompt": "red",
    "enhance_negative_prompt": "blue",
    "enhance_mask_model": "silueta",
    "enhance_mask_cloth_category": "lower",
    "enhance_mask_sam_model": "vit_h",
    "enhance_mask_text_threshold": 0.5,
    "enhance_mask_box_threshold": 0.4,
    "enhance_mask_sam_max_detections": 2,
    "enhance_inpaint_disable_initial_latent": True,
    "enhance_inpaint_engine": "None",
    "enhance_inpaint_strength": 0.7,
    "enhance_inpaint_respective_field": 0.3,
    "enhance_inpaint_erode_or_dilate": -2.9,
    "enhance_mask_invert": True,
}
ASKED_REGION = EnhanceRegion(
    mask=MaskParams(
        model=MaskModel.SILUETA,
        cloth_category=ClothCategory.LOWER,
        prompt="a door",
        sam_model=SamModel.VIT_H,
        box_threshold=0.4,
        text_threshold=0.5,
        max_detections=2,
        grow_boxes=5,
        show_boxes=True,
    ),
    prompt="red",
    negative_prompt="blue",
    engine=InpaintEngine.NONE,
    strength=0.7,
    field=0.3,
    grow=-2,
    invert=True,
    from_noise=True,
)
WHOLE = {
    "enhance_checkbox": False,
    "enhance_uov_method": "upscale (1.5x)",
    "enhance_uov_processing_order": "after last enhancement",
    "enhance_uov_prompt_type": "Last Filled Enhancement Prompts",
    "save_final_enhanced_image_only": False,
    "image_number": 3,
}
ADVANCED = {
    "debugging_dino": True,
    "dino_erode_or_dilate": 5,
    "debugging_enhance_masks_checkbox": True,
    "overwrite_vary_strength": 0.2,
    "overwrite_upscale_strength": 0.1,
}


def assert_everything_arrived(asked: EnhanceParams) -> None:
    assert asked.regions == (ASKED_REGION,)
    assert asked.method is UpscaleVaryMethod.UPSCALE_15
    assert asked.order is EnhanceOrder.AFTER_LAST
    assert asked.prompt_source is EnhancePrompt.LAST_FILLED
    assert (asked.final_only, asked.show_masks) == (False, True)
    assert (asked.vary_strength, asked.upscale_strength) == (0.2, 0.1)


@pytest.mark.parametrize("url", [V1, V2])
@pytest.mark.parametrize("spell", [as_base64, as_data_url], ids=["base64", "data URL"])
def test_every_option_of_json_reaches_its_place(
    client: TestClient, engine: FakeEngine, url: str, spell: Any
) -> None:
    body = {
        **SMALL,
        **WHOLE,
        "enhance_input_image": spell(PICTURE),
        "enhance_ctrlnets": [{"enhance_prompt": "not enabled"}, REGION],
        "advanced_params": ADVANCED,
    }
    answer = client.post(url, json=body)
    assert answer.status_code == 200, answer.text
    assert "X-Fooocus-Warning" not in answer.headers
    assert_everything_arrived(last_asked(engine))
    job = client.post(url, json={**body, "async_process": True}).json()
    assert job["job_type"] == "Image Enhancement"


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("url", [V1, V2])
def test_defect_b24_every_numbered_field_of_a_form_reaches_its_place(
    client: TestClient, engine: FakeEngine, url: str, number: int
) -> None:
    data = {
        **SMALL_FORM,
        **{name: str(value) for name, value in WHOLE.items()},
        **{f"{name}_{number}": str(value) for name, value in REGION.items()},
        "enhance_ctrlnets": "[object Object]",
        "advanced_params": str(ADVANCED).replace("'", '"').replace("True", "true"),
    }
    answer = client.post(url, data=data, files={"enhance_input_image": ("a.png", PICTURE)})
    assert answer.status_code == 200, answer.text
    assert "X-Fooocus-Warning" not in answer.headers
    assert_everything_arrived(last_asked(engine))


def test_a_form_of_the_first_version_has_to_say_what_to_look_for(
    client: TestClient, engine: FakeEngine
) -> None:
    data = {**SMALL_FORM, "enhance_enabled_1": "true", "enhance_prompt_1": ""}
    for url, text in ((V1, ""), (V2, "face")):
        client.post(url, data=data, files={"enhance_input_image": PICTURE})
        assert last_asked(engine).regions == (EnhanceRegion(mask=MaskParams(prompt=text)),)


def test_a_form_sends_its_picture_as_text_too(client: TestClient, engine: FakeEngine) -> None:
    data = {**SMALL_FORM, "enhance_input_image": TEXT}
    assert client.post(V1, data=data).status_code == 200
    assert last_asked(engine).method is UpscaleVaryMethod.VARY_STRONG


def test_of_more_than_three_regions_the_first_are_used(ask: Asker) -> None:
    regions = [{**FACE, "enhance_prompt": str(number)} for number in range(4)]
    asked, warning = ask.whatever(enhance_ctrlnets=regions)
    assert [region.prompt for region in asked.regions] == ["0", "1", "2"]
    assert "too many regions to enhance: 4" in warning


def test_a_strict_server_refuses_a_fourth_region(make_app: MakeApp) -> None:
    body = {**SMALL, "enhance_input_image": TEXT, "enhance_ctrlnets": [FACE] * 4}
    answer = make_app(strict=True).client.post(V2, json=body)
    assert "at most 3" in refusal(answer, "enhance_ctrlnets")


def test_an_unknown_engine_is_replaced_with_a_warning(ask: Asker) -> None:
    region = {**FACE, "enhance_inpaint_engine": "v9"}
    asked, warning = ask.whatever(enhance_ctrlnets=[region])
    assert asked.regions[0].engine is InpaintEngine.V2_6
    assert "enhance_inpaint_engine 'v9'" in warning


@pytest.mark.parametrize(
    "regions", [[], [{}], [{}, {}, {}, FACE]], ids=["none", "not enabled", "beyond the third"]
)
def test_decision_d16_with_nothing_to_do_the_request_is_refused(
    client: TestClient, regions: list[dict[str, Any]]
) -> None:
    body = {**SMALL, "enhance_input_image": TEXT, "enhance_uov_method": "Disabled"}
    answer = client.post(V2, json={**body, "enhance_ctrlnets": regions})
    assert "nothing to do" in refusal(answer, "enhance_uov_method")


WRONG = [
    ("enhance_mask_model", "u3net"),
    ("enhance_mask_cloth_category", "shoes"),
    ("enhance_mask_sam_model", "vit_x"),
    ("enhance_mask_text_threshold", 1.5),
    ("enhance_mask_box_threshold", -0.1),
    ("enhance_mask_sam_max_detections", 11),
    ("enhance_inpaint_strength", 2),
    ("enhance_inpaint_respective_field", -1),
    ("enhance_inpaint_erode_or_dilate", 65),
    ("enhance_mask_invert", "maybe"),
    ("enhance_enabled", "maybe"),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[name for name, _ in WRONG])
def test_a_wrong_value_is_named_as_it_was_sent(client: TestClient, name: str, value: Any) -> None:
    region = {**FACE, name: value}
    body = {**SMALL, "enhance_input_image": TEXT, "enhance_ctrlnets": [{}, region]}
    refusal(client.post(V2, json=body), "enhance_ctrlnets", 1, name)
    data = {**SMALL_FORM, f"{name}_2": str(value)}
    answer = client.post(V1, data=data, files={"enhance_input_image": PICTURE})
    refusal(answer, f"{name}_2")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enhance_uov_method", "Sharpen"),
        ("enhance_uov_processing_order", "First"),
        ("enhance_uov_prompt_type", "Mine"),
        ("enhance_ctrlnets", "none"),
        ("enhance_input_image", "@@"),
        ("enhance_input_image", "None"),
        ("enhance_input_image", None),
    ],
)
def test_other_wrong_values_are_refused(client: TestClient, name: str, value: Any) -> None:
    refusal(client.post(V2, json={**SMALL, "enhance_input_image": TEXT, name: value}), name)


def test_a_picture_that_cannot_be_varied_is_refused(client: TestClient) -> None:
    thin = as_base64(encode(plain(8192, 1)))
    body = {**SMALL, "enhance_input_image": thin}
    assert "thin" in refusal(client.post(V2, json=body), "enhance_input_image")


REGION_FILES = enhance_files(EnhanceParams(regions=(EnhanceRegion(mask=MaskParams()),)))


@pytest.mark.parametrize("file", REGION_FILES, ids=lambda file: file.name)
def test_a_missing_file_makes_no_job_and_the_answer_says_how_to_get_it(
    make_app: MakeApp, file: ModelFile
) -> None:
    app = make_app()
    path = path_of(app.core, file)
    path.unlink()
    body = {**SMALL, "enhance_input_image": TEXT, "enhance_ctrlnets": [FACE]}
    answer = app.client.post(V2, json=body)
    assert answer.status_code == 503
    detail = answer.json()["detail"]
    assert f"'{file.name}'" in detail
    assert f"--output {path} https://" in detail
    assert app.client.get("/v1/generation/job-queue").json()["last_job_id"] is None
    # Varying needs none of them.
    assert app.client.post(V2, json={**body, "enhance_ctrlnets": [{}]}).status_code == 200


def test_enlarging_needs_the_upscaler(make_app: MakeApp) -> None:
    app = make_app()
    path_of(app.core, UPSCALER).unlink()
    body = {**SMALL, "enhance_input_image": TEXT, "enhance_uov_method": "Upscale (2x)"}
    assert UPSCALER.name in app.client.post(V2, json=body).json()["detail"]


def test_for_a_png_the_last_picture_is_asked_for_alone(
    client: TestClient, engine: FakeEngine
) -> None:
    body = {**SMALL, **WHOLE, "enhance_input_image": TEXT, "advanced_params": ADVANCED}
    answer = client.post(V2, json=body, headers={"accept": "image/png"})
    assert answer.headers["content-type"] == "image/png"
    assert (last_asked(engine).final_only, last_asked(engine).show_masks) == (True, False)


def test_misspelt_fields_are_told(client: TestClient, ask: Asker) -> None:
    _, warning = ask.whatever(enhance_ctrlnets=[{**FACE, "enhance_mask_modle": "sam"}])
    assert "enhance_mask_model" in warning
    data = {**SMALL_FORM, "enhance_enabeld_1": "true"}
    answer = client.post(V1, data=data, files={"enhance_input_image": PICTURE})
    assert "enhance_enabled_1" in answer.headers["X-Fooocus-Warning"]


def test_the_schema_numbers_the_regions_of_a_form(client: TestClient) -> None:
    models = client.get("/openapi.json").json()["components"]["schemas"]
    listed = models["EnhanceRequest"]["properties"]["enhance_ctrlnets"]
    assert listed["items"]["$ref"].endswith("/EnhanceRegion")
    form = models["EnhanceRequestV1Form"]
    assert form["required"] == ["enhance_input_image"]
    assert form["properties"]["enhance_input_image"]["format"] == "binary"
    assert form["properties"]["enhance_mask_dino_prompt_3"]["default"] == ""
    assert models["EnhanceRequestForm"]["properties"]["enhance_mask_dino_prompt_3"]["default"] == (
        "face"
    )
    assert "enhance_ctrlnets" not in form["properties"]
    assert "enhance_enabled_4" not in form["properties"]
