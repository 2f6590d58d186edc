from __future__ import annotations

import zipfile
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import UNet2DConditionModel
from numpy.typing import NDArray
from torch import Tensor

from fooocus_core.downloads import INPAINT_HEAD
from fooocus_core.errors import ModelFileError
from fooocus_core.loading.checkpoint import Checkpoint
from fooocus_core.unet.inpaint_head import (
    InpaintFeature,
    InpaintHead,
    hide_hole,
    latent_mask,
    load_inpaint_head,
)
from fooocus_core.unet.patch import patched
from fooocus_core.vae.codec import LATENT_SCALE, encode, to_pixels
from tests.golden import NETWORK, assert_matches, load_arrays, load_json
from tests.networks import load_small_sdxl, manifest_unet
from tests.tiny_unet import evaluate_tiny_unet, load_tiny_unet, recorded, recorded_call

OPERATIONS = load_arrays("image-ops/inpaint_head_and_mask")
RECORDED = load_arrays("components/inpaint")


@pytest.fixture(scope="module")
def checkpoint(weights: Path) -> Checkpoint:
    return load_small_sdxl(weights)


@pytest.fixture(scope="module")
def unet() -> UNet2DConditionModel:
    return load_tiny_unet()


@pytest.fixture
def feature() -> InpaintFeature:
    return InpaintFeature(values=recorded("inpaint_feature"))


def mask_of(height: int, width: int, *hole: tuple[int, int]) -> NDArray[np.uint8]:
    mask = np.zeros((height, width), np.uint8)
    for row, column in hole:
        mask[row, column] = 255
    return mask


def save_head(folder: Path, content: Any) -> None:
    torch.save(content, folder / INPAINT_HEAD.name)


def test_the_feature_equals_the_vector() -> None:
    head = InpaintHead(weight=torch.tensor(OPERATIONS["head"]))
    feed = torch.tensor(OPERATIONS["feed"])

    feature = head.feature(feed[:, :1], feed[:, 1:])

    assert_matches(feature.values, OPERATIONS["feature"], NETWORK)


def test_the_hidden_hole_equals_the_vector() -> None:
    pixels = torch.tensor(OPERATIONS["pixels"]).permute(0, 3, 1, 2)
    mask = (OPERATIONS["mask"][0] * 255).round().astype(np.uint8)

    hidden = hide_hole(pixels, mask)

    np.testing.assert_array_equal(hidden.permute(0, 2, 3, 1), OPERATIONS["masked_pixels"])


def test_the_latent_mask_equals_the_vector() -> None:
    mask = (OPERATIONS["mask"][0] * 255).round().astype(np.uint8)

    np.testing.assert_array_equal(latent_mask(mask), OPERATIONS["latent_mask"])


def test_a_whole_picture_gives_the_recorded_feature(checkpoint: Checkpoint, weights: Path) -> None:
    pixels, generator = to_pixels(RECORDED["img"]), torch.Generator().manual_seed(0)

    hidden = hide_hole(pixels, RECORDED["mask"])
    latent = encode(checkpoint.vae, hidden, generator=generator, warn=pytest.fail, crop=False)
    mask = latent_mask(RECORDED["mask"])
    feature = load_inpaint_head(weights / "inpaint" / INPAINT_HEAD.name).feature(
        mask, latent * LATENT_SCALE
    )

    assert_matches(latent, RECORDED["latent"], NETWORK)
    np.testing.assert_array_equal(mask, RECORDED["latent_mask"])
    assert_matches(feature.values, RECORDED["head_feature"], NETWORK)


def test_the_filled_picture_gives_the_recorded_latent(checkpoint: Checkpoint) -> None:
    generator = torch.Generator().manual_seed(0)

    latent = encode(
        checkpoint.vae, to_pixels(RECORDED["fill"]), generator=generator, warn=pytest.fail
    )

    assert_matches(latent, RECORDED["latent_fill"], NETWORK)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        (mask_of(16, 24, (0, 0), (15, 23)), [[1, 0, 0], [0, 0, 1]]),
        (mask_of(16, 24, (7, 8)), [[0, 1, 0], [0, 0, 0]]),
        (mask_of(23, 31, *product(range(20, 23), range(24, 31))), [[0, 0, 0], [0, 0, 1]]),
        (mask_of(16, 24), [[0, 0, 0], [0, 0, 0]]),
    ],
    ids=["two corners", "one pixel", "sides that are no multiple of 8", "no hole"],
)
def test_a_place_is_in_the_hole_if_one_of_its_pixels_is(
    mask: NDArray[np.uint8], expected: list[list[int]]
) -> None:
    result = latent_mask(mask)

    assert result.dtype == torch.float32
    assert result.tolist() == [[expected]]


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 79), (71, 64)])
def test_mask_and_uncropped_latent_have_the_same_size(
    height: int, width: int, checkpoint: Checkpoint
) -> None:
    mask = mask_of(height, width, (3, 3))
    generator = torch.Generator().manual_seed(0)

    pixels = hide_hole(torch.zeros(1, 3, height, width), mask)
    latent = encode(checkpoint.vae, pixels, generator=generator, warn=pytest.fail, crop=False)

    assert latent.shape[2:] == latent_mask(mask).shape[2:]


