from __future__ import annotations

import json
import random
import re
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fooocus_core.choices import ControlKind
from fooocus_core.config import DeviceOptions
from fooocus_core.downloads import CONTROL_FILES
from fooocus_core.loading.checkpoint import build_checkpoint
from fooocus_core.loading.control_lora import load_control_net
from fooocus_core.loading.memory import plan_device
from fooocus_core.loading.weight_file import read_weights
from fooocus_core.params import ControlParams, ImagePrompt, Size
from fooocus_core.unet.controlnet import Control, control_residuals, make_hint
from fooocus_core.workflows.image_prompt import control_picture
from tools.drawing import draw
from tools.tiny_control import PUSHES, write_files

MOST_BYTES = 1_500_000
MANIFEST = Path(__file__).parents[1] / "golden" / "manifests" / "control_lora_sdxl_rank128.json"
PLAN = plan_device(None, DeviceOptions())
WIDTH, HEIGHT = 18, 14  # of the latent


@pytest.fixture(scope="module")
def shipped() -> Path:
    with resources.as_file(resources.files("fooocus_core") / "data" / "tiny") as root:
        return root


@pytest.fixture(scope="module")
def unet(shipped: Path) -> Any:
    return build_checkpoint(read_weights(shipped / "checkpoints" / "tiny.safetensors"), PLAN).unet


def layout(names: list[str]) -> set[str]:
    """Names without the numbers of blocks and layers."""
    return {re.sub(r"\.\d+(?=\.)", ".N", name) for name in names}


def moved_noise(unet: Any, file: Path, hint: Tensor, *, timestep: float) -> Tensor:
    """By how much a control net changes the predicted noise: (1, 4, HEIGHT, WIDTH)."""
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(1, 4, HEIGHT, WIDTH, generator=generator), torch.tensor([timestep])
    prompts: dict[str, Any] = {
        "encoder_hidden_states": torch.randn(1, 77, 128, generator=generator),
        "added_cond_kwargs": {
            "text_embeds": torch.zeros(1, 64),
            "time_ids": torch.tensor([[896.0, 1152, 0, 0, 896, 1152]]),
        },
    }
    network = load_control_net(file, unet, PLAN)
    control = Control(network=network, hint=hint, weight=1.0, stop=1.0, softness=0.0)
    with torch.no_grad():
        residuals = control_residuals([control], *latents, **prompts)
        controlled: Tensor = unet(*latents, **prompts, **residuals).sample
        plain: Tensor = unet(*latents, **prompts).sample
    return controlled - plain


def agreement(one: Tensor, other: Tensor) -> float:
    return float(functional.cosine_similarity(one.flatten(), other.flatten(), dim=0))


@pytest.mark.parametrize("timestep", [999.0, 500.0])
@pytest.mark.parametrize("kind", PUSHES, ids=str)
def test_shipped_control_nets_move_the_picture_where_the_control_picture_is_bright(
    kind: ControlKind, timestep: float, unet: Any, shipped: Path
) -> None:
    drawn = np.array(draw(random.Random(1), (8 * WIDTH, 8 * HEIGHT)).image)
    prompt = ImagePrompt(image=drawn, kind=kind, stop=1.0, weight=1.0)
    control = control_picture(prompt, Size(8 * WIDTH, 8 * HEIGHT), ControlParams())
    hint, push = make_hint(control, HEIGHT, WIDTH), PUSHES[kind]
    file = shipped / "controlnet" / CONTROL_FILES[kind].name

    moved = moved_noise(unet, file, hint, timestep=timestep)

    brightness = functional.avg_pool2d(hint.mean(1, keepdim=True), 8)
    seen = functional.conv2d(brightness, push.kernel[None, None], padding=1)
    wanted = -push.gain * (seen - push.middle * push.kernel.sum()).expand(-1, 3, -1, -1)
    assert agreement(moved[:, :3], wanted) > 0.95
    assert 0.8 < float(moved[:, :3].norm() / wanted.norm()) < 1.25
    assert moved[:, 3].norm() < 0.2 * moved[:, :3].norm()


@pytest.mark.parametrize("kind", PUSHES, ids=str)
def test_shipped_files_have_the_published_layout(kind: ControlKind, shipped: Path) -> None:
    path = shipped / "controlnet" / CONTROL_FILES[kind].name

    tensors = read_weights(path).tensors

    assert layout(list(tensors)) == layout(list(json.loads(MANIFEST.read_text())))
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert path.stat().st_size <= MOST_BYTES


def test_written_files_do_what_shipped_ones_do(unet: Any, shipped: Path, tmp_path: Path) -> None:
    hint = torch.rand(1, 3, 8 * HEIGHT, 8 * WIDTH, generator=torch.Generator().manual_seed(1))

    write_files(unet, tmp_path)

    for file in CONTROL_FILES.values():
        ours, theirs = (
            moved_noise(unet, folder / file.name, hint, timestep=800.0)
            for folder in (tmp_path, shipped / "controlnet")
        )
        assert torch.allclose(ours, theirs, atol=0.02)
