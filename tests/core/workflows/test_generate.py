"""Where weights wait between uses never changes a picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.catalog import Catalog
from fooocus_core.choices import RefinerSwap
from fooocus_core.config import load_config
from fooocus_core.engine import Engine
from fooocus_core.errors import DeviceFailedError, DeviceMemoryError
from fooocus_core.events import CancelToken, Event, Progress
from fooocus_core.hashes import HashCache
from fooocus_core.loading.memory import DevicePlan
from fooocus_core.loading.store import ModelStore
from fooocus_core.params import (
    CanvasParams,
    GenerationParams,
    Image,
    Lora,
    ModelParams,
    PromptParams,
    SamplingParams,
    Size,
)
from fooocus_core.prompt.styles import load_styles
from fooocus_core.text.tokens import Tokenizer
from fooocus_core.workflows.auxiliary import AuxiliaryNetworks
from fooocus_core.workflows.resources import Resources
from tests.networks import CPU_PLAN
from tests.workflow_parts import MEMORY_MODES, carry_copy

LORAS = (Lora(name="tiny_lora.safetensors", weight=0.8),)
# Every way to change places with a refiner, and a job without LoRAs after one with.
JOBS = [*((swap, LORAS) for swap in RefinerSwap), (RefinerSwap.JOINT, ())]


class Carrier:
    """Copies like a device would, and notes the size of what it copies."""

    def __init__(self) -> None:
        self.sizes: list[int] = []

    def __call__(self, tensor: Tensor, device: torch.device) -> Tensor:
        self.sizes.append(tensor.numel())
        return carry_copy(tensor, device)


def make_engine(weights: Path, folder: Path, plan: DevicePlan, carrier: Carrier) -> Engine:
    (folder / "outputs").mkdir(exist_ok=True)
    config = load_config(root=folder, models_path=weights, environ={})
    resources = Resources(
        config=config,
        catalog=Catalog(config.folders),
        hashes=HashCache(config.folders.outputs / "hashes"),
        models=ModelStore(plan, carrier),
        auxiliary=AuxiliaryNetworks(plan, Catalog(config.folders)),
        tokenizer=Tokenizer(),
    )
    return Engine(resources, load_styles(None))


def paint(engine: Engine, swap: RefinerSwap, loras: tuple[Lora, ...]) -> Image:
    params = GenerationParams(
        models=ModelParams(
            base="tiny_sdxl.safetensors",
            refiner="tiny_refiner.safetensors",
            refiner_swap=swap,
            loras=loras,
        ),
        prompt=PromptParams(positive="a cat on a roof"),
        canvas=CanvasParams(size=Size(64, 64), seed=3),
        sampling=SamplingParams(steps=2, switch_step=1),
    )
    (made,) = engine.generate(params, [].append, CancelToken())
    return made.image


@pytest.fixture(scope="module")
def expected(weights: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Image]:
    """What networks that stay where they are paint, for each job."""
    carrier = Carrier()
    engine = make_engine(weights, tmp_path_factory.mktemp("root"), CPU_PLAN, carrier)
    images = [paint(engine, swap, loras) for swap, loras in JOBS]
    assert carrier.sizes == []
    return images


@pytest.mark.parametrize("plan", MEMORY_MODES)
def test_a_picture_is_the_same_in_every_memory_mode(
    weights: Path, tmp_path: Path, expected: list[Image], plan: DevicePlan
) -> None:
    carrier = Carrier()
    engine = make_engine(weights, tmp_path, plan, carrier)
    images = [paint(engine, swap, loras) for swap, loras in JOBS]
    for image, other in zip(images, expected, strict=True):
        assert np.array_equal(image, other)
    assert any(carrier.sizes) is not plan.stays


def test_a_skipped_picture_is_left_out_and_the_next_is_as_it_would_have_been(
    weights: Path, tmp_path: Path
) -> None:
    engine = make_engine(weights, tmp_path, CPU_PLAN, Carrier())
    params = GenerationParams(
        models=ModelParams(base="tiny_sdxl.safetensors"),
        prompt=PromptParams(positive="a cat on a roof"),
        canvas=CanvasParams(size=Size(64, 64), seed=3, count=2),
        sampling=SamplingParams(steps=2),
    )
    _, second = engine.generate(params, [].append, CancelToken())
    cancel, percents = CancelToken(), []

    def skip_the_first(event: Event) -> None:
        if isinstance(event, Progress):
            percents.append(event.percent)
            if event.sampling is not None and event.sampling.image == 0:
                cancel.skip()

    (only,) = engine.generate(params, skip_the_first, cancel)
    assert only.seed == second.seed == 4
    assert np.array_equal(only.image, second.image)
    assert percents == sorted(percents)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), DeviceMemoryError),
        (torch.AcceleratorError("CUDA error: device-side assert\nmore", 710), DeviceFailedError),
    ],
    ids=["memory", "driver"],
)
def test_what_the_driver_reports_while_a_picture_is_made_is_told_apart(
    weights: Path, tmp_path: Path, raised: Exception, told: type[Exception]
) -> None:
    engine = make_engine(weights, tmp_path, CPU_PLAN, Carrier())
    params = GenerationParams(
        models=ModelParams(base="tiny_sdxl.safetensors"),
        canvas=CanvasParams(size=Size(64, 64)),
        sampling=SamplingParams(steps=2),
    )

    def fail(event: Event) -> None:
        if isinstance(event, Progress) and event.sampling is not None:
            raise raised

    with pytest.raises(told, match="^The device [^\\n]*$"):
        list(engine.generate(params, fail, CancelToken()))
