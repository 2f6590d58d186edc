"""Pictures that guide: the image-prompt endpoints, text-to-image-with-ip, and mixing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from fastapi.testclient import TestClient
from PIL import Image

from fooocus_core.choices import ControlKind, InpaintEngine
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import (
    CANNY_CONTROL,
    CPDS_CONTROL,
    FACE_FINDER,
    IMAGE_ENCODER,
    IP_ADAPTER,
    IP_ADAPTER_FACE,
    IP_NEGATIVE,
    UPSCALER,
    ModelFile,
    inpaint_files,
)
from fooocus_core.params import ControlParams, GenerationParams, ImagePrompt
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.api.conftest import App, MakeApp, refusal
from tests.fakes import FakeEngine
from tests.pictures import COLOUR, as_base64, as_data_url, encode, plain, serving

V1, V2 = "/v1/generation/image-prompt", "/v2/generation/image-prompt"
WITH_IP = "/v2/generation/text-to-image-with-ip"
VARY, INPAINT = "/v2/generation/image-upscale-vary", "/v2/generation/image-inpaint-outpaint"
SMALL = {"aspect_ratios_selection": "128*64", "style_selections": [], "loras": []}
SMALL_FORM = {"aspect_ratios_selection": "128*64", "style_selections": "", "loras": "[]"}
PICTURE = encode(plain(96, 80))
TEXT = as_base64(PICTURE)
PROMPT = {"cn_img": TEXT}
COLOURS = [(number, 0, 0) for number in range(1, 6)]
PICTURES = [encode(plain(8, 8, colour)) for colour in COLOURS]
PROMPTS = [{"cn_img": as_base64(data)} for data in PICTURES]
USUAL = {
    "ImagePrompt": (0.5, 0.6),
    "FaceSwap": (0.9, 0.75),
    "PyraCanny": (0.5, 1.0),
    "CPDS": (0.5, 1.0),
}


class Asker:
    """Posts JSON and tells what was asked of the engine, and the warning."""

    def __init__(self, app: App) -> None:
        self._client, self._engine = app.client, app.engine

    def __call__(self, *prompts: dict[str, Any], **fields: Any) -> tuple[ImagePrompt, ...]:
        asked, warning = self.whatever(image_prompts=prompts, **fields)
        assert warning == ""
        assert (asked.upscale_vary, asked.inpaint) == (None, None)
        return asked.image_prompts

    def whatever(self, url: str = V2, **fields: Any) -> tuple[GenerationParams, str]:
        answer = self._client.post(url, json={**SMALL, **fields})
        assert answer.status_code == 200, answer.text
        assert answer.json()[0]["finish_reason"] == "SUCCESS"
        return self._engine.asked[-1], answer.headers.get("X-Fooocus-Warning", "")


@pytest.fixture
def ask(shared_app: App) -> Asker:
    return Asker(shared_app)


def colours(prompts: tuple[ImagePrompt, ...]) -> list[tuple[int, ...]]:
    return [tuple(prompt.image[0, 0]) for prompt in prompts]


def test_a_form_sends_each_picture_with_its_own_fields(
    client: TestClient, engine: FakeEngine
) -> None:
    data = {
        **SMALL_FORM,
        "cn_type1": "ImagePrompt",
        "cn_stop1": "0.25",
        "cn_weight1": "1.5",
        "cn_type2": "FaceSwap",
        "cn_type3": "PyraCanny",
        "cn_stop3": "",
        "cn_weight3": "0",
        "cn_type4": "CPDS",
        "cn_stop4": "1",
        "cn_weight4": "2",
    }
    files = {f"cn_img{slot}": (f"{slot}.png", PICTURES[slot - 1]) for slot in (4, 3, 2, 1)}
    answer = client.post(V1, data=data, files=files)
    assert answer.status_code == 200, answer.text
    assert [item["finish_reason"] for item in answer.json()] == ["SUCCESS"]
    assert "X-Fooocus-Warning" not in answer.headers
    prompts = engine.asked[-1].image_prompts
    assert colours(prompts) == COLOURS[:4]
    assert [(prompt.kind, prompt.stop, prompt.weight) for prompt in prompts] == [
        (ControlKind.IMAGE_PROMPT, 0.25, 1.5),
        (ControlKind.FACE_SWAP, 0.9, 0.75),
        (ControlKind.PYRA_CANNY, 0.5, 1.0),
        (ControlKind.CPDS, 1.0, 2.0),
    ]


@pytest.mark.parametrize("as_multipart", [True, False], ids=["multipart", "urlencoded"])
@pytest.mark.parametrize("spell", [as_base64, as_data_url], ids=["base64", "data URL"])
def test_a_form_may_hold_a_picture_as_text(
    client: TestClient, engine: FakeEngine, spell: Any, as_multipart: bool
) -> None:
    fields = {**SMALL_FORM, "cn_img1": spell(PICTURE), "cn_type1": "PyraCanny"}
    body: Any = {"files": {n: (None, v) for n, v in fields.items()}} if as_multipart else {}
    answer = client.post(V1, **body or {"data": fields})
    assert answer.status_code == 200, answer.text
    (prompt,) = engine.asked[-1].image_prompts
    assert prompt.image.shape == (80, 96, 3)
    assert (prompt.image == COLOUR).all()


def test_a_picture_sent_as_text_may_be_as_long_as_a_picture_is(
    client: TestClient, engine: FakeEngine
) -> None:
    noise = encode(Image.effect_noise((1300, 1000), 90).convert("RGB"))
    assert len(as_base64(noise)) > 1024 * 1024
    data = {**SMALL_FORM, "cn_img2": as_base64(noise)}
    assert client.post(V1, data=data).status_code == 200
    assert engine.asked[-1].image_prompts[0].image.shape == (1000, 1300, 3)
    too_long = client.post(V1, data={**SMALL_FORM, "cn_stop2": "0" * 1_100_000})
    assert too_long.status_code == 413


@pytest.mark.parametrize("url", [V1, V2, WITH_IP, VARY, INPAINT])
@pytest.mark.parametrize("spell", [as_base64, as_data_url], ids=["base64", "data URL"])
def test_json_holds_pictures_as_text(ask: Asker, url: str, spell: Any) -> None:
    prompt = {"cn_img": spell(PICTURE), "cn_stop": 0.3, "cn_weight": 0.7, "cn_type": "CPDS"}
    fields: dict[str, Any] = {"input_image": TEXT, "outpaint_selections": "Left"}
    if url in (V1, V2, WITH_IP):
        fields = {}
    asked, warning = ask.whatever(url, image_prompts=[prompt], **fields)
    (prompt_asked,) = asked.image_prompts
    assert warning == ""
    assert (prompt_asked.image == COLOUR).all()
    assert (prompt_asked.stop, prompt_asked.weight) == (0.3, 0.7)
    assert prompt_asked.kind is ControlKind.CPDS


def test_client_posts_json_without_a_content_type(client: TestClient, engine: FakeEngine) -> None:
    for url in (V1, V2):
        body = f'{{"image_prompts": [{{"cn_img": "{TEXT}"}}], "aspect_ratios_selection": "64*64"}}'
        assert client.post(url, content=body).status_code == 200
        assert len(engine.asked[-1].image_prompts) == 1


@pytest.mark.parametrize("url", [V1, V2, WITH_IP])
def test_pictures_are_fetched_from_their_addresses(make_app: MakeApp, url: str) -> None:
    ask = Asker(make_app(allow_private_urls=True))
    with serving(PICTURE) as address:
        asked, _ = ask.whatever(url, image_prompts=[{"cn_img": address}])
    assert (asked.image_prompts[0].image == COLOUR).all()


def test_a_form_may_hold_an_address(make_app: MakeApp) -> None:
    app = make_app(allow_private_urls=True)
    with serving(PICTURE) as address:
        assert app.client.post(V1, data={**SMALL_FORM, "cn_img3": address}).status_code == 200
    assert (app.engine.asked[-1].image_prompts[0].image == COLOUR).all()


def test_a_picture_of_the_server_is_read_by_its_address(client: TestClient, ask: Asker) -> None:
    made = client.post("/v1/generation/text-to-image", json={**SMALL, "image_seed": 3}).json()
    (prompt,) = ask({"cn_img": made[0]["url"]})
    assert prompt.image.shape == (64, 128, 3)


@pytest.mark.parametrize(
    ("url", "kind", "fields"),
    [
        (V1, "Image Prompt", {"image_prompts": [PROMPT]}),
        (V2, "Image Prompt", {"image_prompts": [PROMPT]}),
        (V2, "Image Prompt", {"image_prompts": []}),
        (V2, "Image Prompt", {"image_prompts": [PROMPT], "input_image": TEXT}),
        (WITH_IP, "Text to Image", {"image_prompts": [PROMPT]}),
        (WITH_IP, "Text to Image", {}),
        (VARY, "Image Upscale or Variation", {"image_prompts": [PROMPT], "input_image": TEXT}),
        (INPAINT, "Image Inpaint or Outpaint", {"image_prompts": [PROMPT], "input_image": TEXT}),
    ],
)
def test_jobs_are_called_by_their_endpoint(
    client: TestClient, url: str, kind: str, fields: dict[str, Any]
) -> None:
    job = client.post(url, json={**SMALL, **fields, "async_process": True}).json()
    assert job["job_type"] == kind


@pytest.mark.parametrize("kind", ControlKind)
@pytest.mark.parametrize("nothing", [{}, None, 0, 0.0, "", "0", " "], ids=repr)
def test_decision_d14_stop_and_weight_not_given_are_the_usual_ones_of_the_kind(
    ask: Asker, kind: ControlKind, nothing: Any
) -> None:
    silent = {} if nothing == {} else {"cn_stop": nothing, "cn_weight": nothing}
    (prompt,) = ask({**PROMPT, "cn_type": kind, **silent})
    assert (prompt.stop, prompt.weight) == USUAL[kind]


@pytest.mark.parametrize("nothing", [None, "", "0", "0.0"])
@pytest.mark.parametrize("kind", ControlKind)
def test_a_form_that_gives_neither_has_the_usual_ones_of_the_kind(
    client: TestClient, engine: FakeEngine, kind: ControlKind, nothing: str | None
) -> None:
    silent = {} if nothing is None else {"cn_stop1": nothing, "cn_weight1": nothing}
    data = {**SMALL_FORM, "cn_type1": str(kind), **silent}
    assert client.post(V1, data=data, files={"cn_img1": PICTURE}).status_code == 200
    (prompt,) = engine.asked[-1].image_prompts
    assert (prompt.kind, prompt.stop, prompt.weight) == (kind, *USUAL[kind])


def test_one_of_both_may_be_given(ask: Asker) -> None:
    stopped, weighted = ask({**PROMPT, "cn_stop": 0.0001}, {**PROMPT, "cn_weight": "2"})
    assert (stopped.stop, stopped.weight) == (0.0001, 0.6)
    assert (weighted.stop, weighted.weight) == (0.5, 2.0)


@pytest.mark.parametrize("kind", ControlKind)
def test_every_kind_is_known_in_any_case(ask: Asker, kind: ControlKind) -> None:
    prompts = ask(*({**PROMPT, "cn_type": spelt} for spelt in (kind, kind.lower(), kind.upper())))
    assert [prompt.kind for prompt in prompts] == [kind] * 3


def test_a_kind_that_is_not_said_is_image_prompt(client: TestClient, engine: FakeEngine) -> None:
    data = {**SMALL_FORM, "cn_type1": ""}
    assert client.post(V1, data=data, files={"cn_img1": PICTURE}).status_code == 200
    assert engine.asked[-1].image_prompts[0].kind is ControlKind.IMAGE_PROMPT


NOTHING = [None, "", " ", "None", "none", "null", "string"]


def test_b41_entries_without_a_picture_are_passed_over(ask: Asker) -> None:
    empty = [{}, *({"cn_img": value, "cn_stop": 0.4} for value in NOTHING)]
    assert colours(ask(*empty, PROMPTS[0], *empty, PROMPTS[1])) == COLOURS[:2]


@pytest.mark.parametrize(
    "empty",
    [
        {},
        {"cn_img1": ("", b"")},
        {"cn_img1": ("a.png", b"")},
        {"cn_img1": (None, "")},
        {"cn_img1": (None, "None")},
    ],
    ids=str,
)
def test_client_sends_empty_files_for_slots_without_a_picture(
    client: TestClient, engine: FakeEngine, empty: dict[str, Any]
) -> None:
    files = {**empty, "cn_img2": PICTURES[0], "cn_img4": PICTURES[1]}
    data = {**SMALL_FORM, "cn_type1": "FaceSwap", "cn_type3": "CPDS", "cn_type4": "CPDS"}
    answer = client.post(V1, data=data, files=files)
    assert answer.status_code == 200, answer.text
    prompts = engine.asked[-1].image_prompts
    assert colours(prompts) == COLOURS[:2]
    assert [prompt.kind for prompt in prompts] == [ControlKind.IMAGE_PROMPT, ControlKind.CPDS]


def test_b41_more_than_four_are_cut_with_a_warning(ask: Asker) -> None:
    asked, warning = ask.whatever(image_prompts=[{}, *PROMPTS])
    assert colours(asked.image_prompts) == COLOURS[:4]
    assert "only the first 4 are used" in warning


def test_b41_a_form_with_more_than_four_is_cut_too(client: TestClient, engine: FakeEngine) -> None:
    files = {f"cn_img{slot}": data for slot, data in enumerate(PICTURES, 1)}
    answer = client.post(V1, data=SMALL_FORM, files=files)
    assert colours(engine.asked[-1].image_prompts) == COLOURS[:4]
    assert "too many image prompts: 5" in answer.headers["X-Fooocus-Warning"]


def test_pictures_beyond_the_limit_are_not_even_read(client: TestClient, ask: Asker) -> None:
    broken = {"cn_img": "no picture"}
    asked, _ = ask.whatever(image_prompts=[*PROMPTS[:4], broken])
    assert len(asked.image_prompts) == 4
    answer = client.post(V2, json={**SMALL, "image_prompts": [*PROMPTS[:3], broken]})
    refusal(answer, "image_prompts", 3, "cn_img")


def test_strict_servers_refuse_more_than_four(make_app: MakeApp) -> None:
    answer = make_app(strict=True).client.post(V2, json={**SMALL, "image_prompts": PROMPTS})
    assert "at most 4" in refusal(answer, "image_prompts")


def test_the_configuration_may_allow_more(
    core: CoreConfig, guide_models: None, settings: Settings
) -> None:
    engine = FakeEngine()
    changed = replace(core, defaults=replace(core.defaults, max_image_prompts=5))
    with TestClient(create_app(settings, changed, lambda: engine)) as client:
        app = App(client=client, engine=engine, core=changed)
        assert len(Asker(app)(*PROMPTS)) == 5


def test_lists_beyond_all_measure_are_refused(client: TestClient) -> None:
    answer = client.post(V2, json={**SMALL, "image_prompts": [{}] * 101})
    assert "100" in refusal(answer, "image_prompts")


BAD_VALUES: list[tuple[str, Any, str]] = [
    ("cn_stop", 2, "less than or equal to 1"),
    ("cn_stop", -0.1, "greater than or equal to 0"),
    ("cn_stop", "nan", "finite"),
    ("cn_stop", "half", "number"),
    ("cn_weight", -1, "greater than or equal to 0"),
    ("cn_weight", 2.1, "less than or equal to 2"),
    ("cn_weight", "inf", "finite"),
    ("cn_type", "Depth", "'ImagePrompt', 'FaceSwap', 'PyraCanny' or 'CPDS'"),
    ("cn_img", "@@", "base64"),
    ("cn_img", as_base64(b"no picture"), "PNG, JPEG"),
    ("cn_img", "http://127.0.0.1:9/x.png", "not fetched"),
    ("cn_img", "data:text/html,x", "base64"),
]


@pytest.mark.parametrize(("field", "value", "told"), BAD_VALUES)
@pytest.mark.parametrize("url", [V1, V2, WITH_IP])
def test_b41_wrong_values_are_refused_and_named_by_their_place(
    client: TestClient, url: str, field: str, value: Any, told: str
) -> None:
    body = {**SMALL, "image_prompts": [{}, {**PROMPT, field: value}]}
    jobs = client.get("/v1/generation/job-queue").json()["last_job_id"]
    assert told in refusal(client.post(url, json=body), "image_prompts", 1, field)
    assert client.get("/v1/generation/job-queue").json()["last_job_id"] == jobs


@pytest.mark.parametrize(("field", "value", "told"), BAD_VALUES)
def test_wrong_values_of_a_form_are_named_as_they_were_sent(
    client: TestClient, field: str, value: Any, told: str
) -> None:
    data = {**SMALL_FORM, "cn_img3": TEXT, f"{field}3": str(value)}
    assert told in refusal(client.post(V1, data=data), f"{field}3")


@pytest.mark.parametrize(
    ("files", "field"),
    [
        ({"cn_img2": b"no picture"}, "cn_img2"),
        ({"cn_img1": PICTURE, "cn_stop1": b"a file"}, "cn_stop1"),
        ({"cn_img1": PICTURE, "cn_type1": b"a file"}, "cn_type1"),
    ],
)
def test_files_that_cannot_be_used_are_named(
    client: TestClient, files: dict[str, bytes], field: str
) -> None:
    refusal(client.post(V1, data=SMALL_FORM, files=files), field)


@pytest.mark.parametrize("value", ["", "[]", "string", {}, 5, [5], ["x"], [None]])
def test_what_is_no_list_of_prompts_is_refused(client: TestClient, value: object) -> None:
    answer = client.post(V2, json={**SMALL, "image_prompts": value})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][:2] == ["body", "image_prompts"]


@pytest.mark.parametrize("body", [{}, {"image_prompts": None}], ids=["absent", "null"])
@pytest.mark.parametrize("url", [V1, V2])
def test_json_has_to_hold_the_list(client: TestClient, url: str, body: dict[str, None]) -> None:
    assert "required" in refusal(client.post(url, json={**SMALL, **body}), "image_prompts").lower()


@pytest.mark.parametrize("url", [WITH_IP, VARY, INPAINT])
@pytest.mark.parametrize("body", [{}, {"image_prompts": None}, {"image_prompts": []}])
def test_elsewhere_the_list_may_be_left_out(ask: Asker, url: str, body: dict[str, Any]) -> None:
    fields = {"input_image": TEXT, "outpaint_selections": "Left"} if url != WITH_IP else {}
    asked, warning = ask.whatever(url, **fields, **body)
    assert (asked.image_prompts, warning) == ((), "")


@pytest.mark.parametrize("prompts", [[], [{}], [{"cn_img": "None"}] * 5])
def test_without_any_picture_the_prompt_alone_makes_one_and_the_caller_is_told(
    ask: Asker, prompts: list[dict[str, Any]]
) -> None:
    asked, warning = ask.whatever(image_prompts=prompts)
    assert (asked.image_prompts, asked.inpaint) == ((), None)
    assert "no picture is given" in warning


def test_a_form_may_be_without_any_picture(client: TestClient, engine: FakeEngine) -> None:
    answer = client.post(V1, data={**SMALL_FORM, "image_prompts": f'[{{"cn_img": "{TEXT}"}}]'})
    assert answer.status_code == 200
    assert engine.asked[-1].image_prompts == ()
    assert "no picture is given" in answer.headers["X-Fooocus-Warning"]


FLAGS = [
    {"mixing_image_prompt_and_vary_upscale": flag, "mixing_image_prompt_and_inpaint": flag}
    for flag in (False, True)
]


@pytest.mark.parametrize("flags", FLAGS, ids=["off", "on"])
@pytest.mark.parametrize("url", [V1, V2, INPAINT])
def test_prompts_beside_a_picture_to_extend_are_mixed(
    ask: Asker, url: str, flags: dict[str, bool]
) -> None:
    asked, warning = ask.whatever(
        url,
        input_image=TEXT,
        outpaint_selections=["Left"],
        inpaint_additional_prompt="a hat",
        image_prompts=[PROMPTS[0]],
        advanced_params=flags,
    )
    assert warning == ""
    assert asked.inpaint is not None
    assert (asked.inpaint.prompt, len(asked.inpaint.extend)) == ("a hat", 1)
    assert colours(asked.image_prompts) == COLOURS[:1]


def test_a_form_mixes_too(client: TestClient, engine: FakeEngine) -> None:
    data = {**SMALL_FORM, "outpaint_selections": "Left"}
    files = {"input_image": PICTURE, "cn_img1": PICTURES[0]}
    assert client.post(V1, data=data, files=files).status_code == 200
    asked = engine.asked[-1]
    assert asked.inpaint is not None
    assert colours(asked.image_prompts) == COLOURS[:1]


@pytest.mark.parametrize("flags", FLAGS, ids=["off", "on"])
@pytest.mark.parametrize("method", ["Vary (Subtle)", "Upscale (2x)"])
def test_prompts_beside_a_picture_to_vary_are_mixed(
    ask: Asker, method: str, flags: dict[str, bool]
) -> None:
    asked, warning = ask.whatever(
        VARY,
        input_image=TEXT,
        uov_method=method,
        image_prompts=[PROMPTS[0]],
        advanced_params=flags,
    )
    assert warning == ""
    assert asked.upscale_vary is not None
    assert asked.upscale_vary.method == method
    assert colours(asked.image_prompts) == COLOURS[:1]


def test_defect_b11_without_a_real_prompt_nothing_is_mixed(ask: Asker) -> None:
    asked, warning = ask.whatever(
        VARY,
        input_image=TEXT,
        image_prompts=[{}] * 5,
        advanced_params={"mixing_image_prompt_and_vary_upscale": True},
    )
    assert (asked.image_prompts, warning) == ((), "")
    assert asked.upscale_vary is not None


def test_flags_without_something_to_mix_do_nothing(ask: Asker) -> None:
    assert len(ask(PROMPT, advanced_params=FLAGS[1])) == 1


def test_a_disabled_method_leaves_the_prompts(ask: Asker) -> None:
    asked, _ = ask.whatever(
        VARY, input_image=TEXT, uov_method="Disabled", image_prompts=[PROMPTS[0]]
    )
    assert asked.upscale_vary is None
    assert colours(asked.image_prompts) == COLOURS[:1]


def test_a_picture_to_inpaint_needs_no_prompts(ask: Asker) -> None:
    asked, warning = ask.whatever(input_image=TEXT, outpaint_selections="Top", image_prompts=[])
    assert asked.inpaint is not None
    assert (asked.image_prompts, warning) == ((), "")


def test_a_picture_with_nothing_to_inpaint_leaves_the_prompts(ask: Asker) -> None:
    asked, warning = ask.whatever(input_image=TEXT, image_prompts=[PROMPT])
    assert asked.inpaint is None
    assert len(asked.image_prompts) == 1
    assert "nothing to inpaint" in warning


def test_what_is_said_of_a_picture_that_is_not_there_is_told(ask: Asker) -> None:
    asked, warning = ask.whatever(
        input_mask=TEXT,
        outpaint_selections="Left",
        inpaint_additional_prompt="a hat",
        image_prompts=[PROMPT],
    )
    assert asked.inpaint is None
    assert "input_mask, outpaint_selections, inpaint_additional_prompt" in warning


@pytest.mark.parametrize("value", NOTHING)
def test_the_picture_to_inpaint_may_be_left_out_in_every_spelling(ask: Asker, value: Any) -> None:
    assert len(ask(PROMPT, input_image=value)) == 1


FINAL: Mapping[str, tuple[str, dict[str, Any]]] = {
    "fast": (VARY, {"uov_method": "Upscale (Fast 2x)"}),
    "very large": (VARY, {"input_image": as_base64(encode(plain(3000, 3000, 0, "1")))}),
    "mask shown": (
        V2,
        {
            "outpaint_selections": "Left",
            "advanced_params": {"debugging_inpaint_preprocessor": True},
        },
    ),
}


@pytest.mark.parametrize(("url", "fields"), FINAL.values(), ids=FINAL)
def test_where_nothing_is_painted_prompts_are_left_out_and_the_caller_told(
    make_app: MakeApp, url: str, fields: dict[str, Any]
) -> None:
    app = make_app()
    path_of(app.core, IP_ADAPTER).unlink()
    asked, warning = Asker(app).whatever(
        url, **{"input_image": TEXT, **fields}, image_prompts=[PROMPT]
    )
    assert asked.image_prompts == ()
    assert "image_prompts are not used" in warning


def test_the_options_of_all_guiding_pictures_reach_their_places(ask: Asker) -> None:
    options = {
        "controlnet_softness": 0.75,
        "canny_low_threshold": 10,
        "canny_high_threshold": 20,
        "skipping_cn_preprocessor": True,
        "debugging_cn_preprocessor": True,
    }
    asked, _ = ask.whatever(image_prompts=[PROMPT], advanced_params=options)
    assert asked.control == ControlParams(
        softness=0.75, canny_low=10, canny_high=20, skip_preprocessing=True, show_preprocessing=True
    )
    asked, _ = ask.whatever(image_prompts=[PROMPT])
    assert asked.control == ControlParams(softness=0.25, canny_low=64, canny_high=128)


READS = (IMAGE_ENCODER, IP_NEGATIVE)
NEEDED: list[tuple[ControlKind, tuple[ModelFile, ...]]] = [
    (ControlKind.IMAGE_PROMPT, (*READS, IP_ADAPTER)),
    (ControlKind.FACE_SWAP, (*READS, IP_ADAPTER_FACE, FACE_FINDER)),
    (ControlKind.PYRA_CANNY, (CANNY_CONTROL,)),
    (ControlKind.CPDS, (CPDS_CONTROL,)),
]
EVERY_FILE = (*READS, IP_ADAPTER, IP_ADAPTER_FACE, FACE_FINDER, CANNY_CONTROL, CPDS_CONTROL)


def path_of(core: CoreConfig, file: ModelFile) -> Any:
    return getattr(core.folders, file.kind)[0] / file.name


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        pytest.param(kind, file, id=f"{kind}-{file.name}")
        for kind, files in NEEDED
        for file in files
    ],
)
@pytest.mark.parametrize("url", [V1, WITH_IP, VARY, INPAINT])
def test_a_missing_file_makes_no_job_and_the_answer_says_how_to_get_it(
    make_app: MakeApp, url: str, kind: ControlKind, file: ModelFile
) -> None:
    app = make_app()
    path = path_of(app.core, file)
    path.unlink()
    body = {**SMALL, "input_image": TEXT, "image_prompts": [{**PROMPT, "cn_type": kind}]}
    answer = app.client.post(url, json=body)
    assert answer.status_code == 503
    detail = answer.json()["detail"]
    assert f"put it into {path.parent}" in detail
    assert f"curl --location --create-dirs --output {path} https://" in detail
    assert app.client.get("/v1/generation/job-queue").json()["last_job_id"] is None


@pytest.mark.parametrize(("kind", "files"), NEEDED)
def test_only_the_files_of_the_kinds_in_use_are_needed(
    make_app: MakeApp, kind: ControlKind, files: tuple[ModelFile, ...]
) -> None:
    app = make_app()
    for file in set(EVERY_FILE) - set(files):
        path_of(app.core, file).unlink()
    assert Asker(app)({**PROMPT, "cn_type": kind})[0].kind is kind


def test_all_missing_files_are_told_at_once_and_each_once(make_app: MakeApp) -> None:
    app = make_app()
    for file in EVERY_FILE:
        path_of(app.core, file).unlink()
    prompts = [{**PROMPT, "cn_type": kind} for kind in ControlKind]
    detail = app.client.post(V2, json={**SMALL, "image_prompts": prompts}).json()["detail"]
    assert [detail.count(f"'{file.name}'") for file in EVERY_FILE] == [1] * len(EVERY_FILE)


def test_faces_that_are_not_searched_need_no_finder(make_app: MakeApp) -> None:
    app = make_app()
    path_of(app.core, FACE_FINDER).unlink()
    skipping = {"skipping_cn_preprocessor": True}
    assert Asker(app)({**PROMPT, "cn_type": "FaceSwap"}, advanced_params=skipping)


@pytest.mark.parametrize("url", [VARY, INPAINT])
def test_showing_control_pictures_needs_no_models(make_app: MakeApp, url: str) -> None:
    app = make_app()
    unused = (CANNY_CONTROL, CPDS_CONTROL, UPSCALER, *inpaint_files(InpaintEngine.V2_6))
    for file in unused:
        path_of(app.core, file).unlink()
    asked, _ = Asker(app).whatever(
        url,
        input_image=TEXT,
        outpaint_selections="Left",
        image_prompts=[{**PROMPT, "cn_type": kind} for kind in ("PyraCanny", "CPDS")],
        advanced_params={"debugging_cn_preprocessor": True},
    )
    assert len(asked.image_prompts) == 2


@pytest.mark.parametrize("kind", ControlKind)
@pytest.mark.parametrize(
    ("width", "height"), [(1, 1), (8192, 1), (1, 8192), (2, 400_000), (40_000, 3)]
)
def test_b37_thin_pictures_are_accepted_or_refused_and_never_fail(
    client: TestClient, engine: FakeEngine, kind: str, width: int, height: int
) -> None:
    prompt = {"cn_img": as_base64(encode(plain(width, height))), "cn_type": kind}
    answer = client.post(V2, json={**SMALL, "image_prompts": [prompt]})
    if answer.status_code == 200:
        assert answer.json()[0]["finish_reason"] == "SUCCESS"
        assert engine.asked[-1].image_prompts[0].image.shape == (height, width, 3)
    else:
        refusal(answer, "image_prompts", 0, "cn_img")


def test_whether_a_picture_is_too_thin_depends_on_what_is_painted(
    client: TestClient, ask: Asker
) -> None:
    prompt = {"cn_img": as_base64(encode(plain(8192, 1))), "cn_type": "PyraCanny"}
    assert ask(prompt)
    place = ("image_prompts", 0, "cn_img")
    large = {**SMALL, "aspect_ratios_selection": "1024*1024", "image_prompts": [prompt]}
    assert "1024x1024" in refusal(client.post(V2, json=large), *place)
    varied = {**SMALL, "input_image": TEXT, "uov_method": "Vary (Subtle)"}
    answer = client.post(VARY, json={**varied, "image_prompts": [prompt]})
    assert "1088x960" in refusal(answer, *place)


def test_pictures_too_long_to_find_a_face_in_are_refused_unless_none_is_searched(
    client: TestClient, ask: Asker
) -> None:
    prompt = {"cn_img": as_base64(encode(plain(40_000, 3))), "cn_type": "FaceSwap"}
    answer = client.post(V2, json={**SMALL, "image_prompts": [prompt]})
    assert "32766" in refusal(answer, "image_prompts", 0, "cn_img")
    assert ask(prompt, advanced_params={"skipping_cn_preprocessor": True})


LYING = Image.Exif()
LYING[0x0112] = 6
MODES = {
    "grey": encode(plain(96, 80, 7, "L")),
    "transparent": encode(plain(96, 80, (0, 0, 200, 0), "RGBA")),
    "palette": encode(plain(96, 80).quantize(4)),
    "CMYK": encode(plain(96, 80, (0, 0, 0, 0), "CMYK"), "JPEG"),
    "turned by EXIF": encode(plain(80, 96), "JPEG", exif=LYING),
}


@pytest.mark.parametrize("data", MODES.values(), ids=MODES)
def test_every_kind_of_picture_becomes_rgb(ask: Asker, data: bytes) -> None:
    (prompt,) = ask({"cn_img": as_base64(data)})
    assert prompt.image.shape == (80, 96, 3)


@pytest.mark.parametrize("url", ["image-upscale-vary", "image-inpaint-outpaint"])
def test_other_forms_of_the_first_version_take_no_prompts(
    client: TestClient, engine: FakeEngine, url: str
) -> None:
    data = {**SMALL_FORM, "uov_method": "Vary (Subtle)", "outpaint_selections": "Left"}
    files = {"input_image": PICTURE, "cn_img1": PICTURE}
    assert client.post(f"/v1/generation/{url}", data=data, files=files).status_code == 200
    assert engine.asked[-1].image_prompts == ()


@pytest.mark.parametrize("url", [V1, V2, WITH_IP])
def test_the_answer_has_the_forms_of_every_generation(
    client: TestClient, engine: FakeEngine, url: str
) -> None:
    body = {**SMALL, "image_prompts": [PROMPT], "image_number": 3}
    picture = client.post(url, json=body, headers={"accept": "image/png"})
    assert picture.headers["content-type"] == "image/png"
    assert engine.asked[-1].canvas.count == 1
    assert len(client.post(url, json=body).json()) == 3


def test_misspelt_fields_are_told(client: TestClient) -> None:
    body = {**SMALL, "image_prompts": [{"cn_image": TEXT}], "image_promts": []}
    warning = client.post(V2, json=body).headers["X-Fooocus-Warning"]
    assert "did you mean image_prompts?" in warning
    assert "did you mean cn_img?" in warning
    data = {**SMALL_FORM, "cn_image1": TEXT, "cn_img1": TEXT}
    warning = client.post(V1, data=data).headers["X-Fooocus-Warning"]
    assert warning == "unknown field 'cn_image1': ignored (did you mean cn_img1?)"


def test_strict_servers_refuse_misspelt_fields_by_their_place(make_app: MakeApp) -> None:
    body = {**SMALL, "image_prompts": [{}, {"cn_image": TEXT}]}
    refusal(make_app(strict=True).client.post(V2, json=body), "image_prompts", 1, "cn_image")
