"""The box finder against the original network, and the files it is loaded from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertTokenizer

from fooocus_core.errors import DeviceMemoryError, InvalidInputError, ModelFileError
from fooocus_core.loading.weight_file import WeightFile
from fooocus_core.params import Image, Size
from fooocus_core.text.bert import load_bert_tokenizer
from fooocus_core.vision.grounding_dino import (
    BoxFinder,
    build_box_finder,
    caption,
    load_box_finder,
    shown_size,
    to_corners,
)
from tests.golden import NETWORK, assert_matches, load_arrays, load_json
from tests.networks import CPU_PLAN, manifest_tensors
from tests.published_weights import published_file, published_tensors, write_vocabulary

RECORDED = load_arrays("components/segmentation")
TEXTS = load_json("components/segmentation")["texts"]
ATTENTION = "transformer.decoder.layers.0.self_attn."
META = replace(CPU_PLAN, device=torch.device("meta"))
# Of likelihoods that come of scores with a deviation of 16, so that small differences show more.
LIKELIHOODS = 1e-3


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> BertTokenizer:
    return load_bert_tokenizer(write_vocabulary(tmp_path_factory.mktemp("bert") / "vocab.txt"))


@pytest.fixture(scope="module")
def finder(tokenizer: BertTokenizer) -> BoxFinder:
    return build_box_finder(published_file("grounding_dino"), tokenizer, CPU_PLAN)


class Scripted:
    """In the place of a network: remembers what it was given, and finds what it was told."""

    device = torch.device("cpu")

    def __init__(self, likelihoods: list[list[float]], boxes: list[list[float]]) -> None:
        self.config = SimpleNamespace(num_queries=3, num_feature_levels=4, max_text_len=256)
        self.logits = torch.logit(torch.tensor(likelihoods))
        self.boxes = torch.tensor(boxes)
        self.given: list[dict[str, Tensor]] = []

    def __call__(self, **given: Tensor) -> Any:
        self.given.append(given)
        return SimpleNamespace(logits=self.logits[None], pred_boxes=self.boxes[None])


@pytest.fixture
def scripted() -> Scripted:
    likelihoods = [[0.1, 0.4, 0.0], [0.29, 0.3, 0.0], [0.9, 0.2, 0.0]]
    boxes = [[0.5, 0.5, 0.5, 0.5], [0.1, 0.1, 0.1, 0.1], [0.25, 0.5, 0.5, 1.2]]
    return Scripted(likelihoods, boxes)


@pytest.fixture
def find(scripted: Scripted, tokenizer: BertTokenizer) -> Any:
    return BoxFinder(scripted, tokenizer, "scripted").find  # type: ignore[arg-type]


def picture(width: int = 80, height: int = 40) -> Image:
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = 255
    return image


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Face", "face."), ("  a Cat. ", "a cat."), ("", "."), ("one. Two", "one. two.")],
)
def test_texts_are_small_letters_and_end_with_a_full_stop(text: str, expected: str) -> None:
    assert caption(text) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (Size(1000, 1000), (800, 800)),
        (Size(1152, 896), (1028, 800)),  # 1028.57 is cut
        (Size(896, 1152), (800, 1028)),
        (Size(2000, 1000), (1332, 666)),  # 1333 / 2 = 666.5 is rounded to even
        (Size(30, 17), (1332, 755)),  # 755.37 is rounded, 1332.35 cut
        (Size(1, 5000), (0, 0)),
    ],
    ids=str,
)
def test_the_shorter_side_becomes_800_if_the_longer_allows(
    size: Size, expected: tuple[int, int]
) -> None:
    assert shown_size(size) == expected


def test_boxes_become_corners_in_pixels() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.25, 0.5, 0.75, 1.5]])
    corners = to_corners(boxes, Size(200, 100))
    assert corners.dtype == np.float32
    assert corners.tolist() == [[50, 25, 150, 75], [-25, -25, 125, 125]]


def test_likely_boxes_stay_in_the_order_of_the_queries(find: Any) -> None:
    boxes = find(picture(), "face", 0.3)
    np.testing.assert_allclose(boxes, [[20, 10, 60, 30], [0, -4, 40, 44]], rtol=1e-6)


def test_a_box_as_likely_as_the_threshold_does_not_count(scripted: Scripted, find: Any) -> None:
    exactly = float(scripted.logits.sigmoid()[2, 0])
    assert len(find(picture(), "face", exactly)) == 0
    assert find(picture(), "face", 1.0).shape == (0, 4)


def test_red_and_blue_are_exchanged(scripted: Scripted, find: Any) -> None:
    find(picture(), "face", 0.3)
    pixels = scripted.given[0]["pixel_values"]
    assert pixels.shape == (1, 3, 666, 1332)
    expected = [(0 - 0.485) / 0.229, (0 - 0.456) / 0.224, (1 - 0.406) / 0.225]
    np.testing.assert_allclose(pixels[0, :, 5, 7], expected, rtol=1e-6)


def test_the_text_becomes_the_tokens_of_bert(scripted: Scripted, find: Any) -> None:
    find(picture(), "Left hand", 0.3)
    assert scripted.given[0]["input_ids"].tolist() == [[101, 1032, 1031, 1012, 102]]
    assert scripted.given[0]["attention_mask"].tolist() == [[1, 1, 1, 1, 1]]


@pytest.mark.parametrize("size", [(5000, 1), (1, 5000)], ids=str)
def test_a_picture_too_thin_is_refused(find: Any, size: tuple[int, int]) -> None:
    with pytest.raises(InvalidInputError, match="too thin"):
        find(picture(*size), "face", 0.3)


@pytest.mark.parametrize("broken", ["logits", "boxes"])
def test_values_that_are_not_finite_are_told(scripted: Scripted, find: Any, broken: str) -> None:
    getattr(scripted, broken)[1, 0] = float("nan")
    with pytest.raises(ModelFileError, match="scripted gave values that are not finite"):
        find(picture(), "face", 0.3)


def test_running_out_of_memory_is_told(tokenizer: BertTokenizer) -> None:
    class Full(Scripted):
        def __call__(self, **_: Tensor) -> Any:
            raise torch.OutOfMemoryError

    finder = BoxFinder(Full([[0.5]], [[0.5] * 4]), tokenizer, "x")  # type: ignore[arg-type]
    with pytest.raises(DeviceMemoryError, match="while looking for what the text names"):
        finder.find(picture(), "face", 0.3)


@pytest.mark.parametrize("case", TEXTS)
def test_the_network_computes_what_the_original_computes(finder: BoxFinder, case: str) -> None:
    tokens = finder._tokenizer(TEXTS[case], return_tensors="pt")["input_ids"]
    with torch.no_grad():
        found = finder.network(
            pixel_values=torch.from_numpy(RECORDED[f"dino_{case}_pixels"]),
            input_ids=tokens,
            attention_mask=torch.ones_like(tokens[:, :256]),
        )
    assert_matches(found.logits[0].sigmoid(), RECORDED[f"dino_{case}_likelihoods"], LIKELIHOODS)
    assert_matches(found.pred_boxes[0], RECORDED[f"dino_{case}_boxes"], NETWORK)


def test_a_text_of_more_tokens_than_are_read_finds_boxes(finder: BoxFinder) -> None:
    boxes = finder.find(picture(400, 40), "cat " * 500, 0.0)
    assert boxes.shape == (20, 4)


def test_the_published_file_fits(tokenizer: BertTokenizer) -> None:
    tensors = manifest_tensors("groundingdino_swint_ogc", "")
    file = WeightFile(path=Path("groundingdino_swint_ogc.pth"), tensors=tensors, metadata={})
    config = build_box_finder(file, tokenizer, META).network.config
    assert (config.d_model, config.num_queries, config.num_feature_levels) == (256, 900, 4)
    assert (config.encoder_layers, config.decoder_layers) == (6, 6)
    assert (config.encoder_attention_heads, config.decoder_attention_heads) == (8, 8)
    assert (config.encoder_ffn_dim, config.decoder_ffn_dim) == (2048, 2048)
    assert (config.encoder_n_points, config.decoder_n_points) == (4, 4)
    swin, text = config.backbone_config, config.text_config
    assert (swin.embed_dim, swin.depths, swin.num_heads) == (96, [2, 2, 6, 2], [3, 6, 12, 24])
    assert (swin.window_size, swin.patch_size, swin.out_indices) == (7, 4, [2, 3, 4])
    assert (text.vocab_size, text.hidden_size, text.num_hidden_layers) == (30522, 768, 12)
    assert (text.num_attention_heads, text.intermediate_size) == (12, 3072)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feat_map.bias": None}, "Missing entries: model.text_projection.bias"),
        ({"transformer.tgt_embed.weight": None}, "Missing entries: transformer.tgt_embed.weight"),
        ({"odd.weight": torch.zeros(1)}, "Unexpected entries: odd.weight"),
        ({"feat_map.bias": torch.zeros(3)}, r"has shape \(3,\)"),
        ({"transformer.level_embed": torch.zeros(())}, "do not fit together"),
        ({"transformer.level_embed": torch.zeros(0, 0)}, "do not fit together"),
        ({f"{ATTENTION}in_proj_bias": torch.zeros(())}, "cannot be loaded"),
        ({"bert.embeddings.word_embeddings.weight": torch.zeros(900, 32)}, "fewer words"),
    ],
    ids=[
        "missing",
        "size missing",
        "unexpected",
        "shape",
        "no dimension",
        "nothing",
        "unfit",
        "vocabulary",
    ],
)
def test_what_is_wrong_with_a_file_is_told(
    tokenizer: BertTokenizer, changes: dict[str, Tensor | None], message: str
) -> None:
    with pytest.raises(ModelFileError, match=message):
        build_box_finder(published_file("grounding_dino", **changes), tokenizer, CPU_PLAN)


def test_a_published_torch_file_is_read(tmp_path: Path, finder: BoxFinder) -> None:
    path = tmp_path / "groundingdino_swint_ogc.pth"
    entries = published_tensors("grounding_dino")
    table = {f"module.{name}": tensor for name, tensor in entries.items()}
    torch.save({"model": {**table, "module.label_enc.weight": torch.zeros(2, 3)}}, path)
    loaded = load_box_finder(path, write_vocabulary(tmp_path / "vocab.txt"), CPU_PLAN)
    state = finder.network.state_dict()
    for name, weight in loaded.network.state_dict().items():
        assert torch.equal(weight, state[name]), name
