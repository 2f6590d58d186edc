"""Pictures with a hole or new sides, up to where the painting begins, and pasting back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fooocus_core.choices import InpaintEngine, RefinerSwap, Side
from fooocus_core.config import DeviceOptions, load_config
from fooocus_core.downloads import INPAINT_HEAD
from fooocus_core.engine import create_engine
from fooocus_core.errors import ModelNotFoundError
from fooocus_core.events import CancelToken
from fooocus_core.images.hole import find_hole
from fooocus_core.images.masks import soft_mask
from fooocus_core.params import (
    CanvasParams,
    Extension,
    GenerationParams,
    Image,
    InpaintParams,
    ModelParams,
    Size,
)
from fooocus_core.sampling.refiner import Model, Route
from fooocus_core.workflows.inpaint_outpaint import Crop, crop_hole, paint_hole
from fooocus_core.workflows.start import Start
from tests.workflow_parts import Listener, NumberingEncoder, make_resources, plan_for

SIDE = 1024  # large enough to be worked on without the upscaler
ALONE = Route(first=Model.BASE, last=Model.BASE, swap=RefinerSwap.JOINT)
TOGETHER = Route(first=Model.BASE, last=Model.REFINER, swap=RefinerSwap.JOINT)
SWAPPING = Route(first=Model.BASE, last=Model.REFINER, swap=RefinerSwap.VAE)
BLANK = Start(size=Size(64, 64), recorded_size=Size(64, 64))


def picture(width: int = SIDE, height: int = SIDE) -> Image:
    return np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)


def hole_in(width: int = SIDE, height: int = SIDE) -> Image:
    mask = np.zeros((height, width, 3), np.uint8)
    mask[height // 4 : height // 2, width // 4 : width // 2] = 255
    return mask


def asked(**changes: Any) -> GenerationParams:
    # Below the strength that needs the hole filled, which takes seconds.
    inpaint = InpaintParams(image=picture(), mask=hole_in(), strength=0.9)
    return GenerationParams(
        models=ModelParams(base="none.safetensors"),
        canvas=CanvasParams(seed=5),
        inpaint=replace(inpaint, **changes),
    )


def begin(
    models: Path,
    folder: Path,
    encoder: NumberingEncoder,
    listener: Listener,
    before: Start = BLANK,
    **changes: Any,
) -> Start:
    resources = make_resources(models, folder)
    plan = plan_for(asked(**changes), resources)
    return paint_hole(plan, encoder, resources, listener.reporter, before)


def refuse(image: Image) -> Image:
    raise AssertionError("the upscaler is not needed")


def cropped(params: GenerationParams, enlarge: Callable[[Image], Image] = refuse) -> Crop:
    assert params.inpaint is not None
    hole = find_hole(params.inpaint)
    assert hole is not None
    return crop_hole(hole, params.inpaint.strength, enlarge)


def test_the_surroundings_are_encoded_before_the_filled_part(weights: Path, tmp_path: Path) -> None:
    encoder, listener = NumberingEncoder(ALONE), Listener()
    start = begin(weights, tmp_path, encoder, listener)
    # Only the surroundings are encoded without cropping.
    assert encoder.calls == [
        (Model.BASE, (SIDE, SIDE), False, False),
        (Model.BASE, (SIDE, SIDE), True, False),
    ]
    assert listener.progress == [(1, "VAE Inpaint encoding ..."), (2, "VAE encoding ...")]
    assert start.latent is not None
    assert float(start.latent.mean()) == 2.0
    assert (start.size, start.denoise, start.is_tiled) == (Size(SIDE, SIDE), 0.9, False)
    assert torch.equal(start.known[Model.BASE].latent, start.latent)
    assert len(start.patches) == 1


def test_control_pictures_have_the_size_of_the_part_that_is_painted(
    weights: Path, tmp_path: Path
) -> None:
    # Has the area of a working picture already, so it is not brought to the grid of 64.
    image = np.zeros((1001, 1023, 3), np.uint8)
    mask = np.zeros_like(image)
    mask[100:200, 300:400] = 255
    resources, listener = make_resources(weights, tmp_path), Listener()
    plan = plan_for(asked(image=image, mask=mask), resources)
    start = paint_hole(plan, NumberingEncoder(ALONE), resources, listener.reporter, BLANK)
    assert plan.control_size == start.recorded_size == Size(1016, 1000)


def test_the_fill_is_encoded_for_an_sd15_refiner_first(weights: Path, tmp_path: Path) -> None:
    encoder = NumberingEncoder(SWAPPING, with_vae=(Model.BASE, Model.REFINER))
    listener = Listener()
    start = begin(weights, tmp_path, encoder, listener)
    assert [model for model, *_ in encoder.calls] == [Model.BASE, Model.REFINER, Model.BASE]
    assert listener.progress == [
        (1, "VAE Inpaint encoding ..."),
        (1, "VAE SD15 encoding ..."),
        (2, "VAE encoding ..."),
    ]
    levels = {model: float(known.latent.mean()) for model, known in start.known.items()}
    assert levels == {Model.REFINER: 2.0, Model.BASE: 3.0}


def test_a_refiner_on_the_same_latents_holds_what_the_base_holds(
    weights: Path, tmp_path: Path
) -> None:
    start = begin(weights, tmp_path, NumberingEncoder(TOGETHER), Listener())
    base, refiner = start.known[Model.BASE], start.known[Model.REFINER]
    assert base.latent is refiner.latent


def test_the_mask_covers_the_hole_in_the_latent(weights: Path, tmp_path: Path) -> None:
    start = begin(weights, tmp_path, NumberingEncoder(ALONE), Listener())
    expected = torch.zeros(1, 1, 128, 128)
    expected[..., 32:64, 32:64] = 1.0
    assert torch.equal(start.known[Model.BASE].mask, expected)


def test_without_an_engine_the_unet_is_not_patched(models: Path, tmp_path: Path) -> None:
    start = begin(models, tmp_path, NumberingEncoder(ALONE), Listener(), engine=InpaintEngine.NONE)
    assert start.patches == ()
    assert start.known


def test_from_noise_the_fill_is_known_but_not_begun_with(weights: Path, tmp_path: Path) -> None:
    start = begin(weights, tmp_path, NumberingEncoder(ALONE), Listener(), from_noise=True)
    assert start.latent is None
    assert float(start.known[Model.BASE].latent.mean()) == 2.0


def test_from_noise_a_varied_picture_of_the_size_is_begun_with(
    weights: Path, tmp_path: Path
) -> None:
    before = replace(BLANK, latent=torch.ones(1, 4, 128, 128), is_tiled=True)
    start = begin(weights, tmp_path, NumberingEncoder(ALONE), Listener(), before, from_noise=True)
    assert start.latent is before.latent
    assert start.is_tiled


def test_from_noise_a_varied_picture_of_another_size_is_left_out_with_a_warning(
    weights: Path, tmp_path: Path
) -> None:
    before = replace(BLANK, latent=torch.ones(1, 4, 128, 96))
    listener = Listener()
    start = begin(weights, tmp_path, NumberingEncoder(ALONE), listener, before, from_noise=True)
    assert start.latent is None
    assert len(listener.warnings) == 1


def test_a_missing_head_is_an_error_that_names_file_and_folder(
    models: Path, tmp_path: Path
) -> None:
    with pytest.raises(ModelNotFoundError, match=f"{INPAINT_HEAD.name}.*inpaint"):
        begin(models, tmp_path, NumberingEncoder(ALONE), Listener())


def test_only_pixels_under_the_softened_mask_are_changed() -> None:
    crop = cropped(asked())
    result = crop.paste(np.full((SIDE, SIDE, 3), 255, np.uint8))
    softened = soft_mask(crop.hole.mask)
    assert np.array_equal(result[softened == 0], picture()[softened == 0])
    assert (result[softened == 255] == 255).all()


def test_new_sides_leave_the_picture_between_them_as_it_is() -> None:
    sides = (Extension(side=Side.LEFT, pixels=64), Extension(side=Side.TOP))
    crop = cropped(asked(mask=None, extend=sides))
    result = crop.paste(np.zeros_like(crop.image))
    top = int(0.3 * SIDE)
    assert result.shape == (SIDE + top, SIDE + 64, 3)
    assert np.array_equal(result[top + 32 :, 64 + 32 :], picture()[32:, 32:])


def test_at_low_strength_the_hole_is_not_filled() -> None:
    crop = cropped(asked(strength=0.99))
    assert crop.fill is crop.image


def test_at_full_strength_the_fill_hides_what_was_in_the_hole() -> None:
    image = np.full((SIDE, SIDE, 3), 40, np.uint8)
    image[300:400, 300:400] = 255
    crop = cropped(asked(strength=1.0, image=image))
    assert crop.fill.max() < 255
    assert np.array_equal(crop.fill[crop.mask == 0], crop.image[crop.mask == 0])


def test_a_small_part_is_enlarged_first() -> None:
    enlarged: list[tuple[int, ...]] = []

    def enlarge(image: Image) -> Image:
        enlarged.append(image.shape)
        return np.repeat(np.repeat(image, 4, 0), 4, 1)

    crop = cropped(asked(image=picture(320, 256), mask=hole_in(320, 256), field=0.0), enlarge)
    assert enlarged == [(*crop.hole.region.size[::-1], 3)]
    assert crop.image.shape[0] >= 896


def test_showing_the_mask_gives_three_pictures_and_loads_no_model(
    models: Path, tmp_path: Path
) -> None:
    config = load_config(root=tmp_path, models_path=models, environ={})
    engine = create_engine(config, DeviceOptions())
    params = replace(asked(show_mask=True), canvas=CanvasParams(seed=9, count=2))
    made = list(engine.generate(params, [].append, CancelToken()))
    fill, mask, crop = (image.image for image in made)
    assert np.array_equal(crop, picture())
    assert np.array_equal(fill, crop)
    assert np.array_equal(mask, hole_in())
    assert [(image.seed, image.record) for image in made] == [(9, None)] * 3


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A models root with nothing in it."""
    folder = tmp_path / "empty"
    folder.mkdir()
    return folder
