"""Painting a hole: the inpaint model begins, and the base model without its patch ends."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fooocus_core.choices import InpaintEngine, RefinerSwap
from fooocus_core.errors import RunCancelled
from fooocus_core.events import CancelToken, Event, Progress
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.loading.store import ModelStore
from fooocus_core.params import (
    CanvasParams,
    FreeUParams,
    GenerationParams,
    Image,
    InpaintParams,
    Lora,
    ModelParams,
    PromptParams,
    SamplingParams,
)
from fooocus_core.workflows.painter import make_painter
from fooocus_core.workflows.progress import Reporter
from fooocus_core.workflows.prompts import encode_prompts
from fooocus_core.workflows.resources import Resources
from tests.workflow_parts import (
    MEMORY_MODES,
    Listener,
    carry_copy,
    hole_start,
    make_resources,
    plan_for,
)

BASE, COPY = "tiny_sdxl.safetensors", "same.safetensors"
LORA = Lora(name="tiny_lora.safetensors", weight=0.8)
STEPS = 4


@pytest.fixture(scope="module")
def models(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models root in which the base model has a second name."""
    root = tmp_path_factory.mktemp("models")
    for name in ("loras", "vae_approx", "inpaint"):
        (root / name).symlink_to(weights / name)
    (root / "checkpoints").mkdir()
    for name in (BASE, COPY):
        (root / "checkpoints" / name).symlink_to(weights / "checkpoints" / BASE)
    return root


def asked(
    *, switch_step: int = 2, freeu: FreeUParams | None = None, **changes: Any
) -> GenerationParams:
    inpaint = InpaintParams(
        image=np.zeros((64, 64, 3), np.uint8), mask=np.full((64, 64, 3), 255, np.uint8)
    )
    engine = changes.pop("engine", InpaintEngine.V2_6)
    return GenerationParams(
        models=replace(ModelParams(base=BASE), **changes),
        prompt=PromptParams(positive="a cat on a roof"),
        canvas=CanvasParams(seed=3),
        sampling=SamplingParams(steps=STEPS, switch_step=switch_step),
        freeu=freeu,
        inpaint=replace(inpaint, engine=engine),
    )


def paint(
    resources: Resources, params: GenerationParams, reporter: Reporter | None = None
) -> Image:
    reporter = reporter or Listener().reporter
    plan = plan_for(params, resources)
    with torch.no_grad():
        loaded = resources.prepare(plan, reporter)
        (prompt,) = encode_prompts(plan, loaded.base, resources, reporter)
        progress = reporter.sampling(plan.steps, 1)
        painter = make_painter(plan, loaded, resources, reporter, progress)
        start = hole_start(resources)
        if plan.inpaint_patch is None:
            start = replace(start, patches=())
        return painter.paint(start, prompt)


@pytest.fixture(scope="module")
def resources(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Resources:
    return make_resources(models, tmp_path_factory.mktemp("root"))


@pytest.mark.parametrize("swap", list(RefinerSwap))
def test_the_base_refines_itself_as_a_second_copy_of_it_would(
    resources: Resources, swap: RefinerSwap
) -> None:
    freeu = FreeUParams(b1=1.3)
    alone = paint(resources, asked(freeu=freeu, loras=(LORA,), refiner_swap=swap))
    both = asked(freeu=freeu, loras=(LORA,), refiner_swap=swap, refiner=COPY)
    assert np.array_equal(alone, paint(resources, both))


def test_the_step_of_the_switch_matters(resources: Resources) -> None:
    early, late = (paint(resources, asked(switch_step=step)) for step in (1, STEPS))
    assert not np.array_equal(early, late)


def test_the_patch_matters(resources: Resources) -> None:
    patched = paint(resources, asked(switch_step=STEPS))
    plain = paint(resources, asked(switch_step=STEPS, engine=InpaintEngine.NONE))
    assert not np.array_equal(patched, plain)


def test_a_painted_hole_changes_no_later_picture(resources: Resources) -> None:
    plain = asked(engine=InpaintEngine.NONE)
    before = paint(resources, plain)
    first = paint(resources, asked())
    assert np.array_equal(paint(resources, plain), before)
    assert np.array_equal(paint(resources, asked()), first)


@pytest.mark.parametrize("step", [0, STEPS - 2], ids=["patched", "unpatched"])
def test_a_stop_on_either_side_of_the_switch_changes_no_later_picture(
    resources: Resources, step: int
) -> None:
    expected = paint(resources, asked())
    cancel = CancelToken()

    def stop(event: Event) -> None:
        if isinstance(event, Progress) and event.sampling and event.sampling.step == step:
            cancel.cancel()

    with pytest.raises(RunCancelled):
        paint(resources, asked(), Reporter(stop, cancel))
    assert np.array_equal(paint(resources, asked()), expected)


@pytest.mark.slow
@pytest.mark.parametrize("plan", MEMORY_MODES)
def test_a_hole_is_painted_alike_in_every_memory_mode(
    resources: Resources, models: Path, tmp_path: Path, plan: DevicePlan
) -> None:
    moving = make_resources(models, tmp_path, ModelStore(plan, carry_copy))
    params = asked(loras=(LORA,))
    expected = paint(resources, params)
    assert np.array_equal(paint(moving, params), expected)
    assert np.array_equal(paint(moving, params), expected)
