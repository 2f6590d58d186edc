"""Making masks with small networks in the published files' layouts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from fooocus_core.choices import ClothCategory, MaskModel, SamModel
from fooocus_core.downloads import BERT_VOCABULARY, GROUNDING_DINO, sam_file
from fooocus_core.engine import Engine
from fooocus_core.errors import ModelNotFoundError, RunCancelled
from fooocus_core.images.masks import fill_small_holes
from fooocus_core.loading.store import ModelStore
from fooocus_core.params import Image, MaskParams
from fooocus_core.prompt.styles import load_styles
from fooocus_core.vision.boxes import draw_boxes, grow_boxes
from fooocus_core.workflows.generate_mask import generate_mask
from fooocus_core.workflows.resources import Resources
from tests.foreground_files import write_garment_network, write_saliency_network
from tests.networks import CPU_PLAN
from tests.published_weights import published_tensors, write_vocabulary
from tests.workflow_parts import make_resources

FACE = MaskParams(model=MaskModel.SAM, prompt="face", box_threshold=0.0)


def save(folder: Path, name: str, content: object) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(content, folder / name)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    finder = {f"module.{name}": t for name, t in published_tensors("grounding_dino").items()}
    save(root / "inpaint", GROUNDING_DINO.name, {"model": finder})
    save(root / "sam", sam_file(SamModel.VIT_B).name, published_tensors("sam"))
    (root / "clip_vision" / "bert-base-uncased").mkdir(parents=True)
    write_vocabulary(root / "clip_vision" / BERT_VOCABULARY.name)
    write_saliency_network(root / "inpaint" / "u2netp.onnx", 320)
    write_saliency_network(root / "inpaint" / "u2net.onnx", 320)
    write_garment_network(root / "inpaint" / "u2net_cloth_seg.onnx", 768)
    return root


@pytest.fixture(scope="module")
def resources(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Resources:
    return make_resources(models, tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def image() -> Image:
    values = np.random.Generator(np.random.PCG64(5)).integers(0, 256, (6, 60, 3)).astype(np.uint8)
    return values.repeat(8, axis=0).repeat(8, axis=1)


def half_red() -> Image:
    picture = np.zeros((32, 64, 3), np.uint8)
    picture[:, :32, 0] = 255
    return picture


def test_what_stands_out_becomes_white(resources: Resources) -> None:
    found = generate_mask(half_red(), MaskParams(model=MaskModel.U2NETP), resources)
    assert found.detections is None
    assert (found.mask.shape, found.mask.dtype) == ((32, 64), np.uint8)
    assert (found.mask[:, :28].min(), found.mask[:, 36:].max()) == (255, 0)


@pytest.mark.parametrize(
    ("category", "share"), [(ClothCategory.UPPER, 0.5), (ClothCategory.FULL, 0.0)]
)
def test_the_category_of_garments_is_asked_for(
    resources: Resources, category: ClothCategory, share: float
) -> None:
    params = MaskParams(model=MaskModel.U2NET_CLOTH_SEG, cloth_category=category)
    mask = generate_mask(half_red(), params, resources).mask
    assert (mask == 255).mean() == pytest.approx(share, abs=0.04)


def test_a_text_gives_the_union_of_what_lies_in_its_boxes(
    resources: Resources, image: Image
) -> None:
    found = generate_mask(image, FACE, resources)
    boxes = boxes_of(resources, image)
    segmenter = resources.auxiliary.masks.segmenter(resources.find(sam_file(SamModel.VIT_B)))
    masks = [fill_small_holes(mask) for mask in segmenter.cut_out(image, boxes)]
    assert found.detections == len(boxes) == 20
    assert np.array_equal(found.mask, np.max(masks, axis=0))
    first = generate_mask(image, replace(FACE, max_detections=1), resources)
    assert np.array_equal(first.mask, masks[0])
    assert not np.array_equal(first.mask, found.mask)


def boxes_of(resources: Resources, image: Image) -> np.ndarray:
    masks = resources.auxiliary.masks
    finder = masks.box_finder(resources.find(GROUNDING_DINO), resources.find(BERT_VOCABULARY))
    return finder.find(image, "face", 0.0)


def test_boxes_are_shown_as_they_were_grown(resources: Resources, image: Image) -> None:
    params = replace(FACE, show_boxes=True, grow_boxes=-9.5)
    found = generate_mask(image, params, resources)
    expected = draw_boxes(grow_boxes(boxes_of(resources, image), -9.5), (480, 48))
    assert np.array_equal(found.mask, expected)
    assert found.detections == 20


@pytest.mark.parametrize("show", [False, True])
def test_without_boxes_the_mask_is_black(resources: Resources, image: Image, show: bool) -> None:
    params = replace(FACE, box_threshold=1.0, show_boxes=show, sam_model=SamModel.VIT_H)
    found = generate_mask(image, params, resources)
    assert found.detections == 0
    assert np.array_equal(found.mask, np.zeros((48, 480)))


def test_a_run_can_be_stopped_between_the_networks(resources: Resources, image: Image) -> None:
    checks = iter([None, RunCancelled()])

    def check() -> None:
        if (error := next(checks)) is not None:
            raise error

    with pytest.raises(RunCancelled):
        generate_mask(image, FACE, resources, check)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (MaskParams(model=MaskModel.SILUETA), r"'silueta\.onnx' in .*inpaint"),
        (replace(FACE, sam_model=SamModel.VIT_L), r"'sam_vit_l_0b3195\.pth' in .*sam"),
    ],
    ids=["silueta", "sam"],
)
def test_a_missing_file_is_named_with_its_folder(
    resources: Resources, image: Image, params: MaskParams, message: str
) -> None:
    with pytest.raises(ModelNotFoundError, match=message):
        generate_mask(image, params, resources)


def test_networks_stay_until_another_is_asked_for_or_memory_is_freed(models: Path) -> None:
    networks = make_resources(models, models).auxiliary.masks
    small, large = models / "inpaint" / "u2netp.onnx", models / "inpaint" / "u2net.onnx"
    first = networks.foreground(small, MaskModel.U2NETP)
    assert networks.foreground(small, MaskModel.U2NETP) is first
    assert networks.foreground(large, MaskModel.U2NET) is not first
    again = networks.foreground(small, MaskModel.U2NETP)
    assert again is not first
    networks.free()
    assert networks.foreground(small, MaskModel.U2NETP) is not again


def test_networks_are_on_the_device_while_they_compute_and_no_longer(
    models: Path, tmp_path: Path, image: Image
) -> None:
    carried: list[Tensor] = []

    def carry(tensor: Tensor, device: torch.device) -> Tensor:
        carried.append(tensor)
        return tensor.clone()

    plan = replace(CPU_PLAN, device=torch.device("cpu", 0), stays=False)
    resources = make_resources(models, tmp_path, ModelStore(plan, carry))
    generate_mask(image, replace(FACE, max_detections=1), resources)
    masks = resources.auxiliary.masks
    networks = [
        masks.box_finder(resources.find(GROUNDING_DINO), resources.find(BERT_VOCABULARY)).network,
        masks.segmenter(resources.find(sam_file(SamModel.VIT_B))).network,
    ]
    weights = [weight for network in networks for weight in network.parameters()]
    addresses = {tensor.data_ptr() for tensor in carried}
    assert {weight.data_ptr() for weight in weights} <= addresses


@pytest.mark.parametrize(
    ("model", "shape"), [(MaskModel.U2NETP, (48, 480)), (MaskModel.SAM, (48, 480, 3))]
)
def test_the_engine_gives_the_channels_of_the_reference(
    resources: Resources, image: Image, model: MaskModel, shape: tuple[int, ...]
) -> None:
    engine = Engine(resources, load_styles(None))
    params = MaskParams(model=model, prompt="face", box_threshold=1.0)
    assert engine.generate_mask(image, params).shape == shape
