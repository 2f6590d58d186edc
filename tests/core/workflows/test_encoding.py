"""Which VAE encodes a picture, and with which noise."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fooocus_core.loading.store import Models
from fooocus_core.params import CanvasParams, GenerationParams, ModelParams
from fooocus_core.plan import Plan
from fooocus_core.sampling.refiner import Model
from fooocus_core.vae.codec import encode
from fooocus_core.workflows.encoding import PictureEncoder
from fooocus_core.workflows.resources import Resources
from tests.workflow_parts import Listener, make_resources, plan_for

BASE, SD15, XL = "tiny_sdxl.safetensors", "tiny_sd15.safetensors", "tiny_refiner.safetensors"
PIXELS = torch.rand(1, 3, 48, 64, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def resources(weights: Path, tmp_path: Path) -> Resources:
    return make_resources(weights, tmp_path)


def prepare(resources: Resources, refiner: str | None, seed: int = 4) -> tuple[Plan, Models]:
    params = GenerationParams(
        models=ModelParams(base=BASE, refiner=refiner),
        canvas=CanvasParams(seed=seed, count=2),
    )
    plan = plan_for(params, resources)
    return plan, resources.prepare(plan, Listener().reporter)


def test_the_noise_is_that_of_the_last_pictures_seed_and_goes_on(resources: Resources) -> None:
    plan, models = prepare(resources, None, seed=2**40)
    # Widened, because the synthetic weights have next to no variance.
    models.base.vae.quant_conv.bias.data[4:] = 0.0
    encoder = PictureEncoder(plan, models, resources, Listener().reporter)
    made = [encoder.encode(PIXELS, Model.BASE) for _ in range(2)]
    generator = torch.Generator().manual_seed((2**40 + 1) % 2**32)
    expected = [
        encode(models.base.vae, PIXELS, generator=generator, warn=pytest.fail) for _ in range(2)
    ]
    assert all(torch.equal(a, b) for a, b in zip(made, expected, strict=True))
    assert not torch.equal(*made)


@pytest.mark.parametrize(("refiner", "is_own"), [(SD15, True), (XL, False)])
def test_a_refiner_encodes_with_its_own_vae_if_it_has_one(
    resources: Resources, refiner: str, is_own: bool
) -> None:
    plan, models = prepare(resources, refiner)
    encoder = PictureEncoder(plan, models, resources, Listener().reporter)
    assert encoder.has_vae(Model.BASE)
    assert encoder.has_vae(Model.REFINER) is is_own
    base, refined = (encoder.encode(PIXELS, model) for model in Model)
    assert torch.allclose(base, refined, atol=1e-4) is not is_own


def test_who_paints_depends_on_the_strength_if_the_refiner_has_a_vae(
    resources: Resources,
) -> None:
    plan, models = prepare(resources, SD15)
    encoder = PictureEncoder(replace(plan, switch_step=24), models, resources, Listener().reporter)
    routes = [encoder.route(denoise) for denoise in (1.0, 0.85, 0.1)]
    assert [(route.first, route.last) for route in routes] == [
        (Model.BASE, Model.REFINER),
        (Model.BASE, Model.BASE),
        (Model.REFINER, Model.REFINER),
    ]
