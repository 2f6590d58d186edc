"""The segmenter against the original network, and the files it is loaded from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.errors import DeviceMemoryError, ModelFileError, RunCancelled
from fooocus_core.loading.weight_file import WeightFile
from fooocus_core.params import Size
from fooocus_core.vision.sam import (
    Segmenter,
    build_segmenter,
    inner_size,
    load_segmenter,
    scaled,
)
from tests.golden import NETWORK, assert_matches, load_arrays
from tests.networks import CPU_PLAN, manifest_tensors
from tests.published_weights import published_file, published_tensors

RECORDED = load_arrays("components/segmentation")
META = replace(CPU_PLAN, device=torch.device("meta"))
IMAGE, BOXES = RECORDED["sam_image"], RECORDED["sam_boxes"]


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return build_segmenter(published_file("sam"), CPU_PLAN)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (Size(2048, 1024), (1024, 512)),
        (Size(1000, 333), (1024, 341)),  # 340.99
        (Size(3, 2), (1024, 683)),  # 682.67
        (Size(2, 4097), (1, 1024)),  # 0.4999, but one row has to stay
        (Size(5000, 1), (1024, 1)),
    ],
    ids=str,
)
def test_the_longer_side_becomes_that_of_the_network(size: Size, expected: tuple[int, int]) -> None:
    assert inner_size(size, 1024) == expected


def test_boxes_follow_the_picture() -> None:
    boxes = np.array([[10, 20, 30, 40]], np.float32)
    moved = scaled(boxes, Size(100, 50), Size(64, 32))
    assert moved.dtype == np.float32
    np.testing.assert_allclose(moved, [[6.4, 12.8, 19.2, 25.6]], rtol=1e-6)


def test_the_network_is_shown_the_recorded_pixels(segmenter: Segmenter) -> None:
    pixels = segmenter._pixels(IMAGE, Size(64, 42))
    assert torch.equal(pixels, torch.from_numpy(RECORDED["sam_pixels"]))


def test_the_network_computes_what_the_original_computes(segmenter: Segmenter) -> None:
    with torch.no_grad():
        features = segmenter.network.get_image_embeddings(torch.from_numpy(RECORDED["sam_pixels"]))
        boxes = torch.from_numpy(scaled(BOXES, Size(77, 50), Size(64, 42)))
        low = segmenter._decode(features, boxes)
    assert_matches(features, RECORDED["sam_features"], NETWORK)
    assert_matches(low, RECORDED["sam_low"], NETWORK)


def test_masks_are_those_of_the_original_in_the_order_of_the_boxes(segmenter: Segmenter) -> None:
    masks = np.stack(list(segmenter.cut_out(IMAGE, BOXES)))
    assert masks.dtype == np.uint8
    assert set(np.unique(masks)) == {0, 255}
    assert np.array_equal(masks == 255, RECORDED["sam_masks"])


def test_more_boxes_than_are_decoded_at_once_give_the_same_masks(segmenter: Segmenter) -> None:
    masks = list(segmenter.cut_out(IMAGE, np.tile(BOXES, (5, 1))))
    assert len(masks) == 20
    assert all(
        np.array_equal(mask == 255, RECORDED["sam_masks"][number % 4])
        for number, mask in enumerate(masks)
    )


def test_it_can_be_stopped_before_each_batch(segmenter: Segmenter) -> None:
    checks = iter([None, None, RunCancelled()])

    def check() -> None:
        if (error := next(checks)) is not None:
            raise error

    masks = segmenter.cut_out(IMAGE, np.tile(BOXES, (3, 1)), check)
    assert len([next(masks) for _ in range(8)]) == 8
    with pytest.raises(RunCancelled):
        next(masks)


@pytest.mark.parametrize(
    ("name", "layers", "heads", "whole"),
    [
        ("sam_vit_b", 12, 12, [2, 5, 8, 11]),
        ("sam_vit_l", 24, 16, [5, 11, 17, 23]),
        ("sam_vit_h", 32, 16, [7, 15, 23, 31]),
    ],
)
def test_the_published_files_fit(name: str, layers: int, heads: int, whole: list[int]) -> None:
    file = WeightFile(path=Path(name), tensors=manifest_tensors(name, ""), metadata={})
    config = build_segmenter(file, META).network.config
    vision = config.vision_config
    assert (vision.num_hidden_layers, vision.num_attention_heads) == (layers, heads)
    assert (vision.global_attn_indexes, vision.window_size) == (whole, 14)
    assert (vision.image_size, vision.patch_size, vision.output_channels) == (1024, 16, 256)
    decoder = config.mask_decoder_config
    assert (decoder.num_hidden_layers, decoder.num_attention_heads) == (2, 8)
    assert (decoder.mlp_dim, decoder.attention_downsample_rate) == (2048, 2)
    assert (decoder.num_multimask_outputs, decoder.iou_head_hidden_dim) == (3, 256)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_encoder.neck.2.weight": None}, "vision_encoder.neck.conv2.weight"),
        ({"image_encoder.pos_embed": None}, "Missing entries: image_encoder.pos_embed"),
        ({"odd.weight": torch.zeros(1)}, "Unexpected entries: odd.weight"),
        ({"image_encoder.neck.1.bias": torch.zeros(3)}, r"has shape \(3,\)"),
        ({"image_encoder.blocks.0.attn.rel_pos_h": torch.zeros(9, 8)}, "several sizes"),
        ({"mask_decoder.mask_tokens.weight": torch.zeros(())}, "do not fit together"),
        ({"image_encoder.patch_embed.proj.weight": torch.zeros(0)}, "do not fit together"),
    ],
    ids=["missing", "size missing", "unexpected", "shape", "windows", "no dimension", "nothing"],
)
def test_what_is_wrong_with_a_file_is_told(changes: dict[str, Tensor | None], message: str) -> None:
    with pytest.raises(ModelFileError, match=message):
        build_segmenter(published_file("sam", **changes), CPU_PLAN)


def test_a_published_torch_file_is_read(tmp_path: Path, segmenter: Segmenter) -> None:
    path = tmp_path / "sam_vit_b_01ec64.pth"
    torch.save(published_tensors("sam"), path)
    masks = list(load_segmenter(path, CPU_PLAN).cut_out(IMAGE, BOXES[:1]))
    assert np.array_equal(masks[0], next(segmenter.cut_out(IMAGE, BOXES)))


def test_a_file_that_is_cut_off_is_told(tmp_path: Path) -> None:
    path = tmp_path / "sam_vit_b_01ec64.pth"
    path.write_bytes(b"PK\x03\x04 not all of it")
    with pytest.raises(ModelFileError, match=r"sam_vit_b_01ec64\.pth"):
        load_segmenter(path, CPU_PLAN)


def test_half_precision_files_are_computed_in_float32() -> None:
    halves = {name: tensor.half() for name, tensor in published_tensors("sam").items()}
    network = build_segmenter(published_file("sam", **halves), CPU_PLAN).network
    assert {weight.dtype for weight in network.parameters()} == {torch.float32}


def test_values_that_are_not_finite_are_told() -> None:
    broken = torch.full((1, 32), float("nan"))
    segmenter = build_segmenter(
        published_file("sam", **{"mask_decoder.iou_token.weight": broken}), CPU_PLAN
    )
    with pytest.raises(ModelFileError, match=r"sam\.pth gave values that are not finite"):
        next(segmenter.cut_out(IMAGE, BOXES))


def test_running_out_of_memory_is_told(segmenter: Segmenter, add_hook: Callable[..., None]) -> None:
    def fail(*_: object) -> None:
        raise torch.OutOfMemoryError

    add_hook(segmenter.network.vision_encoder, fail)
    with pytest.raises(DeviceMemoryError, match="while looking for what lies in the boxes"):
        next(segmenter.cut_out(IMAGE, BOXES))


@pytest.fixture
def add_hook(request: pytest.FixtureRequest) -> Callable[..., None]:
    def add(module: torch.nn.Module, hook: Callable[..., None]) -> None:
        request.addfinalizer(module.register_forward_pre_hook(hook).remove)

    return add
