"""Super-resolution against the recorded pictures, and the files it is loaded from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image as PillowImage
from torch import Tensor

from fooocus_core.downloads import UPSCALER
from fooocus_core.errors import (
    DeviceMemoryError,
    ModelFileError,
    RunCancelled,
)
from fooocus_core.params import Image
from fooocus_core.vae.codec import to_image, to_pixels
from fooocus_core.vae.tiling import Tiles, run_tiled
from fooocus_core.vision.upscaler import (
    Check,
    EsrganNetwork,
    Upscaler,
    build_network,
    load_upscaler,
)
from tests.golden import GOLDEN, NETWORK, assert_matches, load_arrays, random_array
from tests.networks import CPU_PLAN, manifest_tensors

CPU = CPU_PLAN.device
RECORDED = load_arrays("components/upscaler")


class Narrow(EsrganNetwork):
    """Runs out of memory on tiles wider or higher than its limit."""

    def __init__(self, limit: int) -> None:
        super().__init__(filters=1, growth=1, blocks=1, doublings=1)
        self.limit = limit
        self.tiles: list[tuple[int, ...]] = []

    def forward(self, pixels: Tensor, check: Check = lambda: None) -> Tensor:
        self.tiles.append(tuple(pixels.shape[-2:]))
        if max(pixels.shape[-2:]) > self.limit:
            raise torch.OutOfMemoryError
        return super().forward(pixels, check)


def file_tensors() -> dict[str, Tensor]:
    """Entries of a small network in the published file's spelling."""
    arrays = load_arrays("image-ops/rrdb")
    return {
        name.removeprefix("w."): torch.from_numpy(array)
        for name, array in arrays.items()
        if name.startswith("w.")
    }


def random_image(height: int, width: int) -> Image:
    return (random_array(height, (height, width, 3)) * 60 + 128).clip(0, 255).astype(np.uint8)


def assert_equal_but_rounding(actual: Image, expected: NDArray[Any]) -> None:
    """Equal on the recording's kind of CPU; on others a few values are one level off."""
    assert actual.shape == expected.shape
    difference = np.abs(actual.astype(int) - expected)
    assert difference.max() <= 1
    assert difference.mean() <= 1e-4


def save(folder: Path, tensors: dict[str, Tensor]) -> Path:
    torch.save(tensors, folder / UPSCALER.name)
    return folder


@pytest.mark.parametrize("spelling", ["residual_block_", "RDB"])
def test_a_network_of_either_spelling_equals_the_vector(spelling: str) -> None:
    recorded = load_arrays("image-ops/rrdb")
    renamed = {
        name.replace("residual_block_", spelling): tensor for name, tensor in file_tensors().items()
    }

    with torch.no_grad():
        result = build_network(renamed, CPU)(torch.from_numpy(recorded["x"]))

    assert_matches(result, recorded["out"], NETWORK)


def test_an_enlarged_crop_is_the_recorded_picture(weights: Path) -> None:
    upscaler = load_upscaler(weights / "upscale_models" / UPSCALER.name, CPU_PLAN)

    assert_equal_but_rounding(upscaler.enlarge(RECORDED["inp"]), RECORDED["out"])


def test_an_enlarged_photograph_is_the_recorded_picture(weights: Path) -> None:
    upscaler = load_upscaler(weights / "upscale_models" / UPSCALER.name, CPU_PLAN)
    with PillowImage.open(GOLDEN / "inputs" / "photo_b.png") as picture:
        photograph = np.asarray(picture)

    enlarged = upscaler.enlarge(photograph)

    assert enlarged.shape == tuple(RECORDED["b_shape"])
    assert_equal_but_rounding(enlarged[::4, ::4], RECORDED["b_out_ds"])


def test_the_published_file_fits() -> None:
    network = build_network(manifest_tensors("fooocus_upscaler", ""), torch.device("meta"))

    assert network.scale == 4
    assert len(network.state_dict()) == 702
    assert {tensor.dtype for tensor in network.state_dict().values()} == {torch.float32}


@pytest.mark.parametrize(
    ("doublings", "places"),
    [
        (0, {0, 2, 4}),
        (1, {0, 3, 5, 7}),
        (2, {0, 3, 6, 8, 10}),
        (3, {0, 3, 6, 9, 11, 13}),
    ],
)
def test_every_size_is_read_from_the_entries(doublings: int, places: set[int]) -> None:
    made = EsrganNetwork(filters=6, growth=2, blocks=3, doublings=doublings)
    outer = {int(name.split(".")[1]) for name in made.state_dict() if name.count(".") == 2}

    network = build_network(made.state_dict(), CPU)

    assert outer == places
    assert network.scale == 2**doublings
    assert network(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 5 * network.scale, 7 * network.scale)


