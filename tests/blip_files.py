"""The files of a small captioner, in the layout of the published ones."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from tests.golden import load_json

WORDS = (
    *("[PAD]", "[unused0]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"),
    *("a", "picture", "of", "dog", "##s", "and", "cat", "in", "the", "red", "house", ",", ".", "'"),
    *(f"word{index}" for index in range(60)),
)
# Of the published network, and of the small one.
_SIZES = {768: 64, 2304: 192, 3072: 128, 30524: len(WORDS) + 2, 577: 10, 512: 80}
_LAYERS = 2


def small_tensors() -> dict[str, Tensor]:
    """Entries named as in the published file, with fewer layers and smaller sides."""
    generator = torch.Generator().manual_seed(5)
    tensors = {}
    for name, (kind, shape) in load_json("manifests/blip_base_caption").items():
        if any(f".{layer}." in name for layer in range(_LAYERS, 12)):
            continue
        small = [_SIZES.get(side, side) for side in shape]
        if kind == "I64":
            tensors[name] = torch.arange(small[-1])[None]
        else:
            tensors[name] = _values(name, small, generator)
    words = "text_decoder.bert.embeddings.word_embeddings.weight"
    tensors["text_decoder.cls.predictions.decoder.weight"] = tensors[words]
    bias = tensors["text_decoder.cls.predictions.bias"]
    tensors["text_decoder.cls.predictions.decoder.bias"] = bias
    return tensors


def _values(name: str, shape: list[int], generator: torch.Generator) -> Tensor:
    noise = torch.randn(shape, generator=generator)
    if name.endswith("bias"):
        return 0.1 * noise
    if len(shape) == 1:
        return 1 + 0.1 * noise
    return noise * (0.6 if "embeddings" in name else shape[-1] ** -0.5)


def write_weights(path: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    """The network, as its publisher packs it."""
    torch.save({"model": tensors or small_tensors(), "epoch": 3}, path)
    return path


def write_vocabulary(path: Path) -> Path:
    """The words, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    return path
