"""Which stages a generation has, in which order, and what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fooocus_core.choices import ControlKind, InpaintEngine, Performance, UpscaleVaryMethod
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.downloads import UPSCALER, ModelFile
from fooocus_core.engine import Engine, create_engine
from fooocus_core.errors import ModelNotFoundError, RunCancelled
from fooocus_core.events import CancelToken, Event, Progress
from fooocus_core.params import (
    CanvasParams,
    ControlParams,
    GenerationParams,
    ImagePrompt,
    InpaintParams,
    ModelParams,
    SamplingParams,
    Size,
    UpscaleVaryParams,
)
from fooocus_core.workflows.generate import announce, generate
from tests.workflow_parts import Listener, make_resources, plan_for

PICTURE = np.full((64, 64, 3), 90, np.uint8)
MASK = np.zeros_like(PICTURE)
MASK[16:48, 16:48] = 255
VARY = UpscaleVaryParams(image=PICTURE, method=UpscaleVaryMethod.VARY_SUBTLE)
UPSCALE = UpscaleVaryParams(image=PICTURE, method=UpscaleVaryMethod.UPSCALE_2)
INPAINT = InpaintParams(image=PICTURE, mask=MASK)
GUIDE = ImagePrompt(image=PICTURE, kind=ControlKind.PYRA_CANNY, stop=0.5, weight=1.0)
ONLY_ENLARGE = replace(UPSCALE, method=UpscaleVaryMethod.UPSCALE_FAST_2)
CONTROL_TEXT = "Downloading control models ..."
UPSCALER_TEXT = "Downloading upscale models ..."
INPAINTER_TEXT = "Downloading inpainter ..."


def asked(
    *,
    upscale_vary: UpscaleVaryParams | None = None,
    inpaint: InpaintParams | None = None,
    guides: tuple[ImagePrompt, ...] = (),
    control: ControlParams | None = None,
    performance: Performance = Performance.SPEED,
) -> GenerationParams:
    return GenerationParams(
        models=ModelParams(base="tiny_sdxl.safetensors"),
        canvas=CanvasParams(size=Size(64, 64), seed=4),
        sampling=SamplingParams(performance=performance, steps=1),
        upscale_vary=upscale_vary,
        inpaint=inpaint,
        image_prompts=guides,
        control=control or ControlParams(),
    )


@pytest.fixture
def engine(weights: Path, tmp_path: Path) -> Engine:
    (tmp_path / "outputs").mkdir()
    config = load_config(root=tmp_path, models_path=weights, environ={})
    return create_engine(config, DeviceOptions())


@pytest.mark.parametrize(
    ("params", "texts"),
    [
        (asked(), []),
        (asked(upscale_vary=VARY), []),
        (asked(upscale_vary=UPSCALE), [UPSCALER_TEXT]),
        (asked(inpaint=INPAINT), [UPSCALER_TEXT, INPAINTER_TEXT]),
        (asked(inpaint=replace(INPAINT, engine=InpaintEngine.NONE)), [UPSCALER_TEXT]),
        (
            asked(upscale_vary=UPSCALE, inpaint=INPAINT, performance=Performance.LIGHTNING),
            ["Downloading Lightning components ...", UPSCALER_TEXT, UPSCALER_TEXT, INPAINTER_TEXT],
        ),
        (asked(inpaint=replace(INPAINT, mask=None)), []),
        (asked(guides=(GUIDE, GUIDE)), [CONTROL_TEXT]),
        (asked(inpaint=INPAINT, guides=(GUIDE,)), [UPSCALER_TEXT, INPAINTER_TEXT, CONTROL_TEXT]),
        (asked(upscale_vary=ONLY_ENLARGE, guides=(GUIDE,)), [UPSCALER_TEXT]),
        (asked(guides=(replace(GUIDE, weight=0.0),)), []),
    ],
    ids=[
        "text",
        "vary",
        "upscale",
        "inpaint",
        "no engine",
        "all",
        "no hole",
        "guides",
        "guided hole",
        "only enlarged",
        "idle guide",
    ],
)
def test_what_is_needed_is_announced_before_the_models(
    weights: Path, tmp_path: Path, params: GenerationParams, texts: list[str]
) -> None:
    resources, listener = make_resources(weights, tmp_path), Listener()
    announce(plan_for(params, resources), listener.reporter)
    expected = [*texts, "Loading control models ...", "Initializing ..."]
    assert listener.progress == [(1, text) for text in expected]


@pytest.mark.parametrize(
    ("present", "missing"),
    [((), UPSCALER.name), ((UPSCALER,), r"fooocus_inpaint_head\.pth.*inpaint")],
    ids=["upscaler", "head"],
)
def test_a_missing_file_of_an_inpaint_fails_before_anything_is_loaded(
    tmp_path: Path, present: tuple[ModelFile, ...], missing: str
) -> None:
    for file in present:
        path = tmp_path / "models" / file.kind / file.name
        path.parent.mkdir(parents=True)
        path.touch()
    config = load_config(root=tmp_path, models_path=tmp_path / "models", environ={})
    listener = Listener()
    with pytest.raises(ModelNotFoundError, match=missing):
        list(
            create_engine(config, DeviceOptions()).generate(
                asked(inpaint=INPAINT), listener.events.append, CancelToken()
            )
        )
    assert listener.progress[-1][1] == "Initializing ..."


def test_a_missing_control_net_fails_before_anything_is_loaded(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    resources, listener = make_resources(tmp_path / "models", tmp_path), Listener()
    plan = plan_for(asked(guides=(GUIDE,)), resources)
    with pytest.raises(ModelNotFoundError, match=r"control-lora-canny-rank128.*controlnet"):
        list(generate(plan, resources, listener.reporter))
    assert listener.progress[-1][1] == "Initializing ..."


def test_a_picture_that_is_only_enlarged_ignores_guides(engine: Engine) -> None:
    listener = Listener()
    params = asked(upscale_vary=ONLY_ENLARGE)
    (plain,) = engine.generate(params, [].append, CancelToken())
    params = replace(params, image_prompts=(GUIDE,))
    (made,) = engine.generate(params, listener.events.append, CancelToken())
    assert np.array_equal(made.image, plain.image)
    assert ["image prompts were left out" in text for text in listener.warnings] == [True]


def test_prepared_pictures_are_handed_over_instead_of_a_painted_one(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    resources, listener = make_resources(tmp_path / "models", tmp_path), Listener()
    showing = ControlParams(show_preprocessing=True, skip_preprocessing=True)
    other = replace(GUIDE, image=PICTURE // 2, kind=ControlKind.CPDS)
    params = asked(inpaint=INPAINT, guides=(other, GUIDE), control=showing)
    plan = plan_for(params, resources)
    made = list(generate(plan, resources, listener.reporter))
    assert [(image.seed, image.record) for image in made] == [(4, None), (4, None)]
    assert [image.image.shape for image in made] == [(1024, 1024, 3)] * 2
    assert [int(image.image.max()) for image in made] == [90, 45]
    assert listener.progress[-2:] == [
        (2, "Image processing ..."),
        (100, "Saving image to system ..."),
    ]


@pytest.mark.parametrize("text", ["Processing prompts ...", "Image processing ..."])
def test_a_stop_is_seen_between_stages(engine: Engine, text: str) -> None:
    token = CancelToken()
    texts: list[str] = []

    def stop(event: Event) -> None:
        if isinstance(event, Progress):
            texts.append(event.text)
            if event.text == text:
                token.cancel()

    with pytest.raises(RunCancelled):
        list(engine.generate(asked(upscale_vary=VARY), stop, token))
    assert texts[-1] == text


@pytest.mark.slow
def test_a_varied_picture_is_guided_at_its_own_size(engine: Engine) -> None:
    listener = Listener()
    picture = np.random.default_rng(1).integers(0, 256, (1001, 1023, 3), np.uint8)
    params = asked(upscale_vary=replace(VARY, image=picture))
    (plain,) = engine.generate(params, [].append, CancelToken())
    # To vary begins late in the run, when most guides have stopped.
    guided = replace(params, image_prompts=(replace(GUIDE, image=picture, stop=1.0),))
    (made,) = engine.generate(guided, listener.events.append, CancelToken())
    assert made.image.shape == plain.image.shape == (1000, 1016, 3)
    assert not np.array_equal(made.image, plain.image)
    texts = [text for _, text in listener.progress]
    begin = texts.index("Image processing ...")
    assert texts[begin + 1 : begin + 3] == ["VAE encoding ...", "Moving model to GPU ..."]


@pytest.mark.slow
def test_a_picture_is_varied_before_its_hole_is_painted(engine: Engine) -> None:
    listener = Listener()
    hole = replace(INPAINT, from_noise=True, engine=InpaintEngine.NONE, strength=0.6)
    params = asked(upscale_vary=VARY, inpaint=hole)
    (both,) = engine.generate(params, listener.events.append, CancelToken())
    texts = [text for _, text in listener.progress]
    begin = texts.index("Image processing ...")
    assert texts[begin + 1 : begin + 4] == [
        "VAE encoding ...",
        "VAE Inpaint encoding ...",
        "VAE encoding ...",
    ]
    assert both.image.shape == PICTURE.shape
    assert listener.warnings == []