def test_pictures_larger_than_a_tile_are_the_feathered_tiles() -> None:
    torch.manual_seed(3)
    network = EsrganNetwork(filters=2, growth=1, blocks=1, doublings=1)
    image = random_image(530, 490)

    enlarged = Upscaler(network, CPU).enlarge(image)

    with torch.no_grad():
        tiles = Tiles(width=512, height=512, overlap=32)
        expected = run_tiled(to_pixels(image), network, tiles, scale=2)
    assert_equal_but_rounding(enlarged, to_image(expected.clamp(0, 1)))


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (33, 600)], ids=str)
def test_pictures_of_any_shape_are_enlarged(shape: tuple[int, int], weights: Path) -> None:
    upscaler = load_upscaler(weights / "upscale_models" / UPSCALER.name, CPU_PLAN)

    enlarged = upscaler.enlarge(random_image(*shape))

    assert enlarged.shape == (4 * shape[0], 4 * shape[1], 3)
    assert enlarged.any()


@pytest.mark.parametrize(
    ("limit", "heights"),
    [
        (512, [512, 120]),
        (511, [512, 256, 256, 152]),
        (128, [512, 256, 128, 128, 128, 128, 128, 120, 24]),
    ],
    ids=["512", "256", "128"],
)
def test_tiles_are_halved_until_the_memory_is_enough(limit: int, heights: list[int]) -> None:
    network = Narrow(limit)

    enlarged = Upscaler(network, CPU).enlarge(random_image(600, 20))

    assert enlarged.shape == (1200, 40, 3)
    assert network.tiles == [(height, 20) for height in heights]


def test_too_little_memory_for_the_smallest_tile_is_an_error() -> None:
    network = Narrow(100)

    with pytest.raises(DeviceMemoryError, match="enlarging the picture in tiles of 128"):
        Upscaler(network, CPU).enlarge(random_image(600, 600))

    assert network.tiles == [(512, 512), (256, 256), (128, 128)]


def test_a_stop_is_seen_within_a_tile() -> None:
    network = build_network(file_tensors(), CPU)
    calls: list[int] = []

    def check() -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RunCancelled

    with pytest.raises(RunCancelled):
        Upscaler(network, CPU).enlarge(random_image(20, 20), check)


def test_a_file_of_another_network_is_an_error(tmp_path: Path) -> None:
    save(tmp_path, {"conv1.weight": torch.zeros(8, 4, 7, 7)})

    with pytest.raises(ModelFileError, match=rf"{UPSCALER.name}.*model\.0\.weight"):
        load_upscaler(tmp_path / UPSCALER.name, CPU_PLAN)


def without(name: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in file_tensors().items() if key != name}


@pytest.mark.parametrize(
    ("tensors", "complaint"),
    [
        (without("model.1.sub.1.residual_block_2.conv3.0.bias"), "Missing entries"),
        (without("model.8.weight"), "entries"),
        (file_tensors() | {"model.3.extra": torch.zeros(1)}, "Unexpected entries"),
        (file_tensors() | {"model.10.weight": torch.zeros(4, 16, 3, 3)}, "has shape"),
        (file_tensors() | {"model.0.weight": torch.zeros(())}, "do not fit together"),
    ],
    ids=["missing bias", "missing convolution", "extra", "four channels", "no shape"],
)
def test_a_file_whose_entries_do_not_fit_is_an_error(
    tensors: dict[str, Tensor], complaint: str, tmp_path: Path
) -> None:
    save(tmp_path, tensors)

    with pytest.raises(ModelFileError, match=rf"{UPSCALER.name}.*{complaint}"):
        load_upscaler(tmp_path / UPSCALER.name, CPU_PLAN)


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / UPSCALER.name).write_bytes(b"PK\x03\x04 and no more")

    with pytest.raises(ModelFileError, match=UPSCALER.name):
        load_upscaler(tmp_path / UPSCALER.name, CPU_PLAN)


def test_weights_that_are_not_finite_give_no_picture(tmp_path: Path) -> None:
    save(tmp_path, file_tensors() | {"model.10.bias": torch.full((3,), float("nan"))})

    with pytest.raises(ModelFileError, match="not finite"):
        load_upscaler(tmp_path / UPSCALER.name, CPU_PLAN).enlarge(random_image(4, 4))
