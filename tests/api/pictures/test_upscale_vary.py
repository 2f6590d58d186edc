"""POST /v1 and /v2 generation/image-upscale-vary."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fooocus_core.choices import UpscaleVaryMethod
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import UPSCALER
from fooocus_core.params import UpscaleVaryParams
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.api.conftest import App, MakeApp, refusal
from tests.fakes import FakeEngine, Script
from tests.golden import load_arrays
from tests.pictures import COLOUR, as_base64, as_data_url, encode, plain, serving

V1, V2 = "/v1/generation/image-upscale-vary", "/v2/generation/image-upscale-vary"
SMALL = {"aspect_ratios_selection": "128*64", "style_selections": [], "loras": []}
SMALL_FORM = {"aspect_ratios_selection": "128*64", "style_selections": "", "loras": "[]"}
PICTURE = encode(plain(96, 80))
VARY, UPSCALE = "Vary (Subtle)", "Upscale (2x)"


class Asker:
    """Posts to the second version and tells what was asked of the engine."""

    def __init__(self, app: App) -> None:
        self._client, self._engine = app.client, app.engine

    def __call__(self, **fields: Any) -> UpscaleVaryParams:
        body = {**SMALL, "input_image": as_base64(PICTURE), **fields}
        answer = self._client.post(V2, json=body)
        assert answer.status_code == 200, answer.text
        assert "X-Fooocus-Warning" not in answer.headers
        asked = self._engine.asked[-1]
        assert asked.upscale_vary is not None
        assert (asked.inpaint, asked.image_prompts) == (None, ())
        return asked.upscale_vary


@pytest.fixture
def ask(shared_app: App) -> Asker:
    return Asker(shared_app)


def test_a_form_sends_the_picture_as_a_file(client: TestClient, engine: FakeEngine) -> None:
    data = {**SMALL_FORM, "uov_method": VARY, "advanced_params": '{"overwrite_vary_strength": 0.3}'}
    answer = client.post(V1, data=data, files={"input_image": ("photo.png", PICTURE, "image/png")})
    assert answer.status_code == 200, answer.text
    assert [item["finish_reason"] for item in answer.json()] == ["SUCCESS"]
    asked = engine.asked[-1].upscale_vary
    assert asked is not None
    assert asked.image.shape == (80, 96, 3)
    assert (asked.image == COLOUR).all()
    assert (asked.method, asked.factor, asked.vary_strength) == (VARY, None, 0.3)


@pytest.mark.parametrize("spell", [as_base64, as_data_url], ids=["base64", "data URL"])
def test_client_sends_the_picture_of_a_form_as_text(
    client: TestClient, engine: FakeEngine, spell: Any
) -> None:
    data = {**SMALL_FORM, "uov_method": UPSCALE, "input_image": spell(PICTURE)}
    assert client.post(V1, data=data).status_code == 200
    asked = engine.asked[-1].upscale_vary
    assert asked is not None
    assert (asked.image == COLOUR).all()


@pytest.mark.parametrize("spell", [as_base64, as_data_url], ids=["base64", "data URL"])
def test_json_holds_the_picture_as_text(ask: Asker, spell: Any) -> None:
    asked = ask(input_image=spell(PICTURE))
    assert asked.image.shape == (80, 96, 3)
    assert (asked.image == COLOUR).all()


def test_a_picture_of_the_server_is_read_by_its_address(client: TestClient, ask: Asker) -> None:
    made = client.post("/v1/generation/text-to-image", json={**SMALL, "image_seed": 3}).json()
    asked = ask(input_image=made[0]["url"])
    assert asked.image.shape == (64, 128, 3)
    assert (asked.image == [3 * 37, 3 * 91 % 256, 3 * 151 % 256]).all()


@pytest.mark.parametrize("url", [V1, V2])
def test_a_picture_is_fetched_from_its_address(make_app: MakeApp, url: str) -> None:
    app = make_app(allow_private_urls=True)
    with serving(PICTURE) as address:
        body = {**SMALL, "input_image": address, "uov_method": VARY}
        answer = app.client.post(url, json=body)
    assert answer.status_code == 200, answer.text
    asked = app.engine.asked[-1].upscale_vary
    assert asked is not None
    assert (asked.image == COLOUR).all()


def test_defect_b23_decision_d7_addresses_of_private_networks_are_refused(
    client: TestClient,
) -> None:
    body = {**SMALL, "input_image": "http://127.0.0.1:9/photo.png"}
    assert "not fetched" in refusal(client.post(V2, json=body), "input_image")


def test_json_takes_a_method_if_none_is_said(client: TestClient, ask: Asker) -> None:
    assert ask().method is UpscaleVaryMethod.UPSCALE_2
    answer = client.post(V1, json={**SMALL, "input_image": as_base64(PICTURE)})
    assert answer.status_code == 200


@pytest.mark.parametrize("data", [{}, {"uov_method": ""}], ids=["absent", "empty"])
def test_a_form_has_to_say_the_method(client: TestClient, data: dict[str, str]) -> None:
    answer = client.post(V1, data={**SMALL_FORM, **data}, files={"input_image": PICTURE})
    assert "required" in refusal(answer, "uov_method").lower()


@pytest.mark.parametrize("method", UpscaleVaryMethod)
def test_every_method_is_known_in_any_case(
    client: TestClient, engine: FakeEngine, method: UpscaleVaryMethod
) -> None:
    for spelt in (method, method.lower(), method.upper()):
        data = {**SMALL_FORM, "uov_method": str(spelt)}
        assert client.post(V1, data=data, files={"input_image": PICTURE}).status_code == 200
        asked = engine.asked[-1].upscale_vary
        if method is UpscaleVaryMethod.DISABLED:
            assert asked is None
        else:
            assert asked is not None
            assert asked.method is method


@pytest.mark.parametrize("method", ["Upscale (3x)", "vary", 5, ["Upscale (2x)"]])
def test_other_methods_are_refused_and_the_known_ones_told(
    client: TestClient, method: object
) -> None:
    body = {**SMALL, "input_image": as_base64(PICTURE), "uov_method": method}
    assert "'Upscale (Fast 2x)'" in refusal(client.post(V2, json=body), "uov_method")


def test_disabled_is_text_to_image_under_its_own_name(
    client: TestClient, engine: FakeEngine
) -> None:
    body = {**SMALL, "input_image": as_base64(PICTURE), "uov_method": "Disabled"}
    job = client.post(V2, json={**body, "async_process": True}).json()
    assert job["job_type"] == "Image Upscale or Variation"
    assert client.post(V2, json=body).json()[0]["finish_reason"] == "SUCCESS"
    assert engine.asked[-1].upscale_vary is None


@pytest.mark.parametrize(
    ("fields", "factor"),
    [
        ({"uov_method": "Upscale (Custom)", "upscale_value": 5}, 5.0),
        ({"uov_method": "Upscale (Custom)", "upscale_value": "1.25"}, 1.25),
        ({"uov_method": "Upscale (Custom)"}, None),
        ({"uov_method": "Upscale (Custom)", "upscale_value": None}, None),
        ({"uov_method": "Upscale (1.5x)", "upscale_value": 3}, None),
    ],
)
def test_defect_b25_decision_d15_the_factor_counts_for_custom_only(
    ask: Asker, fields: dict[str, Any], factor: float | None
) -> None:
    assert ask(**fields).factor == factor


@pytest.mark.parametrize("value", [0.1, 0.99, 5.01, 100, "nan", "much"])
def test_b16_factors_out_of_range_are_refused(client: TestClient, value: object) -> None:
    body = {**SMALL, "input_image": as_base64(PICTURE), "upscale_value": value}
    refusal(client.post(V2, json=body), "upscale_value")


def test_an_empty_factor_of_a_form_is_none(client: TestClient, engine: FakeEngine) -> None:
    data = {**SMALL_FORM, "uov_method": "Upscale (Custom)", "upscale_value": ""}
    assert client.post(V1, data=data, files={"input_image": PICTURE}).status_code == 200
    asked = engine.asked[-1].upscale_vary
    assert asked is not None
    assert asked.factor is None


@pytest.mark.parametrize(("given", "strength"), [(0.4, 0.4), (0, None), (-1, None), (None, None)])
def test_strengths_are_overridden_if_they_are_above_zero(
    ask: Asker, given: float | None, strength: float | None
) -> None:
    options = {"overwrite_vary_strength": given, "overwrite_upscale_strength": given}
    asked = ask(advanced_params=options)
    assert (asked.vary_strength, asked.upscale_strength) == (strength, strength)


def test_the_configured_strength_counts_if_the_request_is_silent(
    core: CoreConfig, picture_models: None, settings: Settings
) -> None:
    engine = FakeEngine()
    changed = replace(core, defaults=replace(core.defaults, upscale_strength=0.25))
    with TestClient(create_app(settings, changed, lambda: engine)) as client:
        ask = Asker(App(client=client, engine=engine, core=changed))
        assert ask().upscale_strength == 0.25
        assert ask(advanced_params={"overwrite_upscale_strength": -1}).upscale_strength is None


@pytest.mark.parametrize("url", [V1, V2])
def test_a_missing_upscaler_makes_no_job_and_the_answer_says_how_to_get_it(
    make_app: MakeApp, url: str
) -> None:
    app = make_app()
    path = app.core.folders.upscale_models[0] / UPSCALER.name
    path.unlink()
    answer = app.client.post(url, json={**SMALL, "input_image": as_base64(PICTURE)})
    assert answer.status_code == 503
    detail = answer.json()["detail"]
    assert f"put it into {path.parent}" in detail
    assert f"curl --location --create-dirs --output {path} https://" in detail
    assert app.client.get("/v1/generation/job-queue").json()["last_job_id"] is None


def test_varying_needs_no_upscaler(make_app: MakeApp) -> None:
    app = make_app()
    (app.core.folders.upscale_models[0] / UPSCALER.name).unlink()
    assert Asker(app)(uov_method=VARY).method is UpscaleVaryMethod.VARY_SUBTLE


@pytest.mark.parametrize(
    "value", [None, "", " ", "None", "null", "string", "@@", as_base64(b"no picture"), 5, []]
)
@pytest.mark.parametrize("url", [V1, V2])
def test_defect_b17_without_a_usable_picture_the_field_is_named(
    client: TestClient, url: str, value: object
) -> None:
    refusal(client.post(url, json={**SMALL, "input_image": value}), "input_image")


@pytest.mark.parametrize(
    "files",
    [{}, {"input_image": ("", b"")}, {"input_image": ("a.png", b"")}, {"input_image": b"x"}],
    ids=["absent", "no file chosen", "empty file", "no picture"],
)
def test_defect_b17_a_form_without_a_usable_picture_is_refused(
    client: TestClient, files: dict[str, Any]
) -> None:
    answer = client.post(V1, data={**SMALL_FORM, "uov_method": VARY}, files=files or None)
    refusal(answer, "input_image")


GREY16 = Image.fromarray(np.full((80, 96), 0x7700, np.uint16))
LYING = Image.Exif()
LYING[0x0112] = 6
TURNED = encode(plain(80, 96), "JPEG", exif=LYING)
MODES = {
    "grey": (encode(plain(96, 80, 7, "L")), (7, 7, 7)),
    "grey and alpha": (encode(plain(96, 80, (7, 0), "LA")), (255, 255, 255)),
    "transparent": (encode(plain(96, 80, (0, 0, 200, 0), "RGBA")), (255, 255, 255)),
    "palette": (encode(plain(96, 80).quantize(4)), COLOUR),
    "16 bit": (encode(GREY16), (0x77,) * 3),
    "1 bit": (encode(plain(96, 80, 1, "1")), (255, 255, 255)),
}


@pytest.mark.parametrize(("data", "colour"), MODES.values(), ids=MODES)
@pytest.mark.parametrize("method", [VARY, UPSCALE])
def test_every_kind_of_picture_becomes_rgb_over_white(
    ask: Asker, data: bytes, colour: tuple[int, ...], method: str
) -> None:
    asked = ask(input_image=as_base64(data), uov_method=method)
    assert asked.image.shape == (80, 96, 3)
    assert asked.image.dtype == np.uint8
    assert (asked.image == colour).all()


def test_alpha_is_laid_over_white_as_the_reference_does(ask: Asker) -> None:
    recorded = load_arrays("image-ops/hwc3")
    picture = Image.fromarray(recorded["rgba_in"])
    asked = ask(input_image=as_base64(encode(picture)))
    assert (asked.image == recorded["rgba_out"]).all()


@pytest.mark.parametrize(
    ("data", "colour"),
    [
        (encode(plain(96, 80, (0, 0, 0, 0), "CMYK"), "JPEG"), (255, 255, 255)),
        (encode(plain(96, 80, (0, 255, 255, 0), "CMYK"), "JPEG"), (255, 0, 0)),
        (TURNED, COLOUR),
    ],
    ids=["CMYK white", "CMYK red", "turned by EXIF"],
)
def test_b38_photos_of_cameras_and_printers_are_read(
    ask: Asker, data: bytes, colour: tuple[int, ...]
) -> None:
    image = ask(input_image=as_base64(data)).image
    assert image.shape == (80, 96, 3)
    assert np.abs(image.astype(int) - colour).max() <= 3  # they are JPEG files


@pytest.mark.parametrize("method", [name for name in UpscaleVaryMethod if name != "Disabled"])
@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (8192, 1), (1, 8192), (2, 400_000), (40_000, 3)]
)
def test_b37_thin_pictures_become_jobs_or_are_refused(
    client: TestClient, engine: FakeEngine, method: str, width: int, height: int
) -> None:
    data = {**SMALL_FORM, "uov_method": str(method)}
    answer = client.post(V1, data=data, files={"input_image": encode(plain(width, height))})
    if answer.status_code == 200:
        assert answer.json()[0]["finish_reason"] == "SUCCESS"
        assert engine.asked[-1].upscale_vary is not None
    else:
        assert "too thin" in refusal(answer, "input_image")


def test_b37_a_single_pixel_can_be_enlarged_but_not_varied(client: TestClient) -> None:
    body = {**SMALL, "input_image": as_base64(encode(plain(1, 1)))}
    assert client.post(V2, json={**body, "uov_method": UPSCALE}).status_code == 200
    varied = client.post(V2, json={**body, "uov_method": VARY})
    assert "too thin" in refusal(varied, "input_image")


@pytest.mark.parametrize(
    ("fields", "location"),
    [
        ({"uov_method": "Upscale (2x)"}, "input_image"),
        ({"uov_method": "Upscale (Fast 2x)"}, "input_image"),
        ({"uov_method": "Upscale (Custom)", "upscale_value": 2.5}, "upscale_value"),
        ({"uov_method": "Upscale (Custom)"}, "upscale_value"),
    ],
)
def test_b16_results_beyond_the_pixel_limit_are_refused(
    client: TestClient, fields: dict[str, Any], location: str
) -> None:
    # 4 x 24 000 000 pixels.
    data = encode(plain(6000, 4000, 0, "1"))
    body = {**SMALL, "input_image": as_base64(data), **fields}
    assert "89478485" in refusal(client.post(V2, json=body), location)


def test_a_large_picture_may_still_be_varied_or_enlarged_a_little(ask: Asker) -> None:
    data = as_base64(encode(plain(6000, 4000, 0, "1")))
    assert ask(input_image=data, uov_method=VARY).image.shape == (4000, 6000, 3)
    assert ask(input_image=data, uov_method="Upscale (1.5x)").image.shape == (4000, 6000, 3)


def test_the_answer_has_the_forms_of_every_generation(
    client: TestClient, engine: FakeEngine
) -> None:
    body = {**SMALL, "input_image": as_base64(PICTURE), "image_number": 3}
    picture = client.post(V2, json=body, headers={"accept": "image/png"})
    assert picture.headers["content-type"] == "image/png"
    assert engine.asked[-1].canvas.count == 1
    assert len(client.post(V2, json=body).json()) == 3
    job = client.post(f"{V1}?accept=image/png", json={**body, "async_process": True}).json()
    assert (job["job_type"], job["job_result"]) == ("Image Upscale or Variation", None)


def test_a_failing_run_names_its_reason(make_app: MakeApp) -> None:
    app = make_app()
    app.engine.play(Script(failure=ValueError("odd")))
    answer = app.client.post(V2, json={**SMALL, "input_image": as_base64(PICTURE), "image_seed": 4})
    assert [item["seed"] for item in answer.json()] == ["4"]
    assert answer.headers["X-Fooocus-Error"] == "ValueError: odd"


def test_misspelt_fields_are_told(client: TestClient) -> None:
    body = {**SMALL, "input_image": as_base64(PICTURE), "uov_metod": VARY}
    assert "uov_method" in client.post(V2, json=body).headers["X-Fooocus-Warning"]


def test_both_encodings_are_described(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    models = schema["components"]["schemas"]
    bodies = {
        url: schema["paths"][url]["post"]["requestBody"]["content"]["multipart/form-data"]
        for url in (V1, V2)
    }
    required = {url: _model(models, body)["required"] for url, body in bodies.items()}
    assert required == {V1: ["input_image", "uov_method"], V2: ["input_image"]}
    picture = _model(models, bodies[V1])["properties"]["input_image"]
    assert picture["format"] == "binary"


def _model(models: dict[str, Any], body: dict[str, Any]) -> dict[str, Any]:
    name = body["schema"]["$ref"].rpartition("/")[2]
    found: dict[str, Any] = models[name]
    return found
