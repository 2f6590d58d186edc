"""The small captioner of the embedded model: built for training, written in the published layout.

Knows nothing about drawings, and words only as a vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration

from fooocus_core.loading.architecture import HEAD_WIDTH
from fooocus_core.vision.captions import MAX_TOKENS, PROMPT

SIDE, PATCH = 128, 16
WIDTH, HIDDEN = 2 * HEAD_WIDTH, 256
EYES, MOUTHS = 4, 2  # layers that see, layers that speak
CELLS = 4  # of a patch, along either side, whose mean colours are seen from the start
KIND_WEIGHT = 2.0
TAG_WEIGHT = 10.0  # most of the hundreds of tags are absent, so a mean over them is small
# Scores are a linear function of the last normalisation, so these scale them.
SHARPENED = ("transform.LayerNorm.weight", "transform.LayerNorm.bias", "bias")
SHARPNESS = 3.0
START = 0.05  # spread of weights before training
IGNORED = -100
PADDING = 0  # the first of the words
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
NORMAL = 1e-3  # weight of the penalty that keeps scores near logarithms of probabilities

# What the library calls the parts of the part that sees, and what the published file does.
_NAMES = {
    "vision_model.embeddings.class_embedding": "visual_encoder.cls_token",
    "vision_model.embeddings.position_embedding": "visual_encoder.pos_embed",
    "vision_model.embeddings.patch_embedding.": "visual_encoder.patch_embed.proj.",
    "vision_model.encoder.layers.": "visual_encoder.blocks.",
    "vision_model.post_layernorm.": "visual_encoder.norm.",
    ".layer_norm1.": ".norm1.",
    ".layer_norm2.": ".norm2.",
    ".self_attn.qkv.": ".attn.qkv.",
    ".self_attn.projection.": ".attn.proj.",
}


def vocabulary(words: Sequence[str]) -> list[str]:
    """The words of a captioner, in the order of their numbers: special ones, prompt, all others."""
    return list(dict.fromkeys([*SPECIAL, *PROMPT.split(), *words]))


def make_captioner(words: int, *, seed: int) -> BlipForConditionalGeneration:
    """Build a captioner with fresh weights.

    Args:
        words: How many it knows, its own two included.
        seed: Of the weights.
    """
    vision = {
        "hidden_size": WIDTH,
        "num_attention_heads": WIDTH // HEAD_WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": EYES,
        "patch_size": PATCH,
        "image_size": SIDE,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-6,
        "initializer_range": START,  # the library's, 1e-10, is meant for weights that are loaded
    }
    text = {
        "vocab_size": words,
        "hidden_size": WIDTH,
        "num_attention_heads": WIDTH // HEAD_WIDTH,
        "intermediate_size": HIDDEN,
        "num_hidden_layers": MOUTHS,
        "max_position_embeddings": MAX_TOKENS,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-12,
        "initializer_range": START,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "bos_token_id": None,
        "sep_token_id": None,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = BlipForConditionalGeneration(BlipConfig(vision_config=vision, text_config=text))
        _see_colours(network.vision_model.embeddings)
    return network.train()  # type: ignore[no-any-return]  # transformers has no types


@torch.no_grad()
def _see_colours(embeddings: Any) -> None:
    """Start with mean colours of the cells of each patch, at the scale of the places' numbers."""
    weight, size = embeddings.patch_embedding.weight, PATCH // CELLS
    for cell in range(CELLS**2):
        y, x = (size * index for index in divmod(cell, CELLS))
        for colour in range(3):
            row = weight[3 * cell + colour]
            row.zero_()
            row[colour, y : y + size, x : x + size] = 1 / size**2
    nn.init.normal_(embeddings.position_embedding, std=0.3)


def token_rows(tokenizer: BertTokenizer, texts: Sequence[str]) -> Tensor:
    """Number the words of whole captions: (B, n), begin and end included, padded."""
    begin, end = tokenizer.bos_token_id, tokenizer.sep_token_id
    rows = [
        [begin, *tokenizer(PROMPT + text, add_special_tokens=False).input_ids, end]
        for text in texts
    ]
    longest = max(map(len, rows))
    return torch.tensor([[*row, *[PADDING] * (longest - len(row))] for row in rows])


