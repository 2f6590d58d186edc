"""Painting with guiding pictures: which model they steer, for how long, and what stays of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.choices import ControlKind, RefinerSwap
from fooocus_core.errors import RunCancelled
from fooocus_core.events import CancelToken, Event, Progress
from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.loading.store import ModelStore
from fooocus_core.params import (
    CanvasParams,
    ControlParams,
    GenerationParams,
    Image,
    ImagePrompt,
    InpaintParams,
    Lora,
    ModelParams,
    PromptParams,
    SamplingParams,
    Size,
)
from fooocus_core.workflows.image_prompt import make_guides
from fooocus_core.workflows.painter import make_painter
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.prompts import encode_prompts
from fooocus_core.workflows.resources import Resources
from fooocus_core.workflows.text_to_image import blank_start
from tests.golden import load_picture
from tests.workflow_parts import (
    MEMORY_MODES,
    Listener,
    carry_copy,
    hole_start,
    make_resources,
    plan_for,
)

BASE, REFINER = "tiny_sdxl.safetensors", "tiny_refiner.safetensors"
LORA = Lora(name="tiny_lora.safetensors", weight=0.8)
SIZE = Size(64, 64)
HOLE = InpaintParams(
    image=np.zeros((64, 64, 3), np.uint8), mask=np.full((64, 64, 3), 255, np.uint8)
)
STEPS = 3
# Acts in the first of three steps, whose progress is 0, and not in the second.
FIRST_STEP = 0.01


def guide(kind: ControlKind, picture: str = "edge_a", **numbers: float) -> ImagePrompt:
    settings = {"stop": 1.0, "weight": 1.0, **numbers}
    return ImagePrompt(image=load_picture(picture)[:160, :160], kind=kind, **settings)


ALL = tuple(map(guide, ControlKind))


def asked(*prompts: ImagePrompt, hole: bool = False, **models: Any) -> GenerationParams:
    return GenerationParams(
        models=replace(ModelParams(base=BASE), **models),
        prompt=PromptParams(positive="a cat on a roof"),
        canvas=CanvasParams(size=SIZE, seed=3),
        sampling=SamplingParams(steps=STEPS, switch_step=1),
        control=ControlParams(skip_preprocessing=True),
        inpaint=HOLE if hole else None,
        image_prompts=prompts,
    )


@pytest.fixture(scope="module")
def resources(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Resources:
    return make_resources(weights, tmp_path_factory.mktemp("root"))


@torch.no_grad()
def paint(
    resources: Resources, params: GenerationParams, reporter: Reporter | None = None
) -> Image:
    reporter = reporter or Listener().reporter
    # The part around a hole is small here, too.
    plan = replace(plan_for(params, resources), control_size=SIZE)
    loaded = resources.prepare(plan, reporter)
    (prompt,) = encode_prompts(plan, loaded.base, resources, reporter)
    guides = make_guides(plan, resources, reporter)
    progress = reporter.sampling(plan.steps, 1)
    painter = make_painter(plan, loaded, resources, reporter, progress, guides)
    start = hole_start(resources) if plan.hole else blank_start(SIZE)
    return painter.paint(start, prompt)


@pytest.fixture(scope="module")
def plain(resources: Resources) -> Image:
    """The picture that nothing guides."""
    return paint(resources, asked())


@pytest.mark.parametrize("kind", ControlKind)
def test_every_kind_steers_the_picture_from_the_first_step_until_its_stop(
    resources: Resources, plain: Image, kind: ControlKind
) -> None:
    whole = paint(resources, asked(guide(kind)))
    first = paint(resources, asked(guide(kind, stop=FIRST_STEP)))
    assert not np.array_equal(first, plain)
    assert not np.array_equal(whole, first)
    # However small a stop is, the progress of the first step is below it.
    assert np.array_equal(paint(resources, asked(guide(kind, stop=0.0001))), first)


@pytest.mark.parametrize("numbers", [{"weight": 0.0}, {"stop": 0.0}], ids=["weight", "stop"])
def test_guides_that_count_for_nothing_change_no_bit(
    resources: Resources, plain: Image, numbers: dict[str, float]
) -> None:
    params = asked(*(guide(kind, **numbers) for kind in ControlKind))
    assert np.array_equal(paint(resources, params), plain)


def test_the_order_of_different_kinds_does_not_matter(resources: Resources) -> None:
    expected = paint(resources, asked(*ALL))
    assert np.array_equal(paint(resources, asked(*reversed(ALL))), expected)


@pytest.mark.slow
@pytest.mark.parametrize("kind", [ControlKind.PYRA_CANNY, ControlKind.CPDS])
def test_the_order_of_two_control_pictures_of_one_kind_does_not_matter(
    resources: Resources, kind: ControlKind
) -> None:
    first, second = guide(kind), guide(kind, "photo_b", weight=0.6)
    expected = paint(resources, asked(first, second))
    assert np.array_equal(paint(resources, asked(second, first)), expected)
    assert not np.array_equal(paint(resources, asked(first)), expected)


@pytest.mark.parametrize(
    "kind",
    [ControlKind.IMAGE_PROMPT, pytest.param(ControlKind.FACE_SWAP, marks=pytest.mark.slow)],
)
def test_the_order_of_two_pictures_that_are_attended_to_is_one_of_rounding(
    resources: Resources, kind: ControlKind
) -> None:
    first, second = guide(kind), guide(kind, "photo_b", weight=0.6)
    one = paint(resources, asked(first, second)).astype(int)
    other = paint(resources, asked(second, first)).astype(int)
    assert np.abs(one - other).max() <= 1
    assert np.abs(one - paint(resources, asked(first))).max() > 1


@pytest.mark.parametrize(
    ("swap", "stop"),
    [
        (RefinerSwap.SEPARATE, FIRST_STEP),
        pytest.param(RefinerSwap.VAE, FIRST_STEP, marks=pytest.mark.slow),
        # The base makes two steps, and the second is less than four fifths of the way.
        (RefinerSwap.JOINT, 0.8),
    ],
)
@pytest.mark.parametrize(
    "models",
    [
        pytest.param({"hole": True}, id="itself"),
        pytest.param({"refiner": REFINER}, id="another", marks=pytest.mark.slow),
    ],
)
def test_a_refiner_is_not_guided(
    resources: Resources, swap: RefinerSwap, stop: float, models: dict[str, Any]
) -> None:
    # They stop where the refiner takes over, so it is the refiner that longer ones would steer.
    short = tuple(replace(prompt, stop=stop) for prompt in ALL)
    whole = paint(resources, asked(*ALL, **models, refiner_swap=swap))
    assert np.array_equal(paint(resources, asked(*short, **models, refiner_swap=swap)), whole)
    assert not np.array_equal(paint(resources, asked(**models, refiner_swap=swap)), whole)


def weights_of(base: Checkpoint) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in base.unet.state_dict().items()}


def stop_by(error: Callable[[CancelToken], None]) -> Reporter:
    """A reporter whose run ends in its second step."""
    token = CancelToken()

    def sink(event: Event) -> None:
        if isinstance(event, Progress) and event.sampling and event.sampling.step == 1:
            error(token)

    return Reporter(sink, token)


def fail(_token: CancelToken) -> None:
    raise ZeroDivisionError


@pytest.mark.parametrize(
    ("end", "error"),
    [(CancelToken.cancel, RunCancelled), (fail, ZeroDivisionError), (lambda _: None, None)],
    ids=["stopped", "failed", "finished"],
)
@pytest.mark.parametrize("hole", [False, True], ids=["blank", "hole"])
def test_afterwards_the_model_is_bit_for_bit_what_it_was(
    resources: Resources,
    hole: bool,
    end: Callable[[CancelToken], None],
    error: type[BaseException] | None,
) -> None:
    params = asked(*ALL, hole=hole, loras=(LORA,))
    base = resources.prepare(plan_for(params, resources), Listener().reporter).base
    weights, processors = weights_of(base), dict(base.unet.attn_processors)
    if error is None:
        paint(resources, params, stop_by(end))
    else:
        with pytest.raises(error):
            paint(resources, params, stop_by(end))
    assert all(
        torch.equal(tensor, weights[name]) for name, tensor in base.unet.state_dict().items()
    )
    assert base.unet.attn_processors == processors
    assert not base.unet.conv_in._forward_hooks


@pytest.mark.slow
@pytest.mark.parametrize("plan", MEMORY_MODES)
def test_a_guided_hole_is_painted_alike_in_every_memory_mode(
    resources: Resources, weights: Path, tmp_path: Path, plan: DevicePlan
) -> None:
    moving = make_resources(weights, tmp_path, ModelStore(plan, carry_copy))
    params = asked(*ALL, hole=True, loras=(LORA,))
    expected = paint(resources, params)
    assert np.array_equal(paint(moving, params), expected)
    assert np.array_equal(paint(moving, params), expected)
