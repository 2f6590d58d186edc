"""Request fields -> parameters of the pipeline, and what is tolerated with a warning."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from fooocus_core.catalog import EXPANSION_FILES
from fooocus_core.choices import Performance, RefinerSwap, Sampler, Scheduler
from fooocus_core.config import CoreConfig
from fooocus_core.downloads import SAFETY_CHECKER
from fooocus_core.params import FreeUParams, GenerationParams, Lora, Size
from fooocusapi.app import create_app
from fooocusapi.settings import Settings
from tests.api.conftest import App
from tests.conftest import MakeClient
from tests.fakes import FakeEngine

URL = "/v1/generation/text-to-image"
QUIET = {"style_selections": [], "loras": []}
BASE = "juggernautXL_v8Rundiffusion.safetensors"


class Asker:
    """Posts fields and tells what the engine was asked for, and the warning of the answer."""

    def __init__(self, client: TestClient, engine: FakeEngine) -> None:
        self._client, self._engine = client, engine

    def __call__(self, **fields: Any) -> tuple[GenerationParams, str]:
        body = {"aspect_ratios_selection": "64*64", **QUIET, **fields}
        answer = self._client.post(URL, json=body)
        assert answer.status_code == 200, answer.text
        return self._engine.asked[-1], answer.headers.get("X-Fooocus-Warning", "")


@pytest.fixture
def ask(shared_app: App) -> Asker:
    """Asks the app of all tests that only look at what becomes of their fields."""
    return Asker(shared_app.client, shared_app.engine)


@pytest.fixture
def ask_strictly(make_client: MakeClient, engine: FakeEngine) -> Asker:
    return Asker(make_client(strict=True), engine)


@pytest.fixture
def expansion(core: CoreConfig) -> Path:
    """The folder of the prompt expansion, with all its files."""
    folder = core.folders.expansion[0]
    folder.mkdir(parents=True)
    for name in EXPANSION_FILES:
        (folder / name).touch()
    return folder


@pytest.mark.usefixtures("expansion")
def test_omitted_fields_take_the_documented_defaults(
    client: TestClient, engine: FakeEngine
) -> None:
    client.post(URL, json={})
    (asked,) = engine.asked
    assert asked.prompt.styles == ("Fooocus V2", "Fooocus Enhance", "Fooocus Sharp")
    assert asked.canvas.size == (1152, 896)
    assert (asked.canvas.count, asked.canvas.same_seed) == (1, False)
    assert asked.models.base == BASE
    assert (asked.models.refiner, asked.models.refiner_switch) == (None, 0.5)
    assert asked.models.loras == (
        Lora(name="sd_xl_offset_example-lora_1.0.safetensors", weight=0.1),
    )
    assert (asked.models.vae, asked.models.clip_skip) == (None, 2)
    assert (asked.guidance.scale, asked.guidance.sharpness) == (4.0, 2.0)
    assert asked.guidance.adaptive_scale == 7.0
    assert asked.guidance.size_scale_positive == 1.5
    assert asked.guidance.size_scale_negative == 0.8
    assert asked.guidance.size_scale_end == 0.3
    assert asked.sampling.performance is Performance.SPEED
    assert asked.sampling.sampler is Sampler.DPMPP_2M_SDE_GPU
    assert asked.sampling.scheduler is Scheduler.KARRAS
    assert (asked.sampling.steps, asked.sampling.switch_step) == (None, None)
    assert asked.freeu is None
    assert asked.output.metadata == "fooocus"
    assert asked.output.previews


def test_every_field_reaches_its_place(ask: Asker) -> None:
    asked, warning = ask(
        prompt="a fox",
        negative_prompt="blurry",
        style_selections=["SAI Anime"],
        performance_selection="Quality",
        aspect_ratios_selection="768*512",
        image_number=2,
        image_seed=42,
        sharpness=3.5,
        guidance_scale=6,
        base_model_name="folder/other.safetensors",
        refiner_model_name=BASE,
        refiner_switch=0.7,
        loras=[{"model_name": "painting.safetensors", "weight": -0.5}],
        meta_scheme="a111",
        read_wildcards_in_order=True,
        advanced_params={
            "disable_preview": True,
            "disable_intermediate_results": True,
            "disable_seed_increment": True,
            "adm_scaler_positive": 1.1,
            "adm_scaler_negative": 0.9,
            "adm_scaler_end": 0.4,
            "refiner_swap_method": "vae",
            "adaptive_cfg": 5,
            "clip_skip": 3,
            "sampler_name": "euler",
            "scheduler_name": "normal",
            "vae_name": "soft.safetensors",
            "overwrite_step": 20,
            "overwrite_switch": 11.6,
            "overwrite_width": 640,
            "overwrite_height": 320,
            "freeu_enabled": True,
            "freeu_b1": 1.2,
        },
    )
    assert warning == ""
    assert (asked.prompt.positive, asked.prompt.negative) == ("a fox", "blurry")
    assert asked.prompt.styles == ("SAI Anime",)
    assert asked.prompt.wildcards_in_order
    assert asked.sampling.performance is Performance.QUALITY
    assert (asked.sampling.sampler, asked.sampling.scheduler) == ("euler", "normal")
    assert (asked.sampling.steps, asked.sampling.switch_step) == (20, 12)
    assert asked.canvas.size == Size(768, 512)
    assert (asked.canvas.forced_width, asked.canvas.forced_height) == (640, 320)
    assert (asked.canvas.count, asked.canvas.seed, asked.canvas.same_seed) == (2, 42, True)
    assert (asked.guidance.scale, asked.guidance.adaptive_scale) == (6, 5)
    assert asked.guidance.sharpness == 3.5
    assert asked.guidance.size_scale_positive == 1.1
    assert asked.guidance.size_scale_negative == 0.9
    assert asked.guidance.size_scale_end == 0.4
    assert (asked.models.base, asked.models.refiner) == ("folder/other.safetensors", BASE)
    assert (asked.models.refiner_switch, asked.models.refiner_swap) == (0.7, RefinerSwap.VAE)
    assert asked.models.loras == (Lora(name="painting.safetensors", weight=-0.5),)
    assert (asked.models.vae, asked.models.clip_skip) == ("soft.safetensors", 3)
    assert asked.freeu == FreeUParams(b1=1.2)
    assert asked.output.metadata == "a1111"
    assert not asked.output.previews


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ([], ()),
        (["fooocus sharp"], ("Fooocus Sharp",)),
        (["Fooocus Sharp,SAI Anime, "], ("Fooocus Sharp", "SAI Anime")),
        ("Fooocus Sharp", ("Fooocus Sharp",)),
    ],
)
def test_styles_are_split_and_matched(
    ask: Asker, chosen: object, expected: tuple[str, ...]
) -> None:
    asked, warning = ask(style_selections=chosen)
    assert (asked.prompt.styles, warning) == (expected, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", ()),
        ("[]", ()),
        ('["Fooocus Sharp", "SAI Anime"]', ("Fooocus Sharp", "SAI Anime")),
    ],
)
def test_decision_d2_styles_of_a_form(
    client: TestClient, engine: FakeEngine, text: str, expected: tuple[str, ...]
) -> None:
    data = {"aspect_ratios_selection": "64*64", "loras": "[]", "style_selections": text}
    assert client.post(URL, data=data).status_code == 200
    assert engine.asked[0].prompt.styles == expected


@pytest.mark.parametrize(("text", "count"), [("", 1), ("None", 1), ("[]", 0)])
def test_loras_of_a_form(client: TestClient, engine: FakeEngine, text: str, count: int) -> None:
    data = {"aspect_ratios_selection": "64*64", "style_selections": "", "loras": text}
    assert client.post(URL, data=data).status_code == 200
    assert len(engine.asked[0].models.loras) == count


def test_loras_that_are_off_or_none_are_skipped(ask: Asker) -> None:
    loras = [
        {"model_name": "painting.safetensors", "enabled": False},
        {"model_name": "None", "weight": 1},
        {"model_name": "painting.safetensors"},
    ]
    asked, warning = ask(loras=loras)
    assert (asked.models.loras, warning) == ((Lora(name="painting.safetensors", weight=0.5),), "")


def test_refiner_equal_to_the_base_is_off(ask: Asker) -> None:
    asked, _ = ask(refiner_model_name=BASE)
    assert asked.models.refiner is None


@pytest.mark.parametrize("nothing", ["", "None"])
def test_names_that_mean_none(ask: Asker, nothing: str) -> None:
    asked, warning = ask(
        base_model_name=nothing,
        refiner_model_name=nothing,
        advanced_params={"vae_name": "Default (model)", "sampler_name": ""},
    )
    assert (asked.models.base, asked.models.refiner, asked.models.vae) == (BASE, None, None)
    assert warning == ""


# Fields, what the warning tells, the field named, what a refusal tells to be allowed.
TOLERATED = [
    ({"style_selections": ["Fooocus Sharpp"]}, "Fooocus Sharp", "style_selections", "mean Fooo"),
    (
        {"loras": [{"model_name": "paintin.safetensors"}]},
        "painting.safetensors",
        "loras",
        "all-models",
    ),
    ({"loras": [{"model_name": "painting.safetensors"}] * 6}, "first 5 of 6", "loras", "at most 5"),
    ({"advanced_params": {"sampler_name": "eulr"}}, "euler", "sampler_name", "dpmpp_2m_sde"),
    (
        {"advanced_params": {"sampler_name": "default_sampler"}},
        "dpmpp_2m_sde",
        "sampler_name",
        "euler, ",
    ),
    ({"advanced_params": {"scheduler_name": "kara"}}, "karras", "scheduler_name", "sgm_uniform"),
    (
        {"advanced_params": {"refiner_swap_method": "both"}},
        "joint",
        "refiner_swap_method",
        "joint, separate, vae",
    ),
    ({"advanced_params": {"inpaint_engine": "v9"}}, "v2.6", "inpaint_engine", "None, v1, v2.5"),
    (
        {"advanced_params": {"vae_name": "sof.safetensors"}},
        "soft.safetensors",
        "vae_name",
        "Default (model)",
    ),
    ({"webhook_url": "ftp://x"}, "webhook_url", "webhook_url", "http://"),
    ({"promt": "a fox"}, "prompt", "promt", "mean prompt"),
    ({"advanced_params": {"sampler_nam": "euler"}}, "sampler_name", "sampler_nam", "sampler_name"),
]
MODELS = [
    ({"base_model_name": "juggernautXL_v6.safetensors"}, BASE),
    ({"refiner_model_name": "gone.safetensors"}, "no refiner used"),
]


@pytest.mark.parametrize(
    ("fields", "told"), [(fields, told) for fields, told, *_ in TOLERATED] + MODELS
)
def test_b17a_what_is_unknown_is_replaced_or_left_out_with_a_warning(
    ask: Asker, fields: dict[str, Any], told: str
) -> None:
    asked, warning = ask(**fields)
    assert told in warning
    assert asked.models.base == BASE
    assert asked.sampling.sampler is Sampler.DPMPP_2M_SDE_GPU
    assert (asked.models.refiner, asked.models.vae, asked.prompt.styles) == (None, None, ())


@pytest.mark.parametrize(
    ("fields", "field", "allowed"), [(fields, *rest) for fields, _, *rest in TOLERATED]
)
def test_b17a_strict_refuses_what_is_otherwise_tolerated_and_tells_what_is_allowed(
    make_client: MakeClient, fields: dict[str, Any], field: str, allowed: str
) -> None:
    answer = make_client(strict=True).post(URL, json={**QUIET, **fields})
    assert answer.status_code == 422
    (error,) = answer.json()["detail"]
    assert error["loc"][-1] == field
    assert allowed in error["msg"]
    assert "left out" not in error["msg"]
    assert "used instead" not in error["msg"]
    assert error["input"] is not None


def test_strict_leaves_models_to_the_run(ask_strictly: Asker, engine: FakeEngine) -> None:
    asked, warning = ask_strictly(base_model_name="gone", refiner_model_name="away")
    assert (asked.models.base, asked.models.refiner, warning) == ("gone", "away", "")


def test_defect_b26_decision_d13_warnings_of_async_jobs_stand_in_the_first_answer(
    client: TestClient,
) -> None:
    body = {**QUIET, "style_selections": ["nonsense"], "async_process": True}
    assert "nonsense" in client.post(URL, json=body).headers["X-Fooocus-Warning"]


def test_configured_lora_that_is_not_there_is_left_out_even_if_strict(
    ask_strictly: Asker, core: CoreConfig
) -> None:
    (core.folders.loras[0] / "sd_xl_offset_example-lora_1.0.safetensors").unlink()
    asked, warning = ask_strictly(loras=None)
    assert asked.models.loras == ()
    assert "sd_xl_offset_example-lora_1.0.safetensors" in warning


def test_an_incomplete_prompt_expansion_is_left_out_and_the_place_of_its_files_told(
    client: TestClient, engine: FakeEngine, expansion: Path
) -> None:
    ask = Asker(client, engine)
    asked, warning = ask(style_selections=["Fooocus V2"])
    assert (asked.prompt.styles, warning) == (("Fooocus V2",), "")
    (expansion / "pytorch_model.bin").unlink()
    asked, warning = ask(style_selections=["Fooocus V2"])
    assert asked.prompt.styles == ()
    assert "pytorch_model.bin" in warning
    assert "prompt_expansion/fooocus_expansion" in warning


def test_a_missing_prompt_expansion_is_told_once_in_header_and_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    body = {"aspect_ratios_selection": "64*64", "loras": []}
    with caplog.at_level("WARNING"):
        answer = client.post(URL, json=body)
    warning = answer.headers["X-Fooocus-Warning"]
    assert warning.startswith("style 'Fooocus V2' left out: prompt expansion needs ")
    assert [record.getMessage() for record in caplog.records] == [warning]
    assert client.get(answer.json()[0]["url"].removeprefix("http://127.0.0.1:8888")).content


def test_pictures_are_checked_if_the_request_asks_for_it(
    client: TestClient, core: CoreConfig, engine: FakeEngine
) -> None:
    request = {**QUIET, "advanced_params": {"black_out_nsfw": True}}
    refused = client.post(URL, json=request)
    assert refused.status_code == 503
    for part in (SAFETY_CHECKER.name, str(core.folders.safety_checker[0]), "curl --location"):
        assert part in refused.json()["detail"]
    assert engine.asked == []

    add_safety_checker(core)
    assert client.post(URL, json=request).status_code == 200
    assert client.post(URL, json=QUIET).status_code == 200
    assert [params.output.censor for params in engine.asked] == [True, False]


def test_a_configured_check_is_made_whatever_the_request_says(
    settings: Settings, core: CoreConfig, engine: FakeEngine
) -> None:
    checking = replace(core, defaults=replace(core.defaults, censor=True))
    with TestClient(create_app(settings, checking, lambda: engine)) as client:
        assert client.post(URL, json=QUIET).status_code == 503
        add_safety_checker(core)
        body = {**QUIET, "advanced_params": {"black_out_nsfw": False}}
        assert client.post(URL, json=body).status_code == 200
    assert [params.output.censor for params in engine.asked] == [True]


def add_safety_checker(core: CoreConfig) -> None:
    folder = core.folders.safety_checker[0]
    folder.mkdir(parents=True)
    (folder / SAFETY_CHECKER.name).touch()


def test_a_mode_whose_lora_is_missing_makes_no_job(client: TestClient, core: CoreConfig) -> None:
    request = {**QUIET, "performance_selection": "Lightning"}
    answer = client.post(URL, json=request)
    assert answer.status_code == 503
    assert "sdxl_lightning_4step_lora.safetensors" in answer.json()["detail"]
    (core.folders.loras[0] / "sdxl_lightning_4step_lora.safetensors").touch()
    assert client.post(URL, json=request).status_code == 200


def test_without_a_checkpoint_no_job_is_made(client: TestClient, core: CoreConfig) -> None:
    (core.folders.checkpoints[0] / BASE).unlink()
    answer = client.post(URL, json=QUIET)
    assert answer.status_code == 503
    assert BASE in answer.json()["detail"]
    assert client.get("/v1/generation/job-queue").json()["last_job_id"] is None


def test_metadata_and_previews_can_be_switched_off_for_all(
    make_client: MakeClient, engine: FakeEngine
) -> None:
    asked, _ = Asker(make_client(save_metadata=False, previews=False), engine)()
    assert (asked.output.metadata, asked.output.previews) == (None, False)


def test_save_meta_false_asks_for_no_record(ask: Asker) -> None:
    assert ask(save_meta=False)[0].output.metadata is None


def test_decision_d9_configured_defaults_apply(
    core: CoreConfig, settings: Settings, engine: FakeEngine
) -> None:
    changed = replace(
        core.defaults,
        prompt="always",
        performance=Performance.QUALITY,
        steps=12,
        clip_skip=1,
        sampler=Sampler.EULER,
        previous_models=("folder/other.safetensors",),
        model="gone.safetensors",
    )
    app = create_app(settings, replace(core, defaults=changed), lambda: engine)
    with TestClient(app) as client:
        asked, _ = Asker(client, engine)()
    assert asked.prompt.positive == "always"
    assert asked.sampling.performance is Performance.QUALITY
    assert (asked.sampling.steps, asked.sampling.sampler) == (12, "euler")
    assert asked.models.clip_skip == 1
    assert asked.models.base == "folder/other.safetensors"


@pytest.mark.parametrize(
    "fields",
    [
        {"image_prompts": [], "input_image": "x", "api_name": "txt2img", "preview_url": "x"},
        {"overwrite_upscale_strength": 0.5, "vae_name": "x", "sampler_name": "y"},
        {"advanced_params": {"inpaint_mask_upload_checkbox": True}},
        {
            "advanced_params": {
                "inpaint_mask_upload_checkbox": True,
                "inpaint_advanced_masking_checkbox": True,
            }
        },
        {f"promt{number}" * 20: 1 for number in range(3)},
    ],
)
def test_fields_of_other_programs_are_ignored_even_if_strict(
    ask_strictly: Asker, fields: dict[str, Any]
) -> None:
    assert ask_strictly(**fields)[1] == ""


def test_b22_many_misspelt_fields_cost_no_time(ask: Asker) -> None:
    # Of this process alone: what else runs on the machine does not count.
    began = time.process_time()
    ask(**{f"promt_{number}": 1 for number in range(20_000)})
    assert time.process_time() - began < 2


def test_many_unknown_styles_are_told_once_each_in_one_line(
    ask: Asker, caplog: pytest.LogCaptureFixture
) -> None:
    names = [f"Fooocus Sharpp{number}" for number in range(150)] * 2
    asked, warning = ask(style_selections=names)
    assert asked.prompt.styles == ()
    assert warning.count("'Fooocus Sharpp7'") == 1
    assert warning.count("did you mean") == 5
    assert len([entry for entry in caplog.records if "Sharpp" in entry.getMessage()]) == 1


def test_a_style_may_be_chosen_twice(ask: Asker) -> None:
    assert ask(style_selections=["SAI Anime", "SAI Anime"])[0].prompt.styles == ("SAI Anime",) * 2


MakeWith = Callable[..., TestClient]


@pytest.fixture
def make_with(core: CoreConfig, settings: Settings, engine: FakeEngine) -> Iterator[MakeWith]:
    """Starts an app whose configured defaults, or settings, differ as stated."""
    with ExitStack() as stack:

        def make(*, strict: bool = False, **defaults: Any) -> TestClient:
            changed = replace(core, defaults=replace(core.defaults, **defaults))
            app = create_app(
                settings.model_copy(update={"strict": strict}), changed, lambda: engine
            )
            return stack.enter_context(TestClient(app, raise_server_exceptions=False))

        yield make


@pytest.mark.parametrize(
    ("default", "folder"),
    [
        ({"refiner": "gone.safetensors"}, "checkpoints"),
        ({"vae": "gone.safetensors"}, "vae"),
        ({"model": "gone.safetensors", "previous_models": ()}, "checkpoints"),
    ],
)
def test_without_a_configured_file_no_job_is_made_and_its_folder_told(
    make_with: MakeWith,
    core: CoreConfig,
    default: dict[str, Any],
    folder: str,
) -> None:
    client = make_with(**default)
    answer = client.post(URL, json=QUIET)
    assert answer.status_code == 503
    assert str(next(iter(default.values()))) in answer.json()["detail"]
    assert str(getattr(core.folders, folder)[0]) in answer.json()["detail"]
    assert client.get("/v1/generation/job-queue").json()["last_job_id"] is None


def test_the_command_that_fetches_a_missing_file_is_told(
    client: TestClient, core: CoreConfig
) -> None:
    (core.folders.checkpoints[0] / BASE).unlink()
    text = client.post(URL, json=QUIET).json()["detail"]
    address = core.downloads.checkpoints[BASE]
    target = core.folders.checkpoints[0] / BASE
    assert f"curl --location --create-dirs --output {target} {address}" in text


def test_a_configured_file_is_not_needed_where_the_request_names_another(
    make_with: MakeWith, engine: FakeEngine
) -> None:
    client = make_with(refiner="gone.safetensors", vae="gone.safetensors")
    body = {**QUIET, "refiner_model_name": "None", "advanced_params": {"vae_name": "None"}}
    assert client.post(URL, json=body).status_code == 200


def test_an_unknown_configured_style_is_a_warning_at_the_start_and_never_refused(
    make_with: MakeWith, engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    client = make_with(strict=True, styles=("Fooocus Sharpp", "SAI Anime"))
    assert "'Fooocus Sharpp'" in caplog.text
    answer = client.post(URL, json={"loras": []})
    assert answer.status_code == 200
    assert engine.asked[-1].prompt.styles == ("SAI Anime",)
