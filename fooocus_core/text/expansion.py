"""The "Fooocus V2" expansion: a small GPT-2 adds allowed words to a prompt.

Needs a folder with the model, its vocabulary and its word list, which the user supplies; without
them there is no expansion. Knows nothing of styles or encoders.
Source: behaviour of lllyasviel/Fooocus 2.5.5 (its prompt expansion).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, GPT2Tokenizer

from fooocus_core.catalog import (
    EXPANSION_CONFIG,
    EXPANSION_FILES,
    EXPANSION_MERGES,
    EXPANSION_VOCABULARY,
    EXPANSION_WEIGHTS,
    EXPANSION_WORDS,
)
from fooocus_core.errors import InvalidInputError, ModelFileError
from fooocus_core.loading.filling import without_memory
from fooocus_core.loading.memory import DevicePlan, memory_errors
from fooocus_core.loading.text_file import read_model_text
from fooocus_core.loading.weight_file import read_weights
from fooocus_core.prompt.compose import clean_line

TOKENS_PER_BLOCK = 75
CANDIDATES = 100
FORBIDDEN = -8192.0
COMMA_ID = 11
SEED_RANGE = 2**32

# Buffers of the attention mask that older library versions stored beside the weights.
_BUFFERS = (".attn.bias", ".attn.masked_bias")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptExpansion:
    """A loaded expansion model.

    Attributes:
        word_bias: (vocabulary,) in the model's dtype: 0 at allowed words, -8192 elsewhere.
    """

    model: GPT2LMHeadModel
    tokenizer: GPT2Tokenizer
    word_bias: Tensor

    def expand(self, prompt: str, seed: int) -> str:
        """Return the cleaned prompt followed by drawn words.

        The tokens are filled up to the next multiple of 75. Numbers are drawn from a private
        generator on the model's device, so CPU and GPU give different words.

        Raises:
            InvalidInputError: The prompt has more tokens than the model can continue.
            DeviceMemoryError: The device ran out of memory.
        """
        if not prompt:
            return ""
        text = clean_line(prompt) + ","
        ids: list[int] = self.tokenizer(text).input_ids
        missing = -len(ids) % TOKENS_PER_BLOCK
        if not missing:
            return text[:-1]
        limit = int(self.model.config.n_positions)
        if len(ids) + missing > limit:
            raise InvalidInputError(
                f"The prompt is too long for Fooocus V2: {len(ids)} tokens, at most "
                f"{limit - limit % TOKENS_PER_BLOCK} can be expanded. Shorten it or leave that "
                "style out."
            )
        with torch.no_grad(), memory_errors("expanding the prompt"):
            ids += self._draw(ids, missing, seed)
        decoded = cast("str", self.tokenizer.decode(ids, skip_special_tokens=True))
        # The reference's library version did this by itself.
        return clean_line(self.tokenizer.clean_up_tokenization(decoded))

    def _draw(self, ids: Sequence[int], count: int, seed: int) -> list[int]:
        device = self.word_bias.device
        generator = torch.Generator(device).manual_seed(seed % SEED_RANGE)
        bias = self.word_bias.clone()
        bias[list(ids)] = FORBIDDEN
        new: list[int] = []
        feed, cache = list(ids), None
        for _ in range(count):
            bias[COMMA_ID] = 0.0
            output = self.model(torch.tensor([feed], device=device), past_key_values=cache)
            cache = output.past_key_values
            token = _sample(output.logits[0, -1] + bias, generator)
            bias[token] = FORBIDDEN
            new.append(token)
            feed = [token]
        return new


def load_expansion(folders: Sequence[Path], plan: DevicePlan) -> PromptExpansion | None:
    """Load the expansion from the first folder that holds all of its files, if there is one.

    Raises:
        ModelFileError: A file cannot be read or does not fit the others.
        DeviceMemoryError: The device has not enough memory.
    """
    complete = (f for f in folders if all((f / name).is_file() for name in EXPANSION_FILES))
    folder = next(complete, None)
    if folder is None:
        return None
    vocabulary = _read_json(folder / EXPANSION_VOCABULARY)
    with memory_errors("loading the prompt expansion"):
        model = _load_model(folder, plan)
        words = read_model_text(folder / EXPANSION_WORDS).splitlines()
        bias = word_bias(vocabulary, words).to(plan.device, plan.expansion)
    if len(bias) != model.config.vocab_size:
        raise ModelFileError(
            f"{folder / EXPANSION_VOCABULARY} has {len(bias)} entries, the model "
            f"{model.config.vocab_size}."
        )
    tokenizer = make_tokenizer(vocabulary, read_model_text(folder / EXPANSION_MERGES).splitlines())
    return PromptExpansion(model=model, tokenizer=tokenizer, word_bias=bias)


def word_bias(vocabulary: Mapping[str, int], words: Iterable[str]) -> Tensor:
    """0 for the vocabulary entries that are a blank and an allowed word, -8192 for all others.

    Args:
        vocabulary: GPT-2 entries, where U+0120 marks a leading blank.
        words: One each; empty ones are ignored, capitals become small.

    Returns:
        (vocabulary,) float32.
    """
    allowed = {f"Ġ{word.lower()}" for word in words if word}
    bias = torch.full((len(vocabulary),), FORBIDDEN)
    for entry, index in vocabulary.items():
        if entry in allowed:
            bias[index] = 0.0
    return bias


def make_tokenizer(vocabulary: Mapping[str, int], merge_lines: Iterable[str]) -> GPT2Tokenizer:
    """Build a GPT-2 tokenizer from the content of its two files."""
    merges = [tuple(line.split(" ")) for line in merge_lines if _is_merge(line)]
    # The library's annotation is too narrow: it takes pairs.
    return GPT2Tokenizer(vocab=dict(vocabulary), merges=cast("list[str]", merges))


def _is_merge(line: str) -> bool:
    return bool(line) and not line.startswith("#version")


def _sample(logits: Tensor, generator: torch.Generator) -> int:
    # Everything stays in the model's dtype: a softmax in float32 draws other words in half
    # precision.
    smallest = torch.topk(logits, CANDIDATES).values[-1]
    kept = logits.masked_fill(logits < smallest, float("-inf"))
    probabilities = torch.softmax(kept, dim=-1)
    return int(torch.multinomial(probabilities, 1, generator=generator))


def _load_model(folder: Path, plan: DevicePlan) -> GPT2LMHeadModel:
    config = GPT2Config(**{**_read_json(folder / EXPANSION_CONFIG), "attn_implementation": "eager"})
    with without_memory():
        model = GPT2LMHeadModel(config)
    file = read_weights(folder / EXPANSION_WEIGHTS)
    state = {
        name: tensor.to(plan.device, plan.expansion)
        for name, tensor in file.tensors.items()
        if not name.endswith(_BUFFERS)
    }
    if config.tie_word_embeddings:
        state["lm_head.weight"] = state.get("transformer.wte.weight", torch.empty(0))
    try:
        model.load_state_dict(state, strict=True, assign=True)
    except RuntimeError as error:
        raise ModelFileError(f"{file.path} does not fit {EXPANSION_CONFIG} beside it.") from error
    module: nn.Module = model
    module.eval().requires_grad_(requires_grad=False)
    return model


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(read_model_text(path))
    except ValueError as error:
        raise ModelFileError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ModelFileError(f"{path} does not hold a JSON object.")
    return content
