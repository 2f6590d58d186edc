"""Masks of the rembg family: the arithmetic by hand, and whole networks in small files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fooocus_core.choices import ClothCategory, MaskModel
from fooocus_core.errors import ModelFileError
from fooocus_core.images.resize import resample
from fooocus_core.params import Size
from fooocus_core.vision.foreground import (
    ForegroundNetwork,
    Preparation,
    garment_mask,
    load_foreground_network,
    prepare,
    saliency_mask,
)
from tests.foreground_files import write_garment_network, write_saliency_network
from tests.networks import CPU_PLAN

SIDES = {
    MaskModel.U2NET: 320,
    MaskModel.U2NETP: 320,
    MaskModel.U2NET_HUMAN_SEG: 320,
    MaskModel.SILUETA: 320,
    MaskModel.ISNET_GENERAL_USE: 1024,
    MaskModel.ISNET_ANIME: 1024,
}


def test_a_picture_is_divided_by_its_brightest_value_and_normalised() -> None:
    image = np.full((2, 2, 3), (100, 50, 200), np.uint8)
    pixels = prepare(image, Preparation(side=2))
    assert (pixels.dtype, pixels.shape) == (np.float32, (1, 3, 2, 2))
    # 100/200 = 0.5, 50/200 = 0.25, 200/200 = 1
    expected = [(0.5 - 0.485) / 0.229, (0.25 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_array_equal(pixels[0, :, 0, 0], np.array(expected, np.float32))
    np.testing.assert_array_equal(pixels[0, :, 1, 1], np.array(expected, np.float32))


def test_isnet_takes_off_the_mean_alone() -> None:
    image = np.full((3, 3, 3), (255, 0, 51), np.uint8)
    pixels = prepare(image, Preparation(side=3, std=(1.0, 1.0, 1.0)))
    expected = np.array([1 - 0.485, -0.456, 51 / 255 - 0.406], np.float32)
    np.testing.assert_array_equal(pixels[0, :, 1, 1], expected)


def test_the_brightest_value_is_that_of_the_resized_picture() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[20:30, 20:40] = (40, 80, 120)
    square = resample(image, Size(16, 16))
    pixels = prepare(image, Preparation(side=16, std=(1.0, 1.0, 1.0)))
    expected = square[..., 2] / int(square.max()) - 0.406
    np.testing.assert_array_equal(pixels[0, 2], expected.astype(np.float32))


def test_a_black_picture_is_shown_as_zeros() -> None:
    pixels = prepare(np.zeros((4, 4, 3), np.uint8), Preparation(side=4))
    np.testing.assert_allclose(pixels[0, :, 0, 0], [-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])


def test_likelihoods_are_stretched_and_cut_to_whole_levels() -> None:
    values = np.array([[-1.0, 0.0], [0.5, 1.0]], np.float32)
    # (v + 1) / 2 * 255 = 0, 127.5, 191.25, 255
    assert saliency_mask(values, Size(2, 2)).tolist() == [[0, 127], [191, 255]]


def test_masks_have_the_size_of_the_picture() -> None:
    values = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    mask = saliency_mask(values, Size(13, 5))
    levels = (values * 255).astype(np.uint8)
    assert np.array_equal(mask, resample(levels, Size(13, 5)))
    assert mask.shape == (5, 13)


def test_where_nothing_stands_out_the_mask_is_black() -> None:
    mask = saliency_mask(np.full((4, 4), 0.7, np.float32), Size(6, 3))
    assert np.array_equal(mask, np.zeros((3, 6)))


@pytest.mark.parametrize(
    ("category", "expected"),
    [
        (ClothCategory.UPPER, [[0, 255], [0, 0]]),
        (ClothCategory.LOWER, [[0, 0], [255, 0]]),
        (ClothCategory.FULL, [[0, 0], [0, 255]]),
    ],
)
def test_each_category_of_garments_is_one_channel(
    category: ClothCategory, expected: list[list[int]]
) -> None:
    scores = np.eye(4, dtype=np.float32).reshape(4, 2, 2)
    assert garment_mask(scores, category, Size(2, 2)).tolist() == expected


def test_garments_are_resized_before_one_is_picked() -> None:
    scores = np.zeros((4, 1, 2), np.float32)
    scores[0, 0, 0] = scores[3, 0, 1] = 1
    # The filter overshoots, to a level that stands for nothing.
    kinds = resample(np.array([[0, 3]], np.uint8), Size(4, 1))
    assert kinds.tolist() == [[0, 1, 2, 4]]
    masks = {c: garment_mask(scores, c, Size(4, 1))[0].tolist() for c in ClothCategory}
    assert masks == {
        ClothCategory.FULL: [0, 0, 0, 0],
        ClothCategory.UPPER: [0, 255, 0, 0],
        ClothCategory.LOWER: [0, 0, 255, 0],
    }


@pytest.mark.parametrize("model", SIDES)
def test_each_network_is_run_at_its_own_size(tmp_path: Path, model: MaskModel) -> None:
    path = write_saliency_network(tmp_path / f"{model}.onnx", SIDES[model])
    image = np.zeros((30, 50, 3), np.uint8)
    image[:, 20:] = (255, 0, 0)
    mask = load_foreground_network(path, model, CPU_PLAN).mask(image)
    # The file's network gives its red channel.
    assert mask.shape == (30, 50)
    assert (mask[:, :17].max(), mask[:, 23:].min()) == (0, 255)


@pytest.mark.parametrize(
    ("category", "column"),
    [(ClothCategory.UPPER, 0), (ClothCategory.LOWER, 1), (ClothCategory.FULL, 2)],
)
def test_garments_are_found_by_their_network(
    tmp_path: Path, category: ClothCategory, column: int
) -> None:
    path = write_garment_network(tmp_path / "u2net_cloth_seg.onnx", 768)
    image = np.zeros((32, 64, 3), np.uint8)
    # The file's network takes red for upper, green for lower, blue for full.
    for number in range(3):
        image[:, number * 16 + 8 : number * 16 + 24, number] = 255
    image[:, 24:] = 0
    image[:, 8:24] = np.eye(3, dtype=np.uint8)[column] * 255
    network = load_foreground_network(path, MaskModel.U2NET_CLOTH_SEG, CPU_PLAN)
    mask = network.mask(image, category)
    assert set(np.unique(mask)) == {0, 255}
    assert (mask[:, 10:22].min(), mask[:, :6].max(), mask[:, 26:].max()) == (255, 0, 0)


def test_a_network_of_another_size_is_told_to_be_another(tmp_path: Path) -> None:
    path = write_saliency_network(tmp_path / "isnet-anime.onnx", 320)
    network = load_foreground_network(path, MaskModel.ISNET_ANIME, CPU_PLAN)
    with pytest.raises(ModelFileError, match=r"isnet-anime\.onnx cannot be computed"):
        network.mask(np.zeros((8, 8, 3), np.uint8))


def test_a_network_of_too_few_channels_is_told_to_be_another(tmp_path: Path) -> None:
    path = write_saliency_network(tmp_path / "u2net_cloth_seg.onnx", 768)
    network: ForegroundNetwork = load_foreground_network(path, MaskModel.U2NET_CLOTH_SEG, CPU_PLAN)
    with pytest.raises(ModelFileError, match=r"\(1, 1, 768, 768\), so it is not u2net_cloth_seg"):
        network.mask(np.zeros((8, 8, 3), np.uint8))
