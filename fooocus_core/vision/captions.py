"""Describing photographs in a sentence, with a BLIP captioner of whatever size its file has.

Knows neither who asks nor where its files lie.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional
from transformers import BertTokenizer, BlipConfig, BlipForConditionalGeneration
from transformers.generation.logits_process import (
    LogitsProcessorList,
    MinLengthLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from fooocus_core.errors import ModelFileError
from fooocus_core.loading.architecture import blip_config
from fooocus_core.loading.filling import fill_weights, naming_part, without_memory
from fooocus_core.loading.key_maps import blip_weights
from fooocus_core.loading.memory import DevicePlan, memory_errors
from fooocus_core.loading.text_file import read_model_text
from fooocus_core.loading.weight_file import WeightFile, read_weights
from fooocus_core.params import Image
from fooocus_core.vae.codec import to_pixels
from fooocus_core.vision.clip_vision import normalised

# Every caption begins with it, and what is told does not.
# Source: salesforce/BLIP (BSD-3-Clause), and how lllyasviel/Fooocus 2.5.5 calls it.
PROMPT = "a picture of "
MIN_TOKENS = 10  # with those of the prompt, here and below
MAX_TOKENS = 75
TOP_K = 50
TOP_P = 0.9
REPETITION_PENALTY = 1.1

_SPECIAL_WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_BEGIN, _ENCODE = "[DEC]", "[ENC]"


class Captioner:
    """Says what is to be seen in a picture."""

    def __init__(
        self,
        network: BlipForConditionalGeneration,
        tokenizer: BertTokenizer,
        *,
        side: int,
        name: str,
    ) -> None:
        """Take over a network, which has to be where it computes when a picture is described.

        Args:
            tokenizer: As :func:`make_tokenizer` makes it.
            side: Of the square that the network sees, in pixels.
            name: Of the network's file, for errors.
        """
        self.network = network
        self._tokenizer = tokenizer
        self._size = (side, side)
        self._name = name

    @torch.no_grad()
    def describe(self, image: Image, generator: torch.Generator) -> str:
        """Describe a picture.

        Each word is drawn: the sampled tokens follow the prompt until the end mark or until there
        are 75, the prompt's included.

        Args:
            image: uint8 (H, W, 3), of any size.
            generator: Of the network's device; its state decides the words.

        Returns:
            What follows "a picture of ", in small letters.

        Raises:
            DeviceMemoryError: The device has not enough memory.
            ModelFileError: The network gave values that are not finite.
        """
        with memory_errors("describing a picture"):
            vision = self.network.vision_model
            pixels = self.fit(image).to(vision.embeddings.class_embedding)
            hidden = vision(pixels).last_hidden_state
            ids = self._draw(hidden, generator)
        return caption_text(ids, self._tokenizer)

    def fit(self, image: Image) -> Tensor:
        """What the network is given of a picture: all of it, stretched to a square.

        Order: ``value / 255``, bicubic without antialiasing, ``(value - mean) / std``.

        Args:
            image: uint8 (H, W, 3).

        Returns:
            (1, 3, S, S) float32; S = 384 for the published network.
        """
        return normalised(functional.interpolate(to_pixels(image), self._size, mode="bicubic"))

    def _draw(self, hidden: Tensor, generator: torch.Generator) -> list[int]:
        """Token ids of the prompt and of what is drawn, end mark included if it was drawn."""
        begin, end = cast("int", self._tokenizer.bos_token_id), self._tokenizer.sep_token_id
        prompt = self._tokenizer(PROMPT, add_special_tokens=False).input_ids
        ids = torch.tensor([[begin, *prompt]], device=hidden.device)
        rules = _drawing_rules(end, hidden.device)
        feed, cache = ids, None
        while ids.shape[1] < MAX_TOKENS and feed[0, -1] != end:
            output = self.network.text_decoder(
                feed, encoder_hidden_states=hidden, past_key_values=cache, use_cache=True
            )
            cache = output.past_key_values
            logits = output.logits[:, -1].float()
            if not torch.isfinite(logits).all():
                raise ModelFileError(
                    f"{self._name} gave values that are not finite; the file is damaged."
                )
            chances = torch.softmax(rules(cast("torch.LongTensor", ids), logits), dim=-1)
            feed = torch.multinomial(chances, 1, generator=generator)
            ids = torch.cat([ids, feed], dim=1)
        return [int(token) for token in ids[0]]


def load_captioner(weights: Path, vocabulary: Path, plan: DevicePlan) -> Captioner:
    """Load a captioner to where the plan has networks of its device wait.

    Args:
        weights: A file in the naming of salesforce/BLIP.
        vocabulary: The words of ``bert-base-uncased``, one a line.
        plan: Devices and dtypes.

    Raises:
        ModelFileError: A file is unreadable or not such a network or vocabulary, or they do not
            belong together.
        DeviceMemoryError: The device has not enough memory.
    """
    tokenizer = make_tokenizer(vocabulary)
    captioner = build_captioner(read_weights(weights), tokenizer, plan)
    known = captioner.network.text_decoder.bert.embeddings.word_embeddings.num_embeddings
    if len(tokenizer) != known:
        raise ModelFileError(
            f"{vocabulary} has {len(tokenizer)} words with those of the captioner itself, "
            f"{weights.name} {known}."
        )
    return captioner


def build_captioner(file: WeightFile, tokenizer: BertTokenizer, plan: DevicePlan) -> Captioner:
    """As :func:`load_captioner`, from files that are open; the words are taken to fit."""
    home = plan.home_of(plan.device)
    with memory_errors(f"loading {file.path.name}"), naming_part(file.path, "captioner"):
        weights = blip_weights(file.tensors)
        sizes = blip_config(weights)
        with without_memory():
            network = BlipForConditionalGeneration(BlipConfig(**sizes))
        state = {name: weight.to(home, plan.small) for name, weight in weights.items()}
        fill_weights(network, state, home)
    side = sizes["vision_config"]["image_size"]
    return Captioner(network, tokenizer, side=side, name=file.path.name)


def make_tokenizer(vocabulary: Path) -> BertTokenizer:
    """Make the tokenizer of a captioner: that of BERT, and two words of its own at the end.

    Raises:
        ModelFileError: The file is unreadable, or has not the words of BERT that are no text.
    """
    words = read_model_text(vocabulary).removesuffix("\n").split("\n")
    missing = [word for word in _SPECIAL_WORDS if word not in words]
    if missing:
        raise ModelFileError(f"{vocabulary} lacks {', '.join(missing)}; it is no vocabulary.")
    tokenizer = BertTokenizer(vocab={word: index for index, word in enumerate(words)})
    tokenizer.add_special_tokens({"bos_token": _BEGIN, "additional_special_tokens": [_ENCODE]})
    return tokenizer


def caption_text(ids: Sequence[int], tokenizer: BertTokenizer) -> str:
    """The text of tokens, without special ones and without the prompt that they begin with."""
    words = tokenizer.convert_ids_to_tokens(list(ids), skip_special_tokens=True)
    text = " ".join(words).replace(" ##", "")
    # The reference's library version did this by itself.
    return str(tokenizer.clean_up_tokenization(text))[len(PROMPT) :]


def _drawing_rules(end: int, device: torch.device) -> LogitsProcessorList:
    """What is done to the logits before a token is drawn, in this order."""
    return LogitsProcessorList(
        [
            RepetitionPenaltyLogitsProcessor(REPETITION_PENALTY),
            MinLengthLogitsProcessor(MIN_TOKENS, end, device=str(device)),
            TopKLogitsWarper(TOP_K),
            TopPLogitsWarper(TOP_P),
        ]
    )
