"""Which stages a generation has, in which order, and what they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fooocus_core.choices import InpaintEngine, Performance, UpscaleVaryMethod
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.engine import Engine, create_engine
from fooocus_core.errors import ModelNotFoundError, RunCancelled
from fooocus_core.events import CancelToken, Event, Progress
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    InpaintParams,
    ModelParams,
    SamplingParams,
    Size,
    UpscaleVaryParams,
)
from fooocus_core.workflows.generate import announce
from tests.workflow_parts import Listener, make_resources, plan_for

PICTURE = np.full((64, 64, 3), 90, np.uint8)
MASK = np.zeros_like(PICTURE)
MASK[16:48, 16:48] = 255
VARY = UpscaleVaryParams(image=PICTURE, method=UpscaleVaryMethod.VARY_SUBTLE)
UPSCALE = UpscaleVaryParams(image=PICTURE, method=UpscaleVaryMethod.UPSCALE_2)
INPAINT = InpaintParams(image=PICTURE, mask=MASK)
UPSCALER_TEXT = "Downloading upscale models ..."
INPAINTER_TEXT = "Downloading inpainter ..."


def asked(
    *,
    upscale_vary: UpscaleVaryParams | None = None,
    inpaint: InpaintParams | None = None,
    performance: Performance = Performance.SPEED,
) -> GenerationParams:
    return GenerationParams(
        models=ModelParams(base="tiny_sdxl.safetensors"),
        canvas=CanvasParams(size=Size(64, 64), seed=4),
        sampling=SamplingParams(performance=performance, steps=1),
        upscale_vary=upscale_vary,
        inpaint=inpaint,
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
    ],
    ids=["text", "vary", "upscale", "inpaint", "no engine", "all", "no hole"],
)
def test_what_is_needed_is_announced_before_the_models(
    weights: Path, tmp_path: Path, params: GenerationParams, texts: list[str]
) -> None:
    resources, listener = make_resources(weights, tmp_path), Listener()
    announce(plan_for(params, resources), listener.reporter)
    expected = [*texts, "Loading control models ...", "Initializing ..."]
    assert listener.progress == [(1, text) for text in expected]


def test_a_missing_file_of_the_inpaint_engine_fails_before_anything_is_loaded(
    tmp_path: Path,
) -> None:
    (tmp_path / "models").mkdir()
    config = load_config(root=tmp_path, models_path=tmp_path / "models", environ={})
    listener = Listener()
    with pytest.raises(ModelNotFoundError, match=r"fooocus_inpaint_head\.pth.*inpaint"):
        list(
            create_engine(config, DeviceOptions()).generate(
                asked(inpaint=INPAINT), listener.events.append, CancelToken()
            )
        )
    assert listener.progress[-1][1] == "Initializing ..."


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