def test_noise_prediction_equals_the_vector(
    unet: UNet2DConditionModel, feature: InpaintFeature
) -> None:
    with feature.attached(unet):
        noise = evaluate_tiny_unet(unet)

    assert_matches(noise, recorded("eps_inpaint").numpy(), NETWORK)


def test_both_prompts_of_a_batch_get_what_each_alone_gets(
    unet: UNet2DConditionModel, feature: InpaintFeature
) -> None:
    taken: list[Tensor] = []
    handle = unet.down_blocks[0].register_forward_pre_hook(
        lambda _module, _args, inputs: taken.append(inputs["hidden_states"]), with_kwargs=True
    )
    before = unet.conv_in(recorded_call()["sample"])

    with feature.attached(unet):
        evaluate_tiny_unet(unet)

    handle.remove()
    for row in range(2):
        assert torch.equal(taken[0][row], before[row] + feature.values[0])


def test_detaching_restores_the_output_exactly(
    unet: UNet2DConditionModel, feature: InpaintFeature
) -> None:
    before = evaluate_tiny_unet(unet)
    assert_matches(before, recorded("eps_plain").numpy(), NETWORK)

    with patched(unet, [feature]):
        assert not torch.equal(evaluate_tiny_unet(unet), before)

    assert torch.equal(evaluate_tiny_unet(unet), before)


def test_it_detaches_when_the_work_fails(
    unet: UNet2DConditionModel, feature: InpaintFeature
) -> None:
    before = evaluate_tiny_unet(unet)

    def work() -> None:
        with feature.attached(unet):
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert torch.equal(evaluate_tiny_unet(unet), before)


def test_a_feature_of_zeros_changes_nothing(unet: UNet2DConditionModel) -> None:
    before = evaluate_tiny_unet(unet)

    with InpaintFeature(values=torch.zeros(1, 32, 16, 12)).attached(unet):
        assert torch.equal(evaluate_tiny_unet(unet), before)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_it_is_added_in_the_dtype_of_the_unet(dtype: torch.dtype, feature: InpaintFeature) -> None:
    unet = load_tiny_unet().to(dtype)
    hidden = unet.conv_in(recorded("x").to(dtype))

    with feature.attached(unet):
        result = unet.conv_in(recorded("x").to(dtype))

    assert result.dtype == dtype
    assert torch.equal(result, hidden + feature.values.to(dtype))


def test_a_head_for_another_width_is_an_error(unet: UNet2DConditionModel) -> None:
    feature = InpaintFeature(values=torch.zeros(1, 320, 16, 12))

    with pytest.raises(ModelFileError, match="width 320.*is 32"), feature.attached(unet):
        pass


def test_the_real_head_fits_the_real_unet(tmp_path: Path) -> None:
    [(name, (_, shape))] = load_json("manifests/fooocus_inpaint_head").items()
    save_head(tmp_path, {name: torch.ones(shape)})

    feature = load_inpaint_head(tmp_path / INPAINT_HEAD.name).feature(
        torch.ones(1, 1, 4, 4), torch.zeros(1, 4, 4, 4)
    )

    with feature.attached(manifest_unet("sdxl_base")):
        assert feature.values.shape == (1, 320, 4, 4)
    # All nine places around each one see the mask, also at the edges.
    assert bool((feature.values == 9.0).all())


def test_a_file_with_compressed_members_is_read(tmp_path: Path) -> None:
    weight = torch.tensor(OPERATIONS["head"])
    torch.save({"head": weight}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / INPAINT_HEAD.name, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))

    assert torch.equal(load_inpaint_head(tmp_path / INPAINT_HEAD.name).weight, weight)


def test_a_head_in_half_precision_is_computed_in_float32(tmp_path: Path) -> None:
    save_head(tmp_path, {"head": torch.ones(8, 5, 3, 3).half()})

    assert load_inpaint_head(tmp_path / INPAINT_HEAD.name).weight.dtype == torch.float32


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"tail": torch.ones(8, 5, 3, 3)}, "there is none"),
        ({"head": torch.ones(8, 4, 3, 3)}, r"its shape is \(8, 4, 3, 3\)"),
        ({"head": torch.ones(())}, r"its shape is \(\)"),
        ({"head": torch.full((8, 5, 3, 3), float("nan"))}, "not finite"),
        ({"head": 1}, "holds no tensors"),
        ([torch.ones(8, 5, 3, 3)], "does not hold a table"),
    ],
    ids=["another name", "another shape", "a number", "not finite", "no tensor", "no names"],
)
def test_a_file_that_holds_no_head_is_an_error(content: Any, found: str, tmp_path: Path) -> None:
    save_head(tmp_path, content)

    with pytest.raises(ModelFileError, match=rf"{INPAINT_HEAD.name}.*{found}"):
        load_inpaint_head(tmp_path / INPAINT_HEAD.name)


def test_a_damaged_file_is_an_error(weights: Path, tmp_path: Path) -> None:
    content = (weights / "inpaint" / INPAINT_HEAD.name).read_bytes()
    (tmp_path / INPAINT_HEAD.name).write_bytes(content[: len(content) // 2])

    with pytest.raises(ModelFileError, match=INPAINT_HEAD.name):
        load_inpaint_head(tmp_path / INPAINT_HEAD.name)
