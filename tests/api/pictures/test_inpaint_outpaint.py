"""POST /v1 and /v2 generation/image-inpaint-outpaint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fooocus_core.choices import InpaintEngine, Side
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import UPSCALER, ModelFile, inpaint_files
from fooocus_core.params import Extension, InpaintParams
from tests.api.conftest import App, MakeApp, refusal
from tests.fakes import FakeEngine
from tests.pictures import COLOUR, as_base64, as_data_url, encode, plain, serving

V1, V2 = "/v1/generation/image-inpaint-outpaint", "/v2/generation/image-inpaint-outpaint"
OLD = [url.replace("inpaint-", "inpait-") for url in (V1, V2)]
SMALL = {"aspect_ratios_selection": "128*64", "style_selections": [], "loras": []}
SMALL_FORM = {"aspect_ratios_selection": "128*64", "style_selections": "", "loras": "[]"}
PICTURE = encode(plain(96, 80))
TEXT = as_base64(PICTURE)
BLACK, WHITE = encode(plain(96, 80, 0, "L")), encode(plain(96, 80, 255, "L"))


def make_mask(width: int = 96, height: int = 80, level: int = 255) -> bytes:
    """A black mask with a square of one grey level in it."""
    mask = np.zeros((height, width), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = level
    return encode(Image.fromarray(mask))


class Asker:
    """Posts to the second version and tells what was asked of the engine, and the warning."""

    def __init__(self, app: App) -> None:
        self._client, self._engine = app.client, app.engine

    def __call__(self, **fields: Any) -> InpaintParams:
        asked, warning = self.whatever(**fields)
        assert asked is not None
        assert warning == ""
        return asked

    def whatever(self, **fields: Any) -> tuple[InpaintParams | None, str]:
        answer = self._client.post(V2, json={**SMALL, "input_image": TEXT, **fields})
        assert answer.status_code == 200, answer.text
        assert answer.json()[0]["finish_reason"] == "SUCCESS"
        asked = self._engine.asked[-1]
        assert (asked.upscale_vary, asked.image_prompts) == (None, ())
        return asked.inpaint, answer.headers.get("X-Fooocus-Warning", "")


@pytest.fixture
def ask(shared_app: App) -> Asker:
    return Asker(shared_app)


@pytest.mark.parametrize("url", [V1, OLD[0]])
def test_a_form_sends_picture_and_mask_as_files(
    client: TestClient, engine: FakeEngine, url: str
) -> None:
    data = {
        **SMALL_FORM,
        "inpaint_additional_prompt": "a hat",
        "outpaint_selections": "Left, right",
        "outpaint_distance_left": "40",
        "outpaint_distance_right": "",
        "advanced_params": '{"inpaint_engine": "None", "inpaint_strength": 0.5}',
    }
    files = {"input_image": ("a.png", PICTURE), "input_mask": ("m.png", make_mask(), "image/png")}
    answer = client.post(url, data=data, files=files)
    assert answer.status_code == 200, answer.text
    assert "X-Fooocus-Warning" not in answer.headers
    asked = engine.asked[-1].inpaint
    assert asked is not None
    assert asked.mask is not None
    assert (asked.image == COLOUR).all()
    assert asked.mask.shape == (80, 96, 3)
    assert (asked.mask[30, 30] == 255).all()
    assert (asked.prompt, asked.engine, asked.strength) == ("a hat", InpaintEngine.NONE, 0.5)
    assert asked.extend == (
        Extension(side=Side.LEFT, pixels=40),
        Extension(side=Side.RIGHT, pixels=None),
    )


@pytest.mark.parametrize("url", [V2, OLD[1], V1, OLD[0]])
@pytest.mark.parametrize("spell", [as_base64, as_data_url], ids=["base64", "data URL"])
def test_json_holds_picture_and_mask_as_text(
    client: TestClient, engine: FakeEngine, url: str, spell: Any
) -> None:
    body = {**SMALL, "input_image": spell(PICTURE), "input_mask": spell(make_mask())}
    job = client.post(url, json={**body, "async_process": True}).json()
    assert job["job_type"] == "Image Inpaint or Outpaint"
    assert client.post(url, json=body).status_code == 200
    asked = engine.asked[-1].inpaint
    assert asked is not None
    assert (asked.image == COLOUR).all()
    assert asked.mask is not None


def test_pictures_of_the_server_are_read_by_their_address(client: TestClient, ask: Asker) -> None:
    made = client.post("/v1/generation/text-to-image", json={**SMALL, "image_seed": 3}).json()
    asked = ask(input_image=made[0]["url"], outpaint_selections=["Top"])
    assert asked.image.shape == (64, 128, 3)


def test_picture_and_mask_are_fetched_from_their_addresses(make_app: MakeApp) -> None:
    ask = Asker(make_app(allow_private_urls=True))
    with serving(PICTURE) as picture, serving(make_mask()) as mask:
        asked = ask(input_image=picture, input_mask=mask)
    assert (asked.image == COLOUR).all()
    assert asked.mask is not None
    assert (asked.mask[30, 30] == 255).all()


def test_omitted_options_take_the_documented_defaults(ask: Asker) -> None:
    asked = ask(input_mask=as_base64(make_mask()))
    assert asked.extend == ()
    assert (asked.prompt, asked.engine) == ("", InpaintEngine.V2_6)
    assert (asked.strength, asked.field) == (1.0, 1.0)
    assert (asked.invert, asked.grow, asked.from_noise, asked.show_mask) == (False, 0, False, False)


def test_every_option_reaches_its_place(ask: Asker) -> None:
    asked = ask(
        input_mask=as_base64(make_mask()),
        inpaint_additional_prompt="a hat",
        advanced_params={
            "inpaint_engine": "None",
            "inpaint_strength": 0.25,
            "inpaint_respective_field": 0.618,
            "inpaint_erode_or_dilate": -3,
            "invert_mask_checkbox": True,
            "inpaint_disable_initial_latent": True,
            "debugging_inpaint_preprocessor": True,
        },
    )
    assert (asked.prompt, asked.engine) == ("a hat", InpaintEngine.NONE)
    assert (asked.strength, asked.field) == (0.25, 0.618)
    assert (asked.invert, asked.grow, asked.from_noise, asked.show_mask) == (True, -3, True, True)


@pytest.mark.parametrize(
    ("given", "sides"),
    [
        (["Left", "Top"], ["Left", "Top"]),
        ("left, RIGHT", ["Left", "Right"]),
        (["Left,Bottom"], ["Left", "Bottom"]),
        (["Left", "left"], ["Left"]),
    ],
)
def test_sides_are_read_in_every_spelling(ask: Asker, given: object, sides: list[str]) -> None:
    assert [part.side for part in ask(outpaint_selections=given).extend] == sides


@pytest.mark.parametrize(
    "given",
    [["Left", "Top"], "Left,Top", "left , top", '["Left", "Top"]'],
    ids=["repeated", "commas", "blanks", "JSON"],
)
def test_defect_b3_sides_of_a_form_are_read_in_every_spelling(
    client: TestClient, engine: FakeEngine, given: Any
) -> None:
    data = {**SMALL_FORM, "outpaint_selections": given}
    assert client.post(V1, data=data, files={"input_image": PICTURE}).status_code == 200
    asked = engine.asked[-1].inpaint
    assert asked is not None
    assert [part.side for part in asked.extend] == ["Left", "Top"]


@pytest.mark.parametrize(
    ("given", "place"), [("Up", (0,)), (["Left", "Middle"], (1,)), ([5], (0,)), (5, ())]
)
def test_b15_other_sides_are_refused_and_the_known_ones_told(
    client: TestClient, given: object, place: tuple[int, ...]
) -> None:
    body = {**SMALL, "input_image": TEXT, "outpaint_selections": given}
    text = refusal(client.post(V2, json=body), "outpaint_selections", *place)
    assert "'Bottom'" in text or "list" in text


@pytest.mark.parametrize(
    ("distance", "pixels"),
    [(40, 40), ("40", 40), (4096, 4096), (0, None), (-5, None), (None, None)],
)
@pytest.mark.parametrize("side", Side)
def test_distances_count_if_they_are_above_zero(
    ask: Asker, side: Side, distance: object, pixels: int | None
) -> None:
    fields = {"outpaint_selections": [side], f"outpaint_distance_{side.lower()}": distance}
    assert ask(**fields).extend == (Extension(side=side, pixels=pixels),)


def test_distances_of_sides_that_are_not_selected_are_ignored(ask: Asker) -> None:
    asked = ask(outpaint_selections=["Left"], outpaint_distance_top=50)
    assert asked.extend == (Extension(side=Side.LEFT, pixels=None),)


@pytest.mark.parametrize("distance", [4097, 100_000, 1.5, "far", True])
def test_b15_other_distances_are_refused(client: TestClient, distance: object) -> None:
    body = {**SMALL, "input_image": TEXT, "outpaint_distance_top": distance}
    refusal(client.post(V2, json=body), "outpaint_distance_top")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"inpaint_mask_upload_checkbox": False},
        {"inpaint_advanced_masking_checkbox": False},
        {"inpaint_mask_upload_checkbox": True, "inpaint_advanced_masking_checkbox": False},
    ],
)
def test_decision_d12_the_mask_is_used_whatever_the_checkbox_says(
    ask: Asker, options: dict[str, bool]
) -> None:
    assert ask(input_mask=as_base64(make_mask()), advanced_params=options).mask is not None


def test_decision_d6_a_mask_with_alpha_lies_over_black(ask: Asker) -> None:
    mask = plain(96, 80, (255, 255, 255, 0), "RGBA")
    mask.paste((255, 255, 255, 255), (10, 10, 30, 30))
    asked = ask(input_mask=as_base64(encode(mask)))
    assert asked.mask is not None
    assert asked.mask[20, 20].tolist() == [255] * 3
    assert asked.mask[50, 50].tolist() == [0] * 3


@pytest.mark.parametrize(("width", "height"), [(48, 40), (300, 20), (1, 1)])
def test_b40_a_mask_of_another_size_is_accepted(ask: Asker, width: int, height: int) -> None:
    asked = ask(input_mask=as_base64(encode(plain(width, height, 255, "L"))))
    assert asked.mask is not None
    assert asked.mask.shape == (height, width, 3)


NO_MASK: Mapping[str, dict[str, Any]] = {
    "absent": {},
    "null": {"input_mask": None},
    "empty": {"input_mask": ""},
    "placeholder": {"input_mask": "None"},
    "black": {"input_mask": as_base64(BLACK)},
    "dark": {"input_mask": as_base64(make_mask(level=127))},
    "no sides": {"outpaint_selections": []},
    "empty sides": {"outpaint_selections": ""},
    "distance only": {"outpaint_distance_left": 40},
    "eroded away": {
        "input_mask": as_base64(make_mask()),
        "advanced_params": {"inpaint_erode_or_dilate": -64},
    },
    "white and inverted": {
        "input_mask": as_base64(WHITE),
        "advanced_params": {"invert_mask_checkbox": True},
    },
}


@pytest.mark.parametrize("fields", NO_MASK.values(), ids=NO_MASK)
def test_b40_with_nothing_to_do_the_picture_is_made_from_the_prompt_and_the_caller_told(
    ask: Asker, fields: dict[str, Any]
) -> None:
    asked, warning = ask.whatever(**fields)
    assert asked is None
    assert "nothing to inpaint" in warning
    assert "input_mask" in warning


@pytest.mark.parametrize(
    "files",
    [{}, {"input_mask": ("", b"")}, {"input_mask": ("mask.png", b"")}],
    ids=["absent", "no file chosen", "empty file"],
)
def test_a_form_without_a_mask_may_extend_sides(
    client: TestClient, engine: FakeEngine, files: dict[str, Any]
) -> None:
    data = {**SMALL_FORM, "outpaint_selections": "Bottom"}
    answer = client.post(V1, data=data, files={"input_image": PICTURE, **files})
    assert answer.status_code == 200, answer.text
    asked = engine.asked[-1].inpaint
    assert asked is not None
    assert asked.mask is None


@pytest.mark.parametrize("field", ["black and inverted", "white", "grown"])
def test_b40_masks_with_something_white_are_used(ask: Asker, field: str) -> None:
    fields: dict[str, Any] = {
        "black and inverted": {
            "input_mask": as_base64(BLACK),
            "advanced_params": {"invert_mask_checkbox": True},
        },
        "white": {"input_mask": as_base64(WHITE)},
        "grown": {
            "input_mask": as_base64(make_mask()),
            "advanced_params": {"inpaint_erode_or_dilate": 64},
        },
    }[field]
    assert ask(**fields).mask is not None


def test_strict_servers_do_the_same(make_app: MakeApp) -> None:
    asked, warning = Asker(make_app(strict=True)).whatever()
    assert asked is None
    assert "nothing to inpaint" in warning


def test_an_unknown_engine_is_replaced_with_a_warning(ask: Asker) -> None:
    asked, warning = ask.whatever(
        input_mask=as_base64(make_mask()), advanced_params={"inpaint_engine": "v3"}
    )
    assert asked is not None
    assert asked.engine is InpaintEngine.V2_6
    assert warning.count("v3") == 1


HEAD, PATCH = inpaint_files(InpaintEngine.V2_6)


def path_of(core: CoreConfig, file: ModelFile) -> Any:
    return getattr(core.folders, file.kind)[0] / file.name


@pytest.mark.parametrize("file", [UPSCALER, HEAD, PATCH], ids=lambda file: file.name)
@pytest.mark.parametrize("url", [V1, V2])
def test_a_missing_file_makes_no_job_and_the_answer_says_how_to_get_it(
    make_app: MakeApp, url: str, file: ModelFile
) -> None:
    app = make_app()
    path = path_of(app.core, file)
    path.unlink()
    body = {**SMALL, "input_image": TEXT, "input_mask": as_base64(make_mask())}
    answer = app.client.post(url, json=body)
    assert answer.status_code == 503
    detail = answer.json()["detail"]
    assert f"put it into {path.parent}" in detail
    assert f"--output {path} https://" in detail
    assert app.client.get("/v1/generation/job-queue").json()["last_job_id"] is None


def test_both_files_of_an_engine_are_told_at_once(make_app: MakeApp) -> None:
    app = make_app()
    for file in (HEAD, PATCH):
        path_of(app.core, file).unlink()
    body = {**SMALL, "input_image": TEXT, "outpaint_selections": "Left"}
    detail = app.client.post(V2, json=body).json()["detail"]
    assert HEAD.name in detail
    assert PATCH.name in detail


def test_only_what_is_used_is_needed(make_app: MakeApp) -> None:
    app = make_app()
    ask = Asker(app)
    for file in (UPSCALER, HEAD, PATCH):
        path_of(app.core, file).unlink()
    large = as_base64(encode(plain(1024, 1000)))
    plainly = {"advanced_params": {"inpaint_engine": "None"}}
    assert ask(input_image=large, outpaint_selections="Left", **plainly).extend
    debugging = {"advanced_params": {"debugging_inpaint_preprocessor": True}}
    assert ask(input_image=large, outpaint_selections="Left", **debugging).show_mask
    assert ask.whatever()[0] is None


@pytest.mark.parametrize(
    "value", [None, "", "None", "null", "string", "@@", as_base64(b"no picture"), 5]
)
def test_without_a_usable_picture_the_field_is_named(client: TestClient, value: object) -> None:
    body = {**SMALL, "input_image": value, "input_mask": as_base64(make_mask())}
    refusal(client.post(V2, json=body), "input_image")


@pytest.mark.parametrize("value", ["@@", as_base64(b"no picture"), 5, "http://127.0.0.1/m.png"])
def test_b40_an_unusable_mask_is_named(client: TestClient, value: object) -> None:
    body = {**SMALL, "input_image": TEXT, "input_mask": value}
    refusal(client.post(V2, json=body), "input_mask")


LYING = Image.Exif()
LYING[0x0112] = 6
MODES = {
    "grey": encode(plain(96, 80, 7, "L")),
    "grey and alpha": encode(plain(96, 80, (7, 9), "LA")),
    "alpha": encode(plain(96, 80, (0, 0, 200, 127), "RGBA")),
    "palette": encode(plain(96, 80).quantize(4)),
    "16 bit": encode(Image.fromarray(np.full((80, 96), 0xFFFF, np.uint16))),
    "CMYK": encode(plain(96, 80, (0, 0, 0, 0), "CMYK"), "JPEG"),
    "turned by EXIF": encode(plain(80, 96), "JPEG", exif=LYING),
}


@pytest.mark.parametrize("data", MODES.values(), ids=MODES)
def test_b38_every_kind_of_picture_becomes_rgb_of_eight_bits(ask: Asker, data: bytes) -> None:
    asked = ask(input_image=as_base64(data), input_mask=as_base64(WHITE))
    assert asked.image.shape == (80, 96, 3)
    assert asked.image.dtype == np.uint8


@pytest.mark.parametrize("data", MODES.values(), ids=MODES)
def test_every_kind_of_mask_is_read(ask: Asker, data: bytes) -> None:
    asked = ask(input_mask=as_base64(data), outpaint_selections="Left")
    assert asked.mask is not None
    assert asked.mask.shape == (80, 96, 3)


@pytest.mark.parametrize("fields", [{"outpaint_selections": "Left,Top"}, {"white": True}])
@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (8192, 1), (1, 8192), (3, 3), (2, 600_000), (40_000, 3)]
)
def test_b37_thin_pictures_become_jobs_or_are_refused(
    client: TestClient, engine: FakeEngine, width: int, height: int, fields: dict[str, Any]
) -> None:
    body = {**SMALL, "input_image": as_base64(encode(plain(width, height))), **fields}
    if "white" in fields:
        body["input_mask"] = as_base64(WHITE)
    answer = client.post(V2, json=body)
    if answer.status_code == 200:
        assert answer.json()[0]["finish_reason"] == "SUCCESS"
        assert engine.asked[-1].inpaint is not None
    else:
        assert refusal(answer, "input_image")


def test_a_single_pixel_has_no_share_to_extend_by_but_a_distance(
    client: TestClient, ask: Asker
) -> None:
    pixel = as_base64(encode(plain(1, 1)))
    body = {**SMALL, "input_image": pixel, "outpaint_selections": "Left"}
    assert "masked" in refusal(client.post(V2, json=body), "input_image")
    assert ask(input_image=pixel, outpaint_selections="Left", outpaint_distance_left=9).extend


def test_a_line_cannot_be_painted(client: TestClient) -> None:
    line = as_base64(encode(plain(8192, 1)))
    body = {**SMALL, "input_image": line, "input_mask": as_base64(WHITE)}
    assert "too thin" in refusal(client.post(V2, json=body), "input_image")


def test_results_beyond_the_pixel_limit_are_refused(client: TestClient) -> None:
    large = as_base64(encode(plain(2000, 9000, 0, "1")))
    body = {**SMALL, "input_image": large, "outpaint_selections": "Left,Right"}
    assert client.post(V2, json=body).status_code == 200
    body |= {"outpaint_distance_left": 4096, "outpaint_distance_right": 4096}
    assert "89478485" in refusal(client.post(V2, json=body), "input_image")


def test_the_answer_has_the_forms_of_every_generation(
    client: TestClient, engine: FakeEngine
) -> None:
    body = {**SMALL, "input_image": TEXT, "outpaint_selections": "Left", "image_number": 2}
    picture = client.post(V2, json=body, headers={"accept": "image/png"})
    assert picture.headers["content-type"] == "image/png"
    assert engine.asked[-1].canvas.count == 1
    assert len(client.post(V2, json=body).json()) == 2


def test_misspelt_fields_are_told(client: TestClient) -> None:
    body = {**SMALL, "input_image": TEXT, "outpaint_selection": "Left"}
    answer = client.post(V2, json=body)
    assert "outpaint_selections" in answer.headers["X-Fooocus-Warning"]


def test_client_calls_inpaint_by_its_older_spelling(client: TestClient) -> None:
    schema = client.get("/openapi.json").json()
    assert not set(OLD) & set(schema["paths"])
    assert {V1, V2} <= set(schema["paths"])
    form = schema["components"]["schemas"]["InpaintOutpaintRequestForm"]["properties"]
    assert form["input_mask"]["format"] == "binary"
    assert form["outpaint_selections"]["type"] == "string"
