"""Tiled runs of simple networks against the recorded arrays."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from fooocus_core.vae.tiling import (
    Tiles,
    decode_passes,
    encode_passes,
    feathering,
    finished_rows,
    mean_of_passes,
    run_tiled,
)
from tests.golden import assert_matches, load_arrays

RECORDED = load_arrays("image-ops/tiled")


def enlarge(tile: Tensor) -> Tensor:
    return functional.interpolate(tile, scale_factor=4) * (1 + 0.1 * tile.mean())


def shrink(tile: Tensor) -> Tensor:
    values = 2 * tile - 1
    pooled = functional.avg_pool2d(values, 8)
    with_mean = torch.cat([pooled, pooled.mean(dim=1, keepdim=True)], dim=1)
    return with_mean * (1 + 0.05 * values.std())


def decode_plus_one(tile: Tensor) -> Tensor:
    return functional.interpolate(tile[:, :3], scale_factor=8) * (1 + 0.05 * tile.std()) + 1


@pytest.mark.parametrize("index", range(3))
def test_one_pass_equals_the_recorded_one(index: int) -> None:
    width, height, overlap = RECORDED[f"up{index}_tile_x_tile_y_overlap"].tolist()
    tiles = Tiles(width=width, height=height, overlap=overlap)
    result = run_tiled(torch.from_numpy(RECORDED[f"up{index}_in"]), enlarge, tiles, scale=4)
    assert_matches(result, RECORDED[f"up{index}_out"], 1e-5)


def test_rows_are_handed_out_once_no_further_tile_changes_them() -> None:
    x = torch.from_numpy(RECORDED["up2_in"])
    tiles = Tiles(width=16, height=16, overlap=4)
    tops: list[int] = []

    def note(tile: Tensor) -> Tensor:
        tops.append(tile.shape[-2])
        return enlarge(tile)

    heights = [(rows.shape[-2], len(tops)) for rows in finished_rows(x, note, tiles, scale=4)]

    assert x.shape[-2:] == (33, 17)
    assert heights == [(48, 2), (48, 4), (36, 6)]
    assert tops == [16, 16, 16, 16, 9, 9]


@pytest.mark.parametrize("index", range(2))
def test_three_encoding_passes_equal_the_recorded_ones(index: int) -> None:
    passes = encode_passes(*RECORDED[f"enc{index}_tile_overlap"].tolist())
    result = mean_of_passes(
        torch.from_numpy(RECORDED[f"enc{index}_in"]), shrink, passes, scale=1 / 8
    )
    assert_matches(result, RECORDED[f"enc{index}_out"], 1e-5)


@pytest.mark.parametrize("index", range(2))
def test_three_decoding_passes_equal_the_recorded_ones(index: int) -> None:
    passes = decode_passes(*RECORDED[f"dec{index}_tile_overlap"].tolist())
    latent = torch.from_numpy(RECORDED[f"dec{index}_in"])
    result = mean_of_passes(latent, decode_plus_one, passes, scale=8)
    assert_matches((result / 2).clamp(0, 1), RECORDED[f"dec{index}_out"], 1e-5)


def test_feathering_rises_from_all_four_sides() -> None:
    mask = feathering(6, 8, feather=2)[0, 0]
    assert mask[3].tolist() == [0.5, 1, 1, 1, 1, 1, 1, 0.5]
    assert mask[:, 0].tolist() == [0.25, 0.5, 0.5, 0.5, 0.5, 0.25]
