"""Model families of random weights, of whatever size a benchmark needs."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import math
from pathlib import Path
from types import ModuleType

import torch
from safetensors.torch import save_file
from torch import Tensor

from fooocus_core.downloads import UPSCALER

GOLDEN = Path(__file__).resolve().parents[1] / "tests" / "golden"
CHECKPOINT = "checkpoints/made.safetensors"

_LEVELS, _DEPTHS, _SIZE_VECTOR = (1, 2, 4), (0, 1, 2), 2816
_DTYPES = {"F16": torch.float16, "F32": torch.float32, "I64": torch.int64}


def write_small_family(root: Path, width: int) -> None:
    """Write the synthetic SDXL model of the tests with another width of its UNet.

    Args:
        root: Models folder.
        width: Channels of the UNet's first level, a multiple of 32; the tests' model has 32.
    """
    recipe = _load_recipe()
    bag = recipe.Bag("base", recipe.F16)
    context = recipe.CTX
    recipe.unet(bag, recipe.UNET, _LEVELS, _DEPTHS, _DEPTHS[-1], context, _SIZE_VECTOR, mc=width)
    recipe.vae(bag, recipe.VAEP)
    recipe.clip_l(bag, "conditioner.embedders.0.transformer.text_model.")
    recipe.clip_g(bag, "conditioner.embedders.1.model.")
    _save(root, recipe.t(bag.d), recipe)


def write_guided_family(root: Path) -> str:
    """Write the synthetic models of the tests, with all that image prompts need.

    Returns:
        The name of the base model.
    """
    # It says how long it took, between the results that a script prints.
    with contextlib.redirect_stdout(io.StringIO()):
        _load_recipe().main(str(root))
    return "tiny_sdxl.safetensors"


def write_real_family(root: Path) -> None:
    """Write an SDXL base model of the published size, 7 GB, with random weights.

    Matrices and convolutions keep the variance of what they are given.
    """
    text = (GOLDEN / "manifests" / "sdxl_base.json").read_text(encoding="utf-8")
    generator = torch.Generator().manual_seed(1)
    tensors = {
        name: _random_weight(name, shape, generator).to(_DTYPES[dtype])
        for name, (dtype, shape) in json.loads(text).items()
    }
    _save(root, tensors, _load_recipe())


def _random_weight(name: str, shape: list[int], generator: torch.Generator) -> Tensor:
    if name.endswith("position_ids"):
        return torch.arange(math.prod(shape)).reshape(shape)
    if len(shape) > 1:
        scale = math.prod(shape[1:]) ** -0.5
        return scale * torch.randn(shape, generator=generator)
    return torch.ones(shape) if name.endswith("weight") else torch.zeros(shape)


def _save(root: Path, tensors: dict[str, Tensor], recipe: ModuleType) -> None:
    for folder in ("checkpoints", "vae_approx", "upscale_models"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    save_file(tensors, root / CHECKPOINT)
    preview = recipe.t(recipe.vae_approx("xlvaeapp").d)
    torch.save(preview, root / "vae_approx" / "xlvaeapp.pth")
    torch.save(recipe.t(recipe.upscaler().d), root / "upscale_models" / UPSCALER.name)


def _load_recipe() -> ModuleType:
    # It lies in a folder that is no package.
    spec = importlib.util.spec_from_file_location("make_weights", GOLDEN / "make_weights.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