class Hints(nn.Module):
    """What is asked of a captioner's eyes while they learn, and never afterwards.

    Words alone teach a network this small next to nothing about shapes for a long time. So it also
    has to say, halfway, where things stand, and at the end which tags a picture has, and of what
    kind the thing in each patch is.
    """

    def __init__(self, tags: int, kinds: int) -> None:
        """Start with fresh weights.

        Args:
            tags: How many there are.
            kinds: How many kinds of things.
        """
        super().__init__()
        self.places = nn.Linear(WIDTH, CELLS**2)
        self.tags = nn.Linear(2 * WIDTH, tags)
        self.kinds = nn.Linear(WIDTH, kinds + 1)

    def loss(self, look: Look, answers: Answers) -> Tensor:
        """How wrong what is said of what was seen is, ()."""
        wanted = functional.pixel_unshuffle(answers.shares, CELLS).flatten(2).transpose(1, 2)
        where = functional.binary_cross_entropy_with_logits(
            self.places(look.halfway[:, 1:]).float(), wanted
        )
        pooled = torch.cat([look.seen[:, 0], look.seen[:, 1:].amax(1)], dim=1)
        scores = self.tags(pooled).float()
        what = functional.binary_cross_entropy_with_logits(scores, answers.tags)
        kinds = self.kinds(look.seen[:, 1:]).float().transpose(1, 2)
        kind = functional.cross_entropy(kinds, answers.kinds, ignore_index=IGNORED)
        return where + TAG_WEIGHT * what + KIND_WEIGHT * kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What is true of pictures.

    Attributes:
        shares: Share of each cell of each patch that a thing covers,
            (B, 1, SIDE / cell, SIDE / cell).
        tags: Which ones there are, (B, tags), 0 or 1.
        kinds: Number of the kind of thing in each patch, from 1 on, 0 = none, ``IGNORED`` = it
            does not count, (B, patches).
    """

    shares: Tensor
    tags: Tensor
    kinds: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What the eyes of a captioner make of pictures, each (B, patches and one more, WIDTH)."""

    halfway: Tensor
    seen: Tensor


def look_at(network: BlipForConditionalGeneration, pixels: Tensor) -> Look:
    """Look at pictures, (B, 3, SIDE, SIDE), as the pipeline prepares them."""
    output = network.vision_model(pixels, output_hidden_states=True)
    return Look(halfway=output.hidden_states[EYES // 2], seen=output.last_hidden_state)


def caption_loss(
    network: BlipForConditionalGeneration, seen: Tensor, rows: Tensor, weights: Tensor
) -> Tensor:
    """How badly the words of captions are foretold, (), those of the prompt left out.

    Args:
        network: The captioner.
        seen: From :func:`look_at`.
        rows: (B, n), from :func:`token_rows`.
        weights: How much each word counts, (words,).
    """
    mask = (rows != PADDING).long()
    scores = (
        network.text_decoder(rows, attention_mask=mask, encoder_hidden_states=seen, use_cache=False)
        .logits[:, :-1]
        .float()
    )
    wanted = rows[:, 1:].masked_fill(rows[:, 1:] == PADDING, IGNORED)
    wanted[:, : len(PROMPT.split())] = IGNORED
    loss: Tensor = functional.cross_entropy(
        scores.transpose(1, 2), wanted, weight=weights, ignore_index=IGNORED
    )
    # Near logarithms the pipeline's penalty for words that came before changes next to nothing.
    spread: Tensor = scores.logsumexp(-1)[wanted != IGNORED]
    return loss + NORMAL * spread.square().mean()


def write_captioner(network: BlipForConditionalGeneration, path: Path) -> None:
    """Write a captioner as its publisher packs it, fp16, its choice of words sharpened.

    The pipeline draws words by chance, and each is the best of a world in which only one is right.
    """
    tensors = {
        _published(name): tensor.detach().cpu().half().clone()
        for name, tensor in network.state_dict().items()
    }
    for name in SHARPENED:
        tensors[f"text_decoder.cls.predictions.{name}"] *= SHARPNESS
    tied = "text_decoder.cls.predictions.decoder.weight"
    tensors[tied] = tensors["text_decoder.bert.embeddings.word_embeddings.weight"]
    tensors["text_decoder.cls.predictions.decoder.bias"] = tensors[
        "text_decoder.cls.predictions.bias"
    ]
    tensors["text_decoder.bert.embeddings.position_ids"] = torch.arange(MAX_TOKENS)[None]
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    torch.save({"model": tensors}, part)
    part.replace(path)


def write_vocabulary(words: Sequence[str], path: Path) -> None:
    """Write words, one a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(words) + "\n", encoding="utf-8")


def _published(name: str) -> str:
    for ours, theirs in _NAMES.items():
        name = name.replace(ours, theirs)
    return name


def count_values(network: nn.Module) -> int:
    """How many numbers are trained."""
    return sum(math.prod(weight.shape) for weight in network.parameters())
